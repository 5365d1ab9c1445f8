/* neon_ties.c: ties of "released", where the double precision of lbp.m decides.
 *
 * Where the diagonal of a corner equals the centre C (near = far = C), the answer depends on C and
 * on delta = mid1 - C alone, at any radius: lbpmap_neighborhood.tie_zero. For delta in -4..3, flat
 * places and gentle ramps, its 256 bytes are looked up for 16 centres at once, in all four corners
 * without a branch. Other deltas, steep ramps, go window after window of eight, only as many as the
 * lanes hold.
 *
 * At R = 5 and 10 there are ties on other diagonals as well: (near - C, mid1 + mid2 - 2C, far - C)
 * a multiple of (7, 2, -7) or of (1, -12, -14), not 0. They are rare, and go lane by lane. */
#include "neon.h"

#ifdef LBPMAP_NEON

/* 255 where `window` has the bit of weight 2^offset at the index; 0 where offset is 8 or more. */
INLINE uint8x16_t zeros(const uint8_t *window, const indices *c, uint8x16_t offset) {
    const uint8x16_t powers = vcombine_u8(vcreate_u8(0x8040201008040201ull), vcreate_u8(0));
    return vtstq_u8(look_up(window, c), vqtbl1q_u8(powers, offset));
}

/* Four bits a lane, lane 0 lowest, of a mask. */
INLINE uint64_t nibbles(uint8x16_t mask) {
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(mask), 4)), 0);
}

INLINE int first_lane(uint64_t lanes) {
    return __builtin_ctzll(lanes) / 4;
}

/* Lanes with deltas of any size. */
static uint8x16_t steep(const uint8_t (*windows)[256], const indices *c, uint8x16_t place,
                        uint8x16_t lanes) {
    uint8x16_t found = vdupq_n_u8(0);
    uint8_t places[LANES];
    vst1q_u8(places, place);
    for (uint64_t left; (left = nibbles(lanes)) != 0;) {
        const int w = places[first_lane(left)] / 8;
        const uint8x16_t offset = vsubq_u8(place, vdupq_n_u8((uint8_t)(8 * w)));
        found = vorrq_u8(found, vandq_u8(lanes, zeros(windows[w], c, offset)));
        lanes = vandq_u8(lanes, vcgeq_u8(offset, vdupq_n_u8(8)));
    }
    return found;
}

/* The sum of lbp.m 0.3.2, left to right. */
static int is_below(const lbpmap_sample *s, const uint8_t *p, ptrdiff_t stride) {
    const uint8_t *upper = p + s->row[0] * stride, *lower = p + s->row[1] * stride;
    const double *w = s->weight;
    return ((w[0] * upper[s->col[0]] + w[1] * upper[s->col[1]]) + w[2] * lower[s->col[0]]) +
               w[3] * lower[s->col[1]] < *p;
}

static uint8x16_t one_by_one(const lbpmap_sample *s, const uint8_t *p, ptrdiff_t stride,
                             uint8x16_t lanes) {
    uint8_t found[LANES] = {0};
    for (uint64_t left = nibbles(lanes); left != 0;) {
        const int lane = first_lane(left);
        found[lane] = is_below(s, p + lane, stride) ? 255 : 0;
        left &= ~(UINT64_C(15) << (4 * lane));
    }
    return vld1q_u8(found);
}

uint8x16_t lbpmap_neon_settle_ties(const lbpmap_neighborhood *nb, const uint8_t *centre,
                                   ptrdiff_t stride, const uint8x16_t tie[4], uint8x16_t codes) {
    enum { GENTLE = 16 }; /* the window of -4..3 */
    const ptrdiff_t near = nb->sample[1].col[0], far = nb->sample[1].col[1];
    const uint8x16_t value = vld1q_u8(centre), eight = vdupq_n_u8(8);
    const indices c = indices_of(value);
    for (int i = 0; i < 4; ++i) {
        const ptrdiff_t down = i < 2 ? -stride : stride, right = i % 3 ? -1 : 1;
        const uint8_t *row = centre + near * down;
        const uint8x16_t level = vandq_u8(tie[i], vceqq_u8(vld1q_u8(row + near * right), value));
        const uint8x16_t delta = vsubq_u8(vld1q_u8(row + far * right), value);
        const uint8x16_t offset = vaddq_u8(delta, vdupq_n_u8(4));
        uint8x16_t zero = vandq_u8(level, zeros(nb->tie_zero[i][GENTLE], &c, offset));
        const uint8x16_t rest = vbicq_u8(tie[i], vandq_u8(level, vcltq_u8(offset, eight)));
        if (vmaxvq_u8(rest)) {
            const uint8x16_t place = vaddq_u8(delta, vdupq_n_u8(132));
            const uint8x16_t steep_zero =
                steep(nb->tie_zero[i], &c, place, vandq_u8(rest, level));
            const uint8x16_t other = one_by_one(&nb->sample[2 * i + 1], centre, stride,
                                                vbicq_u8(rest, level));
            zero = vorrq_u8(zero, vorrq_u8(steep_zero, other));
        }
        codes = vbicq_u8(codes, vandq_u8(zero, vdupq_n_u8((uint8_t)(2 << (2 * i)))));
    }
    return codes;
}
#endif
