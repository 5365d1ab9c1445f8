/* pooling.h: inside the core only: the maximum of windows. Included once, by nets.c.
 *
 * The rows of a window are first reduced to one, neighbours side by side, which is what vectors are
 * good at; then each window of that row is. */
#ifndef LBPMAP_POOLING_H
#define LBPMAP_POOLING_H

#include "winograd.h"

#include <float.h>

NETS_INLINE void window_range(size_t at, size_t kernel, size_t stride, size_t pad, size_t size,
                              size_t *first, size_t *last) {
    const size_t start = at * stride, end = start + kernel;
    *first = start > pad ? start - pad : 0;
    *last = end > pad ? end - pad : 0;
    if (*last > size)
        *last = size;
}

NETS_INLINE float larger(float a, float b) { /* b unless a is above it: NaN never is */
    return a > b ? a : b;
}

NETS_INLINE void maxima(const lbpmap_windows *how, const float *image, size_t planes,
                        float *restrict best, float *out) {
    const size_t width = how->width;
    for (size_t plane = 0; plane < planes; ++plane, image += how->height * width)
        for (size_t y = 0; y < how->out_height; ++y) {
            size_t top, bottom;
            window_range(y, how->kernel[0], how->stride[0], how->pad[0], how->height, &top,
                         &bottom);
            for (size_t x = 0; x < width; ++x)
                best[x] = -FLT_MAX;
            for (size_t row = top; row < bottom; ++row) {
                const float *restrict from = image + row * width;
                for (size_t x = 0; x < width; ++x)
                    best[x] = larger(from[x], best[x]);
            }
            for (size_t x = 0; x < how->out_width; ++x) {
                size_t left, right;
                float found = -FLT_MAX;
                window_range(x, how->kernel[1], how->stride[1], how->pad[1], width, &left, &right);
                for (size_t column = left; column < right; ++column)
                    found = larger(best[column], found);
                *out++ = found;
            }
        }
}

#endif
