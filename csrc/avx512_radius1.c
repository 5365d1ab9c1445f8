/* avx512_radius1.c: codes of radius 1, 64 pixels at a time.
 *
 * The circle. The four pixels beside a centre are compared as bytes. A corner is bilinear: with d =
 * far - C and s = mid1 + mid2 - 2C its bit is d + 0.41421 s >= 0. Look instead at the four pixels
 *
 *     aL aR     above
 *     bL bR     below
 *
 * which hold one corner of each of their four centres. With Q = (bR - bL) - (aR - aL), s is Q + d
 * for the centre bL, Q - d for aR, and so on, and the four bits become
 *
 *     NE of bL: d + g >= 0    SW of aR: g - d >= 0     d = aR - bL, g = floor(0.292893 Q)
 *     NW of bR: e + h >= 0    SE of aL: h - e >= 0     e = aL - bR, h = floor(-0.292893 Q)
 *
 * with one multiplication for two bits: 0.292893 = 1 - sqrt(1/2) is 19195 / 65536 as precisely as
 * it must be (tests/test_constants.py). All fits 16 bits; lanes hold even and odd pixels, so that
 * three sets of four pixels serve: those left and right of even centres, the latter also left of
 * odd ones, and those right of odd ones.
 *
 * A block is walked upwards: a corner's bits then come in the order SE, SW, NW, NE, from the
 * highest, and vpshldw can append a sign to those before it, which saves a comparison and a masked
 * sum. Two bits are appended at a time, equal since the values are small, of which the upper one is
 * kept: between the corners lie the bits of the pixels beside the centre. A sign is 1 where the bit
 * is 0.
 *
 * "released". Where s = d = 0, that is Q = d = 0 or Q = e = 0, the double precision of lbp.m
 * decides, and its answer depends on the centre C and on delta = (pixel left or right) - C alone
 * (lbpmap_neighborhood.tie_zero). Ties are found in bytes, modulo 256: what that adds is harmless,
 * as the table has no zero wherever a wrapped pair has bit 1. The northern corners have zeros at
 * every delta; SW has them at negative ones only and SE at positive ones (tests/test_constants.py).
 * So one byte for each C answers for both corners of a side: five bits of the northern one, deltas
 * -2..2, and two of the southern one, deltas 1, 2 or -2, -1; the eighth is 0. vpshufb turns delta
 * into the bit to look at, or the eighth: a sample is below its centre where `differ | (bit &
 * ~byte)` is 0, `differ` being 0 at ties. Flat places and gentle ramps are settled so without a
 * branch; lanes with a steeper tie are noted, and settled when the block is done: one by one where
 * they are few, all 64 of a row otherwise (avx512_settle.c). */
#include "avx512.h"

#ifdef LBPMAP_AVX512

/* The bit that is 0 in every byte of the plan's tables: for deltas that are not in them. */
enum { STEEP = 0x80 };

void lbpmap_avx512_plan_gentle(lbpmap_avx512_plan *plan) {
    enum { GENTLE = 16 }; /* the window of deltas -4..3: delta is bit delta + 4 */
    for (int c = 0; c < 256; c += LANES) {
        const __m512i five = _mm512_set1_epi8(0x1f), two = _mm512_set1_epi8(0x60);
        __m512i zero[4];
        for (int corner = 0; corner < 4; ++corner)
            zero[corner] = _mm512_loadu_si512(&plan->nb->tie_zero[corner][GENTLE][c]);
        for (int side = 0; side < 2; ++side) {
            /* Shifts of 16 bits: what crosses from byte to byte is masked away. */
            const __m512i north = _mm512_and_si512(five, _mm512_srli_epi16(zero[side], 2));
            const __m512i south = side ? _mm512_slli_epi16(zero[2], 3) : zero[3];
            _mm512_storeu_si512(&plan->gentle[side][c],
                                _mm512_or_si512(north, _mm512_and_si512(two, south)));
        }
    }
}

/* A row in lanes of 16 bits, and the differences of its neighbouring pixels. */
typedef struct {
    __m512i left, even, odd, right;  /* columns -1, 0, 1, 2 of each lane */
    __m512i before, between, behind; /* differences: even - left, odd - even, right - odd */
} lanes16;

typedef struct {
    __m512i left, here, right; /* bytes */
    lanes16 wide;
} row;

INLINE row load_row(const uint8_t *p) {
    row r;
    r.left = _mm512_loadu_si512(p - 1);
    r.here = _mm512_loadu_si512(p);
    r.right = _mm512_loadu_si512(p + 1);
    r.wide.left = even16(r.left);
    r.wide.even = even16(r.here);
    r.wide.odd = odd16(r.here);
    r.wide.right = odd16(r.right);
    r.wide.before = _mm512_sub_epi16(r.wide.even, r.wide.left);
    r.wide.between = _mm512_sub_epi16(r.wide.odd, r.wide.even);
    r.wide.behind = _mm512_sub_epi16(r.wide.right, r.wide.odd);
    return r;
}

