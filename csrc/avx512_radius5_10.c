/* avx512_radius5_10.c: codes of 8 points on circles of radius 5 and 10, in lanes of 16 bits.
 *
 * A corner's sample lies between four pixels: the near one (towards the centre C), two mid ones and
 * the far one. With a = near - C, s = mid1 + mid2 - 2C, d = far - C, each radius has a rule of the
 * form
 *
 *     w + (c(t) >> k) >= 0,    w = wn a + wm s + wf d,   t = tn a + tf d
 *
 *     radius 5    w = 6a + 7s + 8d  t = 32a + 32d + 1  c = mulhi(t, 18636)      k = 7  "exact"
 *                                   t = 32a + 32d      c = mulhi(t, 18632)      k = 7  real value
 *     radius 10   w = 12a + s       t = 14a + d          c = t + mulhi(t, 14685)  k = 4  real value
 *
 * enumerated over every feasible triple in tests/test_constants.py. At radius 10 "exact" differs
 * from the sign in 16 triples: for 15 of them w = 14 and t = -183, and the sum is -1; the last is
 * (17, -204, -238), which bytes reach with near = 255, far = 0 and C = 238 alone. A row of a block
 * in which either may occur is left to the 32-bit rule. "released" is the sign, but for ties, which
 * have w = t = 0: see avx512_settle.c.
 *
 * The pixels need no interleaving: bytes at (x, x + 1) are one lane of 16 bits, so a load at a
 * sample's left column holds both upper pixels of all even centres, a load one further those of the
 * odd ones, and vpmaddubsw weighs and adds them. The lower row of a corner is the upper one a row
 * further down: walking down, each is loaded once. */
#include "avx512.h"

#ifdef LBPMAP_AVX512

/* Where a corner's near pixel is among its four, left to right and down. */
enum { TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT };
static const int near_pixel[4] = {BOTTOM_LEFT, BOTTOM_RIGHT, TOP_RIGHT, TOP_LEFT};

typedef struct {
    int near, mid, far; /* of w */
    int t_near, t_far;
} rule;

/* 32 centres: C times the sum of the weights of w, and of t (less what t adds). */
typedef struct {
    __m512i w, t, below; /* below: w - 1 */
} bounds;

INLINE __m512i pair(int low, int high) {
    return _mm512_set1_epi16((short)(high * 256 + low));
}

/* w + C times its weights, and t, of a corner. */
INLINE __m512i weigh(rule r, int near, __m512i upper, __m512i lower, __m512i t_bound, __m512i *t) {
    const __m512i low_byte = _mm512_set1_epi16(255);
    const int n = r.near, m = r.mid, f = r.far, tn = r.t_near, tf = r.t_far;
    __m512i up, down, diagonal, t_weights;
    if (near == TOP_LEFT || near == BOTTOM_RIGHT) {
        const int first = near == TOP_LEFT;
        up = pair(first ? n : f, m);
        down = pair(m, first ? f : n);
        diagonal = _mm512_ternarylogic_epi32(low_byte, upper, lower, 0xca);
        t_weights = pair(first ? tn : tf, first ? tf : tn);
    } else {
        const int first = near == BOTTOM_LEFT;
        up = pair(m, first ? f : n);
        down = pair(first ? n : f, m);
        diagonal = _mm512_ternarylogic_epi32(low_byte, lower, upper, 0xca);
        t_weights = pair(first ? tn : tf, first ? tf : tn);
    }
    *t = _mm512_sub_epi16(_mm512_maddubs_epi16(diagonal, t_weights), t_bound);
    return _mm512_add_epi16(_mm512_maddubs_epi16(upper, up), _mm512_maddubs_epi16(lower, down));
}

