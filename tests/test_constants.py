"""The kernels' integer constants, enumerated from the definition of the codes.

P = 8. On a diagonal a sample lies between four pixels: the near one (towards the centre C), two mid
ones and the far one. Everything is a function of three differences,

    a = near - C,  s = mid1 + mid2 - 2 C,  d = far - C,

and a sample's bit says whether its weighted sum is at least zero. Both the integer rules and the
real value rise with s, so each is described whole by the least s that gives 1, for each (a, d); two
rules are compared over every feasible triple by comparing those thresholds.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

RADII = (1, 5, 10)
MILLION = 10**6

# Near, mid and far weights in millionths, as lbp.m 0.3.3 rounds them. At R = 1 near is the centre.
WEIGHTS = {1: (85786, 207107, 500000), 5: (215729, 248737, 286797), 10: (862915, 66017, 5051)}

# The weights are numbers u + v sqrt(2); these are (u, v) of near, mid and far, times the first.
REAL = {
    1: (2, (0, 0), (-1, 1), (1, 0)),
    5: (2, (57, -40), (-49, 35), (43, -30)),
    10: (1, (114, -80), (-106, 75), (99, -70)),
}

# Which of w1..w4 (top left, top right, bottom left, bottom right) is near, mid, mid, far.
ROLES = {1: (2, 0, 3, 1), 3: (3, 1, 2, 0), 5: (1, 0, 3, 2), 7: (0, 1, 2, 3)}


def _fractions(radius: int, sample: int, points: int = 8) -> tuple[float, float]:
    """Return tx and ty of one sample as lbp.m computes them, origin included."""
    angle = sample * (2 * math.pi / points)
    y = -radius * math.sin(angle) + (1 + radius)
    x = radius * math.cos(angle) + (1 + radius)
    return x - math.floor(x), y - math.floor(y)


def _weights(radius: int, sample: int, points: int = 8) -> tuple[float, float, float, float]:
    """Return w1..w4 of lbp.m 0.3.2, in double."""
    tx, ty = _fractions(radius, sample, points)
    return (1 - tx) * (1 - ty), tx * (1 - ty), (1 - tx) * ty, tx * ty


def _rounded(radius: int, sample: int, points: int = 8) -> tuple[int, int, int, int]:
    """Return w1..w4 of lbp.m 0.3.3 in millionths: three rounded, the fourth what is missing."""
    w1, w2, w3 = (math.floor(w * MILLION + 0.5) for w in _weights(radius, sample, points)[:3])
    return w1, w2, w3, MILLION - w1 - w2 - w3


def _pairs() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give every feasible (a, d), and for each the least and the largest feasible s.

    C runs over a whole interval for each pair, and s over 511 values for each C, two lower for the
    next C: so s runs over a whole interval too.
    """
    a, d = (v.ravel() for v in np.meshgrid(np.arange(-255, 256), np.arange(-255, 256)))
    lowest = np.maximum(0, np.maximum(-a, -d))
    highest = np.minimum(255, np.minimum(255 - a, 255 - d))
    some = lowest <= highest
    return a[some], d[some], -2 * highest[some], 510 - 2 * lowest[some]


