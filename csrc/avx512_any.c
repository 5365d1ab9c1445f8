/* avx512_any.c: codes of any neighbourhood, up to eight samples at a time, by the 32-bit rule.
 *
 * "exact" is S = sum(millionths * pixel) - 1000000 C >= -50. A lane of 32 bits holds the four
 * pixels of one sample: a load at the sample's left column has both pixels of a row in lanes of 16
 * bits, for even centres, one further for odd ones, and vpunpckwd puts the row below beside them.
 * vpdpbusd then multiplies the four by digits of base 128 of their weights and adds: weights of up
 * to 20 bits are three digits,
 *
 *     sum = ((p . d2) * 128 + p . d1) * 128 + p . d0,
 *
 * the lower digits 0..127, the upper one signed (a fourth weight may be -1).
 *
 * Eight pixels, the square grid, are compared as bytes, without sums.
 *
 * "released" has the sign of S wherever S is far from 0: rounding to millionths moves it by at most
 * 255 * (0.5 + 0.5 + 0.5 + 1.5). Nearer lanes are left to avx512_settle.c. */
#include "avx512.h"

#ifdef LBPMAP_AVX512

#include <string.h>

enum { QUARTERS = 4, NEAR_ZERO = 800 };

/* Samples of the eight that lie between pixels. */
typedef struct {
    ptrdiff_t upper, lower; /* from the centre to the left pixels of the two rows, in bytes */
    __m512i digit[3];
} between;

static between prepare(const lbpmap_sample *s, ptrdiff_t stride) {
    /* Where the sample lies in a column of pixels, both weights of a row are that column's. */
    const int narrow = s->col[1] == s->col[0];
    int32_t weight[4];
    for (int k = 0; k < 4; k += 2) {
        weight[k] = s->millionths[k] + (narrow ? s->millionths[k + 1] : 0);
        weight[k + 1] = narrow ? 0 : s->millionths[k + 1];
    }
    between b = {s->row[0] * stride + s->col[0], s->row[1] * stride + s->col[0], {{0}, {0}, {0}}};
    for (int d = 0; d < 3; ++d) {
        uint32_t four = 0;
        for (int k = 0; k < 4; ++k) {
            /* Floor division: weights are > -128. */
            const int32_t shifted = (weight[k] + (1 << 14)) / (1 << 7 * d) - (1 << (14 - 7 * d));
            four |= (uint32_t)(uint8_t)(d < 2 ? shifted & 127 : shifted) << 8 * k;
        }
        b.digit[d] = _mm512_set1_epi32((int)four);
    }
    return b;
}

/* Four quarters of a block in lanes of 32 bits: even centres, then odd ones, each as vpunpck orders
 * them. */
INLINE void quarters_of(const uint8_t *upper, const uint8_t *lower, __m512i quarter[QUARTERS]) {
    for (int odd = 0; odd < 2; ++odd) {
        const __m512i up = _mm512_loadu_si512(upper + odd), down = _mm512_loadu_si512(lower + odd);
        quarter[2 * odd] = _mm512_unpacklo_epi16(up, down);
        quarter[2 * odd + 1] = _mm512_unpackhi_epi16(up, down);
    }
}

/* 64 bytes from their quarters. */
INLINE __m512i join(const __m512i quarter[QUARTERS]) {
    const __m512i even = _mm512_packus_epi32(quarter[0], quarter[1]);
    const __m512i odd = _mm512_packus_epi32(quarter[2], quarter[3]);
    return _mm512_or_si512(even, _mm512_slli_epi16(odd, 8));
}

INLINE __m512i weigh(const between *b, __m512i pixels) {
    __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), pixels, b->digit[2]);
    sum = _mm512_dpbusd_epi32(_mm512_slli_epi32(sum, 7), pixels, b->digit[1]);
    return _mm512_dpbusd_epi32(_mm512_slli_epi32(sum, 7), pixels, b->digit[0]);
}

