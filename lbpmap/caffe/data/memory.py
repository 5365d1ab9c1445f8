"""The MemoryData layer's source: arrays of the user, a batch at a time."""

from __future__ import annotations

import warnings

import numpy as np

from lbpmap._arrays import F32
from lbpmap.caffe.blob import Blob, Shape
from lbpmap.caffe.data.source import positive, reshaped
from lbpmap.caffe.formats.messages import Message
from lbpmap.caffe.layers.plan import Layer


class Memory:
    """The arrays that were set last, round and round.

    Parameters
    ----------
    layer : LayerParameter
        Of a MemoryData layer.
    """

    def __init__(self, layer: Message) -> None:
        p = layer.memory_data_param
        self._item: Shape = tuple(
            positive(getattr(p, name), name) for name in ("channels", "height", "width")
        )
        self._batch = positive(p.batch_size, "batch_size")
        self.tops: tuple[Shape, ...] = ((self._batch, *self._item), (self._batch,))
        self._arrays: tuple[F32, F32] | None = None
        self._at = 0

    def take(self, data: F32, labels: F32) -> None:
        """Start anew with other arrays, of which no copy is made."""
        check_arrays(data, labels)
        if data.shape[1:] != self._item:
            raise ValueError(
                f"set_input_arrays: data must be {('N', *self._item)}, got {data.shape}"
            )
        if labels.shape not in ((len(data),), (len(data), 1, 1, 1)):
            raise ValueError(
                f"set_input_arrays: labels must be ({len(data)},) or ({len(data)}, 1, 1, 1), one "
                f"for each of data, got {labels.shape}"
            )
        if not len(data) or len(data) % self._batch:
            raise ValueError(
                f"set_input_arrays: {len(data)} items are no multiple of batch_size {self._batch}"
            )
        self._arrays, self._at = (data, labels.reshape(-1)), 0

    def fill(self, tops: list[Blob], rng: np.random.Generator) -> None:
        """Write the next batch into the tops."""
        if self._arrays is None:
            raise ValueError("has no data yet; call net.set_input_arrays(data, labels) first")
        # Planned with one axis, labels are handed out with four, as in Caffe.
        self.tops = (self.tops[0], (self._batch, 1, 1, 1))
        rows = slice(self._at, self._at + self._batch)
        for array, values in zip(reshaped(tops, self.tops), self._arrays):
            array[...] = values[rows].reshape(array.shape)
        self._at = (self._at + self._batch) % len(self._arrays[0])


def check_arrays(data: object, labels: object) -> None:
    """Refuse what is no float32 array, of which a view could be kept."""
    for name, array in (("data", data), ("labels", labels)):
        if not isinstance(array, np.ndarray) or array.dtype != np.float32:
            got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(
                f"set_input_arrays: {name} must be a float32 array, got {got}; use "
                f"astype(np.float32)"
            )


def set_arrays(layer: Layer, data: F32, labels: F32) -> None:
    """Give a MemoryData layer what it hands out from now on.

    Parameters
    ----------
    layer : Layer
        Of type MemoryData.
    data : float32 array (N, C, H, W)
        N a multiple of the layer's batch_size, the rest as its memory_data_param says. It is not
        copied, and not transformed: a transform_param has no effect on it, as in Caffe.
    labels : float32 array (N,) or (N, 1, 1, 1)

    Raises
    ------
    TypeError, ValueError
        When the layer is of another type, or an array of another dtype or shape.
    """
    if not isinstance(layer.state, Memory):
        raise ValueError(
            f'set_input_arrays: layer "{layer.name}" is of type {layer.type}; expected MemoryData'
        )
    layer.state.take(data, labels)
    if layer.param.HasField("transform_param"):
        warnings.warn(
            f'layer "{layer.name}": its transform_param has no effect on arrays that are set',
            stacklevel=3,
        )