def _plane(radius: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give the feasible pairs on which a radius depends: at R = 1 near is the centre, a = 0."""
    a, d, least, largest = _pairs()
    if radius > 1:
        return a, d, least, largest
    keep = a == 0
    return a[keep], d[keep], least[keep], largest[keep]


def _value(radius: int, a: np.ndarray, s: np.ndarray, d: np.ndarray) -> np.ndarray:
    """S of the "exact" rule, in millionths."""
    near, mid, far = WEIGHTS[radius]
    return near * a + mid * s + far * d


def _exact(radius: int, a: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Return the least s with S >= -50."""
    near, mid, far = WEIGHTS[radius]
    return -((50 + near * a + far * d) // mid)


def _surd(
    radius: int, a: np.ndarray, s: np.ndarray, d: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return integers X, Y: sample minus centre is (X + Y sqrt(2)) / REAL[radius][0]."""
    _, near, mid, far = REAL[radius]
    return tuple(n * a + m * s + f * d for n, m, f in zip(near, mid, far))  # type: ignore[return-value]


def _sign(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the sign of x + y sqrt(2), in integers."""
    larger = np.where(x * x > 2 * y * y, np.sign(x), np.sign(y))
    return np.where((x == 0) & (y == 0), 0, larger)


def _real(radius: int, a: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Return the least s whose real value is at least zero."""
    _, near, mid, far = (w if isinstance(w, int) else w[0] + w[1] * 2**0.5 for w in REAL[radius])
    s = np.ceil(-(near * a + far * d) / mid).astype(np.int64) + 1
    for _ in range(2):
        s = np.where(_sign(*_surd(radius, a, s - 1, d)) >= 0, s - 1, s)
    assert (_sign(*_surd(radius, a, s, d)) >= 0).all()
    assert (_sign(*_surd(radius, a, s - 1, d)) < 0).all()
    return s


def _mulhi(v: np.ndarray, factor: int) -> np.ndarray:
    return (v * factor) >> 16


def _differing(radius: int, one: np.ndarray, other: np.ndarray) -> set[tuple[int, int, int]]:
    """List the feasible (a, s, d) at which two thresholds give different bits."""
    a, d, least, largest = _plane(radius)
    low = np.maximum(np.minimum(one, other), least)
    high = np.minimum(np.maximum(one, other) - 1, largest)
    return {
        (int(a[k]), s, int(d[k]))
        for k in np.flatnonzero(low <= high)
        for s in range(int(low[k]), int(high[k]) + 1)
    }


def test_the_feasible_pairs_are_what_bytes_allow() -> None:
    # By brute force on a coarser byte of 16 levels, then the count of the real one.
    c, p, q, r = (v.ravel() for v in np.meshgrid(*[np.arange(16)] * 4))
    brute = set(zip((p - c).tolist(), (q + r - 2 * c).tolist()))
    by_interval = set()
    for d in range(-15, 16):
        lowest, highest = max(0, -d), min(15, 15 - d)
        by_interval |= {(d, s) for s in range(-2 * highest, 30 - 2 * lowest + 1)}
    assert by_interval == brute
    _, _, least, largest = _plane(1)
    assert int((largest - least + 1).sum()) == 391_171
    assert len(_pairs()[0]) == 195_841


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("sample", ROLES)
def test_weights_in_millionths(radius: int, sample: int) -> None:
    near, mid, other, far = (_rounded(radius, sample)[k] for k in ROLES[sample])
    assert mid == other
    assert (near, mid, far) == WEIGHTS[radius]
    assert near + 2 * mid + far == MILLION


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("sample", ROLES)
def test_real_weights(radius: int, sample: int) -> None:
    scale, *surds = REAL[radius]
    expected = [(u + v * 2**0.5) / scale for u, v in surds]
    near, mid, _, far = (_weights(radius, sample)[k] for k in ROLES[sample])
    first = 1 if radius == 1 else 0
    error = np.abs(np.subtract([near, mid, far], expected))[first:].max()
    # Four products and sums of bytes: "released" is off by less than this, and the least distance
    # that is no tie is a million times it. So it is the sign of the real value, ties apart.
    assert 255 * (4 * error + 8 * np.finfo(float).eps) < 1e-11


def test_where_the_fourth_weight_differs_from_its_rounded_twin() -> None:
    def differs(radius: int) -> bool:
        return any(
            _rounded(radius, sample)[3] != math.floor(_weights(radius, sample)[3] * MILLION + 0.5)
            for sample in ROLES
        )

    assert [r for r in range(1, 19) if differs(r)] == [2, 3, 4, 7, 8, 11, 12, 16, 18]


def test_rounding_to_four_decimals_is_the_threshold_of_minus_fifty() -> None:
    # N is a whole number of millionths, never negative; MATLAB rounds halves away from zero.
    for centre in range(256):
        for s in range(-160, 161):
            n = Fraction(centre) + Fraction(s, MILLION)
            if n >= 0:
                rounded = Fraction(math.floor(n * 10**4 + Fraction(1, 2)), 10**4)
                assert (rounded >= centre) == (s >= -50)


@pytest.mark.parametrize(("radius", "expected"), [(1, []), (5, []), (10, [(-15, 194, 27)])])
def test_where_the_threshold_itself_occurs(
    radius: int, expected: list[tuple[int, int, int]]
) -> None:
    a, d, least, largest = _plane(radius)
    s = _exact(radius, a, d)
    at = (_value(radius, a, s, d) == -50) & (s >= least) & (s <= largest)
    assert list(zip(a[at].tolist(), s[at].tolist(), d[at].tolist())) == expected


def test_radius_1_in_16_bits_has_one_constant() -> None:
    _, d, least, largest = _plane(1)
    assert np.abs(d).max() + 510 < 2**15
    # Here the roles of s and d are exchanged: the rules are written as the least d for each s.
    s = np.arange(-510, 511)
    lowest, highest = np.maximum(0, -(s // 2)), np.minimum(255, (510 - s) // 2)
    first, last = -highest, 255 - lowest
    exact = np.clip(-((50 + 207107 * s) // 500000), first, last + 1)
    right = [
        constant
        for constant in range(2**16)
        if np.array_equal(np.clip(-_mulhi(s, constant), first, last + 1), exact)
    ]
    assert right == [27146]
    # And pair by pair, as the kernels compute it.
    wide_d, wide_s = np.meshgrid(np.arange(-255, 256), s)
    row = wide_d + 255
    feasible = (wide_s >= least[np.argsort(d)][row]) & (wide_s <= largest[np.argsort(d)][row])
    bits = wide_d + _mulhi(wide_s, 27146) >= 0
    assert feasible.sum() == 391_171
    assert np.array_equal(bits[feasible], (_value(1, 0, wide_s, wide_d) >= -50)[feasible])


def test_radius_5_in_16_bits() -> None:
    a, d, least, largest = _plane(5)
    inner = 32 * (a + d) + 1
    assert np.abs(inner).max() < 2**15
    assert max(np.abs(7 * s + 6 * a + 8 * d).max() for s in (least, largest)) + 255 < 2**15
    rest = 6 * a + 8 * d + (_mulhi(inner, 18636) >> 7)
    assert _differing(5, -(rest // 7), _exact(5, a, d)) == set()


SIXTEEN = {(-29 + j, 362 - 12 * j, 223 - 14 * j) for j in range(15)} | {(17, -204, -238)}


def test_radius_10_in_16_bits_is_the_sign_of_the_real_value() -> None:
    a, d, least, largest = _plane(10)
    t = 14 * a + d
    assert np.abs(t + _mulhi(t, 14685)).max() < 2**15
    assert max(np.abs(s + 12 * a).max() for s in (least, largest)) + 2**9 < 2**15
    horner = -(12 * a + ((t + _mulhi(t, 14685)) >> 4))
    assert _differing(10, horner, _real(10, a, d)) == set()
    assert _differing(10, horner, _exact(10, a, d)) == SIXTEEN


def _listed(triples: set[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, s, d = np.array(sorted(triples)).T
    return a, s, d


def test_where_exact_is_not_the_sign_of_the_real_value() -> None:
    apart = {}
    for radius in RADII:
        a, d, _, _ = _plane(radius)
        apart[radius] = _differing(radius, _exact(radius, a, d), _real(radius, a, d))
    assert apart[1] == set()
    assert len(apart[5]) == 13
    assert apart[10] == SIXTEEN
    # The 15 lie below zero, and the rule says 1; the tie is the one the rule puts at 0.
    a, s, d = _listed(SIXTEEN - {(17, -204, -238)})
    assert (_sign(*_surd(10, a, s, d)) < 0).all()
    assert (_value(10, a, s, d) >= -50).all()
    a, s, d = _listed({(17, -204, -238)})
    assert _sign(*_surd(10, a, s, d)).tolist() == [0]
    assert _value(10, a, s, d).tolist() == [-51]


@pytest.mark.parametrize(
    ("radius", "step", "families"),
    [(1, (0, 0, 0), 1), (5, (7, 2, -7), 37), (10, (1, -12, -14), 35)],
)
def test_true_ties(radius: int, step: tuple[int, int, int], families: int) -> None:
    a, d, least, largest = _plane(radius)
    s = _real(radius, a, d)
    tie = (_sign(*_surd(radius, a, s, d)) == 0) & (s >= least) & (s <= largest)
    found = set(zip(a[tie].tolist(), s[tie].tolist(), d[tie].tolist()))
    half = families // 2
    assert found == {tuple(k * v for v in step) for k in range(-half, half + 1)}
    assert len(found) == families


@pytest.mark.parametrize(("radius", "distance"), [(1, 1.046e-3), (5, 1.275e-5), (10, 2.551e-5)])
def test_smallest_distance_that_is_no_tie(radius: int, distance: float) -> None:
    a, d, least, largest = _plane(radius)
    threshold = _real(radius, a, d)
    smallest = math.inf
    for s in (threshold - 1, threshold, threshold + 1):
        x, y = _surd(radius, a, s, d)
        keep = (s >= least) & (s <= largest) & ((x != 0) | (y != 0))
        x, y = x[keep], y[keep]
        # (x + y sqrt 2) = (x x - 2 y y) / (x - y sqrt 2): no cancellation where it is small.
        conjugate = np.abs(x) + np.abs(y) * 2**0.5
        direct = np.where(
            x * y < 0, np.abs(x * x - 2 * y * y) / np.maximum(conjugate, 1), conjugate
        )
        smallest = min(smallest, float(direct.min()))
    assert smallest / REAL[radius][0] == pytest.approx(distance, rel=4e-4)


@pytest.mark.parametrize(
    ("radius", "levels", "diagonals"),
    [(1, 62, (51, 60, 0, 0)), (5, 25, (16, 9, 1, 0)), (10, 90, (18, 0, 43, 34))],
)
def test_flat_pictures_in_released_arithmetic(
    radius: int, levels: int, diagonals: tuple[int, ...]
) -> None:
    level = np.arange(256, dtype=np.float64)
    zero = []
    for sample in (1, 3, 5, 7):
        w1, w2, w3, w4 = _weights(radius, sample)
        zero.append(((w1 * level + w2 * level) + w3 * level) + w4 * level < level)
    assert tuple(int(bits.sum()) for bits in zero) == diagonals
    assert int(np.any(zero, axis=0).sum()) == levels


def test_radius_1_by_fours_of_pixels() -> None:
    # With Q = s - d, the bit d + 0.41421 s >= 0 is d + 0.292893 Q >= 0.
    d, s = np.meshgrid(np.arange(-255, 256), np.arange(-510, 511))
    lowest = np.maximum(np.maximum(0, -d), -(s // 2))
    highest = np.minimum(np.minimum(255, 255 - d), (510 - s) // 2)
    feasible = lowest <= highest
    d, s = d[feasible], s[feasible]
    assert len(d) == 391_171
    exact = _value(1, 0, s, d) >= -50
    assert np.array_equal(d + _mulhi(s - d, 19195) >= 0, exact)
    assert np.abs(s - d).max() == 510
    # vpshldw keeps the two upper bits of a value, or the ten: both signs, as it is so small.
    assert np.abs(d).max() + np.abs(_mulhi(s - d, 19195)).max() < 2**14


def test_radius_5_in_16_bits_is_the_sign_of_the_real_value_with_another_factor() -> None:
    a, d, _, _ = _plane(5)
    rest = 6 * a + 8 * d + (_mulhi(32 * (a + d), 18632) >> 7)
    assert _differing(5, -(rest // 7), _real(5, a, d)) == set()


def test_where_radius_10_needs_more_than_16_bits() -> None:
    a, s, d = _listed(SIXTEEN - {(17, -204, -238)})
    assert set(zip((s + 12 * a).tolist(), (14 * a + d).tolist())) == {(14, -183)}
    # near = C + 17 and far = C - 238 are bytes for one C only.
    assert [c for c in range(256) if c + 17 <= 255 and c - 238 >= 0] == [238]


def test_southern_ties_of_radius_1_are_zero_on_one_side_only() -> None:
    level = np.arange(256, dtype=np.float64)
    for sample, sign in ((5, -1), (7, 1)):
        weights = _weights(1, sample)
        zeros = {}
        for delta in range(-127, 128):
            # Left of the centre is w1 of SW; right of it is w2 of SE; below is the other mid.
            beside, below = (0, 3) if sample == 5 else (1, 2)
            pixels = {beside: level + delta, below: level - delta}
            p = [pixels.get(k, level) for k in range(4)]
            v = ((weights[0] * p[0] + weights[1] * p[1]) + weights[2] * p[2]) + weights[3] * p[3]
            possible = (np.abs(delta) <= level) & (np.abs(delta) <= 255 - level)
            zeros[delta] = int(((v < level) & possible).sum())
        assert all(count == 0 for delta, count in zeros.items() if delta * sign <= 0)
        assert any(zeros.values())


def test_rounded_weights_move_a_sum_by_less_than_800_millionths() -> None:
    for points in range(1, 17):
        for radius in (*range(1, 40), 100, 1000, 2378, 8119, 16384):
            for sample in range(points):
                real = np.multiply(_weights(radius, sample, points), MILLION)
                whole = np.array(_rounded(radius, sample, points))
                assert 255 * np.abs(real - whole).sum() < 800
                # Three digits of base 128 hold them, the upper one signed.
                assert -128 < whole.min() <= whole.max() <= MILLION < 2**21


GREY = (0.298936021293775, 0.587043074451121, 0.114020904255103)


def test_grey_in_integers_is_the_rounded_sum_for_every_colour() -> None:
    blue = np.arange(256, dtype=np.int64)
    green = blue[:, None]
    distance = math.inf
    for red in range(256):
        real = (GREY[0] * red + GREY[1] * green) + GREY[2] * blue
        grey = np.floor(real + 0.5)
        distance = min(distance, float(np.abs(real - np.floor(real) - 0.5).min()))
        for a, b, c in ((1253830, 2462235, 478239), (1253829, 2462237, 478238)):
            assert np.array_equal((a * red + b * green + c * blue + 2**21) >> 22, grey)
        # The three factors sum to 2**22, so that grey is green plus a function of two differences.
        r, b = red - green, blue - green
        assert np.array_equal(green + ((1253830 * r + 478239 * b + 2**21) >> 22), grey)
        # And that function fits 16 bits.
        low = _mulhi(69 * r - 106 * b, 32076) >> 6
        assert np.array_equal(green + ((76 * r + 30 * b + 128 + low) >> 8), grey)
    assert distance == pytest.approx(4.5647e-6, rel=1e-4)


def test_grey_in_integers_does_not_overflow() -> None:
    assert 1253830 + 2462235 + 478239 == 1253829 + 2462237 + 478238 == 2**22
    assert 255 * 2**22 + 2**21 < 2**31
    r, b = np.meshgrid(np.arange(-255, 256), np.arange(-255, 256))
    feasible = np.abs(r - b) <= 255
    r, b = r[feasible], b[feasible]
    product, head = 69 * r - 106 * b, 76 * r + 30 * b + 128
    assert np.abs(product).max() < 2**15
    assert np.abs(head).max() + np.abs(_mulhi(product, 32076) >> 6).max() < 2**15


def _sqdmulh(v: np.ndarray, factor: int) -> np.ndarray:
    """NEON's high half of the doubled product, in lanes of 16 bits."""
    assert max(abs(v.max()), abs(v.min()), factor) < 2**15
    return (v * factor) >> 15


def test_neon_halves_even_constants() -> None:
    v = np.arange(-(2**15) + 1, 2**15)
    for constant in (27146, 32076):
        assert np.array_equal(_sqdmulh(v, constant // 2), _mulhi(v, constant))


def test_neon_radius_5_and_10_in_16_bits() -> None:
    a, d, least, largest = _plane(5)
    for start, factor, rule in ((1, 9318, _exact), (0, 9316, _real)):
        rest = 6 * a + 8 * d + (_sqdmulh(32 * (a + d) + start, factor) >> 7)
        assert max(np.abs(7 * s + rest).max() for s in (least, largest)) < 2**15
        assert _differing(5, -(rest // 7), rule(5, a, d)) == set()
    rest = 12 * a + (_sqdmulh(8 * (14 * a + d), 20056) >> 6)
    assert max(np.abs(s + rest).max() for s in (least, largest)) < 2**15
    assert _differing(10, -rest, _real(10, a, d)) == set()


@pytest.mark.parametrize("radius", RADII)
def test_true_ties_have_two_zeros(radius: int) -> None:
    # Of the 16-bit forms u + floor(factor x / 2^n), times a power of two.
    a, d, least, largest = _plane(radius)
    s = _real(radius, a, d)
    u, x = {
        1: (d, s),
        5: (7 * s + 6 * a + 8 * d, a + d),
        10: (s + 12 * a, 14 * a + d),
    }[radius]
    feasible = (s >= least) & (s <= largest)
    tie = _sign(*_surd(radius, a, s, d)) == 0
    assert np.array_equal(((u == 0) & (x == 0))[feasible], tie[feasible])


def test_weights_in_two_digits_do_not_overflow() -> None:
    for radius in range(1, 65):
        for sample in (1, 3, 5, 7):
            weights = np.array(_rounded(radius, sample))
            high = (weights + 2**15) >> 16
            low = weights - 2**16 * high
            assert np.abs(low).max() <= 2**15 - 1
            # The largest sum of the upper digits, and what the lower ones carry into it.
            assert 255 * np.abs(high).sum() + ((255 * np.abs(low).sum() + 50) >> 16) < 2**15
