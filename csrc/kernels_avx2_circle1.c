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
 * on C and on how much pixels grow downwards (lbpmap_neighborhood.tie_clears). A tie between a centre
 * and its NE or NW corner is also one between that corner's pixel, which equals the centre, and the
 * centre as its SW or SE corner: so only the upper corners are looked at, and each answer serves both
 * ends. A centre that ties with both has the same growth in both: one byte a pixel answers for all.
 * Ties are found in bytes, modulo 256: what the modulus adds is harmless, as the table is 0 there.
 *
 * They are settled before the codes are made, block by block, into bytes of their own, the bits to be
 * cleared; the walk then needs but three loads and six operations for all four corners. How depends
 * on how many there are in a row of 32, as a branch for each would often be guessed wrong:
 *
 *   few     listed, and settled one by one in a loop that does nothing else
 *   many    flat places by vpshufb, once for all rows of the same pixels
 *   slopes  where many: all 32 lanes are loaded, ties or not (avx2_ties.h)
 *
 * So the time has a bound: on Zen 3 "released" costs 1.75 times as much as "exact" on photos, 1.55 times
 * on flat pictures, 2 to 2.7 times on enlarged faces, and 2.8 times on slopes of any kind; 3.3 times
 * there where another thread shares the core. */
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

enum {
    EAST = 2 | 32,  /* the bits of a code at both ends of a tie with the NE corner */
    WEST = 8 | 128, /* with the NW corner */
    PART = 1024,    /* columns of a tile whose ties are settled together */
    ROWS = TILE_ROWS + 1,
    STRIDE = PART + 2 * LANES, /* rows of ties: a column on either side belongs to the tile */
    MANY = 4,   /* ties in 32 pixels from which flat places go together */
    DENSE = 6   /* slopes in 32 pixels from which all lanes are looked up */
};

/* What is known of a block of 32 columns. */
typedef struct {
    uint8_t pixels[(ROWS + 1) * STRIDE]; /* from the row above it on */
    uint16_t dense[ROWS][LANES];      /* what to look up in rows of many slopes */
    __m256i looked_up, flat;          /* centres, and the bits that flat places there clear */
    const plan_avx2 *plan;
    size_t n, n_dense;                /* rows with few ties, and with many */
    size_t dense_at[ROWS];            /* where such a row begins */
    uint32_t at[ROWS], where[ROWS];   /* where a row with few begins, and its lanes that tie */
    volatile uint16_t list[ROWS * DENSE]; /* volatile: gcc would join neighbours, at twice the cost */
} block;

AVX2_INLINE void look_up_flat(block *b, __m256i c) {
    const bit_place place = place_of(c);
    const __m256i ne = both(bit_at(b->plan->flat[NE], place), _mm256_set1_epi8(2));
    const __m256i nw = both(bit_at(b->plan->flat[NW], place), _mm256_set1_epi8(8));
    b->looked_up = c;
    b->flat = _mm256_or_si256(ne, nw);
}

typedef struct {
    __m256i left, here, right;
} pixels;

AVX2_INLINE pixels load_pixels(const uint8_t *p) {
    const pixels r = {load(p - 1), load(p), load(p + 1)};
    return r;
}

/* A tie: far = C, and side + above = 2C. */
AVX2_INLINE __m256i tied(__m256i far, __m256i side, __m256i above, __m256i c) {
    return both(_mm256_cmpeq_epi8(far, c),
                _mm256_cmpeq_epi8(_mm256_add_epi8(side, above), _mm256_add_epi8(c, c)));
}

