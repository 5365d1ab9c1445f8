/* lbpmap.h: the whole contract of the C core.
 *
 * A grey picture becomes local binary pattern (LBP) codes; codes are looked up in a table of
 * colours, the "mapped binary pattern", or counted in a grid of cells.
 *
 * What holds for every function here:
 *   - The caller owns all memory. Nothing is allocated, nothing is kept.
 *   - No threads, no locks, no mutable globals: any function may run in any number of threads at
 *     once, as long as no two of them write the same bytes. Bands of rows are the caller's way to
 *     split a picture.
 *   - Pictures are rows of bytes. A stride is the distance from a row to the next in BYTES, of any
 *     size and sign (a picture may be read bottom up); within a row, pixels follow each other.
 *     Nothing needs to be aligned, but for rows of uint16_t and float, whose addresses and strides
 *     are multiples of their size.
 *   - Input and output must not overlap.
 *   - Arguments are trusted. Shapes, dtypes and overlap are checked by the Python layer.
 *
 * Geometry. A picture of H x W gives (H - 2R) x (W - 2R) codes: only centres whose whole
 * neighbourhood lies in the picture have one. `width` and `height` always count OUTPUT pixels, and
 * the `gray` pointer is the top left pixel of the INPUT, which therefore spans
 * (height + 2R) x (width + 2R) pixels.
 */
#ifndef LBPMAP_H
#define LBPMAP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { LBPMAP_MAX_POINTS = 16, LBPMAP_MAX_RADIUS = 1 << 14, LBPMAP_TIE_WINDOWS = 32 };

/* How a sample that falls between pixels is compared with the centre.
 *   LBPMAP_EXACT     lbp.m 0.3.3: weights rounded to millionths, the sample to 4 decimals. An
 *                    integer rule: the same on every machine.
 *   LBPMAP_RELEASED  lbp.m 0.3.2: double precision, left to right. What the released nets saw.
 * They differ where a sample ties with its centre: 1 to 7 % of codes on photographs at R = 1. */
typedef enum { LBPMAP_EXACT = 0, LBPMAP_RELEASED = 1 } lbpmap_arithmetic;

/* Where the samples lie.
 *   LBPMAP_CIRCULAR  P points on a circle of radius R, from east, counter-clockwise.
 *   LBPMAP_SQUARE    the eight pixels at offsets 0 and +-R, from east, counter-clockwise. */
typedef enum { LBPMAP_CIRCULAR = 0, LBPMAP_SQUARE = 1 } lbpmap_layout;

/* One sample: its bit is 1 when the sample's value is >= the centre's.
 * Pixel offsets are relative to the centre, rows downwards. Index 0..3 of a weight belongs to the
 * pixel at (row[0], col[0]), (row[0], col[1]), (row[1], col[0]), (row[1], col[1]). */
typedef struct {
    int32_t row[2];
    int32_t col[2];
    int32_t is_pixel;    /* 1: the sample IS the pixel (row[0], col[0]); the weights are unused */
    int32_t millionths[4]; /* "exact": they sum to 1000000 */
    double weight[4];      /* "released": products of the fractional parts, not rounded */
} lbpmap_sample;

typedef struct {
    int32_t points; /* P: bits of a code, 1..LBPMAP_MAX_POINTS */
    int32_t radius; /* R: pixels, 1..LBPMAP_MAX_RADIUS */
    lbpmap_arithmetic arithmetic;
    lbpmap_sample sample[LBPMAP_MAX_POINTS]; /* sample i sets the bit of weight 2^i */
    /* "released", 8 points on a circle: how ties fall in the corners (samples 1, 3, 5, 7) when the
     * pixels on the corner's diagonal equal the centre C and the two beside it are C + delta (left
     * or right) and C - delta (above or below). Bit j of tie_zero[corner][w][C] is 1 when the tie
     * with delta = 8 w - 132 + j (modulo 256) gives the bit 0; it is 0 where there is no such tie. */
    uint8_t tie_zero[4][LBPMAP_TIE_WINDOWS][256];
    /* The same by bits of the code: tie_clears[down][C] has those that are 0 in a tie, `down` being
     * by how much pixels grow downwards (modulo 256): delta in samples 1 and 3, -delta in 5 and 7. */
    uint8_t tie_clears[256][256];
} lbpmap_neighborhood;

/* Fills `out`. Returns 0, or -1 when points or radius are out of range, or when LBPMAP_SQUARE is
 * asked for with points other than 8; `out` is then unchanged. */
int lbpmap_neighborhood_init(lbpmap_neighborhood *out, lbpmap_layout layout, int32_t points,
                             int32_t radius, lbpmap_arithmetic arithmetic);

/* How codes are counted: through `bin`, in rows x columns cells.
 *
 * Cell (j, i) holds the codes of rows height * j / rows up to height * (j + 1) / rows and of columns
 * width * i / columns up to width * (i + 1) / columns, divisions rounded down: cells differ by at
 * most one pixel a side. 1 <= rows <= height and 1 <= columns <= width leave none empty. */
typedef struct {
    size_t rows;
    size_t columns;
    size_t bins;         /* 1..65536 */
    const uint16_t *bin; /* of each code, every one < bins: 256 entries for 8-bit codes, for 16-bit
                            codes one more than the largest code */
} lbpmap_cells;

