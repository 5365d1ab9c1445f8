/* dispatch.c: the table of kernels.
 *
 * A new instruction set is one file, one declaration and one line of `rows`, guarded by the macro
 * that its compiler defines, so that a compiler which lacks it makes a shorter table. Rows stand
 * in order of speed: a machine that supports a later row supports the earlier ones. */
#include "lbpmap.h"

extern const lbpmap_kernels lbpmap_kernels_serial;

static const lbpmap_kernels *const rows[] = {
    &lbpmap_kernels_serial,
};

const lbpmap_kernels *lbpmap_kernels_at(size_t index) {
    return index < sizeof rows / sizeof rows[0] ? rows[index] : NULL;
}

const char *lbpmap_compiler(void) {
#if defined(__clang__)
    return __VERSION__; /* begins with the vendor's name and "Clang" */
#elif defined(__GNUC__)
    return "GCC " __VERSION__;
#else
    return "unknown";
#endif
}