/* The ties of a row, which begins at `at` in `ties`: to there go the bits that they may clear. */
AVX2_INLINE void find_ties(block *b, const pixels *above, const pixels *row, size_t at,
                           uint8_t *ties) {
    const __m256i c = row->here, up = above->here;
    const __m256i ne = tied(above->right, row->right, up, c);
    const __m256i nw = tied(above->left, row->left, up, c), any = _mm256_or_si256(ne, nw);
    __m256i bits = _mm256_or_si256(both(ne, _mm256_set1_epi8(EAST)),
                                   both(nw, _mm256_set1_epi8((char)WEST)));
    uint32_t where = (uint32_t)_mm256_movemask_epi8(any);
    if (__builtin_popcount(where) >= MANY) {
        const __m256i slopes = _mm256_andnot_si256(_mm256_cmpeq_epi8(up, c), any);
        where = (uint32_t)_mm256_movemask_epi8(slopes);
        if (__builtin_popcount(where) >= DENSE) {
            store_indices(b->dense[b->n_dense], c, _mm256_sub_epi8(c, up));
            b->dense_at[b->n_dense++] = at;
            where = 0;
        } else {
            const __m256i same = _mm256_cmpeq_epi8(c, b->looked_up);
            if (!_mm256_testc_si256(same, _mm256_set1_epi8(-1)))
                look_up_flat(b, c);
            bits = both(bits, _mm256_or_si256(b->flat, slopes));
        }
    }
    store(b->pixels + STRIDE + at, c);
    store(ties + at, bits);
    b->at[b->n] = (uint32_t)at;
    b->where[b->n] = where;
    b->n += where != 0;
}

/* Settles what was left in rows of few ties: it goes through a list, of three entries a row whether
 * there are as many or not, as a loop over so few ends in a wrong guess each time. */
AVX2_INLINE void settle_few(block *b, uint8_t *ties) {
    const uint8_t *clears = b->plan->nb->tie_clears[0], *pixel = b->pixels + STRIDE;
    size_t n = 0;
    for (size_t k = 0; k < b->n; ++k) {
        uint32_t where = b->where[k];
        volatile uint16_t *to = b->list + n;
        n += (size_t)__builtin_popcount(where);
        to[0] = (uint16_t)(b->at[k] + _tzcnt_u32(where));
        where = _blsr_u32(where);
        to[1] = (uint16_t)(b->at[k] + _tzcnt_u32(where));
        where = _blsr_u32(where);
        to[2] = (uint16_t)(b->at[k] + _tzcnt_u32(where));
        where = _blsr_u32(where);
        for (to += 3; where; where = _blsr_u32(where))
            *to++ = (uint16_t)(b->at[k] + _tzcnt_u32(where));
    }
    for (size_t k = 0; k < n; ++k) {
        const size_t i = b->list[k];
        const unsigned c = pixel[i], down = (c - (pixel - STRIDE)[i]) & 255;
        ties[i] &= clears[down << 8 | c];
    }
}

/* The ties of a block: puts into each of `rows` rows of `ties` which bits they clear, at both ends. */
static AVX2 void settle_block(block *b, const uint8_t *p, ptrdiff_t stride, size_t rows,
                              uint8_t *ties) {
    b->n = b->n_dense = 0;
    pixels above = load_pixels(p - stride);
    store(b->pixels, above.here);
    size_t at = 0;
    for (; rows >= 2; rows -= 2, p += 2 * stride, at += 2 * STRIDE) {
        const pixels row = load_pixels(p);
        find_ties(b, &above, &row, at, ties);
        above = load_pixels(p + stride);
        find_ties(b, &row, &above, at + STRIDE, ties);
    }
    if (rows) {
        const pixels row = load_pixels(p);
        find_ties(b, &above, &row, at, ties);
    }
    settle_few(b, ties);
    for (size_t k = 0; k < b->n_dense; ++k) {
        uint8_t *to = ties + b->dense_at[k];
        store(to, both(load(to), cleared_bits(b->plan->nb, b->dense[k])));
    }
}

/* The same for a pixel beside the tile, whose NE (side = 1) or NW (side = -1) corner is in it. */
AVX2_INLINE uint8_t settle_beside(const plan_avx2 *plan, const uint8_t *p, ptrdiff_t stride,
                                  int side) {
    const uint8_t *above = p - stride;
    if (above[side] != *p || p[side] + *above != 2 * *p)
        return 0;
    const unsigned clears = plan->nb->tie_clears[(*p - *above) & 255][*p];
    return (uint8_t)(clears & (side > 0 ? EAST : WEST));
}