INLINE __m512i slope(__m512i below, __m512i above) {
    return _mm512_mulhi_epi16(_mm512_sub_epi16(below, above), _mm512_set1_epi16(19195));
}

/* Appends two copies of the sign. */
#define APPEND(signs, value) _mm512_shldi_epi16(signs, value, 2)

/* The signs of a row's corners, even and odd pixels: the southern ones, or all four. */
typedef struct {
    __m512i even, odd;
} signs;

/* From the four-pixel sets between row a and row b below it: finishes the signs of b, and begins
 * those of a. */
INLINE signs between_rows(const lanes16 *a, const lanes16 *b, signs south, signs *all) {
    const __m512i g0 = slope(b->before, a->before), h0 = slope(a->before, b->before);
    const __m512i g1 = slope(b->between, a->between), h1 = slope(a->between, b->between);
    const __m512i g2 = slope(b->behind, a->behind), h2 = slope(a->behind, b->behind);
    const __m512i d0 = _mm512_sub_epi16(a->even, b->left), e0 = _mm512_sub_epi16(a->left, b->even);
    const __m512i d1 = _mm512_sub_epi16(a->odd, b->even), e1 = _mm512_sub_epi16(a->even, b->odd);
    const __m512i d2 = _mm512_sub_epi16(a->right, b->odd), e2 = _mm512_sub_epi16(a->odd, b->right);
    all->even = APPEND(south.even, _mm512_add_epi16(e0, h0));
    all->even = APPEND(all->even, _mm512_add_epi16(d1, g1));
    all->odd = APPEND(south.odd, _mm512_add_epi16(e1, h1));
    /* Ten bits: the signs move to the upper byte. */
    all->odd = _mm512_shldi_epi16(all->odd, _mm512_add_epi16(d2, g2), 10);
    signs next;
    next.even = _mm512_srai_epi16(_mm512_sub_epi16(h1, e1), 15);
    next.even = APPEND(next.even, _mm512_sub_epi16(g0, d0));
    next.odd = _mm512_srai_epi16(_mm512_sub_epi16(h2, e2), 15);
    next.odd = APPEND(next.odd, _mm512_sub_epi16(g1, d1));
    return next;
}

/* The codes of a row from the signs of its corners and the pixels beside its centres. */
INLINE __m512i assemble(const signs *corners, const row *above, const row *at, __m512i below) {
    __m512i codes = _mm512_maskz_mov_epi8(_mm512_cmpge_epu8_mask(at->right, at->here),
                                          _mm512_set1_epi8(1));
    codes = set_bit(codes, _mm512_cmpge_epu8_mask(above->here, at->here), 4);
    codes = set_bit(codes, _mm512_cmpge_epu8_mask(at->left, at->here), 16);
    codes = set_bit(codes, _mm512_cmpge_epu8_mask(below, at->here), 64);
    /* 0xca: a ? b : c.  0xf2: a | (~b & c). */
    const __m512i zero = _mm512_ternarylogic_epi32(_mm512_set1_epi16(255), corners->even,
                                                   corners->odd, 0xca);
    return _mm512_ternarylogic_epi32(codes, zero, _mm512_set1_epi8((char)0xaa), 0xf2);
}

/* Something for the eastern corners of a row, and for the western ones. */
typedef struct {
    __m512i east, west;
} sides;

INLINE sides deltas(const row *r) {
    const sides d = {_mm512_sub_epi8(r->right, r->here), _mm512_sub_epi8(r->left, r->here)};
    return d;
}

/* 0 where p == q and `uneven`, the difference of the other two pixels' distances to them, is 0. */
INLINE __m512i differ(__m512i uneven, __m512i p, __m512i q) {
    return _mm512_ternarylogic_epi32(uneven, p, q, 0xf6); /* a | (b ^ c) */
}

/* Ties between row a and row b below it: the northern ones of b, and the southern ones of a. */
INLINE sides ties_between(const row *a, const row *b, sides a_delta, sides b_delta, sides *south) {
    const __m512i east = _mm512_xor_si512(a_delta.east, b_delta.east);
    const __m512i west = _mm512_xor_si512(a_delta.west, b_delta.west);
    south->east = differ(east, a->here, b->right);
    south->west = differ(west, a->here, b->left);
    const sides north = {differ(east, a->right, b->here), differ(west, a->left, b->here)};
    return north;
}

INLINE __m512i clear_zeros(__m512i codes, __m512i differs, __m512i power, __m512i zeros, int bit) {
    const __m512i one = _mm512_ternarylogic_epi32(differs, power, zeros, 0xf4); /* a | (b & ~c) */
    return clear_bit(codes, _mm512_testn_epi8_mask(one, one), bit);
}

