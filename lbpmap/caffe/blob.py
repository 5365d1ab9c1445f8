"""Blobs: the arrays of a net, live for whoever reads or writes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lbpmap._arrays import F32

if TYPE_CHECKING:
    import torch

Shape = tuple[int, ...]

# Caffe's kMaxBlobAxes, which is also NumPy's limit before 2.0.
MAX_AXES = 32


def is_shape(dims: Shape) -> bool:
    """Whether an array can have these dimensions; NumPy refuses some even without elements.

    Examples
    --------
    >>> is_shape((0, 70_000, 70_000)), is_shape((0, 2**40, 2**40))
    (True, False)
    """
    return math.prod(dim for dim in dims if dim) < 2**60


# Which copy of the values is newer.
_NEITHER, _HOST, _DEVICE = 0, 1, 2


class Storage:
    """Memory that one blob owns, or several share, made when it is first asked for.

    A net of 124 million parameters is built in no time this way, and what a weights file is about
    to overwrite is never filled at random first.

    With a device there are two copies, host and device, and Caffe's rule between them: whoever is
    handed an array may write to it, so that side counts as the newer one, and the other is brought
    up to date when it is asked for next. On a CPU a tensor is a view of the host's array.

    Attributes
    ----------
    from_file : bool
        Whether the values were taken from a weights file.
    """

    def __init__(self, fill: Callable[[], F32] | None = None) -> None:
        self._fill = fill
        self._host: F32 | None = None
        self._device: torch.Tensor | None = None
        self._newer = _HOST
        self._shown = False
        self.from_file = False

    @property
    def untouched(self) -> bool:
        """Whether nothing was ever written here: all zeros, without memory."""
        return self._host is None and self._device is None and self._fill is None

    def take(self, count: int) -> F32:
        """Return the first `count` elements; a larger array of zeros where there are fewer."""
        if self._host is None and self._fill is not None:
            self._host = self._fill().reshape(-1)
        if self._newer == _DEVICE:
            assert self._device is not None
            if self._host is None or self._host.size < self._device.numel():
                self._host = np.empty(self._device.numel(), np.float32)
            self._host[: self._device.numel()] = self._device.cpu().numpy()
        self._newer = _HOST
        if self._host is None or self._host.size < count:
            self._host = np.zeros(count, np.float32)
        return self._host[:count]

    def show(self, count: int) -> F32:
        """Return what `take` does, for somebody who may keep it: results go there from now on."""
        self._shown = True
        return self.take(count)

    def take_unfilled(self, count: int) -> F32:
        """Return the first `count` elements for overwriting: of any content, the filler not run."""
        if self._host is None:
            self._host = np.empty(count, np.float32)
        return self.take(count)

    def tensor(self, count: int, device: torch.device) -> torch.Tensor:
        """Return the first `count` elements on a device, up to date, not to be written."""
        import torch

        if _is_host(device):
            return torch.from_numpy(self.take(count))
        there = self._device
        if self._newer == _HOST or there is None or there.device != device or there.numel() < count:
            self._device = there = torch.from_numpy(self.take(count)).to(device, copy=True)
            self._newer = _NEITHER
        return there[:count]

    def writable_tensor(self, count: int, device: torch.device) -> torch.Tensor:
        """Return what `tensor` does, for writing."""
        there = self.tensor(count, device)
        if not _is_host(device):
            self._newer = _DEVICE
        return there

    def put(self, values: torch.Tensor, *, keep: bool) -> None:
        """Take the values of a flat tensor, and with `keep` the tensor itself.

        On the host a tensor is kept only where nobody holds a view of the old memory, which would
        else no longer be live.
        """
        if not _is_host(values.device):
            self._device = values if keep else values.clone()
            self._newer = _DEVICE
        elif keep and not self._shown:
            self._host, self._newer = values.numpy(), _HOST
        else:
            self.take(values.numel())[...] = values.numpy()

    def clear(self) -> None:
        """Set everything to zero."""
        if self._shown and self._host is not None:
            self._host[...] = 0
            self._newer, self._device = _HOST, None
        else:
            self._host = self._device = self._fill = None
            self._newer = _HOST


def _is_host(device: torch.device) -> bool:
    """Whether tensors on a device lie in the host's own memory."""
    return device.type == "cpu"


class Blob:
    """An array with its gradient, as pycaffe shows them.

    Attributes
    ----------
    data, diff : float32 array
        Writable views of the values and their gradients; what is written takes effect. Zeros, or
        what the filler gives, until written.
    shape : tuple of int
    values, gradients : Storage
        The memory behind them.

    Examples
    --------
    >>> blob = Blob((2, 3))
    >>> blob.data[...] = 1
    >>> float(blob.data.sum()), blob.count, blob.num, blob.height
    (6.0, 6, 2, 1)
    """

    def __init__(self, shape: Shape, fill: Callable[[], F32] | None = None) -> None:
        self._shape = shape
        self.values = Storage(fill)
        self.gradients = Storage()

    @property
    def data(self) -> F32:
        """The values, a writable view."""
        return self.values.show(self.count).reshape(self._shape)

    @property
    def diff(self) -> F32:
        """The gradients, a writable view."""
        return self.gradients.show(self.count).reshape(self._shape)

    def array(self) -> F32:
        """Return the values for a layer's pass, which keeps no view of them."""
        return self.values.take(self.count).reshape(self._shape)

    def tensor(self, device: torch.device) -> torch.Tensor:
        """Return the values on a device, for reading."""
        return self.values.tensor(self.count, device).view(self._shape)

    def diff_tensor(self, device: torch.device) -> torch.Tensor:
        """Return the gradients on a device, for reading."""
        return self.gradients.tensor(self.count, device).view(self._shape)

    @property
    def shape(self) -> Shape:
        """The dimensions."""
        return self._shape

    @property
    def count(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

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
        shape = self.shape
        return shape[i] if i < len(shape) else 1

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

    def share(self, other: Blob) -> None:
        """Use the values of `other`, which has as many elements, instead of one's own."""
        self.values = other.values

    def share_diff(self, other: Blob) -> None:
        """Use the gradients of `other` instead of one's own."""
        self.gradients = other.gradients

    def unfilled(self) -> F32:
        """Return the values for overwriting, a view of any content: the filler is not run."""
        return self.values.take_unfilled(self.count).reshape(self._shape)
