/* kernels_avx2_circle1.c: codes of radius 1, P = 8 on a circle, on AVX2.
 *
 * A block of 32 columns is walked down: each new row is loaded three times (shifted left, straight,
 * shifted right) and serves as the row below, the centre and the row above. The four pixels beside
 * the centre are compared as bytes. A corner is bilinear: with s = mid1 + mid2 - 2C it is at or
 * above the centre when far + ((s * 27146) >> 16) >= C, in 16 bits, for all 391,171 feasible pairs
 * (tests/test_constants.py). That sum packed to bytes with saturation compares with C as well as it
 * does in 16 bits: above 255 it is >= any C, and below 0 it would differ for C = 0 alone, where s
 * is not negative. So all eight bits are one kind of mask, and a code is eight doublings.
 *
 * "released". Where s = 0 and far = C the double precision of lbp.m decides, and its answer depends
 * on C and delta = mid1 - C (avx2_ties.h). Ties are found in bytes, modulo 256: what the modulus
 * adds is harmless, as the tables have no zero there. Flat places, delta = 0, are most ties of a
 * photo; they are looked up for every pixel without a branch, and only for NE and NW: a flat SW or
 * SE is never below the centre (tests/test_constants.py). The rest, one or two in a hundred pixels,
 * is noted during the walk and settled one by one when the tile is done, as a branch in the walk
 * would be guessed wrong too often. A row with many of them, on an even slope, has few deltas, and
 * is settled delta by delta.
 *
 * On photos "released" costs twice as much as "exact", on flat pictures 1.7 times, on even slopes 3.5
 * to 4.1 times, and 14 times on slopes that change every few pixels. */
#include "avx2_ties.h"

#ifdef LBPMAP_AVX2

/* A row of the picture at a block: its pixels and their left and right neighbours, as bytes and in
 * lanes of 16 bits. */
typedef struct {
    __m256i left, here, right;
    __m256i left16[2], here16[2], right16[2];
} row;

AVX2_INLINE row load_row(const uint8_t *p) {
    row r;
    r.left = load(p - 1);
    r.here = load(p);
    r.right = load(p + 1);
    widen(r.left, r.left16);
    widen(r.here, r.here16);
    widen(r.right, r.right16);
    return r;
}

/* A mask of the corners at or above the centre; side + vertical = s. */
AVX2_INLINE __m256i corner(const __m256i far[2], const __m256i side[2], const __m256i vertical[2],
                           __m256i centre) {
    __m256i value[2];
    for (int h = 0; h < 2; ++h) {
        const __m256i s = _mm256_add_epi16(side[h], vertical[h]);
        value[h] = _mm256_add_epi16(far[h], _mm256_mulhi_epi16(s, _mm256_set1_epi16(27146)));
    }
    return at_least(_mm256_packus_epi16(value[0], value[1]), centre);
}

/* Masks of the corners. */
AVX2_INLINE void corners(const row *above, const row *at, const row *below, __m256i is[4]) {
    __m256i right[2], left[2];
    for (int h = 0; h < 2; ++h) {
        const __m256i twice = _mm256_add_epi16(at->here16[h], at->here16[h]);
        right[h] = _mm256_sub_epi16(at->right16[h], twice);
        left[h] = _mm256_sub_epi16(at->left16[h], twice);
    }
    is[NE] = corner(above->right16, right, above->here16, at->here);
    is[NW] = corner(above->left16, left, above->here16, at->here);
    is[SW] = corner(below->left16, left, below->here16, at->here);
    is[SE] = corner(below->right16, right, below->here16, at->here);
}

AVX2_INLINE __m256i codes_of(const row *above, const row *at, const row *below,
                             const __m256i is[4]) {
    __m256i codes = _mm256_sub_epi8(_mm256_setzero_si256(), is[SE]);
    codes = then(codes, at_least(below->here, at->here));
    codes = then(codes, is[SW]);
    codes = then(codes, at_least(at->left, at->here));
    codes = then(codes, is[NW]);
    codes = then(codes, at_least(above->here, at->here));
    codes = then(codes, is[NE]);
    return then(codes, at_least(at->right, at->here));
}

/* Ties that are no flat places. One between a centre and its NE or NW corner is also one between
 * that corner's pixel, which equals the centre, and the centre as its SW or SE corner: so only the
 * upper corners are looked at, and each tie is settled for both ends. */
enum { BLOCKS = (TILE_ROWS + 1) * (TILE_COLUMNS / LANES + 1) };

typedef struct {
    size_t n;
    uint32_t where[BLOCKS]; /* the columns of a block that tie */
    uint32_t first[BLOCKS]; /* row << 16 | column of the block */
} slopes;

/* A tile while it is made. */
typedef struct {
    plan_avx2 *plan;
    const uint8_t *p;
    uint8_t *codes;
    ptrdiff_t stride, codes_stride;
    size_t width, height;
    slopes *east, *west; /* ties with NE and NW corners; NULL for "exact" */
} tile;

