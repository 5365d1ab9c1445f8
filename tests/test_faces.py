"""Faces found in real pictures and in made-up ones, and what cannot be a picture or a net."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lbpmap import caffe, faces, pictures
from lbpmap.faces import boxes as of_boxes
from lbpmap.faces import mtcnn, mtcnn_files
from lbpmap.faces.views import Views

NAMES = ["none", "mtcnn", "dlib"]


@pytest.fixture(scope="session")
def models(shared):
    return shared / "models"


@pytest.fixture(scope="session")
def detector(models):
    return faces.load("mtcnn", models=models)


@pytest.fixture(params=NAMES)
def any_detector(request):
    if request.param == "dlib":
        pytest.importorskip("dlib")
    models = request.getfixturevalue("shared") / "models" if request.param == "mtcnn" else None
    return faces.load(request.param, models=models)


@pytest.fixture(scope="session")
def astronaut():
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="session")
def grace_hopper():
    folder = Path(pytest.importorskip("matplotlib").get_data_path()) / "sample_data"
    return pictures.read(folder / "grace_hopper.jpg")


def turned(picture, centre, degrees, scale, size, to):
    """Turn a picture around `centre` and put that at `to` in one of size (width, height)."""
    angle = np.deg2rad(degrees)
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    over = max(1, int(np.ceil(1 / scale)))
    start = np.asarray(centre) - back @ to
    terms = np.column_stack([back / over, start]).ravel()
    large = tuple(n * over for n in size)
    warped = Image.fromarray(picture).transform(large, Image.AFFINE, tuple(terms), Image.BILINEAR)
    return np.asarray(warped.reduce(over))


# Faces of a montage: where the head's middle goes, degrees, height of the box in pixels.
PLACES = [((90, 100), 0, 60), ((300, 90), -20, 90), ((530, 120), 15, 140), ((120, 320), 25, 110),
          ((340, 330), -10, 180), ((560, 380), 5, 45)]  # fmt: skip


@pytest.fixture(scope="session")
def montage(astronaut, grace_hopper):
    """Give a picture of six faces of both people, and the true landmarks of each."""
    whole = np.full((480, 640, 3), 96, np.uint8)
    known = [
        (astronaut, [(204, 101), (247, 103), (224, 128), (202, 140), (245, 142)], 115),
        (grace_hopper, [(217, 191), (307, 186), (268, 237), (230, 279), (310, 273)], 225),
    ]
    marks = []
    for i, (to, degrees, height) in enumerate(PLACES):
        picture, own, own_height = known[i % 2]
        centre, scale = np.mean(own, axis=0), height / own_height
        patch = turned(picture, centre, degrees, scale, (640, 480), to)
        ys, xs = np.mgrid[:480, :640]
        near = np.hypot(xs - to[0], ys - to[1]) < 0.8 * height
        whole[near] = patch[near]
        angle = np.deg2rad(degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        marks.append((own - centre) @ turn.T * scale + to)
    return whole, np.array(marks)


def test_every_face_of_a_montage_is_found_with_its_landmarks(detector, montage):
    picture, marks = montage
    found = detector.detect(picture)
    assert len(found.boxes) == len(marks)
    assert (np.diff(found.scores) <= 0).all()
    for mark, (_, _, height) in zip(marks, PLACES):
        off = np.abs(found.landmarks - mark).mean(axis=(1, 2))
        nearest = int(np.argmin(off))
        assert off[nearest] < 0.05 * height
        x0, y0, x1, y1 = found.boxes[nearest]
        assert ((mark > [x0, y0]) & (mark < [x1, y1])).all()
        assert 0.8 * height < y1 - y0 < 1.3 * height
    assert tuple(np.mean(marks[4], axis=0)) == pytest.approx(
        tuple(np.mean(found.landmarks[faces.largest(found)], axis=0)), abs=5
    )


def test_faces_of_every_size_asked_for_are_found(models, montage):
    large = faces.load("mtcnn", models=models, smallest=200).detect(montage[0])
    assert 1 <= len(large.boxes) < len(PLACES)
    half = np.asarray(Image.fromarray(montage[0]).reduce(2))
    small = faces.load("mtcnn", models=models, smallest=20).detect(half)
    assert len(small.boxes) == len(PLACES)
    sure = faces.load("mtcnn", models=models, smallest=20, threshold=0.9999).detect(half)
    np.testing.assert_array_equal(sure.scores, small.scores[small.scores > 0.9999])
    assert 1 <= len(sure.scores) < len(PLACES)


@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_many_pictures_are_as_each_alone(detector, montage, astronaut, grace_hopper, engine):
    if engine == "torch":
        pytest.importorskip("torch")
    small = astronaut[:300, 50:350]
    images = [small, montage[0], small[:, ::-1], grace_hopper[100:360], small[..., 1], small[:9]]
    caffe.set_engine(engine)
    try:
        together = detector.detect_all(images)
        alone = [detector.detect(image) for image in images]
    finally:
        caffe.set_engine("auto")
    assert [len(each.boxes) for each in alone] == [1, 6, 1, 1, 1, 0]
    for one, other in zip(together, alone):
        for values, others in zip(one, other):
            np.testing.assert_array_equal(values, others)


def test_limits_of_memory_change_nothing(detector, montage, monkeypatch):
    expected = detector.detect(montage[0])
    several = [montage[0][:, :320], montage[0][:, 320:]]
    expected_of_several = detector.detect_all(several)
    monkeypatch.setattr(mtcnn, "_PASS_PIXELS", 144 * 50)
    monkeypatch.setattr(mtcnn, "_GROUP_PIXELS", 1)
    for found, wanted in [
        (detector.detect(montage[0]), expected),
        *zip(detector.detect_all(several), expected_of_several),
    ]:
        for values, others in zip(found, wanted):
            np.testing.assert_allclose(values, others, atol=1e-4)


@given(
    height=st.integers(12, 61), width=st.integers(12, 61), strip=st.integers(1, 200),
    seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_strips_of_a_level_make_its_map(detector, height, width, strip, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    whole = mtcnn._maps(detector.nets[0], picture)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mtcnn, "_PASS_PIXELS", strip * height)
        parts = mtcnn._maps(detector.nets[0], picture)
    for part, one in zip(parts, whole):
        assert part.shape == one.shape
        np.testing.assert_allclose(part, one, atol=1e-5)


def test_only_the_best_of_too_many_windows_are_looked_at(detector, montage, monkeypatch):
    monkeypatch.setattr(mtcnn, "_MOST_WINDOWS", 5)
    assert 1 <= len(detector.detect(montage[0]).boxes) <= 5


def test_threads_take_turns(detector, astronaut, grace_hopper):
    images = [astronaut[:300, 50:350], grace_hopper[100:360]] * 2
    expected = [detector.detect(image) for image in images]
    found = [None] * len(images)

    def work(i):
        found[i] = detector.detect(images[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one.boxes, other.boxes)


SHAPES = [
    (1, 1),
    (11, 11),
    (12, 12),
    (20, 20),
    (39, 40),
    (41, 40),
    (1, 3000),
    (13, 2000),
    (900, 41),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_odd_pictures_hold_no_face_and_harm_nobody(any_detector, shape):
    for picture in (
        np.zeros((*shape, 3), np.uint8),
        np.full(shape, 255, np.uint8),
        np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)[::-1, ::-1],
    ):
        found = any_detector.detect(picture)
        count = 1 if any_detector.name == "none" else 0
        assert (found.boxes.shape, found.scores.shape) == ((count, 4), (count,))
        assert found.landmarks.shape == (count, 5, 2)


def test_every_detector_does_what_the_protocol_says(any_detector, astronaut):
    detector: faces.Detector = any_detector
    assert detector.name in faces.DETECTORS
    found = detector.detect(astronaut)
    assert isinstance(found, faces.Detected)
    assert {each.dtype for each in found} == {np.dtype(np.float64)}
    # dlib takes a badge for a second face.
    count = len(found.boxes)
    assert count == 1 or (detector.name == "dlib" and count == 2)
    assert [each.shape for each in found] == [(count, 4), (count,), (count, 5, 2)]
    assert (np.diff(found.scores) <= 0).all()
    assert np.isnan(found.landmarks).all() == (detector.name != "mtcnn")
    together = detector.detect_all([astronaut, astronaut[:, ::-1], np.zeros((50, 60), np.uint8)])
    assert len(together) == 3
    np.testing.assert_array_equal(together[0].boxes, found.boxes)
    assert detector.detect_all([]) == []
    said = detector.made_with()
    assert json.loads(json.dumps(said)) == said
    assert said["detector"] == detector.name
    for wrong, expected in [
        (astronaut.astype(float), "must be uint8"),
        (astronaut[..., :1], r"must be \(H, W, 3\)"),
        (astronaut[:0], "empty"),
        (astronaut[None], "detect_all"),
        ([astronaut], "detect_all"),
        ("a.png", "must be a uint8 array"),
    ]:
        with pytest.raises((TypeError, ValueError), match=expected) as caught:
            detector.detect(wrong)
        assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match="picture 1"):
        detector.detect_all([astronaut, astronaut / 255])


def test_the_whole_picture_is_a_face():
    found = faces.load("none").detect(np.zeros((20, 30, 3), np.uint8))
    assert found.boxes.tolist() == [[0, 0, 30, 20]]
    assert found.scores.tolist() == [1]


def test_dlib_finds_the_faces_that_mtcnn_finds(detector, astronaut, grace_hopper):
    pytest.importorskip("dlib")
    frontal = faces.load("dlib")
    for picture in (astronaut, grace_hopper):
        x0, y0, x1, y1 = frontal.detect(picture).boxes[0]
        marks = detector.detect(picture).landmarks[0]
        assert ((marks > [x0, y0]) & (marks < [x1, y1])).all()
    half = np.asarray(Image.fromarray(astronaut).reduce(2))
    assert len(frontal.detect(half).boxes) == 1
    assert len(faces.load("dlib", smallest=80).detect(half).boxes) == 0
    assert len(faces.load("dlib", threshold=9).detect(half).boxes) == 0


def test_dlib_refuses_pictures_that_would_grow_too_large():
    pytest.importorskip("dlib")
    wide = np.broadcast_to(np.uint8(0), (2**13, 2**13, 3))
    with pytest.raises(ValueError, match=r"picture 1 of 8192 x 8192.*268435456 pixels"):
        faces.load("dlib").detect_all([np.zeros((9, 9), np.uint8), wide])


def test_settings_are_said(models):
    made = faces.load("mtcnn", models=[models], smallest=30, threshold=0.8).made_with()
    assert made["smallest"] == 30
    assert made["thresholds"] == [0.6, 0.7, 0.8]
    assert sorted(made["files"]) == sorted(mtcnn_files.NAMES)
    assert {len(checksum) for checksum in made["files"].values()} == {64}
    assert made != faces.load("mtcnn", models=models).made_with()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"name": "haar"}, "name must be one of 'none', 'mtcnn', 'dlib', got 'haar'"),
        ({"smallest": 11}, "at least 12 pixels, got 11"),
        ({"smallest": 40.5}, "must be a positive integer"),
        ({"threshold": float("nan")}, "must be a finite number, got nan"),
        ({"threshold": "0.5"}, "must be a finite number, got '0.5'"),
        ({"threshold": 1.5}, "a probability, 0 to 1, got 1.5"),
        ({}, "not in any folder: none was given; get them with 'lbpmap models fetch mtcnn'"),
    ],
)
def test_wrong_settings(arguments, expected):
    with pytest.raises((OSError, TypeError, ValueError)) as caught:
        faces.load(**{"name": "mtcnn", **arguments})
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_error_says_where_the_files_were_looked_for(models, tmp_path):
    part, empty = tmp_path / "part", tmp_path / "empty"
    shutil.copytree(models / "mtcnn", part / "mtcnn")
    (part / "mtcnn" / "det2.caffemodel").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        faces.load("mtcnn", models=[empty, part])
    said = str(caught.value)
    assert f"{empty / 'mtcnn'}, {part / 'mtcnn'} (without det2.caffemodel)" in said
    assert "lbpmap models fetch mtcnn" in said
    assert "lbpmap models import FOLDER" in said
    assert faces.load("mtcnn", models=[empty, part, models]).name == "mtcnn"


@pytest.fixture
def spoilt(models, tmp_path):
    """Give a copy of the files, to be spoilt, and what loads them."""
    folder = tmp_path / "mtcnn"
    shutil.copytree(models / "mtcnn", folder, copy_function=shutil.copyfile)

    def error():
        with pytest.raises((OSError, ValueError)) as caught:
            faces.load("mtcnn", models=tmp_path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return folder, error


def test_a_net_of_another_kind_is_refused(spoilt):
    folder, error = spoilt
    shutil.copyfile(folder / "det3.prototxt", folder / "det2.prototxt")
    shutil.copyfile(folder / "det3.caffemodel", folder / "det2.caffemodel")
    said = error()
    assert said.startswith(f"{folder / 'det2.prototxt'}: not det2 of MTCNN")
    assert "data 1 x 3 x 48 x 48" in said
    assert "data 1 x 3 x 24 x 24" in said


def test_an_input_of_another_size_is_refused(spoilt):
    folder, error = spoilt
    deploy = folder / "det1.prototxt"
    deploy.write_text(deploy.read_text().replace("input_dim: 12", "input_dim: 24"))
    assert f"{deploy}: not det1 of MTCNN: its input and outputs are data 1 x 3 x 24 x 24" in error()


def test_weights_of_other_layers_are_refused(spoilt):
    folder, error = spoilt
    deploy = folder / "det1.prototxt"
    deploy.write_text(deploy.read_text().replace('name: "conv3"', 'name: "conv7"'))
    assert "has no weights for conv7" in error()
    shutil.copyfile(folder / "det2.caffemodel", folder / "det1.caffemodel")
    assert str(folder / "det1.caffemodel") in error()


def test_python_layers_are_refused(spoilt):
    folder, error = spoilt
    deploy = folder / "det3.prototxt"
    deploy.write_text(deploy.read_text() + 'layer { name: "own" type: "Python" bottom: "prob1" }')
    assert f'{deploy}: layer "own" runs Python code of its own' in error()


def test_damaged_files_are_refused(spoilt):
    folder, error = spoilt
    (folder / "det1.caffemodel").write_bytes(b"\xff" * 100)
    assert str(folder / "det1.caffemodel") in error()
    (folder / "det1.prototxt").write_text("layer { \x1b[2J")
    assert str(folder / "det1.prototxt") in error()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, -1e30])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_weights_may_be_anybodys(models, montage, which, value):
    """Boxes without an end, or inside out, are dropped, not followed."""
    own = faces.load("mtcnn", models=models)
    picture = montage[0][:200, 180:380]
    layer = ["conv4-2", "conv5-2", "conv6-2"][which]
    own.nets[which].params[layer][1].data[...] = value
    found = own.detect(picture)
    assert np.isfinite(found.boxes).all()
    own.nets[which].params[layer][1].data[...] = [0.9, 0.0, -0.9, 0.0]
    found = own.detect(picture)
    assert (found.boxes[:, :2] < found.boxes[:, 2:]).all()


def slow_choice(boxes, scores, most, of_smaller):
    """Choose one after another, each pair by itself."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        for j in kept:
            sides = [
                max(0, min(boxes[i][k + 2], boxes[j][k + 2]) - max(boxes[i][k], boxes[j][k]))
                for k in (0, 1)
            ]
            areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (boxes[i], boxes[j])]
            common = sides[0] * sides[1]
            if common / (min(areas) if of_smaller else sum(areas) - common) > most:
                break
        else:
            kept.append(i)
    return kept


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 40), of_smaller=st.booleans())
@settings(max_examples=60, deadline=None)
def test_boxes_apart_are_those_of_the_slow_choice(seed, count, of_smaller):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 20, (count, 2)).astype(float)
    boxes = np.hstack([corners, corners + rng.integers(1, 15, (count, 2))])
    scores = rng.integers(0, 5, count) / 4.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of_boxes, "_BLOCK", 7)
        chosen = of_boxes.apart(boxes, scores, 0.3, of_smaller=of_smaller)
    assert chosen.tolist() == slow_choice(boxes, scores, 0.3, of_smaller)


