"""Blobs: the arrays of a net, live for whoever reads or writes them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lbpmap._arrays import F32

Shape = tuple[int, ...]

# Caffe's kMaxBlobAxes, which is also NumPy's limit before 2.0.
MAX_AXES = 32


class Storage:
    """Memory that one blob owns, or several share, made when it is first asked for.

    A net of 124 million parameters is built in no time this way, and what a weights file is about
    to overwrite is never filled at random first.

    Attributes
    ----------
    from_file : bool
        Whether the values were taken from a weights file.
    """

    def __init__(self, fill: Callable[[], F32] | None = None) -> None:
        self._fill = fill
        self._array: F32 | None = None
        self.from_file = False

    def take(self, count: int) -> F32:
        """Return the first `count` elements; a larger array of zeros where there are fewer."""
        if self._array is None and self._fill is not None:
            self._array = self._fill().reshape(-1)
        if self._array is None or self._array.size < count:
            self._array = np.zeros(count, np.float32)
        return self._array[:count]

    def take_unfilled(self, count: int) -> F32:
        """Return the first `count` elements for overwriting: of any content, the filler not run."""
        if self._array is None:
            self._array = np.empty(count, np.float32)
        return self.take(count)


class Blob:
    """An array with its gradient, as pycaffe shows them.

    Attributes
    ----------
    data, diff : float32 array
        Writable views of the values and their gradients; what is written takes effect. Zeros, or
        what the filler gives, until written.
    shape : tuple of int

    Examples
    --------
    >>> blob = Blob((2, 3))
    >>> blob.data[...] = 1
    >>> float(blob.data.sum()), blob.count, blob.num, blob.height
    (6.0, 6, 2, 1)
    """

    def __init__(self, shape: Shape, fill: Callable[[], F32] | None = None) -> None:
        self._shape = shape
        self._storage = Storage(fill)
        self._diff = Storage()

    @property
    def data(self) -> F32:
        """The values, a writable view."""
        return self._storage.take(self.count).reshape(self._shape)

    @property
    def diff(self) -> F32:
        """The gradients, a writable view."""
        return self._diff.take(self.count).reshape(self._shape)

    @property
    def shape(self) -> Shape:
        """The dimensions."""
        return self._shape

    @property
    def count(self) -> int:
        """The number of elements."""
        return math.prod(self._shape)

    @property
    def num(self) -> int:
        """First dimension, 1 where there is none."""
        return self._dimension(0)

    @property
    def channels(self) -> int:
        """Second dimension, 1 where there is none."""
        return self._dimension(1)

    @property
    def height(self) -> int:
        """Third dimension, 1 where there is none."""
        return self._dimension(2)

    @property
    def width(self) -> int:
        """Fourth dimension, 1 where there is none."""
        return self._dimension(3)

    def _dimension(self, i: int) -> int:
        return self._shape[i] if i < len(self._shape) else 1

    def reshape(self, *dims: int) -> None:
        """Change the dimensions; values are kept as far as memory allows.

        Raises
        ------
        ValueError
            When a dimension is negative or no integer.
        """
        if any(int(dim) != dim or dim < 0 for dim in dims):
            raise ValueError(f"Blob.reshape: dimensions must be integers from 0, got {dims}")
        self._shape = tuple(int(dim) for dim in dims)

    @property
    def from_file(self) -> bool:
        """Whether the values, or those that they are shared with, were taken from a file."""
        return self._storage.from_file

    def mark_from_file(self) -> None:
        """Note that a file has filled the values."""
        self._storage.from_file = True

    def share(self, other: Blob) -> None:
        """Use the values of `other`, which has as many elements, instead of one's own."""
        self._storage = other._storage

    def unfilled(self) -> F32:
        """Return the values for overwriting, a view of any content: the filler is not run."""
        return self._storage.take_unfilled(self.count).reshape(self._shape)
