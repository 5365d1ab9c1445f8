/* kernels_avx2.c: the AVX2 row (Haswell, Zen and later): which walk makes the codes, and what becomes
 * of them.
 *
 * Codes. Tiles are done in blocks of 32 columns, of which the last of a row overlaps the one before
 * it. At R = 1 blocks are walked down, as a row serves three times; elsewhere rows have nothing in
 * common and are done one after another. Rows of fewer than 32 pixels are left to the serial kernels,
 * as are numbers of points other than 8.
 *
 * Lookup. 256 colours fill 48 registers, and looking 32 codes up by vpshufb would cost some 150
 * operations. Instead colours are loaded from a table in the first-level cache, and those
 * of two codes are joined in one word, the second from a copy of the table that is shifted by three
 * bytes, and stored as 8 bytes that overlap by two. Codes become colours by tiles that stay in the
 * first-level cache, so that "mapped" is one pass over the picture.
 *
 * Planes. An entry is four floats, of which the fourth is unused: eight are loaded and transposed,
 * which gives eight neighbours of each plane. When an output is larger than the last-level cache
 * may hold, stores pass it by (vmovntps), which saves reading what is overwritten.
 *
 * Grey. 96 bytes are loaded as pairs of 16, so that a half of each register holds 16 colours. Within
 * 48 bytes the places of one channel are all different modulo 16: two blends gather it, and one
 * vpshufb puts it in order. The rule in 16 bits is right for all 2^24 colours
 * (tests/test_constants.py). */
#include "avx2_ties.h"

#ifdef LBPMAP_AVX2

#include <string.h>

/* The square grid: the same three places of three rows. */
AVX2_INLINE __m256i square_codes(const uint8_t *p, ptrdiff_t east, ptrdiff_t south) {
    const uint8_t *above = p - south, *below = p + south;
    const __m256i c = load(p);
    __m256i codes = _mm256_sub_epi8(_mm256_setzero_si256(), at_least(load(below + east), c));
    codes = then(codes, at_least(load(below), c));
    codes = then(codes, at_least(load(below - east), c));
    codes = then(codes, at_least(load(p - east), c));
    codes = then(codes, at_least(load(above - east), c));
    codes = then(codes, at_least(load(above), c));
    codes = then(codes, at_least(load(above + east), c));
    return then(codes, at_least(load(p + east), c));
}

static AVX2 void square(plan_avx2 *plan, const uint8_t *p, ptrdiff_t stride, size_t width,
                        size_t height, uint8_t *out, ptrdiff_t out_stride) {
    const ptrdiff_t east = plan->nb->radius, south = east * stride;
    for (size_t y = 0; y < height; ++y, p += stride, out += out_stride)
        for (size_t x = 0; x < width; x += LANES) {
            const size_t at = block_at(x, width);
            store(out + at, square_codes(p + at, east, south));
        }
}

/* How the codes of a neighbourhood are made, and how many rows the tiles of wide pictures have: few, as
 * each is one more page to read and one more to write, and rows that are 4096 bytes apart share eight
 * places in the first-level cache. On Zen 3 at 4096 x 4096 tiles of 15 rows take 1.4 times as long at
 * R = 5 and 10, 1.8 times on the square grid; at 4000 x 4000 twice as long at R = 1. */
typedef struct {
    int32_t radius; /* 0: any */
    size_t rows;
    tile_avx2 *exact, *released;
} way;

static const way *way_of(const lbpmap_neighborhood *nb) {
    static const way on_square = {0, 1, square, square};
    static const way on_circle[] = {
        {1, 8, lbpmap_circle1_exact_avx2, lbpmap_circle1_released_avx2},
        {5, 1, lbpmap_circle5_exact_avx2, lbpmap_circle5_released_avx2},
        {10, 1, lbpmap_circle10_exact_avx2, lbpmap_circle10_released_avx2},
        {0, 1, lbpmap_circle_exact_avx2, lbpmap_circle_released_avx2},
    };
    if (nb->sample[1].is_pixel)
        return &on_square;
    const way *w = on_circle;
    while (w->radius && w->radius != nb->radius)
        ++w;
    return w;
}

static int is_ours(const lbpmap_neighborhood *nb, size_t width) {
    return nb->points == 8 && width >= LANES;
}

