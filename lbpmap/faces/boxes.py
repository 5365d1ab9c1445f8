"""Boxes: float64 arrays (N, 4) of x0, y0, x1, y1, the edges of pixels.

The MATLAB program of Zhang et al. counts pixels from 1 and names the first and the last pixel of a
box, so that it adds 1 to every length; edges need none of that.
"""

from __future__ import annotations

import numpy as np

from lbpmap._arrays import F64, I64

# So many boxes are held against all others at a time: 16 MB with the most candidates there are.
_BLOCK = 256


def moved(boxes: F64, moves: F64) -> F64:
    """Move each edge by its share of the box's width or height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + np.hstack([sides, sides]) * moves


def squared(boxes: F64) -> F64:
    """Give squares of the longer side around the same centres."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.hstack([centres - half, centres + half])


def overlaps(some: F64, others: F64, *, of_smaller: bool) -> F64:
    """Give the common area of each pair as a share of both together, or of the smaller one.

    Parameters
    ----------
    some, others : float64 arrays (N, 4) and (M, 4)
        Boxes of positive area.
    of_smaller : bool

    Returns
    -------
    float64 array (N, M)
    """
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    sides = np.maximum(high - low, 0)
    common: F64 = sides[..., 0] * sides[..., 1]
    area, other = _areas(some)[:, None], _areas(others)
    whole = np.minimum(area, other) if of_smaller else area + other - common
    return common / whole


def _areas(boxes: F64) -> F64:
    sides = boxes[:, 2:] - boxes[:, :2]
    areas: F64 = sides[:, 0] * sides[:, 1]
    return areas


def apart(boxes: F64, scores: F64, most: float, *, of_smaller: bool = False) -> I64:
    """Choose boxes, the best first, none of which covers a better one by more than `most`.

    Non-maximum suppression. Of equal scores the earlier box counts as the better one.

    Parameters
    ----------
    boxes : float64 array (N, 4)
    scores : float64 array (N,)
    most : float
        Share of the common area, as `overlaps` gives it.
    of_smaller : bool, default False
        As for `overlaps`.

    Returns
    -------
    int64 array
        Indices of the chosen ones, by falling score.

    Examples
    --------
    >>> boxes = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])
    >>> apart(boxes, np.array([0.8, 0.9, 0.7]), 0.5)
    array([1, 2])
    """
    order: I64 = np.argsort(-scores, kind="stable")
    kept: list[I64] = [order[:0]]
    while len(order):
        block, order = order[:_BLOCK], order[_BLOCK:]
        close = overlaps(boxes[block], boxes[block], of_smaller=of_smaller) > most
        stays = np.ones(len(block), bool)
        for i in range(len(block)):
            if stays[i]:
                stays[i + 1 :] &= ~close[i, i + 1 :]
        chosen = block[stays]
        kept.append(chosen)
        if len(order):
            near = overlaps(boxes[chosen], boxes[order], of_smaller=of_smaller) > most
            order = order[~near.any(axis=0)]
    return np.concatenate(kept)
