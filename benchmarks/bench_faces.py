"""Finding faces in a picture of 640 x 480, and cutting one out.

    python -m pytest benchmarks/bench_faces.py -s                      small: as CI runs it
    LBPMAP_BENCH=full python -m pytest benchmarks/bench_faces.py -s    longer turns, eight pictures

MTCNN needs its files: the folder `mtcnn` in the reference data's `models`, beside the checkout or
where LBPMAP_SHARED says. It is timed in turns with OpenCV's cascade of Haar features and with
dlib's detector, where they are installed: medians of one run, of which only ratios mean anything on
a machine that others share. How many faces each finds is printed too: six are there.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lbpmap import faces
from lbpmap.faces.views import Views
from lbpmap.speed.timing import in_turns

FULL = os.environ.get("LBPMAP_BENCH") == "full"
SECONDS, ROUNDS = (10.0, 3) if FULL else (0.1, 1)
BATCH = 8 if FULL else 2


@pytest.fixture(scope="module")
def crowd():
    """Give a picture of six faces, about 40 to 150 pixels tall."""
    astronaut = pytest.importorskip("skimage.data").astronaut()[20:250, 110:340]
    picture = np.full((480, 640, 3), 110, np.uint8)
    for x, y, side in [(0, 0, 300), (320, 10, 200), (540, 20, 90),
                       (30, 330, 140), (250, 320, 80), (400, 240, 230)]:  # fmt: skip
        small = Image.fromarray(astronaut).resize((side, side), Image.BILINEAR, reducing_gap=2)
        picture[y : y + side, x : x + side] = small
    return picture


@pytest.fixture(scope="module")
def mtcnn():
    named = os.environ.get("LBPMAP_SHARED")
    root = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (root / "models" / "mtcnn").is_dir():
        pytest.skip(f"no models/mtcnn in {root}")
    return faces.load("mtcnn", models=root / "models")


def others(picture):
    """Give calls of other detectors, each of which returns as many things as it finds."""
    calls = {}
    if importlib.util.find_spec("dlib"):
        dlib = faces.load("dlib")
        calls["dlib, doubled once"] = lambda: dlib.detect(picture).boxes
    if importlib.util.find_spec("cv2"):
        import cv2

        file = Path(getattr(cv2, "data").haarcascades) / "haarcascade_frontalface_default.xml"  # noqa: B009
        if file.is_file():
            cascade = cv2.CascadeClassifier(str(file))
            grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
            calls["OpenCV, Haar"] = lambda: cascade.detectMultiScale(grey, 1.1, 3, minSize=(40, 40))
    return calls


def test_detect(benchmark, mtcnn, crowd):
    calls = {
        "mtcnn": lambda: mtcnn.detect(crowd).boxes,
        "mtcnn, its first net": lambda: mtcnn._propose([Views(crowd)])[1],
        **others(crowd),
    }
    found = {name: len(call()) for name, call in calls.items()}
    medians = in_turns(calls, SECONDS)
    for name, seconds in medians.items():
        print(f"\n{name}: {1e3 * seconds:.1f} ms, finds {found[name]}", end="")
    benchmark.extra_info.update({name: round(1e3 * s, 1) for name, s in medians.items()})
    benchmark.pedantic(calls["mtcnn"], rounds=ROUNDS)


def test_detect_all(benchmark, mtcnn, crowd):
    images = [crowd] * BATCH
    calls = {
        "together": lambda: mtcnn.detect_all(images),
        "one by one": lambda: [mtcnn.detect(image) for image in images],
    }
    medians = {name: 1e3 * s / BATCH for name, s in in_turns(calls, SECONDS).items()}
    print("\n" + ", ".join(f"{name} {ms:.1f} ms a picture" for name, ms in medians.items()))
    benchmark.extra_info.update(medians)
    benchmark.pedantic(calls["together"], rounds=ROUNDS)


@pytest.mark.parametrize("size", [None, 48])
def test_align(benchmark, crowd, size):
    marks = np.array([[96, 83], [153, 86], [124, 118], [93, 133], [150, 136]])
    box = (60, 30, 180, 180)
    benchmark(lambda: faces.align(crowd, box, marks, size=size))
