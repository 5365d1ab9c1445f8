/* resize_avx2.c: the two loops of resize.c on AVX2: 8 columns at a time.
 *
 * Where a picture is enlarged, 4 columns lie between 5 pixels, 15 bytes. Each half of a register
 * holds 16 bytes for 4 columns, and one vpshufb for each channel and neighbour puts the bytes of 8
 * pixels into lanes of 32 bits and clears the rest. Columns that lie wider apart, in a picture that is
 * shrunk, are left to the plain loop: gathers would be no faster. */
#include "kernels.h"

#ifdef LBPMAP_AVX2

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE static inline __attribute__((always_inline, target("avx2")))

/* A pair of pixels may begin at byte LAST of the 16. */
enum { LANES = 8, WINDOW = 16, LAST = WINDOW - 6 };

/* Where to load the 16 bytes of 4 columns, whole within the row. */
AVX2_INLINE int32_t window_at(const lbpmap_taps *taps, size_t x) {
    const int32_t one_end = taps->first[x], other_end = taps->first[x + LANES / 2 - 1];
    const int32_t at = 3 * (one_end < other_end ? one_end : other_end);
    const int32_t most = 3 * (int32_t)taps->source - WINDOW;
    return at < most ? at : most;
}

AVX2_INLINE __m256i two_halves(__m128i low, __m128i high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

AVX2_INLINE __m128i load_bytes(const uint8_t *p) {
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

AVX2 static void line(const lbpmap_taps *taps, const uint8_t *row, uint8_t least, float *out) {
    const __m256i base = _mm256_set1_epi8((char)least);
    const int short_line = taps->count < LANES || 3 * taps->source < WINDOW;
    size_t done;
    for (size_t x = 0; x < taps->count; x = done) {
        const size_t at = short_line || x + LANES <= taps->count ? x : taps->count - LANES;
        done = at + LANES;
        __m256i red, window;
        int apart = short_line;
        if (!apart) {
            const int32_t from = window_at(taps, at), then = window_at(taps, at + LANES / 2);
            window = two_halves(load_bytes(row + from), load_bytes(row + then));
            const __m256i first =
                _mm256_loadu_si256((const __m256i *)(const void *)(taps->first + at));
            red = _mm256_sub_epi32(_mm256_add_epi32(first, _mm256_add_epi32(first, first)),
                                   two_halves(_mm_set1_epi32(from), _mm_set1_epi32(then)));
            const __m256i past = _mm256_sub_epi32(_mm256_set1_epi32(LAST), red);
            apart = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_or_si256(red, past)));
        }
        if (apart) {
            const size_t n = taps->count - x < RESIZE_CHUNK ? taps->count - x : RESIZE_CHUNK;
            lbpmap_resize_part_serial(taps, x, n, row, least, out);
            done = x + n;
            continue;
        }
        window = _mm256_sub_epi8(window, base);
        const __m256 low = _mm256_loadu_ps(taps->low + at), high = _mm256_loadu_ps(taps->high + at);
        for (int c = 0; c < 3; ++c) {
            /* A set top bit makes vpshufb clear a byte: the upper three of each lane. */
            const __m256i near = _mm256_add_epi32(red, _mm256_set1_epi32((int)(0x80808000u + (unsigned)c)));
            const __m256i far = _mm256_add_epi32(near, _mm256_set1_epi32(3));
            const __m256 a = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(window, near));
            const __m256 b = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(window, far));
            _mm256_storeu_ps(out + (size_t)c * taps->count + at,
                             _mm256_add_ps(_mm256_mul_ps(a, low), _mm256_mul_ps(b, high)));
        }
    }
}

/* The plain loop; with AVX2 the compiler's own vectors are as good as any. */
AVX2 static void mix(const float *restrict upper, const float *restrict lower, float low,
                     float high, float least, const float *restrict mean, size_t n,
                     float *restrict out) {
    for (size_t i = 0; i < n; ++i)
        out[i] = (upper[i] * low + lower[i] * high + least) - mean[i];
}

void lbpmap_blob_avx2(const lbpmap_crops *how, const uint8_t *rgb, ptrdiff_t rgb_stride,
                      float *scratch, float *out, ptrdiff_t crop_stride) {
    lbpmap_resize_rows(how, line, mix, rgb, rgb_stride, scratch, out, crop_stride);
}
#endif
