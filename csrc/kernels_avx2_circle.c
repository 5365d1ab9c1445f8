/* kernels_avx2_circle.c: codes of radii above 1, P = 8, on AVX2.
 *
 * A corner lies between four pixels: near (towards the centre C), far, and two mid ones, "beside" in
 * near's row and "upright" in near's column. With a = near - C, s = beside + upright - 2C and
 * d = far - C a corner is a few products in lanes of 16 bits (tests/test_constants.py and
 * tests/test_kernels_avx2.py enumerate every feasible triple):
 *
 *   R = 5   v = 7 s + 6 a + 8 d + (mulhi(32 (a + d) + 1, 18636) >> 7)
 *   R = 10  v = s + 12 a + ((t + mulhi(t, 14685)) >> 4), t = 14 a + d
 *   else    S of the "exact" rule in 32 bits: weights are two digits of 15 bits for vpmaddwd
 *
 * and its bit is v >= 0, or S >= -50. vpmaddubsw multiplies pixels as they lie, near and far
 * interleaved, and the terms of C are taken off afterwards.
 *
 * In a few places that does not decide, and these are found as bytes and settled apart:
 *
 *   R = 5, "released"   v = 0 and a + d = 0 or 211: all ties, and the 13 triples in which "exact" is
 *                       not the sign of the real value
 *   R = 10, "released"  v = 0 and t = 0: all ties
 *   R = 10, "exact"     t = 183 v but for a tie of d = 0: the 16 triples in which "exact" is not
 *                       the sign
 *   else, "released"    |S| <= 1024: rounded weights are off by 3 millionths in sum, 765 in 255 C
 *
 * Of the first two kinds most have a = s = d = 0, and depend on C and beside - C alone (avx2_ties.h):
 * flat places, settled at once, and slopes, which are noted and looked up when the block is done. What
 * is left is summed in double, left to right, four lanes at a time, and in "exact" lane by lane. On
 * Zen 3 "released" costs 1.65 times as much as "exact" at R = 5 on photos and flat pictures, and up to
 * 4.1 times on slopes (5 where another thread shares the core); at R = 10, where "exact" has doubts of its
 * own, 1.1 and 3 times. */
#include "avx2_ties.h"

#ifdef LBPMAP_AVX2

#include <stdlib.h>
#include <string.h>

typedef enum { R5, R10, ANY } rule;

/* A corner: where its pixels lie, and their weights in two digits: w = high << 15 | low. */
typedef struct {
    ptrdiff_t near, far, beside, upright;
    ptrdiff_t inner; /* rows, and as many columns, from the centre to near */
    __m256i diagonal_low, diagonal_high, mids_low, mids_high; /* near, far; beside, upright */
} corner;

/* Two weights, of pixels that are interleaved. */
AVX2_INLINE __m256i pair(int32_t first, int32_t second) {
    return _mm256_set1_epi32((int32_t)((uint32_t)second << 16 | ((uint32_t)first & 0xffff)));
}

AVX2_INLINE corner corner_of(const lbpmap_sample *s, ptrdiff_t stride) {
    const int r = abs(s->row[1]) < abs(s->row[0]), c = abs(s->col[1]) < abs(s->col[0]);
    const int32_t near = s->millionths[2 * r + c], far = s->millionths[3 - 2 * r - c];
    const int32_t beside = s->millionths[2 * r + !c], upright = s->millionths[2 * !r + c];
    corner k;
    k.inner = abs(s->col[c]);
    k.near = s->row[r] * stride + s->col[c];
    k.far = s->row[!r] * stride + s->col[!c];
    k.beside = s->row[r] * stride + s->col[!c];
    k.upright = s->row[!r] * stride + s->col[c];
    k.diagonal_low = pair(near & 0x7fff, far & 0x7fff);
    k.diagonal_high = pair(near >> 15, far >> 15);
    k.mids_low = pair(beside & 0x7fff, upright & 0x7fff);
    k.mids_high = pair(beside >> 15, upright >> 15);
    return k;
}

AVX2_INLINE __m256d four_doubles(const uint8_t *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)));
}

