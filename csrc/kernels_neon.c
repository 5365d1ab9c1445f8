/* kernels_neon.c: 16 pixels at a time on 64-bit ARM, all of which have NEON: nothing to ask at run
 * time. Vector instructions below are counted in the assembly of gcc 12 at -O3, without loads,
 * stores and moves; none of this has been timed.
 *
 * Codes (neon_codes.c). A row is worked off from left to right, and every pixel of a neighbourhood
 * loaded where it lies, 9 vectors at R = 1 and 21 at R = 5: loads have pipes of their own and stay
 * behind the arithmetic, so that nothing is carried from row to row. With a = near - C,
 * s = mid1 + mid2 - 2C and d = far - C, a corner's bit is u + floor(factor x / 2^n) >= 0 in 16
 * bits, by SQDMULH (which doubles: half of an even constant will do) and SSRA:
 *
 *     R    u               x               factor / 2^n
 *     1    d               s               13573 / 2^15
 *     5    7s + 6a + 8d    32(a + d) + 1   9318 / 2^22     "exact"
 *     5    7s + 6a + 8d    32(a + d)       9316 / 2^22     "released"
 *     10   s + 12a         8(14a + d)      20056 / 2^21    "released"
 *
 * At R = 5 and 10, u and x come straight from the bytes by UMLAL, the centre's share first, as it
 * is the same for all corners. R = 10 "exact" is the definition itself, S >= -50 in millionths,
 * with weights parted into two digits to the base 65536: the upper one in 16 bits, the lower one in
 * 32 by SMLAL. So are other radii, with four weights a corner. tests/test_constants.py enumerates
 * all this. For 16 codes: square grid 16, R = 1 56, R = 5 84, R = 10 128 ("released" 76, and ties).
 *
 * "released" is the sign of the real value, but where that is 0 the double precision of lbp.m
 * decides. There u = x = 0, as the ratio of their weights is irrational; to look for it takes 24
 * more, and a branch where no lane ties. neon_ties.c settles those that do. Other radii are left to
 * the serial kernel.
 *
 * Lookup. TBX reads 64 bytes of a table from four registers and leaves lanes whose index lies
 * outside; four of them and three subtractions look up 256. Three channels would need 48 registers
 * of 32, so a quarter of a channel at a time is loaded for 64 codes, which wait in four registers,
 * their colours in twelve. ST3 weaves RGB, LD3 parts it for grey. Between the two passes 256 codes
 * rest in the first-level cache.
 *
 * The end of a row is one more vector that overlaps the one before it; rows of fewer than 16 pixels
 * are left to the serial kernels. */
#include "neon.h"

#ifdef LBPMAP_NEON

enum {
    BLOCK = 4 * LANES, /* codes that share a load of the table */
    CHUNK = 256        /* codes that stay in the first-level cache on their way to the table */
};

/* What codes become: pixels of RGB, or floats in three planes. */
typedef struct {
    uint8_t table[3][256]; /* by channel */
    const float *mean;     /* NULL for RGB */
    uint8_t *out;
    ptrdiff_t row_stride, plane_stride;
} sink;

static sink sink_of(const uint8_t *table, const float *mean, void *out, ptrdiff_t row_stride,
                    ptrdiff_t plane_stride) {
    sink s;
    s.mean = mean;
    s.out = out;
    s.row_stride = row_stride;
    s.plane_stride = plane_stride;
    for (int code = 0; code < 256; ++code)
        for (int channel = 0; channel < 3; ++channel)
            s.table[channel][code] = table[3 * code + channel];
    return s;
}

INLINE void put_floats(float *out, uint8x16_t bytes, float mean) {
    const float32x4_t m = vdupq_n_f32(mean);
    const uint16x8_t lower = vmovl_u8(vget_low_u8(bytes)), upper = vmovl_high_u8(bytes);
    vst1q_f32(out, vsubq_f32(vcvtq_f32_u32(vmovl_u16(vget_low_u16(lower))), m));
    vst1q_f32(out + 4, vsubq_f32(vcvtq_f32_u32(vmovl_high_u16(lower)), m));
    vst1q_f32(out + 8, vsubq_f32(vcvtq_f32_u32(vmovl_u16(vget_low_u16(upper))), m));
    vst1q_f32(out + 12, vsubq_f32(vcvtq_f32_u32(vmovl_high_u16(upper)), m));
}

