/* kernels_avx512.c: the AVX-512 row of the table: which walk makes the codes, and what is made of
 * them.
 *
 * A picture is worked off in strips of rows, each in blocks of 64 columns. The end of a row is one
 * more block that overlaps the one before it, so that nothing beyond a row is read or written; rows
 * of fewer than 64 pixels are left to the AVX2 ones.
 *
 * Colours. vpermb weaves the three channels of 64 pixels into 192 bytes of RGB, and parts them for
 * grey; a table of 256 colours is parted the same way, once per call.
 *
 * Planes. Codes of up to CHUNK columns go to a buffer, and each of the three planes is written row
 * by row from there, in whole aligned lines. From 16 MiB on lines bypass the caches: such an output
 * is not read again before it has left them, and a streamed line need not be fetched first. */
#include "avx512.h"

#ifdef LBPMAP_AVX512

#include <string.h>

/* Rows of the buffer are an odd number of lines apart, so that they do not share a cache set, and
 * may be read a block past their end. */
enum {
    CHUNK = 512,
    BUFFER_STRIDE = CHUNK + LANES,
    STREAM_BYTES = 16 << 20,
    CACHED_BYTES = 1 << 19, /* half of a core's L2: all rows, read and written, stay there */
    FEW_ROWS = 8            /* of a strip otherwise: with 16, 4096 x 4096 takes 1.5 times as long */
};

static lbpmap_avx512_walk *walk_of(const lbpmap_neighborhood *nb) {
    static const struct {
        int32_t radius, pixels; /* pixels: the corners are pixels, as on the square grid */
        lbpmap_avx512_walk *of[2];
    } eight[] = {
        {1, 1, {lbpmap_avx512_pixels1, lbpmap_avx512_pixels1}},
        {1, 0, {lbpmap_avx512_exact1, lbpmap_avx512_released1}},
        {5, 0, {lbpmap_avx512_exact5, lbpmap_avx512_released5}},
        {10, 0, {lbpmap_avx512_exact10, lbpmap_avx512_released10}},
    };
    const int released = nb->arithmetic == LBPMAP_RELEASED;
    for (size_t k = 0; nb->points == 8 && k < sizeof eight / sizeof eight[0]; ++k)
        if (nb->radius == eight[k].radius && nb->sample[1].is_pixel == eight[k].pixels)
            return eight[k].of[released];
    if (nb->points == 8 && nb->sample[1].is_pixel)
        return lbpmap_avx512_pixels;
    return released ? lbpmap_avx512_any_released : lbpmap_avx512_any_exact;
}

/* A walk and what it needs. */
typedef struct {
    lbpmap_avx512_walk *walk;
    lbpmap_avx512_plan plan;
} work;

static void prepare(work *w, const lbpmap_neighborhood *nb) {
    w->walk = walk_of(nb);
    w->plan.nb = nb;
    if (w->walk == lbpmap_avx512_released1)
        lbpmap_avx512_plan_gentle(&w->plan);
    else if (nb->arithmetic == LBPMAP_RELEASED)
        lbpmap_avx512_plan_flat(&w->plan);
}

/* Where the block that makes column x begins. */
INLINE size_t block_at(size_t x, size_t width) {
    return x + LANES <= width ? x : width - LANES;
}

/* The codes of `rows` rows; `p` is the first centre. */
static void walk_strip(const work *w, int32_t first, const uint8_t *p, ptrdiff_t stride,
                       size_t width, size_t rows, uint8_t *out, ptrdiff_t out_stride) {
    for (size_t x = 0; x < width; x += LANES) {
        const size_t at = block_at(x, width);
        w->walk(&w->plan, first, p + at, stride, rows, out + at, out_stride);
    }
}

/* Rows of a strip, of which `left` remain to be made. */
static size_t strip_rows(size_t left, size_t bytes) {
    const size_t most = bytes > CACHED_BYTES ? FEW_ROWS : STRIP;
    return left < most ? left : most;
}

