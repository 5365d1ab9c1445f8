"""Detectors by name."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from lbpmap._checks import one_of, positive
from lbpmap.faces.found import Detector, WholePicture

Folders = Union[str, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]]]


@dataclass(frozen=True)
class Settings:
    """What `load` was asked for: folders to look in, smallest face, threshold or None."""

    models: tuple[Path, ...]
    smallest: int
    threshold: float | None


def _none(settings: Settings) -> Detector:
    return WholePicture()


def _mtcnn(settings: Settings) -> Detector:
    from lbpmap.faces import mtcnn

    return mtcnn.load(settings.models, settings.smallest, settings.threshold)


def _dlib(settings: Settings) -> Detector:
    from lbpmap.faces import frontal

    return frontal.load(settings.smallest, settings.threshold)


#: What makes each detector; modules that cost to import are imported then.
DETECTORS: dict[str, Callable[[Settings], Detector]] = {
    "none": _none,
    "mtcnn": _mtcnn,
    "dlib": _dlib,
}


def load(
    name: str,
    *,
    models: Folders | None = None,
    smallest: int = 40,
    threshold: float | None = None,
) -> Detector:
    """Make a detector of faces.

    Parameters
    ----------
    name : {"none", "mtcnn", "dlib"}
        "none" finds the whole picture, of score 1: the input is a face crop already. "mtcnn" is
        that of Zhang et al. (2016), with its own files, which the user must have. "dlib" is dlib's
        compiled-in detector of frontal faces, without landmarks.
    models : path, or sequence of paths, optional
        Folders that may hold the folder ``mtcnn``; the first that has all its files is used.
    smallest : int, default 40
        Side in pixels of the smallest face that is looked for, at least 12; half of it takes four
        times as long. "mtcnn" may find faces of half that side too. dlib's own is 80: the picture
        is doubled as often as a smaller one needs. "none" does not look at it.
    threshold : float, optional
        What a face must score: with "mtcnn" a probability, 0.7 left out; with "dlib" a distance
        from a plane, 0 left out. Every score of "none" is 1.

    Returns
    -------
    Detector

    Raises
    ------
    FileNotFoundError
        When "mtcnn" is in none of `models`.
    ModuleNotFoundError
        When dlib is not installed.
    TypeError, ValueError
        When an argument is wrong, or a file is not what it should be.

    Examples
    --------
    >>> import numpy as np
    >>> load("none").detect(np.zeros((20, 30, 3), np.uint8)).boxes
    array([[ 0.,  0., 30., 20.]])
    """
    one_of(name, tuple(DETECTORS), "name", "faces.load")
    if positive(smallest, "smallest", "faces.load") < 12:
        raise ValueError(f"faces.load: smallest must be at least 12 pixels, got {smallest}")
    if threshold is not None and not (
        isinstance(threshold, (int, float)) and math.isfinite(threshold)
    ):
        raise ValueError(f"faces.load: threshold must be a finite number, got {threshold!r}")
    folders = [models] if isinstance(models, (str, os.PathLike)) else (models or [])
    places = tuple(Path(folder) for folder in folders)
    return DETECTORS[name](Settings(places, int(smallest), threshold))
