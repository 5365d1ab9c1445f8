"""Batches of labelled pictures, one after another, for the Data and the ImageData layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lbpmap._arrays import Array
from lbpmap.caffe.blob import Blob, Shape
from lbpmap.caffe.data import transform
from lbpmap.caffe.data.source import reshaped

# A blob's elements are counted in 32 bits in Caffe.
_MAX_COUNT = 2**31 - 1


@dataclass(frozen=True)
class Item:
    """A picture, uint8 or float32 (C, H, W), with its label; `name` is for errors."""

    values: Array
    label: float
    name: str


class Items(Protocol):
    """Pictures without end."""

    def take(self, rng: np.random.Generator) -> Item:
        """Return the next one."""


class Pictures:
    """A source of pictures that are transformed on their way.

    As in Caffe, the first picture of a batch decides its shape: pictures of different sizes can be
    read in batches of one, or with a crop.

    Parameters
    ----------
    items : Items
    first : Item
        What the tops' first shapes are told by.
    transformation : Transformation
    batch : int
    labelled : bool
        Whether there is a second top, the labels.
    """

    def __init__(
        self,
        items: Items,
        first: Item,
        transformation: transform.Transformation,
        batch: int,
        labelled: bool,
    ) -> None:
        self._items = items
        self._transformation = transformation
        self._batch = batch
        self._labelled = labelled
        self.tops: tuple[Shape, ...] = self._shapes(self._output_shape(first))

    def fill(self, tops: list[Blob], rng: np.random.Generator) -> None:
        """Write the next batch into the tops."""
        item = self._items.take(rng)
        shape = self._output_shape(item)
        self.tops = self._shapes(shape)
        arrays = reshaped(tops, self.tops)
        for i in range(self._batch):
            if i:
                item = self._items.take(rng)
            if i and self._output_shape(item) != shape:
                raise ValueError(
                    f"{item.name}: {_size(item.values.shape)} in a batch that began with "
                    f"{_size(shape)}; resize the pictures to one size, set crop_size, or use "
                    f"batch_size 1"
                )
            transform.apply(self._transformation, item.values, arrays[0][i], rng)
            if self._labelled:
                arrays[1][i] = item.label

    def _output_shape(self, item: Item) -> Shape:
        try:
            shape = transform.output_shape(self._transformation, item.values.shape)
        except ValueError as error:
            raise ValueError(f"{item.name}: {error}") from None
        if self._batch * math.prod(shape) > _MAX_COUNT:
            raise ValueError(
                f"{item.name}: {self._batch} pictures of {_size(shape)} have more than 2^31 - 1 "
                f"values; make batch_size smaller"
            )
        return shape

    def _shapes(self, shape: Shape) -> tuple[Shape, ...]:
        data = (self._batch, *shape)
        return (data, (self._batch,)) if self._labelled else (data,)


def _size(shape: Shape) -> str:
    return f"{shape[1]} x {shape[2]} pixels, {shape[0]} channel(s)"
