/* kernels_serial.c: every kernel in plain C99, for any P <= 16 and any radius.
 *
 * This is the readable twin of the files with intrinsics, and what runs where none of them can.
 * A row is worked off in chunks small enough for the first-level cache. For each of the P samples
 * one simple loop runs over the chunk and adds the sample's bit to the codes; which loop depends on
 * the sample (a pixel, or between pixels) and the arithmetic, never on the data. Compilers turn
 * such loops into vector code by themselves.
 *
 * "exact" compares S = sum(millionths * pixel) - 1000000 * centre with -50: the sample is rounded
 * to 4 decimals before the comparison, so half a unit of the fourth decimal, 50 millionths, below
 * the centre still counts as equal. |S| <= 255e6 fits 32 bits.
 *
 * "released" is the sum in double precision, left to right, in the order of lbp.m.
 *
 * Grey is MATLAB's weights times 2^22: right for all 2^24 colours, of which none comes closer than
 * 4.5e-6 to a rounding tie, and with no smaller power of two. */
#include "kernels.h"

#include <string.h>

enum { CHUNK = 256 };

static void pixel_bit(const uint8_t *restrict centre, const uint8_t *restrict sample, size_t n,
                      unsigned bit, uint16_t *restrict codes) {
    for (size_t x = 0; x < n; ++x)
        codes[x] |= (uint16_t)((unsigned)(sample[x] >= centre[x]) << bit);
}

static void exact_bit(const uint8_t *restrict centre, const uint8_t *const pixel[4],
                      const int32_t weight[4], size_t n, unsigned bit, uint16_t *restrict codes) {
    const uint8_t *p0 = pixel[0], *p1 = pixel[1], *p2 = pixel[2], *p3 = pixel[3];
    const int32_t w0 = weight[0], w1 = weight[1], w2 = weight[2], w3 = weight[3];
    for (size_t x = 0; x < n; ++x) {
        const int32_t s = w0 * p0[x] + w1 * p1[x] + w2 * p2[x] + w3 * p3[x] - 1000000 * centre[x];
        codes[x] |= (uint16_t)((unsigned)(s >= -50) << bit);
    }
}

static void released_bit(const uint8_t *restrict centre, const uint8_t *const pixel[4],
                         const double weight[4], size_t n, unsigned bit,
                         uint16_t *restrict codes) {
    const uint8_t *p0 = pixel[0], *p1 = pixel[1], *p2 = pixel[2], *p3 = pixel[3];
    const double w0 = weight[0], w1 = weight[1], w2 = weight[2], w3 = weight[3];
    for (size_t x = 0; x < n; ++x) {
        const double v = ((w0 * p0[x] + w1 * p1[x]) + w2 * p2[x]) + w3 * p3[x];
        codes[x] |= (uint16_t)((unsigned)(v >= (double)centre[x]) << bit);
    }
}

/* The codes of n <= CHUNK neighbouring centres; `centre` points into the picture. */
static void code_chunk(const lbpmap_neighborhood *nb, const uint8_t *centre, ptrdiff_t stride,
                       size_t n, uint16_t codes[CHUNK]) {
    for (size_t x = 0; x < n; ++x)
        codes[x] = 0;
    for (int32_t i = 0; i < nb->points; ++i) {
        const lbpmap_sample *s = &nb->sample[i];
        const uint8_t *const pixel[4] = {
            centre + s->row[0] * stride + s->col[0],
            centre + s->row[0] * stride + s->col[1],
            centre + s->row[1] * stride + s->col[0],
            centre + s->row[1] * stride + s->col[1],
        };
        if (s->is_pixel)
            pixel_bit(centre, pixel[0], n, (unsigned)i, codes);
        else if (nb->arithmetic == LBPMAP_EXACT)
            exact_bit(centre, pixel, s->millionths, n, (unsigned)i, codes);
        else
            released_bit(centre, pixel, s->weight, n, (unsigned)i, codes);
    }
}

/* What becomes of a chunk's codes: `row` is where its first pixel is written. */
typedef void chunk_store(const uint16_t *codes, size_t n, const uint8_t *table, uint8_t *row);

