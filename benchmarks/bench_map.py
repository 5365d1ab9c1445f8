"""Mapped pictures, float planes, the lookup alone and grey, beside a copy and beside peers."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap.speed import cases, peers


@pytest.mark.parametrize("name", cases.MAPPED)
def test_mapped(name, photo, rows):
    """Grey to colours in one pass."""
    rows(cases.MAPPED[name], photo)


@pytest.mark.parametrize("name", cases.PLANES)
def test_planes(name, photo, rows):
    """Grey to float32 planes minus a mean in one pass."""
    rows(cases.PLANES[name], photo)


def test_lookup(photo, rows):
    rows(cases.LOOKUP, photo)


def test_gray(photo, rows):
    rows(cases.GRAY, photo)


@pytest.mark.parametrize("name", peers.LOOKUP)
def test_peers_look_up_the_same(name):
    rng = np.random.default_rng(0)
    codes, table = (rng.integers(0, 256, shape, np.uint8) for shape in ((64, 80), (256, 3)))
    calls = peers.of_lookup(codes, table)
    if name not in calls:
        pytest.skip(f"{name}: not installed: pip install 'lbpmap[bench]'")
    np.testing.assert_array_equal(calls[name](), table[codes])