static AVX2 void make_plan(plan_avx2 *plan, const lbpmap_neighborhood *nb) {
    plan->nb = nb;
    if (nb->arithmetic == LBPMAP_EXACT)
        return;
    for (int corner = 0; corner < 4; ++corner)
        for (int i = 0; i < 8; ++i) {
            /* Moves the corner's bit to the top; what crosses from byte to byte stays below it. */
            const __m256i bits = _mm256_slli_epi16(load(nb->tie_clears[0] + 32 * i), 6 - 2 * corner);
            const int zeros = _mm256_movemask_epi8(bits);
            memcpy(plan->flat[corner] + 4 * i, &zeros, 4);
        }
}

/* What a row of a tile's codes becomes; (x, y) is its first pixel. */
typedef void colour_row(const void *colours, const uint8_t *codes, size_t n, size_t x, size_t y,
                        const void *target);

/* Where codes go: to rows of their own, or on to be coloured. */
typedef struct {
    uint8_t *codes;
    ptrdiff_t stride;
    colour_row *colour; /* NULL: keep the codes */
    const void *colours, *target;
} sink;

static AVX2 void each_tile(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t stride,
                           size_t width, size_t height, const sink *s) {
    enum { NARROW = 512, MOST_ROWS = 8 };
    uint8_t buffer[MOST_ROWS * TILE_COLUMNS]; /* more than TILE_ROWS * NARROW */
    plan_avx2 plan;
    make_plan(&plan, nb);
    const way *const w = way_of(nb);
    tile_avx2 *const tile = nb->arithmetic == LBPMAP_EXACT ? w->exact : w->released;
    const size_t most = width > NARROW ? w->rows : TILE_ROWS;
    const uint8_t *centre = gray + nb->radius * stride + nb->radius;
    for (size_t y = 0; y < height; y += most) {
        const size_t rows = height - y < most ? height - y : most;
        for (size_t next = 0; next < width;) {
            const size_t x = block_at(next, width);
            const size_t n = width - x < TILE_COLUMNS ? width - x : TILE_COLUMNS;
            const uint8_t *first = centre + (ptrdiff_t)y * stride + x;
            if (s->colour) {
                tile(&plan, first, stride, n, rows, buffer, (ptrdiff_t)n);
                for (size_t row = 0; row < rows; ++row)
                    s->colour(s->colours, buffer + row * n, n, x, y + row, s->target);
            } else {
                tile(&plan, first, stride, n, rows, s->codes + (ptrdiff_t)y * s->stride + x,
                     s->stride);
            }
            next = x + n;
        }
    }
}

static void codes(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                  size_t width, size_t height, uint8_t *out, ptrdiff_t out_stride) {
    const sink s = {.codes = out, .stride = out_stride};
    if (is_ours(nb, width))
        each_tile(nb, gray, gray_stride, width, height, &s);
    else
        lbpmap_codes_serial(nb, gray, gray_stride, width, height, out, out_stride);
}

/* The table, three bytes in the low end of a word, and the same moved up by three bytes. */
typedef struct {
    uint64_t first[256], second[256];
} pairs;

typedef struct {
    uint8_t *first;
    ptrdiff_t stride;
} picture;

static void make_pairs(pairs *p, const uint8_t *table) {
    for (int code = 0; code < 256; ++code, table += 3) {
        p->first[code] = (uint64_t)table[0] | (uint64_t)table[1] << 8 | (uint64_t)table[2] << 16;
        p->second[code] = p->first[code] << 24;
    }
}

static void look_up(const pairs *p, const uint8_t *codes, size_t n, uint8_t *rgb) {
    size_t x = 0;
    for (; x + 8 < n; x += 8, rgb += 24) {
        uint64_t eight;
        memcpy(&eight, codes + x, 8);
        for (int k = 0; k < 4; ++k, eight >>= 16) {
            const uint64_t two = p->first[eight & 255] | p->second[eight >> 8 & 255];
            memcpy(rgb + 6 * k, &two, 8);
        }
    }
    for (; x < n; ++x, rgb += 3)
        memcpy(rgb, &p->first[codes[x]], 3);
}

static void map_row(const void *colours, const uint8_t *row, size_t n, size_t x, size_t y,
                    const void *target) {
    const picture *rgb = target;
    look_up(colours, row, n, rgb->first + (ptrdiff_t)y * rgb->stride + 3 * x);
}

