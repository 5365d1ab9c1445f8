"""Convolution by square kernels at stride 1 as products at 36 points: a fraction of the work.

S. Winograd's minimal filtering (1980), for nets by Lavin and Gray (arXiv:1509.09308). The C core
takes images and filters to the points and back, see csrc/nets.h; the products are NumPy's. Filters
are taken there anew in every pass, as what was written into a parameter must take effect, and 128 at
a time, so that they are still in the cache when they are multiplied.
"""

from __future__ import annotations

import math

import numpy as np

from lbpmap import _isa, _kernels
from lbpmap._arrays import F32
from lbpmap.caffe.layers.plan import Workspace
from lbpmap.caffe.layers.threads import in_parts
from lbpmap.caffe.layers.windows import Windows

_POINTS, _TILE, _LANES = 36, 6, 8
_FILTERS = 5 * 2**19
# From how many tiles on it is worth taking the filters to the points.
_WORTH = 40
# How many numbers of images at the points are held at a time: 32 MB.
_IMAGES = 2**23


def suits(fit: Windows, images: int, channels: int, filters: int) -> bool:
    """Whether a convolution is of the kind, and large enough to gain by it."""
    ones, side = (1, 1), 7 - fit.kernel[0]
    return (
        fit.kernel in ((3, 3), (4, 4), (5, 5))
        and fit.stride == fit.dilation == ones
        and min(channels, filters) >= 32
        and min(fit.out) >= side
        and images * math.prod(fit.out) >= _WORTH * side * side
    )


def convolution(
    images: F32, filters: F32, bias: F32 | None, fit: Windows, out: F32, workspace: Workspace
) -> bool:
    """Fill `out`, and return whether all of it is finite: else it is not right.

    Parameters
    ----------
    images : float32 array (N, C, H, W)
    filters : float32 array (K, C, k, k)
        k from 3 to 5.
    bias : float32 array (K,) or None
    fit : Windows
        Of stride and dilation 1.
    out : float32 array (N, K, *fit.out)
    workspace : Workspace
    """
    isa = _isa.chosen()
    channels, kernel = filters.shape[1], fit.kernel[0]
    how = _kernels.Convolution(kernel, images.shape[1:], fit.pad, fit.out)
    tiles = how.tiles
    block = min(max(_LANES, _FILTERS // (_POINTS * channels)), len(filters))
    at_once = min(len(images), max(1, _IMAGES // (_POINTS * tiles * (channels + block))))
    band = 2 * _TILE * (-(-fit.out[1] // (7 - kernel)) * (7 - kernel) + kernel - 1) * _LANES
    sizes = [at_once * tiles * channels, block * channels, at_once * tiles * block]
    memory = workspace.take(sum(map(_spaced, sizes)) * _POINTS)
    at_points, filters_there, products = np.split(
        memory, np.cumsum([_POINTS * _spaced(n) for n in sizes])[:-1]
    )
    finite, held = True, -1
    for start in range(0, len(images), at_once):
        some = images[start : start + at_once]
        there = _at_points(at_points, len(some) * tiles, channels)

        def to_points(first: int, last: int) -> None:
            scratch: F32 = np.empty(band, np.float32)
            _kernels.image_points(isa, how, some, first, last, scratch, there)

        in_parts(to_points, channels, _LANES)
        for f in range(0, len(filters), block):
            chosen = filters[f : f + block]
            rows = _at_points(filters_there, len(chosen), channels)

            def filters_to_points(first: int, last: int) -> None:
                _kernels.filter_points(isa, how, chosen[first:last], rows[:, first:last])

            if held != f:
                in_parts(filters_to_points, len(chosen))
                held = f
            product = _at_points(products, there.shape[1], len(chosen))
            columns = rows.transpose(0, 2, 1)

            def multiply(first: int, last: int) -> None:
                np.matmul(there[first:last], columns[first:last], out=product[first:last])

            in_parts(multiply, _POINTS)
            target = out[start : start + at_once, f : f + block]
            added = None if bias is None else bias[f : f + block]
            whole = []

            def back(first: int, last: int) -> None:
                part = product[:, first * tiles : last * tiles]
                whole.append(_kernels.image_of(isa, how, part, added, target[first:last]))

            in_parts(back, len(some))
            finite &= all(whole)
    return finite


def _spaced(count: int) -> int:
    """Return how many numbers from a point to the next: they should not share a set of the cache.

    In a cache's first level addresses 4096 bytes apart do, and the core touches all 36 points at
    once.
    """
    return -(-count // 1024) * 1024 + 16


def _at_points(memory: F32, rows: int, columns: int) -> F32:
    """Lay out (points, rows, columns) in `memory`."""
    spaced = memory[: _POINTS * _spaced(rows * columns)].reshape(_POINTS, -1)
    return spaced[:, : rows * columns].reshape(_POINTS, rows, columns)
