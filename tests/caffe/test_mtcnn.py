"""MTCNN (Zhang et al. 2016), three nets that others trained, on either engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lbpmap import caffe, faces, pictures


def astronaut():
    return pytest.importorskip("skimage.data").astronaut()


def grace_hopper():
    folder = Path(pytest.importorskip("matplotlib").get_data_path()) / "sample_data"
    return pictures.read(folder / "grace_hopper.jpg")


# Where the pupils, the tip of the nose and the corners of the mouth are, read off the pictures by
# eye: (x, y).
FACES = {
    astronaut: [(203, 101), (247, 103), (224, 128), (203, 140), (245, 140)],
    grace_hopper: [(222, 189), (305, 186), (267, 237), (229, 281), (307, 279)],
}


@pytest.mark.parametrize("engine", ["numpy", "torch"])
@pytest.mark.parametrize("picture", FACES)
def test_finds_the_face_and_its_landmarks(shared, picture, engine):
    if engine == "torch":
        pytest.importorskip("torch")
    detector = faces.load("mtcnn", models=shared / "models", smallest=60)
    caffe.set_engine(engine)
    try:
        (box,), (score,), (marks,) = detector.detect(picture())
    finally:
        caffe.set_engine("auto")
    assert score > 0.99
    assert np.abs(marks - FACES[picture]).max() < 8, marks
    assert ((marks > box[:2]) & (marks < box[2:])).all()
