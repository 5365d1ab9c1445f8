/* avx2_ties.h: inside the AVX2 row only: how ties of "released" fall.
 *
 * A corner whose four pixels equal the centre C, most ties of a photo, falls by C alone: a bit for each
 * of 256 centres, 32 bytes, which two vpshufb look up. On a slope it falls by C and by how much pixels
 * grow: 32,768 pairs, and a row of 32 pixels may hold as many of these as it has lanes. Each is then
 * loaded for itself, and put in its place by vpinsrb: 32 take 10 ns on Zen 3 whatever the picture,
 * where vpgatherdd takes twice and stores of single bytes 1.3 times as long. */
#ifndef LBPMAP_AVX2_TIES_H
#define LBPMAP_AVX2_TIES_H

#include "avx2.h"

#ifdef LBPMAP_AVX2

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

/* Ties of any kind are looked up in lbpmap_neighborhood.tie_clears, each for itself. Indices are stored
 * in the order of unpacking, lanes 0-7, 16-23, 8-15, 24-31, best some time before they are used. */
AVX2_INLINE void store_indices(uint16_t index[LANES], __m256i centre, __m256i down) {
    store((uint8_t *)index, _mm256_unpacklo_epi8(centre, down));
    store((uint8_t *)(index + LANES / 2), _mm256_unpackhi_epi8(centre, down));
}

/* Lane k of each of four groups of eight. (char), as the macro that gcc -O0 has for it would warn. */
#define LBPMAP_LOOK_UP(k)                                                                          \
    for (int j = 0; j < 4; ++j)                                                                    \
        found[j] = _mm_insert_epi8(found[j], (char)clears[index[8 * j + (k)]], k)

/* The bits of a code that ties clear. */
AVX2_INLINE __m256i cleared_bits(const lbpmap_neighborhood *nb, const uint16_t index[LANES]) {
    const uint8_t *clears = nb->tie_clears[0];
    __m128i found[4];
    for (int j = 0; j < 4; ++j)
        found[j] = _mm_setzero_si128();
    LBPMAP_LOOK_UP(0);
    LBPMAP_LOOK_UP(1);
    LBPMAP_LOOK_UP(2);
    LBPMAP_LOOK_UP(3);
    LBPMAP_LOOK_UP(4);
    LBPMAP_LOOK_UP(5);
    LBPMAP_LOOK_UP(6);
    LBPMAP_LOOK_UP(7);
    return _mm256_set_m128i(_mm_unpacklo_epi64(found[1], found[3]),
                            _mm_unpacklo_epi64(found[0], found[2]));
}

#endif
#endif
