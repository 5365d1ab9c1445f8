"""Faces in pictures: where they are, and upright square crops of them.

Arrays in, arrays out. A detector is made by name with `load`: "none" takes the picture for a face
crop, "mtcnn" runs the three nets of Zhang et al. (2016) on `lbpmap.caffe`, "dlib" the detector that
is compiled into dlib. `align` cuts a found face out, `largest` chooses among several.

Coordinates are (x, y) in pixels from the outer corner of the first pixel: pixel i reaches from i to
i + 1, and a whole picture is the box 0, 0, width, height.
"""

from __future__ import annotations

from lbpmap.faces.aligning import AUTHORS_ASPECT, align
from lbpmap.faces.found import Detected, Detector, largest
from lbpmap.faces.loading import DETECTORS, load

__all__ = [
    "AUTHORS_ASPECT",
    "DETECTORS",
    "Detected",
    "Detector",
    "align",
    "largest",
    "load",
]
