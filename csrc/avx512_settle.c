/* avx512_settle.c: what the integer rules leave open in "released" arithmetic.
 *
 * Away from a tie the sign of a sample minus its centre is certain; at one the double precision of
 * lbp.m decides. Two kinds of ties cover nearly all: flat places and ramps along an anti-diagonal
 * have the centre C on a corner's diagonal, and C + delta and C - delta beside it. Their answers
 * stand in lbpmap_neighborhood.tie_zero, for every radius: windows of eight deltas, 256 bytes each,
 * see clear_ties() in avx512.h; flat places, the commonest, have a byte of their own with the bits
 * of all corners. What is left is summed in double, left to right: lane by lane where they are few,
 * eight at a time otherwise, so that no picture falls off a cliff. */
#include "avx512.h"

#ifdef LBPMAP_AVX512

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
    enum { GENTLE = 16, DELTA_0 = 1 << 4 };
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
static __m512i settle_row(const lbpmap_avx512_plan *plan, int32_t first, const __mmask64 lanes[8],
                          const uint8_t *p, ptrdiff_t stride, const uint8_t *stored) {
    enum { FEW = 4 };
    const lbpmap_neighborhood *nb = plan->nb;
    const __m512i c = _mm512_loadu_si512(p);
    __m512i codes = _mm512_loadu_si512(stored), flat[4];
    load_table(plan->flat, flat);
    const __m512i zeros = look_up(flat, c, _mm512_movepi8_mask(c));
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
            if (ties)
                codes = clear_ties(nb, i, ties, delta, c, codes);
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
    return codes;
}

void lbpmap_avx512_settle(const lbpmap_avx512_plan *plan, int32_t first,
                          const lbpmap_avx512_doubts *doubts, const uint8_t *p, ptrdiff_t stride,
                          uint8_t *codes, ptrdiff_t codes_stride) {
    for (unsigned rows = doubts->rows; rows; rows &= rows - 1) {
        const int y = __builtin_ctz(rows);
        uint8_t *row = codes + y * codes_stride;
        _mm512_storeu_si512(row, settle_row(plan, first, doubts->lanes[y], p + y * stride, stride,
                                            row));
    }
}

LBPMAP_AVX512_END
#endif