static void mapped(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                   size_t width, size_t height, const uint8_t *table, uint8_t *rgb,
                   ptrdiff_t rgb_stride) {
    if (!is_ours(nb, width)) {
        lbpmap_mapped_serial(nb, gray, gray_stride, width, height, table, rgb, rgb_stride);
        return;
    }
    pairs p;
    make_pairs(&p, table);
    const picture target = {rgb, rgb_stride};
    const sink s = {.colour = map_row, .colours = &p, .target = &target};
    each_tile(nb, gray, gray_stride, width, height, &s);
}

static void lookup(const uint8_t *from, ptrdiff_t from_stride, size_t width, size_t height,
                   const uint8_t *table, uint8_t *rgb, ptrdiff_t rgb_stride) {
    pairs p;
    make_pairs(&p, table);
    for (size_t y = 0; y < height; ++y)
        look_up(&p, from + (ptrdiff_t)y * from_stride, width, rgb + (ptrdiff_t)y * rgb_stride);
}

typedef struct {
    float *first;
    ptrdiff_t plane_stride, row_stride; /* in floats */
    int streaming;
} float_planes;

/* The three floats of a code, and one that is never used. */
typedef struct {
    float of[4];
} shade;

/* Eight neighbours of each plane. */
AVX2_INLINE void transpose8(const shade *shades, const uint8_t *codes, __m256 plane[3]) {
    __m256 two[4]; /* entries i and i + 4 */
    for (int i = 0; i < 4; ++i)
        two[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(shades[codes[i]].of)),
                                      _mm_loadu_ps(shades[codes[i + 4]].of), 1);
    const __m256 a = _mm256_unpacklo_ps(two[0], two[1]), b = _mm256_unpacklo_ps(two[2], two[3]);
    const __m256 c = _mm256_unpackhi_ps(two[0], two[1]), d = _mm256_unpackhi_ps(two[2], two[3]);
    plane[0] = _mm256_shuffle_ps(a, b, 0x44);
    plane[1] = _mm256_shuffle_ps(a, b, 0xee);
    plane[2] = _mm256_shuffle_ps(c, d, 0x44);
}

AVX2_INLINE void shade_row(const shade *shades, const uint8_t *codes, size_t n, float *out,
                           ptrdiff_t plane_stride, int streaming) {
    size_t x = 0;
    if (streaming)
        for (; x < n && (uintptr_t)(out + x) % 32; ++x)
            for (int c = 0; c < 3; ++c)
                out[c * plane_stride + (ptrdiff_t)x] = shades[codes[x]].of[c];
    for (; x + 8 <= n; x += 8) {
        __m256 plane[3];
        transpose8(shades, codes + x, plane);
        for (int c = 0; c < 3; ++c) {
            float *to = out + c * plane_stride + x;
            if (streaming)
                _mm256_stream_ps(to, plane[c]);
            else
                _mm256_storeu_ps(to, plane[c]);
        }
    }
    for (; x < n; ++x)
        for (int c = 0; c < 3; ++c)
            out[c * plane_stride + (ptrdiff_t)x] = shades[codes[x]].of[c];
}

static AVX2 void plane_row(const void *colours, const uint8_t *row, size_t n, size_t x, size_t y,
                           const void *target) {
    const float_planes *t = target;
    float *out = t->first + (ptrdiff_t)y * t->row_stride + x;
    if (t->streaming)
        shade_row(colours, row, n, out, t->plane_stride, 1);
    else
        shade_row(colours, row, n, out, t->plane_stride, 0);
}

static AVX2 void planes(const lbpmap_neighborhood *nb, const uint8_t *gray, ptrdiff_t gray_stride,
                        size_t width, size_t height, const uint8_t *table, const float mean[3],
                        float *out, ptrdiff_t plane_stride, ptrdiff_t row_stride) {
    enum { STREAM_FROM = 16 << 20 };
    if (!is_ours(nb, width)) {
        lbpmap_planes_serial(nb, gray, gray_stride, width, height, table, mean, out, plane_stride,
                             row_stride);
        return;
    }
    shade shades[256];
    for (int code = 0; code < 256; ++code)
        for (int c = 0; c < 4; ++c)
            shades[code].of[c] = c < 3 ? (float)table[3 * code + c] - mean[c] : 0;
    float_planes target = {out, plane_stride / 4, row_stride / 4, 0};
    target.streaming = width * height > STREAM_FROM / 12 && plane_stride % 32 == 0;
    const sink s = {.colour = plane_row, .colours = shades, .target = &target};
    each_tile(nb, gray, gray_stride, width, height, &s);
    if (target.streaming)
        _mm_sfence();
}