static void store8(const uint16_t *codes, size_t n, const uint8_t *table, uint8_t *row) {
    (void)table;
    for (size_t k = 0; k < n; ++k)
        row[k] = (uint8_t)codes[k];
}

static void store16(const uint16_t *codes, size_t n, const uint8_t *table, uint8_t *row) {
    (void)table;
    memcpy(row, codes, n * sizeof *codes);
}

static void store_mapped(const uint16_t *codes, size_t n, const uint8_t *table, uint8_t *row) {
    for (size_t k = 0; k < n; ++k, row += 3)
        memcpy(row, table + 3 * (size_t)codes[k], 3);
}

static void each_chunk(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                       size_t width, size_t height, chunk_store *store, const uint8_t *table,
                       uint8_t *out, ptrdiff_t out_stride, size_t pixel_bytes) {
    for (size_t y = 0; y < height; ++y) {
        const uint8_t *centre = gray + ((ptrdiff_t)y + nb->radius) * gray_stride + nb->radius;
        uint8_t *row = out + (ptrdiff_t)y * out_stride;
        for (size_t x = 0; x < width; x += CHUNK) {
            const size_t n = width - x < CHUNK ? width - x : CHUNK;
            uint16_t codes[CHUNK];
            code_chunk(nb, centre + x, gray_stride, n, codes);
            store(codes, n, table, row + x * pixel_bytes);
        }
    }
}

void lbpmap_codes_serial(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                         size_t width, size_t height, uint8_t *codes, ptrdiff_t codes_stride) {
    each_chunk(nb, gray, gray_stride, width, height, store8, NULL, codes, codes_stride, 1);
}

void lbpmap_codes16_serial(const lbpmap_neighborhood *nb, const uint8_t *gray,
                           ptrdiff_t gray_stride, size_t width, size_t height, uint16_t *codes,
                           ptrdiff_t codes_stride) {
    each_chunk(nb, gray, gray_stride, width, height, store16, NULL, (uint8_t *)codes, codes_stride,
               2);
}

void lbpmap_mapped_serial(const lbpmap_neighborhood *nb, const uint8_t *gray,
                          ptrdiff_t gray_stride, size_t width, size_t height,
                          const uint8_t *table, uint8_t *rgb, ptrdiff_t rgb_stride) {
    each_chunk(nb, gray, gray_stride, width, height, store_mapped, table, rgb, rgb_stride, 3);
}

void lbpmap_planes_serial(const lbpmap_neighborhood *nb, const uint8_t *gray,
                          ptrdiff_t gray_stride, size_t width, size_t height,
                          const uint8_t *table, const float mean[3], float *out,
                          ptrdiff_t plane_stride, ptrdiff_t row_stride) {
    float shade[3][256];
    for (int c = 0; c < 3; ++c)
        for (int code = 0; code < 256; ++code)
            shade[c][code] = (float)table[3 * code + c] - mean[c];
    for (size_t y = 0; y < height; ++y) {
        const uint8_t *centre = gray + ((ptrdiff_t)y + nb->radius) * gray_stride + nb->radius;
        for (size_t x = 0; x < width; x += CHUNK) {
            const size_t n = width - x < CHUNK ? width - x : CHUNK;
            uint16_t codes[CHUNK];
            code_chunk(nb, centre + x, gray_stride, n, codes);
            for (int c = 0; c < 3; ++c) {
                float *row = out + c * (plane_stride / 4) + (ptrdiff_t)y * (row_stride / 4) + x;
                for (size_t k = 0; k < n; ++k)
                    row[k] = shade[c][codes[k]];
            }
        }
    }
}

void lbpmap_lookup_serial(const uint8_t *codes, ptrdiff_t codes_stride, size_t width,
                          size_t height, const uint8_t *table, uint8_t *rgb,
                          ptrdiff_t rgb_stride) {
    for (size_t y = 0; y < height; ++y) {
        const uint8_t *code = codes + (ptrdiff_t)y * codes_stride;
        uint8_t *row = rgb + (ptrdiff_t)y * rgb_stride;
        for (size_t x = 0; x < width; ++x)
            memcpy(row + 3 * x, table + 3 * (size_t)code[x], 3);
    }
}