/* `ties` is a pixel's place in the rows of ties; NULL for "exact". */
AVX2_INLINE void code_row(const row *above, const row *at, const row *below, const uint8_t *ties,
                          uint8_t *out) {
    __m256i is[4];
    corners(above, at, below, is);
    __m256i codes = codes_of(above, at, below, is);
    if (ties) {
        const uint8_t *under = ties + STRIDE;
        const __m256i own = both(load(ties), _mm256_set1_epi8(2 | 8));
        const __m256i left = both(load(under - 1), _mm256_set1_epi8(32));
        const __m256i right = both(load(under + 1), _mm256_set1_epi8((char)128));
        codes = _mm256_andnot_si256(_mm256_or_si256(own, _mm256_or_si256(left, right)), codes);
    }
    store(out, codes);
}

/* A block of 32 columns, three rows at a time, so that no row need be moved to become the one above. */
AVX2_INLINE void walk(const uint8_t *p, ptrdiff_t stride, size_t height, const uint8_t *ties,
                      uint8_t *out, ptrdiff_t out_stride) {
    row a = load_row(p - stride), b = load_row(p);
    size_t y = 0;
    for (; y + 3 <= height; y += 3, out += 3 * out_stride) {
        p += 3 * stride;
        row c = load_row(p - 2 * stride);
        code_row(&a, &b, &c, ties ? ties + y * STRIDE : NULL, out);
        a = load_row(p - stride);
        code_row(&b, &c, &a, ties ? ties + (y + 1) * STRIDE : NULL, out + out_stride);
        b = load_row(p);
        code_row(&c, &a, &b, ties ? ties + (y + 2) * STRIDE : NULL, out + 2 * out_stride);
    }
    for (; y < height; ++y, out += out_stride) {
        p += stride;
        const row c = load_row(p);
        code_row(&a, &b, &c, ties ? ties + y * STRIDE : NULL, out);
        a = b;
        b = c;
    }
}

AVX2 void lbpmap_circle1_exact_avx2(plan_avx2 *plan, const uint8_t *p, ptrdiff_t stride,
                                    size_t width, size_t height, uint8_t *codes,
                                    ptrdiff_t codes_stride) {
    (void)plan;
    for (size_t x = 0; x < width; x += LANES) {
        const size_t at = block_at(x, width);
        walk(p + at, stride, height, NULL, codes + at, codes_stride);
    }
}

/* At most PART columns of a tile. */
static AVX2 void released_part(block *b, const uint8_t *p, ptrdiff_t stride, size_t width,
                               size_t height, uint8_t *codes, ptrdiff_t codes_stride) {
    __m256i ties[ROWS * STRIDE / LANES]; /* bytes, aligned */
    uint8_t *first = (uint8_t *)ties + LANES;
    for (size_t x = 0; x < width; x += LANES) {
        const size_t at = block_at(x, width);
        settle_block(b, p + at, stride, height + 1, first + at);
    }
    for (size_t y = 1; y <= height; ++y) {
        const uint8_t *q = p + (ptrdiff_t)y * stride;
        first[y * STRIDE - 1] = settle_beside(b->plan, q - 1, stride, 1);
        first[y * STRIDE + width] = settle_beside(b->plan, q + width, stride, -1);
    }
    for (size_t x = 0; x < width; x += LANES) {
        const size_t at = block_at(x, width);
        walk(p + at, stride, height, first + at, codes + at, codes_stride);
    }
}

AVX2 void lbpmap_circle1_released_avx2(plan_avx2 *plan, const uint8_t *p, ptrdiff_t stride,
                                       size_t width, size_t height, uint8_t *codes,
                                       ptrdiff_t codes_stride) {
    block b;
    b.plan = plan;
    look_up_flat(&b, _mm256_setzero_si256());
    for (size_t next = 0; next < width;) {
        const size_t x = block_at(next, width), n = width - x < PART ? width - x : PART;
        released_part(&b, p + x, stride, n, height, codes + x, codes_stride);
        next = x + n;
    }
}
#endif