/* Lanes whose sum in double is below the centre, among the fours with a doubtful lane. */
static AVX2 uint32_t below_centre(const lbpmap_sample *s, const uint8_t *p, ptrdiff_t stride,
                                  uint32_t doubtful) {
    uint32_t below = 0;
    for (uint32_t left = doubtful; left;) {
        const unsigned at = _tzcnt_u32(left) & ~3u;
        __m256d sum = _mm256_setzero_pd();
        for (int k = 0; k < 4; ++k) {
            const uint8_t *pixel = p + s->row[k / 2] * stride + s->col[k % 2] + at;
            const __m256d term = _mm256_mul_pd(_mm256_set1_pd(s->weight[k]), four_doubles(pixel));
            sum = k ? _mm256_add_pd(sum, term) : term;
        }
        const __m256d less = _mm256_cmp_pd(sum, four_doubles(p + at), _CMP_LT_OQ);
        below |= (uint32_t)_mm256_movemask_pd(less) << at;
        left &= ~(15u << at);
    }
    return below & doubtful;
}

/* A mask of 32 bytes from 32 bits. */
AVX2_INLINE __m256i bytes_of(uint32_t bits) {
    const __m256i which = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202,
                                             0x0303030303030303);
    const __m256i power = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    const __m256i byte = _mm256_shuffle_epi8(_mm256_set1_epi32((int32_t)bits), which);
    return _mm256_cmpeq_epi8(_mm256_and_si256(byte, power), power);
}

AVX2_INLINE __m256i any_of(const __m256i masks[4]) {
    return _mm256_or_si256(_mm256_or_si256(masks[NE], masks[NW]),
                           _mm256_or_si256(masks[SW], masks[SE]));
}

/* Flat places, looked up: the corners that give 0 at these centres. */
typedef struct {
    __m256i centre, zero[4];
} flats;

AVX2_INLINE void look_up_flats(const plan_avx2 *plan, __m256i centre, flats *f) {
    const bit_place place = place_of(centre);
    f->centre = centre;
    for (int i = 0; i < 4; ++i)
        f->zero[i] = bit_at(plan->flat[i], place);
}

/* Slopes of a corner in a row of 32 that wait to be looked up until their indices are in the cache. */
typedef struct {
    __m256i bits; /* the corner's bit, where a slope may clear it */
    uint16_t index[LANES];
    uint8_t *codes;
} slopes;

enum { MOST_WAITING = 64 };

typedef struct {
    size_t n;
    slopes at[MOST_WAITING];
} waiting;

static AVX2 __attribute__((noinline)) void settle_slopes(const lbpmap_neighborhood *nb,
                                                         waiting *w) {
    for (size_t i = 0; i < w->n; ++i) {
        const slopes *s = &w->at[i];
        const __m256i clear = both(cleared_bits(nb, s->index), s->bits);
        store(s->codes, _mm256_andnot_si256(clear, load(s->codes)));
    }
    w->n = 0;
}

/* Settles the lanes of the corners that are still in doubt in "released" by their sums; slopes, whose
 * diagonal equals the centre, wait unless they are few. */
static AVX2 __attribute__((noinline)) void settle_rest(const lbpmap_neighborhood *nb,
                                                       const corner k[4], const uint8_t *p,
                                                       ptrdiff_t stride, uint8_t *codes,
                                                       const __m256i doubt[4], waiting *w,
                                                       __m256i is[4]) {
    enum { MANY = 2 };
    const __m256i c = load(p);
    for (int i = 0; i < 4; ++i) {
        uint32_t rest = (uint32_t)_mm256_movemask_epi8(doubt[i]);
        if (!rest)
            continue;
        const __m256i beside = load(p + k[i].beside), upright = load(p + k[i].upright);
        const __m256i diagonal = both(_mm256_cmpeq_epi8(load(p + k[i].near), c),
                                      _mm256_cmpeq_epi8(load(p + k[i].far), c));
        const __m256i mids = _mm256_cmpeq_epi8(_mm256_add_epi8(beside, upright),
                                               _mm256_add_epi8(c, c));
        const __m256i slope = both(both(doubt[i], diagonal), mids);
        const uint32_t many = (uint32_t)_mm256_movemask_epi8(slope);
        if (__builtin_popcount(many) >= MANY) {
            slopes *s = &w->at[w->n++];
            s->bits = both(slope, _mm256_set1_epi8((char)(2 << (2 * i))));
            s->codes = codes;
            store_indices(s->index, c, i < SW ? _mm256_sub_epi8(beside, c)
                                              : _mm256_sub_epi8(c, beside));
            rest &= ~many;
        }
        if (rest) {
            const uint32_t below = below_centre(&nb->sample[2 * i + 1], p, stride, rest);
            is[i] = _mm256_andnot_si256(bytes_of(below), is[i]);
        }
    }
}