@given(
    x=st.floats(-300, 700), y=st.floats(-300, 700), side=st.floats(1, 600),
    size=st.sampled_from([24, 48]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_patches_show_what_they_say(x, y, side, size):
    """Of a picture whose grey levels are its coordinates, black beyond."""
    height, width = 430, 501
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.linspace(1, 255, width)
    ramp[..., 1] = np.linspace(1, 255, height)[:, None]
    patches, seen = Views(ramp).patches(np.array([[x, y, x + side, y + side]]), size)
    x0, y0, x1, y1 = seen[0]
    assert (x1 - x0) == (y1 - y0)
    # Cut from a half of at least twice the patch, to the nearest pixel of that.
    assert np.abs(seen[0] - [x, y, x + side, y + side]).max() <= max(1.0, side / size / 2)
    at = (np.arange(size) + 0.5) / size * (x1 - x0)
    step = (x1 - x0) / size + 1
    for axis, (start, end) in enumerate([(x0, width), (y0, height)]):
        places = start + at
        other = (y0, height) if axis == 0 else (x0, width)
        middle = (other[0] + at > step) & (other[0] + at < other[1] - step)
        lines = patches[0, :, :, axis] if axis else patches[0, :, :, axis].T
        inside = (places > step) & (places < end - step)
        expected = 1 + (places - 0.5) / (end - 1) * 254
        got = lines[:, middle].astype(float)
        if middle.any():
            assert np.abs(got[inside] - expected[inside, None]).max(initial=0) < 3
            outside = (places < -step) | (places > end + step)
            assert got[outside].max(initial=0) == 0


def test_the_largest_face():
    none = faces.load("none").detect(np.zeros((5, 5, 3), np.uint8))
    assert faces.largest(none) == 0
    equal = np.array([[0.0, 0, 4, 4], [9, 9, 17, 11], [1, 1, 5, 5]])
    assert faces.largest(faces.Detected(equal, np.ones(3), np.full((3, 5, 2), np.nan))) == 0
    with pytest.raises(ValueError, match="no face was found"):
        faces.largest(faces.Detected(np.empty((0, 4)), np.empty(0), np.empty((0, 5, 2))))
