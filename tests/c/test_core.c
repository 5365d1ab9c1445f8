/* The C core on its own, for the sanitizers: every buffer is allocated to the byte, so that a read
 * or write past an edge is caught, and every row of the dispatch table is held against codes
 * computed one pixel at a time: in random pictures, and where a corner's bit hangs by a hair.
 *
 *   cc -g -O1 -fsanitize=address,undefined -ffp-contract=off -Icsrc csrc/?*.c tests/c/test_core.c -lm
 */
#include "lbpmap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;

static void check(int ok, const char *what, const char *isa, int a, int b, int c) {
    if (ok) {
        ++passed;
    } else {
        ++failed;
        fprintf(stderr, "FAILED %s (%s) %d %d %d\n", what, isa, a, b, c);
    }
}

static uint32_t state = 1;
static uint32_t random_bits(void) { /* Marsaglia's xorshift32 */
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

/* A picture of exactly the bytes it needs: the last row has no tail. */
typedef struct {
    uint8_t *memory;
    uint8_t *first; /* of row 0 */
    ptrdiff_t stride;
} plane;

static plane new_plane(size_t row_bytes, size_t rows, size_t gap, int upside_down) {
    plane p;
    const size_t stride = row_bytes + gap;
    p.memory = malloc(stride * (rows - 1) + row_bytes);
    if (!p.memory)
        abort();
    p.first = upside_down ? p.memory + stride * (rows - 1) : p.memory;
    p.stride = upside_down ? -(ptrdiff_t)stride : (ptrdiff_t)stride;
    return p;
}

static const uint8_t *at(const plane *p, size_t y) {
    return p->first + (ptrdiff_t)y * p->stride;
}

static unsigned slow_code(const lbpmap_neighborhood *nb, const plane *gray, size_t y, size_t x) {
    unsigned code = 0;
    const uint8_t centre = at(gray, y)[x];
    for (int i = 0; i < nb->points; ++i) {
        const lbpmap_sample *s = &nb->sample[i];
        uint8_t p[4];
        for (int k = 0; k < 4; ++k)
            p[k] = at(gray, y + (size_t)s->row[k / 2])[(ptrdiff_t)x + s->col[k % 2]];
        int bit;
        if (s->is_pixel) {
            bit = p[0] >= centre;
        } else if (nb->arithmetic == LBPMAP_EXACT) {
            long long sum = -1000000LL * centre;
            for (int k = 0; k < 4; ++k)
                sum += (long long)s->millionths[k] * p[k];
            bit = sum >= -50;
        } else {
            double v = s->weight[0] * p[0];
            for (int k = 1; k < 4; ++k)
                v = v + s->weight[k] * p[k];
            bit = v >= centre;
        }
        code |= (unsigned)bit << i;
    }
    return code;
}

/* Every kernel of a row that makes or reads codes, against the codes wanted. */
static void hold_row(const lbpmap_kernels *k, const lbpmap_neighborhood *nb, const plane *gray,
                     const uint16_t *want, size_t width, size_t height) {
    const int flip = gray->stride < 0;
    plane codes = new_plane(width, height, random_bits() % 5, !flip);
    plane codes16 = new_plane(2 * width, height, 2 * (random_bits() % 5), flip);
    plane mapped = new_plane(3 * width, height, random_bits() % 5, flip);
    /* Three planes of rows with a gap, as one: the rows of a plane follow those of the plane before. */
    plane planes = new_plane(4 * width, 3 * height, 4 * (random_bits() % 3), flip);
    const float mean[3] = {104.25f, -1.5f, 0.0f};
    plane looked = new_plane(3 * width, height, 0, !flip);
    plane looked16 = new_plane(3 * width, height, 0, flip);
    const size_t entries = 3u << (nb->points <= 8 ? 8 : 16);
    uint8_t *table = malloc(entries);
    if (!table)
        abort();
    for (size_t i = 0; i < entries; ++i)
        table[i] = (uint8_t)random_bits();

    k->codes16(nb, gray->first, gray->stride, width, height, (uint16_t *)(void *)codes16.first,
               codes16.stride);
    k->lookup16((const uint16_t *)(const void *)codes16.first, codes16.stride, width, height, table,
                looked16.first, looked16.stride);
    if (nb->points <= 8) {
        k->codes(nb, gray->first, gray->stride, width, height, codes.first, codes.stride);
        k->lookup(codes.first, codes.stride, width, height, table, looked.first, looked.stride);
        k->mapped(nb, gray->first, gray->stride, width, height, table, mapped.first, mapped.stride);
        k->planes(nb, gray->first, gray->stride, width, height, table, mean,
                  (float *)(void *)planes.first, (ptrdiff_t)height * planes.stride, planes.stride);
    }
    int same = 1;
    for (size_t y = 0; y < height; ++y)
        for (size_t x = 0; x < width; ++x) {
            const unsigned code = want[y * width + x];
            uint16_t wide;
            memcpy(&wide, at(&codes16, y) + 2 * x, 2);
            same &= wide == code && !memcmp(at(&looked16, y) + 3 * x, table + 3 * code, 3);
            for (size_t c = 0; c < 3 && nb->points <= 8; ++c) {
                float value;
                memcpy(&value, at(&planes, c * height + y) + 4 * x, 4);
                same &= value == (float)table[3 * code + c] - mean[c];
            }
            if (nb->points <= 8)
                same &= at(&codes, y)[x] == code &&
                        !memcmp(at(&looked, y) + 3 * x, table + 3 * code, 3) &&
                        !memcmp(at(&mapped, y) + 3 * x, table + 3 * code, 3);
        }
    check(same, "codes, lookup, mapped and planes", k->name, nb->points, nb->radius, (int)width);
    free(codes.memory);
    free(codes16.memory);
    free(mapped.memory);
    free(planes.memory);
    free(looked.memory);
    free(looked16.memory);
    free(table);
}

static void hold(const lbpmap_neighborhood *nb, const plane *gray, size_t width, size_t height) {
    const size_t radius = (size_t)nb->radius;
    uint16_t *want = malloc(width * height * sizeof *want);
    if (!want)
        abort();
    for (size_t y = 0; y < height; ++y)
        for (size_t x = 0; x < width; ++x)
            want[y * width + x] = (uint16_t)slow_code(nb, gray, y + radius, x + radius);
    const lbpmap_kernels *k;
    for (size_t row = 0; (k = lbpmap_kernels_at(row)) != NULL; ++row)
        if (k->supported())
            hold_row(k, nb, gray, want, width, height);
    free(want);
}

static void random_picture(const lbpmap_neighborhood *nb, size_t width, size_t height,
                           unsigned levels) {
    const size_t margin = 2 * (size_t)nb->radius;
    plane gray = new_plane(width + margin, height + margin, random_bits() % 5,
                           (int)(random_bits() & 1));
    const uint8_t base = (uint8_t)random_bits();
    for (size_t y = 0; y < height + margin; ++y)
        for (size_t x = 0; x < width + margin; ++x)
            gray.first[(ptrdiff_t)y * gray.stride + (ptrdiff_t)x] =
                (uint8_t)(base + random_bits() % levels);
    hold(nb, &gray, width, height);
    free(gray.memory);
}

/* More than 16 MiB, which bypass the caches: the same from every row. */
static void large_planes(void) {
    enum { SIDE = 1184, FLOATS = 3 * SIDE * SIDE };
    const float mean[3] = {104.25f, -1.5f, 0.0f};
    lbpmap_neighborhood nb;
    lbpmap_neighborhood_init(&nb, LBPMAP_CIRCULAR, 8, 1, LBPMAP_RELEASED);
    plane gray = new_plane(SIDE + 2, SIDE + 2, 0, 0);
    float *want = malloc(FLOATS * sizeof *want), *got = malloc(FLOATS * sizeof *got);
    if (!want || !got)
        abort();
    uint8_t table[768];
    for (size_t i = 0; i < sizeof table; ++i)
        table[i] = (uint8_t)random_bits();
    for (size_t i = 0; i < (SIDE + 2) * (SIDE + 2); ++i)
        gray.first[i] = (uint8_t)random_bits();
    const lbpmap_kernels *k;
    for (size_t row = 0; (k = lbpmap_kernels_at(row)) != NULL; ++row) {
        if (!k->supported())
            continue;
        k->planes(&nb, gray.first, gray.stride, SIDE, SIDE, table, mean, row ? got : want,
                  4 * SIDE * SIDE, 4 * SIDE);
        check(!row || !memcmp(want, got, FLOATS * sizeof *want), "large planes", k->name, SIDE, SIDE,
              0);
    }
    free(gray.memory);
    free(want);
    free(got);
}

/* A slope that changes every few pixels: nearly all corners of one diagonal tie, in many ways; or at
 * R = 1 those of both diagonals on one side, and what grows upwards above them grows downwards below.
 * With noise, so many eighths of the pixels, few are left that tie. */
static void slope_picture(const lbpmap_neighborhood *nb, size_t width, size_t height,
                          unsigned noise) {
    enum { RISING, FALLING, ZIGZAG };
    const size_t margin = 2 * (size_t)nb->radius, rows = height + margin, columns = width + margin;
    const unsigned shape = random_bits() % 3;
    plane gray = new_plane(columns, rows, random_bits() % 5, (int)(random_bits() & 1));
    uint8_t *level = malloc(rows + columns);
    if (!level)
        abort();
    int at_last = 128, step = 0;
    for (size_t i = 0, left = 0; i < rows + columns; ++i, --left) {
        if (!left) {
            step = (int)(random_bits() % 61) - 30;
            left = 2 + random_bits() % 5;
        }
        if (at_last + step < 0 || at_last + step > 255)
            step = -step;
        level[i] = (uint8_t)(at_last += step);
    }
    for (size_t y = 0; y < rows; ++y) {
        const size_t shift = shape == RISING ? y : shape == FALLING ? rows - 1 - y : y % 2;
        for (size_t x = 0; x < columns; ++x)
            gray.first[(ptrdiff_t)y * gray.stride + (ptrdiff_t)x] =
                random_bits() % 8 < noise ? (uint8_t)random_bits() : level[x + shift];
    }
    hold(nb, &gray, width, height);
    free(level);
    free(gray.memory);
}

/* All 256 levels beside each other, each with 16 centres that see no other. */
static void flat_levels(const lbpmap_neighborhood *nb) {
    const size_t margin = 2 * (size_t)nb->radius, band = 16 + margin;
    plane gray = new_plane(256 * band, 1 + margin, 0, 0);
    for (size_t y = 0; y < 1 + margin; ++y)
        for (size_t x = 0; x < 256 * band; ++x)
            gray.first[y * 256 * band + x] = (uint8_t)(x / band);
    hold(nb, &gray, 256 * band - margin, 1);
    free(gray.memory);
}

static void grays(const lbpmap_kernels *k, size_t width) {
    const size_t height = 3;
    plane rgb = new_plane(3 * width, height, 2, 1);
    plane gray = new_plane(width, height, 1, 0);
    for (size_t y = 0; y < height; ++y)
        for (size_t x = 0; x < 3 * width; ++x)
            rgb.first[(ptrdiff_t)y * rgb.stride + (ptrdiff_t)x] = (uint8_t)random_bits();
    k->gray(rgb.first, rgb.stride, width, height, gray.first, gray.stride);
    int same = 1;
    for (size_t y = 0; y < height; ++y)
        for (size_t x = 0; x < width; ++x) {
            const uint8_t *p = at(&rgb, y) + 3 * x;
            const double luma =
                0.298936021293775 * p[0] + 0.587043074451121 * p[1] + 0.114020904255103 * p[2];
            same &= at(&gray, y)[x] == (int)(luma + 0.5);
        }
    check(same, "gray", k->name, (int)width, 0, 0);
    free(rgb.memory);
    free(gray.memory);
}

static void histograms(const lbpmap_kernels *k, size_t width, size_t height, size_t levels) {
    const int flip = (int)(random_bits() & 1);
    lbpmap_cells cells;
    cells.rows = 1 + random_bits() % height;
    cells.columns = 1 + random_bits() % width;
    cells.bins = 1 + random_bits() % 300;
    const size_t entries = cells.rows * cells.columns * cells.bins;
    plane codes = new_plane(width, height, random_bits() % 5, flip);
    plane codes16 = new_plane(2 * width, height, 2 * (random_bits() % 5), !flip);
    uint16_t *bin = malloc(levels * sizeof *bin);
    uint32_t *want = calloc(entries, sizeof *want);
    uint32_t *want16 = calloc(entries, sizeof *want16);
    uint32_t *got = malloc(entries * sizeof *got);
    if (!bin || !want || !want16 || !got)
        abort();
    for (size_t i = 0; i < levels; ++i)
        bin[i] = (uint16_t)(random_bits() % cells.bins);
    for (size_t j = 0; j < cells.rows; ++j)
        for (size_t i = 0; i < cells.columns; ++i)
            for (size_t y = height * j / cells.rows; y < height * (j + 1) / cells.rows; ++y)
                for (size_t x = width * i / cells.columns; x < width * (i + 1) / cells.columns;
                     ++x) {
                    const uint8_t narrow = (uint8_t)random_bits();
                    const uint16_t wide = (uint16_t)(random_bits() % levels);
                    const size_t cell = (j * cells.columns + i) * cells.bins;
                    codes.first[(ptrdiff_t)y * codes.stride + (ptrdiff_t)x] = narrow;
                    memcpy(codes16.first + (ptrdiff_t)y * codes16.stride + 2 * (ptrdiff_t)x, &wide,
                           2);
                    ++want[cell + bin[narrow]];
                    ++want16[cell + bin[wide]];
                }
    cells.bin = bin;
    memset(got, 0xAB, entries * sizeof *got);
    k->histogram(&cells, codes.first, codes.stride, width, height, got);
    check(!memcmp(got, want, entries * sizeof *got), "histogram", k->name, (int)width, (int)height,
          (int)cells.bins);
    k->histogram16(&cells, (const uint16_t *)(const void *)codes16.first, codes16.stride, width,
                   height, got);
    check(!memcmp(got, want16, entries * sizeof *got), "histogram16", k->name, (int)width,
          (int)height, (int)cells.bins);
    free(codes.memory);
    free(codes16.memory);
    free(bin);
    free(want);
    free(want16);
    free(got);
}

/* Crops of a stretched picture against the definition in double; all rows give the same floats. */
static void blobs(const lbpmap_kernels *k, size_t width, size_t height, size_t size) {
    const size_t side = 1 + random_bits() % size, span = 3 * side * side;
    const size_t spare = random_bits() % 3; /* floats behind each crop */
    int32_t *position = malloc(2 * size * sizeof *position);
    float *taps = malloc((size + 2 * size) * 2 * sizeof *taps);
    int32_t *first = malloc((size + 2 * size) * sizeof *first);
    float *scratch = malloc(6 * 2 * size * sizeof *scratch);
    float *mean = malloc(3 * size * size * sizeof *mean);
    float *out = malloc((2 * span + spare) * sizeof *out);
    float *same = malloc((2 * span + spare) * sizeof *same);
    plane rgb = new_plane(3 * width, height, random_bits() % 5, (int)(random_bits() & 1));
    if (!position || !taps || !first || !scratch || !mean || !out || !same)
        abort();
    int least = 255;
    for (size_t y = 0; y < height; ++y)
        for (size_t x = 0; x < 3 * width; ++x) {
            const int value = 40 + (int)(random_bits() % 200);
            rgb.first[(ptrdiff_t)y * rgb.stride + (ptrdiff_t)x] = (uint8_t)value;
            least = value < least ? value : least;
        }
    for (size_t i = 0; i < 3 * size * size; ++i)
        mean[i] = (float)(random_bits() % 256);
    for (size_t i = 0; i < size; ++i)
        position[i] = position[2 * size - 1 - i] = (int32_t)i;
    const size_t top = random_bits() % (size - side + 1), left = random_bits() % (size - side + 1);
    /* A crop and its mirror image. */
    const lbpmap_crop crop[2] = {{top, left, mean + top * size + left},
                                 {top, 2 * size - left - side, mean}};
    lbpmap_crops how;
    how.rows.first = first;
    how.rows.low = taps;
    how.rows.high = taps + size;
    how.columns.first = first + size;
    how.columns.low = taps + 2 * size;
    how.columns.high = taps + 4 * size;
    lbpmap_taps_init(&how.rows, height, size, position, size);
    lbpmap_taps_init(&how.columns, width, size, position, 2 * size);
    how.side = side;
    how.count = 2;
    how.crop = crop;
    how.mean_plane_stride = (ptrdiff_t)(size * size * sizeof *mean);
    how.mean_row_stride = (ptrdiff_t)(size * sizeof *mean);
    const ptrdiff_t crop_stride = (ptrdiff_t)((span + spare) * sizeof *out);
    k->blob(&how, rgb.first, rgb.stride, scratch, out, crop_stride);
    lbpmap_kernels_at(0)->blob(&how, rgb.first, rgb.stride, scratch, same, crop_stride);
    int good = 1, equal = 1;
    for (size_t i = 0; i < 2 * span; ++i) {
        const size_t mirrored = i / span, to = i + mirrored * spare, c = i % span / (side * side);
        const size_t y = i % (side * side) / side, x = i % side;
        const size_t column = left + (mirrored ? side - 1 - x : x);
        const double row_at = ((double)(top + y) + 0.5) * (double)height / (double)size - 0.5;
        const double column_at = ((double)column + 0.5) * (double)width / (double)size - 0.5;
        double want = 0;
        for (ptrdiff_t v = 0; v < (ptrdiff_t)height; ++v)
            for (ptrdiff_t u = 0; u < (ptrdiff_t)width; ++u) {
                const double down = 1 - fabs(row_at - (double)v);
                const double across = 1 - fabs(column_at - (double)u);
                if (down > 0 && across > 0)
                    want += down * across * (at(&rgb, (size_t)v)[3 * u + 2 - (ptrdiff_t)c] - least);
            }
        want += least - (double)crop[mirrored].mean[(c * size + y) * size + x];
        good &= fabs(out[to] - want) < 1e-4;
        equal &= out[to] == same[to];
    }
    check(good, "blob", k->name, (int)width, (int)height, (int)size);
    check(equal, "blob as serial", k->name, (int)width, (int)height, (int)size);
    free(position);
    free(taps);
    free(first);
    free(scratch);
    free(mean);
    free(out);
    free(same);
    free(rgb.memory);
}

static void refusals(void) {
    lbpmap_neighborhood nb;
    check(lbpmap_neighborhood_init(&nb, LBPMAP_CIRCULAR, 0, 1, LBPMAP_EXACT) == -1, "P 0", "", 0, 0, 0);
    check(lbpmap_neighborhood_init(&nb, LBPMAP_CIRCULAR, 17, 1, LBPMAP_EXACT) == -1, "P 17", "", 0, 0, 0);
    check(lbpmap_neighborhood_init(&nb, LBPMAP_CIRCULAR, 8, 0, LBPMAP_EXACT) == -1, "R 0", "", 0, 0, 0);
    check(lbpmap_neighborhood_init(&nb, LBPMAP_CIRCULAR, 8, LBPMAP_MAX_RADIUS + 1, LBPMAP_EXACT) == -1,
          "R too large", "", 0, 0, 0);
    check(lbpmap_neighborhood_init(&nb, LBPMAP_SQUARE, 4, 1, LBPMAP_EXACT) == -1, "square", "", 0, 0, 0);
    check(lbpmap_neighborhood_init(&nb, LBPMAP_CIRCULAR, 8, LBPMAP_MAX_RADIUS, LBPMAP_EXACT) == 0,
          "largest R", "", 0, 0, 0);
}

#include "check_close_calls.h"
#include "check_nets.h"

int main(void) {
    static const int widths[] = {1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 255, 256, 257, 300};
    static const int radii[] = {1, 2, 3, 5, 10};
    static const int points[] = {1, 4, 8, 12, 16};
    static const unsigned noises[] = {0, 4, 5};
    const size_t n_widths = sizeof widths / sizeof widths[0];
    const lbpmap_kernels *k;
    for (size_t row = 0; (k = lbpmap_kernels_at(row)) != NULL; ++row) {
        printf("%s%s\n", k->name, k->supported() ? "" : ": not on this machine");
        if (k->supported())
            nets(row, k->name);
        for (size_t w = 0; w < n_widths && k->supported(); ++w) {
            grays(k, (size_t)widths[w]);
            for (size_t size = 1; size < 60; size = 2 * size + 1)
                blobs(k, (size_t)widths[w], 1 + random_bits() % 9, size);
            for (size_t height = 1; height <= 9; ++height) {
                histograms(k, (size_t)widths[w], height, 256);
                histograms(k, (size_t)widths[w], height, 1u << (8 + random_bits() % 9));
            }
        }
    }
    for (size_t r = 0; r < sizeof radii / sizeof radii[0]; ++r)
        for (size_t p = 0; p < sizeof points / sizeof points[0]; ++p)
            for (int arithmetic = 0; arithmetic < 2; ++arithmetic)
                for (int square = 0; square < (points[p] == 8 ? 2 : 1); ++square) {
                    lbpmap_neighborhood nb;
                    check(lbpmap_neighborhood_init(&nb, (lbpmap_layout)square, points[p], radii[r],
                                                   (lbpmap_arithmetic)arithmetic) == 0,
                          "init", "", points[p], radii[r], square);
                    for (size_t w = 0; w < n_widths; ++w)
                        random_picture(&nb, (size_t)widths[w], 1 + random_bits() % 3,
                                       random_bits() & 1 ? 4 : 256);
                    if (points[p] != 8 || square)
                        continue;
                    flat_levels(&nb);
                    for (size_t w = 0; w < n_widths; ++w)
                        slope_picture(&nb, (size_t)widths[w], 1 + random_bits() % 40, 0);
                    for (size_t n = 0; n < 9; ++n)
                        slope_picture(&nb, 521, 17, noises[n % 3]);
                    slope_picture(&nb, 4127, 9, 0);
                }
    for (int arithmetic = 0; arithmetic < 2; ++arithmetic) {
        for (size_t f = 0; f < sizeof families / sizeof families[0]; ++f)
            close_calls(families[f].radius, &families[f], (lbpmap_arithmetic)arithmetic);
        close_calls(1, NULL, (lbpmap_arithmetic)arithmetic);
        close_calls(5, NULL, (lbpmap_arithmetic)arithmetic);
        close_calls(10, NULL, (lbpmap_arithmetic)arithmetic);
    }
    large_planes();
    check(lbpmap_kernels_at((size_t)-1) == NULL, "past the table", "", 0, 0, 0);
    refusals();
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
