/* check_close_calls.h: part of test_core.c: cases in which a sample and its centre are so close that
 * the two arithmetics, or a constant slightly off, part. */
/* Triples (near - C, mid1 + mid2 - 2C, far - C): the first, and how many lie on the way that leads
 * from one tie to the next. Of each radius all true ties come first, then the triples where "exact"
 * is not the sign of the real value, as tests/test_constants.py enumerates them. */
typedef struct {
    int radius, triple[3], step[3], count;
} family;

static const family families[] = {
    {1, {0, 0, 0}, {0, 0, 0}, 1},
    {5, {-126, -36, 126}, {7, 2, -7}, 37},
    {5, {71, -223, 140}, {7, 2, -7}, 13},
    {10, {-17, 204, 238}, {1, -12, -14}, 35},
    {10, {-29, 362, 223}, {1, -12, -14}, 15},
};

/* A picture one code high in which cases of one corner lie side by side, in two columns each. */
enum { MOST_CASES = 1 << 17 };

typedef struct {
    const lbpmap_sample *corner;
    int radius;
    plane gray;
    size_t cases;
} canvas;

/* Which pixel of a corner k is: 0 near, 1 beside the centre, 2 above or below it, 3 far. */
static int role(const lbpmap_sample *s, int k) {
    const int near_row = abs(s->row[0] + s->row[1]) / 2, near_col = abs(s->col[0] + s->col[1]) / 2;
    return 2 * (abs(s->row[k / 2]) > near_row) + (abs(s->col[k % 2]) > near_col);
}

/* A centre c and the pixels c + a, mid, 2 c + s - mid, c + d, if they are pixels. */
static void draw(canvas *to, int c, int a, int s, int d, int mid) {
    const int pixel[4] = {c + a, mid, 2 * c + s - mid, c + d};
    for (int k = 0; k < 4; ++k)
        if (pixel[k] < 0 || pixel[k] > 255)
            return;
    const ptrdiff_t stride = to->gray.stride;
    uint8_t *centre = to->gray.first + to->radius * stride + to->radius + 2 * to->cases;
    for (int k = 0; k < 4; ++k)
        centre[to->corner->row[k / 2] * stride + to->corner->col[k % 2]] =
            (uint8_t)pixel[role(to->corner, k)];
    *centre = (uint8_t)c;
    if (++to->cases > MOST_CASES)
        abort();
}

/* At every centre; at R = 1 with every mid1, else with every 23rd. */
static void draw_family(canvas *to, const family *f) {
    const int every = f->radius == 1 ? 1 : 23;
    for (int j = 0; j < f->count; ++j)
        for (int c = 0; c < 256; ++c)
            for (int mid = c % every; mid < 256; mid += every)
                draw(to, c, f->triple[0] + j * f->step[0], f->triple[1] + j * f->step[1],
                     f->triple[2] + j * f->step[2], mid);
}

static int larger(int a, int b) {
    return a > b ? a : b;
}

/* The least s that gives 1 and the one below it, which a constant slightly off gets wrong: at R = 1
 * for all d, else for every thirteenth (a, d). */
static void draw_thresholds(canvas *to) {
    const int reach = to->radius == 1 ? 0 : 255, every = to->radius == 1 ? 1 : 13;
    int weight[4];
    for (int k = 0; k < 4; ++k)
        weight[role(to->corner, k)] = to->corner->millionths[k];
    for (int a = -reach; a <= reach; ++a)
        for (int d = -255 + (a + reach) % every; d <= 255; d += every) {
            const int rest = weight[0] * a + weight[3] * d + 50; /* above -4096 weight[1] */
            const int least = 4096 - (4096 * weight[1] + rest) / weight[1];
            for (int s = least - 1; s <= least; ++s) {
                const int c = larger(larger(0, -a), larger(-d, (1 - s) / 2));
                draw(to, c, a, s, d, (2 * c + s) / 2);
            }
        }
}

/* A family's triples, or the thresholds where there is none, in every corner. */
static void close_calls(int radius, const family *f, lbpmap_arithmetic arithmetic) {
    lbpmap_neighborhood nb;
    lbpmap_neighborhood_init(&nb, LBPMAP_CIRCULAR, 8, radius, arithmetic);
    const size_t rows = 1 + 2 * (size_t)radius, row_bytes = 2 * MOST_CASES + rows;
    for (int i = 1; i < 8; i += 2) {
        canvas to = {&nb.sample[i], radius, new_plane(row_bytes, rows, 0, i & 2), 0};
        memset(to.gray.memory, 0, row_bytes * rows);
        if (f)
            draw_family(&to, f);
        else
            draw_thresholds(&to);
        hold(&nb, &to.gray, 2 * to.cases, 1);
        free(to.gray.memory);
    }
}
