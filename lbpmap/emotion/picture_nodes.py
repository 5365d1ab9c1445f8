"""ONNX nodes from a picture to what a net takes: grey, codes, colours, stretching, crop, mean.

Every step is that of `lbpmap._reference`. Grey, codes and colours are the same bytes as there:
grey is an integer rule, and in the "released" arithmetic every product and sum of the codes is a
node of its own in double precision, rounded by itself, so that ties fall as in `lbp.m`. Stretching
is done in double precision by gathered neighbours: ONNX's own Resize repeats the edge pixels, where
the pictures of the released nets were zero outside. ONNX Runtime on a CPU computes nodes as they
stand; a runtime that fuses a product and a sum, or computes in less than double, moves ties.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lbpmap import _kernels
from lbpmap._arrays import Array
from lbpmap.caffe.export import Front, Writer
from lbpmap.representations import Representation

#: Names of tensors in the graph: the file's input, the codes (int64), the mapped picture (uint8).
PICTURE, CODES, MAPPED = "picture", "codes", "mapped"
#: And of what they read.
MEAN, TABLE = "mean", "table"
# MATLAB's rgb2gray in integers: csrc/kernels_serial.c says why these.
_GRAY, _HALF, _WHOLE = (1253830, 2462235, 478239), 1 << 21, 1 << 22
# What the exact arithmetic adds to millionths before it drops digits.
_ROUNDING = 50
# Numbers of ONNX's element types.
_FLOAT, _UINT8, _INT32, _INT64, _DOUBLE = 1, 2, 6, 7, 11
_TO_THE_END = 2**63 - 1


def front(chosen: Representation, size: int, crop: int) -> Front:
    """Give the nodes that turn one picture into a net's input.

    Parameters
    ----------
    chosen : Representation
    size, crop : int
        Side of the stretched picture and of its centre, pixels.

    Returns
    -------
    Front
        Its input is "picture", uint8 (H, W, 3), RGB, of any size that has room for the
        neighbourhood. It reads the tensors "mean", float32 (3, crop, crop) or (3, 1, 1), BGR, and
        "table", uint8 (2^P, 3), which the file must hold.
    """

    def write(writer: Writer, name: str) -> None:
        nodes = _Nodes(writer)
        mapped = PICTURE
        if chosen.table is not None:
            codes = _codes(nodes, chosen, _gray(nodes))
            mapped = nodes.add("Gather", TABLE, codes, top=writer.fresh(MAPPED), axis=0)
        planes = _stretched(nodes, mapped, size, crop)
        nodes.add("Sub", planes, MEAN, top=name)

    return Front({PICTURE: (_UINT8, ("H", "W", 3))}, write)


class _Nodes:
    """Nodes of one output each, with names of their own."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def add(self, op: str, *inputs: str, top: str | None = None, **attributes: Any) -> str:
        """Append a node, and give its output."""
        name = self.writer.fresh(f"{PICTURE}/{op}")
        top = name if top is None else top
        self.writer.add(op, inputs, [top], name, **attributes)
        return top

    def constant(self, values: Any, dtype: type) -> str:
        """Name a constant."""
        return self.writer.constant(np.asarray(values, dtype))

    def ints(self, *values: int) -> str:
        """Name an int64 vector."""
        return self.constant(values, np.int64)


def _gray(nodes: _Nodes) -> str:
    """(weights . RGB + 1/2) rounded down, in int32."""
    wide = nodes.add("Cast", PICTURE, to=_INT32)
    weighed = nodes.add("Mul", wide, nodes.constant(_GRAY, np.int32))
    total = nodes.add("ReduceSum", weighed, nodes.ints(2), keepdims=0)
    total = nodes.add("Add", total, nodes.constant(_HALF, np.int32))
    return nodes.add("Div", total, nodes.constant(_WHOLE, np.int32))


