"""Histograms of codes, beside a copy of the same bytes and beside NumPy's.

python -m pytest benchmarks/bench_histogram.py -s
"""

from __future__ import annotations

import numpy as np
import pytest

import lbpmap
from lbpmap import _isa, _kernels, _reference
from lbpmap._bins import bin_table
from lbpmap.estimators import LBPHistogram

SIZES = [(143, 181), (1080, 1920)]
GRIDS = [(1, 1), (7, 7)]


@pytest.fixture(params=SIZES, ids=[f"{height}x{width}" for height, width in SIZES])
def codes(request):
    """Codes of smoothed noise, with the flat places and edges of photographs."""
    height, width = request.param
    noise = np.random.default_rng(0).normal(128, 60, (height + 6, width + 6))
    smooth = sum(noise[y : y + height + 2, x : x + width + 2] for y in range(5) for x in range(5))
    gray = np.clip(smooth / 5 - 4 * 128, 0, 255).astype(np.uint8)
    return lbpmap.lbp_codes(gray)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("bins", ["all", "uniform"])
def test_histogram(codes, grid, bins, beside_a_copy):
    table, count = bin_table(bins, 8)
    counts = np.empty((*grid, count), np.uint32)

    def call():
        _kernels.histogram(_isa.chosen(), codes, table, counts)
        return counts

    got = beside_a_copy(call, codes.nbytes, codes.size)
    np.testing.assert_array_equal(got, _reference.histogram(codes, table, count, grid))


def test_peer_numpy_bincount(codes, beside_a_copy):
    beside_a_copy(lambda: np.bincount(codes.ravel(), minlength=256), codes.nbytes, codes.size)


@pytest.mark.parametrize("bins", ["all", "uniform"])
def test_transformer_on_small_pictures(bins, beside_a_copy):
    """200 faces of 25 x 25: what a call costs beside the pixels."""
    pictures = np.random.default_rng(0).integers(0, 256, (200, 25, 25), np.uint8)
    transformer = LBPHistogram(bins=bins, grid=(5, 5))
    beside_a_copy(lambda: transformer.transform(pictures), pictures.nbytes, pictures.size)
