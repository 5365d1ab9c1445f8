/* kernels_avx512.c: 64 pixels at a time on AVX-512 with BW, VL and VBMI (Ice Lake, Zen 4 and later).
 *
 * Codes, R = 1. A block of 64 columns is walked down: each new row is loaded three times (shifted
 * left, straight, shifted right) and serves as the row below, the centre and the row above, so that
 * a row of codes costs 3 loads instead of 9. Bytes are split into their even and odd lanes of 16
 * bits by an AND and a shift, which run on either vector port, where an unpack would queue for one.
 *
 * The four pixels beside the centre are compared as bytes (vpcmpub). A corner is bilinear, and with
 * d = far - C and s = mid1 + mid2 - 2C its bit is d + ((s * 27146) >> 16) >= 0, in 16 bits: for all
 * 391,171 feasible pairs the sign of the real value, of which 0.41421 s is the slope (27146 / 65536;
 * no other 16-bit constant is right for all, tests/test_constants.py). One vpmulhw, one add and one
 * compare a corner; differences are shared by the two corners beside them and, downwards, by two rows.
 * A comparison leaves a mask, and a masked add sets the bit: 61 vector operations for 64 codes.
 *
 * "released". Where s = d = 0 the double precision of lbp.m decides, and its answer depends on the
 * centre C and on delta = mid1 - C alone (lbpmap_neighborhood.tie_zero). Ties are found in bytes: far
 * == C, and mid1 - C == C - mid2 modulo 256; what the modulus adds is harmless, as the table has no
 * zero wherever a wrapped pair has bit 1. For delta in -4..3, flat places and gentle ramps, 256 bytes of
 * the table stand in four registers and 64 centres are looked up at once, without a branch.
 * Other deltas, steep ramps, go window after window of eight, only as many as the block holds.
 *
 * Lookup. A table's 256 entries of one channel fill four registers: four vpermb, two of them masked
 * by bit 6 of the code, and a blend by bit 7. (vpermi2b would do with two, but is three operations on
 * Intel and gains nothing elsewhere.) Masked vpermb also weave three channels into 192 bytes of RGB,
 * and part them for grey.
 *
 * The end of a row is one more block that overlaps the one before it; rows of fewer than 64 pixels
 * are left to the serial kernels, as are other radii than 1 and other numbers of points than 8. */
#include "kernels.h"

#ifdef LBPMAP_AVX512

#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512vbmi,prefer-vector-width=512")
#endif

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 64, STRIP = 16 };

/* What a block of codes becomes: codes, or colours. */
typedef struct {
    const uint8_t *planes;      /* NULL for codes, or the table as three planes of 256 */
    const uint8_t *weave;       /* pixel of each byte of 192, see prepare() */
    uint64_t green[3], blue[3]; /* which of these bytes are green and blue */
} sink;

typedef struct {
    uint8_t planes[3 * 256];
    uint8_t weave[3 * LANES];
} palette;

/* Lays a table out by channel, and says how three channels are woven into RGB: byte j of 192 is
 * channel j % 3 of pixel j / 3. */
static sink prepare(palette *p, const uint8_t *table) {
    sink s = {p->planes, p->weave, {0, 0, 0}, {0, 0, 0}};
    for (int code = 0; code < 256; ++code)
        for (int channel = 0; channel < 3; ++channel)
            p->planes[256 * channel + code] = table[3 * code + channel];
    for (int j = 0; j < 3 * LANES; ++j) {
        p->weave[j] = (uint8_t)(j / 3);
        if (j % 3 == 1)
            s.green[j / LANES] |= 1ull << (j % LANES);
        if (j % 3 == 2)
            s.blue[j / LANES] |= 1ull << (j % LANES);
    }
    return s;
}

/* The two top bits of 64 indices. */
typedef struct {
    __mmask64 bit6, bit7;
} top;

INLINE top top_of(__m512i index) {
    const top t = {_mm512_movepi8_mask(_mm512_add_epi8(index, index)), _mm512_movepi8_mask(index)};
    return t;
}

/* table[index] for 256 bytes and 64 indices: vpermb looks at the low six bits. */
INLINE __m512i look_up(const uint8_t *table, __m512i index, top t) {
    __m512i low = _mm512_permutexvar_epi8(index, _mm512_loadu_si512(table));
    __m512i high = _mm512_permutexvar_epi8(index, _mm512_loadu_si512(table + 128));
    low = _mm512_mask_permutexvar_epi8(low, t.bit6, index, _mm512_loadu_si512(table + 64));
    high = _mm512_mask_permutexvar_epi8(high, t.bit6, index, _mm512_loadu_si512(table + 192));
    return _mm512_mask_blend_epi8(t.bit7, low, high);
}

