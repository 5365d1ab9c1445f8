"""ONNX nodes and initializers as they come, and the place of one layer among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lbpmap._arrays import Array
from lbpmap.caffe.blob import Blob, Shape
from lbpmap.caffe.export.sizes import Length, Lengths
from lbpmap.caffe.layers.plan import Layer

if TYPE_CHECKING:
    import onnx


class NoForm(ValueError):
    """A layer that ONNX has no nodes for; the text says why, and what to do."""


class NeedsFixed(Exception):
    """A layer that can only be written where an axis has one length."""


@dataclass(frozen=True)
class Value:
    """A blob on its way through a graph.

    Attributes
    ----------
    name : str
        Of its tensor.
    lengths : tuple of int or str
        Names stand for free axes.
    shape : tuple of int
        As in the net, when it was exported.
    """

    name: str
    lengths: Lengths
    shape: Shape


class Writer:
    """A graph that grows.

    Attributes
    ----------
    nodes : list of onnx.NodeProto
        In order.
    initializers : list of (str, array)
        By name.
    """

    def __init__(self, taken: Sequence[str] = ()) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[tuple[str, Array]] = []
        self._taken = set(taken)
        self._params: dict[tuple[int, Shape], tuple[Blob, str]] = {}
        self._constants: dict[tuple[str, Shape, bytes], str] = {}

    def fresh(self, wish: str) -> str:
        """Give a name that nothing has yet."""
        name, count = wish, 1
        while name in self._taken:
            count += 1
            name = f"{wish}_{count}"
        self._taken.add(name)
        return name

    def add(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], name: str, **attributes: Any
    ) -> None:
        """Append a node."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))

    def initializer(self, values: Array, wish: str) -> str:
        """Store an array, and give its name."""
        name = self.fresh(wish)
        self.initializers.append((name, values))
        return name

    def constant(self, values: Array, wish: str = "constant") -> str:
        """Store a small array, once however often it is asked for."""
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._constants:
            self._constants[key] = self.initializer(values, wish)
        return self._constants[key]

    def parameter(self, blob: Blob, shape: Shape, wish: str) -> str:
        """Store a parameter in some shape; layers that share it share what is stored."""
        key = (id(blob.values), shape)
        if key not in self._params:
            # The blob is kept, so that its memory's id stays its own.
            self._params[key] = blob, self.initializer(blob.array().reshape(shape), wish)
        return self._params[key][1]


class Place:
    """Where a layer writes its nodes.

    Attributes
    ----------
    layer : Layer
    bottoms, tops : list of Value
    """

    def __init__(
        self, writer: Writer, layer: Layer, bottoms: list[Value], tops: list[Value]
    ) -> None:
        self.writer, self.layer, self.bottoms, self.tops = writer, layer, bottoms, tops
        self._named = 0

    def add(self, op: str, *inputs: str, top: str | None = None, **attributes: Any) -> str:
        """Append a node of one output, which is returned: the tensor `top`, or a new one."""
        return self.add_many(op, inputs, [top], **attributes)[0]

    def add_many(
        self, op: str, inputs: Sequence[str], tops: Sequence[str | None], **attributes: Any
    ) -> list[str]:
        """Append a node with an output for each of `tops`, where None stands for a new name."""
        self._named += 1
        name = self.layer.name if self._named == 1 else f"{self.layer.name}/{self._named}"
        outputs = [self.writer.fresh(f"{self.layer.name}/{op}") if t is None else t for t in tops]
        self.writer.add(op, inputs, outputs, name, **attributes)
        return outputs

    def param(self, i: int, shape: Shape | None = None) -> str:
        """Name the layer's parameter `i`, in its own shape or another."""
        blob = self.layer.blobs[i]
        shape = tuple(blob.shape) if shape is None else shape
        return self.writer.parameter(blob, shape, f"{self.layer.name}.{i}")

    def floats(self, values: float | Sequence[float] | Array) -> str:
        """Name a float32 constant."""
        return self.writer.constant(np.asarray(values, np.float32))

    def ints(self, values: int | Sequence[int]) -> str:
        """Name an int64 constant."""
        return self.writer.constant(np.asarray(values, np.int64))

    def reshape(
        self, name: str, old: Lengths, new: Sequence[Length], top: str | None = None
    ) -> str:
        """Append a Reshape; a free axis keeps its place, or is the one whose length is inferred."""
        kept = [
            isinstance(length, str) and i < len(old) and old[i] == length
            for i, length in enumerate(new)
        ]
        dims = [
            0 if keeps else -1 if isinstance(length, str) else length
            for length, keeps in zip(new, kept)
        ]
        if dims.count(-1) > 1:
            raise NeedsFixed
        return self.add("Reshape", name, self.ints(dims), top=top)


def fixed(length: Length) -> int:
    """Return a length that must not be free."""
    if isinstance(length, str):
        raise NeedsFixed
    return length


def number(value: float) -> float:
    """Return a setting as the float32 that it is."""
    return float(np.float32(value))
