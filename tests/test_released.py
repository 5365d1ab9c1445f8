"""The authors' own pictures, to the byte."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import lbpmap
from lbpmap import pictures
from lbpmap.cli import main

SHA256_16 = {"cyclic_lbp": "c028128b995460f7", "cyclic_lbp_5": "3b88e0235f8d779c"}
SHAPES = {"cyclic_lbp": (179, 141, 3), "cyclic_lbp_5": (171, 133, 3)}


@pytest.fixture(scope="module")
def example(shared):
    return shared / "example"


@pytest.fixture(scope="module")
def photo(example):
    return pictures.read(example / "example_image.png")


@pytest.mark.parametrize("isa", lbpmap.build_info()["available"])
@pytest.mark.parametrize("name", SHA256_16)
def test_the_published_pictures(example, photo, name, isa):
    with lbpmap.use_isa(isa):
        mapped = lbpmap.mapped_lbp(photo, name)
    assert mapped.shape == SHAPES[name]
    assert hashlib.sha256(mapped.tobytes()).hexdigest()[:16] == SHA256_16[name]
    np.testing.assert_array_equal(mapped, pictures.read(example / f"{name}.png"))


@pytest.mark.parametrize("name", SHA256_16)
def test_by_codes_from_gray_in_batches_and_threads(example, photo, name):
    chosen = lbpmap.REPRESENTATIONS[name]
    want = pictures.read(example / f"{name}.png")
    codes = lbpmap.lbp_codes(photo, chosen.radius, arithmetic="released")
    np.testing.assert_array_equal(lbpmap.map_codes(codes, chosen.table), want)
    np.testing.assert_array_equal(lbpmap.mapped_lbp(lbpmap.to_gray(photo), name), want)
    for threads in (1, 2, 5):
        batch = lbpmap.mapped_lbp(np.stack([photo] * 3), name, threads=threads)
        several = lbpmap.mapped_lbp([photo, photo[::-1], photo], name, threads=threads)
        one = lbpmap.mapped_lbp(photo, name, threads=threads)
        for got in (*batch, several[0], several[2], one):
            np.testing.assert_array_equal(got, want)


def test_code_255_is_the_difference_the_table_makes(photo):
    codes = lbpmap.lbp_codes(photo, arithmetic="released")
    released = lbpmap.mapped_lbp(photo, "cyclic_lbp")
    own = lbpmap.mapped_lbp(photo, "cyclic_lbp", code_255="own")
    np.testing.assert_array_equal((released != own).any(axis=2), codes == 255)
    assert 0.05 < (codes == 255).mean() < 0.07


def test_the_two_arithmetics_differ_on_a_photo(photo):
    for radius, least, most in ((1, 0.01, 0.07), (5, 0.0002, 0.03), (10, 0.0002, 0.03)):
        exact = lbpmap.lbp_codes(photo, radius)
        released = lbpmap.lbp_codes(photo, radius, arithmetic="released")
        assert least < (exact != released).mean() < most


def test_the_command_writes_the_published_pictures(example, tmp_path, capsys):
    assert main(["map", str(example / "example_image.png"), "-o", str(tmp_path), "-r", "all"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"example_image_{name}.png"
        for name in ("cyclic_lbp", "cyclic_lbp_10", "cyclic_lbp_5", "lbp")
    ]
    for name in SHA256_16:
        got = pictures.read(tmp_path / f"example_image_{name}.png")
        np.testing.assert_array_equal(got, pictures.read(example / f"{name}.png"))
