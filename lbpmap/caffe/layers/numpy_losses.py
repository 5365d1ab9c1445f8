"""Softmax, accuracy and losses on NumPy: what ends a net."""

from __future__ import annotations

import math

import numpy as np

from lbpmap._arrays import F32, Bool
from lbpmap.caffe.formats.messages import MESSAGES
from lbpmap.caffe.layers.labels import (
    LOG_THRESHOLD,
    SMALLEST,
    LossParameter,
    ignored,
    no_class,
    normaliser,
)
from lbpmap.caffe.layers.plan import Layer

_L1: int = MESSAGES["HingeLossParameter"].L1
_ASUM: int = MESSAGES["ReductionParameter"].ASUM
_SUMSQ: int = MESSAGES["ReductionParameter"].SUMSQ
_MEAN: int = MESSAGES["ReductionParameter"].MEAN


def softmax(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Exponentials over their sum, along one axis."""
    _softmax(bottoms[0], tops[0], layer.param.softmax_param.axis)


def _softmax(x: F32, y: F32, axis: int) -> None:
    np.subtract(x, x.max(axis, keepdims=True), out=y)
    np.exp(y, out=y)
    y /= y.sum(axis, keepdims=True)


def _of_labels(x: F32, labels: F32, axis: int, ignore: int | None) -> tuple[F32, F32, Bool]:
    """Return predictions (n, classes), those of the true class (n), and which n count.

    Raises
    ------
    ValueError
        When a label that counts is no class.
    """
    rows = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
    wanted = labels.reshape(-1).astype(np.int64)
    counts = np.ones(len(wanted), bool) if ignore is None else wanted != ignore
    wrong = counts & ((wanted < 0) | (wanted >= rows.shape[1]))
    if wrong.any():
        raise no_class(int(wanted[wrong][0]), rows.shape[1])
    return rows, rows[np.arange(len(rows)), np.where(counts, wanted, 0)], counts


def softmax_loss(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Mean of -log of the true class's probability."""
    p = layer.param.loss_param
    x, labels = bottoms
    axis = layer.param.softmax_param.axis % x.ndim
    probability: F32 = tops[1] if len(tops) == 2 else np.empty(x.shape, np.float32)
    _softmax(x, probability, axis)
    _, true, counts = _of_labels(probability, labels, axis, ignored(p))
    sizes = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    divisor = normaliser(p, LossParameter.VALID, sizes, int(counts.sum()))
    tops[0][...] = (
        -np.log(np.maximum(true[counts], np.float32(SMALLEST))).sum(dtype=np.float64) / divisor
    )


def sigmoid_cross_entropy_loss(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Cross entropy of the logistic function of x with targets, a number each."""
    p = layer.param.loss_param
    x, target = bottoms[0].reshape(-1), bottoms[1].reshape(-1)
    ignore = ignored(p)
    counts = np.ones(x.shape, bool) if ignore is None else target.astype(np.int64) != ignore
    losses = np.logaddexp(x, 0) - x * target
    sizes = len(bottoms[0]), x.size // len(bottoms[0])
    divisor = normaliser(p, LossParameter.BATCH_SIZE, sizes, int(counts.sum()))
    tops[0][...] = losses[counts].sum(dtype=np.float64) / divisor


def multinomial_logistic_loss(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Mean of -log of the true class's number, which is a probability already."""
    x = bottoms[0].reshape(len(bottoms[0]), -1)
    _, true, _ = _of_labels(x, bottoms[1], 1, None)
    tops[0][...] = -np.log(np.maximum(true, np.float32(LOG_THRESHOLD))).sum(dtype=np.float64) / len(
        x
    )


def hinge_loss(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """One against all: the sum of margins that are not met, or of their squares."""
    x = bottoms[0].reshape(len(bottoms[0]), -1)
    rows = np.arange(len(x))
    _, true, _ = _of_labels(x, bottoms[1], 1, None)
    margins = x.astype(np.float64)
    margins[rows, bottoms[1].reshape(-1).astype(np.int64)] = -true
    margins = np.maximum(margins + 1, 0)
    if layer.param.hinge_loss_param.norm != _L1:
        margins **= 2
    tops[0][...] = margins.sum() / len(x)


def euclidean_loss(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Half the mean, over the batch, of the squared distance."""
    difference = (bottoms[0].reshape(-1) - bottoms[1].reshape(-1)).astype(np.float64)
    tops[0][...] = difference @ difference / len(bottoms[0]) / 2


def infogain_loss(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """As `softmax_loss`, with -log of every class's probability, weighed by the true one's row."""
    x, labels = bottoms[:2]
    axis = layer.param.infogain_loss_param.axis % x.ndim
    probability: F32 = tops[1] if len(tops) == 2 else np.empty(x.shape, np.float32)
    _softmax(x, probability, axis)
    p = layer.param.loss_param
    rows, _, counts = _of_labels(probability, labels, axis, ignored(p))
    matrix = (bottoms[2] if len(bottoms) == 3 else layer.state).reshape(x.shape[axis], -1)
    weights = matrix[labels.reshape(-1).astype(np.int64)[counts]]
    gains = weights * np.log(np.maximum(rows[counts], np.float32(LOG_THRESHOLD)))
    sizes = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    divisor = normaliser(p, LossParameter.VALID, sizes, int(counts.sum()))
    tops[0][...] = -gains.sum(dtype=np.float64) / divisor


def contrastive_loss(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Half the mean of squared distances: of alike pairs, and of what others lack of `margin`."""
    p = layer.param.contrastive_loss_param
    one, other = (bottom.astype(np.float64) for bottom in bottoms[:2])
    difference = (one - other.reshape(one.shape)).reshape(len(one), math.prod(one.shape[1:]))
    squares = (difference**2).sum(1)
    if p.legacy_version:
        apart = np.maximum(p.margin - squares, 0)
    else:
        apart = np.maximum(p.margin - np.sqrt(squares), 0) ** 2
    alike = bottoms[2].reshape(-1).astype(np.int64) != 0
    tops[0][...] = np.where(alike, squares, apart).sum() / len(one) / 2


def reduction(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Sum, sum of absolute values or of squares, or mean, of all axes from `axis` on."""
    p = layer.param.reduction_param
    kept = tops[0].shape
    x = bottoms[0].reshape(*kept, math.prod(bottoms[0].shape[len(kept) :]))
    if p.operation == _ASUM:
        x = np.abs(x)
    elif p.operation == _SUMSQ:
        x = x * x
    reduce = np.mean if p.operation == _MEAN else np.sum
    np.multiply(reduce(x, -1, dtype=np.float64), p.coeff, out=tops[0], casting="same_kind")


def accuracy(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Part of the labels among the `top_k` largest, ties against the label; then class by class."""
    p = layer.param.accuracy_param
    x, labels = bottoms
    rows, true, counts = _of_labels(x, labels, p.axis % x.ndim, ignored(p))
    # The true class itself is among those that are at least as large.
    right = (rows >= true[:, None]).sum(1) <= p.top_k
    tops[0][...] = right[counts].mean() if counts.any() else 0
    if len(tops) == 2:
        wanted = labels.reshape(-1).astype(np.int64)[counts]
        total = np.bincount(wanted, minlength=rows.shape[1])
        hits = np.bincount(wanted, right[counts], rows.shape[1])
        tops[1][...] = hits / np.maximum(total, 1)


def argmax(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Where the `top_k` largest lie, their values, or both; of equals the last comes first."""
    p = layer.param.argmax_param
    x, top = bottoms[0], tops[0]
    along = p.axis % x.ndim if p.HasField("axis") else -1
    rows = np.moveaxis(x, along, -1) if p.HasField("axis") else x.reshape(len(x), -1)
    last = rows.shape[-1] - 1
    order = last - np.argsort(-rows[..., ::-1], axis=-1, kind="stable")[..., : p.top_k]
    values = np.take_along_axis(rows, order, -1)
    if p.HasField("axis"):
        top[...] = np.moveaxis(values if p.out_max_val else order, -1, along)
    elif p.out_max_val:
        top[...] = np.stack([order, values], 1).reshape(top.shape)
    else:
        top[...] = order.reshape(top.shape)
