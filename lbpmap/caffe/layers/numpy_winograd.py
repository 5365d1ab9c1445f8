"""Convolution by square kernels at stride 1 as products at 36 points: a fraction of the work.

S. Winograd's minimal filtering (1980), for nets by Lavin and Gray (arXiv:1509.09308). The C core
takes images and filters to the points and back, see csrc/nets.h; the products are NumPy's. Filters
are taken there anew in every pass, as what is written into a parameter must take effect, and no
more at a time than a cache holds until they are multiplied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lbpmap import _isa, _kernels
from lbpmap._arrays import F32
from lbpmap.caffe.layers.plan import Workspace
from lbpmap.caffe.layers.threads import in_parts
from lbpmap.caffe.layers.windows import Windows

_POINTS, _TILE, _LANES = 36, 6, 8
# From how many tiles on it is worth taking the filters to the points.
_WORTH = 40
# How many numbers of filters at the points are held at a time, 10 MB, and of images, 32 MB.
_FILTERS, _IMAGES = 5 * 2**19, 2**23


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

    An infinity spreads over its tile, and sums may overflow that would not in another order.

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
    channels, side = images.shape[1], 7 - fit.kernel[0]
    there = _There(
        _isa.chosen(),
        _kernels.Convolution(fit.kernel[0], images.shape[1:], fit.pad, fit.out),
        # Twice the rows of a tile, whole tiles wide.
        2 * _TILE * (-(-fit.out[1] // side) * side + _TILE - side) * _LANES,
    )
    tiles = there.how.tiles
    block = min(max(_LANES, _FILTERS // (_POINTS * channels)), len(filters))
    at_once = min(len(images), max(1, _IMAGES // (_POINTS * tiles * (channels + block))))
    sizes = [at_once * tiles * channels, block * channels, at_once * tiles * block]
    parts = np.cumsum([_POINTS * _spaced(n) for n in sizes])
    memory = np.split(workspace.take(int(parts[-1])), parts[:-1])
    finite, held = True, -1
    for start in range(0, len(images), at_once):
        some = images[start : start + at_once]
        rows = _at_points(memory[0], len(some) * tiles, channels)
        there.images(some, rows)
        for f in range(0, len(filters), block):
            chosen = filters[f : f + block]
            columns = _at_points(memory[1], len(chosen), channels)
            if held != f:
                there.filters(chosen, columns)
                held = f
            products = _at_points(memory[2], len(rows[0]), len(chosen))
            _multiply(rows, columns, products)
            added = None if bias is None else bias[f : f + block]
            finite &= there.back(products, added, out[start : start + at_once, f : f + block])
    return finite


@dataclass(frozen=True)
class _There:
    """The way to the points and back, on threads."""

    isa: int
    how: _kernels.Convolution
    scratch: int

    def images(self, images: F32, rows: F32) -> None:
        def part(first: int, last: int) -> None:
            scratch: F32 = np.empty(self.scratch, np.float32)
            _kernels.image_points(self.isa, self.how, images, first, last, scratch, rows)

        in_parts(part, images.shape[1], _LANES)

    def filters(self, filters: F32, rows: F32) -> None:
        def part(first: int, last: int) -> None:
            _kernels.filter_points(self.isa, self.how, filters[first:last], rows[:, first:last])

        in_parts(part, len(filters))

    def back(self, products: F32, bias: F32 | None, out: F32) -> bool:
        finite: list[bool] = []
        tiles = self.how.tiles

        def part(first: int, last: int) -> None:
            some = products[:, first * tiles : last * tiles]
            finite.append(_kernels.image_of(self.isa, self.how, some, bias, out[first:last]))

        in_parts(part, len(out))
        return all(finite)


def _multiply(rows: F32, columns: F32, products: F32) -> None:
    turned = columns.transpose(0, 2, 1)

    def part(first: int, last: int) -> None:
        np.matmul(rows[first:last], turned[first:last], out=products[first:last])

    in_parts(part, _POINTS)


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
