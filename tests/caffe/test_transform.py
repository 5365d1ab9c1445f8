"""What transform_param does, against Caffe's documented formula value by value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbpmap.caffe import io
from lbpmap.caffe.data import transform
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import TEST, TRAIN, LayerParameter


class Drawn:
    """Random numbers that are known before."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)
        self.limits = []

    def integers(self, limit):
        self.limits.append(limit)
        return self.numbers.pop(0)


def of(text, phase=TEST):
    layer = prototxt.parse(f"transform_param {{ {text} }}", LayerParameter())
    layer.phase = phase
    return transform.of(layer)


def run(t, picture, rng=None):
    out = np.full(transform.output_shape(t, picture.shape), np.nan, np.float32)
    transform.apply(t, picture, out, rng or Drawn())
    return out


def slow(picture, *, scale, mean, crop, top, left, mirrored):
    """Transform pixel by pixel, in the order that Caffe documents."""
    channels, height, width = picture.shape
    rows, cols = (crop, crop) if crop else (height, width)
    out = np.empty((channels, rows, cols), np.float32)
    for c in range(channels):
        for y in range(rows):
            for x in range(cols):
                value = np.float32(picture[c, top + y, left + x])
                value = (value - mean[c, top + y, left + x]) * np.float32(scale)
                out[c, y, cols - 1 - x if mirrored else x] = value
    return out


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    floats=st.booleans(),
    mirror=st.booleans(),
    phase=st.sampled_from([TEST, TRAIN]),
    kind=st.sampled_from(["none", "one", "each"]),
)
def test_every_value_is_where_caffe_puts_it(data, floats, mirror, phase, kind):
    height, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    crop = data.draw(st.integers(0, min(height, width)))
    scale = data.draw(st.sampled_from([1.0, 0.25, 0.0039]))
    rng = np.random.default_rng(height * 10 + width)
    picture = rng.integers(0, 256, (3, height, width)).astype(np.uint8)
    if floats:
        picture = rng.standard_normal((3, height, width)).astype(np.float32)
    values = {"none": [], "one": [104], "each": [104, 117.25, 123]}[kind]
    text = f"scale: {scale} crop_size: {crop} mirror: {str(mirror).lower()} "
    t = of(text + " ".join(f"mean_value: {value}" for value in values), phase)
    mean = np.zeros((3, 1, 1), np.float32)
    mean[:] = np.array(values or [0], np.float32).reshape(-1, 1, 1)

    mirrored = data.draw(st.booleans()) if mirror else False
    top, left = (height - crop) // 2 if crop else 0, (width - crop) // 2 if crop else 0
    numbers, limits = ([int(mirrored)], [2]) if mirror else ([], [])
    if crop and phase == TRAIN:
        top = data.draw(st.integers(0, height - crop))
        left = data.draw(st.integers(0, width - crop))
        numbers, limits = [*numbers, top, left], [*limits, height - crop + 1, width - crop + 1]
    drawn = Drawn(*numbers)

    got = run(t, picture, drawn)
    expected = slow(
        picture,
        scale=scale,
        mean=np.broadcast_to(mean, picture.shape),
        crop=crop,
        top=top,
        left=left,
        mirrored=mirrored,
    )
    np.testing.assert_array_equal(got, expected)
    assert drawn.limits == limits


def mean_file(tmp_path, mean):
    path = tmp_path / "mean.binaryproto"
    path.write_bytes(io.array_to_blobproto(mean).SerializeToString())
    return path


@pytest.mark.parametrize("phase", [TEST, TRAIN])
def test_the_mean_is_taken_where_the_crop_is(tmp_path, phase):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (2, 7, 8)).astype(np.uint8)
    mean = rng.integers(0, 256, (1, 2, 7, 8)).astype(np.float32)
    t = of(f'mean_file: "{mean_file(tmp_path, mean)}" crop_size: 4 mirror: true', phase)
    top, left = (1, 2) if phase == TEST else (3, 0)
    got = run(t, picture, Drawn(1, *([] if phase == TEST else [3, 0])))
    window = slow(picture, scale=1, mean=mean[0], crop=4, top=top, left=left, mirrored=True)
    np.testing.assert_array_equal(got, window)


def test_draws_of_mirror_and_crop_are_even():
    t = of("crop_size: 2 mirror: true", TRAIN)
    picture = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    rng = np.random.default_rng(0)
    first = [tuple(run(t, picture, rng)[0, 0]) for _ in range(1200)]
    seen, counts = np.unique(first, axis=0, return_counts=True)
    assert len(seen) == 2 * 3 * 2
    # 100 expected of each; five standard deviations of a binomial are 48.
    assert counts.min() > 52
    assert counts.max() < 148


def test_wrong_settings_are_one_line(tmp_path):
    mean = mean_file(tmp_path, np.zeros((1, 3, 4, 4)))
    with pytest.raises(ValueError, match="mean_file and mean_value; give one"):
        of(f'mean_file: "{mean}" mean_value: 1')
    with pytest.raises(ValueError, match=r"binaryproto: a mean of shape \(3, 4, 4\) for pictures"):
        run(of(f'mean_file: "{mean}"'), np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(ValueError, match="2 mean_value for pictures of 3 channels"):
        run(of("mean_value: 1 mean_value: 2"), np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(ValueError, match="crop_size 5 is larger than a picture of 4 x 5"):
        run(of("crop_size: 5"), np.zeros((3, 4, 5), np.uint8))
    flat = mean_file(tmp_path, np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"a blob of shape \(3, 4\); expected a mean picture"):
        of(f'mean_file: "{flat}"')
    with pytest.raises(FileNotFoundError, match="no such file"):
        of(f'mean_file: "{tmp_path / "absent"}"')
