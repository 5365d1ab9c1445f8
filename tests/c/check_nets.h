/* check_nets.h: part of test_core.c: the kernels of nets.h against the definitions in double, in
 * buffers that are allocated to the byte. All rows of the table give the same floats. */
#include "nets.h"

#include <float.h>

static float *new_floats(size_t count, int random) {
    float *p = malloc((count ? count : 1) * sizeof *p);
    if (!p)
        abort();
    for (size_t i = 0; i < count; ++i)
        p[i] = random ? (float)(random_bits() % 2001) / 1000.0f - 1.0f : NAN;
    return p;
}

static double slow_convolution(const lbpmap_convolution *how, const float *image,
                               const float *filter, size_t y, size_t x) {
    double sum = 0;
    for (size_t c = 0; c < how->channels; ++c)
        for (size_t i = 0; i < how->kernel; ++i)
            for (size_t j = 0; j < how->kernel; ++j) {
                const size_t row = y + i - how->pad_rows, column = x + j - how->pad_columns;
                if (row < how->height && column < how->width) /* below 0 is huge */
                    sum += (double)image[(c * how->height + row) * how->width + column] *
                           (double)filter[(c * how->kernel + i) * how->kernel + j];
            }
    return sum;
}

static void convolutions(const lbpmap_net_kernels *k, const char *isa, size_t kernel, size_t height,
                         size_t width) {
    lbpmap_convolution how;
    const size_t m = 7 - kernel, filters = 1 + random_bits() % 19;
    how.channels = 1 + random_bits() % 19;
    how.kernel = kernel;
    how.pad_rows = random_bits() % kernel;
    how.pad_columns = random_bits() % kernel;
    how.out_height = height;
    how.out_width = width;
    /* Some images are smaller than their zeros, which fill up behind them. */
    const size_t rows = height + kernel - 1, columns = width + kernel - 1;
    how.height = rows > 2 * how.pad_rows ? rows - 2 * how.pad_rows : 1;
    how.width = columns > 2 * how.pad_columns ? columns - 2 * how.pad_columns : 1;
    how.tile_rows = (height + m - 1) / m;
    how.tile_columns = (width + m - 1) / m;
    const size_t tiles = how.tile_rows * how.tile_columns, c = how.channels;
    float *image = new_floats(c * how.height * how.width, 1);
    float *filter = new_floats(filters * c * kernel * kernel, 1), *bias = new_floats(filters, 1);
    float *scratch = new_floats(12 * (how.tile_columns * m + 6 - m) * LBPMAP_CHANNELS, 0);
    float *there = new_floats(36 * tiles * c, 0), *filter_there = new_floats(36 * filters * c, 0);
    float *products = new_floats(36 * tiles * filters, 0);
    float *out = new_floats(filters * height * width, 0);
    const size_t half = c / 2 / LBPMAP_CHANNELS * LBPMAP_CHANNELS;
    k->image_points(&how, image, 0, half, scratch, there, tiles * c);
    k->image_points(&how, image, half, c, scratch, there, tiles * c);
    k->filter_points(&how, filter, filters, filter_there, filters * c);
    for (size_t p = 0; p < 36; ++p)
        for (size_t t = 0; t < tiles; ++t)
            for (size_t f = 0; f < filters; ++f) {
                double sum = 0;
                for (size_t i = 0; i < c; ++i)
                    sum += (double)there[(p * tiles + t) * c + i] *
                           (double)filter_there[(p * filters + f) * c + i];
                products[(p * tiles + t) * filters + f] = (float)sum;
            }
    check(k->image_of(&how, products, tiles * filters, filters, bias, out) == 1, "finite", isa,
          (int)kernel, (int)height, (int)width);
    double worst = 0;
    for (size_t f = 0; f < filters; ++f)
        for (size_t y = 0; y < height; ++y)
            for (size_t x = 0; x < width; ++x) {
                const double want =
                    bias[f] + slow_convolution(&how, image, filter + f * c * kernel * kernel, y, x);
                const double apart = fabs(out[(f * height + y) * width + x] - want);
                worst = apart >= worst || isnan(apart) ? apart : worst;
            }
    check(worst <= 1e-4, "convolution", isa, (int)kernel, (int)height, (int)width);
    products[random_bits() % (tiles * filters)] = INFINITY; /* at 0, in output 0 of its tile */
    check(k->image_of(&how, products, tiles * filters, filters, NULL, out) == 0, "infinite", isa,
          (int)kernel, (int)height, (int)width);
    const lbpmap_net_kernels *baseline = lbpmap_net_kernels_at(0);
    float *same = new_floats(36 * tiles * c, 0);
    baseline->image_points(&how, image, 0, c, scratch, same, tiles * c);
    check(!memcmp(same, there, 36 * tiles * c * sizeof *same), "same image", isa, (int)kernel,
          (int)height, (int)width);
    free(same);
    same = new_floats(36 * filters * c, 0);
    baseline->filter_points(&how, filter, filters, same, filters * c);
    check(!memcmp(same, filter_there, 36 * filters * c * sizeof *same), "same filters", isa,
          (int)kernel, (int)height, (int)width);
    free(same);
    free(image);
    free(filter);
    free(bias);
    free(scratch);
    free(there);
    free(filter_there);
    free(products);
    free(out);
}

static void maxima_of_windows(const lbpmap_net_kernels *k, const char *isa, size_t height,
                              size_t width) {
    lbpmap_windows how = {0};
    const size_t size[2] = {height, width};
    size_t out[2];
    how.height = height;
    how.width = width;
    for (size_t axis = 0; axis < 2; ++axis) {
        how.kernel[axis] = 1 + random_bits() % 5;
        how.stride[axis] = 1 + random_bits() % 4;
        how.pad[axis] = random_bits() % how.kernel[axis];
        out[axis] = (size[axis] + 2 * how.pad[axis]) / how.stride[axis] + 1; /* some lie beyond */
    }
    how.out_height = out[0];
    how.out_width = out[1];
    const size_t planes = 1 + random_bits() % 3;
    float *image = new_floats(planes * height * width, 1), *best = new_floats(width, 0);
    float *got = new_floats(planes * out[0] * out[1], 0);
    if (random_bits() % 4 == 0)
        image[random_bits() % (planes * height * width)] = NAN;
    k->maxima(&how, image, planes, best, got);
    int right = 1;
    for (size_t p = 0; p < planes; ++p)
        for (size_t y = 0; y < out[0]; ++y)
            for (size_t x = 0; x < out[1]; ++x) {
                float want = -FLT_MAX;
                for (size_t i = 0; i < how.kernel[0]; ++i)
                    for (size_t j = 0; j < how.kernel[1]; ++j) {
                        const size_t row = y * how.stride[0] + i - how.pad[0];
                        const size_t column = x * how.stride[1] + j - how.pad[1];
                        if (row < height && column < width &&
                            image[(p * height + row) * width + column] > want)
                            want = image[(p * height + row) * width + column];
                    }
                right &= got[(p * out[0] + y) * out[1] + x] == want;
            }
    check(right, "maxima", isa, (int)height, (int)width, (int)planes);
    free(image);
    free(best);
    free(got);
}

static void nets(size_t row, const char *isa) {
    const lbpmap_net_kernels *k = lbpmap_net_kernels_at(row);
    for (size_t height = 1; height <= 9; ++height)
        for (size_t width = 1; width <= 17; width += 1 + random_bits() % 3) {
            for (size_t kernel = 3; kernel <= 5; ++kernel)
                convolutions(k, isa, kernel, height, width);
            maxima_of_windows(k, isa, height, width);
        }
}
