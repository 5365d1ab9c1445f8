"""What the data layers have in common: a source fills a layer's tops with its next batch."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lbpmap._arrays import F32
from lbpmap.caffe.blob import Blob, Shape


class Source(Protocol):
    """Where a data layer takes its batches from.

    Attributes
    ----------
    tops : tuple of tuple of int
        Shapes of the tops: at first those of the first batch, then those of the last one.
    """

    tops: tuple[Shape, ...]

    def fill(self, tops: list[Blob], rng: np.random.Generator) -> None:
        """Write the next batch into the tops, which take its shape."""


def reshaped(tops: list[Blob], shapes: tuple[Shape, ...]) -> list[F32]:
    """Give blobs new shapes, and return their values for overwriting."""
    for top, shape in zip(tops, shapes):
        if top.shape != shape:
            top.reshape(*shape)
    return [top.array() for top in tops]


def positive(value: int, name: str) -> int:
    """Return a number of the prototxt that must be at least 1."""
    if value < 1:
        raise ValueError(f"{name} must be at least 1")
    return value
