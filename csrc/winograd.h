/* winograd.h: inside the core only: a convolution as products at points, 8 channels side by side.
 * Included once, by nets.c, which compiles it for each instruction set.
 *
 * The points are 0, +-p, +-q and infinity, p = 3/4 and q = 3/2. With the usual 1 and 2 the largest
 * error of 512 channels of 3 x 3 is 7e-6 of the largest output, with these 2e-6; a plain sum's is
 * 3e-7. All constants but three of the filters' are exact in binary.
 *
 * In one dimension, with input d, filter g and output y:
 *   at 0        d4 - (p^2 + q^2) d2 + p^2 q^2 d0       g0 / (p^2 q^2)
 *   at +-p      d4 - q^2 d2 +- p (d3 - q^2 d1)         (g0 + p^2 g2 + .. +- p (g1 + p^2 g3)) / P
 *   at +-q      d4 - p^2 d2 +- q (d3 - p^2 d1)         (g0 + q^2 g2 + .. +- q (g1 + q^2 g3)) / Q
 *   infinity    d5 - (p^2 + q^2) d3 + p^2 q^2 d1       g(k - 1)
 * where P = 2 p^2 (p^2 - q^2) and Q = 2 q^2 (q^2 - p^2). Output i is the sum of the products, each
 * times its point to the power of i; the one at infinity counts in the last output alone. */
#ifndef LBPMAP_WINOGRAD_H
#define LBPMAP_WINOGRAD_H

#include "nets.h"

#include <string.h>

/* Vectors in the language of gcc and clang, which make of them what the instruction set has; for
 * other compilers a single float. */
#if defined(__GNUC__)
#define NETS_INLINE static inline __attribute__((always_inline))
typedef float lanes __attribute__((vector_size(32), aligned(4), may_alias));
#define FROM_EACH(p, i)                                                                            \
    (lanes) {                                                                                      \
        (p)[0][i], (p)[1][i], (p)[2][i], (p)[3][i], (p)[4][i], (p)[5][i], (p)[6][i], (p)[7][i]     \
    }
#else
#define NETS_INLINE static inline
typedef float lanes;
#define FROM_EACH(p, i) ((p)[0][i])
#endif
enum { LANES = sizeof(lanes) / sizeof(float), TILE = LBPMAP_TILE }; /* LANES <= LBPMAP_CHANNELS */

#define P1 0.75f
#define Q1 1.5f
#define P2 0.5625f
#define Q2 2.25f

NETS_INLINE size_t lanes_of(size_t at, size_t end) {
    return end - at < LANES ? end - at : LANES;
}

/* Where 8 planes begin; past the last one it is repeated, and what comes of it is not stored. */
NETS_INLINE void planes_from(const float *first, size_t n, size_t stride, const float **plane) {
    for (size_t i = 0; i < LANES; ++i)
        plane[i] = first + (i < n ? i : n - 1) * stride;
}

NETS_INLINE void store(float *to, const lanes *v, size_t n) {
    if (n == LANES)
        memcpy(to, v, sizeof(lanes));
    else
        memcpy(to, v, n * sizeof(float));
}

NETS_INLINE void load(lanes *v, const float *from, size_t n) {
    const lanes zero = {0};
    *v = zero;
    if (n == LANES)
        memcpy(v, from, sizeof(lanes));
    else
        memcpy(v, from, n * sizeof(float));
}

/* d[0], d[step], .. -> out[0], out[out_step], .. */
NETS_INLINE void evaluate_image(const lanes *d, size_t step, lanes *out, size_t out_step) {
    const lanes d0 = d[0], d1 = d[step], d2 = d[2 * step];
    const lanes d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
    const lanes even_p = d4 - Q2 * d2, odd_p = P1 * (d3 - Q2 * d1);
    const lanes even_q = d4 - P2 * d2, odd_q = Q1 * (d3 - P2 * d1);
    out[0] = (d4 - (P2 + Q2) * d2) + P2 * Q2 * d0;
    out[out_step] = even_p + odd_p;
    out[2 * out_step] = even_p - odd_p;
    out[3 * out_step] = even_q + odd_q;
    out[4 * out_step] = even_q - odd_q;
    out[5 * out_step] = (d5 - (P2 + Q2) * d3) + P2 * Q2 * d1;
}

