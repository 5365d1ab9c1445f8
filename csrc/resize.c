/* resize.c: from a mapped picture to the crops that a net takes, in plain C99.
 *
 * The resizing is that of 2015 (lbpmap/resize.py): pixel i of a side of `size` lies at
 * (i + 0.5) * source / size - 0.5 of the picture, between two pixels, of which those outside count as
 * the picture's least value, so that enlarging darkens the edges. With that value taken off
 * every pixel, "outside" is a weight of zero, and it comes back with the mean.
 *
 * A source row is resized along its length into three planes of floats. Two such rows, the two that
 * an output row lies between, are all that is kept: row r in place r modulo 2. Faces are enlarged
 * (143 x 181 to 256 x 256), so that a row serves 1.4 output rows; they are read as they come, and
 * each is resized once. The two are then mixed, the mean is taken off, and the result goes straight
 * to the planes of the crops. Mirrors are further columns: the kernel knows nothing of them.
 *
 * All instruction sets share the order of operations, without fused multiply-adds, so that they
 * give the same floats: within 1e-4 of a grey level of the sums in double. */
#include "kernels.h"

#include <math.h>

void lbpmap_taps_init(lbpmap_taps *taps, size_t source, size_t size, const int32_t *position,
                      size_t count) {
    const double step = (double)source / (double)size;
    const int32_t end = (int32_t)source - 2; /* where the last pair of pixels begins */
    taps->source = source;
    taps->count = count;
    for (size_t i = 0; i < count; ++i) {
        const double at = ((double)position[i] + 0.5) * step - 0.5;
        const int32_t below = (int32_t)floor(at);
        const double part = at - below;
        /* The pair moves inside the picture, and the weight goes with the pixel. */
        const int left = below < 0, right = below > end;
        taps->first[i] = left ? 0 : right ? below - 1 : below;
        taps->low[i] = (float)(left ? part : right ? 0.0 : 1.0 - part);
        taps->high[i] = (float)(left ? 0.0 : right ? 1.0 - part : part);
        if (source == 1) {
            taps->first[i] = 0;
            taps->low[i] = (float)(left ? part : 1.0 - part);
            taps->high[i] = 0.0f;
        }
    }
}

/* The three bytes of a pixel, red lowest. Compilers make one load of the four. */
static uint32_t pixel_at(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Fetching is scalar, all else is left to the compiler's vectors: two loops over a chunk. */
void lbpmap_resize_part_serial(const lbpmap_taps *taps, size_t x, size_t n, const uint8_t *row,
                               uint8_t least, float *line) {
    const int32_t *first = taps->first + x, base = least;
    const float *restrict low = taps->low + x, *restrict high = taps->high + x;
    uint32_t near[RESIZE_CHUNK], far[RESIZE_CHUNK];
    if (taps->source == 1) {
        for (size_t i = 0; i < n; ++i)
            near[i] = far[i] = (uint32_t)row[0] | (uint32_t)row[1] << 8 | (uint32_t)row[2] << 16;
    } else {
        for (size_t i = 0; i < n; ++i) {
            const uint8_t *p = row + 3 * (ptrdiff_t)first[i];
            near[i] = pixel_at(p);
            far[i] = pixel_at(p + 2) >> 8; /* never past the second pixel */
        }
    }
    for (unsigned c = 0; c < 3; ++c) {
        float *restrict out = line + c * taps->count + x;
        for (size_t i = 0; i < n; ++i) {
            const int32_t a = (int32_t)(near[i] >> 8 * c & 255) - base;
            const int32_t b = (int32_t)(far[i] >> 8 * c & 255) - base;
            out[i] = (float)a * low[i] + (float)b * high[i];
        }
    }
}

static void line(const lbpmap_taps *taps, const uint8_t *row, uint8_t least, float *out) {
    for (size_t x = 0; x < taps->count; x += RESIZE_CHUNK) {
        const size_t n = taps->count - x;
        lbpmap_resize_part_serial(taps, x, n < RESIZE_CHUNK ? n : RESIZE_CHUNK, row, least, out);
    }
}

static void mix(const float *restrict upper, const float *restrict lower, float low, float high,
                float least, const float *restrict mean, size_t n, float *restrict out) {
    for (size_t i = 0; i < n; ++i)
        out[i] = (upper[i] * low + lower[i] * high + least) - mean[i];
}

/* The least byte of a picture; the search ends with a row that holds a zero. */
static uint8_t least_of(const uint8_t *rgb, ptrdiff_t stride, size_t bytes, size_t height) {
    uint8_t least = 255;
    for (size_t y = 0; y < height && least; ++y) {
        const uint8_t *row = rgb + (ptrdiff_t)y * stride;
        for (size_t i = 0; i < bytes; ++i)
            least = row[i] < least ? row[i] : least;
    }
    return least;
}

void lbpmap_resize_rows(const lbpmap_crops *how, lbpmap_resize_line *resize_line,
                        lbpmap_resize_mix *mix_lines, const uint8_t *rgb, ptrdiff_t rgb_stride,
                        float *scratch, float *out, ptrdiff_t crop_stride) {
    const lbpmap_taps *rows = &how->rows, *columns = &how->columns;
    const size_t side = how->side, length = 3 * columns->count;
    const uint8_t least = least_of(rgb, rgb_stride, 3 * columns->source, rows->source);
    size_t held[2] = {SIZE_MAX, SIZE_MAX};
    for (size_t y = 0; y < rows->count; ++y) {
        const size_t upper = (size_t)rows->first[y];
        const size_t lower = rows->source > 1 ? upper + 1 : upper;
        for (size_t r = upper; r <= lower; ++r) {
            if (held[r % 2] == r)
                continue;
            resize_line(columns, rgb + (ptrdiff_t)r * rgb_stride, least, scratch + r % 2 * length);
            held[r % 2] = r;
        }
        for (size_t k = 0; k < how->count; ++k) {
            const lbpmap_crop *crop = &how->crop[k];
            if (y < crop->row || y - crop->row >= side)
                continue;
            const size_t at = y - crop->row;
            float *to = out + (ptrdiff_t)k * (crop_stride / 4) + at * side;
            for (size_t c = 0; c < 3; ++c) { /* plane c holds channel 2 - c: BGR */
                const size_t from = (2 - c) * columns->count + crop->column;
                const float *mean = crop->mean + (ptrdiff_t)c * (how->mean_plane_stride / 4) +
                                    (ptrdiff_t)at * (how->mean_row_stride / 4);
                mix_lines(scratch + upper % 2 * length + from,
                          scratch + lower % 2 * length + from, rows->low[y], rows->high[y],
                          (float)least, mean, side, to + c * side * side);
            }
        }
    }
}

void lbpmap_blob_serial(const lbpmap_crops *how, const uint8_t *rgb, ptrdiff_t rgb_stride,
                        float *scratch, float *out, ptrdiff_t crop_stride) {
    lbpmap_resize_rows(how, line, mix, rgb, rgb_stride, scratch, out, crop_stride);
}
