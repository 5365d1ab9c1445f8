"""Windows of pictures through a net: crops and scores as pycaffe's Detector gives them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lbpmap import caffe

NET = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 3 dim: 3 dim: 7 dim: 7 } } }
layer { name: "flat" type: "Flatten" bottom: "data" top: "flat" }
"""
WINDOWS = np.array([[2, 3, 12, 15], [0, 0, 20, 30], [5, 20, 15, 30], [15, 0, 20, 4]])
MEAN = np.arange(3 * 7 * 7, dtype=np.float32).reshape(3, 7, 7) / 3
SWAPPED = {"raw_scale": 255, "channel_swap": (2, 1, 0)}

# Settings; elements 10, 24, 73 and 99 of what goes into the net, and its sum, for each window. From
# real Caffe 1.0, its resizing without the smoothing that scikit-image has added since, and its
# numbers in `crop` made integers, without which it fails on Python 3.
RECORDED = {
    "plain": (
        {},
        [
            [0.4, 0.5568628, 0.6431373, 0.41344538],
            [0.54901963, 0.10196079, 0.1882353, 0.36302522],
            [0.18039216, 0.3372549, 0.42352942, 0.20728292],
            [0.12941177, 0.20784312, 0.29411766, 0.21784714],
        ],
        [61.206404, 55.1015226, 59.2972013, 39.8496999],
    ),
    "swapped": (
        dict(mean=MEAN.mean((1, 2)), **SWAPPED),
        [
            [138.0, 129.5, 139.66667, 20.761906],
            [176.0, 62.0, 23.666666, 7.9047623],
            [82.0, 122.0, 83.666664, -31.80952],
            [69.00001, 89.0, 50.666664, -22.82993],
        ],
        [12030.6331, 10473.8883, 11543.7864, 6584.67352],
    ),
    "context": (
        dict(mean=MEAN, input_scale=0.5, context_pad=1, **SWAPPED),
        [
            [66.33333, -2.9999104, 74.833336, -1.7857141],
            [74.333336, 31.0, 11.833333, 0.0],
            [36.833332, 64.5, 45.333332, 70.0],
            [36.43334, 50.9, 31.733337, -14.8],
        ],
        [5117.15331, 2730.5, 4464.57176, 2332.50012],
    ),
    "no mean": (
        {"context_pad": 2},
        [
            [0.29738563, 0.6633987, 0.16851911, 0.0],
            [0.0, 0.10196079, 0.1882353, 0.0],
            [0.63816994, 0.2433987, 0.3296732, 0.0],
            [0.06949014, 0.20627448, 0.292549, 0.0],
        ],
        [42.1888904, 10.3444446, 34.7634009, 22.0241576],
    ),
}


@pytest.fixture
def detector(text_file, tmp_path):
    """Give a function that makes a Detector whose scores are its crops."""
    model, weights = text_file(NET), tmp_path / "w.caffemodel"
    caffe.Net(model, caffe.TEST).save(weights)
    return lambda **settings: caffe.Detector(model, weights, **settings)


@pytest.fixture
def picture(tmp_path):
    rows, cols, channels = np.ogrid[:20, :30, :3]
    values = (rows * 7 + cols * 3 + channels * 11) % 97 * 2
    path = tmp_path / "picture.png"
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize("name", RECORDED)
def test_scores_are_those_of_real_caffe(detector, picture, name, check_equal):
    settings, elements, sums = RECORDED[name]
    found = detector(**settings).detect_windows([(picture, WINDOWS)])
    inputs = np.array([each["prediction"] for each in found])
    assert inputs.dtype == np.float32
    check_equal(inputs[:, [10, 24, 73, 99]], elements)
    check_equal(inputs.sum(1, dtype=np.float64), sums)
    assert [each["window"].tolist() for each in found] == WINDOWS.tolist()
    assert {each["filename"] for each in found} == {picture}


def test_pictures_come_in_order_and_may_have_no_windows(detector, picture):
    net = detector()
    found = net.detect_windows([(picture, WINDOWS[:1]), (picture, []), (picture, WINDOWS[1:])])
    together = net.detect_windows([(picture, WINDOWS)])
    for one, other in zip(found, together):
        assert np.array_equal(one["prediction"], other["prediction"])
    assert len(found) == len(together) == 4
    assert net.detect_windows([]) == []


def test_a_crop_without_context_is_the_window(detector, picture):
    image = caffe.io.load_image(picture)
    assert np.array_equal(detector().crop(image, [2, 3, 12, 15]), image[2:12, 3:15])


def test_beyond_the_picture_stands_the_mean(detector, picture):
    image = caffe.io.load_image(picture)
    mean = np.array([10, 20, 30], np.float32)
    net = detector(mean=mean, context_pad=2, **SWAPPED)
    assert net.crop_mean.shape == (1, 1, 3)
    corner = net.crop(image, [-3, -2, 8, 9])
    assert np.allclose(corner[0, 0] * 255, [30, 20, 10])
    net.configure_crop(None)
    assert net.context_pad is None
    assert net.crop(image, [0, 0, 4, 4]).shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("settings", "window", "message"),
    [
        ({}, [1, 2, 3], r"a window must be \(top, left, bottom, right\), got \[1, 2, 3\]"),
        ({}, [0, 0, np.nan, 3], "a window must be"),
        ({}, [5, 5, 5, 9], r"\[5, 5, 5, 9\] .* holds no pixel of the picture of 20 x 30"),
        ({"context_pad": 2}, [50, 50, 60, 60], r"holds no pixel of the picture of 20 x 30"),
    ],
)
def test_bad_windows(detector, picture, settings, window, message):
    with pytest.raises(ValueError, match=f"^{picture}: .*{message}"):
        detector(**settings).detect_windows([(picture, [window])])


@pytest.mark.parametrize("pad", [-1, 4])
def test_context_must_leave_something_of_the_crop(detector, pad):
    with pytest.raises(ValueError, match=rf"less than half the crop of \[7, 7\], got {pad}$"):
        detector(context_pad=pad)


def test_selective_search_is_no_part_of_caffe(detector):
    with pytest.raises(NotImplementedError, match="a MATLAB program of its own"):
        detector().detect_selective_search(["x.png"])