AVX2_INLINE __m256i tied(__m256i far, __m256i centre, __m256i delta, __m256i minus_other) {
    return both(_mm256_cmpeq_epi8(far, centre), _mm256_cmpeq_epi8(delta, minus_other));
}

enum { MANY = 12 }; /* ties in 32: from here on delta by delta is faster than one by one */

/* The row y of a block in which many ties lie: settles those of two deltas, and gives the others and
 * that at the edge, whose other end the next block will write. `out` is where its codes go. */
static AVX2 __attribute__((noinline)) uint32_t many(const tile *t, size_t x, size_t y, int corner,
                                                    __m256i ties, __m256i c, __m256i delta,
                                                    uint8_t *out, __m256i *is) {
    plan_avx2 *plan = t->plan;
    const int other = corner == NE ? SW : SE, side = corner == NE ? 1 : -1;
    const size_t next = block_at(x + LANES, t->width);
    const uint32_t edge = corner == NW ? 1u : next > x ? 1u << (next - 1 - x) : 0;
    const uint32_t keep = (uint32_t)_mm256_movemask_epi8(ties) & edge;
    const bit_place place = place_of(c);
    __m256i far = _mm256_setzero_si256();
    for (int round = 0; round < 2 && !_mm256_testz_si256(ties, ties); ++round) {
        __m256i taken;
        const unsigned d = take_delta(plan, corner, delta, &ties, &taken);
        const __m256i here = both(taken, bit_at(row_of(plan, corner, d), place));
        *is = _mm256_andnot_si256(here, *is);
        far = _mm256_or_si256(far, both(taken, bit_at(row_of(plan, other, -d & 255), place)));
    }
    if (y) { /* the other ends lie in the row above, one column to the side */
        uint8_t *above = out - t->codes_stride;
        uint8_t moved[LANES + 2] = {0};
        store(moved + 1 + side, far);
        const __m256i clear = both(load(moved + 1), _mm256_set1_epi8((char)(2 << (2 * other))));
        store(above, _mm256_andnot_si256(clear, load(above)));
    }
    return keep | (uint32_t)_mm256_movemask_epi8(ties);
}

AVX2_INLINE void note(slopes *s, uint32_t where, size_t x, size_t y) {
    s->where[s->n] = where;
    s->first[s->n] = (uint32_t)(y << 16 | x);
    s->n += where != 0;
}

/* Clears in `is` where flat places give 0, and notes other ties; `out` is where the codes go. */
AVX2_INLINE void find_ties(const tile *t, const row *above, const row *at, size_t x, size_t y,
                           uint8_t *out, __m256i is[4]) {
    const __m256i c = at->here;
    const __m256i right = _mm256_sub_epi8(at->right, c), left = _mm256_sub_epi8(at->left, c);
    const __m256i up = _mm256_sub_epi8(c, above->here);
    const __m256i ne = tied(above->right, c, right, up), nw = tied(above->left, c, left, up);
    const __m256i level_right = _mm256_cmpeq_epi8(at->right, c);
    const __m256i level_left = _mm256_cmpeq_epi8(at->left, c);
    const bit_place place = place_of(c);
    is[NE] = _mm256_andnot_si256(
        both(both(ne, level_right), bit_at(t->plan->zero[NE][0], place)), is[NE]);
    is[NW] = _mm256_andnot_si256(
        both(both(nw, level_left), bit_at(t->plan->zero[NW][0], place)), is[NW]);
    const __m256i slope_ne = _mm256_andnot_si256(level_right, ne);
    const __m256i slope_nw = _mm256_andnot_si256(level_left, nw);
    uint32_t east = (uint32_t)_mm256_movemask_epi8(slope_ne);
    uint32_t west = (uint32_t)_mm256_movemask_epi8(slope_nw);
    if (__builtin_popcount(east) >= MANY)
        east = many(t, x, y, NE, slope_ne, c, right, out, &is[NE]);
    if (__builtin_popcount(west) >= MANY)
        west = many(t, x, y, NW, slope_nw, c, left, out, &is[NW]);
    note(t->east, east, x, y);
    note(t->west, west, x, y);
}

/* 1 when a tie of a corner gives the bit 0. */
AVX2_INLINE unsigned gives_zero(const plan_avx2 *plan, int corner, unsigned c, int delta) {
    const unsigned place = (unsigned)(delta + 132) % 256;
    return (unsigned)plan->nb->tie_zero[corner][place / 8][c] >> place % 8 & 1;
}

/* The bits that a tie clears: NE or NW of its pixel, SW or SE of the other end. */
AVX2_INLINE unsigned cleared(const plan_avx2 *plan, unsigned c, int delta, int side) {
    if (delta >= -3 && delta <= 3)
        return plan->gentle[delta + 3][c] & (side > 0 ? 2 | 32 : 8 | 128);
    return gives_zero(plan, side > 0 ? NE : NW, c, delta) << (side > 0 ? 1 : 3) |
           gives_zero(plan, side > 0 ? SW : SE, c, -delta) << (side > 0 ? 5 : 7);
}

