/* avx2.h: inside the AVX2 row only: what its files share.
 *
 * Codes are made in tiles, and in these in blocks of 32 columns. Bytes are widened to 16 bits by
 * unpacking with zero, and 16 bits packed again: both work within the halves of a register, so that
 * lanes come back in order. */
#ifndef LBPMAP_AVX2_H
#define LBPMAP_AVX2_H

#include "kernels.h"

#ifdef LBPMAP_AVX2

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,bmi,popcnt")))
#define AVX2_INLINE static inline __attribute__((always_inline, target("avx2,bmi,popcnt")))

/* A tile is at most TILE_ROWS rows, and at least 32, at most TILE_COLUMNS columns. */
enum { LANES = 32, TILE_ROWS = 15, TILE_COLUMNS = 4096 };

/* A neighbourhood, and for "released" how flat places fall: bit C % 8 of flat[corner][C / 8] is 1 when
 * a corner whose four pixels equal the centre C gives the bit 0. */
typedef struct {
    const lbpmap_neighborhood *nb;
    uint8_t flat[4][32];
} plan_avx2;

/* The codes of one tile; `p` is its first centre. */
typedef void tile_avx2(plan_avx2 *plan, const uint8_t *p, ptrdiff_t stride, size_t width,
                       size_t height, uint8_t *codes, ptrdiff_t codes_stride);

tile_avx2 lbpmap_circle1_exact_avx2, lbpmap_circle1_released_avx2;
tile_avx2 lbpmap_circle5_exact_avx2, lbpmap_circle5_released_avx2;
tile_avx2 lbpmap_circle10_exact_avx2, lbpmap_circle10_released_avx2;
tile_avx2 lbpmap_circle_exact_avx2, lbpmap_circle_released_avx2;

/* Where block after block of a row of `width` begins: the last one overlaps the one before it. */
static inline size_t block_at(size_t x, size_t width) {
    return x + LANES <= width ? x : width - LANES;
}

AVX2_INLINE __m256i load(const uint8_t *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

AVX2_INLINE void store(uint8_t *p, __m256i v) {
    _mm256_storeu_si256((__m256i *)(void *)p, v);
}

/* 16 bytes, in both halves of a register: a table for vpshufb. */
AVX2_INLINE __m256i load_twice(const uint8_t *p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
}

AVX2_INLINE void widen(__m256i bytes, __m256i lanes[2]) {
    lanes[0] = _mm256_unpacklo_epi8(bytes, _mm256_setzero_si256());
    lanes[1] = _mm256_unpackhi_epi8(bytes, _mm256_setzero_si256());
}

/* A mask of the bytes, unsigned, at which a >= b. It names a once, as compilers would load twice a
 * pixel that is named twice. */
AVX2_INLINE __m256i at_least(__m256i a, __m256i b) {
    return _mm256_cmpeq_epi8(_mm256_min_epu8(a, b), b);
}

/* Codes are put together from bit 7 down: twice the codes so far, and one more where the mask is. */
AVX2_INLINE __m256i then(__m256i codes, __m256i mask) {
    return _mm256_sub_epi8(_mm256_add_epi8(codes, codes), mask);
}

#endif
#endif
