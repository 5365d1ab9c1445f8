"""What every detector takes and gives, and the one that looks for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from lbpmap._arrays import F64, U8
from lbpmap._checks import Image, pictures


class Detected(NamedTuple):
    """The faces of one picture, by falling score.

    Attributes
    ----------
    boxes : float64 array (N, 4)
        x0, y0, x1, y1 in pixels; they may reach beyond the picture.
    scores : float64 array (N,)
        The detector's own: probabilities of "mtcnn", distances from a plane of "dlib".
    landmarks : float64 array (N, 5, 2)
        (x, y) of the eye at the left of the picture, the eye at its right, the tip of the nose and
        the corners of the mouth, left and right; NaN where the detector gives none.
    """

    boxes: F64
    scores: F64
    landmarks: F64


class Detector(Protocol):
    """What finds faces; `lbpmap.faces.load` makes one.

    One thread at a time is served; others wait.
    """

    @property
    def name(self) -> str:
        """Its key in `lbpmap.faces.DETECTORS`."""

    def detect(self, image: U8) -> Detected:
        """Find the faces of one picture.

        Parameters
        ----------
        image : uint8 array (H, W, 3), RGB, or (H, W), grey

        Returns
        -------
        Detected

        Raises
        ------
        TypeError, ValueError
            When it is no such array, or has no pixel.
        """

    def detect_all(self, images: Sequence[U8]) -> list[Detected]:
        """Find the faces of many pictures: what `detect` gives for each, in less time.

        Parameters
        ----------
        images : sequence of uint8 arrays, each as for `detect`
            Those of one size gain the most.

        Returns
        -------
        list of Detected

        Raises
        ------
        TypeError, ValueError
            As `detect`; the message says which picture.
        """

    def made_with(self) -> dict[str, object]:
        """Say what it was made with: settings, and SHA-256 of the files.

        Two detectors that say the same find the same.

        Returns
        -------
        dict
            Fit for JSON.
        """


def colour(images: Image, function: str) -> list[U8]:
    """Check one picture, or several, and give each as RGB, grey ones repeated three times."""
    return [
        item if item.ndim == 3 else np.repeat(item[..., None], 3, axis=2)
        for item in pictures(images, function).items
    ]


def one(image: Any, function: str) -> U8:
    """Check that there is one picture, and give it as RGB."""
    if (isinstance(image, np.ndarray) and image.ndim > 3) or isinstance(image, (list, tuple)):
        raise ValueError(f"{function}: expected one picture (H, W, 3), got several; use detect_all")
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] != 3:
        # `pictures` would take (N, H, W) for a batch of grey ones.
        raise ValueError(f"{function}: image must be (H, W, 3) RGB, got shape {image.shape}")
    return colour(image, function)[0]


def by_score(boxes: F64, scores: F64, landmarks: F64 | None = None) -> Detected:
    """Sort faces by falling score; equal ones stay in their order."""
    order = np.argsort(-scores, kind="stable")
    if landmarks is None:
        landmarks = np.full((len(boxes), 5, 2), np.nan)
    return Detected(boxes[order], scores[order], landmarks[order])


def largest(detected: Detected) -> int:
    """Tell which face has the largest box; of equal ones the first.

    Parameters
    ----------
    detected : Detected

    Returns
    -------
    int
        Its index.

    Raises
    ------
    ValueError
        When there is no face.

    Examples
    --------
    >>> boxes = np.array([[0.0, 0, 10, 10], [5, 5, 25, 20]])
    >>> largest(Detected(boxes, np.array([0.9, 0.8]), np.full((2, 5, 2), np.nan)))
    1
    """
    if not len(detected.boxes):
        raise ValueError("largest: no face was found")
    x0, y0, x1, y1 = detected.boxes.T
    return int(np.argmax((x1 - x0) * (y1 - y0)))


@dataclass(frozen=True)
class WholePicture:
    """The detector "none": its input is a face crop already, so that the picture is the box."""

    name: str = "none"

    def detect(self, image: U8) -> Detected:
        """Give one box, the whole picture, of score 1."""
        height, width = one(image, "detect").shape[:2]
        return by_score(np.array([[0.0, 0.0, width, height]]), np.ones(1))

    def detect_all(self, images: Sequence[U8]) -> list[Detected]:
        """Give one box a picture."""
        return [self.detect(image) for image in colour(images, "detect_all")]

    def made_with(self) -> dict[str, object]:
        """Give its name."""
        return {"detector": self.name}
