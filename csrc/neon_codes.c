/* neon_codes.c: codes of a row, 16 centres at a time; kernels_neon.c says by what rules.
 *
 * Everything here works out where a bit is 0: a pixel below its centre compares so in one
 * instruction (CMHI), and of a corner's sum only the sign is looked at, which is set where the bit
 * is 0. The sums of 16 lanes come in two halves of 8; UZP2 takes the high bytes of both, and with
 * them the signs. Eight such registers become codes by seven SRI, each of which keeps the upper
 * bits that are done and shifts the next sample's top bit in behind them, and one NOT. No mask is
 * ever widened, narrowed or ANDed with a weight. */
#include "neon.h"

#ifdef LBPMAP_NEON

/* p - c in 8 lanes, the lower or the upper half of 16. */
INLINE int16x8_t minus(uint8x16_t p, uint8x16_t c, int half) {
    return vreinterpretq_s16_u16(half ? vsubl_high_u8(p, c)
                                      : vsubl_u8(vget_low_u8(p), vget_low_u8(c)));
}

/* sum + times * p, modulo 2^16. */
INLINE uint16x8_t plus(uint16x8_t sum, uint8x16_t p, uint8_t times, int half) {
    if (times == 1)
        return half ? vaddw_high_u8(sum, p) : vaddw_u8(sum, vget_low_u8(p));
    return half ? vmlal_high_u8(sum, p, vdupq_n_u8(times))
                : vmlal_u8(sum, vget_low_u8(p), vdup_n_u8(times));
}

/* start - times * c: the same for all corners, so that compilers keep it. */
INLINE uint16x8_t less(uint16_t start, uint8x16_t c, uint8_t times, int half) {
    const uint16x8_t sum = vdupq_n_u16(start);
    return half ? vmlsl_high_u8(sum, c, vdupq_n_u8(times))
                : vmlsl_u8(sum, vget_low_u8(c), vdup_n_u8(times));
}

/* A sum of differences weighted in millionths: high * 65536 + low. */
typedef struct {
    int16x8_t high;
    int32x4_t low[2];
} wide;

/* Where S = 0 begins: the bit is 1 from S = -50. */
INLINE wide fifty(void) {
    const wide sum = {vdupq_n_s16(0), {vdupq_n_s32(50), vdupq_n_s32(50)}};
    return sum;
}

/* The weight's digits to the base 65536, the lower one in -32768..32767. */
INLINE int16_t high_digit(int32_t weight) {
    return (int16_t)((weight + 32768) >> 16);
}

INLINE int16_t low_digit(int32_t weight) {
    return (int16_t)(weight - 65536 * high_digit(weight));
}

INLINE wide weigh(wide sum, int16x8_t difference, int16_t high, int16_t low) {
    sum.high = vmlaq_n_s16(sum.high, difference, high);
    sum.low[0] = vmlal_n_s16(sum.low[0], vget_low_s16(difference), low);
    sum.low[1] = vmlal_high_n_s16(sum.low[1], difference, low);
    return sum;
}

/* Has the sign of the whole sum: UZP2 shifts the low part right by 16 and narrows it. */
INLINE int16x8_t carry(wide sum) {
    return vaddq_s16(sum.high, vuzp2q_s16(vreinterpretq_s16_s32(sum.low[0]),
                                          vreinterpretq_s16_s32(sum.low[1])));
}

INLINE uint8x16_t high_bytes(int16x8_t lower, int16x8_t upper) {
    return vuzp2q_u8(vreinterpretq_u8_s16(lower), vreinterpretq_u8_s16(upper));
}

/* zero[i] has its top bit set in the lanes where bit i is 0. */
INLINE uint8x16_t assemble(const uint8x16_t zero[8]) {
    uint8x16_t not_codes = vsriq_n_u8(zero[7], zero[6], 1);
    not_codes = vsriq_n_u8(not_codes, zero[5], 2);
    not_codes = vsriq_n_u8(not_codes, zero[4], 3);
    not_codes = vsriq_n_u8(not_codes, zero[3], 4);
    not_codes = vsriq_n_u8(not_codes, zero[2], 5);
    not_codes = vsriq_n_u8(not_codes, zero[1], 6);
    return vmvnq_u8(vsriq_n_u8(not_codes, zero[0], 7));
}

/* Radius and arithmetic; the odd ones are "released". */
typedef enum {
    ONE_EXACT,
    ONE_RELEASED,
    FIVE_EXACT,
    FIVE_RELEASED,
    TEN_EXACT,
    TEN_RELEASED
} rule;

INLINE ptrdiff_t radius_of(rule r) {
    return r <= ONE_RELEASED ? 1 : r <= FIVE_RELEASED ? 5 : 10;
}

/* `sign`: negative where the bit is 0. `distance`: 0 where the real value ties, "released" only. */
typedef struct {
    int16x8_t sign, distance;
} sum;