INLINE void put(const sink *s, __m512i codes, uint8_t *out) {
    if (!s->planes) {
        _mm512_storeu_si512(out, codes);
        return;
    }
    const top high = top_of(codes);
    const __m512i red = look_up(s->planes, codes, high);
    const __m512i green = look_up(s->planes + 256, codes, high);
    const __m512i blue = look_up(s->planes + 512, codes, high);
    for (int k = 0; k < 3; ++k) {
        const __m512i from = _mm512_loadu_si512(s->weave + LANES * k);
        __m512i rgb = _mm512_permutexvar_epi8(from, red);
        rgb = _mm512_mask_permutexvar_epi8(rgb, s->green[k], from, green);
        rgb = _mm512_mask_permutexvar_epi8(rgb, s->blue[k], from, blue);
        _mm512_storeu_si512(out + LANES * k, rgb);
    }
}

/* A row of the picture at a block: its pixels and their left and right neighbours, as bytes and as
 * even and odd lanes of 16 bits. */
typedef struct {
    __m512i left, here, right;
    __m512i left16[2], here16[2], right16[2];
} row;

INLINE void widen(__m512i bytes, __m512i lanes[2]) {
    lanes[0] = _mm512_and_si512(bytes, _mm512_set1_epi16(255));
    lanes[1] = _mm512_srli_epi16(bytes, 8);
}

INLINE row load_row(const uint8_t *p) {
    row r;
    r.left = _mm512_loadu_si512(p - 1);
    r.here = _mm512_loadu_si512(p);
    r.right = _mm512_loadu_si512(p + 1);
    widen(r.left, r.left16);
    widen(r.here, r.here16);
    widen(r.right, r.right16);
    return r;
}

INLINE __m512i set_bit(__m512i codes, __mmask64 where, int bit) {
    return _mm512_mask_add_epi8(codes, where, codes, _mm512_set1_epi8((char)bit));
}

/* Adds the bit of a corner to 32 codes in lanes of 16 bits; s = mid1 + mid2 - 2C. */
INLINE __m512i corner(__m512i codes, __m512i s, __m512i far, __m512i centre, int bit) {
    const __m512i value = _mm512_add_epi16(far, _mm512_mulhi_epi16(s, _mm512_set1_epi16(27146)));
    return _mm512_mask_add_epi16(codes, _mm512_cmpge_epi16_mask(value, centre), codes,
                                 _mm512_set1_epi16((short)bit));
}

/* Clears the bits of ties; `power` has the bit of each lane's delta in `window`, or 0. */
INLINE __m512i clear_ties(__m512i codes, __mmask64 ties, __m512i power, __m512i centre,
                          top high, const uint8_t *window, int bit) {
    const __m512i zeros = look_up(window, centre, high);
    const __mmask64 clear = _mm512_mask_test_epi8_mask(ties, zeros, power);
    return _mm512_mask_sub_epi8(codes, clear, codes, _mm512_set1_epi8((char)bit));
}

/* 1 << offset in lanes of `where`, 0 elsewhere; offsets are 0..7 there. */
INLINE __m512i power_of(__mmask64 where, __m512i offset) {
    return _mm512_maskz_shuffle_epi8(where, _mm512_set1_epi64((long long)0x8040201008040201ull),
                                     offset);
}

/* The same for deltas of any size: one window of eight after another, as far as there are ties. */
static __attribute__((noinline)) __m512i clear_steep_ties(__m512i codes, __mmask64 ties,
                                                          __m512i delta, __m512i centre,
                                                          const uint8_t (*windows)[256], int bit) {
    const top high = top_of(centre);
    const __m512i place = _mm512_add_epi8(delta, _mm512_set1_epi8((char)132));
    uint8_t places[LANES];
    _mm512_storeu_si512(places, place);
    while (ties) {
        const int w = places[__builtin_ctzll(ties)] / 8;
        const __m512i offset = _mm512_sub_epi8(place, _mm512_set1_epi8((char)(8 * w)));
        const __mmask64 inside = _mm512_mask_cmplt_epu8_mask(ties, offset, _mm512_set1_epi8(8));
        codes = clear_ties(codes, inside, power_of(inside, offset), centre, high, windows[w], bit);
        ties &= ~inside;
    }
    return codes;
}

/* Where far equals the centre and delta equals minus the other difference: a tie, or (modulo 256)
 * a pair whose entry in the table of ties is 0. */
