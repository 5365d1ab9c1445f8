"""Shape rules of layers that only move numbers: join, cut, copy, choose; `shapes` has the table.

Each function takes the layer's settings and the shapes of its bottoms, and raises ValueError where
Caffe would abort.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lbpmap.caffe.blob import Shape
from lbpmap.caffe.formats.messages import Message
from lbpmap.caffe.layers.plan import Param, Plan, axis_of, constant


def concat_axis(layer: Message, bottom: Shape) -> int:
    """Return the axis along which a Concat layer joins."""
    p = layer.concat_param
    old = p.HasField("concat_dim")
    return axis_of(bottom, p.concat_dim if old else p.axis, "concat_dim" if old else "axis")


def concat(layer: Message, bottoms: list[Shape]) -> Plan:
    """Lengths along one axis added up."""
    axis = concat_axis(layer, bottoms[0])
    for shape in bottoms[1:]:
        if len(shape) != len(bottoms[0]) or any(
            a != b for i, (a, b) in enumerate(zip(shape, bottoms[0])) if i != axis
        ):
            raise ValueError(f"inputs of shapes {bottoms[0]} and {shape} differ beside axis {axis}")
    total = sum(shape[axis] for shape in bottoms)
    return Plan(((*bottoms[0][:axis], total, *bottoms[0][axis + 1 :]),))


def slices(layer: Message, bottom: Shape) -> tuple[int, list[int]]:
    """Return the axis that a Slice layer cuts, and where each top begins, with the end."""
    p = layer.slice_param
    old = p.HasField("slice_dim")
    axis = axis_of(bottom, p.slice_dim if old else p.axis, "slice_dim" if old else "axis")
    tops, length = len(layer.top), bottom[axis]
    points = list(p.slice_point)
    if not points:
        if length % tops:
            raise ValueError(f"{tops} tops do not divide {length}; give slice_point")
        points = [length // tops * i for i in range(1, tops)]
    bounds = [0, *points, length]
    if len(points) != tops - 1 or any(a >= b for a, b in zip(bounds, bounds[1:])):
        raise ValueError(
            f"slice_point {points} must be {tops - 1} rising number(s) between 0 and {length}"
        )
    return axis, bounds


def slice_(layer: Message, bottoms: list[Shape]) -> Plan:
    """Parts of one axis."""
    axis, bounds = slices(layer, bottoms[0])
    head, tail = bottoms[0][:axis], bottoms[0][axis + 1 :]
    return Plan(tuple((*head, b - a, *tail) for a, b in zip(bounds, bounds[1:])))


def flatten(layer: Message, bottoms: list[Shape]) -> Plan:
    """Axes from `axis` to `end_axis` as one."""
    p = layer.flatten_param
    first, last = axis_of(bottoms[0], p.axis), axis_of(bottoms[0], p.end_axis, "end_axis")
    if first > last + 1:
        raise ValueError(f"axis {p.axis} lies behind end_axis {p.end_axis}")
    middle = math.prod(bottoms[0][first : last + 1])
    return Plan(((*bottoms[0][:first], middle, *bottoms[0][last + 1 :]),))


def reshape(layer: Message, bottoms: list[Shape]) -> Plan:
    """Dimensions as given: 0 copies one, -1 takes what is left."""
    p, shape = layer.reshape_param, bottoms[0]
    first = p.axis if p.axis >= 0 else len(shape) + p.axis + 1
    last = len(shape) if p.num_axes == -1 else first + p.num_axes
    if not 0 <= first <= last <= len(shape) or p.num_axes < -1:
        raise ValueError(f"axis {p.axis}, num_axes {p.num_axes} do not fit the input {shape}")
    old, dims = shape[first:last], list(p.shape.dim)
    if dims.count(-1) > 1 or min(dims, default=0) < -1:
        raise ValueError(f"shape {dims} may hold -1 once, and nothing below")
    if any(dim == 0 and i >= len(old) for i, dim in enumerate(dims)):
        raise ValueError(f"shape {dims} copies a dimension that the input {shape} lacks")
    dims = [old[i] if dim == 0 else dim for i, dim in enumerate(dims)]
    if -1 in dims:
        known = math.prod(dim for dim in dims if dim != -1)
        dims[dims.index(-1)] = math.prod(old) // known if known else 0
    if math.prod(dims) != math.prod(old):
        raise ValueError(f"an input of shape {shape} cannot take shape {list(p.shape.dim)}")
    return Plan(((*shape[:first], *dims, *shape[last:]),))


def crop_offsets(layer: Message, bottoms: Sequence[Shape]) -> list[int]:
    """Return where a Crop layer starts, axis by axis."""
    data, reference = bottoms
    p = layer.crop_param
    axis = axis_of(data, p.axis)
    if len(data) != len(reference):
        raise ValueError(f"inputs of shapes {data} and {reference} have not as many axes")
    if len(p.offset) not in (0, 1, len(data) - axis):
        raise ValueError(f"{len(p.offset)} offsets for {len(data) - axis} axes")
    given = list(p.offset) or [0]
    offsets = [0] * axis + (given * (len(data) - axis) if len(given) == 1 else given)
    for i in range(axis, len(data)):
        if offsets[i] + reference[i] > data[i]:
            raise ValueError(
                f"offset {offsets[i]} + {reference[i]} is beyond {data[i]} on axis {i}"
            )
    return offsets


def crop(layer: Message, bottoms: list[Shape]) -> Plan:
    """Cut the first bottom to the second's size, from `axis` on."""
    axis = axis_of(bottoms[0], layer.crop_param.axis)
    crop_offsets(layer, bottoms)
    return Plan((bottoms[0][:axis] + bottoms[1][axis:],))