static void codes(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                  size_t width, size_t height, uint8_t *out, ptrdiff_t out_stride) {
    if (width < LANES) {
        lbpmap_kernels_avx2.codes(nb, gray, gray_stride, width, height, out, out_stride);
        return;
    }
    work w;
    prepare(&w, nb);
    const uint8_t *p = gray + nb->radius * gray_stride + nb->radius;
    for (size_t y = 0, rows; y < height; y += rows) {
        rows = strip_rows(height - y, 2 * width * height);
        walk_strip(&w, 0, p + (ptrdiff_t)y * gray_stride, gray_stride, width, rows,
                   out + (ptrdiff_t)y * out_stride, out_stride);
    }
}

/* Codes of more than eight bits are made in two halves. */
static void codes16(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                    size_t width, size_t height, uint16_t *out, ptrdiff_t out_stride) {
    if (width < LANES) {
        lbpmap_kernels_avx2.codes16(nb, gray, gray_stride, width, height, out, out_stride);
        return;
    }
    work w;
    prepare(&w, nb);
    const uint8_t *centre = gray + nb->radius * gray_stride + nb->radius;
    uint8_t half[2][STRIP][LANES];
    memset(half, 0, sizeof half);
    for (size_t y = 0, rows; y < height; y += rows) {
        rows = strip_rows(height - y, 3 * width * height);
        for (size_t x = 0; x < width; x += LANES) {
            const size_t at = block_at(x, width);
            const uint8_t *p = centre + (ptrdiff_t)y * gray_stride + at;
            for (int32_t k = 0; 8 * k < nb->points; ++k)
                w.walk(&w.plan, 8 * k, p, gray_stride, rows, half[k][0], LANES);
            for (size_t r = 0; r < rows; ++r) {
                uint16_t *to = out + (ptrdiff_t)(y + r) * (out_stride / 2) + at;
                for (int e = 0; e < 2; ++e) {
                    const __m512i low = _mm512_cvtepu8_epi16(
                        _mm256_loadu_si256((const __m256i *)(const void *)(half[0][r] + 32 * e)));
                    const __m512i high = _mm512_cvtepu8_epi16(
                        _mm256_loadu_si256((const __m256i *)(const void *)(half[1][r] + 32 * e)));
                    _mm512_storeu_si512(to + 32 * e,
                                        _mm512_or_si512(low, _mm512_slli_epi16(high, 8)));
                }
            }
        }
    }
}

/* A table by channel, and which pixel and channel each of 192 bytes comes from. */
typedef struct {
    __m512i channel[3][4];
    __m512i pixel[3];
    __mmask64 green[3], blue[3];
} palette;

static palette palette_of(const uint8_t *table) {
    palette p;
    const parting parts = parting_of_rgb();
    for (int quarter = 0; quarter < 4; ++quarter) {
        __m512i channel[3];
        part(&parts, table + 3 * LANES * quarter, channel);
        for (int k = 0; k < 3; ++k)
            p.channel[k][quarter] = channel[k];
    }
    for (int k = 0; k < 3; ++k) {
        uint8_t pixel[LANES];
        p.green[k] = p.blue[k] = 0;
        for (int j = 0; j < LANES; ++j) {
            const int at = LANES * k + j;
            pixel[j] = (uint8_t)(at / 3);
            p.green[k] |= (__mmask64)(at % 3 == 1) << j;
            p.blue[k] |= (__mmask64)(at % 3 == 2) << j;
        }
        p.pixel[k] = _mm512_loadu_si512(pixel);
    }
    return p;
}

INLINE void put_rgb(const palette *p, __m512i codes, uint8_t *rgb) {
    const __mmask64 high = _mm512_movepi8_mask(codes);
    const __m512i red = look_up(p->channel[0], codes, high);
    const __m512i green = look_up(p->channel[1], codes, high);
    const __m512i blue = look_up(p->channel[2], codes, high);
    for (int k = 0; k < 3; ++k) {
        __m512i out = _mm512_permutexvar_epi8(p->pixel[k], red);
        out = _mm512_mask_permutexvar_epi8(out, p->green[k], p->pixel[k], green);
        out = _mm512_mask_permutexvar_epi8(out, p->blue[k], p->pixel[k], blue);
        _mm512_storeu_si512(rgb + LANES * k, out);
    }
}

