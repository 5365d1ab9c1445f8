"""MTCNN (Zhang et al. 2016), three nets that others trained, run as a pycaffe script runs them.

The nets were made in a column-major world: their pictures have height and width swapped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lbpmap import caffe, pictures
from lbpmap.resize import resize_image

SMALLEST_FACE, SHRINK = 60, 0.709
THRESHOLDS = (0.6, 0.7, 0.7)


@pytest.fixture(scope="module")
def nets(shared):
    folder = shared / "models" / "mtcnn"
    return [
        caffe.Net(folder / f"det{i}.prototxt", folder / f"det{i}.caffemodel", caffe.TEST)
        for i in (1, 2, 3)
    ]


def run(net, pictures):
    """Run square or whole RGB pictures, (N, H, W, 3) in 0..255, through a net that swaps axes."""
    blob = (pictures.astype(np.float32) - 127.5) / 128
    blob = blob.transpose(0, 3, 2, 1)
    net.blobs["data"].reshape(*blob.shape)
    return {name: out.copy() for name, out in net.forward(data=blob).items()}


def without_overlaps(boxes, scores, most, of_smaller=False):
    """Give the indices of boxes, best first, of which none covers another by more than `most`."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    left, kept = list(np.argsort(-scores)), []
    while left:
        best = left.pop(0)
        kept.append(best)
        corners = np.maximum(boxes[left, :2], boxes[best, :2])
        ends = np.minimum(boxes[left, 2:], boxes[best, 2:])
        common = np.prod(np.maximum(ends - corners, 0), axis=1)
        smaller, both = np.minimum(areas[left], areas[best]), areas[left] + areas[best] - common
        whole = smaller if of_smaller else both
        left = [i for i, share in zip(left, common / whole) if share <= most]
    return np.array(kept, int)


def squared(boxes):
    """Give squares of the longer side around the same centres."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.hstack([centres - half, centres + half])


def cut(picture, box, size):
    """Cut a box (x0, y0, x1, y1) out, with black beyond the picture, and stretch it."""
    x0, y0, x1, y1 = np.round(box).astype(int)
    height, width = picture.shape[:2]
    patch = np.zeros((max(1, y1 - y0), max(1, x1 - x0), 3), np.float32)
    ys, xs = slice(max(y0, 0), min(y1, height)), slice(max(x0, 0), min(x1, width))
    patch[ys.start - y0 : ys.stop - y0, xs.start - x0 : xs.stop - x0] = picture[ys, xs]
    return resize_image(patch, (size, size))


def propose(net, picture):
    """First stage: every window of 12 pixels at every scale."""
    found, scale = [], 12 / SMALLEST_FACE
    while min(picture.shape[:2]) * scale >= 12:
        size = tuple(int(np.ceil(n * scale)) for n in picture.shape[:2])
        out = run(net, resize_image(picture, size)[None])
        face = out["prob1"][0, 1].T
        rows, cols = np.nonzero(face >= THRESHOLDS[0])
        corners = np.stack([cols, rows], 1) * 2
        boxes = np.hstack([corners, corners + 12]) / scale
        moves = out["conv4-2"][0][:, cols, rows].T
        scores = face[rows, cols]
        kept = without_overlaps(boxes, scores, 0.5)
        found += [(boxes[i], moves[i], scores[i]) for i in kept]
        scale *= SHRINK
    boxes, moves, scores = map(np.array, zip(*found))
    kept = without_overlaps(boxes, scores, 0.7)
    return squared(moved(boxes[kept], moves[kept]))


def moved(boxes, moves):
    return boxes + np.tile(boxes[:, 2:] - boxes[:, :2], 2) * moves


def refine(net, picture, boxes, size, threshold, moves_name, most, of_smaller):
    out = run(net, np.stack([cut(picture, box, size) for box in boxes]))
    scores = out["prob1"][:, 1]
    good = np.flatnonzero(scores > threshold)
    boxes, out = boxes[good], {name: values[good] for name, values in out.items()}
    better = moved(boxes, out[moves_name])
    kept = without_overlaps(better, scores[good], most, of_smaller)
    return boxes[kept], better[kept], {name: values[kept] for name, values in out.items()}


def detect(nets, picture):
    """Return boxes, probabilities, and landmarks (faces, 5, 2) as (x, y)."""
    boxes = propose(nets[0], picture)
    _, boxes, _ = refine(nets[1], picture, boxes, 24, THRESHOLDS[1], "conv5-2", 0.7, False)
    boxes = squared(boxes)
    seen, boxes, out = refine(nets[2], picture, boxes, 48, THRESHOLDS[2], "conv6-2", 0.7, True)
    relative = out["conv6-3"].reshape(-1, 2, 5).transpose(0, 2, 1)
    marks = seen[:, None, :2] + relative * (seen[:, 2:] - seen[:, :2])[:, None]
    return boxes, out["prob1"][:, 1], marks


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
def test_finds_the_face_and_its_landmarks(nets, picture, engine):
    if engine == "torch":
        pytest.importorskip("torch")
    pixels = picture().astype(np.float32)
    caffe.set_engine(engine)
    try:
        boxes, scores, marks = detect(nets, pixels)
    finally:
        caffe.set_engine("auto")
    assert len(boxes) == 1
    assert scores[0] > 0.99
    assert np.abs(marks[0] - FACES[picture]).max() < 8, marks[0]
    assert (marks[0] > boxes[0, :2]).all()
    assert (marks[0] < boxes[0, 2:]).all()