def tile(layer: Message, bottoms: list[Shape]) -> Plan:
    """Make one axis `tiles` times as long."""
    p, shape = layer.tile_param, bottoms[0]
    axis = axis_of(shape, p.axis)
    if p.tiles < 1:
        raise ValueError(f"tiles is {p.tiles}, it must be given and at least 1")
    return Plan(((*shape[:axis], shape[axis] * p.tiles, *shape[axis + 1 :]),))


def embed(layer: Message, bottoms: list[Shape]) -> Plan:
    """Make a row of the weights (input_dim, num_output) of every number of the bottom."""
    p = layer.embed_param
    if p.num_output < 1 or p.input_dim < 1:
        raise ValueError(
            f"num_output is {p.num_output}, input_dim is {p.input_dim}; both must be at least 1"
        )
    params: tuple[Param, ...] = (Param((p.input_dim, p.num_output), p.weight_filler),)
    if p.bias_term:
        params += (Param((p.num_output,), p.bias_filler),)
    return Plan(((*bottoms[0], p.num_output),), params)


def parameter(layer: Message, bottoms: list[Shape]) -> Plan:
    """Give the layer's one parameter as its top; it starts at zero, as Caffe has no filler here."""
    shape = tuple(layer.parameter_param.shape.dim)
    if min(shape, default=0) < 0:
        raise ValueError(f"shape {shape} has a negative dimension")
    return Plan((shape,), (Param(shape, constant(0)),))


def batch_reindex(layer: Message, bottoms: list[Shape]) -> Plan:
    """Make an item for every index of the second bottom."""
    data, indices = bottoms
    if not data:
        raise ValueError("the first input has no axes, so that there are no items to choose from")
    if len(indices) != 1:
        raise ValueError(f"indices must have one axis, the second input has shape {indices}")
    return Plan(((*indices, *data[1:]),))


def filter_(layer: Message, bottoms: list[Shape]) -> Plan:
    """Keep all items for now: how many the selector keeps is known only when the layer runs."""
    *data, selector = bottoms
    if len(layer.top) != len(data):
        raise ValueError(
            f"has {len(layer.top)} tops for {len(data)} bottoms before the selector; give one each"
        )
    if set(layer.top) & set(layer.bottom):
        raise ValueError("cannot filter in place, its tops are shorter; give them other names")
    if not selector or math.prod(selector[1:]) != 1:
        raise ValueError(f"the selector must hold a number an item, its shape is {selector}")
    for shape in data:
        if shape[:1] != selector[:1]:
            raise ValueError(
                f"an input of shape {shape} has not as many items as the selector, {selector[0]}"
            )
    return Plan(tuple(data))
