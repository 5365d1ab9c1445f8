"""Records of real faces, with probabilities drawn at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lbpmap
from lbpmap import pictures
from lbpmap.predict.html import thumbnails
from lbpmap.predict.records import Face, Record, Settings

LABELS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
NETS = ("rgb", "lbp", "cyclic_lbp", "cyclic_lbp_5", "cyclic_lbp_10")


@pytest.fixture(scope="session")
def settings() -> Settings:
    checksum = "0123456789abcdef" * 4
    nets = tuple(
        {"name": f"VGG_S_{name}", "representation": name, "sha256": {"weights": checksum}}
        for name in NETS
    )
    weights = {net["name"]: 0.2 for net in nets}
    fusion = {"method": "weighted", "weights": weights}
    return Settings(LABELS, nets, fusion, 10, {"detector": "none"}, 0.5, "0.1.0")


@pytest.fixture(scope="session")
def faces() -> list[np.ndarray]:
    """Give one face in colour, and some of 25 x 25 pixels."""
    lfw = pytest.importorskip("skimage.data").lfw_subset()[:9]
    photo = pictures.read(Path(lbpmap.__file__).parent / "astronaut.png")
    small = [np.repeat(np.uint8(255 * face)[..., None], 3, axis=2) for face in lfw]
    return [photo, *small]


@pytest.fixture(scope="session")
def records(settings, faces) -> list[Record]:
    """Give pictures, a film with a gap, a failure, and a picture without a face."""
    rng = np.random.default_rng(7)

    def face(pixels, sure, **more):
        towards = rng.dirichlet(np.full(len(LABELS), 0.4)) * sure + 0.05
        by_net = {net["name"]: tuple(rng.dirichlet(towards).tolist()) for net in settings.nets}
        mean = tuple(np.mean(list(by_net.values()), axis=0).tolist())
        return Face(by_net, mean, pictures=thumbnails(pixels, NETS), **more)

    found = [
        Record("portraits/astronaut.png", (face(faces[0], 40),)),
        Record("portraits/" + "a-name-without-a-space" * 6 + ".tif", (face(faces[1], 4),)),
        Record(
            "portraits/two.png",
            tuple(face(f, 3, box=(1.0, 2.0, 31.0, 42.0), score=0.5) for f in faces[2:4]),
        ),
        Record("portraits/torn.jpg", error="portraits/torn.jpg: damaged or cut short"),
        Record("portraits/meadow.jpg"),
    ]
    for i in range(24):
        seen = () if 8 <= i < 12 else (face(faces[i % 6 + 4], 20),)
        found.append(Record("film.mp4", seen, frame=12 * i, time=i * 0.5))
    return found
