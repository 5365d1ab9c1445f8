"""Codes, lookup and mapped pictures, beside a copy of the same bytes and beside a peer.

python -m pytest benchmarks -s
"""

from __future__ import annotations

import numpy as np
import pytest

import lbpmap
from lbpmap import _reference

SIZES = [(143, 181), (256, 256), (1080, 1920)]
NAMES = [f"{height}x{width}" for height, width in SIZES]


@pytest.fixture(params=SIZES, ids=NAMES)
def picture(request):
    """Smoothed noise: flat places and edges, as photographs have them."""
    height, width = request.param
    rng = np.random.default_rng(0)
    noise = rng.normal(128, 60, (height + 4, width + 4))
    smooth = sum(noise[y : y + height, x : x + width] for y in range(5) for x in range(5)) / 5
    return np.clip(smooth - smooth.mean() + 128, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("radius", [1, 5, 10])
@pytest.mark.parametrize("arithmetic", ["exact", "released"])
def test_codes(picture, beside_a_copy, radius, arithmetic):
    shape = (picture.shape[0] - 2 * radius, picture.shape[1] - 2 * radius)
    out = np.empty(shape, np.uint8)
    got = beside_a_copy(
        lambda: lbpmap.lbp_codes(picture, radius, arithmetic=arithmetic, out=out),
        picture.nbytes,
        out.size,
    )
    want = _reference.lbp_codes(picture, _reference.circle(8, radius), radius, arithmetic)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", ["cyclic_lbp", "cyclic_lbp_10"])
def test_mapped(picture, beside_a_copy, name):
    out = lbpmap.mapped_lbp(picture, name)
    beside_a_copy(lambda: lbpmap.mapped_lbp(picture, name, out=out), picture.nbytes, out.size // 3)


def test_lookup(picture, beside_a_copy):
    table = lbpmap.load_table("cyclic_lbp").lookup()
    out = np.empty((*picture.shape, 3), np.uint8)
    got = beside_a_copy(
        lambda: lbpmap.map_codes(picture, table, out=out), picture.nbytes, picture.size
    )
    np.testing.assert_array_equal(got, table[picture])


def test_peer_scikit_image(picture, beside_a_copy):
    """Its codes: other ties, other borders, float64; the same amount of work."""
    feature = pytest.importorskip("skimage.feature")
    beside_a_copy(lambda: feature.local_binary_pattern(picture, 8, 1), picture.nbytes, picture.size)


def test_peer_numpy_lookup(picture, beside_a_copy):
    table = lbpmap.load_table("cyclic_lbp").lookup()
    out = np.empty((*picture.shape, 3), np.uint8)
    beside_a_copy(
        lambda: np.take(table, picture, axis=0, out=out, mode="clip"), picture.nbytes, picture.size
    )


def test_caffe_blob(picture, beside_a_copy):
    beside_a_copy(
        lambda: lbpmap.caffe_blob(picture, "cyclic_lbp", mean=(104, 117, 123)),
        picture.nbytes,
        3 * 224 * 224,
    )
