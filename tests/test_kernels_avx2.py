"""The integer rules of the AVX2 kernels, enumerated, and pictures that take each of their turns."""

from __future__ import annotations

import math

import numpy as np
import pytest

import lbpmap
from lbpmap import _reference

needs_avx2 = pytest.mark.skipif(
    "avx2" not in lbpmap.build_info()["available"], reason="no AVX2 on this machine"
)
MILLION = 10**6
WEIGHTS = {5: (215729, 248737, 286797), 10: (862915, 66017, 5051)}
# Real weights times a positive number, as u + v sqrt(2), of near, mid and far.
REAL = {
    5: ((57, -40), (-49, 35), (43, -30)),
    10: ((114, -80), (-106, 75), (99, -70)),
}


def _triples(radius):
    """Give every feasible (a, d), and s within 40 of where the bit changes: a, s, d, as columns."""
    a, d = np.meshgrid(np.arange(-255, 256), np.arange(-255, 256))
    near, mid, far = WEIGHTS[radius]
    middle = -((near * a + far * d) // mid)
    lowest = np.maximum(0, np.maximum(-a, -d))
    highest = np.minimum(255, np.minimum(255 - a, 255 - d))
    for step in range(-40, 41):
        s = middle + step
        keep = (lowest <= highest) & (s >= -2 * highest) & (s <= 510 - 2 * lowest)
        yield a[keep], s[keep], d[keep]


def _sign(radius, a, s, d):
    """Return the sign of the real value, in integers."""
    near, mid, far = REAL[radius]
    x, y = (near[k] * a + mid[k] * s + far[k] * d for k in (0, 1))
    return np.where((x == 0) & (y == 0), 0, np.where(x * x > 2 * y * y, np.sign(x), np.sign(y)))


def _mulhi(v, factor):
    return (v * factor) >> 16


def test_radius_5_leaves_no_doubt_but_where_it_says():
    doubted = 0
    for a, s, d in _triples(5):
        inner = 32 * (a + d) + 1
        assert np.abs(inner).max(initial=0) < 2**15
        v = 7 * s + 6 * a + 8 * d + (_mulhi(inner, 18636) >> 7)
        assert np.abs(v).max(initial=0) < 2**15
        near, mid, far = WEIGHTS[5]
        np.testing.assert_array_equal(v >= 0, near * a + mid * s + far * d >= -50)
        doubt = (v == 0) & np.isin((a + d) % 256, (0, 211))
        sign = _sign(5, a, s, d)
        np.testing.assert_array_equal((v >= 0)[~doubt], (sign > 0)[~doubt])
        doubted += np.count_nonzero(doubt & (v >= 0) & (sign < 0))
    assert doubted == 13


def test_radius_10_leaves_no_doubt_but_where_it_says():
    ties = others = 0
    for a, s, d in _triples(10):
        t = 14 * a + d
        v = s + 12 * a + ((t + _mulhi(t, 14685)) >> 4)
        near, mid, far = WEIGHTS[10]
        exact = near * a + mid * s + far * d >= -50
        apart = (t == 183 * v) & (d % 256 != 0)
        np.testing.assert_array_equal((v >= 0)[~apart], exact[~apart])
        others += np.count_nonzero(apart & ((v >= 0) != exact))
        sign = _sign(10, a, s, d)
        np.testing.assert_array_equal((v >= 0), sign >= 0)
        np.testing.assert_array_equal((v == 0) & (t == 0), sign == 0)
        ties += np.count_nonzero(sign == 0)
    assert (ties, others) == (sum(1 for _ in _tie_triples()), 16)


def _tie_triples():
    """List the k of which k (1, -12, -14), a tie at R = 10, is feasible."""
    for k in range(-18, 19):
        for centre in range(256):
            near, mids, far = centre + k, 2 * centre - 12 * k, centre - 14 * k
            if 0 <= min(near, far) <= max(near, far) <= 255 and 0 <= mids <= 510:
                yield k
                break


@pytest.mark.parametrize("radius", [2, 3, 4, 6, 7, 8, 9, 11, 12, 16, 100])
def test_rounded_weights_are_nearer_than_the_margin_of_doubt(radius):
    for sample in _reference.circle(8, radius)[1::2]:
        weights = sample[3]
        millionths = [math.floor(w * MILLION + 0.5) for w in weights[:3]]
        millionths.append(MILLION - sum(millionths))
        error = sum(abs(m - w * MILLION) for m, w in zip(millionths, weights))
        assert 255 * error < 1024


def test_a_sum_in_bytes_compares_as_in_16_bits():
    """R = 1: far + q, saturated to a byte, is at least C exactly when the whole sum is."""
    centre, far = np.meshgrid(np.arange(256), np.arange(256))
    for s in range(-510, 511):
        feasible = (s >= -2 * centre) & (s <= 510 - 2 * centre)
        value = far + _mulhi(np.int64(s), 27146)
        packed = np.clip(value, 0, 255)
        np.testing.assert_array_equal((packed >= centre)[feasible], (value >= centre)[feasible])


def slopes(height, width):
    """Pictures in which every corner of one diagonal ties, but for a few kinks."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    for name, along in (("rising", x + y), ("falling", x - y + height)):
        for step in (1, 2, 3, 4, 7, 40):
            yield f"{name} {step}", (step * along) % 256
            yield f"{name} {step} back and forth", np.abs((step * along) % 510 - 255)
        walk = [128]
        while len(walk) < height + width + 8:
            by = int(rng.integers(-30, 31))
            for _ in range(rng.integers(2, 7)):
                by = by if 0 <= walk[-1] + by <= 255 else -by
                walk.append(walk[-1] + by)
        yield f"{name} at random", np.array(walk)[along]
        kinks = (3 * along) % 256 + (rng.random((height, width)) < 0.05)
        yield f"{name} with kinks", np.minimum(kinks, 255)


@needs_avx2
@pytest.mark.parametrize("width", [32, 33, 41, 63, 64, 73, 521])
@pytest.mark.parametrize("radius", [1, 3, 5, 10])
def test_slopes(radius, width):
    # Blocks of 32 and tiles of 15 rows, whole, and with rests that overlap what was done before.
    for name, picture in slopes(2 * radius + 33, 2 * radius + width):
        gray = picture.astype(np.uint8)
        for arithmetic in ("exact", "released"):
            want = _reference.lbp_codes(gray, _reference.circle(8, radius), radius, arithmetic)
            with lbpmap.use_isa("avx2"):
                got = lbpmap.lbp_codes(gray, radius, arithmetic=arithmetic)
            np.testing.assert_array_equal(got, want, err_msg=f"{name}, {arithmetic}")


@needs_avx2
@pytest.mark.parametrize("width", [512, 513, 1023, 1025, 1057, 2100, 4096, 4097, 4127, 8200])
@pytest.mark.parametrize("neighborhood", ["circular", "square"])
def test_tiles_of_wide_pictures(neighborhood, width):
    # Of 8 rows or 1, up to 4096 columns; at R = 1 ties are settled by 1024 columns.
    rng = np.random.default_rng(width)
    for radius in (1, 3, 5, 10):
        gray = rng.integers(100, 104, (2 * radius + 19, 2 * radius + width), np.uint8)
        along = np.add.outer(-3 * np.arange(len(gray)), 3 * np.arange(gray.shape[1]))
        for picture in (gray, (along % 256).astype(np.uint8)):
            for arithmetic in ("exact", "released"):
                how = {"arithmetic": arithmetic, "neighborhood": neighborhood}
                with lbpmap.use_isa("serial"):
                    want = lbpmap.lbp_codes(picture, radius, **how)
                with lbpmap.use_isa("avx2"):
                    got = lbpmap.lbp_codes(picture, radius, **how)
                np.testing.assert_array_equal(got, want, err_msg=f"R = {radius}, {arithmetic}")
        if radius == 3 or neighborhood == "square":
            continue
        name = {1: "cyclic_lbp", 5: "cyclic_lbp_5", 10: "cyclic_lbp_10"}[radius]
        want = lbpmap.map_codes(want, lbpmap.REPRESENTATIONS[name].table)
        with lbpmap.use_isa("avx2"):
            mapped = lbpmap.mapped_lbp(picture, name)
            planes = lbpmap.mapped_planes(picture, name, mean=[0, 0, 0])
        np.testing.assert_array_equal(mapped, want, err_msg=name)
        np.testing.assert_array_equal(planes, want.transpose(2, 0, 1)[::-1], err_msg=name)


@needs_avx2
def test_planes_that_pass_the_cache_by():
    rng = np.random.default_rng(1)
    gray = rng.integers(0, 256, (1202, 1202), np.uint8)  # 17 MB of planes
    mean = np.array([104.3, 0, -7.25], np.float32)
    chosen = lbpmap.REPRESENTATIONS["cyclic_lbp"]
    with lbpmap.use_isa("avx2"):
        got = lbpmap.mapped_planes(gray, chosen.name, mean=mean)
    with lbpmap.use_isa("serial"):
        want = lbpmap.mapped_planes(gray, chosen.name, mean=mean)
    np.testing.assert_array_equal(got, want)