/* The bits of a corner in 32 lanes. `doubt` becomes 0 in lanes where another rule must decide. */
INLINE __mmask32 judge(int radius, int released, int near, __m512i upper, __m512i lower, bounds b,
                       __m512i *doubt) {
    const rule r5 = {6, 7, 8, 32, 32}, r10 = {12, 1, 0, 14, 1};
    __m512i t, sum;
    if (radius == 5) {
        const __m512i w = weigh(r5, near, upper, lower, b.t, &t);
        const __m512i slope = _mm512_set1_epi16(released ? 18632 : 18636);
        sum = _mm512_add_epi16(w, _mm512_srai_epi16(_mm512_mulhi_epi16(t, slope), 7));
    } else {
        const __m512i w = weigh(r10, near, upper, lower, b.t, &t);
        const __m512i c = _mm512_add_epi16(t, _mm512_mulhi_epi16(t, _mm512_set1_epi16(14685)));
        sum = _mm512_add_epi16(w, _mm512_srai_epi16(c, 4));
    }
    const int at = released ? 0 : -183;
    const __m512i away = at ? _mm512_sub_epi16(t, _mm512_set1_epi16((short)at)) : t;
    *doubt = _mm512_ternarylogic_epi32(away, sum, released ? b.w : b.below, 0xf6); /* a | (b ^ c) */
    return _mm512_cmpge_epi16_mask(sum, b.w);
}

INLINE bounds bounds_of(int radius, int released, __m512i here, int odd) {
    bounds b;
    const int w = radius == 5 ? 28 : 14, t = radius == 5 ? 64 : 15;
    b.w = _mm512_maddubs_epi16(here, odd ? pair(0, w) : pair(w, 0));
    b.t = _mm512_maddubs_epi16(here, odd ? pair(0, t) : pair(t, 0));
    if (radius == 5 && !released)
        b.t = _mm512_sub_epi16(b.t, _mm512_set1_epi16(1));
    b.below = _mm512_sub_epi16(b.w, _mm512_set1_epi16(1));
    return b;
}

/* Lanes of bytes from those of even and odd pixels. */
INLINE __mmask64 interleave(__mmask32 even, __mmask32 odd) {
    return _mm512_movepi8_mask(_mm512_or_si512(_mm512_maskz_set1_epi16(even, 0x0080),
                                               _mm512_maskz_set1_epi16(odd, (short)0x8000)));
}

/* Whether the triple (17, -204, -238) may stand in the row of centres p. */
static int outermost_tie(const lbpmap_neighborhood *nb, const uint8_t *p, ptrdiff_t stride) {
    const __m512i white = _mm512_set1_epi8((char)255), c = _mm512_loadu_si512(p);
    __mmask64 found = 0;
    for (int k = 0; k < 4; ++k) {
        const lbpmap_sample *s = &nb->sample[2 * k + 1];
        const int n = near_pixel[k], f = 3 - n;
        const uint8_t *near = p + s->row[n / 2] * stride + s->col[n % 2];
        const uint8_t *far = p + s->row[f / 2] * stride + s->col[f % 2];
        const __m512i far_pixels = _mm512_loadu_si512(far);
        found |= _mm512_mask_testn_epi8_mask(
            _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(near), white), far_pixels, far_pixels);
    }
    return _mm512_mask_cmpeq_epi8_mask(found, c, _mm512_set1_epi8((char)238)) != 0;
}

