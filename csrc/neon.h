/* neon.h: what the NEON files share. kernels_neon.c tells how they work together. */
#ifndef LBPMAP_NEON_H
#define LBPMAP_NEON_H

#include "kernels.h"

#ifdef LBPMAP_NEON
#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16 };

/* Codes of n >= LANES neighbouring centres; `centre` points into the picture. */
typedef void neon_codes(const lbpmap_neighborhood *nb, const uint8_t *centre, ptrdiff_t stride,
                        size_t n, uint8_t *codes);

/* The function for a neighbourhood, or NULL where the serial kernels have to do. */
neon_codes *lbpmap_neon_codes_of(const lbpmap_neighborhood *nb);

/* Clears, in the codes of LANES centres, the bits of those ties that "released" puts at 0. tie[i]
 * is 255 in lanes where corner i (sample 2 i + 1) ties with its centre, and 0 elsewhere. */
uint8x16_t lbpmap_neon_settle_ties(const lbpmap_neighborhood *nb, const uint8_t *centre,
                                   ptrdiff_t stride, const uint8x16_t tie[4], uint8x16_t codes);

/* An index into 256 bytes, and what it is in their second, third and fourth quarter. */
typedef struct {
    uint8x16_t in[4];
} indices;

INLINE indices indices_of(uint8x16_t index) {
    const indices i = {{index, vsubq_u8(index, vdupq_n_u8(64)), vsubq_u8(index, vdupq_n_u8(128)),
                        vsubq_u8(index, vdupq_n_u8(192))}};
    return i;
}

/* table[index] for 256 bytes and LANES indices. An index of 64 or more lies outside the quarter:
 * TBL gives 0 for it, TBX what was there before. */
INLINE uint8x16_t look_up(const uint8_t *table, const indices *index) {
    uint8x16_t entry = vqtbl4q_u8(vld1q_u8_x4(table), index->in[0]);
    entry = vqtbx4q_u8(entry, vld1q_u8_x4(table + 64), index->in[1]);
    entry = vqtbx4q_u8(entry, vld1q_u8_x4(table + 128), index->in[2]);
    return vqtbx4q_u8(entry, vld1q_u8_x4(table + 192), index->in[3]);
}

#endif
#endif
