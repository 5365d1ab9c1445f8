"""dlib's detector of frontal faces: histograms of gradients and linear filters, compiled in.

King 2015, "Max-margin object detection", arXiv:1502.00046; dlib's `get_frontal_face_detector`. Its
filters are of 80 pixels, so that smaller faces are found in a picture that is doubled first.
"""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lbpmap._arrays import F64, U8
from lbpmap.faces.found import Detected, by_score, colour, one

_FILTER = 80
# Of the picture as it is searched. dlib takes 8 bytes for each, and 3 more where it has doubled it.
_MOST_PIXELS = 2**27


@dataclass(frozen=True)
class Frontal:
    """The detector "dlib"; `load` makes it."""

    detector: Any
    version: str
    smallest: int
    doublings: int
    threshold: float
    name: str = "dlib"
    # Its buffers are its own.
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def detect(self, image: U8) -> Detected:
        """Find the faces of one picture."""
        return self._find(one(image, "detect"), "image")

    def detect_all(self, images: Sequence[U8]) -> list[Detected]:
        """Find the faces of each picture; dlib takes one at a time."""
        found = enumerate(colour(images, "detect_all"))
        return [self._find(image, f"picture {i}") for i, image in found]

    def made_with(self) -> dict[str, object]:
        """Say which dlib and settings; its filters are part of it."""
        return {
            "detector": self.name,
            "version": self.version,
            "smallest": self.smallest,
            "doublings": self.doublings,
            "threshold": self.threshold,
        }

    def _find(self, picture: U8, what: str) -> Detected:
        height, width = picture.shape[:2]
        pixels = height * width * 4**self.doublings
        if pixels > _MOST_PIXELS:
            raise ValueError(
                f"faces: {what} of {width} x {height} would be doubled {self.doublings} times to "
                f"{pixels} pixels, more than {_MOST_PIXELS}; look for larger faces than "
                f"{self.smallest} pixels (smallest, --smallest), or shrink it first"
            )
        if picture.strides != (3 * width, 3, 1):
            # dlib insists on these, of a single row or column too, where NumPy does not.
            picture = picture.copy()
        with self._turn:
            found, scores, _ = self.detector.run(picture, self.doublings, self.threshold)
        # A rectangle of dlib names its last pixel.
        boxes: F64 = np.array(
            [[r.left(), r.top(), r.right() + 1, r.bottom() + 1] for r in found], np.float64
        )
        return by_score(boxes.reshape(-1, 4), np.array(list(scores), np.float64))


def load(smallest: int, threshold: float | None) -> Frontal:
    """Make the detector.

    Parameters
    ----------
    smallest : int
        The picture is doubled until a face of that size has dlib's 80 pixels.
    threshold : float or None

    Raises
    ------
    ModuleNotFoundError
        When dlib is not installed.
    """
    try:
        dlib = importlib.import_module("dlib")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "faces: the detector \"dlib\" needs dlib: pip install 'lbpmap[faces]', which compiles "
            "it and needs CMake and a C++ compiler"
        ) from None
    doublings = max(0, math.ceil(math.log2(_FILTER / smallest)))
    return Frontal(
        dlib.get_frontal_face_detector(),
        str(dlib.__version__),
        smallest,
        doublings,
        0.0 if threshold is None else float(threshold),
    )