/* Settles the gentle ties of the two corners of a side; the result is 0 in lanes of steep ones. */
INLINE __m512i settle_side(__m512i *codes, const uint8_t *table, __m512i centre, __mmask64 high,
                           __m512i delta, __m128i north_powers, __m128i south_powers,
                           __m512i north, __m512i south, int north_bit, int south_bit) {
    __m512i gentle[4];
    load_table(table, gentle);
    const __m512i zeros = look_up(gentle, centre, high);
    const __m512i offset = _mm512_min_epu8(_mm512_add_epi8(delta, _mm512_set1_epi8(8)),
                                           _mm512_set1_epi8(15));
    const __m512i power = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(north_powers), offset);
    *codes = clear_zeros(*codes, north, power, zeros, north_bit);
    *codes = clear_zeros(*codes, south,
                         _mm512_shuffle_epi8(_mm512_broadcast_i32x4(south_powers), offset), zeros,
                         south_bit);
    return differ(_mm512_min_epu8(north, south), power, _mm512_set1_epi8((char)STEEP));
}

/* Settles a row's gentle ties; `steep` becomes the lanes with others. */
INLINE __m512i settle_row(const lbpmap_avx512_plan *plan, __m512i codes, __m512i centre,
                          sides delta, sides north, sides south, __mmask64 *steep) {
    const __mmask64 high = _mm512_movepi8_mask(centre);
    const char s = (char)STEEP;
    /* Entries are for deltas -8..7. */
    const __m128i north_bits = _mm_setr_epi8(s, s, s, s, s, s, 1, 2, 4, 8, 16, s, s, s, s, s);
    const __m128i east_bits = _mm_setr_epi8(s, s, s, s, s, s, s, s, s, 32, 64, s, s, s, s, s);
    const __m128i west_bits = _mm_setr_epi8(s, s, s, s, s, s, 32, 64, s, s, s, s, s, s, s, s);
    const __m512i east = settle_side(&codes, plan->gentle[0], centre, high, delta.east, north_bits,
                                     east_bits, north.east, south.east, 2, 128);
    const __m512i west = settle_side(&codes, plan->gentle[1], centre, high, delta.west, north_bits,
                                     west_bits, north.west, south.west, 8, 32);
    const __m512i both = _mm512_min_epu8(east, west);
    *steep = _mm512_testn_epi8_mask(both, both);
    return codes;
}

/* The corners NE, NW, SW, SE: where the far pixel lies. */
static const int far_pixel[4][2] = {{-1, 1}, {-1, -1}, {1, -1}, {1, 1}};

/* Settles all ties of one centre. */
static void settle_centre(const lbpmap_neighborhood *nb, const uint8_t *p, ptrdiff_t stride,
                          uint8_t *code) {
    for (int k = 0; k < 4; ++k) {
        const uint8_t *above = p + far_pixel[k][0] * stride;
        const int delta = p[far_pixel[k][1]] - *p, place = (delta + 132) & 255;
        if (above[far_pixel[k][1]] == *p && *above == *p - delta)
            *code &= (uint8_t)~((nb->tie_zero[k][place / 8][*p] >> place % 8 & 1) << (2 * k + 1));
    }
}

/* Settles all ties of the centres in `lanes`. */
static void settle_lanes(const lbpmap_neighborhood *nb, __mmask64 lanes, const uint8_t *p,
                         ptrdiff_t stride, uint8_t *out) {
    const __m512i c = _mm512_loadu_si512(p);
    lbpmap_avx512_ties ties;
    for (int k = 0; k < 4; ++k) {
        const uint8_t *row = p + far_pixel[k][0] * stride;
        const __m512i delta = _mm512_sub_epi8(_mm512_loadu_si512(p + far_pixel[k][1]), c);
        const __m512i vertical = _mm512_loadu_si512(row), grows = _mm512_sub_epi8(c, vertical);
        const __m512i differs = differ(_mm512_xor_si512(delta, grows),
                                       _mm512_loadu_si512(row + far_pixel[k][1]), c);
        ties.lanes[k] = _mm512_mask_testn_epi8_mask(lanes, differs, differs);
        ties.down[k] = k < 2 ? grows : _mm512_sub_epi8(vertical, c);
    }
    lbpmap_avx512_clear_ties(nb, &ties, p, out);
}

/* Settles all ties of a block's centres in `steep`. Rows that have some are bits of `rows`: on
 * photographs every fifth has one or two, and a test of each row would often be guessed wrong (Zen 3:
 * 1.8 ns a row instead of 1.2). */
