/* neighborhood.c: where the samples lie and what their four pixels weigh.
 *
 * This follows Oulu's lbp.m (Heikkila and Ahonen) operation by operation, because ties between a
 * sample and its centre are decided by rounding. Two of its habits matter:
 *
 *   - Coordinates are MATLAB's: the centre is at o = 1 + R, and a sample at o - R sin(i a). The
 *     fractional part is taken after that addition, which has already rounded: at R = 1 a weight
 *     is off by some 1e-16 from the product of the unrounded fractions, and a flat picture gets
 *     0 bits for 62 of the 256 grey levels. "released" keeps exactly these weights.
 *   - "exact" (0.3.3) rounds three weights to 6 decimals and gives the fourth what is left, so the
 *     four sum to one; it is kept here in integers, millionths.
 *
 * A sample within 1e-6 of a pixel is that pixel.
 *
 * No compiler may contract a product and a sum into one rounding here or in the kernels: the build
 * passes -ffp-contract=off. */
#include "lbpmap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double two_pi = 6.283185307179586476925286766559;

static void place_pixel(lbpmap_sample *s, int32_t row, int32_t col) {
    s->row[0] = s->row[1] = row;
    s->col[0] = s->col[1] = col;
    s->is_pixel = 1;
}

/* Nearest integer, halves away from zero, as MATLAB's round; C's round() is C99, but some maths
 * libraries make a call of it that is slower than this and no more exact for |v| < 2^51. */
static double nearest(double v) {
    return v < 0 ? -floor(0.5 - v) : floor(v + 0.5);
}

static int32_t millionths(double w) {
    return (int32_t)nearest(w * 1e6);
}

static void place_circular(lbpmap_sample *s, int32_t i, int32_t points, int32_t radius) {
    /* Volatile, so that GCC does not ask for both by sincos: in glibc 2.31 (Debian 11) its sine is
     * not sin's to the last place, at 15 samples for one. */
    const volatile double angle = (double)i * (two_pi / (double)points);
    const double origin = 1.0 + (double)radius;
    const double y = -(double)radius * sin(angle) + origin;
    const double x = (double)radius * cos(angle) + origin;

    if (fabs(x - nearest(x)) < 1e-6 && fabs(y - nearest(y)) < 1e-6) {
        place_pixel(s, (int32_t)(nearest(y) - origin), (int32_t)(nearest(x) - origin));
        return;
    }
    const double fy = floor(y), fx = floor(x);
    const double ty = y - fy, tx = x - fx;
    s->row[0] = (int32_t)(fy - origin);
    s->row[1] = (int32_t)(ceil(y) - origin);
    s->col[0] = (int32_t)(fx - origin);
    s->col[1] = (int32_t)(ceil(x) - origin);
    s->weight[0] = (1.0 - tx) * (1.0 - ty);
    s->weight[1] = tx * (1.0 - ty);
    s->weight[2] = (1.0 - tx) * ty;
    s->weight[3] = tx * ty;
    s->millionths[0] = millionths(s->weight[0]);
    s->millionths[1] = millionths(s->weight[1]);
    s->millionths[2] = millionths(s->weight[2]);
    s->millionths[3] = 1000000 - s->millionths[0] - s->millionths[1] - s->millionths[2];
}

/* The sum of lbp.m 0.3.2, left to right, for a corner whose diagonal is c and whose other two pixels
 * are c + delta (beside the centre) and c - delta (above or below it). */
static double tied_value(const lbpmap_sample *s, int c, int delta) {
    double sum = 0;
    for (int k = 0; k < 4; ++k) {
        const int32_t row = abs(s->row[k / 2]), col = abs(s->col[k % 2]);
        const double pixel = c + (row < col ? delta : row > col ? -delta : 0);
        sum = k ? sum + s->weight[k] * pixel : s->weight[k] * pixel;
    }
    return sum;
}

static void tabulate_ties(lbpmap_neighborhood *nb) {
    for (int corner = 0; corner < 4; ++corner)
        for (int c = 0; c < 256; ++c) {
            const int reach = c < 255 - c ? c : 255 - c; /* both pixels must exist */
            for (int delta = -reach; delta <= reach; ++delta) {
                const unsigned place = (unsigned)(delta + 132) % 256;
                if (tied_value(&nb->sample[2 * corner + 1], c, delta) >= c)
                    continue;
                nb->tie_zero[corner][place / 8][c] |= (uint8_t)(1u << (place % 8));
                const unsigned down = (unsigned)(corner < 2 ? delta : -delta) % 256;
                nb->tie_clears[down][c] |= (uint8_t)(2u << (2 * corner));
            }
        }
}

int lbpmap_neighborhood_init(lbpmap_neighborhood *out, lbpmap_layout layout, int32_t points,
                             int32_t radius, lbpmap_arithmetic arithmetic) {
    static const int32_t square[8][2] = {{0, 1},  {-1, 1}, {-1, 0}, {-1, -1},
                                         {0, -1}, {1, -1}, {1, 0},  {1, 1}};
    if (points < 1 || points > LBPMAP_MAX_POINTS || radius < 1 || radius > LBPMAP_MAX_RADIUS)
        return -1;
    if (layout == LBPMAP_SQUARE && points != 8)
        return -1;

    memset(out, 0, sizeof *out);
    out->points = points;
    out->radius = radius;
    out->arithmetic = arithmetic;
    for (int32_t i = 0; i < points; ++i) {
        if (layout == LBPMAP_SQUARE)
            place_pixel(&out->sample[i], square[i][0] * radius, square[i][1] * radius);
        else
            place_circular(&out->sample[i], i, points, radius);
    }
    if (layout == LBPMAP_CIRCULAR && points == 8 && arithmetic == LBPMAP_RELEASED)
        tabulate_ties(out);
    return 0;
}
