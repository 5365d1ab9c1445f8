"""An ONNX model whose weights go to the file from where they lie.

Through ONNX's messages 500 MB of weights would be copied five times. What is written here is the
same: protobuf's binary form is fields one after the other, so that initializers can follow the rest
of the graph, and the graph the rest of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from lbpmap._arrays import Array
from lbpmap.caffe.formats import wire

if TYPE_CHECKING:
    import onnx

# Numbers of fields: ModelProto.graph, GraphProto.initializer, TensorProto.raw_data.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
# TensorProto's names of types.
_TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "float64": 11}


@dataclass(frozen=True)
class OnnxFile:
    """A model and its arrays.

    Attributes
    ----------
    model : onnx.ModelProto
        Without a graph.
    graph : onnx.GraphProto
        Without initializers.
    arrays : sequence of (str, array)
        The initializers.
    """

    model: onnx.ModelProto
    graph: onnx.GraphProto
    arrays: Sequence[tuple[str, Array]]

    def write(self, file: BinaryIO) -> None:
        """Write the model.

        Raises
        ------
        OSError
            When the file cannot be written.
        """
        graph = self.graph.SerializeToString()
        heads = [_head(name, array) for name, array in self.arrays]
        total = len(graph) + sum(
            len(head) + array.nbytes for head, (_, array) in zip(heads, self.arrays)
        )
        file.write(self.model.SerializeToString())
        file.write(wire.key_and_length(_GRAPH, total))
        file.write(graph)
        for head, (_, array) in zip(heads, self.arrays):
            file.write(head)
            # Flat, as an array without elements has no bytes to view in its own shape.
            flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
            file.write(flat.view(np.uint8).data)


def _head(name: str, array: Array) -> bytes:
    """Encode an initializer up to its numbers."""
    from onnx import TensorProto

    tensor = TensorProto(name=name, dims=array.shape, data_type=_TYPES[array.dtype.name])
    head: bytes = tensor.SerializeToString() + wire.key_and_length(_RAW_DATA, array.nbytes)
    return wire.key_and_length(_INITIALIZER, len(head) + array.nbytes) + head