/* Row y of each plane, zeros before, behind, above and below. */
NETS_INLINE void gather_row(const lbpmap_convolution *how, const float *const *plane, ptrdiff_t y,
                            size_t columns, lanes *to) {
    const size_t pad = how->pad_columns;
    const size_t end = pad + how->width < columns ? pad + how->width : columns;
    if (y < 0 || y >= (ptrdiff_t)how->height) {
        memset(to, 0, columns * sizeof(lanes));
        return;
    }
    if (pad)
        memset(to, 0, (pad < columns ? pad : columns) * sizeof(lanes));
    for (size_t x = pad, at = (size_t)y * how->width; x < end; ++x, ++at)
        to[x] = FROM_EACH(plane, at);
    if (end < columns)
        memset(to + end, 0, (columns - end) * sizeof(lanes));
}

NETS_INLINE void image_points(const lbpmap_convolution *how, size_t m, const float *image,
                              size_t first, size_t last, float *scratch, float *out,
                              size_t point_stride) {
    const size_t plane_size = how->height * how->width;
    const size_t columns = how->tile_columns * m + TILE - m, kept = (TILE - m) * columns;
    lanes *raw = (lanes *)(void *)scratch, *band = raw + TILE * columns;
    for (size_t c = first; c < last; c += LANES) {
        const size_t n = lanes_of(c, last);
        const float *plane[LANES];
        planes_from(image + c * plane_size, n, plane_size, plane);
        for (size_t ty = 0; ty < how->tile_rows; ++ty) {
            const ptrdiff_t y = (ptrdiff_t)(ty * m) - (ptrdiff_t)how->pad_rows;
            if (ty)
                memmove(raw, raw + m * columns, kept * sizeof(lanes));
            for (size_t i = ty ? TILE - m : 0; i < TILE; ++i)
                gather_row(how, plane, y + (ptrdiff_t)i, columns, raw + i * columns);
            for (size_t x = 0; x < columns; ++x)
                evaluate_image(raw + x, columns, band + x, columns);
            for (size_t tx = 0; tx < how->tile_columns; ++tx) {
                float *to = out + (ty * how->tile_columns + tx) * how->channels + c;
                for (size_t i = 0; i < TILE; ++i) {
                    lanes point[TILE];
                    evaluate_image(band + i * columns + tx * m, 1, point, 1);
                    for (size_t j = 0; j < TILE; ++j)
                        store(to + (TILE * i + j) * point_stride, &point[j], n);
                }
            }
        }
    }
}

NETS_INLINE void evaluate_filter(const lanes *g, size_t step, size_t k, lanes *out,
                                 size_t out_step) {
    const float at_0 = 1 / (P2 * Q2);
    const float at_p = 1 / (2 * P2 * (P2 - Q2)), at_q = 1 / (2 * Q2 * (Q2 - P2));
    lanes even_p = g[0] + P2 * g[2 * step], odd_p = g[step];
    lanes even_q = g[0] + Q2 * g[2 * step], odd_q = g[step];
    if (k > 3) {
        odd_p = odd_p + P2 * g[3 * step];
        odd_q = odd_q + Q2 * g[3 * step];
    }
    if (k > 4) {
        even_p = even_p + P2 * P2 * g[4 * step];
        even_q = even_q + Q2 * Q2 * g[4 * step];
    }
    odd_p = P1 * odd_p;
    odd_q = Q1 * odd_q;
    out[0] = g[0] * at_0;
    out[out_step] = (even_p + odd_p) * at_p;
    out[2 * out_step] = (even_p - odd_p) * at_p;
    out[3 * out_step] = (even_q + odd_q) * at_q;
    out[4 * out_step] = (even_q - odd_q) * at_q;
    out[5 * out_step] = g[(k - 1) * step];
}

