/* dispatch.c: the table of kernels.
 *
 * A new instruction set is one file, one declaration in kernels.h and one line of `rows`, guarded by
 * a macro, so that a compiler which lacks it makes a shorter table. Rows stand
 * in order of speed: a machine that supports a later row supports the earlier ones. */
#include "kernels.h"

static const lbpmap_kernels *const rows[] = {
    &lbpmap_kernels_serial,
#ifdef LBPMAP_NEON
    &lbpmap_kernels_neon,
#endif
#ifdef LBPMAP_AVX2
    &lbpmap_kernels_avx2,
#endif
#ifdef LBPMAP_AVX512
    &lbpmap_kernels_avx512,
#endif
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