INLINE __mmask64 tied(__m512i far, __m512i centre, __m512i delta, __m512i minus_other) {
    const __m512i differ = _mm512_xor_si512(far, centre);
    /* 0xf6: a | (b ^ c) */
    const __m512i zero = _mm512_ternarylogic_epi32(differ, delta, minus_other, 0xf6);
    return _mm512_testn_epi8_mask(zero, zero);
}

INLINE __m512i settle_ties(__m512i codes, const row *above, const row *at, const row *below,
                           const uint8_t (*windows)[LBPMAP_TIE_WINDOWS][256]) {
    enum { GENTLE = 16 }; /* the window of -4..3 */
    const __m512i c = at->here;
    const __m512i right = _mm512_sub_epi8(at->right, c), left = _mm512_sub_epi8(at->left, c);
    const __m512i up = _mm512_sub_epi8(c, above->here), down = _mm512_sub_epi8(c, below->here);
    const __mmask64 ne = tied(above->right, c, right, up);
    const __mmask64 nw = tied(above->left, c, left, up);
    const __mmask64 sw = tied(below->left, c, left, down);
    const __mmask64 se = tied(below->right, c, right, down);
    const __m512i four = _mm512_set1_epi8(4), eight = _mm512_set1_epi8(8);
    const __m512i right4 = _mm512_add_epi8(right, four), left4 = _mm512_add_epi8(left, four);
    const __mmask64 gentle_r = _mm512_cmplt_epu8_mask(right4, eight);
    const __mmask64 gentle_l = _mm512_cmplt_epu8_mask(left4, eight);
    const top high = top_of(c);
    const __m512i power_r = power_of(gentle_r, right4), power_l = power_of(gentle_l, left4);
    codes = clear_ties(codes, ne, power_r, c, high, windows[0][GENTLE], 2);
    codes = clear_ties(codes, nw, power_l, c, high, windows[1][GENTLE], 8);
    codes = clear_ties(codes, sw, power_l, c, high, windows[2][GENTLE], 32);
    codes = clear_ties(codes, se, power_r, c, high, windows[3][GENTLE], 128);
    if (!_kortestz_mask64_u8(_kandn_mask64(gentle_r, _kor_mask64(ne, se)),
                             _kandn_mask64(gentle_l, _kor_mask64(nw, sw)))) {
        codes = clear_steep_ties(codes, ne & ~gentle_r, right, c, windows[0], 2);
        codes = clear_steep_ties(codes, nw & ~gentle_l, left, c, windows[1], 8);
        codes = clear_steep_ties(codes, sw & ~gentle_l, left, c, windows[2], 32);
        codes = clear_steep_ties(codes, se & ~gentle_r, right, c, windows[3], 128);
    }
    return codes;
}

/* Walks a block of 64 columns down; `p` is the first centre. */
INLINE void walk_circle1(const lbpmap_neighborhood *nb, const uint8_t *p, ptrdiff_t stride,
                         size_t height, const sink *s, uint8_t *out, ptrdiff_t out_stride,
                         int released) {
    row above = load_row(p - stride), at = load_row(p);
    __m512i rise[2]; /* centre minus the pixel above it */
    for (int h = 0; h < 2; ++h)
        rise[h] = _mm512_sub_epi16(at.here16[h], above.here16[h]);
    for (size_t y = 0; y < height; ++y) {
        const row below = load_row(p + ((ptrdiff_t)y + 1) * stride);
        __m512i beside = _mm512_maskz_mov_epi8(_mm512_cmpge_epu8_mask(at.right, at.here),
                                               _mm512_set1_epi8(1));
        beside = set_bit(beside, _mm512_cmpge_epu8_mask(above.here, at.here), 4);
        beside = set_bit(beside, _mm512_cmpge_epu8_mask(at.left, at.here), 16);
        beside = set_bit(beside, _mm512_cmpge_epu8_mask(below.here, at.here), 64);
        __m512i half[2] = {_mm512_setzero_si512(), beside};
        for (int h = 0; h < 2; ++h) {
            const __m512i c = at.here16[h];
            const __m512i right = _mm512_sub_epi16(at.right16[h], c);
            const __m512i left = _mm512_sub_epi16(at.left16[h], c);
            const __m512i fall = _mm512_sub_epi16(below.here16[h], c);
            const int shift = 8 * h;
            half[h] = corner(half[h], _mm512_sub_epi16(right, rise[h]), above.right16[h], c, 2 << shift);
            half[h] = corner(half[h], _mm512_sub_epi16(left, rise[h]), above.left16[h], c, 8 << shift);
            half[h] = corner(half[h], _mm512_add_epi16(left, fall), below.left16[h], c, 32 << shift);
            half[h] = corner(half[h], _mm512_add_epi16(right, fall), below.right16[h], c, 128 << shift);
            rise[h] = fall;
        }
        __m512i codes = _mm512_or_si512(half[0], half[1]);
        if (released)
            codes = settle_ties(codes, &above, &at, &below, nb->tie_zero);
        put(s, codes, out + (ptrdiff_t)y * out_stride);
        above = at;
        at = below;
    }
}