/* LANES colours to a row of the sink, from pixel x on. */
INLINE void put(const sink *s, uint8_t *row, size_t x, uint8x16_t red, uint8x16_t green,
                uint8x16_t blue) {
    if (!s->mean) {
        const uint8x16x3_t rgb = {{red, green, blue}};
        vst3q_u8(row + 3 * x, rgb);
        return;
    }
    put_floats((float *)(void *)row + x, red, s->mean[0]);
    put_floats((float *)(void *)(row + s->plane_stride) + x, green, s->mean[1]);
    put_floats((float *)(void *)(row + 2 * s->plane_stride) + x, blue, s->mean[2]);
}

INLINE void put_lanes(const sink *s, const uint8_t *codes, uint8_t *row, size_t x) {
    const indices index = indices_of(vld1q_u8(codes));
    put(s, row, x, look_up(s->table[0], &index), look_up(s->table[1], &index),
        look_up(s->table[2], &index));
}

/* A value for each of BLOCK codes. */
typedef struct {
    uint8x16_t v[4];
} block;

/* Adds what the index finds in one quarter of a table. */
INLINE void look_in_quarter(block *found, const uint8_t *part, const block *index) {
    const uint8x16x4_t entries = vld1q_u8_x4(part);
    found->v[0] = vqtbx4q_u8(found->v[0], entries, index->v[0]);
    found->v[1] = vqtbx4q_u8(found->v[1], entries, index->v[1]);
    found->v[2] = vqtbx4q_u8(found->v[2], entries, index->v[2]);
    found->v[3] = vqtbx4q_u8(found->v[3], entries, index->v[3]);
}

INLINE void put_block(const sink *s, const uint8_t *codes, uint8_t *row, size_t x) {
    const uint8x16_t zero = vdupq_n_u8(0), quarter = vdupq_n_u8(64);
    block red = {{zero, zero, zero, zero}}, green = red, blue = red;
    block index = {{vld1q_u8(codes), vld1q_u8(codes + LANES), vld1q_u8(codes + 2 * LANES),
                    vld1q_u8(codes + 3 * LANES)}};
    for (int part = 0; part < 256; part += 64) {
        look_in_quarter(&red, s->table[0] + part, &index);
        look_in_quarter(&green, s->table[1] + part, &index);
        look_in_quarter(&blue, s->table[2] + part, &index);
        index.v[0] = vsubq_u8(index.v[0], quarter);
        index.v[1] = vsubq_u8(index.v[1], quarter);
        index.v[2] = vsubq_u8(index.v[2], quarter);
        index.v[3] = vsubq_u8(index.v[3], quarter);
    }
    put(s, row, x, red.v[0], green.v[0], blue.v[0]);
    put(s, row, x + LANES, red.v[1], green.v[1], blue.v[1]);
    put(s, row, x + 2 * LANES, red.v[2], green.v[2], blue.v[2]);
    put(s, row, x + 3 * LANES, red.v[3], green.v[3], blue.v[3]);
}

/* n >= LANES codes to row y of the sink, from pixel x on. */
static void put_row(const sink *s, const uint8_t *codes, size_t n, size_t y, size_t x) {
    uint8_t *row = s->out + (ptrdiff_t)y * s->row_stride;
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK)
        put_block(s, codes + i, row, x + i);
    for (; i < n; i += LANES) {
        const size_t at = i + LANES <= n ? i : n - LANES;
        put_lanes(s, codes + at, row, x + at);
    }
}

static const uint8_t *first_centre(const lbpmap_neighborhood *nb, const uint8_t *gray,
                                   ptrdiff_t stride) {
    return gray + nb->radius * stride + nb->radius;
}

/* The last chunk of a row is as long as LANES at least, and may overlap the one before it. */
static void run(neon_codes *code_row, const lbpmap_neighborhood *nb, const uint8_t *gray,
                ptrdiff_t stride, size_t width, size_t height, const sink *s) {
    for (size_t y = 0; y < height; ++y) {
        const uint8_t *centre = first_centre(nb, gray, stride) + (ptrdiff_t)y * stride;
        for (size_t x = 0; x < width; x += CHUNK) {
            const size_t at = width - x < LANES ? width - LANES : x;
            const size_t n = width - at < CHUNK ? width - at : CHUNK;
            uint8_t codes[CHUNK];
            code_row(nb, centre + at, stride, n, codes);
            put_row(s, codes, n, y, at);
        }
    }
}