/* Where the pixels of a stretched side lie in the picture: each between two neighbours, or beyond the
 * edge. The three arrays have `count` entries; pixel i wanted is
 *     low[i] * p(first[i]) + high[i] * p(first[i] + 1),
 * where a neighbour outside the picture has no weight. 0 <= first[i], and first[i] + 1 < source but
 * for a source of one pixel, where first[i] and high[i] are 0. */
typedef struct {
    size_t source; /* pixels of the picture along this side */
    size_t count;
    int32_t *first;
    float *low, *high;
} lbpmap_taps;

/* Fills `taps`, whose arrays the caller has set, for those of the `size` pixels of a stretched side
 * that `position` names: 2015's bilinear rule, half-pixel centres, no anti-aliasing. `source` and
 * `size` are below 2^31. */
void lbpmap_taps_init(lbpmap_taps *taps, size_t source, size_t size, const int32_t *position,
                      size_t count);

/* A crop: side x side pixels, whose rows and columns follow each other in the tables of taps. */
typedef struct {
    size_t row, column; /* of its top left pixel: indices into the tables */
    const float *mean;  /* what to subtract from its top left pixel, blue */
} lbpmap_crop;

/* What is cut from a stretched picture. A mirrored crop lies in columns that run backwards. A row of
 * a mean follows the row before it by mean_row_stride (0 where all are the same), a plane the plane
 * before it by mean_plane_stride; both in bytes, multiples of 4. Rows are resized as they come: rows.first
 * should not fall. */
typedef struct {
    lbpmap_taps rows, columns;
    size_t side;
    size_t count;
    const lbpmap_crop *crop;
    ptrdiff_t mean_plane_stride, mean_row_stride;
} lbpmap_crops;

/* One implementation of every kernel: a row of the dispatch table. All rows give the same bytes,
 * and no pointer is NULL.
 *
 * gray         RGB pixels (3 bytes each) -> MATLAB's rgb2gray, rounded half up.
 * codes        grey -> codes; points <= 8.
 * codes16      grey -> codes of up to 16 bits.
 * lookup       codes -> table[code], 3 bytes each. `table` has 256 x 3 bytes.
 * lookup16     the same for 16-bit codes; every code must be < the table's number of rows.
 * mapped       codes and lookup in one pass; points <= 8, `table` has 256 x 3 bytes.
 * planes       codes, lookup and a difference in one pass: plane c of `out` holds, in float32,
 *              table[code][c] - mean[c]; points <= 8, `table` has 256 x 3 bytes. Plane c begins
 *              c * plane_stride bytes behind plane 0. Strides are multiples of 4.
 * histogram    codes -> how many fall in each bin of each cell. `counts` has rows x columns x bins
 *              entries, cell after cell, row by row; they are set, not added to. A cell of 2^32
 *              pixels or more counts modulo 2^32.
 * histogram16  the same for 16-bit codes.
 * blob         RGB pixels, rows.source x columns.source of them -> crops of the stretched picture, as
 *              Caffe wants them: planes of float32, side x side, blue first, minus the mean. What lies
 *              outside the picture is its least value. `scratch` has 6 * columns.count floats. A crop
 *              begins crop_stride bytes behind the crop before it, a multiple of 4; its 3 planes are
 *              without gaps. All rows give the same floats. */
typedef struct {
    const char *name;
    int (*supported)(void); /* 1 when this machine can run the row */
    void (*gray)(const uint8_t *rgb, ptrdiff_t rgb_stride, size_t width, size_t height,
                 uint8_t *gray, ptrdiff_t gray_stride);
    void (*codes)(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                  size_t width, size_t height, uint8_t *codes, ptrdiff_t codes_stride);
    void (*codes16)(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                    size_t width, size_t height, uint16_t *codes, ptrdiff_t codes_stride);
    void (*lookup)(const uint8_t *codes, ptrdiff_t codes_stride, size_t width, size_t height,
                   const uint8_t *table, uint8_t *rgb, ptrdiff_t rgb_stride);
    void (*lookup16)(const uint16_t *codes, ptrdiff_t codes_stride, size_t width, size_t height,
                     const uint8_t *table, uint8_t *rgb, ptrdiff_t rgb_stride);
    void (*mapped)(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                   size_t width, size_t height, const uint8_t *table, uint8_t *rgb,
                   ptrdiff_t rgb_stride);
    void (*planes)(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                   size_t width, size_t height, const uint8_t *table, const float mean[3],
                   float *out, ptrdiff_t plane_stride, ptrdiff_t row_stride);
    void (*histogram)(const lbpmap_cells *cells, const uint8_t *codes, ptrdiff_t codes_stride,
                      size_t width, size_t height, uint32_t *counts);
    void (*histogram16)(const lbpmap_cells *cells, const uint16_t *codes, ptrdiff_t codes_stride,
                        size_t width, size_t height, uint32_t *counts);
    void (*blob)(const lbpmap_crops *how, const uint8_t *rgb, ptrdiff_t rgb_stride,
                 float *scratch, float *out, ptrdiff_t crop_stride);
} lbpmap_kernels;

/* The rows that were compiled in, slowest first; NULL past the end. A constant table: which row to
 * use is the caller's to decide, by default the last that is supported. */
const lbpmap_kernels *lbpmap_kernels_at(size_t index);

/* Name and version of the compiler that built the core. */
const char *lbpmap_compiler(void);

#ifdef __cplusplus
}
#endif
#endif