/* Settles the corners that are in doubt in "released", flat places first. */
AVX2_INLINE void settle(const plan_avx2 *plan, const corner k[4], const uint8_t *p,
                        ptrdiff_t stride, uint8_t *codes, __m256i c, flats *f, waiting *w,
                        __m256i doubt[4], __m256i is[4]) {
    const __m256i same = _mm256_cmpeq_epi8(c, f->centre);
    if (!_mm256_testc_si256(same, _mm256_set1_epi8(-1)))
        look_up_flats(plan, c, f);
    for (int i = 0; i < 4; ++i) {
        const __m256i diagonal = both(_mm256_cmpeq_epi8(load(p + k[i].near), c),
                                      _mm256_cmpeq_epi8(load(p + k[i].far), c));
        const __m256i mids = both(_mm256_cmpeq_epi8(load(p + k[i].beside), c),
                                  _mm256_cmpeq_epi8(load(p + k[i].upright), c));
        const __m256i flat = both(doubt[i], both(diagonal, mids));
        is[i] = _mm256_andnot_si256(both(flat, f->zero[i]), _mm256_or_si256(is[i], doubt[i]));
        doubt[i] = _mm256_andnot_si256(flat, doubt[i]);
    }
    const __m256i any = any_of(doubt);
    if (!_mm256_testz_si256(any, any))
        settle_rest(plan->nb, k, p, stride, codes, doubt, w, is);
}

/* Settles what is in doubt in "exact", as kernels_serial.c would. */
static AVX2 __attribute__((noinline)) __m256i one_by_one(const lbpmap_sample *s, const uint8_t *p,
                                                         ptrdiff_t stride, __m256i is,
                                                         __m256i doubt) {
    const int32_t *m = s->millionths;
    uint8_t lanes[LANES];
    store(lanes, is);
    for (uint32_t left = (uint32_t)_mm256_movemask_epi8(doubt); left; left &= left - 1) {
        const unsigned x = _tzcnt_u32(left);
        const uint8_t *top = p + s->row[0] * stride + x, *bottom = p + s->row[1] * stride + x;
        const int32_t sum = m[0] * top[s->col[0]] + m[1] * top[s->col[1]] +
                            m[2] * bottom[s->col[0]] + m[3] * bottom[s->col[1]];
        lanes[x] = sum - 1000000 * p[x] >= -50 ? 255 : 0;
    }
    return load(lanes);
}

/* 16 lanes of R = 5: near and far, beside and upright are interleaved. */
AVX2_INLINE __m256i value5(__m256i diagonal, __m256i mids, __m256i c) {
    const __m256i whole = _mm256_add_epi16(
        _mm256_maddubs_epi16(diagonal, _mm256_set1_epi16(8 << 8 | 6)),
        _mm256_maddubs_epi16(mids, _mm256_set1_epi16(7 << 8 | 7)));
    const __m256i sum = _mm256_maddubs_epi16(diagonal, _mm256_set1_epi16(32 << 8 | 32));
    const __m256i inner = _mm256_sub_epi16(sum, _mm256_sub_epi16(_mm256_slli_epi16(c, 6),
                                                                  _mm256_set1_epi16(1)));
    const __m256i rest =
        _mm256_srai_epi16(_mm256_mulhi_epi16(inner, _mm256_set1_epi16(18636)), 7);
    return _mm256_sub_epi16(_mm256_add_epi16(whole, rest),
                            _mm256_mullo_epi16(c, _mm256_set1_epi16(28)));
}

/* 16 lanes of R = 10, and t. */
AVX2_INLINE __m256i value10(__m256i diagonal, __m256i mids, __m256i c, __m256i *t) {
    const __m256i w = _mm256_add_epi16(
        _mm256_maddubs_epi16(diagonal, _mm256_set1_epi16(12)),
        _mm256_maddubs_epi16(mids, _mm256_set1_epi16(1 << 8 | 1)));
    *t = _mm256_sub_epi16(_mm256_maddubs_epi16(diagonal, _mm256_set1_epi16(1 << 8 | 14)),
                          _mm256_mullo_epi16(c, _mm256_set1_epi16(15)));
    const __m256i fine =
        _mm256_add_epi16(*t, _mm256_mulhi_epi16(*t, _mm256_set1_epi16(14685)));
    return _mm256_sub_epi16(_mm256_add_epi16(w, _mm256_srai_epi16(fine, 4)),
                            _mm256_mullo_epi16(c, _mm256_set1_epi16(14)));
}

