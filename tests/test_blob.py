"""The tail of the pipeline in C, against the chain of NumPy steps that it stands for."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lbpmap
from lbpmap import REPRESENTATIONS, _blob, _reference, caffe_blob, mapped_lbp
from lbpmap.resize import resize_image

ISAS = lbpmap.build_info()["available"]
RNG = np.random.default_rng(11)
NOTHING = np.float32(0)
# A representation, not its name, may be cut at 256 x 256.
RGB = REPRESENTATIONS["rgb"]


def on_every_isa(picture, **options):
    """Give the blob, which has the same floats on every instruction set."""
    blobs = []
    for name in ISAS:
        with lbpmap.use_isa(name):
            blobs.append(caffe_blob(picture, RGB, **options))
    for name, blob in zip(ISAS, blobs):
        np.testing.assert_array_equal(blob, blobs[0], err_msg=name)
    return blobs[0]


def assert_close(blob, want):
    assert blob.dtype == np.float32
    assert blob.shape == want.shape
    np.testing.assert_allclose(blob, want, rtol=0, atol=1e-4)


side = st.one_of(st.integers(1, 40), st.integers(41, 700))


@st.composite
def crops_of(draw):
    """Draw a size, a crop and how many: of the pixels all are wanted, or only a few."""
    size = draw(st.one_of(st.integers(1, 40), st.integers(41, 300)))
    return size, draw(st.integers(1, size)), draw(st.sampled_from((1, 10)))


@settings(max_examples=60, deadline=None)
@given(side, side, crops_of(), st.integers(0, 99), st.sampled_from((256, 60)))
@example(181, 143, (256, 224, 1), 0, 256)
@example(181, 143, (256, 224, 10), 0, 256)
@example(1, 1, (256, 224, 10), 0, 60)
@example(2, 1, (1, 1, 10), 0, 60)
@example(400, 500, (256, 40, 10), 0, 60)
@example(700, 5, (256, 256, 1), 0, 60)
def test_is_its_twin(height, width, rule, seed, levels):
    size, crop, crops = rule
    rng = np.random.default_rng(seed)
    picture = rng.integers(256 - levels, 256, (height, width, 3), np.uint8)
    mean = rng.uniform(0, 255, 3).astype(np.float32)
    want = _reference.blob(picture, size, crop, crops, NOTHING, mean[:, None, None])
    assert_close(on_every_isa(picture, mean=mean, size=size, crop=crop, crops=crops), want)


@settings(max_examples=40, deadline=None)
@given(side, side, crops_of(), st.sampled_from(("resize", "crop")), st.booleans())
def test_a_mean_picture_is_subtracted_before_or_after(height, width, rule, mode, of_a_crop):
    size, crop, crops = rule
    rng = np.random.default_rng(height)
    picture = rng.integers(0, 256, (height, width, 3), np.uint8)
    length = crop if of_a_crop else size
    mean = rng.uniform(0, 255, (3, length, length)).astype(np.float32)
    before, after = NOTHING, mean
    if length != crop and mode == "crop":
        before, after = mean, NOTHING
    elif length != crop:
        after = resize_image(mean.transpose(1, 2, 0), (crop, crop)).transpose(2, 0, 1)
    want = _reference.blob(picture, size, crop, crops, before, after)
    options = {"mean": mean, "size": size, "crop": crop, "crops": crops, "mean_mode": mode}
    assert_close(on_every_isa(picture, **options), want)
    reversed_in_memory = mean[:, ::-1, ::-1].copy()[:, ::-1, ::-1]
    options["mean"] = reversed_in_memory
    assert_close(on_every_isa(picture, **options), want)


@pytest.mark.parametrize("width", [1, 2, 5, 6, 20, 21, 22, 23, 141, 143, 204, 205, 409, 412, 1000])
@pytest.mark.parametrize("crop", [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 224, 256])
def test_lengths_around_the_edges_of_registers(width, crop):
    picture = RNG.integers(0, 256, (3, width, 3), np.uint8)
    want = _reference.blob(picture, 256, crop, 1, NOTHING, NOTHING)
    assert_close(on_every_isa(picture, mean=0, crop=crop), want)


@pytest.mark.parametrize("crops", [1, 10])
def test_views_are_read_as_they_lie(crops):
    picture = RNG.integers(0, 256, (70, 90, 3), np.uint8)
    for view in (
        picture[::-1],
        picture[::2],
        picture[::-3, 20:61],
        picture[:, ::-1],
        picture[..., ::-1],
        picture.transpose(1, 0, 2),
        picture[..., 1],
        np.broadcast_to(picture[:1], (20, 90, 3)),
    ):
        pixels = view if view.ndim == 3 else np.repeat(view[..., None], 3, axis=2)
        want = _reference.blob(pixels.copy(), 64, 50, crops, NOTHING, NOTHING)
        assert_close(on_every_isa(view, mean=0, size=64, crop=50, crops=crops), want)


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_a_flat_picture_stays_flat_and_any_other_darkens_to_its_least_value(level):
    picture = np.full((9, 7, 3), level, np.uint8)
    assert (on_every_isa(picture, mean=0, crops=10) == level).all()
    if level:
        picture[4, 3, 1] = level - 1
        blob = on_every_isa(picture, mean=0, crop=256)[0]
        assert blob[0, 0, 0] < blob[0, 0, 128] < blob[0, 128, 20] == level
        assert blob[0].min() > level - 1


@pytest.mark.parametrize("name", ["rgb", "lbp", "cyclic_lbp", "cyclic_lbp_5", "cyclic_lbp_10"])
@pytest.mark.parametrize("crops", [1, 10])
def test_every_representation(name, crops):
    pictures = [
        RNG.integers(0, 256, (60, 50, 3), np.uint8),
        RNG.integers(0, 256, (181, 143), np.uint8),
        RNG.integers(0, 256, (23, 300, 3), np.uint8)[::-1],
    ]
    blob = caffe_blob(pictures, name, mean=(1, 2, 3), crops=crops)
    after = np.array([1, 2, 3], np.float32)[:, None, None]
    for i, picture in enumerate(pictures):
        want = _reference.blob(mapped_lbp(picture, name), 256, 224, crops, NOTHING, after)
        assert_close(blob[i * crops : (i + 1) * crops], want)


def test_threads_change_nothing():
    rng = np.random.default_rng(2)
    sizes = rng.integers(25, 200, (40, 2))
    pictures = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    mean = rng.uniform(0, 255, (3, 64, 64)).astype(np.float32)
    for crops in (1, 10):
        options = {"mean": mean, "size": 64, "crop": 50, "crops": crops, "mean_mode": "crop"}
        one = caffe_blob(pictures, "cyclic_lbp_10", **options)
        for threads in (2, 5):
            again = caffe_blob(pictures, "cyclic_lbp_10", threads=threads, **options)
            np.testing.assert_array_equal(again, one)


def test_scratch_is_kept_and_each_thread_has_its_own():
    scratch = _blob._Scratch()
    large = scratch.take("mapped", (20, 30, 3), np.uint8)
    small = scratch.take("mapped", (5, 4, 3), np.uint8)
    assert small.shape == (5, 4, 3)
    assert np.shares_memory(small, large)
    assert not np.shares_memory(scratch.take("gray", (5, 4), np.uint8), large)
    others = []
    other = threading.Thread(target=lambda: others.append(scratch.take("mapped", (5,), np.uint8)))
    other.start()
    other.join()
    assert not np.shares_memory(others[0], large)


def test_only_crops_are_written():
    memory = np.full((4, 5, 3, 8, 8), 7, np.float32)
    out = memory[1, ::2]
    got = caffe_blob([RNG.integers(0, 256, (9, 9, 3), np.uint8)] * 3, RGB, mean=0, crop=8, out=out)
    assert got is out
    assert not (out == 7).all(axis=(1, 2, 3)).any()
    assert (memory[1, 1::2] == 7).all()
    assert (memory[[0, 2, 3]] == 7).all()


def test_an_out_between_two_floats_is_refused():
    record = np.zeros(2, [("pad", "u1"), ("blob", np.float32, (3, 8, 8))])
    picture = RNG.integers(0, 256, (9, 9, 3), np.uint8)
    with pytest.raises(ValueError, match="multiples of 4 bytes"):
        caffe_blob([picture, picture], RGB, mean=0, crop=8, out=record["blob"])
    mean = np.zeros(2, [("pad", "u1"), ("mean", np.float32, (3, 8, 8))])["mean"]
    mean[1] = 3
    blob = caffe_blob(np.full((9, 9, 3), 5, np.uint8), RGB, mean=mean[1], crop=8)
    assert (blob == 2).all()


def test_a_side_beyond_32_bits_is_refused():
    spec = _blob.InputSpec.checked(0, 64, 50, 1, "resize")
    wide = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (1, 1 << 29, 3))
    with pytest.raises(ValueError, match="caffe_blob: it is 1 x 536870912, expected sides below"):
        _blob.filler(RGB, spec, "caffe_blob")(wide, np.empty((1, 3, 50, 50), np.float32), "it")


def test_a_picture_too_small_is_named():
    pictures = [RNG.integers(0, 256, (40, 40), np.uint8), RNG.integers(0, 256, (9, 40), np.uint8)]
    with pytest.raises(ValueError, match=r"caffe_blob: picture 1 is 9 x 40 .* needs at least 11"):
        caffe_blob(pictures, "cyclic_lbp_5", mean=0, threads=2)