/* `p` by value: its tables then stay in registers. */
static void lookup_rows(palette p, const uint8_t *from, ptrdiff_t from_stride, size_t width,
                        size_t height, uint8_t *rgb, ptrdiff_t rgb_stride) {
    for (size_t y = 0; y < height; ++y) {
        const uint8_t *code = from + (ptrdiff_t)y * from_stride;
        uint8_t *row = rgb + (ptrdiff_t)y * rgb_stride;
        for (size_t x = 0; x < width; x += LANES) {
            const size_t at = block_at(x, width);
            put_rgb(&p, _mm512_loadu_si512(code + at), row + 3 * at);
        }
    }
}

static void lookup(const uint8_t *from, ptrdiff_t from_stride, size_t width, size_t height,
                   const uint8_t *table, uint8_t *rgb, ptrdiff_t rgb_stride) {
    if (width < LANES)
        lbpmap_kernels_avx2.lookup(from, from_stride, width, height, table, rgb, rgb_stride);
    else
        lookup_rows(palette_of(table), from, from_stride, width, height, rgb, rgb_stride);
}

static void mapped(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                   size_t width, size_t height, const uint8_t *table, uint8_t *rgb,
                   ptrdiff_t rgb_stride) {
    if (width < LANES) {
        lbpmap_kernels_avx2.mapped(nb, gray, gray_stride, width, height, table, rgb, rgb_stride);
        return;
    }
    work w;
    prepare(&w, nb);
    const palette p = palette_of(table);
    const uint8_t *centre = gray + nb->radius * gray_stride + nb->radius;
    uint8_t buffer[STRIP][BUFFER_STRIDE];
    for (size_t y = 0, rows; y < height; y += rows) {
        rows = strip_rows(height - y, 4 * width * height);
        for (size_t x = 0; x < width; x += CHUNK) {
            const size_t at = width - x < LANES ? width - LANES : x;
            const size_t columns = width - at < CHUNK ? width - at : CHUNK;
            walk_strip(&w, 0, centre + (ptrdiff_t)y * gray_stride + at, gray_stride, columns, rows,
                       buffer[0], BUFFER_STRIDE);
            lookup_rows(p, buffer[0], BUFFER_STRIDE, columns, rows,
                        rgb + (ptrdiff_t)y * rgb_stride + 3 * at, rgb_stride);
        }
    }
}

/* What turns 64 bytes into four times 16 floats less the mean: vpermb puts each byte below the
 * upper ones of 2^23, which makes it the float 2^23 + byte. */
typedef struct {
    __m512i quarter[4];
    __m512 base, mean;
} shading;

static shading shading_of(float mean) {
    shading s;
    for (int k = 0; k < 4; ++k) {
        int32_t from[16];
        for (int i = 0; i < 16; ++i)
            from[i] = 16 * k + i;
        s.quarter[k] = _mm512_loadu_si512(from);
    }
    s.base = _mm512_set1_ps(8388608.0f);
    s.mean = _mm512_set1_ps(mean);
    return s;
}

INLINE void shade(const shading *s, const __m512i table[4], const uint8_t *codes, __m512 out[4]) {
    const __m512i code = _mm512_loadu_si512(codes);
    const __m512i colour = look_up(table, code, _mm512_movepi8_mask(code));
    for (int k = 0; k < 4; ++k) {
        const __m512i bits = _mm512_mask_permutexvar_epi8(
            _mm512_castps_si512(s->base), 0x1111111111111111ull, s->quarter[k], colour);
        out[k] = _mm512_sub_ps(_mm512_sub_ps(_mm512_castsi512_ps(bits), s->base), s->mean);
    }
}

/* One row of one plane. Reads up to 63 codes past the last. */
INLINE void plane_row(const shading *s, const __m512i table[4], const uint8_t *codes, size_t n,
                      float *out, int stream) {
    __m512 v[4];
    const size_t head = (size_t)(-(uintptr_t)out / sizeof(float)) % 16;
    shade(s, table, codes, v);
    _mm512_mask_storeu_ps(out, (__mmask16)((1u << head) - 1), v[0]);
    size_t x = head;
    for (; x + LANES <= n; x += LANES) {
        shade(s, table, codes + x, v);
        for (int k = 0; k < 4; ++k)
            if (stream)
                _mm512_stream_ps(out + x + 16 * k, v[k]);
            else
                _mm512_store_ps(out + x + 16 * k, v[k]);
    }
    if (x == n)
        return;
    shade(s, table, codes + x, v);
    const __mmask64 rest = ((__mmask64)1 << (n - x)) - 1;
    for (int k = 0; k < 4; ++k)
        _mm512_mask_storeu_ps(out + x + 16 * k, (__mmask16)(rest >> 16 * k), v[k]);
}

