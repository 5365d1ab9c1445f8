"""Softmax, accuracy and losses on PyTorch: what ends a net.

Losses are unscaled: a loss weight comes in as the gradient of the top. Labels get no gradient.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lbpmap.caffe.formats.messages import MESSAGES
from lbpmap.caffe.layers import loss_rules
from lbpmap.caffe.layers.labels import (
    LOG_THRESHOLD,
    SMALLEST,
    LossParameter,
    ignored,
    no_class,
    normaliser,
)
from lbpmap.caffe.layers.plan import Layer

Tensors = list[torch.Tensor]

_L1: int = MESSAGES["HingeLossParameter"].L1


def softmax(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Exponentials over their sum, along one axis."""
    return [functional.softmax(bottoms[0], layer.param.softmax_param.axis)]


def true_classes(
    x: torch.Tensor, labels: torch.Tensor, axis: int, ignore: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where the true classes lie along `axis`, and which of them count.

    Parameters
    ----------
    x : tensor
        Predictions, classes along `axis`.
    labels : tensor
        One number a prediction; its fraction is cut off.
    axis : int
    ignore : int or None
        The label that does not count.

    Returns
    -------
    place, counts : tensors of int64 and bool
        Of the shape of x with 1 for the classes; `place` is 0 where nothing counts.

    Raises
    ------
    ValueError
        When a label that counts is no class.
    """
    shape, classes = list(x.shape), x.shape[axis]
    shape[axis] = 1
    wanted = labels.detach().long().reshape(shape)
    counts = torch.ones_like(wanted, dtype=torch.bool) if ignore is None else wanted != ignore
    wrong = counts & ((wanted < 0) | (wanted >= classes))
    if wrong.any():
        raise no_class(int(wanted[wrong][0]), classes)
    return wanted.masked_fill(~counts, 0), counts


def softmax_loss(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Mean of -log of the true class's probability, and the probabilities, without gradient."""
    p = layer.param.loss_param
    x, labels = bottoms
    axis = layer.param.softmax_param.axis % x.ndim
    place, counts = true_classes(x, labels, axis, ignored(p))
    sizes = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    divisor = normaliser(p, LossParameter.VALID, sizes, int(counts.sum()))
    probability = functional.softmax(x.detach(), axis)
    loss = _SoftmaxLoss.apply(  # type: ignore[no-untyped-call]
        x, probability, place, counts, axis, divisor
    )
    return [loss, probability][: len(layer.param.top)]


class _SoftmaxLoss(torch.autograd.Function):
    """Caffe's value, which stops at -log(FLT_MIN), and its gradient, which does not."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        probability: torch.Tensor,
        place: torch.Tensor,
        counts: torch.Tensor,
        axis: int,
        divisor: float,
    ) -> torch.Tensor:
        """Return the sum of -log p over the divisor."""
        ctx.save_for_backward(probability, place, counts)
        ctx.settings = axis, divisor
        true = probability.gather(axis, place).clamp(min=SMALLEST)
        return -true.log().masked_fill(~counts, 0).sum() / divisor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return (p - 1 at the true class) / divisor, 0 where the label does not count."""
        probability, place, counts = ctx.saved_tensors
        axis, divisor = ctx.settings
        minus = torch.full_like(place, -1, dtype=probability.dtype)
        down = probability.scatter_add(axis, place, minus)
        down.masked_fill_(~counts, 0).mul_(gradient / divisor)
        return down, None, None, None, None, None


def sigmoid_cross_entropy_loss(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Cross entropy of the logistic function of x with targets, a number each."""
    p = layer.param.loss_param
    x, target = bottoms[0].reshape(-1), bottoms[1].detach().reshape(-1)
    ignore, total = ignored(p), len(x)
    if ignore is not None:
        counts = target.long() != ignore
        x, target = x[counts], target[counts]
    sizes = len(bottoms[0]), total // len(bottoms[0])
    divisor = normaliser(p, LossParameter.BATCH_SIZE, sizes, len(x))
    return [functional.binary_cross_entropy_with_logits(x, target, reduction="sum") / divisor]


def multinomial_logistic_loss(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Mean of -log of the true class's number, which is a probability already."""
    x = bottoms[0].reshape(len(bottoms[0]), -1)
    place, _ = true_classes(x, bottoms[1], 1, None)
    true = AtLeast.apply(x.gather(1, place), LOG_THRESHOLD)  # type: ignore[no-untyped-call]
    return [-true.log().sum() / len(x)]


class AtLeast(torch.autograd.Function):
    """The larger of x and a bound, with the gradient of x on either side, as in Caffe's losses."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, least: float) -> torch.Tensor:
        """Return max(x, least)."""
        return x.clamp(min=least)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the gradient as it is."""
        return gradient, None


def hinge_loss(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """One against all: the sum of margins that are not met, or of their squares."""
    x = bottoms[0].reshape(len(bottoms[0]), -1)
    place, _ = true_classes(x, bottoms[1], 1, None)
    sign = torch.ones_like(x).scatter(1, place, -1)
    # At a margin that is just met Caffe's gradient is 0, as ReLU's is and `clamp`'s is not.
    margins = functional.relu(1 + sign * x)
    if layer.param.hinge_loss_param.norm != _L1:
        margins = margins.square()
    return [margins.sum() / len(x)]


def euclidean_loss(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Half the mean, over the batch, of the squared distance; both bottoms get a gradient."""
    difference = bottoms[0].reshape(-1) - bottoms[1].reshape(-1)
    return [difference.square().sum() / len(bottoms[0]) / 2]


def accuracy(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Part of the labels among the `top_k` largest, ties against the label; then class by class."""
    p, x = layer.param.accuracy_param, bottoms[0].detach()
    axis = p.axis % x.ndim
    place, counts = true_classes(x, bottoms[1], axis, ignored(p))
    # The true class itself is among those that are at least as large.
    right = (x >= x.gather(axis, place)).sum(axis, keepdim=True) <= p.top_k
    hits = right[counts].to(x.dtype)
    share = hits.sum() / max(1, len(hits))
    classes = x.shape[axis]
    total = torch.bincount(place[counts], minlength=classes)
    right_ones = torch.bincount(place[counts], hits, classes)
    return [share, (right_ones / total.clamp(min=1)).to(x.dtype)][: len(layer.param.top)]


def argmax(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Where the `top_k` largest lie, their values, or both; of equals the last comes first."""
    p, x = layer.param.argmax_param, bottoms[0].detach()
    along = p.axis % x.ndim if p.HasField("axis") else -1
    rows = x.movedim(along, -1) if p.HasField("axis") else x.reshape(len(x), -1)
    last = rows.shape[-1] - 1
    order = last - torch.argsort(-rows.flip(-1), dim=-1, stable=True)[..., : p.top_k]
    values = rows.gather(-1, order)
    if p.HasField("axis"):
        return [(values if p.out_max_val else order.to(x.dtype)).movedim(-1, along)]
    found = torch.stack([order.to(x.dtype), values], 1) if p.out_max_val else order.to(x.dtype)
    return [found.reshape(loss_rules.argmax(layer.param, [x.shape]).tops[0])]
