/* nets.c: the kernels of nets.h, compiled once an instruction set from the same loops: baseline
 * vectors are of 4 floats on x86-64 (SSE2) and on 64-bit ARM (NEON); AVX2 has 8. */
#include "nets.h"

#include "kernels.h"
#include "pooling.h"
#include "winograd.h"

/* Kernel sizes are told as constants, so that loops over them are unrolled. */
#define NET_KERNELS(NAME, TARGET)                                                                  \
    static TARGET void image_points_##NAME(const lbpmap_convolution *how, const float *image,      \
                                           size_t first, size_t last, float *scratch, float *out,  \
                                           size_t point_stride) {                                  \
        if (how->kernel == 3)                                                                      \
            image_points(how, 4, image, first, last, scratch, out, point_stride);                  \
        else if (how->kernel == 5)                                                                 \
            image_points(how, 2, image, first, last, scratch, out, point_stride);                  \
        else                                                                                       \
            image_points(how, 3, image, first, last, scratch, out, point_stride);                  \
    }                                                                                              \
    static TARGET void filter_points_##NAME(const lbpmap_convolution *how, const float *filter,    \
                                            size_t filters, float *out, size_t point_stride) {     \
        if (how->kernel == 3)                                                                      \
            filter_points(how, 3, filter, filters, out, point_stride);                             \
        else if (how->kernel == 5)                                                                 \
            filter_points(how, 5, filter, filters, out, point_stride);                             \
        else                                                                                       \
            filter_points(how, 4, filter, filters, out, point_stride);                             \
    }                                                                                              \
    static TARGET int image_of_##NAME(const lbpmap_convolution *how, const float *in,              \
                                      size_t point_stride, size_t filters, const float *bias,      \
                                      float *out) {                                                \
        if (how->kernel == 3)                                                                      \
            return image_of(how, 4, in, point_stride, filters, bias, out);                         \
        if (how->kernel == 5)                                                                      \
            return image_of(how, 2, in, point_stride, filters, bias, out);                         \
        return image_of(how, 3, in, point_stride, filters, bias, out);                             \
    }                                                                                              \
    static TARGET void maxima_##NAME(const lbpmap_windows *how, const float *image, size_t planes, \
                                     float *scratch, float *out) {                                 \
        maxima(how, image, planes, scratch, out);                                                  \
    }                                                                                              \
    static const lbpmap_net_kernels kernels_##NAME = {                                             \
        .image_points = image_points_##NAME,                                                       \
        .filter_points = filter_points_##NAME,                                                     \
        .image_of = image_of_##NAME,                                                               \
        .maxima = maxima_##NAME,                                                                   \
    };

NET_KERNELS(baseline, )
#ifdef LBPMAP_AVX2
NET_KERNELS(avx2, __attribute__((target("avx2"))))
#endif

const lbpmap_net_kernels *lbpmap_net_kernels_at(size_t index) {
#ifdef LBPMAP_AVX2
    const lbpmap_kernels *row = lbpmap_kernels_at(index);
    if (row == &lbpmap_kernels_avx2)
        return &kernels_avx2;
#ifdef LBPMAP_AVX512
    if (row == &lbpmap_kernels_avx512)
        return &kernels_avx2;
#endif
#endif
    (void)index;
    return &kernels_baseline;
}
