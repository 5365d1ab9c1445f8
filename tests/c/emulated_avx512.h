/* emulated_avx512.h: the intrinsics of csrc's AVX-512 files as plain C, so that their row of the table
 * is tested on machines without these instructions: the same sources, compiled to other code.
 *
 *   gcc -O1 -fsanitize=address --param asan-stack=0 -ffp-contract=off -Wno-psabi
 *       -DLBPMAP_AVX512_INTRINSICS='"emulated_avx512.h"' -Icsrc -Itests/c
 *       csrc/?*.c tests/c/test_core.c -lm
 *
 * Stack and undefined behaviour are left out: SIMDe would spend most time on its own variables, and
 * adds lanes as signed numbers that wrap.
 *
 * Most functions come from SIMDe (Debian's libsimde-dev), which has a loop for each. What its version
 * 0.7.4 lacks stands here, lane by lane after Intel's definitions of the instructions. Two rules that
 * no result shows are kept as the processor keeps them: a masked load or store touches no byte of a
 * lane whose bit is 0, and an aligned store to another address ends the program.
 *
 * Rows of fewer than 64 pixels go to the AVX2 row, so the machine must have AVX2. */
#ifndef LBPMAP_EMULATED_AVX512_H
#define LBPMAP_EMULATED_AVX512_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What `supported` in kernels_avx512.c asks the compiler, which does not expand the name again. */
#define __builtin_cpu_supports(feature) __builtin_cpu_supports("avx2")

typedef uint8_t __mmask8;
typedef uint16_t __mmask16;
typedef uint32_t __mmask32;
typedef uint64_t __mmask64;

/* Other versions of SIMDe have some of these. */
#undef _mm512_cmpgt_epu32_mask
#undef _mm512_cvtepi32_pd
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtepu8_epi16
#undef _mm512_mask_cmplt_epu8_mask
#undef _mm512_mask_storeu_ps
#undef _mm512_mask_testn_epi8_mask
#undef _mm512_maskz_compress_epi8
#undef _mm512_maskz_loadu_epi32
#undef _mm512_maskz_loadu_epi8
#undef _mm512_maskz_loadu_ps
#undef _mm512_shldi_epi16
#undef _mm512_store_ps
#undef _mm512_stream_ps
#undef _mm512_testn_epi16_mask
#undef _mm512_testn_epi8_mask

/* A register as its lanes. */
typedef union {
    __m512i all;
    uint8_t u8[64];
    uint16_t u16[32];
    uint32_t u32[16];
    int32_t i32[16];
} emulated_lanes;

#define EMULATED static inline __attribute__((unused))

EMULATED emulated_lanes lanes_of_register(__m512i a) {
    emulated_lanes lanes;
    lanes.all = a;
    return lanes;
}

/* Comparisons. */

EMULATED __mmask64 _mm512_testn_epi8_mask(__m512i a, __m512i b) {
    const emulated_lanes x = lanes_of_register(a), y = lanes_of_register(b);
    __mmask64 none = 0;
    for (int i = 0; i < 64; ++i)
        none |= (__mmask64)((x.u8[i] & y.u8[i]) == 0) << i;
    return none;
}

EMULATED __mmask64 _mm512_mask_testn_epi8_mask(__mmask64 k, __m512i a, __m512i b) {
    return k & _mm512_testn_epi8_mask(a, b);
}

EMULATED __mmask32 _mm512_testn_epi16_mask(__m512i a, __m512i b) {
    const emulated_lanes x = lanes_of_register(a), y = lanes_of_register(b);
    __mmask32 none = 0;
    for (int i = 0; i < 32; ++i)
        none |= (__mmask32)((x.u16[i] & y.u16[i]) == 0) << i;
    return none;
}

EMULATED __mmask64 _mm512_mask_cmplt_epu8_mask(__mmask64 k, __m512i a, __m512i b) {
    const emulated_lanes x = lanes_of_register(a), y = lanes_of_register(b);
    __mmask64 less = 0;
    for (int i = 0; i < 64; ++i)
        less |= (__mmask64)(x.u8[i] < y.u8[i]) << i;
    return k & less;
}

