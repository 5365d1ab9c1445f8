/* resize_avx512.c: the two loops of resize.c on AVX-512 with VBMI: 16 columns at a time.
 *
 * Where a picture is enlarged, or shrunk to no less than four fifths, 16 columns lie between the 21
 * pixels that one register of 64 bytes holds. It is loaded once, `least` is taken off all of it, and
 * for each channel and neighbour one vpermb puts the bytes of 16 pixels into lanes of 32 bits and
 * clears the rest: 6 permutations for 96 bytes, where loads one by one are what the plain loop
 * spends its time on (2.5x slower in all). Down to two fifths two registers and vpermi2b do the
 * same; columns that lie wider apart are left to the plain loop. */
#include "kernels.h"

#ifdef LBPMAP_AVX512

#include "avx512_target.h"

/* How far from the leftmost pair of pixels a pair may begin, for one register and for two. */
enum { LANES = 16, WINDOW = 64, REACH = WINDOW / 3 - 2, FAR_REACH = 2 * WINDOW / 3 - 2 };

/* Up to 64 bytes of a row of which `rest` are left, less `base`. */
static inline __m512i load_window(const uint8_t *p, size_t rest, __m512i base) {
    const __mmask64 bytes = rest < WINDOW ? (1ull << rest) - 1 : ~0ull;
    return _mm512_sub_epi8(_mm512_maskz_loadu_epi8(bytes, p), base);
}

static void line(const lbpmap_taps *taps, const uint8_t *row, uint8_t least, float *out) {
    const __m512i base = _mm512_set1_epi8((char)least);
    const __mmask64 low_bytes = 0x1111111111111111ull;
    size_t n;
    for (size_t x = 0; x < taps->count; x += n) {
        n = taps->count - x < LANES ? taps->count - x : LANES;
        const __mmask16 lanes = (__mmask16)((1u << n) - 1);
        const int32_t one_end = taps->first[x], other_end = taps->first[x + n - 1];
        const int32_t left = one_end < other_end ? one_end : other_end;
        const __m512i away = _mm512_maskz_sub_epi32(
            lanes, _mm512_maskz_loadu_epi32(lanes, taps->first + x), _mm512_set1_epi32(left));
        const int wide = _mm512_cmpgt_epu32_mask(away, _mm512_set1_epi32(REACH)) != 0;
        if (taps->source == 1 ||
            (wide && _mm512_cmpgt_epu32_mask(away, _mm512_set1_epi32(FAR_REACH)))) {
            n = taps->count - x < RESIZE_CHUNK ? taps->count - x : RESIZE_CHUNK;
            lbpmap_resize_part_serial(taps, x, n, row, least, out);
            continue;
        }
        const size_t from = 3 * (size_t)left, rest = 3 * taps->source - from;
        const __m512i window = load_window(row + from, rest, base);
        const __m512i beyond =
            wide && rest > WINDOW ? load_window(row + from + WINDOW, rest - WINDOW, base) : window;
        const __m512i red = _mm512_add_epi32(away, _mm512_add_epi32(away, away));
        const __m512 low = _mm512_maskz_loadu_ps(lanes, taps->low + x);
        const __m512 high = _mm512_maskz_loadu_ps(lanes, taps->high + x);
        for (int c = 0; c < 3; ++c) {
            const __m512i near = _mm512_add_epi32(red, _mm512_set1_epi32(c));
            const __m512i far = _mm512_add_epi32(red, _mm512_set1_epi32(c + 3));
            __m512i a, b;
            if (wide) {
                a = _mm512_maskz_permutex2var_epi8(low_bytes, window, near, beyond);
                b = _mm512_maskz_permutex2var_epi8(low_bytes, window, far, beyond);
            } else {
                a = _mm512_maskz_permutexvar_epi8(low_bytes, near, window);
                b = _mm512_maskz_permutexvar_epi8(low_bytes, far, window);
            }
            _mm512_mask_storeu_ps(out + (size_t)c * taps->count + x, lanes,
                                  _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(a), low),
                                                _mm512_mul_ps(_mm512_cvtepi32_ps(b), high)));
        }
    }
}

static void mix(const float *upper, const float *lower, float low, float high, float least,
                const float *mean, size_t n, float *out) {
    const __m512 up = _mm512_set1_ps(low), down = _mm512_set1_ps(high);
    const __m512 base = _mm512_set1_ps(least);
    for (size_t x = 0; x < n; x += LANES) {
        const __mmask16 lanes = (__mmask16)(n - x < LANES ? (1u << (n - x)) - 1 : 0xFFFFu);
        const __m512 a = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, upper + x), up);
        const __m512 b = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, lower + x), down);
        const __m512 sum = _mm512_add_ps(_mm512_add_ps(a, b), base);
        _mm512_mask_storeu_ps(out + x, lanes,
                              _mm512_sub_ps(sum, _mm512_maskz_loadu_ps(lanes, mean + x)));
    }
}

void lbpmap_blob_avx512(const lbpmap_crops *how, const uint8_t *rgb, ptrdiff_t rgb_stride,
                        float *scratch, float *out, ptrdiff_t crop_stride) {
    lbpmap_resize_rows(how, line, mix, rgb, rgb_stride, scratch, out, crop_stride);
}

LBPMAP_AVX512_END
#endif
