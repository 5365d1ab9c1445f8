/* nets.h: the core's second contract: what layers of a net do beside matrix products.
 *
 * The rules of lbpmap.h hold here too: the caller owns all memory, nothing is allocated, there are
 * no threads and no state, arguments are trusted, input and output do not overlap. All arrays are
 * of float, aligned as such. Every row of the table gives the same floats: no sum is ordered by the
 * width of a register, and nothing is fused.
 *
 * Images are planes, channel after channel, each of height x width floats without gaps.
 *
 * Convolutions. A square kernel of k x k at stride 1 makes a tile of m x m outputs, m = 7 - k, from
 * 6 x 6 inputs. Taken as the product of polynomials, evaluated at 6 points a side, a tile costs 36
 * multiplications a channel and a filter instead of m^2 k^2: 4 times fewer for 3 x 3, 2.8 for 5 x 5
 * (S. Winograd 1980; Lavin and Gray, arXiv:1509.09308). Sums over channels are then 36 matrix
 * products, one a point, which are the caller's: image rows (tiles x channels) times filter rows
 * (filters x channels) transposed. */
#ifndef LBPMAP_NETS_H
#define LBPMAP_NETS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    LBPMAP_TILE = 6,    /* inputs of a tile, a side */
    LBPMAP_CHANNELS = 8 /* how many channels are worked on together, at most */
};

/* A convolution at stride 1 by kernels of 3 to 5 pixels a side. Tiles cover the output, row by row;
 * those of the last row and column may reach beyond it. */
typedef struct {
    size_t channels, height, width; /* of the image */
    size_t pad_rows, pad_columns;   /* zeros before it; behind it there are as many as are needed */
    size_t kernel;
    size_t out_height, out_width;
    size_t tile_rows, tile_columns;
} lbpmap_convolution;

/* Windows of a maximum: kernel, stride and pad of rows, then of columns. */
typedef struct {
    size_t height, width; /* of a plane */
    size_t kernel[2], stride[2], pad[2];
    size_t out_height, out_width;
} lbpmap_windows;

/* One implementation of every kernel.
 *
 * image_points   Channels `first` to `last` of an image -> their values at the points:
 *                out[point * point_stride + tile * channels + channel]. `scratch` has
 *                12 * (tile_columns * m + 6 - m) * LBPMAP_CHANNELS floats.
 * filter_points  `filters` filters, each channels x k x k -> out[point * point_stride + filter *
 *                channels + channel].
 * image_of       Products, in[point * point_stride + tile * filters + filter] -> planes of
 *                out_height x out_width, plus bias[filter] where there is a bias. Returns 1 when all
 *                of them are finite. Else they must be computed in another way: an infinity spreads
 *                over its tile, and sums may overflow that would not.
 * maxima         `planes` planes -> the maximum of each window, no less than -FLT_MAX, which is also
 *                that of a window beyond the plane. NaN is passed over, as in Caffe. `scratch` has
 *                `width` floats. */
typedef struct {
    void (*image_points)(const lbpmap_convolution *how, const float *image, size_t first,
                         size_t last, float *scratch, float *out, size_t point_stride);
    void (*filter_points)(const lbpmap_convolution *how, const float *filter, size_t filters,
                          float *out, size_t point_stride);
    int (*image_of)(const lbpmap_convolution *how, const float *in, size_t point_stride,
                    size_t filters, const float *bias, float *out);
    void (*maxima)(const lbpmap_windows *how, const float *image, size_t planes, float *scratch,
                   float *out);
} lbpmap_net_kernels;

/* The kernels of the row `index` of the dispatch table in lbpmap.h. */
const lbpmap_net_kernels *lbpmap_net_kernels_at(size_t index);

#ifdef __cplusplus
}
#endif
#endif