/* S in 8 lanes of 32 bits, from pixels in lanes of 16 bits; centre is 1000000 C. */
AVX2_INLINE __m256i value_any(const corner *k, __m256i diagonal, __m256i mids, __m256i centre) {
    const __m256i high = _mm256_add_epi32(_mm256_madd_epi16(diagonal, k->diagonal_high),
                                          _mm256_madd_epi16(mids, k->mids_high));
    const __m256i low = _mm256_add_epi32(_mm256_madd_epi16(diagonal, k->diagonal_low),
                                         _mm256_madd_epi16(mids, k->mids_low));
    return _mm256_sub_epi32(_mm256_add_epi32(_mm256_slli_epi32(high, 15), low), centre);
}

AVX2_INLINE __m256i is_byte(__m256i v, int byte) {
    return _mm256_cmpeq_epi8(v, _mm256_set1_epi8((char)byte));
}

/* A mask of a corner, and of the lanes in doubt. Its pixels are `inner` and inner + 1 rows and columns
 * from the centre, towards `side`: for a known radius so many bytes from the two rows, which leaves
 * registers for the rest. */
AVX2_INLINE __m256i corner_mask(rule what, int released, const corner *k, const uint8_t *near_row,
                                const uint8_t *far_row, ptrdiff_t side, ptrdiff_t inner, __m256i c,
                                const __m256i c16[2], const __m256i million[4], __m256i *doubt) {
    const ptrdiff_t in = side * inner, out = side * (inner + 1);
    const __m256i near = load(near_row + in), far = load(far_row + out);
    const __m256i beside = load(near_row + out), upright = load(far_row + in);
    const __m256i diagonal[2] = {_mm256_unpacklo_epi8(near, far), _mm256_unpackhi_epi8(near, far)};
    const __m256i mids[2] = {_mm256_unpacklo_epi8(beside, upright),
                             _mm256_unpackhi_epi8(beside, upright)};
    __m256i v[2], t[2];
    if (what == R5) {
        for (int h = 0; h < 2; ++h)
            v[h] = value5(diagonal[h], mids[h], c16[h]);
        const __m256i value = _mm256_packs_epi16(v[0], v[1]);
        if (released) {
            const __m256i ad = _mm256_sub_epi8(_mm256_add_epi8(near, far), _mm256_add_epi8(c, c));
            *doubt = both(is_byte(value, 0), _mm256_or_si256(is_byte(ad, 0), is_byte(ad, 211)));
        }
        return _mm256_cmpgt_epi8(value, _mm256_set1_epi8(-1));
    }
    if (what == R10) {
        for (int h = 0; h < 2; ++h)
            v[h] = value10(diagonal[h], mids[h], c16[h], &t[h]);
        const __m256i value = _mm256_packs_epi16(v[0], v[1]);
        if (released) {
            *doubt = both(is_byte(value, 0), is_byte(_mm256_packs_epi16(t[0], t[1]), 0));
        } else {
            for (int h = 0; h < 2; ++h)
                t[h] = _mm256_cmpeq_epi16(t[h], _mm256_mullo_epi16(v[h], _mm256_set1_epi16(183)));
            *doubt = _mm256_andnot_si256(_mm256_cmpeq_epi8(far, c),
                                         _mm256_packs_epi16(t[0], t[1]));
        }
        return _mm256_cmpgt_epi8(value, _mm256_set1_epi8(-1));
    }
    __m256i is[4], unsure[4];
    for (int q = 0; q < 4; ++q) {
        __m256i d16[2], m16[2];
        widen(diagonal[q / 2], d16);
        widen(mids[q / 2], m16);
        const __m256i s = value_any(k, d16[q % 2], m16[q % 2], million[q]);
        is[q] = _mm256_cmpgt_epi32(s, _mm256_set1_epi32(-51));
        if (released)
            unsure[q] = _mm256_cmpgt_epi32(_mm256_set1_epi32(1025), _mm256_abs_epi32(s));
    }
    if (released)
        *doubt = _mm256_packs_epi16(_mm256_packs_epi32(unsure[0], unsure[1]),
                                    _mm256_packs_epi32(unsure[2], unsure[3]));
    return _mm256_packs_epi16(_mm256_packs_epi32(is[0], is[1]), _mm256_packs_epi32(is[2], is[3]));
}

