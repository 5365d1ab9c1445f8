/* avx512_settle.c: what the integer rules leave open in "released" arithmetic.
 *
 * Away from a tie the sign of a sample minus its centre is certain; at one the double precision of
 * lbp.m decides. Two kinds of ties cover nearly all: flat places and ramps along an anti-diagonal
 * have the centre C on a corner's diagonal, and C + delta and C - delta beside it. Their answers
 * stand in lbpmap_neighborhood, for every radius, and are looked up by how common they are:
 *
 *   flat      a byte for each C with the bits of all corners, in registers
 *   gentle    deltas -4..3: a byte for each C and corner, in registers
 *   few       the rest of a row of 64, lane by lane
 *   many      all 64 lanes, whether they tie or not, once for all corners in which a lane's pixels
 *             grow alike: the time does not depend on how often a slope changes
 *
 * What is no such tie is summed in double, left to right: lane by lane where they are few, eight at
 * a time otherwise. So no picture falls off a cliff. */
#include "avx512.h"

#ifdef LBPMAP_AVX512

#include <string.h>

/* The window of deltas -4..3, and the bit of delta = 0. */
enum { GENTLE = 16, DELTA_0 = 1 << 4 };

/* Four lanes, from `at` on, of each of eight groups of eight: their indices are one load. (char), as
 * the macro that gcc -O0 has for vpinsrb would warn. */
#define LOOK_UP_FOUR(at)                                                                           \
    for (int j = 0; j < 8; ++j) {                                                                  \
        uint64_t four;                                                                             \
        memcpy(&four, index + 8 * j + (at), sizeof four);                                          \
        found[j] = _mm_insert_epi8(found[j], (char)clears[four & 0xffff], at);                     \
        found[j] = _mm_insert_epi8(found[j], (char)clears[four >> 16 & 0xffff], (at) + 1);         \
        found[j] = _mm_insert_epi8(found[j], (char)clears[four >> 32 & 0xffff], (at) + 2);         \
        found[j] = _mm_insert_epi8(found[j], (char)clears[four >> 48], (at) + 3);                  \
    }

/* clears[256 * down + centre], lane by lane. vpinsrb is what takes the least time: on Zen 3 13.5 ns
 * for all, against 16.5 with a load for each index, 23 by stores of bytes, 26 by vpgatherdd. */
INLINE __m512i look_up_each(const uint8_t *clears, __m512i centre, __m512i down) {
    uint16_t index[LANES]; /* of lanes 0-7, 16-23, 32-39, 48-55, then of those between */
    __m128i found[8];
    _mm512_storeu_si512(index, _mm512_unpacklo_epi8(centre, down));
    _mm512_storeu_si512(index + LANES / 2, _mm512_unpackhi_epi8(centre, down));
    for (int j = 0; j < 8; ++j)
        found[j] = _mm_setzero_si128();
    LOOK_UP_FOUR(0)
    LOOK_UP_FOUR(4)
    __m512i all = _mm512_castsi128_si512(_mm_unpacklo_epi64(found[0], found[4]));
    all = _mm512_inserti32x4(all, _mm_unpacklo_epi64(found[1], found[5]), 1);
    all = _mm512_inserti32x4(all, _mm_unpacklo_epi64(found[2], found[6]), 2);
    return _mm512_inserti32x4(all, _mm_unpacklo_epi64(found[3], found[7]), 3);
}

/* Clears the bits of those ties that grow alike in all corners of a lane, and takes them off. */
INLINE __m512i clear_alike(const lbpmap_neighborhood *nb, lbpmap_avx512_ties *ties, __m512i centre,
                           __m512i codes) {
    __m512i down = ties->down[0], corners = _mm512_setzero_si512();
    for (int k = 1; k < 4; ++k)
        down = _mm512_mask_mov_epi8(down, ties->lanes[k], ties->down[k]);
    for (int k = 0; k < 4; ++k) {
        const __mmask64 alike = _mm512_mask_cmpeq_epi8_mask(ties->lanes[k], down, ties->down[k]);
        corners = set_bit(corners, alike, 2 << 2 * k);
        ties->lanes[k] &= ~alike;
    }
    return _mm512_ternarylogic_epi32(codes, look_up_each(nb->tie_clears[0], centre, down), corners,
                                     0x70); /* a & ~(b & c) */
}