def _codes(nodes: _Nodes, chosen: Representation, gray: str) -> str:
    """Bit i where sample i is not below the centre."""
    released = chosen.arithmetic == "released"
    dtype = np.float64 if released else np.int32
    values = nodes.add("Cast", gray, to=_DOUBLE) if released else gray
    radius = chosen.radius
    around = _kernels.Neighborhood(False, chosen.points, radius, released)
    seen: dict[tuple[int, int], str] = {}

    def pixels(dy: int, dx: int) -> str:
        if (dy, dx) not in seen:
            starts = nodes.ints(radius + dy, radius + dx)
            ends = nodes.ints(*(d - radius if d < radius else _TO_THE_END for d in (dy, dx)))
            seen[dy, dx] = nodes.add("Slice", values, starts, ends)
        return seen[dy, dx]

    centre, code = pixels(0, 0), ""
    limit = centre
    if not released:
        millions = nodes.add("Mul", centre, nodes.constant(1_000_000, dtype))
        limit = nodes.add("Sub", millions, nodes.constant(_ROUNDING, dtype))
    for i, (rows, cols, is_pixel, millionths, weights) in enumerate(around.samples()):
        corners = [pixels(dy, dx) for dy in rows for dx in cols]
        if is_pixel:
            bit = nodes.add("GreaterOrEqual", corners[0], centre)
        else:
            parts = [
                nodes.add("Mul", corner, nodes.constant(weight, dtype))
                for corner, weight in zip(corners, weights if released else millionths)
            ]
            total = parts[0]
            for part in parts[1:]:
                total = nodes.add("Add", total, part)
            bit = nodes.add("GreaterOrEqual", total, limit)
        worth = nodes.add(
            "Mul", nodes.add("Cast", bit, to=_INT64), nodes.constant(1 << i, np.int64)
        )
        last = i == chosen.points - 1
        top = nodes.writer.fresh(CODES) if last else None
        code = nodes.add("Add", code or nodes.constant(0, np.int64), worth, top=top)
    return code


def _stretched(nodes: _Nodes, mapped: str, size: int, crop: int) -> str:
    """Give the centre of the stretched picture: float32 (1, 3, crop, crop), BGR, 0..255.

    As `lbpmap.resize.resize_image`, where "zero" outside the picture is its own minimum.
    """
    values = nodes.add("Cast", mapped, to=_DOUBLE)
    low = nodes.add("ReduceMin", values, keepdims=0)
    above = nodes.add("Sub", values, low)
    for axis in (0, 1):
        above = _along(nodes, above, axis, size, crop)
    whole = nodes.add("Cast", nodes.add("Add", above, low), to=_FLOAT)
    reversed_ = nodes.add("Gather", whole, nodes.ints(2, 1, 0), axis=2)
    planes = nodes.add("Transpose", reversed_, perm=[2, 0, 1])
    return nodes.add("Unsqueeze", planes, nodes.ints(0))


def _along(nodes: _Nodes, image: str, axis: int, size: int, crop: int) -> str:
    """Stretch an axis to `size`, two neighbours each, and keep its middle."""
    first = (size - crop) // 2
    wanted: Array = np.arange(first, first + crop, dtype=np.float64) + 0.5
    length = nodes.add("Slice", nodes.add("Shape", image), nodes.ints(axis), nodes.ints(axis + 1))
    length = nodes.add("Cast", length, to=_DOUBLE)
    zero, one, half = (nodes.constant(value, np.float64) for value in (0, 1, 0.5))
    step = nodes.add("Div", length, nodes.constant(size, np.float64))
    at = nodes.add("Sub", nodes.add("Mul", nodes.constant(wanted, np.float64), step), half)
    below = nodes.add("Floor", at)
    above = nodes.add("Add", below, one)
    part = nodes.add("Sub", at, below)
    sides = (
        # What lies outside the picture counts for nothing; any pixel may stand for it.
        (nodes.add("GreaterOrEqual", below, zero), nodes.add("Sub", one, part),
         nodes.add("Max", below, zero)),
        (nodes.add("Less", above, length), part,
         nodes.add("Min", above, nodes.add("Sub", length, one))),
    )  # fmt: skip
    behind = nodes.ints(*range(1, 3 - axis))
    parts = []
    for inside, share, place in sides:
        weight = nodes.add("Mul", share, nodes.add("Cast", inside, to=_DOUBLE))
        pixels = nodes.add("Gather", image, nodes.add("Cast", place, to=_INT64), axis=axis)
        parts.append(nodes.add("Mul", pixels, nodes.add("Unsqueeze", weight, behind)))
    return nodes.add("Add", *parts)