EMULATED __mmask16 _mm512_cmpgt_epu32_mask(__m512i a, __m512i b) {
    const emulated_lanes x = lanes_of_register(a), y = lanes_of_register(b);
    unsigned more = 0;
    for (int i = 0; i < 16; ++i)
        more |= (unsigned)(x.u32[i] > y.u32[i]) << i;
    return (__mmask16)more;
}

/* Bits and bytes. */

/* The upper half of a:b, 32 bits, after a shift to the left. */
EMULATED __m512i _mm512_shldi_epi16(__m512i a, __m512i b, int by) {
    const emulated_lanes x = lanes_of_register(a), y = lanes_of_register(b);
    emulated_lanes out;
    for (int i = 0; i < 32; ++i)
        out.u16[i] = (uint16_t)(((uint32_t)x.u16[i] << 16 | y.u16[i]) << (by & 15) >> 16);
    return out.all;
}

/* The bytes that k names, side by side from the lowest; zeros behind them. */
EMULATED __m512i _mm512_maskz_compress_epi8(__mmask64 k, __m512i a) {
    const emulated_lanes x = lanes_of_register(a);
    emulated_lanes out;
    int n = 0;
    memset(&out, 0, sizeof out);
    for (int i = 0; i < 64; ++i)
        if (k >> i & 1)
            out.u8[n++] = x.u8[i];
    return out.all;
}

/* Conversions. */

EMULATED __m512i _mm512_cvtepu8_epi16(__m256i a) {
    uint8_t bytes[32];
    emulated_lanes out;
    memcpy(bytes, &a, sizeof bytes);
    for (int i = 0; i < 32; ++i)
        out.u16[i] = bytes[i];
    return out.all;
}

EMULATED __m512 _mm512_cvtepi32_ps(__m512i a) {
    const emulated_lanes x = lanes_of_register(a);
    float lanes[16];
    __m512 out;
    for (int i = 0; i < 16; ++i)
        lanes[i] = (float)x.i32[i];
    memcpy(&out, lanes, sizeof out);
    return out;
}

EMULATED __m512d _mm512_cvtepi32_pd(__m256i a) {
    int32_t in[8];
    double lanes[8];
    __m512d out;
    memcpy(in, &a, sizeof in);
    for (int i = 0; i < 8; ++i)
        lanes[i] = in[i];
    memcpy(&out, lanes, sizeof out);
    return out;
}

/* Memory. */

EMULATED __m512i _mm512_maskz_loadu_epi8(__mmask64 k, const void *p) {
    emulated_lanes out;
    memset(&out, 0, sizeof out);
    for (int i = 0; i < 64; ++i)
        if (k >> i & 1)
            memcpy(&out.u8[i], (const uint8_t *)p + i, 1);
    return out.all;
}

EMULATED __m512i _mm512_maskz_loadu_epi32(__mmask16 k, const void *p) {
    emulated_lanes out;
    memset(&out, 0, sizeof out);
    for (int i = 0; i < 16; ++i)
        if (k >> i & 1)
            memcpy(&out.u32[i], (const uint8_t *)p + 4 * i, 4);
    return out.all;
}

EMULATED __m512 _mm512_maskz_loadu_ps(__mmask16 k, const void *p) {
    const __m512i bits = _mm512_maskz_loadu_epi32(k, p);
    __m512 out;
    memcpy(&out, &bits, sizeof out);
    return out;
}

EMULATED void _mm512_mask_storeu_ps(void *p, __mmask16 k, __m512 a) {
    float lanes[16];
    memcpy(lanes, &a, sizeof lanes);
    for (int i = 0; i < 16; ++i)
        if (k >> i & 1)
            memcpy((uint8_t *)p + 4 * i, &lanes[i], 4);
}

EMULATED void _mm512_store_ps(void *p, __m512 a) {
    if ((uintptr_t)p % sizeof a)
        abort();
    memcpy(p, &a, sizeof a);
}

EMULATED void _mm512_stream_ps(void *p, __m512 a) {
    _mm512_store_ps(p, a);
}

#undef EMULATED
#endif
