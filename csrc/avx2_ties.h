/* avx2_ties.h: inside the AVX2 row only: how ties of "released" fall.
 *
 * lbpmap_neighborhood.tie_zero answers for every centre C and delta, a byte for each C and window of
 * eight deltas. AVX2 looks up 16 bytes at once, so that a window costs 47 operations; but for one
 * delta the answers are a bit a centre, 32 bytes, and two shuffles look those up. Such rows of bits
 * are made when a delta is first met: a picture has few, and most ties of a photo lie in flat
 * places, where delta is 0. */
#ifndef LBPMAP_AVX2_TIES_H
#define LBPMAP_AVX2_TIES_H

#include "avx2.h"

#ifdef LBPMAP_AVX2

#include <string.h>

/* Corners by number: samples 1, 3, 5, 7. */
enum { NE, NW, SW, SE };

AVX2_INLINE __m256i both(__m256i a, __m256i b) {
    return _mm256_and_si256(a, b);
}

/* 1 << (n % 8) for each byte n < 128. */
AVX2_INLINE __m256i power_of(__m256i n) {
    return _mm256_shuffle_epi8(_mm256_set1_epi64x((long long)0x8040201008040201ull), n);
}

/* Where to look in a row of one bit for each centre. */
typedef struct {
    __m256i centre, byte, power;
} bit_place;

AVX2_INLINE bit_place place_of(__m256i centre) {
    bit_place b;
    b.centre = centre;
    b.byte = _mm256_and_si256(_mm256_srli_epi16(centre, 3), _mm256_set1_epi8(31));
    b.power = power_of(_mm256_and_si256(centre, _mm256_set1_epi8(7)));
    return b;
}

/* A mask of the centres whose bit is 1: the top bit of a centre chooses the half of the row. */
AVX2_INLINE __m256i bit_at(const uint8_t row[32], bit_place b) {
    const __m256i low = _mm256_shuffle_epi8(load_twice(row), b.byte);
    const __m256i high = _mm256_shuffle_epi8(load_twice(row + 16), b.byte);
    const __m256i byte = _mm256_blendv_epi8(low, high, b.centre);
    return _mm256_cmpeq_epi8(_mm256_and_si256(byte, b.power), b.power);
}

/* The row of a corner and a delta (modulo 256): bit C % 8 of byte C / 8 is 1 when the tie gives 0. */
AVX2_INLINE const uint8_t *row_of(plan_avx2 *plan, int corner, unsigned delta) {
    uint8_t *row = plan->zero[corner][delta];
    if (!plan->known[corner][delta]) {
        const unsigned place = (delta + 132) % 256;
        const uint8_t *window = plan->nb->tie_zero[corner][place / 8];
        const __m128i to_top = _mm_cvtsi32_si128((int)(7 - place % 8));
        for (int i = 0; i < 8; ++i) {
            const __m256i top = _mm256_sll_epi16(load(window + 32 * i), to_top);
            const int bits = _mm256_movemask_epi8(top);
            memcpy(row + 4 * i, &bits, 4);
        }
        plan->known[corner][delta] = 1;
    }
    return row;
}

/* Takes the ties of one delta out of `ties`, of which there are some; gives that delta, modulo 256.
 * The delta that was last met at this corner is tried first: it needs no look at the lanes. */
AVX2_INLINE unsigned take_delta(plan_avx2 *plan, int corner, __m256i delta, __m256i *ties,
                                __m256i *taken) {
    unsigned d = plan->last[corner];
    *taken = both(*ties, _mm256_cmpeq_epi8(delta, _mm256_set1_epi8((char)d)));
    if (_mm256_testz_si256(*taken, *taken)) {
        uint8_t deltas[LANES];
        store(deltas, delta);
        d = deltas[__builtin_ctz((unsigned)_mm256_movemask_epi8(*ties))];
        *taken = both(*ties, _mm256_cmpeq_epi8(delta, _mm256_set1_epi8((char)d)));
        plan->last[corner] = (uint8_t)d;
    }
    *ties = _mm256_andnot_si256(*taken, *ties);
    return d;
}

#endif
#endif