/* Eight pixels, wherever they lie: the square grid. */
INLINE void walk_pixels(const lbpmap_neighborhood *nb, const uint8_t *p, ptrdiff_t stride,
                        size_t height, const sink *s, uint8_t *out, ptrdiff_t out_stride) {
    for (size_t y = 0; y < height; ++y, p += stride) {
        const __m512i c = _mm512_loadu_si512(p);
        __m512i codes = _mm512_setzero_si512();
        for (int i = 0; i < 8; ++i) {
            const lbpmap_sample *at = &nb->sample[i];
            const __m512i pixel = _mm512_loadu_si512(p + at->row[0] * stride + at->col[0]);
            codes = set_bit(codes, _mm512_cmpge_epu8_mask(pixel, c), 1 << i);
        }
        put(s, codes, out + (ptrdiff_t)y * out_stride);
    }
}

typedef enum { OTHER, PIXELS, CIRCLE1_EXACT, CIRCLE1_RELEASED } kind;

static kind kind_of(const lbpmap_neighborhood *nb, size_t width) {
    if (nb->points != 8 || width < LANES)
        return OTHER;
    if (nb->sample[1].is_pixel)
        return PIXELS;
    if (nb->radius != 1)
        return OTHER;
    return nb->arithmetic == LBPMAP_EXACT ? CIRCLE1_EXACT : CIRCLE1_RELEASED;
}

static void run(kind what, const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t stride,
                size_t width, size_t height, const sink *s, uint8_t *out, ptrdiff_t out_stride) {
    const size_t bytes = s->planes ? 3 : 1;
    const uint8_t *centre = gray + nb->radius * stride + nb->radius;
    for (size_t y = 0; y < height; y += STRIP) {
        const size_t rows = height - y < STRIP ? height - y : STRIP;
        for (size_t x = 0; x < width; x += LANES) {
            const size_t at = x + LANES <= width ? x : width - LANES;
            const uint8_t *p = centre + (ptrdiff_t)y * stride + at;
            uint8_t *to = out + (ptrdiff_t)y * out_stride + at * bytes;
            switch (what) {
            case PIXELS: walk_pixels(nb, p, stride, rows, s, to, out_stride); break;
            case CIRCLE1_EXACT: walk_circle1(nb, p, stride, rows, s, to, out_stride, 0); break;
            default: walk_circle1(nb, p, stride, rows, s, to, out_stride, 1); break;
            }
        }
    }
}

static void codes(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                  size_t width, size_t height, uint8_t *out, ptrdiff_t out_stride) {
    const kind what = kind_of(nb, width);
    const sink s = {NULL, NULL, {0, 0, 0}, {0, 0, 0}};
    if (what == OTHER)
        lbpmap_codes_serial(nb, gray, gray_stride, width, height, out, out_stride);
    else
        run(what, nb, gray, gray_stride, width, height, &s, out, out_stride);
}

static void mapped(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                   size_t width, size_t height, const uint8_t *table, uint8_t *rgb,
                   ptrdiff_t rgb_stride) {
    const kind what = kind_of(nb, width);
    if (what == OTHER) {
        lbpmap_mapped_serial(nb, gray, gray_stride, width, height, table, rgb, rgb_stride);
        return;
    }
    palette p;
    const sink s = prepare(&p, table);
    run(what, nb, gray, gray_stride, width, height, &s, rgb, rgb_stride);
}

static void lookup(const uint8_t *from, ptrdiff_t from_stride, size_t width, size_t height,
                   const uint8_t *table, uint8_t *rgb, ptrdiff_t rgb_stride) {
    if (width < LANES) {
        lbpmap_lookup_serial(from, from_stride, width, height, table, rgb, rgb_stride);
        return;
    }
    palette p;
    const sink s = prepare(&p, table);
    for (size_t y = 0; y < height; ++y) {
        const uint8_t *code = from + (ptrdiff_t)y * from_stride;
        uint8_t *row = rgb + (ptrdiff_t)y * rgb_stride;
        for (size_t x = 0; x < width; x += LANES) {
            const size_t at = x + LANES <= width ? x : width - LANES;
            put(&s, _mm512_loadu_si512(code + at), row + 3 * at);
        }
    }
}

