"""Layers on NumPy that only move numbers: join, cut, repeat, choose."""

from __future__ import annotations

import math

import numpy as np

from lbpmap._arrays import F32, Array
from lbpmap.caffe.layers import arranging_rules
from lbpmap.caffe.layers.plan import Layer


def concat(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Join along an axis."""
    np.concatenate(bottoms, arranging_rules.concat_axis(layer.param, bottoms[0].shape), out=tops[0])


def slice_(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Cut along an axis."""
    axis, bounds = arranging_rules.slices(layer.param, bottoms[0].shape)
    for top, start, end in zip(tops, bounds, bounds[1:]):
        top[...] = bottoms[0][(slice(None),) * axis + (slice(start, end),)]


def crop(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Cut to the size of a second blob."""
    offsets = arranging_rules.crop_offsets(layer.param, [bottom.shape for bottom in bottoms])
    tops[0][...] = bottoms[0][tuple(slice(o, o + n) for o, n in zip(offsets, tops[0].shape))]


def tile(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Repeat the whole along an axis."""
    p, shape = layer.param.tile_param, bottoms[0].shape
    axis = p.axis % len(shape)
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis:])
    tops[0].reshape(outer, p.tiles, inner)[...] = bottoms[0].reshape(outer, 1, inner)


def embed(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Look up a row of the weights for every number; its fraction is cut off, as in Caffe."""
    weight = layer.blobs[0].data
    np.take(weight, _places(bottoms[0], len(weight), "index"), 0, out=tops[0], mode="clip")
    if layer.param.embed_param.bias_term:
        tops[0] += layer.blobs[1].data


def batch_reindex(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Choose items, any of them more than once or never."""
    data, indices = bottoms
    tops[0][...] = data[_places(indices, len(data), "index")]


def parameter(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Show the parameter, whose memory may be that of the top."""
    tops[0][...] = layer.blobs[0].data


def _places(numbers: F32, count: int, name: str) -> Array:
    """Return `numbers` as whole ones.

    Raises
    ------
    ValueError
        When one lies outside of 0..count - 1.
    """
    places = numbers.astype(np.int64)
    wrong = (places < 0) | (places >= count)
    if wrong.any():
        raise ValueError(f"{name} {numbers[wrong][0]:g} is not from 0 to {count - 1}")
    return places