/* The tie of the pixel at (x, y) with its NE (side = 1) or NW (side = -1) corner, from both ends. */
AVX2_INLINE void settle(const tile *t, ptrdiff_t x, size_t y, int side) {
    const uint8_t *p = t->p + (ptrdiff_t)y * t->stride + x;
    const unsigned clear = cleared(t->plan, *p, p[side] - *p, side);
    if (!clear)
        return;
    uint8_t *code = t->codes + (ptrdiff_t)y * t->codes_stride + x;
    if (y < t->height && (size_t)x < t->width)
        *code = (uint8_t)(*code & ~(clear & (2 | 8)));
    code += side - t->codes_stride;
    if (y > 0 && (size_t)(x + side) < t->width)
        *code = (uint8_t)(*code & ~(clear & (32 | 128)));
}

/* Settles what was noted: first two entries a block are listed, whether there are as many or not, as
 * a loop over so few ends in a wrong guess each time. Then the column beside the tile. */
AVX2_INLINE void settle_all(const tile *t, const slopes *s, int side) {
    uint32_t list[256];
    enum { FULL = 256 - LANES - 1 };
    size_t n = 0;
    for (size_t i = 0; i < s->n; ++i) {
        uint32_t where = s->where[i];
        const size_t end = n + (size_t)__builtin_popcount(where);
        for (; n < end; n += 2, where &= where - 1) {
            list[n] = s->first[i] + _tzcnt_u32(where);
            where &= where - 1;
            list[n + 1] = s->first[i] + _tzcnt_u32(where);
        }
        n = end;
        if (n > FULL || i + 1 == s->n) {
            for (size_t k = 0; k < n; ++k)
                settle(t, list[k] & 0xffff, list[k] >> 16, side);
            n = 0;
        }
    }
    const ptrdiff_t x = side > 0 ? -1 : (ptrdiff_t)t->width;
    for (size_t y = 1; y <= t->height; ++y) {
        const uint8_t *p = t->p + (ptrdiff_t)y * t->stride + x;
        if (p[side - t->stride] == *p && p[side] + p[-t->stride] == 2 * *p)
            settle(t, x, y, side);
    }
}

AVX2_INLINE void code_row(const tile *t, const row *above, const row *at, const row *below,
                          size_t x, size_t y, uint8_t *out) {
    __m256i is[4];
    corners(above, at, below, is);
    if (t->east)
        find_ties(t, above, at, x, y, out, is);
    store(out, codes_of(above, at, below, is));
}

/* A block of 32 columns, three rows at a time, so that no row need be moved to become the one above. */
AVX2_INLINE void walk(const tile *t, size_t x) {
    const ptrdiff_t stride = t->stride, out_stride = t->codes_stride;
    const uint8_t *p = t->p + x;
    uint8_t *out = t->codes + x;
    row a = load_row(p - stride), b = load_row(p);
    size_t y = 0;
    for (; y + 3 <= t->height; y += 3, out += 3 * out_stride) {
        p += 3 * stride;
        row c = load_row(p - 2 * stride);
        code_row(t, &a, &b, &c, x, y, out);
        a = load_row(p - stride);
        code_row(t, &b, &c, &a, x, y + 1, out + out_stride);
        b = load_row(p);
        code_row(t, &c, &a, &b, x, y + 2, out + 2 * out_stride);
    }
    for (; y < t->height; ++y, out += out_stride) {
        p += stride;
        const row c = load_row(p);
        code_row(t, &a, &b, &c, x, y, out);
        a = b;
        b = c;
    }
    if (t->east) { /* ties of the last row of codes with the row below it */
        __m256i unused[4] = {b.here, b.here, b.here, b.here};
        find_ties(t, &a, &b, x, y, out, unused);
    }
}

AVX2 void lbpmap_circle1_exact_avx2(plan_avx2 *plan, const uint8_t *p, ptrdiff_t stride,
                                    size_t width, size_t height, uint8_t *codes,
                                    ptrdiff_t codes_stride) {
    const tile t = {plan, p, codes, stride, codes_stride, width, height, NULL, NULL};
    for (size_t x = 0; x < width; x += LANES)
        walk(&t, block_at(x, width));
}

AVX2 void lbpmap_circle1_released_avx2(plan_avx2 *plan, const uint8_t *p, ptrdiff_t stride,
                                       size_t width, size_t height, uint8_t *codes,
                                       ptrdiff_t codes_stride) {
    slopes east, west;
    east.n = west.n = 0;
    const tile t = {plan, p, codes, stride, codes_stride, width, height, &east, &west};
    for (size_t x = 0; x < width; x += LANES)
        walk(&t, block_at(x, width));
    settle_all(&t, &east, 1);
    settle_all(&t, &west, -1);
}
#endif