/* Grey of 16 colours in lanes of 16 bits:
 * G + ((76 r + 30 b + 128 + (mulhi(69 r - 106 b, 32076) >> 6)) >> 8) with r = R - G, b = B - G. */
AVX2_INLINE __m256i gray16(__m256i red, __m256i green, __m256i blue) {
    const __m256i r = _mm256_sub_epi16(red, green), b = _mm256_sub_epi16(blue, green);
    const __m256i coarse = _mm256_add_epi16(_mm256_mullo_epi16(r, _mm256_set1_epi16(76)),
                                            _mm256_mullo_epi16(b, _mm256_set1_epi16(30)));
    const __m256i rest = _mm256_sub_epi16(_mm256_mullo_epi16(r, _mm256_set1_epi16(69)),
                                          _mm256_mullo_epi16(b, _mm256_set1_epi16(106)));
    const __m256i fine =
        _mm256_srai_epi16(_mm256_mulhi_epi16(rest, _mm256_set1_epi16(32076)), 6);
    const __m256i sum =
        _mm256_add_epi16(_mm256_add_epi16(coarse, fine), _mm256_set1_epi16(128));
    return _mm256_add_epi16(green, _mm256_srai_epi16(sum, 8));
}

/* 16 bytes for each half of a register. */
AVX2_INLINE __m256i load_halves(const uint8_t *low, const uint8_t *high) {
    const __m128i first = _mm_loadu_si128((const __m128i *)(const void *)low);
    const __m128i second = _mm_loadu_si128((const __m128i *)(const void *)high);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
}

static AVX2 void gray(const uint8_t *rgb, ptrdiff_t rgb_stride, size_t width, size_t height,
                      uint8_t *out, ptrdiff_t out_stride) {
    if (width < LANES) {
        lbpmap_gray_serial(rgb, rgb_stride, width, height, out, out_stride);
        return;
    }
    /* Of channel k: from which of three registers each byte comes, and where pixel i then lies. */
    uint8_t second[3][16], third[3][16], order[3][16];
    for (int k = 0; k < 3; ++k)
        for (int i = 0; i < 16; ++i) {
            const int at = 3 * i + k;
            order[k][i] = (uint8_t)(at % 16);
            second[k][at % 16] = at / 16 == 1 ? 255 : 0;
            third[k][at % 16] = at / 16 == 2 ? 255 : 0;
        }
    for (size_t y = 0; y < height; ++y) {
        const uint8_t *in = rgb + (ptrdiff_t)y * rgb_stride;
        for (size_t x = 0; x < width; x += LANES) {
            const size_t at = x + LANES <= width ? x : width - LANES;
            __m256i block[3], lanes[3][2], half[2];
            for (size_t k = 0; k < 3; ++k)
                block[k] = load_halves(in + 3 * at + 16 * k, in + 3 * at + 48 + 16 * k);
            for (int k = 0; k < 3; ++k) {
                const __m256i two =
                    _mm256_blendv_epi8(block[0], block[1], load_twice(second[k]));
                const __m256i three = _mm256_blendv_epi8(two, block[2], load_twice(third[k]));
                widen(_mm256_shuffle_epi8(three, load_twice(order[k])), lanes[k]);
            }
            for (int h = 0; h < 2; ++h)
                half[h] = gray16(lanes[0][h], lanes[1][h], lanes[2][h]);
            store(out + (ptrdiff_t)y * out_stride + at, _mm256_packus_epi16(half[0], half[1]));
        }
    }
}

/* The compiler's test also asks the operating system (XGETBV) whether it saves the registers. */
static int supported(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("popcnt");
}

const lbpmap_kernels lbpmap_kernels_avx2 = {
    .name = "avx2",
    .supported = supported,
    .gray = gray,
    .codes = codes,
    .codes16 = lbpmap_codes16_serial,
    .lookup = lookup,
    .lookup16 = lbpmap_lookup16_serial,
    .mapped = mapped,
    .planes = planes,
    .histogram = lbpmap_histogram_serial,
    .histogram16 = lbpmap_histogram16_serial,
    .blob = lbpmap_blob_avx2,
};
#endif