static void plane_rows(const __m512i table[4], float mean, const uint8_t *codes, size_t columns,
                       size_t rows, float *out, ptrdiff_t row_stride, int stream) {
    const __m512i held[4] = {table[0], table[1], table[2], table[3]};
    const shading s = shading_of(mean);
    for (size_t r = 0; r < rows; ++r, codes += BUFFER_STRIDE, out += row_stride / 4)
        if (stream)
            plane_row(&s, held, codes, columns, out, 1);
        else
            plane_row(&s, held, codes, columns, out, 0);
}

static void planes(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                   size_t width, size_t height, const uint8_t *table, const float mean[3],
                   float *out, ptrdiff_t plane_stride, ptrdiff_t row_stride) {
    if (width < LANES) {
        lbpmap_kernels_avx2.planes(nb, gray, gray_stride, width, height, table, mean, out,
                                   plane_stride, row_stride);
        return;
    }
    work w;
    prepare(&w, nb);
    const palette p = palette_of(table);
    const uint8_t *centre = gray + nb->radius * gray_stride + nb->radius;
    const int stream = width * height > STREAM_BYTES / (3 * sizeof(float));
    uint8_t buffer[STRIP][BUFFER_STRIDE];
    memset(buffer, 0, sizeof buffer);
    for (size_t y = 0, rows; y < height; y += rows) {
        rows = strip_rows(height - y, 13 * width * height);
        for (size_t x = 0; x < width; x += CHUNK) {
            const size_t at = width - x < LANES ? width - LANES : x;
            const size_t columns = width - at < CHUNK ? width - at : CHUNK;
            walk_strip(&w, 0, centre + (ptrdiff_t)y * gray_stride + at, gray_stride, columns, rows,
                       buffer[0], BUFFER_STRIDE);
            for (int c = 0; c < 3; ++c)
                plane_rows(p.channel[c], mean[c], buffer[0], columns, rows,
                           out + c * (plane_stride / 4) + (ptrdiff_t)y * (row_stride / 4) + at,
                           row_stride, stream);
        }
    }
    if (stream)
        _mm_sfence();
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
        lbpmap_kernels_avx2.gray(rgb, rgb_stride, width, height, out, out_stride);
        return;
    }
    const parting parts = parting_of_rgb();
    for (size_t y = 0; y < height; ++y) {
        const uint8_t *in = rgb + (ptrdiff_t)y * rgb_stride;
        for (size_t x = 0; x < width; x += LANES) {
            const size_t at = block_at(x, width);
            __m512i channel[3];
            part(&parts, in + 3 * at, channel);
            const __m512i even = gray16(even16(channel[0]), even16(channel[1]), even16(channel[2]));
            const __m512i odd = gray16(odd16(channel[0]), odd16(channel[1]), odd16(channel[2]));
            _mm512_storeu_si512(out + (ptrdiff_t)y * out_stride + at,
                                _mm512_or_si512(even, _mm512_slli_epi16(odd, 8)));
        }
    }
}

LBPMAP_AVX512_END

/* The compiler's test also asks the operating system (XGETBV) whether it saves the registers. */
static int supported(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2") &&
           __builtin_cpu_supports("avx512vnni");
}

const lbpmap_kernels lbpmap_kernels_avx512 = {
    .name = "avx512",
    .supported = supported,
    .gray = gray,
    .codes = codes,
    .codes16 = codes16,
    .lookup = lookup,
    .lookup16 = lbpmap_lookup16_serial,
    .mapped = mapped,
    .planes = planes,
    .histogram = lbpmap_histogram_serial,
    .histogram16 = lbpmap_histogram16_serial,
    .blob = lbpmap_blob_avx512,
};
#endif
