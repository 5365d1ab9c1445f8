/* avx512_target.h: the instructions of the AVX-512 row, for every function between this and
 * LBPMAP_AVX512_END, whatever the build's own flags.
 *
 * LBPMAP_AVX512_INTRINSICS names a header that stands in for them, functions of the same names, so
 * that the row can be tested on machines that lack it: see tests/c/emulated_avx512.h. */
#ifndef LBPMAP_AVX512_TARGET_H
#define LBPMAP_AVX512_TARGET_H

#ifdef LBPMAP_AVX512_INTRINSICS
#include LBPMAP_AVX512_INTRINSICS
#define LBPMAP_AVX512_END
#else

#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx512vnni"))),        \
    apply_to = function)
#define LBPMAP_AVX512_END _Pragma("clang attribute pop")
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,avx512vnni")
#pragma GCC target("prefer-vector-width=512")
#define LBPMAP_AVX512_END _Pragma("GCC pop_options")
#endif

#include <immintrin.h>

#endif
#endif