INLINE void walk(const lbpmap_avx512_plan *plan, int32_t first, const uint8_t *p, ptrdiff_t stride,
                 size_t rows, uint8_t *out, ptrdiff_t out_stride, int released) {
    const lbpmap_neighborhood *nb = plan->nb;
    const int32_t end = nb->points < first + 8 ? nb->points : first + 8;
    between sample[8];
    for (int32_t i = first; i < end; ++i)
        if (!nb->sample[i].is_pixel)
            sample[i - first] = prepare(&nb->sample[i], stride);
    const __m512i zero = _mm512_setzero_si512(), one = _mm512_set1_epi32(1);
    lbpmap_avx512_doubts later;
    later.rows = 0;
    const uint8_t *at = p;
    uint8_t *to = out;
    for (size_t y = 0; y < rows; ++y, at += stride, to += out_stride) {
        const __m512i c = _mm512_loadu_si512(at);
        const __m512i wide[2] = {even16(c), odd16(c)};
        __m512i least[QUARTERS], bits[QUARTERS], codes = zero;
        for (int q = 0; q < QUARTERS; ++q) {
            const __m512i centre = q % 2 ? _mm512_unpackhi_epi16(wide[q / 2], zero)
                                         : _mm512_unpacklo_epi16(wide[q / 2], zero);
            least[q] = _mm512_mullo_epi32(centre, _mm512_set1_epi32(1000000));
            if (!released)
                least[q] = _mm512_sub_epi32(least[q], _mm512_set1_epi32(50));
            bits[q] = zero;
        }
        if (released)
            memset(later.lanes[y], 0, sizeof later.lanes[y]);
        for (int32_t i = first; i < end; ++i) {
            const lbpmap_sample *s = &nb->sample[i];
            const __m512i bit = _mm512_slli_epi32(one, (unsigned)(i - first));
            if (s->is_pixel) {
                const __m512i pixel = _mm512_loadu_si512(at + s->row[0] * stride + s->col[0]);
                codes = set_bit(codes, _mm512_cmpge_epu8_mask(pixel, c), 1 << (i - first));
                continue;
            }
            const between *b = &sample[i - first];
            __m512i quarter[QUARTERS], doubt[QUARTERS];
            __mmask16 any = 0;
            quarters_of(at + b->upper, at + b->lower, quarter);
            for (int q = 0; q < QUARTERS; ++q) {
                const __m512i sum = weigh(b, quarter[q]);
                bits[q] = _mm512_mask_or_epi32(bits[q], _mm512_cmpge_epi32_mask(sum, least[q]),
                                               bits[q], bit);
                if (released) {
                    const __m512i from_least = _mm512_sub_epi32(sum, least[q]);
                    const __mmask16 near = _mm512_cmple_epu32_mask(
                        _mm512_add_epi32(from_least, _mm512_set1_epi32(NEAR_ZERO)),
                        _mm512_set1_epi32(2 * NEAR_ZERO));
                    doubt[q] = _mm512_maskz_mov_epi32(near, one);
                    any |= near;
                }
            }
            if (released && any) {
                for (int q = 0; q < QUARTERS; ++q)
                    bits[q] = _mm512_mask_or_epi32(bits[q], _mm512_test_epi32_mask(doubt[q], one),
                                                   bits[q], bit);
                const __m512i lanes = join(doubt);
                later.rows |= 1u << y;
                later.lanes[y][i - first] = _mm512_test_epi8_mask(lanes, lanes);
            }
        }
        _mm512_storeu_si512(to, _mm512_or_si512(codes, join(bits)));
    }
    if (released)
        lbpmap_avx512_settle(plan, first, &later, p, stride, out, out_stride);
}

void lbpmap_avx512_pixels(const lbpmap_avx512_plan *plan, int32_t first, const uint8_t *p,
                          ptrdiff_t stride, size_t rows, uint8_t *codes, ptrdiff_t codes_stride) {
    (void)first;
    ptrdiff_t at[8];
    for (int i = 0; i < 8; ++i)
        at[i] = plan->nb->sample[i].row[0] * stride + plan->nb->sample[i].col[0];
    for (size_t y = 0; y < rows; ++y, p += stride, codes += codes_stride) {
        const __m512i c = _mm512_loadu_si512(p);
        __m512i code = _mm512_setzero_si512();
        for (int i = 0; i < 8; ++i)
            code = set_bit(code, _mm512_cmpge_epu8_mask(_mm512_loadu_si512(p + at[i]), c), 1 << i);
        _mm512_storeu_si512(codes, code);
    }
}

void lbpmap_avx512_any_exact(const lbpmap_avx512_plan *plan, int32_t first, const uint8_t *p,
                             ptrdiff_t stride, size_t rows, uint8_t *codes,
                             ptrdiff_t codes_stride) {
    walk(plan, first, p, stride, rows, codes, codes_stride, 0);
}

void lbpmap_avx512_any_released(const lbpmap_avx512_plan *plan, int32_t first, const uint8_t *p,
                                ptrdiff_t stride, size_t rows, uint8_t *codes,
                                ptrdiff_t codes_stride) {
    walk(plan, first, p, stride, rows, codes, codes_stride, 1);
}

LBPMAP_AVX512_END
#endif