INLINE void walk(const lbpmap_avx512_plan *plan, const uint8_t *p, ptrdiff_t stride, size_t rows,
                 uint8_t *out, ptrdiff_t out_stride, int radius, int released) {
    __m512i upper[4][2];
    ptrdiff_t lower_at[4];
    for (int k = 0; k < 4; ++k) {
        const lbpmap_sample *s = &plan->nb->sample[2 * k + 1];
        const uint8_t *q = p + s->row[0] * stride + s->col[0];
        upper[k][0] = _mm512_loadu_si512(q);
        upper[k][1] = _mm512_loadu_si512(q + 1);
        lower_at[k] = s->row[1] * stride + s->col[0];
    }
    unsigned doubtful = 0, with_238 = 0;
    __mmask32 doubts[STRIP][4][2];
    const uint8_t *q = p;
    uint8_t *to = out;
    for (size_t y = 0; y < rows; ++y, q += stride, to += out_stride) {
        const __m512i c = _mm512_loadu_si512(q);
        __m512i beside = _mm512_maskz_mov_epi8(
            _mm512_cmpge_epu8_mask(_mm512_loadu_si512(q + radius), c), _mm512_set1_epi8(1));
        const __m512i above = _mm512_loadu_si512(q - radius * stride);
        const __m512i below = _mm512_loadu_si512(q + radius * stride);
        beside = set_bit(beside, _mm512_cmpge_epu8_mask(above, c), 4);
        beside = set_bit(beside, _mm512_cmpge_epu8_mask(_mm512_loadu_si512(q - radius), c), 16);
        beside = set_bit(beside, _mm512_cmpge_epu8_mask(below, c), 64);
        const bounds bound[2] = {bounds_of(radius, released, c, 0),
                                 bounds_of(radius, released, c, 1)};
        __m512i half[2] = {beside, _mm512_setzero_si512()};
        __m512i least = _mm512_set1_epi16(-1);
        for (int k = 0; k < 4; ++k)
            for (int h = 0; h < 2; ++h) {
                const __m512i lower = _mm512_loadu_si512(q + lower_at[k] + h);
                __m512i doubt;
                const __mmask32 ones = judge(radius, released, near_pixel[k], upper[k][h], lower,
                                             bound[h], &doubt);
                const int bit = (2 << 2 * k) << 8 * h;
                half[h] = _mm512_mask_add_epi16(half[h], ones, half[h],
                                                _mm512_set1_epi16((short)bit));
                least = _mm512_min_epu16(least, doubt);
                if (released)
                    doubts[y][k][h] = _mm512_testn_epi16_mask(doubt, doubt);
                upper[k][h] = lower;
            }
        _mm512_storeu_si512(to, _mm512_or_si512(half[0], half[1]));
        if (released || radius == 10)
            doubtful |= (unsigned)(_mm512_testn_epi16_mask(least, least) != 0) << y;
        if (!released && radius == 10)
            with_238 |=
                (unsigned)(_mm512_cmpeq_epi8_mask(c, _mm512_set1_epi8((char)238)) != 0) << y;
    }
    if (released) {
        lbpmap_avx512_doubts later;
        later.rows = doubtful;
        for (unsigned left = doubtful; left; left &= left - 1) {
            const int y = __builtin_ctz(left);
            for (int k = 0; k < 4; ++k) {
                later.lanes[y][2 * k] = 0;
                later.lanes[y][2 * k + 1] = interleave(doubts[y][k][0], doubts[y][k][1]);
            }
        }
        lbpmap_avx512_settle(plan, 0, &later, p, stride, out, out_stride);
        return;
    }
    for (unsigned left = doubtful | with_238; left; left &= left - 1) {
        const int y = __builtin_ctz(left);
        if (doubtful >> y & 1 || outermost_tie(plan->nb, p + y * stride, stride))
            lbpmap_avx512_any_exact(plan, 0, p + y * stride, stride, 1, out + y * out_stride,
                                    out_stride);
    }
}

#define WALK(name, radius, released)                                                               \
    void name(const lbpmap_avx512_plan *plan, int32_t first, const uint8_t *p, ptrdiff_t stride,   \
              size_t rows, uint8_t *codes, ptrdiff_t codes_stride) {                               \
        (void)first;                                                                               \
        walk(plan, p, stride, rows, codes, codes_stride, radius, released);                        \
    }

WALK(lbpmap_avx512_exact5, 5, 0)
WALK(lbpmap_avx512_released5, 5, 1)
WALK(lbpmap_avx512_exact10, 10, 0)
WALK(lbpmap_avx512_released10, 10, 1)

LBPMAP_AVX512_END
#endif
