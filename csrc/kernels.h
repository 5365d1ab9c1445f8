/* kernels.h: inside the core only: the rows of the dispatch table, and the serial kernels, which
 * stand in wherever another row has nothing faster. lbpmap.h says what each does. */
#ifndef LBPMAP_KERNELS_H
#define LBPMAP_KERNELS_H

#include "lbpmap.h"

extern const lbpmap_kernels lbpmap_kernels_serial;

#if defined(__x86_64__) && (defined(__clang__) || defined(__GNUC__))
#define LBPMAP_AVX2 1
extern const lbpmap_kernels lbpmap_kernels_avx2;
#endif

/* AVX-512 needs a compiler that knows VBMI2. */
#if defined(__x86_64__) && (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 8))
#define LBPMAP_AVX512 1
extern const lbpmap_kernels lbpmap_kernels_avx512;
#endif

/* NEON is in every 64-bit ARM. Signs are taken from odd bytes, so little endian only; gcc knows
 * vld1q_u8_x4 from 10 on. */
#if defined(__aarch64__) && (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 10)) &&       \
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LBPMAP_NEON 1
extern const lbpmap_kernels lbpmap_kernels_neon;
#endif

void lbpmap_gray_serial(const uint8_t *rgb, ptrdiff_t rgb_stride, size_t width, size_t height,
                        uint8_t *gray, ptrdiff_t gray_stride);
void lbpmap_codes_serial(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                         size_t width, size_t height, uint8_t *codes, ptrdiff_t codes_stride);
void lbpmap_codes16_serial(const lbpmap_neighborhood *nb, const uint8_t *gray,
                           ptrdiff_t gray_stride, size_t width, size_t height, uint16_t *codes,
                           ptrdiff_t codes_stride);
void lbpmap_lookup_serial(const uint8_t *codes, ptrdiff_t codes_stride, size_t width,
                          size_t height, const uint8_t *table, uint8_t *rgb, ptrdiff_t rgb_stride);
void lbpmap_lookup16_serial(const uint16_t *codes, ptrdiff_t codes_stride, size_t width,
                            size_t height, const uint8_t *table, uint8_t *rgb,
                            ptrdiff_t rgb_stride);
void lbpmap_mapped_serial(const lbpmap_neighborhood *nb, const uint8_t *gray,
                          ptrdiff_t gray_stride, size_t width, size_t height,
                          const uint8_t *table, uint8_t *rgb, ptrdiff_t rgb_stride);
void lbpmap_planes_serial(const lbpmap_neighborhood *nb, const uint8_t *gray,
                          ptrdiff_t gray_stride, size_t width, size_t height,
                          const uint8_t *table, const float mean[3], float *out,
                          ptrdiff_t plane_stride, ptrdiff_t row_stride);
void lbpmap_histogram_serial(const lbpmap_cells *cells, const uint8_t *codes,
                             ptrdiff_t codes_stride, size_t width, size_t height,
                             uint32_t *counts);
void lbpmap_histogram16_serial(const lbpmap_cells *cells, const uint16_t *codes,
                               ptrdiff_t codes_stride, size_t width, size_t height,
                               uint32_t *counts);

/* A source row -> 3 planes of columns->count floats, each pixel less `least`. */
typedef void lbpmap_resize_line(const lbpmap_taps *columns, const uint8_t *row, uint8_t least,
                                float *line);
/* upper * low + lower * high + least - mean, n times. */
typedef void lbpmap_resize_mix(const float *upper, const float *lower, float low, float high,
                               float least, const float *mean, size_t n, float *out);
/* n <= RESIZE_CHUNK columns of a line, from column x on. */
enum { RESIZE_CHUNK = 256 };
void lbpmap_resize_part_serial(const lbpmap_taps *columns, size_t x, size_t n, const uint8_t *row,
                               uint8_t least, float *line);
/* The kernel `blob`, given its two loops. */
void lbpmap_resize_rows(const lbpmap_crops *how, lbpmap_resize_line *resize_line,
                        lbpmap_resize_mix *mix_lines, const uint8_t *rgb, ptrdiff_t rgb_stride, float *scratch, float *out,
                        ptrdiff_t crop_stride);
void lbpmap_blob_serial(const lbpmap_crops *how, const uint8_t *rgb, ptrdiff_t rgb_stride,
                        float *scratch, float *out, ptrdiff_t crop_stride);
#ifdef LBPMAP_AVX2
void lbpmap_blob_avx2(const lbpmap_crops *how, const uint8_t *rgb, ptrdiff_t rgb_stride,
                      float *scratch, float *out, ptrdiff_t crop_stride);
#endif
#ifdef LBPMAP_AVX512
void lbpmap_blob_avx512(const lbpmap_crops *how, const uint8_t *rgb, ptrdiff_t rgb_stride,
                        float *scratch, float *out, ptrdiff_t crop_stride);
#endif

#endif