/* The codes of 32 centres. */
AVX2_INLINE void code_block(rule what, int released, const plan_avx2 *plan, const corner k[4],
                            const uint8_t *p, ptrdiff_t stride, ptrdiff_t east, flats *f,
                            waiting *later, uint8_t *out) {
    const ptrdiff_t south = east * stride;
    const __m256i c = load(p);
    __m256i c16[2], million[4], is[4], doubt[4];
    widen(c, c16);
    if (what == ANY)
        for (int q = 0; q < 4; ++q) {
            const __m256i half = c16[q / 2], zero = _mm256_setzero_si256();
            million[q] = _mm256_mullo_epi32(q % 2 ? _mm256_unpackhi_epi16(half, zero)
                                                  : _mm256_unpacklo_epi16(half, zero),
                                            _mm256_set1_epi32(1000000));
        }
    const ptrdiff_t inner = what == R5 ? 3 : what == R10 ? 7 : k[NE].inner;
    const uint8_t *up = p - inner * stride, *down = p + inner * stride;
    is[NE] = corner_mask(what, released, &k[NE], up, up - stride, 1, inner, c, c16, million,
                         &doubt[NE]);
    is[NW] = corner_mask(what, released, &k[NW], up, up - stride, -1, inner, c, c16, million,
                         &doubt[NW]);
    is[SW] = corner_mask(what, released, &k[SW], down, down + stride, -1, inner, c, c16, million,
                         &doubt[SW]);
    is[SE] = corner_mask(what, released, &k[SE], down, down + stride, 1, inner, c, c16, million,
                         &doubt[SE]);
    if (released || what == R10) {
        const __m256i any = any_of(doubt);
        const int certain = _mm256_testz_si256(any, any);
        if (!certain && released)
            settle(plan, k, p, stride, out, c, f, later, doubt, is);
        else if (!certain)
            for (int i = 0; i < 4; ++i)
                is[i] = one_by_one(&plan->nb->sample[2 * i + 1], p, stride, is[i], doubt[i]);
    }
    __m256i codes = _mm256_sub_epi8(_mm256_setzero_si256(), is[SE]);
    codes = then(codes, at_least(load(p + south), c));
    codes = then(codes, is[SW]);
    codes = then(codes, at_least(load(p - east), c));
    codes = then(codes, is[NW]);
    codes = then(codes, at_least(load(p - south), c));
    codes = then(codes, is[NE]);
    codes = then(codes, at_least(load(p + east), c));
    store(out, codes);
}

/* Row after row: a row reads seven others at most, few enough for the first-level cache even where rows
 * are 4096 bytes apart and have only its eight places to share. */
AVX2_INLINE void walk(rule what, int released, const plan_avx2 *plan, const uint8_t *p,
                      ptrdiff_t stride, size_t width, size_t height, uint8_t *codes,
                      ptrdiff_t codes_stride) {
    const lbpmap_sample *s = plan->nb->sample;
    const corner k[4] = {corner_of(&s[1], stride), corner_of(&s[3], stride),
                         corner_of(&s[5], stride), corner_of(&s[7], stride)};
    const ptrdiff_t east = plan->nb->radius;
    flats f;
    waiting later;
    later.n = 0;
    if (released)
        look_up_flats(plan, _mm256_setzero_si256(), &f);
    for (size_t y = 0; y < height; ++y, p += stride, codes += codes_stride) {
        for (size_t x = 0; x < width; x += LANES) {
            const size_t at = block_at(x, width);
            code_block(what, released, plan, k, p + at, stride, east, &f, &later, codes + at);
            if (released && later.n > MOST_WAITING - 4)
                settle_slopes(plan->nb, &later);
        }
    }
    if (released && later.n)
        settle_slopes(plan->nb, &later);
}

#define TILE(name, what, released)                                                                 \
    AVX2 void name(plan_avx2 *plan, const uint8_t *p, ptrdiff_t stride, size_t width,              \
                   size_t height, uint8_t *codes, ptrdiff_t codes_stride) {                        \
        walk(what, released, plan, p, stride, width, height, codes, codes_stride);                 \
    }

TILE(lbpmap_circle5_exact_avx2, R5, 0)
TILE(lbpmap_circle5_released_avx2, R5, 1)
TILE(lbpmap_circle10_exact_avx2, R10, 0)
TILE(lbpmap_circle10_released_avx2, R10, 1)
TILE(lbpmap_circle_exact_avx2, ANY, 0)
TILE(lbpmap_circle_released_avx2, ANY, 1)
#endif
