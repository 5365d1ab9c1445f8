"""Codes, beside a copy of the same bytes, scikit-image, mahotas, numba and OpenCV's comparisons."""

from __future__ import annotations

import os

import numpy as np
import pytest

import lbpmap
from lbpmap.speed import cases, peers

TIES = (1080, 1920) if os.environ.get("LBPMAP_BENCH") == "full" else (270, 480)
CASES = [cases.codes_case(r, how) for how in ("exact", "released") for r in (1, 5, 10)]


@pytest.mark.parametrize("case", [*CASES, cases.SQUARE], ids=lambda case: case.name)
def test_codes(case, photo, rows):
    rows(case, photo)


@pytest.mark.parametrize("radius", [1, 5, 10])
@pytest.mark.parametrize(
    "character", [cases.flat, cases.ramp, cases.worst_slope], ids=lambda make: make.__name__
)
def test_released_codes_of_ties_everywhere(radius, character, rows):
    """Where "released" has most to settle; the time depends on the picture."""
    name = character.__name__.replace("_", " ")
    rows(cases.codes_case(radius, "released", on=name), character(*TIES))


@pytest.mark.parametrize("library", ["scikit-image", "mahotas", "numba", "OpenCV"])
def test_peers_do_the_same_work(library):
    """Their codes are ours but for ties and borders, numba's to the bit; not mahotas' own kind."""
    if not peers.has(library):
        pytest.skip(f"{library} is not installed: pip install 'lbpmap[bench]'")
    gray = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    ours = lbpmap.lbp_codes(gray, arithmetic="released")
    calls = {**peers.of_codes(gray, 1), **peers.of_square(gray, 1)}
    theirs = next(call for name, call in calls.items() if name.startswith(library))()
    if library == "numba":
        np.testing.assert_array_equal(theirs, ours)
    elif library == "OpenCV":
        np.testing.assert_array_equal(theirs, lbpmap.lbp_codes(gray, neighborhood="square"))
    elif library == "scikit-image":
        assert np.mean(theirs[1:-1, 1:-1] == ours) > 0.97
    else:
        # The smallest rotation of codes from an interpolation of its own: as much work, no more.
        codes = np.arange(256)
        turned = np.min([(codes << k | codes >> (8 - k)) & 255 for k in range(8)], axis=0)
        assert theirs.size == gray.size
        assert set(np.unique(theirs)) <= set(turned)
