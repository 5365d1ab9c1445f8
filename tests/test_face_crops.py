"""Crops of faces: upright, at known places, and of the shape of the authors' own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lbpmap import faces, pictures
from lbpmap.faces.aligning import EYE_LINE, EYES_APART

# A face that looks ahead, upright: eyes, nose, corners of the mouth.
MARKS = np.array([[120, 130], [180, 130], [150, 160], [125, 190], [175, 190]], float)
BOX = (95, 80, 205, 220)


def rotation(degrees):
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def waves(points):
    """Grey levels of a smooth picture at points (..., 2), in three channels."""
    x, y = points[..., 0], points[..., 1]
    values = [np.sin(x / 9) + np.cos(y / 7), np.sin((x + y) / 11) + np.cos(x / 8), np.sin(y / 6)]
    return np.rint(127.5 + 60 * np.stack(values, axis=-1)).astype(np.uint8)


def pixels(height, width):
    ys, xs = np.mgrid[:height, :width]
    return np.stack([xs, ys], axis=-1) + 0.5


@pytest.mark.parametrize("degrees", [0, 7, -35, 90, 180])
@pytest.mark.parametrize("margin", [0, 0.25, -0.1])
@pytest.mark.parametrize("aspect", [1, faces.AUTHORS_ASPECT, 1.5])
def test_eyes_come_out_level_and_at_known_places(degrees, margin, aspect):
    centre, turn = np.array([150.0, 150.0]), rotation(degrees)
    marks = (MARKS - centre) @ turn.T + centre
    picture = np.zeros((300, 300, 3), np.uint8)
    for channel, eye in enumerate(marks[:2]):
        near = np.exp(-((pixels(300, 300) - eye) ** 2).sum(axis=-1) / 18)
        picture[..., channel] = np.rint(255 * near)
    size = 200
    crop = faces.align(picture, BOX, marks, margin=margin, size=size, aspect=aspect).astype(float)
    width = round(size * aspect)
    assert crop.shape == (size, width, 3)
    # The place in a crop without margin, then in one with it.
    reach = EYES_APART * np.sqrt(aspect) / aspect / 2
    for channel, x in enumerate([0.5 - reach, 0.5 + reach]):
        x, y = ((place + margin) / (1 + 2 * margin) for place in (x, EYE_LINE))
        light = crop[..., channel, None] / crop[..., channel].sum()
        found = (light * pixels(size, width)).sum(axis=(0, 1))
        assert found == pytest.approx([x * width, y * size], abs=0.6)


@given(degrees=st.floats(-180, 180), aspect=st.sampled_from([1, faces.AUTHORS_ASPECT]))
@settings(max_examples=40, deadline=None)
def test_a_turned_picture_gives_the_same_crop(degrees, aspect):
    centre, turn = np.array([150.0, 150.0]), rotation(degrees)
    upright = faces.align(waves(pixels(300, 300)), BOX, MARKS, aspect=aspect)
    turned = waves((pixels(300, 300) - centre) @ turn + centre)
    marks = (MARKS - centre) @ turn.T + centre
    crop = faces.align(turned, BOX, marks, aspect=aspect)
    assert crop.shape == upright.shape
    assert np.abs(crop.astype(int) - upright).max() <= 3


@given(scale=st.floats(0.3, 3), x=st.floats(0, 30), y=st.floats(0, 30))
@settings(max_examples=20, deadline=None)
def test_a_face_elsewhere_and_of_another_size_gives_the_same_crop(scale, x, y):
    # Waves no shorter than 38 pixels: of what is enlarged, bilinear sampling sees enough.
    known = faces.align(waves(pixels(300, 300)), BOX, MARKS, size=60)
    side = int(300 * scale) + 60
    moved = waves((pixels(side, side) - [x, y]) / scale)
    crop = faces.align(moved, BOX, MARKS * scale + [x, y], size=60)
    assert np.abs(crop.astype(int) - known).mean() < 3


def test_without_size_nothing_is_enlarged():
    picture = waves(pixels(300, 300))
    assert faces.align(picture, BOX, MARKS).shape == (136, 136, 3)  # 60 / 0.44
    assert faces.align(picture, BOX, MARKS, margin=0.25).shape == (205, 205, 3)
    assert faces.align(picture, BOX).shape == (124, 124, 3)  # as large as the box, 110 x 140


def test_a_box_alone_is_cut_out_as_it_is():
    picture = np.random.default_rng(2).integers(0, 256, (181, 143, 3), dtype=np.uint8)
    np.testing.assert_array_equal(faces.align(picture, (20, 30, 70, 80)), picture[30:80, 20:70])
    for missing in (None, np.full((5, 2), np.nan), np.tile([50, 60], (5, 1))):
        whole = faces.align(picture, (0, 0, 143, 181), missing, aspect=143 / 181)
        np.testing.assert_array_equal(whole, picture)
    grey = faces.align(picture[..., 0], (20, 30, 70, 80))
    np.testing.assert_array_equal(grey, np.repeat(picture[30:80, 20:70, :1], 3, axis=2))


def test_a_face_that_looks_aside_is_measured_by_its_mouth():
    aside = MARKS.copy()
    aside[:2, 0] = [140, 160]
    assert faces.align(waves(pixels(300, 300)), BOX, aside).shape[0] == round(60 / 1.25 / 0.44)
    aside[3] = np.nan
    assert faces.align(waves(pixels(300, 300)), BOX, aside).shape[0] == round(20 / 0.44)


def test_shrinking_averages():
    fine = np.zeros((256, 256, 3), np.uint8)
    fine[::2, 1::2] = fine[1::2, ::2] = 255
    crop = faces.align(fine, (0, 0, 256, 256), size=31)
    assert np.abs(crop[1:-1, 1:-1].astype(int) - 127.5).max() < 8
    blocks = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    large = np.kron(blocks, np.ones((16, 16), np.uint8))
    assert (faces.align(large, (0, 0, 128, 128), size=8)[..., 0] == blocks).all()


def test_beyond_the_picture_its_edge_stands_or_a_level():
    picture = np.random.default_rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    box = (-10, -5, 60, 65)
    edges = faces.align(picture, box)
    np.testing.assert_array_equal(edges, np.pad(picture, ((5, 25), (10, 10), (0, 0)), "edge"))
    for level in (0, 96):
        crop = faces.align(picture, box, fill=level)
        np.testing.assert_array_equal(
            crop, np.pad(picture, ((5, 25), (10, 10), (0, 0)), constant_values=level)
        )
    away = faces.align(picture, (1e6, 1e6, 1e6 + 4, 1e6 + 4))
    assert (away == picture[-1, -1]).all()


@given(
    box=st.tuples(*[st.floats(-90, 90)] * 2, *[st.floats(0.01, 150)] * 2),
    marks=st.lists(st.floats(-90, 90), min_size=10, max_size=10),
    size=st.integers(1, 64),
    fill=st.sampled_from(["edge", 0]),
)
@settings(max_examples=60, deadline=None)
def test_any_box_and_landmarks_give_a_crop(box, marks, size, fill):
    x, y, width, height = box
    picture = waves(pixels(30, 20))
    crop = faces.align(
        picture, (x, y, x + width, y + height), np.reshape(marks, (5, 2)), size=size, fill=fill
    )
    assert (crop.shape, crop.dtype) == ((size, size, 3), np.uint8)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"box": (5, 5, 5, 9)}, "box must be x0 < x1, y0 < y1, got [5.0, 5.0, 5.0, 9.0]"),
        ({"box": (0, 0, np.nan, 9)}, "box must be x0 < x1"),
        ({"box": [BOX]}, "box must be numbers of shape (4,), got int64 (1, 4); give one face's"),
        ({"box": "face"}, "box must be numbers of shape (4,)"),
        ({"box": (0, 0, 1e9, 1e9)}, "larger than 8192; is the box [0.0, 0.0, 1000000000.0"),
        ({"landmarks": MARKS[:2]}, "landmarks must be numbers of shape (5, 2)"),
        ({"landmarks": MARKS * 1000}, "larger than 8192"),
        ({"margin": -0.5}, "margin must be above -0.5 and at most 10, got -0.5"),
        ({"margin": float("nan")}, "margin must be above -0.5"),
        ({"size": 0}, "size must be a positive integer"),
        ({"size": 9000}, "size must be at most 8192, got 9000"),
        ({"aspect": 0}, "aspect must be from 0.1 to 10, got 0"),
        ({"fill": "mirror"}, "fill must be \"edge\" or a grey level, 0 to 255, got 'mirror'"),
        ({"fill": 256}, "got 256"),
        ({"image": np.zeros((4, 4, 4), np.uint8)}, "must be (H, W, 3) RGB"),
    ],
)
def test_wrong_arguments(changes, expected):
    arguments = {"image": np.zeros((9, 9, 3), np.uint8), "box": BOX, **changes}
    with pytest.raises((TypeError, ValueError)) as caught:
        faces.align(**arguments)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_crops_look_like_the_authors_own(shared):
    """Of their example, the aligned crop is nearly the picture itself, but for its tilt."""
    picture = pictures.read(shared / "example" / "example_image.png")
    detector = faces.load("mtcnn", models=shared / "models")
    found = detector.detect(picture)
    crop = faces.align(picture, found.boxes[0], found.landmarks[0], aspect=faces.AUTHORS_ASPECT)
    height, width = crop.shape[:2]
    assert (height, width) == pytest.approx(picture.shape[:2], rel=0.02)
    marks = detector.detect(crop).landmarks[0] / (width, height)
    known = found.landmarks[0] / (143, 181)
    assert np.abs(marks.mean(axis=0) - known.mean(axis=0)).max() < 0.06
    assert np.abs(marks - known).max() < 0.1
    assert abs(marks[0, 1] - marks[1, 1]) < 0.02  # level


@pytest.mark.parametrize("degrees", [-20, -12, 15])
def test_a_turned_photo_gives_the_same_crop(shared, degrees):
    """The face found again in a turned photo is cut out as before."""
    photo = pytest.importorskip("skimage.data").astronaut()[:300, 60:400]
    detector = faces.load("mtcnn", models=shared / "models")
    crops = []
    for picture in (photo, np.asarray(Image.fromarray(photo).rotate(degrees, Image.BICUBIC))):
        found = detector.detect(picture)
        crops.append(faces.align(picture, found.boxes[0], found.landmarks[0], size=64).astype(int))
    assert np.abs(crops[0] - crops[1]).mean() < 10
    straight = faces.align(picture, found.boxes[0], size=64)
    assert np.abs(crops[0] - straight).mean() > 20