void lbpmap_lookup16_serial(const uint16_t *codes, ptrdiff_t codes_stride, size_t width,
                            size_t height, const uint8_t *table, uint8_t *rgb,
                            ptrdiff_t rgb_stride) {
    for (size_t y = 0; y < height; ++y)
        store_mapped(codes + (ptrdiff_t)y * (codes_stride / 2), width, table,
                     rgb + (ptrdiff_t)y * rgb_stride);
}

/* Counts the codes [begin, end) of a row into one cell. */
typedef void row_count(const uint8_t *row, size_t begin, size_t end, const uint16_t *bin,
                       uint32_t *cell);

static void count8(const uint8_t *row, size_t begin, size_t end, const uint16_t *bin,
                   uint32_t *cell) {
    for (size_t x = begin; x < end; ++x)
        ++cell[bin[row[x]]];
}

static void count16(const uint8_t *row, size_t begin, size_t end, const uint16_t *bin,
                    uint32_t *cell) {
    const uint16_t *codes = (const uint16_t *)(const void *)row;
    for (size_t x = begin; x < end; ++x)
        ++cell[bin[codes[x]]];
}

static size_t cell_edge(size_t length, size_t i, size_t cells) {
    return (size_t)((uint64_t)length * i / cells);
}

static void each_cell(const lbpmap_cells *cells, const uint8_t *codes, ptrdiff_t codes_stride,
                      size_t width, size_t height, row_count *count, uint32_t *counts) {
    memset(counts, 0, cells->rows * cells->columns * cells->bins * sizeof *counts);
    for (size_t j = 0; j < cells->rows; ++j) {
        const size_t bottom = cell_edge(height, j + 1, cells->rows);
        for (size_t y = cell_edge(height, j, cells->rows); y < bottom; ++y) {
            const uint8_t *row = codes + (ptrdiff_t)y * codes_stride;
            for (size_t i = 0; i < cells->columns; ++i)
                count(row, cell_edge(width, i, cells->columns),
                      cell_edge(width, i + 1, cells->columns), cells->bin,
                      counts + (j * cells->columns + i) * cells->bins);
        }
    }
}

void lbpmap_histogram_serial(const lbpmap_cells *cells, const uint8_t *codes,
                             ptrdiff_t codes_stride, size_t width, size_t height,
                             uint32_t *counts) {
    each_cell(cells, codes, codes_stride, width, height, count8, counts);
}

void lbpmap_histogram16_serial(const lbpmap_cells *cells, const uint16_t *codes,
                               ptrdiff_t codes_stride, size_t width, size_t height,
                               uint32_t *counts) {
    each_cell(cells, (const uint8_t *)codes, codes_stride, width, height, count16, counts);
}

void lbpmap_gray_serial(const uint8_t *rgb, ptrdiff_t rgb_stride, size_t width, size_t height,
                        uint8_t *gray, ptrdiff_t gray_stride) {
    for (size_t y = 0; y < height; ++y) {
        const uint8_t *in = rgb + (ptrdiff_t)y * rgb_stride;
        uint8_t *out = gray + (ptrdiff_t)y * gray_stride;
        for (size_t x = 0; x < width; ++x) {
            out[x] = (uint8_t)((1253830u * in[3 * x] + 2462235u * in[3 * x + 1] +
                                478239u * in[3 * x + 2] + (1u << 21)) >> 22);
        }
    }
}

static int always(void) {
    return 1;
}

const lbpmap_kernels lbpmap_kernels_serial = {
    .name = "serial",
    .supported = always,
    .gray = lbpmap_gray_serial,
    .codes = lbpmap_codes_serial,
    .codes16 = lbpmap_codes16_serial,
    .lookup = lbpmap_lookup_serial,
    .lookup16 = lbpmap_lookup16_serial,
    .mapped = lbpmap_mapped_serial,
    .planes = lbpmap_planes_serial,
    .histogram = lbpmap_histogram_serial,
    .histogram16 = lbpmap_histogram16_serial,
    .blob = lbpmap_blob_serial,
};