static void settle_steep(const lbpmap_neighborhood *nb, unsigned rows,
                         const __mmask64 steep[STRIP], const uint8_t *p, ptrdiff_t stride,
                         uint8_t *out, ptrdiff_t out_stride) {
    enum { FEW = 4 };
    for (; rows; rows &= rows - 1) {
        const int y = __builtin_ctz(rows);
        const uint8_t *centres = p + y * stride;
        uint8_t *codes = out + y * out_stride;
        __mmask64 left = steep[y];
        if (__builtin_popcountll(left) > FEW) {
            settle_lanes(nb, left, centres, stride, codes);
            continue;
        }
        for (; left; left &= left - 1) {
            const int lane = __builtin_ctzll(left);
            settle_centre(nb, centres + lane, stride, codes + lane);
        }
    }
}

INLINE void walk_circle(const lbpmap_avx512_plan *plan, const uint8_t *p, ptrdiff_t stride,
                        size_t rows, uint8_t *out, ptrdiff_t out_stride, int released) {
    p += (ptrdiff_t)rows * stride;
    out += (ptrdiff_t)rows * out_stride;
    row below = load_row(p), at = load_row(p - stride);
    const signs none = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    signs corners, south = between_rows(&at.wide, &below.wide, none, &corners);
    sides delta = deltas(&at), south_ties;
    if (released)
        ties_between(&at, &below, delta, deltas(&below), &south_ties);
    __mmask64 steep[STRIP];
    unsigned with_steep = 0;
    __m512i under = below.here;
    for (size_t y = rows; y-- > 0;) {
        p -= stride;
        out -= out_stride;
        const row above = load_row(p - stride);
        south = between_rows(&above.wide, &at.wide, south, &corners);
        __m512i codes = assemble(&corners, &above, &at, under);
        if (released) {
            sides next;
            const sides above_delta = deltas(&above);
            const sides north = ties_between(&above, &at, above_delta, delta, &next);
            codes = settle_row(plan, codes, at.here, delta, north, south_ties, &steep[y]);
            with_steep |= (unsigned)(steep[y] != 0) << y;
            south_ties = next;
            delta = above_delta;
        }
        _mm512_storeu_si512(out, codes);
        under = at.here;
        at = above;
    }
    if (released)
        settle_steep(plan->nb, with_steep, steep, p, stride, out, out_stride);
}

void lbpmap_avx512_exact1(const lbpmap_avx512_plan *plan, int32_t first, const uint8_t *p,
                          ptrdiff_t stride, size_t rows, uint8_t *codes, ptrdiff_t codes_stride) {
    (void)first;
    walk_circle(plan, p, stride, rows, codes, codes_stride, 0);
}

void lbpmap_avx512_released1(const lbpmap_avx512_plan *plan, int32_t first, const uint8_t *p,
                             ptrdiff_t stride, size_t rows, uint8_t *codes,
                             ptrdiff_t codes_stride) {
    (void)first;
    walk_circle(plan, p, stride, rows, codes, codes_stride, 1);
}

void lbpmap_avx512_pixels1(const lbpmap_avx512_plan *plan, int32_t first, const uint8_t *p,
                           ptrdiff_t stride, size_t rows, uint8_t *codes, ptrdiff_t codes_stride) {
    (void)plan;
    (void)first;
    __m512i above[3], at[3];
    for (int k = 0; k < 3; ++k) {
        above[k] = _mm512_loadu_si512(p - stride + k - 1);
        at[k] = _mm512_loadu_si512(p + k - 1);
    }
    for (size_t y = 0; y < rows; ++y) {
        p += stride;
        __m512i below[3];
        for (int k = 0; k < 3; ++k)
            below[k] = _mm512_loadu_si512(p + k - 1);
        const __m512i c = at[1];
        __m512i code = _mm512_maskz_mov_epi8(_mm512_cmpge_epu8_mask(at[2], c),
                                             _mm512_set1_epi8(1));
        code = set_bit(code, _mm512_cmpge_epu8_mask(above[2], c), 2);
        code = set_bit(code, _mm512_cmpge_epu8_mask(above[1], c), 4);
        code = set_bit(code, _mm512_cmpge_epu8_mask(above[0], c), 8);
        code = set_bit(code, _mm512_cmpge_epu8_mask(at[0], c), 16);
        code = set_bit(code, _mm512_cmpge_epu8_mask(below[0], c), 32);
        code = set_bit(code, _mm512_cmpge_epu8_mask(below[1], c), 64);
        code = set_bit(code, _mm512_cmpge_epu8_mask(below[2], c), 128);
        _mm512_storeu_si512(codes + (ptrdiff_t)y * codes_stride, code);
        for (int k = 0; k < 3; ++k) {
            above[k] = at[k];
            at[k] = below[k];
        }
    }
}

LBPMAP_AVX512_END
#endif
