"""2015's bilinear resizing, against what it gave and against a pixel by pixel twin."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbpmap.resize import resize_image

SIZES = {"up": (72, 80), "down": (20, 24), "mixed": (72, 24)}


@pytest.mark.parametrize("case", SIZES)
def test_gives_what_caffe_gave(shared, case):
    folder = shared / "caffe_fixtures" / "io"
    expected = np.load(folder / "io.npz")
    image = expected["load_color/img"]
    resized = resize_image(image, SIZES[case])
    assert resized.dtype == np.float32
    # The recording computed its coordinates in single precision; 2015's were double, as ours.
    reference = expected[f"resize_{case}_noaa"]
    assert np.abs(resized - reference).max() <= 1e-5 * np.abs(reference).max()
    one = resize_image(image[:, :, :1], SIZES[case])
    reference = expected[f"resize_{case}_noaa_1ch"]
    assert np.abs(one - reference).max() <= 1e-5 * np.abs(reference).max()
    nearest = resize_image(image, SIZES[case], 0)
    np.testing.assert_array_equal(nearest, expected[f"resize_{case}_noaa_nearest"])


def slow_bilinear(image, size):
    """Resize pixel by pixel: half-pixel centres, zero outside."""
    low, high = image.min(), image.max()
    unit = (image.astype(np.float64) - low) / (high - low)
    rows, cols, channels = image.shape
    result = np.zeros((*size, channels))
    for i in range(size[0]):
        for j in range(size[1]):
            y, x = (i + 0.5) * rows / size[0] - 0.5, (j + 0.5) * cols / size[1] - 0.5
            top, left = math.floor(y), math.floor(x)
            for r, wr in ((top, 1 - (y - top)), (top + 1, y - top)):
                for c, wc in ((left, 1 - (x - left)), (left + 1, x - left)):
                    if 0 <= r < rows and 0 <= c < cols:
                        result[i, j] += wr * wc * unit[r, c]
    return result * (high - low) + low


side = st.integers(1, 9)


@settings(max_examples=80, deadline=None)
@given(st.tuples(side, side, st.integers(1, 4)), st.tuples(side, side), st.integers(0, 2**16))
def test_is_its_slow_twin(shape, size, seed):
    image = np.random.default_rng(seed).uniform(-3, 5, shape).astype(np.float32)
    resized = resize_image(image, size)
    if image.size == 1:
        np.testing.assert_array_equal(resized, np.broadcast_to(image, (*size, 1)))
    elif image.max() > image.min():
        np.testing.assert_allclose(resized, slow_bilinear(image, size), atol=1e-5)


def test_the_same_size_changes_nothing():
    image = np.random.default_rng(0).uniform(0, 1, (13, 17, 3)).astype(np.float32)
    np.testing.assert_allclose(resize_image(image, (13, 17)), image, atol=1e-6)


def test_edges_darken_when_enlarging():
    image = np.ones((4, 4, 1), np.float32)
    image[1, 1] = 0
    large = resize_image(image, (16, 16))
    assert large[0, 0] == pytest.approx(0.625**2)
    assert large[0, 8] == pytest.approx(0.625)


@pytest.mark.parametrize(
    ("shape", "size", "order", "error"),
    [
        ((4, 4), (2, 2), 1, r"image must be \(H, W, C\), got shape \(4, 4\)"),
        ((0, 4, 3), (2, 2), 1, r"got shape \(0, 4, 3\)"),
        ((4, 4, 3), (0, 2), 1, "size must be positive, got 0 x 2"),
        ((4, 4, 3), (2, 2), 3, "order must be 0 .* got 3"),
    ],
)
def test_errors(shape, size, order, error):
    with pytest.raises(ValueError, match=error):
        resize_image(np.zeros(shape, np.float32), size, order)


def test_nothing_but_numpy_is_loaded():
    code = (
        "import sys, lbpmap.resize; "
        "unwanted = ('scipy', 'PIL', 'google.protobuf', 'lbpmap.caffe'); "
        "print([name for name in unwanted if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