NETS_INLINE void filter_points(const lbpmap_convolution *how, size_t k, const float *filter,
                               size_t filters, float *out, size_t point_stride) {
    const size_t channels = how->channels, taps = k * k;
    for (size_t f = 0; f < filters; ++f)
        for (size_t c = 0; c < channels; c += LANES) {
            const size_t n = lanes_of(c, channels);
            float *to = out + f * channels + c;
            const float *each[LANES];
            lanes tap[25], column[TILE * 5];
            planes_from(filter + (f * channels + c) * taps, n, taps, each);
            for (size_t i = 0; i < taps; ++i)
                tap[i] = FROM_EACH(each, i);
            for (size_t j = 0; j < k; ++j)
                evaluate_filter(tap + j, k, k, column + j, k);
            for (size_t i = 0; i < TILE; ++i) {
                lanes point[TILE];
                evaluate_filter(column + i * k, 1, k, point, 1);
                for (size_t j = 0; j < TILE; ++j)
                    store(to + (TILE * i + j) * point_stride, &point[j], n);
            }
        }
}

/* The six products of a row -> m outputs. */
NETS_INLINE void combine(const lanes *in, size_t step, size_t m, lanes *out, size_t out_step) {
    const lanes even_p = in[step] + in[2 * step], odd_p = in[step] - in[2 * step];
    const lanes even_q = in[3 * step] + in[4 * step], odd_q = in[3 * step] - in[4 * step];
    out[0] = (in[0] + even_p) + even_q;
    out[out_step] = P1 * odd_p + Q1 * odd_q;
    if (m > 2)
        out[2 * out_step] = P2 * even_p + Q2 * even_q;
    if (m > 3)
        out[3 * out_step] = P1 * P2 * odd_p + Q1 * Q2 * odd_q;
    out[(m - 1) * out_step] = out[(m - 1) * out_step] + in[5 * step];
}

NETS_INLINE int image_of(const lbpmap_convolution *how, size_t m, const float *in,
                         size_t point_stride, size_t filters, const float *bias, float *out) {
    const size_t height = how->out_height, width = how->out_width;
    lanes zero = {0};
    for (size_t tile = 0; tile < how->tile_rows * how->tile_columns; ++tile) {
        const size_t y = tile / how->tile_columns * m, x = tile % how->tile_columns * m;
        const size_t rows = height - y < m ? height - y : m;
        const size_t columns = width - x < m ? width - x : m;
        for (size_t f = 0; f < filters; f += LANES) {
            const size_t n = lanes_of(f, filters);
            const float *from = in + tile * filters + f;
            lanes row[TILE * 4], result[16], added;
            for (size_t i = 0; i < TILE; ++i) {
                lanes product[TILE];
                for (size_t j = 0; j < TILE; ++j)
                    load(&product[j], from + (TILE * i + j) * point_stride, n);
                combine(product, 1, m, row + i * m, 1);
            }
            for (size_t j = 0; j < m; ++j)
                combine(row + j, m, m, result + j, m);
            load(&added, bias ? bias + f : from, bias ? n : 0);
            for (size_t i = 0; i < m * m; ++i) {
                result[i] = result[i] + added;
                zero = zero + result[i] * 0.0f; /* stays 0 as long as all is finite */
            }
            for (size_t c = 0; c < n; ++c) {
                float *to = out + (f + c) * height * width + y * width + x;
                const float *lane = (const float *)result + c;
                for (size_t i = 0; i < rows; ++i)
                    for (size_t j = 0; j < columns; ++j)
                        to[i * width + j] = lane[(i * m + j) * LANES];
            }
        }
    }
    for (size_t i = 0; i < LANES; ++i)
        if (((const float *)&zero)[i] != 0.0f)
            return 0;
    return 1;
}

#endif
