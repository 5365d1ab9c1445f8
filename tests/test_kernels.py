"""The C core against its readable twin, on every instruction set that is here."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lbpmap
import lbpmap.pictures
from lbpmap import _isa, _kernels, _reference

ISAS = lbpmap.build_info()["available"]
ARITHMETICS = ["exact", "released"]
PHOTO = Path(lbpmap.__file__).parent / "astronaut.png"
RADII = [1, 5, 10]
# Around the edges of vector registers and of the serial kernel's chunks.
WIDTHS = [1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 255, 256, 257, 300]


@pytest.fixture(params=ISAS)
def isa(request):
    with lbpmap.use_isa(request.param):
        yield request.param


def expected(gray, radius, arithmetic, points=8, neighborhood="circular"):
    samples = (
        _reference.circle(points, radius)
        if neighborhood == "circular"
        else _reference.square(radius)
    )
    return _reference.lbp_codes(gray, samples, radius, arithmetic)


def pictures(radius, width=70, height=9):
    """Pictures of every character, so large that the result is `height` x `width`, and a photo."""
    shape = (height + 2 * radius, width + 2 * radius)
    rng = np.random.default_rng(radius)
    y, x = np.mgrid[: shape[0], : shape[1]]
    yield "random", rng.integers(0, 256, shape, np.uint8)
    yield "two-level", rng.choice(np.array([17, 201], np.uint8), shape)
    # A difference of 128 is its own opposite modulo 256.
    yield "halves", rng.choice(np.array([29, 157], np.uint8), shape)
    yield "close", rng.integers(100, 104, shape, np.uint8)
    yield "extremes", rng.choice(np.array([0, 1, 2, 3, 127, 128, 252, 254, 255], np.uint8), shape)
    for step in (1, 2, 5):
        yield f"ramp {step}", ((step * x) % 256).astype(np.uint8)
        yield f"steep ramp {step}", ((step * y + 3 * x) % 256).astype(np.uint8)
    # Slopes that change every few pixels: ties of many kinds beside each other.
    steps = np.repeat(rng.integers(-20, 21, sum(shape)), rng.integers(2, 7, sum(shape)))
    levels = np.abs((np.cumsum(steps) + 128) % 510 - 255)
    for name, along in (("rising", x + y), ("falling", x - y + shape[0])):
        yield f"{name} slopes", levels[along].astype(np.uint8)
    blocks = np.kron(rng.integers(0, 256, (9, 13)), np.ones((8, 8)))
    yield "blocks", blocks[: shape[0], : shape[1]].astype(np.uint8)
    photo = lbpmap.to_gray(lbpmap.pictures.read(PHOTO))
    yield "photo", photo[60 : 60 + shape[0], 60 : 60 + shape[1]]


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("radius", [*RADII, 2, 3, 7])
def test_codes_equal_the_reference(isa, radius, arithmetic):
    for name, gray in pictures(radius):
        got = lbpmap.lbp_codes(gray, radius, arithmetic=arithmetic)
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, expected(gray, radius, arithmetic), err_msg=name)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("radius", RADII)
def test_flat_pictures_of_all_levels(isa, radius, arithmetic):
    side = 2 * radius + 1
    flat = [np.full((side, side), level, np.uint8) for level in range(256)]
    codes = [int(code[0, 0]) for code in lbpmap.lbp_codes(flat, radius, arithmetic=arithmetic)]
    assert codes == [int(expected(picture, radius, arithmetic)[0, 0]) for picture in flat]
    not_all_ones = {"exact": 0, "released": {1: 62, 5: 25, 10: 90}[radius]}[arithmetic]
    assert sum(code != 255 for code in codes) == not_all_ones


def test_every_tie_of_radius_1(isa):
    """All 32,768 pairs of a centre and a delta, with a tie in each of the four corners."""
    centre, delta = np.mgrid[0:256, -127:128]
    possible = (np.abs(delta) <= centre) & (np.abs(delta) <= 255 - centre)
    c, d = centre[possible], delta[possible]
    assert len(c) == 32768
    patches = np.array([[c, c - d, c], [c + d, c, c + d], [c, c - d, c]], np.uint8)
    picture = patches.reshape(3, 3, 128, 256).transpose(2, 0, 3, 1).reshape(3 * 128, 3 * 256)
    for arithmetic in ARITHMETICS:
        got = lbpmap.lbp_codes(picture, arithmetic=arithmetic)
        np.testing.assert_array_equal(got, expected(picture, 1, arithmetic))
    tied = lbpmap.lbp_codes(picture, arithmetic="released")[::3, ::3].ravel() & 0b10101010
    assert 0 < np.count_nonzero(tied != 0b10101010) < len(c)


def close_triples(radius):
    """Triples (near - C, mid1 + mid2 - 2 C, far - C) whose sample is within 1e-4 of the centre: all
    ties, and all in which "exact" is not the sign of the real value."""
    near, mid, far = {5: (215729, 248737, 286797), 10: (862915, 66017, 5051)}[radius]
    a, d = np.meshgrid(np.arange(-255, 256), np.arange(-255, 256))
    s = np.round(-(near * a + far * d) / mid).astype(int)
    keep = np.abs(near * a + mid * s + far * d) <= 100
    return list(zip(a[keep].tolist(), s[keep].tolist(), d[keep].tolist()))


def corner_square(radius, centre, near, far, beside, above):
    """A square of 2 R + 1 pixels whose four corners hold the same pixels about the centre."""
    square = np.full((2 * radius + 1, 2 * radius + 1), centre, np.uint8)
    for rows, cols, is_pixel, _ in _reference.circle(8, radius):
        for y, x in () if is_pixel else itertools.product(rows, cols):
            ends = near if abs(y) == min(map(abs, rows)) else far
            value = beside if abs(x) > abs(y) else above if abs(x) < abs(y) else ends
            square[radius + y, radius + x] = value
    return square


def corner_picture(radius, triples):
    """Squares of every triple at every centre it can have; the mid pixels parted in many ways."""
    squares = []
    for (a, s, d), centre in itertools.product(triples, range(256)):
        total = s + 2 * centre
        least, most = max(0, total - 255), min(255, total)
        if least <= most and min(a, d) >= -centre and max(a, d) <= 255 - centre:
            mid = least + 7 * centre % (most - least + 1)
            ends = (centre + a, centre + d)
            squares.append(corner_square(radius, centre, *ends, mid, total - mid))
    return np.concatenate(squares, axis=1)


@pytest.mark.parametrize("radius", [5, 10])
def test_every_triple_the_rules_hang_on(radius):
    triples = close_triples(radius)
    step = {5: (7, 2, -7), 10: (1, -12, -14)}[radius]
    families = {5: 37, 10: 35}[radius]
    half = families // 2
    assert {tuple(k * v for v in step) for k in range(-half, half + 1)} <= set(triples)
    picture = corner_picture(radius, triples)
    want = {arithmetic: expected(picture, radius, arithmetic) for arithmetic in ARITHMETICS}
    assert np.any(want["exact"] != want["released"])
    for name in ISAS:
        with lbpmap.use_isa(name):
            for arithmetic in ARITHMETICS:
                got = lbpmap.lbp_codes(picture, radius, arithmetic=arithmetic)
                np.testing.assert_array_equal(got, want[arithmetic], err_msg=name)


@pytest.mark.parametrize("radius", [1, 3, 5, 10])
def test_every_width_past_the_edges_of_lanes(radius):
    rng = np.random.default_rng(radius)
    gray = rng.integers(100, 106, (2 * radius + 2, 2 * radius + 200), np.uint8)
    for arithmetic in ARITHMETICS:
        want = expected(gray, radius, arithmetic)
        for name in ISAS:
            with lbpmap.use_isa(name):
                for width in range(1, 201):
                    got = lbpmap.lbp_codes(
                        gray[:, : 2 * radius + width], radius, arithmetic=arithmetic
                    )
                    np.testing.assert_array_equal(got, want[:, :width], err_msg=name)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_ramps_of_every_slope(isa, arithmetic):
    """Ties in whole rows, flat, gentle and steep, and a picture that is flat at every level."""
    y, x = np.mgrid[:34, :90]
    for radius in (*RADII, 4):
        for step in (*range(1, 12), 40, 127, 128):
            for across in (step, -step):
                gray = (step * y + across * x).astype(np.uint8)
                got = lbpmap.lbp_codes(gray, radius, arithmetic=arithmetic)
                np.testing.assert_array_equal(got, expected(gray, radius, arithmetic))
        flat = np.repeat(np.arange(256, dtype=np.uint8), 2 * radius + 1)[:, None]
        gray = np.broadcast_to(flat, (len(flat), 2 * radius + 70)).copy()
        got = lbpmap.lbp_codes(gray, radius, arithmetic=arithmetic)
        np.testing.assert_array_equal(got, expected(gray, radius, arithmetic))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_every_width(isa, width, arithmetic):
    for radius in RADII:
        rng = np.random.default_rng(width)
        gray = rng.integers(90, 110, (2 * radius + 3, 2 * radius + width), np.uint8)
        want = expected(gray, radius, arithmetic)
        np.testing.assert_array_equal(lbpmap.lbp_codes(gray, radius, arithmetic=arithmetic), want)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("points", [1, 4, 7, 8, 9, 12, 16])
def test_other_numbers_of_points(isa, points, arithmetic):
    for radius in (1, 2, 5):
        for name, gray in pictures(radius, 20, 5):
            got = lbpmap.lbp_codes(gray, radius, points=points, arithmetic=arithmetic)
            assert got.dtype == (np.uint8 if points <= 8 else np.uint16)
            want = expected(gray, radius, arithmetic, points)
            np.testing.assert_array_equal(got, want, err_msg=name)


@pytest.mark.parametrize("radius", RADII)
def test_the_square_grid(isa, radius):
    for name, gray in pictures(radius):
        got = lbpmap.lbp_codes(gray, radius, neighborhood="square")
        want = expected(gray, radius, "exact", neighborhood="square")
        np.testing.assert_array_equal(got, want, err_msg=name)


@pytest.mark.parametrize("name", ["lbp", "cyclic_lbp", "cyclic_lbp_5", "cyclic_lbp_10"])
def test_fused_mapping_is_codes_then_lookup(isa, name):
    chosen = lbpmap.REPRESENTATIONS[name]
    for code_255 in ("released", "own"):
        rows = chosen.table.lookup(code_255)
        for kind, gray in pictures(chosen.radius):
            codes = expected(gray, chosen.radius, "released")
            got = lbpmap.mapped_lbp(gray, name, code_255=code_255)
            np.testing.assert_array_equal(got, _reference.map_codes(codes, rows), err_msg=kind)


@pytest.mark.parametrize("name", ["lbp", "cyclic_lbp", "cyclic_lbp_5", "cyclic_lbp_10"])
def test_planes_are_the_mapped_picture_minus_the_mean(isa, name):
    mean = np.array([104.3, 0, -7.25], np.float32)
    radius = lbpmap.REPRESENTATIONS[name].radius
    for width in (1, 63, 64, 65, 200):
        for kind, gray in pictures(radius, width):
            mapped = lbpmap.mapped_lbp(gray, name).astype(np.float32)
            got = lbpmap.mapped_planes(gray, name, mean=mean)
            want = mapped.transpose(2, 0, 1)[::-1] - mean[:, None, None]
            np.testing.assert_array_equal(got, want, err_msg=kind)


def test_lookup_of_both_code_widths(isa):
    rng = np.random.default_rng(0)
    for dtype, rows in ((np.uint8, 256), (np.uint16, 65536)):
        table = rng.integers(0, 256, (rows, 3), np.uint8)
        for width in WIDTHS:
            codes = rng.integers(0, rows, (3, width)).astype(dtype)
            got = lbpmap.map_codes(codes, table)
            np.testing.assert_array_equal(got, _reference.map_codes(codes, table))


def test_gray_of_all_colours(isa):
    plane = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij"), -1)
    for red in range(256):
        rgb = np.empty((256, 256, 3), np.uint8)
        rgb[..., 0] = red
        rgb[..., 1:] = plane
        np.testing.assert_array_equal(lbpmap.to_gray(rgb), _reference.to_gray(rgb))


def test_samples_are_where_lbp_m_puts_them():
    for points in range(1, 17):
        for radius in (*range(1, 21), 100, 1000):
            got = _kernels.Neighborhood(False, points, radius, True).samples()
            for sample, want in zip(got, _reference.circle(points, radius)):
                rows, cols, is_pixel, millionths, weights = sample
                assert (rows, cols, is_pixel, weights) == want
                assert is_pixel or sum(millionths) == 1_000_000


def test_weights_of_the_released_radii_to_the_last_bit():
    """A maths library whose sine differs in the last place would move the released ties."""
    first = {
        1: ["0x1.a827999fcef33p-3", "0x1.ffffffffffffep-2", "0x1.5f619980c433ap-4"],
        5: ["0x1.fd6a00d94b3d7p-3", "0x1.25adffa2dfc0cp-2", "0x1.b9cfff07aa029p-3"],
        10: ["0x1.0e68074684ebap-4", "0x1.4aff935a6105cp-8", "0x1.b9cfff07aa029p-1"],
    }
    for radius, weights in first.items():
        north_east = _kernels.Neighborhood(False, 8, radius, True).samples()[1]
        assert [w.hex() for w in north_east[4][:3]] == weights


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_picture_view_and_radius(data):
    radius = data.draw(st.integers(1, 12), "radius")
    height = data.draw(st.integers(1, 6), "height")
    width = data.draw(st.integers(1, 200), "width")
    arithmetic = data.draw(st.sampled_from(ARITHMETICS), "arithmetic")
    low = data.draw(st.integers(0, 250), "low")
    spread = data.draw(st.integers(1, 256 - low), "spread")
    flips = data.draw(st.tuples(*[st.sampled_from([1, -1, 2, -3])] * 2), "steps")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    shape = [abs(step) * (n + 2 * radius) for step, n in zip(flips, (height, width))]
    gray = rng.integers(low, low + spread, shape, np.uint8)[:: flips[0], :: flips[1]]
    want = expected(np.ascontiguousarray(gray), radius, arithmetic)
    for name in ISAS:
        with lbpmap.use_isa(name):
            got = lbpmap.lbp_codes(gray, radius, arithmetic=arithmetic)
            np.testing.assert_array_equal(got, want)


def count(codes, bin_of_code, bins, grid):
    kernel = _kernels.histogram if codes.dtype == np.uint8 else _kernels.histogram16
    counts = np.full((*grid, bins), 7, np.uint32)
    kernel(_isa.chosen(), codes, bin_of_code, counts)
    return counts


@pytest.mark.parametrize("width", WIDTHS)
def test_histograms_of_every_width(isa, width):
    rng = np.random.default_rng(width)
    for dtype, codes_of in ((np.uint8, 256), (np.uint16, 65536)):
        codes = rng.integers(0, codes_of, (5, width)).astype(dtype)
        every = np.arange(codes_of, dtype=np.uint16)
        for grid in ((1, 1), (2, 1), (5, width), (3, min(width, 7))):
            # With a cell a pixel 65,536 bins each would be 400 MB to clear, for one count.
            bins = 256 if grid == (5, width) else codes_of
            bin_of_code = every & np.uint16(bins - 1)
            got = count(codes, bin_of_code, bins, grid)
            want = _reference.histogram(codes, bin_of_code, bins, grid)
            np.testing.assert_array_equal(got, want, err_msg=str(grid))
            assert got.sum() == codes.size


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_histograms_of_any_view_grid_and_bins(data):
    height = data.draw(st.integers(1, 12), "height")
    width = data.draw(st.integers(1, 100), "width")
    grid = data.draw(st.tuples(st.integers(1, height), st.integers(1, width)), "grid")
    dtype = data.draw(st.sampled_from([np.uint8, np.uint16]), "dtype")
    bits = 8 if dtype == np.uint8 else data.draw(st.integers(1, 16), "bits")
    bins = data.draw(st.integers(1, 2**bits), "bins")
    step = data.draw(st.sampled_from([1, -1, 2, -3]), "step")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    codes = rng.integers(0, 2**bits, (abs(step) * height, width)).astype(dtype)[::step]
    bin_of_code = rng.integers(0, bins, 2**bits).astype(np.uint16)
    want = _reference.histogram(codes, bin_of_code, bins, grid)
    for name in ISAS:
        with lbpmap.use_isa(name):
            np.testing.assert_array_equal(count(codes, bin_of_code, bins, grid), want)