static void codes(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                  size_t width, size_t height, uint8_t *out, ptrdiff_t out_stride) {
    neon_codes *code_row = lbpmap_neon_codes_of(nb);
    if (!code_row || width < LANES) {
        lbpmap_codes_serial(nb, gray, gray_stride, width, height, out, out_stride);
        return;
    }
    for (size_t y = 0; y < height; ++y)
        code_row(nb, first_centre(nb, gray, gray_stride) + (ptrdiff_t)y * gray_stride, gray_stride,
                 width, out + (ptrdiff_t)y * out_stride);
}

static void mapped(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                   size_t width, size_t height, const uint8_t *table, uint8_t *rgb,
                   ptrdiff_t rgb_stride) {
    neon_codes *code_row = lbpmap_neon_codes_of(nb);
    if (!code_row || width < LANES) {
        lbpmap_mapped_serial(nb, gray, gray_stride, width, height, table, rgb, rgb_stride);
        return;
    }
    const sink s = sink_of(table, NULL, rgb, rgb_stride, 0);
    run(code_row, nb, gray, gray_stride, width, height, &s);
}

static void planes(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                   size_t width, size_t height, const uint8_t *table, const float mean[3],
                   float *out, ptrdiff_t plane_stride, ptrdiff_t row_stride) {
    neon_codes *code_row = lbpmap_neon_codes_of(nb);
    if (!code_row || width < LANES) {
        lbpmap_planes_serial(nb, gray, gray_stride, width, height, table, mean, out, plane_stride,
                             row_stride);
        return;
    }
    const sink s = sink_of(table, mean, out, row_stride, plane_stride);
    run(code_row, nb, gray, gray_stride, width, height, &s);
}

static void lookup(const uint8_t *from, ptrdiff_t from_stride, size_t width, size_t height,
                   const uint8_t *table, uint8_t *rgb, ptrdiff_t rgb_stride) {
    if (width < LANES) {
        lbpmap_lookup_serial(from, from_stride, width, height, table, rgb, rgb_stride);
        return;
    }
    const sink s = sink_of(table, NULL, rgb, rgb_stride, 0);
    for (size_t y = 0; y < height; ++y)
        put_row(&s, from + (ptrdiff_t)y * from_stride, width, y, 0);
}

INLINE int16x8_t minus(uint8x16_t p, uint8x16_t q, int half) {
    return vreinterpretq_s16_u16(half ? vsubl_high_u8(p, q)
                                      : vsubl_u8(vget_low_u8(p), vget_low_u8(q)));
}

/* 256 times (grey - green), rounded, of 8 colours: right for all 2^24 (tests/test_constants.py). */
INLINE uint8x16_t tint(uint8x16x3_t rgb, int half) {
    const int16x8_t r = minus(rgb.val[0], rgb.val[1], half);
    const int16x8_t b = minus(rgb.val[2], rgb.val[1], half);
    const int16x8_t coarse = vmlaq_n_s16(vmlaq_n_s16(vdupq_n_s16(128), r, 76), b, 30);
    const int16x8_t rest = vmlsq_n_s16(vmulq_n_s16(r, 69), b, 106);
    return vreinterpretq_u8_s16(vsraq_n_s16(coarse, vqdmulhq_n_s16(rest, 32076 / 2), 6));
}

static void gray(const uint8_t *rgb, ptrdiff_t rgb_stride, size_t width, size_t height,
                 uint8_t *out, ptrdiff_t out_stride) {
    if (width < LANES) {
        lbpmap_gray_serial(rgb, rgb_stride, width, height, out, out_stride);
        return;
    }
    for (size_t y = 0; y < height; ++y) {
        const uint8_t *in = rgb + (ptrdiff_t)y * rgb_stride;
        for (size_t x = 0; x < width; x += LANES) {
            const size_t at = x + LANES <= width ? x : width - LANES;
            const uint8x16x3_t colours = vld3q_u8(in + 3 * at);
            const uint8x16_t change = vuzp2q_u8(tint(colours, 0), tint(colours, 1));
            vst1q_u8(out + (ptrdiff_t)y * out_stride + at, vaddq_u8(colours.val[1], change));
        }
    }
}

static int always(void) {
    return 1;
}

const lbpmap_kernels lbpmap_kernels_neon = {
    .name = "neon",
    .supported = always,
    .gray = gray,
    .codes = codes,
    .codes16 = lbpmap_codes16_serial,
    .lookup = lookup,
    .lookup16 = lbpmap_lookup16_serial,
    .mapped = mapped,
    .planes = planes,
    .histogram = lbpmap_histogram_serial,
    .histogram16 = lbpmap_histogram16_serial,
    .blob = lbpmap_blob_serial,
};
#endif
