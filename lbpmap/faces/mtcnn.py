"""MTCNN (Zhang, Zhang, Li, Qiao 2016, IEEE Signal Processing Letters 23:10, arXiv:1604.02878).

Three nets, each of which looks closer at fewer windows: the first at every window of 12 pixels of a
pyramid, the second and the third at squares around what the one before let through. Thresholds,
steps and their order are those of the authors' MATLAB program. The nets were made in a column-major
world: their pictures have height and width swapped.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lbpmap import caffe
from lbpmap._arrays import F32, F64, I64, U8, Bool
from lbpmap.faces import mtcnn_files
from lbpmap.faces.boxes import apart, moved, squared
from lbpmap.faces.found import Detected, by_score, colour, one
from lbpmap.faces.views import Views

# As in the authors' demo: sizes of faces from level to level, what a window must score to pass each
# net, and what two boxes may share within a level and otherwise.
FACTOR = 0.709
THRESHOLDS = (0.6, 0.7, 0.7)
_SHARE_OF_LEVEL, _SHARE = 0.5, 0.7
# The first net, as a map: windows of 12 pixels in steps of 2, so that n pixels hold n / 2 - 5.
_WINDOW, _STRIDE, _MARGIN = 12, 2, 10

# The first net sees so many pixels at a time, which takes some 80 MB: a level of several pictures,
# or a strip of one.
_PASS_PIXELS = 2**18
# So many pixels of pictures are kept, at 6 bytes each, while their windows go through the nets.
_GROUP_PIXELS = 2**24
# Windows that go through the second and the third net at a time, always so many, filled up with
# zeros: how a product of matrices is rounded hangs on how many rows it has.
_CHUNKS = (32, 8)
# Of more windows of a level, or of a picture, the best are kept; a face has some ten.
_MOST_WINDOWS = 2**13


@dataclass(frozen=True)
class Mtcnn:
    """The detector "mtcnn"; `load` makes it."""

    nets: tuple[caffe.Net, ...]
    checksums: dict[str, str]
    smallest: int
    thresholds: tuple[float, float, float]
    name: str = "mtcnn"
    # Nets have one memory for what they see.
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def detect(self, image: U8) -> Detected:
        """Find the faces of one picture."""
        return self._find_all([one(image, "detect")])[0]

    def detect_all(self, images: Sequence[U8]) -> list[Detected]:
        """Find the faces of many pictures; those of one size share the passes of the nets."""
        return self._find_all(colour(images, "detect_all"))

    def made_with(self) -> dict[str, object]:
        """Say which files and settings."""
        return {
            "detector": self.name,
            "smallest": self.smallest,
            "factor": FACTOR,
            "thresholds": list(self.thresholds),
            "files": dict(self.checksums),
        }

    def _find_all(self, images: list[U8]) -> list[Detected]:
        found: dict[int, Detected] = {}
        with self._turn:
            for group in _groups([image.shape[:2] for image in images]):
                views = [Views(images[i]) for i in group]
                found.update(zip(group, self._find(views)))
        return [found[i] for i in range(len(images))]

    def _find(self, views: list[Views]) -> list[Detected]:
        """Find the faces of pictures of one size."""
        owners, boxes = self._propose(views)
        owners, boxes, _, _ = self._refine(views, owners, boxes)
        owners, boxes, scores, marks = self._refine(views, owners, boxes, last=True)
        return [
            by_score(boxes[own], scores[own], marks[own])
            for own in (owners == i for i in range(len(views)))
        ]

    def _propose(self, views: list[Views]) -> tuple[I64, F64]:
        """Give squares that the first net lets through, and whose picture each is of."""
        height, width = views[0].height, views[0].width
        windows: list[list[F64]] = [[] for _ in views]
        for size in levels(height, width, self.smallest):
            step = max(1, _PASS_PIXELS // (size[0] * size[1]))
            for first in range(0, len(views), step):
                seen = np.stack([view.level(*size) for view in views[first : first + step]])
                maps = _maps(self.nets[0], seen)
                for i, (scores, moves) in enumerate(zip(*maps), first):
                    scale = np.array([width / size[1], height / size[0]])
                    windows[i].append(_windows(scores, moves, scale, self.thresholds[0]))
        squares = []
        for each in windows:
            rows = _best(np.concatenate(each) if each else np.empty((0, 9)))
            rows = rows[apart(rows[:, :4], rows[:, 4], _SHARE)]
            squares.append(squared(moved(rows[:, :4], rows[:, 5:])))
        owners = np.repeat(np.arange(len(views)), [len(each) for each in squares])
        return owners, np.concatenate(squares)

    def _refine(
        self, views: list[Views], owners: I64, boxes: F64, *, last: bool = False
    ) -> tuple[I64, F64, F64, F64]:
        """Hold squares against the second net, or against the last, which gives landmarks.

        Returns
        -------
        owners : int64 array (N,)
        boxes : float64 array (N, 4)
            Squares for the last net, or what the last net makes of its own.
        scores : float64 array (N,)
        marks : float64 array (N, 5, 2)
            NaN but from the last net.
        """
        at = 2 if last else 1
        good = _possible(boxes, views[0])
        owners, seen, out = _look(self.nets[at], views, owners[good], boxes[good], at)
        scores = out["prob1"][:, 1]
        better = moved(seen, out["conv6-2" if last else "conv5-2"])
        good = (scores > self.thresholds[at]) & _possible(better, views[0])
        # The last boxes are compared as they end, the others as they were seen.
        compared = better if last else seen
        chosen = _apart_each(owners, compared, scores, good, of_smaller=last)
        marks = np.full((len(chosen), 5, 2), np.nan)
        if last:
            # Shares of the square that was seen: five x, then five y.
            shares = out["conv6-3"][chosen].reshape(-1, 2, 5).transpose(0, 2, 1)
            corners, ends = seen[chosen, None, :2], seen[chosen, None, 2:]
            marks = corners + shares * (ends - corners)
        ended = better[chosen] if last else squared(better[chosen])
        return owners[chosen], ended, scores[chosen], marks


def load(folders: Sequence[Path], smallest: int, threshold: float | None) -> Mtcnn:
    """Make the detector.

    Parameters
    ----------
    folders : sequence of Path
        Each may hold a folder ``mtcnn``.
    smallest : int
    threshold : float or None
        Of the last net.

    Raises
    ------
    OSError, ValueError
        As `lbpmap.faces.load`.
    """
    last = THRESHOLDS[2] if threshold is None else float(threshold)
    if not 0 <= last <= 1:
        raise ValueError(f"faces.load: threshold of mtcnn is a probability, 0 to 1, got {last}")
    nets, checksums = mtcnn_files.open_nets(mtcnn_files.find(folders))
    return Mtcnn(nets, checksums, smallest, (*THRESHOLDS[:2], last))


def levels(height: int, width: int, smallest: float) -> Iterator[tuple[int, int]]:
    """Give the sizes (height, width) at which the first net's window is a face.

    Examples
    --------
    >>> list(levels(60, 80, 40))
    [(18, 24), (13, 18)]
    """
    while min(height, width) >= smallest:
        yield math.ceil(height * _WINDOW / smallest), math.ceil(width * _WINDOW / smallest)
        smallest /= FACTOR


def _groups(shapes: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
    """Part pictures into groups of one size, none of more than `_GROUP_PIXELS` unless alone."""
    of_size: dict[tuple[int, ...], list[int]] = {}
    for i, shape in enumerate(shapes):
        of_size.setdefault(shape, []).append(i)
    for shape, indices in of_size.items():
        step = max(1, _GROUP_PIXELS // math.prod(shape))
        for first in range(0, len(indices), step):
            yield indices[first : first + step]


def _show(net: caffe.Net, pictures: U8, count: int | None = None) -> dict[str, F32]:
    """Run uint8 pictures (N, H, W, 3) through a net, as a batch of `count`."""
    swapped = pictures.transpose(0, 3, 2, 1)
    blob = net.blobs["data"]
    blob.reshape(count or len(swapped), *swapped.shape[1:])
    data = blob.data
    np.subtract(swapped, np.float32(127.5), out=data[: len(swapped)])
    data *= np.float32(1 / 128)
    data[len(swapped) :] = 0
    out: dict[str, F32] = net.forward()
    return out


def _maps(net: caffe.Net, pictures: U8) -> tuple[F32, F32]:
    """Run the first net on whole pictures (N, H, W, 3), those that are too large in strips.

    Returns
    -------
    scores : float32 array (N, W / 2 - 5, H / 2 - 5)
        Rounded up.
    moves : float32 array (N, W / 2 - 5, H / 2 - 5, 4)
    """
    _, height, width, _ = pictures.shape
    step = max(1, _PASS_PIXELS // height // _STRIDE) * _STRIDE
    scores, moves = [], []
    for first in range(0, max(1, width - _MARGIN), step):
        out = _show(net, pictures[:, :, first : first + step + _MARGIN])
        scores.append(out["prob1"][:, 1].copy())
        moves.append(out["conv4-2"].transpose(0, 2, 3, 1).copy())
    return np.concatenate(scores, axis=1), np.concatenate(moves, axis=1)


def _windows(scores: F32, moves: F32, scale: F64, threshold: float) -> F64:
    """Give the windows of one level that pass, none close to a better one.

    Returns
    -------
    float64 array (N, 9)
        Box in the picture, score, moves.
    """
    cols, rows = np.nonzero(scores >= threshold)
    corners = np.stack([cols, rows], axis=1) * float(_STRIDE)
    boxes = np.hstack([corners * scale, (corners + _WINDOW) * scale])
    found = _best(np.column_stack([boxes, scores[cols, rows], moves[cols, rows]]))
    return found[apart(found[:, :4], found[:, 4], _SHARE_OF_LEVEL)]


def _best(windows: F64) -> F64:
    """Keep the best windows of too many."""
    finite = windows[np.isfinite(windows).all(axis=1)]
    if len(finite) <= _MOST_WINDOWS:
        return finite
    return finite[np.argsort(-finite[:, 4], kind="stable")[:_MOST_WINDOWS]]


def _possible(boxes: F64, view: Views) -> Bool:
    """Tell which boxes have a pixel, and an end: weights may be anybody's."""
    reach = 4 * max(view.height, view.width)
    with np.errstate(invalid="ignore"):
        sides = boxes[:, 2:] - boxes[:, :2]
        fits: Bool = (sides >= 1).all(axis=1) & (np.abs(boxes) <= reach).all(axis=1)
    return fits


