"""Codes and mapped pictures of real photos, pinned: the same bytes on every machine, for good.

The hashes (SHA-256, the first 16 digits) are of what `lbpmap._reference` gave. The picture's own
pixels come first, so that a changed picture is told from a changed kernel.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import lbpmap
from lbpmap import pictures

GOLDEN = {
    "astronaut": {
        "pixels": "0767e0e31b20a703",
        "codes 1 exact": "d773b72a302c390d",
        "codes 1 released": "1e172dccba7eea62",
        "codes 5 exact": "0f317ddeefc2873b",
        "codes 5 released": "24b76faa0fcc38fc",
        "codes 10 exact": "f6a8c1a43d222cf1",
        "codes 10 released": "e7ec669085109e86",
        "codes 1 square": "0d004755deca4230",
        "mapped lbp": "57f6c0032df45a4a",
        "mapped cyclic_lbp": "a53e5658c240cbd7",
        "mapped cyclic_lbp_5": "4b9d6aea2ee053e1",
        "mapped cyclic_lbp_10": "531d7cbe5f68fc76",
    },
    "camera": {
        "pixels": "5cb24482a53416f9",
        "codes 1 exact": "d057704a6dbab846",
        "codes 1 released": "45fbfdfd0fa25093",
        "codes 5 exact": "c535c00569f3ebc1",
        "codes 5 released": "8589fb6c078facf3",
        "codes 10 exact": "dc751d0116a84595",
        "codes 10 released": "465c2baba2c5e6fe",
        "codes 1 square": "93612fb70675db65",
        "mapped lbp": "f925d4b6615562bb",
        "mapped cyclic_lbp": "892c61770c6b0925",
        "mapped cyclic_lbp_5": "80235851c3569a67",
        "mapped cyclic_lbp_10": "84d7abe325dc97b3",
    },
    "coins": {
        "pixels": "e080cc03805f1fa7",
        "codes 1 exact": "8acab2a8dc00bc24",
        "codes 1 released": "2c3b39560b781411",
        "codes 5 exact": "8093eeadac1f489a",
        "codes 5 released": "bf7e62e5412507df",
        "codes 10 exact": "2f1cc474afc89fe3",
        "codes 10 released": "2e1f926c70fd6d9a",
        "codes 1 square": "90b6ad97955cc927",
        "mapped lbp": "9a0d532c22540f5e",
        "mapped cyclic_lbp": "df3b7694a7e8beb3",
        "mapped cyclic_lbp_5": "4082e8a72f2e971c",
        "mapped cyclic_lbp_10": "0f8909d0c2a1901a",
    },
}


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


@pytest.fixture(scope="module", params=GOLDEN)
def photo(request):
    """Give a photo's hashes and its pixels, if they are the ones that were hashed."""
    name, golden = request.param, GOLDEN[request.param]
    if name == "astronaut":
        picture = pictures.read(Path(lbpmap.__file__).parent / "astronaut.png")
        assert digest(picture) == golden["pixels"]
    else:
        data = pytest.importorskip("skimage.data", reason="the photo is scikit-image's")
        picture = getattr(data, name)()
        if digest(picture) != golden["pixels"]:
            pytest.skip(f"this scikit-image has another picture called {name}")
    return golden, picture


@pytest.fixture(params=lbpmap.build_info()["available"])
def isa(request):
    with lbpmap.use_isa(request.param):
        yield request.param


@pytest.mark.parametrize("radius", [1, 5, 10])
@pytest.mark.parametrize("arithmetic", ["exact", "released"])
def test_codes(photo, isa, radius, arithmetic):
    golden, picture = photo
    codes = lbpmap.lbp_codes(picture, radius, arithmetic=arithmetic)
    assert digest(codes) == golden[f"codes {radius} {arithmetic}"]


def test_square_codes(photo, isa):
    golden, picture = photo
    assert digest(lbpmap.lbp_codes(picture, neighborhood="square")) == golden["codes 1 square"]


@pytest.mark.parametrize("name", ["lbp", "cyclic_lbp", "cyclic_lbp_5", "cyclic_lbp_10"])
def test_mapped(photo, isa, name):
    golden, picture = photo
    assert digest(lbpmap.mapped_lbp(picture, name)) == golden[f"mapped {name}"]


def test_no_two_hashes_are_alike():
    """A hash pasted into the wrong line would hide a change."""
    every = [value for golden in GOLDEN.values() for value in golden.values()]
    assert len(set(every)) == len(every)