typedef struct {
    uint8x16_t near, beside, across, far;
} quad;

/* u + floor(x * factor / 2^(15 + shift)); the sample ties where u and x are both 0. */
#define SUM(u, x, factor, shift)                                                                   \
    {vsraq_n_s16(u, vqdmulhq_n_s16(x, factor), shift), vorrq_s16(u, x)}

INLINE sum corner(rule r, const quad *q, uint8x16_t c, int half) {
    if (r == TEN_EXACT) {
        const int16x8_t s = vaddq_s16(minus(q->beside, c, half), minus(q->across, c, half));
        wide total = weigh(fifty(), minus(q->near, c, half), high_digit(862915), low_digit(862915));
        total = weigh(total, s, high_digit(66017), low_digit(66017));
        total = weigh(total, minus(q->far, c, half), high_digit(5051), low_digit(5051));
        const sum exact = {carry(total), vdupq_n_s16(0)};
        return exact;
    }
    if (r == ONE_EXACT || r == ONE_RELEASED) {
        const int16x8_t d = minus(q->far, c, half);
        const int16x8_t s = vaddq_s16(minus(q->beside, c, half), minus(q->across, c, half));
        const sum one = {vaddq_s16(d, vqdmulhq_n_s16(s, 13573)), vorrq_s16(d, s)};
        return one;
    }
    if (r == TEN_RELEASED) {
        uint16x8_t w = plus(less(0, c, 14, half), q->near, 12, half);
        w = plus(plus(w, q->beside, 1, half), q->across, 1, half);
        const uint16x8_t t = plus(plus(less(0, c, 120, half), q->near, 112, half), q->far, 8, half);
        const int16x8_t u = vreinterpretq_s16_u16(w), x = vreinterpretq_s16_u16(t);
        const sum ten = SUM(u, x, 20056, 6);
        return ten;
    }
    uint16x8_t most = plus(plus(less(0, c, 28, half), q->near, 6, half), q->far, 8, half);
    most = plus(plus(most, q->beside, 7, half), q->across, 7, half);
    uint16x8_t rest = less(r == FIVE_EXACT ? 1 : 0, c, 64, half);
    rest = plus(plus(rest, q->near, 32, half), q->far, 32, half);
    const int16x8_t u = vreinterpretq_s16_u16(most), x = vreinterpretq_s16_u16(rest);
    const sum five = SUM(u, x, r == FIVE_EXACT ? 9318 : 9316, 7);
    return five;
}

/* Both halves of corner i, joined: where the bit is 0, and where there is a tie. */
typedef struct {
    uint8x16_t zero, tie;
} verdict;

/* The distance from a centre to a corner's near and far pixels, in rows and in columns, is that to
 * the sample, radius / sqrt(2), rounded down and up. */
INLINE verdict judge(rule r, const uint8_t *p, ptrdiff_t stride, uint8x16_t c, int i) {
    const ptrdiff_t near = radius_of(r) * 7 / 10, far = near + 1;
    const ptrdiff_t down = i < 2 ? -stride : stride, right = i % 3 ? -1 : 1;
    const quad q = {vld1q_u8(p + near * down + near * right),
                    vld1q_u8(p + near * down + far * right),
                    vld1q_u8(p + far * down + near * right),
                    vld1q_u8(p + far * down + far * right)};
    const sum lower = corner(r, &q, c, 0), upper = corner(r, &q, c, 1);
    const verdict v = {high_bytes(lower.sign, upper.sign),
                       vuzp1q_u8(vreinterpretq_u8_u16(vceqzq_s16(lower.distance)),
                                 vreinterpretq_u8_u16(vceqzq_s16(upper.distance)))};
    return v;
}

/* LANES codes. */
INLINE uint8x16_t circle(rule r, const lbpmap_neighborhood *nb, const uint8_t *p,
                         ptrdiff_t stride) {
    const ptrdiff_t radius = radius_of(r);
    const uint8x16_t c = vld1q_u8(p);
    const verdict ne = judge(r, p, stride, c, 0), nw = judge(r, p, stride, c, 1);
    const verdict sw = judge(r, p, stride, c, 2), se = judge(r, p, stride, c, 3);
    const uint8x16_t zero[8] = {
        vcgtq_u8(c, vld1q_u8(p + radius)),          ne.zero,
        vcgtq_u8(c, vld1q_u8(p - radius * stride)), nw.zero,
        vcgtq_u8(c, vld1q_u8(p - radius)),          sw.zero,
        vcgtq_u8(c, vld1q_u8(p + radius * stride)), se.zero,
    };
    const uint8x16_t codes = assemble(zero);
    if (r % 2 == 0 || !vmaxvq_u8(vorrq_u8(vorrq_u8(ne.tie, nw.tie), vorrq_u8(sw.tie, se.tie))))
        return codes;
    const uint8x16_t tie[4] = {ne.tie, nw.tie, sw.tie, se.tie};
    return lbpmap_neon_settle_ties(nb, p, stride, tie, codes);
}