def _look(
    net: caffe.Net, views: list[Views], owners: I64, boxes: F64, at: int
) -> tuple[I64, F64, dict[str, F64]]:
    """Show a net the squares of all pictures, `_CHUNKS` at a time.

    Returns
    -------
    owners : int64 array (N,)
        As given.
    seen : float64 array (N, 4)
        What was shown.
    out : dict of float64 arrays (N, ...)
    """
    stage = mtcnn_files.STAGES[at]
    count = _CHUNKS[at - 1]
    seen: F64 = np.empty((len(boxes), 4))
    out = {name: np.empty((len(boxes), n)) for name, n in stage.outputs.items()}
    for first in range(0, len(boxes), count):
        some = slice(first, first + count)
        patches: U8 = np.empty((len(boxes[some]), stage.size, stage.size, 3), np.uint8)
        for owner in np.unique(owners[some]):
            own = np.flatnonzero(owners[some] == owner)
            patches[own], seen[first + own] = views[owner].patches(boxes[first + own], stage.size)
        for name, values in _show(net, patches, count).items():
            out[name][some] = values[: len(patches)]
    return owners, seen, out


def _apart_each(owners: I64, boxes: F64, scores: F64, good: Bool, *, of_smaller: bool) -> I64:
    """Choose among the good boxes of each picture; give indices, pictures in order."""
    chosen: list[I64] = [np.empty(0, np.int64)]
    for owner in np.unique(owners[good]):
        own = np.flatnonzero(good & (owners == owner))
        chosen.append(own[apart(boxes[own], scores[own], _SHARE, of_smaller=of_smaller)])
    return np.concatenate(chosen)