void lbpmap_avx512_clear_ties(const lbpmap_neighborhood *nb, lbpmap_avx512_ties *ties,
                              const uint8_t *p, uint8_t *codes) {
    enum { FEW = 4 };
    int count = 0;
    for (int k = 0; k < 4; ++k)
        count += __builtin_popcountll(ties->lanes[k]);
    if (count > FEW) {
        const __m512i centre = _mm512_loadu_si512(p);
        __m512i all = _mm512_loadu_si512(codes);
        while (ties->lanes[0] | ties->lanes[1] | ties->lanes[2] | ties->lanes[3])
            all = clear_alike(nb, ties, centre, all);
        _mm512_storeu_si512(codes, all);
        return;
    }
    for (int k = 0; k < 4; ++k) {
        const uint8_t *down = (const uint8_t *)&ties->down[k];
        for (__mmask64 left = ties->lanes[k]; left; left &= left - 1) {
            const int lane = __builtin_ctzll(left);
            codes[lane] &= (uint8_t)~(nb->tie_clears[down[lane]][p[lane]] & 2 << 2 * k);
        }
    }
}

/* Clears a bit in ties of deltas -4..3, whose window of lbpmap_neighborhood.tie_zero four registers
 * hold; returns the others. */
INLINE __mmask64 clear_gentle(const uint8_t window[256], int bit, __mmask64 ties, __m512i delta,
                              __m512i centre, __m512i *codes) {
    const __m512i powers = _mm512_set1_epi64((long long)0x8040201008040201ull);
    const __m512i place = _mm512_add_epi8(delta, _mm512_set1_epi8(4));
    const __mmask64 gentle = _mm512_mask_cmplt_epu8_mask(ties, place, _mm512_set1_epi8(8));
    __m512i table[4];
    load_table(window, table);
    const __m512i zeros = look_up(table, centre, _mm512_movepi8_mask(centre));
    *codes = clear_bit(*codes, _mm512_mask_test_epi8_mask(gentle, zeros,
                                                          _mm512_shuffle_epi8(powers, place)), bit);
    return ties & ~gentle;
}

INLINE __m512d eight_doubles(const uint8_t *p) {
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)p);
    return _mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(bytes));
}

/* Lanes whose sum in double is below the centre, among eights with a doubtful lane. */
static __mmask64 below_centre(const lbpmap_sample *s, const uint8_t *p, ptrdiff_t stride,
                              __mmask64 doubtful) {
    __mmask64 below = 0;
    for (__mmask64 left = doubtful; left;) {
        const int at = __builtin_ctzll(left) & ~7;
        __m512d sum = _mm512_setzero_pd();
        for (int k = 0; k < 4; ++k) {
            const uint8_t *pixel = p + s->row[k / 2] * stride + s->col[k % 2] + at;
            const __m512d term =
                _mm512_mul_pd(_mm512_set1_pd(s->weight[k]), eight_doubles(pixel));
            sum = k ? _mm512_add_pd(sum, term) : term;
        }
        const __mmask8 less = _mm512_cmp_pd_mask(sum, eight_doubles(p + at), _CMP_LT_OQ);
        below |= (__mmask64)less << at;
        left &= ~((__mmask64)255 << at);
    }
    return below & doubtful;
}

/* The same for one lane. */
static int is_below(const lbpmap_sample *s, const uint8_t *p, ptrdiff_t stride) {
    double sum = 0;
    for (int k = 0; k < 4; ++k) {
        const double term = s->weight[k] * p[s->row[k / 2] * stride + s->col[k % 2]];
        sum = k ? sum + term : term;
    }
    return sum < (double)*p;
}

void lbpmap_avx512_plan_flat(lbpmap_avx512_plan *plan) {
    for (int c = 0; c < 256; ++c) {
        unsigned bits = 0;
        for (int k = 0; k < 4; ++k)
            bits |= plan->nb->tie_zero[k][GENTLE][c] & DELTA_0 ? 2u << 2 * k : 0;
        plan->flat[c] = (uint8_t)bits;
    }
}

/* A corner's four pixels, sorted out. */
typedef struct {
    __m512i near, far;     /* on the diagonal */
    __m512i beside, above; /* left or right of the diagonal, above or below it */
} corner;