/* The last LANES centres of a row overlap those before them. */
INLINE size_t within(size_t x, size_t n) {
    return x + LANES <= n ? x : n - LANES;
}

#define CIRCLE(name, r)                                                                            \
    static void name(const lbpmap_neighborhood *nb, const uint8_t *centre, ptrdiff_t stride,       \
                     size_t n, uint8_t *codes) {                                                   \
        for (size_t x = 0; x < n; x += LANES)                                                      \
            vst1q_u8(codes + within(x, n), circle(r, nb, centre + within(x, n), stride));          \
    }
CIRCLE(one_exact, ONE_EXACT)
CIRCLE(one_released, ONE_RELEASED)
CIRCLE(five_exact, FIVE_EXACT)
CIRCLE(five_released, FIVE_RELEASED)
CIRCLE(ten_exact, TEN_EXACT)
CIRCLE(ten_released, TEN_RELEASED)

/* Eight pixels, wherever they lie: the square grid. */
static void pixels(const lbpmap_neighborhood *nb, const uint8_t *centre, ptrdiff_t stride, size_t n,
                   uint8_t *codes) {
    ptrdiff_t to[8];
    for (int i = 0; i < 8; ++i)
        to[i] = nb->sample[i].row[0] * stride + nb->sample[i].col[0];
    for (size_t x = 0; x < n; x += LANES) {
        const uint8_t *p = centre + within(x, n);
        const uint8x16_t c = vld1q_u8(p);
        const uint8x16_t zero[8] = {
            vcgtq_u8(c, vld1q_u8(p + to[0])), vcgtq_u8(c, vld1q_u8(p + to[1])),
            vcgtq_u8(c, vld1q_u8(p + to[2])), vcgtq_u8(c, vld1q_u8(p + to[3])),
            vcgtq_u8(c, vld1q_u8(p + to[4])), vcgtq_u8(c, vld1q_u8(p + to[5])),
            vcgtq_u8(c, vld1q_u8(p + to[6])), vcgtq_u8(c, vld1q_u8(p + to[7])),
        };
        vst1q_u8(codes + within(x, n), assemble(zero));
    }
}

/* A sample of any radius and its four weights. */
typedef struct {
    ptrdiff_t to[4];
    int16_t high[4], low[4];
    int is_pixel;
} place;

static place place_of(const lbpmap_sample *s, ptrdiff_t stride) {
    place at;
    at.is_pixel = s->is_pixel;
    for (int k = 0; k < 4; ++k) {
        at.to[k] = s->row[k / 2] * stride + s->col[k % 2];
        at.high[k] = high_digit(s->millionths[k]);
        at.low[k] = low_digit(s->millionths[k]);
    }
    return at;
}

INLINE uint8x16_t below(const place *at, const uint8_t *p, uint8x16_t c) {
    if (at->is_pixel)
        return vcgtq_u8(c, vld1q_u8(p + at->to[0]));
    wide lower = fifty(), upper = fifty();
    for (int k = 0; k < 4; ++k) {
        const uint8x16_t pixel = vld1q_u8(p + at->to[k]);
        lower = weigh(lower, minus(pixel, c, 0), at->high[k], at->low[k]);
        upper = weigh(upper, minus(pixel, c, 1), at->high[k], at->low[k]);
    }
    return vcltzq_s8(vreinterpretq_s8_u8(high_bytes(carry(lower), carry(upper))));
}

/* "exact" at any radius and any number of points up to 8. */
static void any_exact(const lbpmap_neighborhood *nb, const uint8_t *centre, ptrdiff_t stride,
                      size_t n, uint8_t *codes) {
    place at[8];
    for (int i = 0; i < nb->points; ++i)
        at[i] = place_of(&nb->sample[i], stride);
    for (size_t x = 0; x < n; x += LANES) {
        const uint8_t *p = centre + within(x, n);
        const uint8x16_t c = vld1q_u8(p);
        uint8x16_t found = vdupq_n_u8(0);
        for (int i = 0; i < nb->points; ++i)
            found = vorrq_u8(found, vbicq_u8(vdupq_n_u8((uint8_t)(1 << i)), below(&at[i], p, c)));
        vst1q_u8(codes + within(x, n), found);
    }
}

neon_codes *lbpmap_neon_codes_of(const lbpmap_neighborhood *nb) {
    static neon_codes *const circles[3][2] = {
        {one_exact, one_released}, {five_exact, five_released}, {ten_exact, ten_released}};
    if (nb->points == 8 && nb->sample[1].is_pixel)
        return pixels;
    if (nb->points == 8 && (nb->radius == 1 || nb->radius == 5 || nb->radius == 10))
        return circles[nb->radius / 5][nb->arithmetic == LBPMAP_RELEASED];
    return nb->points <= 8 && nb->arithmetic == LBPMAP_EXACT ? any_exact : NULL;
}
#endif
