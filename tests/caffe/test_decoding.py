"""Pictures as OpenCV hands them to Caffe: order of channels, alpha, grey, resizing."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lbpmap.caffe.data import decoding

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)


def encoded(array, format="PNG", **options):
    out = BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(out, format, **options)
    return out.getvalue()


@pytest.mark.parametrize("color", [None, True])
def test_colour_is_blue_first(color):
    got = decoding.decode(encoded(RGB), "p", color)
    np.testing.assert_array_equal(got, RGB[:, :, ::-1])


def test_grey_keeps_one_channel_unless_colour_is_asked_for():
    grey = RGB[:, :, 0]
    np.testing.assert_array_equal(decoding.decode(encoded(grey), "p"), grey[:, :, None])
    np.testing.assert_array_equal(decoding.decode(encoded(grey), "p", False), grey[:, :, None])
    got = decoding.decode(encoded(grey), "p", True)
    np.testing.assert_array_equal(got, np.repeat(grey[:, :, None], 3, 2))


def test_alpha_stays_unless_three_channels_are_asked_for():
    alpha = RGB[:, :, :1] // 2
    raw = encoded(np.dstack([RGB, alpha]))
    np.testing.assert_array_equal(decoding.decode(raw, "p"), np.dstack([RGB[:, :, ::-1], alpha]))
    np.testing.assert_array_equal(decoding.decode(raw, "p", True), RGB[:, :, ::-1])
    # Grey with alpha has four channels in OpenCV too.
    raw = encoded(np.dstack([RGB[:, :, 1], alpha]))
    assert decoding.decode(raw, "p").shape == (5, 7, 4)
    np.testing.assert_array_equal(decoding.decode(raw, "p", False)[:, :, 0], RGB[:, :, 1])


def test_a_palette_is_expanded():
    image = Image.fromarray(RGB // 128 * 255).convert("P", palette=Image.ADAPTIVE)
    got = decoding.decode(encoded(image), "p")
    np.testing.assert_array_equal(got, np.asarray(image.convert("RGB"))[:, :, ::-1])
    got = decoding.decode(encoded(image, transparency=0), "p")
    assert got.shape == (5, 7, 4)
    got = decoding.decode(encoded(image, transparency=bytes([0, 9])), "p", True)
    np.testing.assert_array_equal(got, np.asarray(image.convert("RGB"))[:, :, ::-1])


def test_grey_of_colour_is_the_luma():
    got = decoding.decode(encoded(RGB), "p", False)[:, :, 0]
    luma = RGB @ np.array([0.299, 0.587, 0.114])
    assert got.dtype == np.uint8
    assert np.abs(got - luma).max() <= 0.51


def test_grey_of_a_jpeg_is_the_luma_that_it_holds():
    picture = np.kron(RGB, np.ones((8, 8, 1), np.uint8))
    raw = encoded(picture, "JPEG", quality=60)
    with Image.open(BytesIO(raw)) as image:
        image.draft("L", None)
        luma = np.asarray(image)
    np.testing.assert_array_equal(decoding.decode(raw, "p", False)[:, :, 0], luma)


def test_a_rotation_of_exif_is_not_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = encoded(np.kron(RGB, np.ones((8, 8, 1), np.uint8)), "JPEG", exif=exif)
    assert decoding.decode(raw, "p").shape == (40, 56, 3)


def test_what_is_no_picture_is_one_line():
    with pytest.raises(ValueError, match=r"^p: not a picture that can be read"):
        decoding.decode(b"nothing of the kind", "p")
    with pytest.raises(ValueError, match=r"^p: a damaged picture"):
        decoding.decode(encoded(RGB)[:-60], "p")
    with pytest.raises(ValueError, match=r"^p: a PNG of more than 8 bits"):
        decoding.decode(encoded(Image.fromarray(RGB[:, :, 0].astype(np.uint16))), "p")


def slow_resize(picture, rows, cols):
    """Resize by OpenCV's fixed-point rules, a value at a time in Python's integers."""
    height, width, channels = picture.shape

    def neighbours(length, new, i, inside):
        at = np.float32((i + 0.5) * (1 / (new / length)) - 0.5)
        low = int(np.floor(at))
        part = np.float32(at - np.float32(low))
        if inside and (low < 0 or low >= length - 1):
            low, part = min(max(low, 0), length - 1), np.float32(0)
        pair = [min(max(k, 0), length - 1) for k in (low, low + 1)]
        return pair, [int(np.rint((np.float32(1) - part) * 2048)), int(np.rint(part * 2048))]

    out = np.empty((rows, cols, channels), np.uint8)
    for y in range(rows):
        ys, b = neighbours(height, rows, y, False)
        for x in range(cols):
            xs, a = neighbours(width, cols, x, True)
            for c in range(channels):
                sums = [
                    int(picture[v, xs[0], c]) * a[0] + int(picture[v, xs[1], c]) * a[1] for v in ys
                ]
                parts = [(s >> 4) * w >> 16 for s, w in zip(sums, b)]
                out[y, x, c] = (sum(parts) + 2) >> 2
    return out


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (5, 9), (4, 7), (11, 7), (13, 20), (2, 30)])
def test_resize_is_its_slow_twin(size):
    np.testing.assert_array_equal(decoding.resize(RGB, *size), slow_resize(RGB, *size))


def test_resize_gives_what_opencv_gave():
    # cv2.resize of OpenCV 5.0.0, 5 x 7 to 3 x 4: the middle channel.
    expected = [[150, 75, 107, 171], [70, 152, 234, 201], [181, 181, 38, 76]]
    np.testing.assert_array_equal(decoding.resize(RGB, 3, 4)[:, :, 1], expected)


def test_halving_is_the_mean_of_four_and_the_same_size_is_the_same():
    picture = RGB[:4, :6].astype(int)
    means = (
        picture[::2, ::2] + picture[1::2, ::2] + picture[::2, 1::2] + picture[1::2, 1::2] + 2
    ) // 4
    np.testing.assert_array_equal(decoding.resize(RGB[:4, :6], 2, 3), means)
    np.testing.assert_array_equal(decoding.resize(RGB, 5, 7), RGB)