INLINE corner load_corner(const lbpmap_sample *s, const uint8_t *p, ptrdiff_t stride) {
    corner c;
    for (int k = 0; k < 4; ++k) {
        const int32_t row = s->row[k / 2], col = s->col[k % 2];
        const int32_t down = row < 0 ? -row : row, across = col < 0 ? -col : col;
        const __m512i pixel = _mm512_loadu_si512(p + row * stride + col);
        if (across > down)
            c.beside = pixel;
        else if (across < down)
            c.above = pixel;
        else if (down == 0 || (k / 2 == (row < 0 ? 1 : 0)))
            c.near = pixel;
        else
            c.far = pixel;
    }
    return c;
}

/* One row of centres. */
static void settle_row(const lbpmap_avx512_plan *plan, int32_t first, const __mmask64 lanes[8],
                       const uint8_t *p, ptrdiff_t stride, uint8_t *stored) {
    enum { FEW = 4 };
    const lbpmap_neighborhood *nb = plan->nb;
    const __m512i c = _mm512_loadu_si512(p);
    __m512i codes = _mm512_loadu_si512(stored), flat[4];
    load_table(plan->flat, flat);
    const __m512i zeros = look_up(flat, c, _mm512_movepi8_mask(c));
    lbpmap_avx512_ties rest;
    memset(rest.lanes, 0, sizeof rest.lanes);
    for (int k = 0; k < 8; ++k) {
        const int32_t i = first + k;
        __mmask64 left = lanes[k];
        if (!left)
            continue;
        const lbpmap_sample *s = &nb->sample[i];
        if (nb->points == 8) {
            const corner q = load_corner(s, p, stride);
            const __m512i uneven = _mm512_or_si512(_mm512_xor_si512(q.near, c),
                                                   _mm512_xor_si512(q.far, c));
            const __m512i delta = _mm512_sub_epi8(q.beside, c);
            const __m512i differ = _mm512_ternarylogic_epi32(
                uneven, delta, _mm512_sub_epi8(c, q.above), 0xf6); /* a | (b ^ c) */
            __mmask64 ties = _mm512_mask_testn_epi8_mask(left, differ, differ);
            left &= ~ties;
            const __mmask64 level = _mm512_mask_testn_epi8_mask(ties, delta, delta);
            const __m512i bit = _mm512_set1_epi8((char)(1 << k));
            codes = clear_bit(codes, _mm512_mask_test_epi8_mask(level, zeros, bit), 1 << k);
            ties &= ~level;
            if (ties) {
                rest.lanes[k / 2] = clear_gentle(nb->tie_zero[k / 2][GENTLE], 1 << k, ties, delta,
                                                 c, &codes);
                rest.down[k / 2] = k < 4 ? delta : _mm512_sub_epi8(c, q.beside);
            }
        }
        if (__builtin_popcountll(left) > FEW) {
            codes = clear_bit(codes, below_centre(s, p, stride, left), 1 << k);
            continue;
        }
        __mmask64 below = 0;
        for (; left; left &= left - 1) {
            const int lane = __builtin_ctzll(left);
            below |= (__mmask64)is_below(s, p + lane, stride) << lane;
        }
        codes = clear_bit(codes, below, 1 << k);
    }
    _mm512_storeu_si512(stored, codes);
    if (rest.lanes[0] | rest.lanes[1] | rest.lanes[2] | rest.lanes[3]) {
        for (int k = 0; k < 4; ++k)
            if (!rest.lanes[k])
                rest.down[k] = c;
        lbpmap_avx512_clear_ties(nb, &rest, p, stored);
    }
}

void lbpmap_avx512_settle(const lbpmap_avx512_plan *plan, int32_t first,
                          const lbpmap_avx512_doubts *doubts, const uint8_t *p, ptrdiff_t stride,
                          uint8_t *codes, ptrdiff_t codes_stride) {
    for (unsigned rows = doubts->rows; rows; rows &= rows - 1) {
        const int y = __builtin_ctz(rows);
        settle_row(plan, first, doubts->lanes[y], p + y * stride, stride,
                   codes + y * codes_stride);
    }
}

LBPMAP_AVX512_END
#endif