/* One channel of 64 RGB pixels that lie in three registers. `pick` holds 3 i + channel modulo 64 for
 * pixel i: pixels up to 21 come from the first register, the rest from the other two. */
INLINE __m512i channel(const __m512i rgb[3], __m512i pick, __mmask64 second, __mmask64 third) {
    __m512i c = _mm512_permutexvar_epi8(pick, rgb[0]);
    c = _mm512_mask_permutexvar_epi8(c, second, pick, rgb[1]);
    return _mm512_mask_permutexvar_epi8(c, third, pick, rgb[2]);
}

/* Grey of 32 colours in lanes of 16 bits, right for all 2^24 (tests/test_constants.py):
 * G + ((76 r + 30 b + 128 + (mulhi(69 r - 106 b, 32076) >> 6)) >> 8) with r = R - G, b = B - G. */
INLINE __m512i gray16(__m512i red, __m512i green, __m512i blue) {
    const __m512i r = _mm512_sub_epi16(red, green), b = _mm512_sub_epi16(blue, green);
    const __m512i coarse = _mm512_add_epi16(_mm512_mullo_epi16(r, _mm512_set1_epi16(76)),
                                            _mm512_mullo_epi16(b, _mm512_set1_epi16(30)));
    const __m512i rest = _mm512_sub_epi16(_mm512_mullo_epi16(r, _mm512_set1_epi16(69)),
                                          _mm512_mullo_epi16(b, _mm512_set1_epi16(106)));
    const __m512i fine =
        _mm512_srai_epi16(_mm512_mulhi_epi16(rest, _mm512_set1_epi16(32076)), 6);
    const __m512i sum =
        _mm512_add_epi16(_mm512_add_epi16(coarse, fine), _mm512_set1_epi16(128));
    return _mm512_add_epi16(green, _mm512_srai_epi16(sum, 8));
}

static void gray(const uint8_t *rgb, ptrdiff_t rgb_stride, size_t width, size_t height,
                 uint8_t *out, ptrdiff_t out_stride) {
    if (width < LANES) {
        lbpmap_gray_serial(rgb, rgb_stride, width, height, out, out_stride);
        return;
    }
    uint8_t index[3][LANES];
    uint64_t second[3] = {0, 0, 0}, third[3] = {0, 0, 0};
    for (int k = 0; k < 3; ++k)
        for (int i = 0; i < LANES; ++i) {
            const int at = 3 * i + k;
            index[k][i] = (uint8_t)(at % LANES);
            second[k] |= (uint64_t)(at / LANES == 1) << i;
            third[k] |= (uint64_t)(at / LANES == 2) << i;
        }
    for (size_t y = 0; y < height; ++y) {
        const uint8_t *in = rgb + (ptrdiff_t)y * rgb_stride;
        for (size_t x = 0; x < width; x += LANES) {
            const size_t at = x + LANES <= width ? x : width - LANES;
            __m512i block[3], lanes[3][2];
            for (int k = 0; k < 3; ++k)
                block[k] = _mm512_loadu_si512(in + 3 * at + (size_t)(LANES * k));
            for (int k = 0; k < 3; ++k)
                widen(channel(block, _mm512_loadu_si512(index[k]), second[k], third[k]), lanes[k]);
            const __m512i even = gray16(lanes[0][0], lanes[1][0], lanes[2][0]);
            const __m512i odd = gray16(lanes[0][1], lanes[1][1], lanes[2][1]);
            _mm512_storeu_si512(out + (ptrdiff_t)y * out_stride + at,
                                _mm512_or_si512(even, _mm512_slli_epi16(odd, 8)));
        }
    }
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

/* The compiler's test also asks the operating system (XGETBV) whether it saves the registers. */
static int supported(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vbmi");
}

const lbpmap_kernels lbpmap_kernels_avx512 = {
    .name = "avx512",
    .supported = supported,
    .gray = gray,
    .codes = codes,
    .codes16 = lbpmap_codes16_serial,
    .lookup = lookup,
    .lookup16 = lbpmap_lookup16_serial,
    .mapped = mapped,
    .planes = lbpmap_planes_serial,
    .histogram = lbpmap_histogram_serial,
    .histogram16 = lbpmap_histogram16_serial,
};
#endif
