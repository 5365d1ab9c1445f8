/* avx512.h: what the AVX-512 files share: which instructions they may use, how a block of codes is
 * asked for, and how a table is looked up.
 *
 * The row needs BW, VL, VBMI, VBMI2 and VNNI: Ice Lake, Sapphire Rapids, Zen 4 and later. Nothing
 * here runs before `supported` in kernels_avx512.c has said yes.
 *
 * Work is cut into blocks of 64 columns and up to STRIP rows. A walk makes the codes of one block.
 * Where colours are wanted the codes go to a buffer in the first-level cache and are looked up from
 * there: the table then stays in twelve registers from row to row, where a walk that looked up its
 * own codes would need them for itself and load the table anew for every row.
 *
 * A table's 256 entries of one channel fill four registers: two vpermi2b, which look at the lower
 * seven bits of the index, and a blend by the eighth. (Intel splits vpermi2b in three, two of them
 * on the port of permutations; four vpermb, two of them masked, would load that port as much.) */
#ifndef LBPMAP_AVX512_H
#define LBPMAP_AVX512_H

#include "kernels.h"

#ifdef LBPMAP_AVX512

#include "avx512_target.h"

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 64, STRIP = 32 };

/* What the walks of one call have in common; lbpmap_avx512_plan() fills it. */
typedef struct {
    const lbpmap_neighborhood *nb;
    uint8_t gentle[2][256]; /* R = 1, "released": ties of small delta, see avx512_radius1.c */
    uint8_t flat[256];      /* "released": bits that are 0 where all pixels equal the centre */
} lbpmap_avx512_plan;

/* Makes the codes of 64 columns and `rows` rows; `p` is the first centre. Samples first .. first +
 * 7 become bits 0 .. 7; walks for 8 points only take first = 0. */
typedef void lbpmap_avx512_walk(const lbpmap_avx512_plan *plan, int32_t first, const uint8_t *p,
                                ptrdiff_t stride, size_t rows, uint8_t *codes,
                                ptrdiff_t codes_stride);

lbpmap_avx512_walk lbpmap_avx512_pixels1;  /* R = 1, square grid */
lbpmap_avx512_walk lbpmap_avx512_exact1;   /* R = 1, circle of 8 */
lbpmap_avx512_walk lbpmap_avx512_released1;
lbpmap_avx512_walk lbpmap_avx512_exact5;   /* R = 5, circle of 8 */
lbpmap_avx512_walk lbpmap_avx512_released5;
lbpmap_avx512_walk lbpmap_avx512_exact10;  /* R = 10, circle of 8 */
lbpmap_avx512_walk lbpmap_avx512_released10;
lbpmap_avx512_walk lbpmap_avx512_pixels;    /* 8 samples that are pixels: square grid, any R */
lbpmap_avx512_walk lbpmap_avx512_any_exact; /* every neighbourhood */
lbpmap_avx512_walk lbpmap_avx512_any_released;

void lbpmap_avx512_plan_gentle(lbpmap_avx512_plan *plan);
void lbpmap_avx512_plan_flat(lbpmap_avx512_plan *plan);

/* What a walk leaves for later, lanes in which the integer rule cannot tell a bit: their bits are
 * 1. A call from within a walk would put all its registers on the stack. */
typedef struct {
    unsigned rows; /* bit y: row y has some; the lanes of other rows are not set */
    __mmask64 lanes[STRIP][8];
} lbpmap_avx512_doubts;

/* Clears these bits where "released" arithmetic puts the sample below its centre. */
void lbpmap_avx512_settle(const lbpmap_avx512_plan *plan, int32_t first,
                          const lbpmap_avx512_doubts *doubts, const uint8_t *p, ptrdiff_t stride,
                          uint8_t *codes, ptrdiff_t codes_stride);

/* Ties of a row, for each corner of a circle of 8 points: lanes in which the pixels on its diagonal
 * equal the centre C and the two beside it are C + delta and C - delta; and by how much pixels grow
 * downwards there, see lbpmap_neighborhood.tie_clears. */
typedef struct {
    __mmask64 lanes[4];
    __m512i down[4];
} lbpmap_avx512_ties;

/* Clears the bits that ties clear; `p` is the row's first centre. */
void lbpmap_avx512_clear_ties(const lbpmap_neighborhood *nb, lbpmap_avx512_ties *ties,
                              const uint8_t *p, uint8_t *codes);

/* Even and odd bytes as lanes of 16 bits. */
INLINE __m512i even16(__m512i bytes) {
    return _mm512_and_si512(bytes, _mm512_set1_epi16(255));
}

INLINE __m512i odd16(__m512i bytes) {
    return _mm512_srli_epi16(bytes, 8);
}

INLINE __m512i set_bit(__m512i codes, __mmask64 where, int bit) {
    return _mm512_mask_add_epi8(codes, where, codes, _mm512_set1_epi8((char)bit));
}

INLINE __m512i clear_bit(__m512i codes, __mmask64 where, int bit) {
    return _mm512_mask_sub_epi8(codes, where, codes, _mm512_set1_epi8((char)bit));
}

/* table[index] for 256 bytes in four registers and 64 indices; `high` has their top bits. */
INLINE __m512i look_up(const __m512i table[4], __m512i index, __mmask64 high) {
    return _mm512_mask_blend_epi8(high, _mm512_permutex2var_epi8(table[0], index, table[1]),
                                  _mm512_permutex2var_epi8(table[2], index, table[3]));
}

INLINE void load_table(const uint8_t *bytes, __m512i table[4]) {
    for (int k = 0; k < 4; ++k)
        table[k] = _mm512_loadu_si512(bytes + LANES * k);
}

/* How three channels of 64 pixels are made of 192 bytes of RGB. */
typedef struct {
    __m512i from[3];       /* of each channel: the byte of each pixel, modulo 64 */
    __mmask64 second[3], third[3];
} parting;

INLINE parting parting_of_rgb(void) {
    parting p;
    for (int k = 0; k < 3; ++k) {
        uint8_t index[LANES];
        p.second[k] = p.third[k] = 0;
        for (int i = 0; i < LANES; ++i) {
            const int at = 3 * i + k;
            index[i] = (uint8_t)(at % LANES);
            p.second[k] |= (__mmask64)(at / LANES == 1) << i;
            p.third[k] |= (__mmask64)(at / LANES == 2) << i;
        }
        p.from[k] = _mm512_loadu_si512(index);
    }
    return p;
}

INLINE void part(const parting *p, const uint8_t *rgb, __m512i channel[3]) {
    __m512i in[3];
    for (int k = 0; k < 3; ++k)
        in[k] = _mm512_loadu_si512(rgb + LANES * k);
    for (int k = 0; k < 3; ++k) {
        channel[k] = _mm512_permutexvar_epi8(p->from[k], in[0]);
        channel[k] = _mm512_mask_permutexvar_epi8(channel[k], p->second[k], p->from[k], in[1]);
        channel[k] = _mm512_mask_permutexvar_epi8(channel[k], p->third[k], p->from[k], in[2]);
    }
}

#endif
#endif
