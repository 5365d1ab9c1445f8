"""ONNX for layers that only move numbers, choose them or sum them up."""

from __future__ import annotations

import math

from lbpmap.caffe.export.onnx_writer import Place, fixed
from lbpmap.caffe.formats.messages import MESSAGES
from lbpmap.caffe.layers import arranging_rules

_Reduction = MESSAGES["ReductionParameter"]
_FLOAT = 1  # TensorProto.FLOAT
_INT64 = 7  # TensorProto.INT64
_TO_THE_START = -(2**63) + 1


def concat(at: Place) -> None:
    """Concat."""
    axis = arranging_rules.concat_axis(at.layer.param, at.bottoms[0].shape)
    at.add("Concat", *(bottom.name for bottom in at.bottoms), top=at.tops[0].name, axis=axis)


def slice_(at: Place) -> None:
    """Split, with the lengths of the parts."""
    axis, bounds = arranging_rules.slices(at.layer.param, at.bottoms[0].shape)
    fixed(at.bottoms[0].lengths[axis])
    parts = [end - start for start, end in zip(bounds, bounds[1:])]
    tops = [top.name for top in at.tops]
    at.add_many("Split", [at.bottoms[0].name, at.ints(parts)], tops, axis=axis)


def reshape(at: Place) -> None:
    """Reshape, to the shape that was planned; Flatten likewise."""
    at.reshape(at.bottoms[0].name, at.bottoms[0].lengths, at.tops[0].lengths, top=at.tops[0].name)


def crop(at: Place) -> None:
    """Slice, by the second bottom's own sizes where they are free."""
    data, reference = at.bottoms
    axis = at.layer.param.crop_param.axis % len(data.shape)
    offsets = arranging_rules.crop_offsets(at.layer.param, [data.shape, reference.shape])[axis:]
    axes = list(range(axis, len(data.shape)))
    lengths = reference.lengths[axis:]
    if any(isinstance(length, str) for length in lengths):
        sizes = at.add("Slice", at.add("Shape", reference.name), at.ints([axis]), at.ints([32]))
        ends = at.add("Add", sizes, at.ints(offsets))
    else:
        ends = at.ints([o + fixed(n) for o, n in zip(offsets, lengths)])
    at.add("Slice", data.name, at.ints(offsets), ends, at.ints(axes), top=at.tops[0].name)


def tile(at: Place) -> None:
    """Tile along one axis."""
    p, axes = at.layer.param.tile_param, len(at.bottoms[0].shape)
    repeats = [p.tiles if i == p.axis % axes else 1 for i in range(axes)]
    at.add("Tile", at.bottoms[0].name, at.ints(repeats), top=at.tops[0].name)


def embed(at: Place) -> None:
    """Gather rows of the weights."""
    places = at.add("Cast", at.bottoms[0].name, to=_INT64)
    biased = at.layer.param.embed_param.bias_term
    rows = at.add("Gather", at.param(0), places, top=None if biased else at.tops[0].name, axis=0)
    if biased:
        at.add("Add", rows, at.param(1), top=at.tops[0].name)


def batch_reindex(at: Place) -> None:
    """Gather items."""
    places = at.add("Cast", at.bottoms[1].name, to=_INT64)
    at.add("Gather", at.bottoms[0].name, places, top=at.tops[0].name, axis=0)


def parameter(at: Place) -> None:
    """Show the parameter."""
    at.add("Identity", at.param(0), top=at.tops[0].name)


def reduction(at: Place) -> None:
    """Sum, sum of absolute values or of squares, or mean, of all axes from `axis` on."""
    p, x = at.layer.param.reduction_param, at.bottoms[0].name
    axes = list(range(p.axis % len(at.bottoms[0].shape), len(at.bottoms[0].shape)))
    scaled = p.coeff != 1
    top = None if scaled else at.tops[0].name
    if p.operation == _Reduction.MEAN:
        total = at.add("ReduceMean", x, top=top, axes=axes, keepdims=0)
    else:
        if p.operation == _Reduction.ASUM:
            x = at.add("Abs", x)
        elif p.operation == _Reduction.SUMSQ:
            x = at.add("Mul", x, x)
        total = at.add("ReduceSum", x, at.ints(axes), top=top, keepdims=0)
    if scaled:
        at.add("Mul", total, at.floats(p.coeff), top=at.tops[0].name)


def argmax(at: Place) -> None:
    """TopK of the reversed rows, as of equals the last comes first in Caffe."""
    p, bottom, top = at.layer.param.argmax_param, at.bottoms[0], at.tops[0]
    along = p.HasField("axis")
    axis = p.axis % len(bottom.shape) if along else 1
    rows = bottom.name
    if not along and len(bottom.shape) != 2:
        rows = at.add("Flatten", rows, axis=1)
    lengths = [bottom.lengths[axis]] if along else bottom.lengths[1:]
    last = math.prod(fixed(length) for length in lengths) - 1
    back = at.add(
        "Slice", rows, at.ints([-1]), at.ints([_TO_THE_START]), at.ints([axis]), at.ints([-1])
    )
    values, places = at.add_many("TopK", [back, at.ints([p.top_k])], [None, None], axis=axis)
    order = at.add("Cast", at.add("Sub", at.ints(last), places), to=_FLOAT)
    if along:
        at.add("Identity", values if p.out_max_val else order, top=top.name)
        return
    chosen = at.add("Concat", order, values, axis=1) if p.out_max_val else order
    at.reshape(chosen, (bottom.lengths[0], "?"), top.lengths, top=top.name)
