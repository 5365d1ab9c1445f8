"""Layers on PyTorch that only move numbers: join, cut, repeat, choose, look up."""

from __future__ import annotations

import math

import torch

from lbpmap.caffe.layers import arranging_rules
from lbpmap.caffe.layers.plan import Layer

Tensors = list[torch.Tensor]


def split(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Show the bottom once a top; their gradients add up."""
    return [bottoms[0].view_as(bottoms[0]) for _ in layer.param.top]


def flatten(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Take some axes as one."""
    plan = arranging_rules.flatten(layer.param, [bottoms[0].shape])
    return [bottoms[0].reshape(plan.tops[0])]


def reshape(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Give other dimensions."""
    plan = arranging_rules.reshape(layer.param, [bottoms[0].shape])
    return [bottoms[0].reshape(plan.tops[0])]


def concat(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Join along an axis."""
    return [torch.cat(bottoms, arranging_rules.concat_axis(layer.param, bottoms[0].shape))]


def slice_(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Cut along an axis."""
    axis, bounds = arranging_rules.slices(layer.param, bottoms[0].shape)
    return [bottoms[0].narrow(axis, start, end - start) for start, end in zip(bounds, bounds[1:])]


def crop(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Cut to the size of a second blob, which gets no gradient."""
    shapes = [tuple(bottom.shape) for bottom in bottoms]
    offsets = arranging_rules.crop_offsets(layer.param, shapes)
    sizes = arranging_rules.crop(layer.param, shapes).tops[0]
    return [bottoms[0][tuple(slice(o, o + n) for o, n in zip(offsets, sizes))]]


def tile(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Repeat the whole along an axis; gradients of the copies add up."""
    p, shape = layer.param.tile_param, bottoms[0].shape
    axis = p.axis % len(shape)
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis:])
    copies = bottoms[0].reshape(outer, 1, inner).expand(outer, p.tiles, inner)
    return [copies.reshape(*shape[:axis], shape[axis] * p.tiles, *shape[axis + 1 :])]


def embed(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Look up a row of the weights for every number; the numbers get no gradient."""
    rows = params[0][_places(bottoms[0], len(params[0]), "index")]
    return [rows + params[1] if layer.param.embed_param.bias_term else rows]


def batch_reindex(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Choose items; gradients of one that is chosen more than once add up."""
    data, indices = bottoms
    return [data[_places(indices, len(data), "index")]]


def parameter(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Show the parameter."""
    return [params[0].view_as(params[0])]


def _places(numbers: torch.Tensor, count: int, name: str) -> torch.Tensor:
    """Return `numbers` as whole ones; see `numpy_arranging`.

    Checked here, as a GPU that meets a wrong index is of no use to the process any more.
    """
    places = numbers.detach().long()
    wrong = (places < 0) | (places >= count)
    if wrong.any():
        raise ValueError(f"{name} {float(numbers[wrong][0]):g} is not from 0 to {count - 1}")
    return places
