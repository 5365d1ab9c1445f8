"""Layers on PyTorch that sum up: Reduction, and the losses that weigh classes or compare pairs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lbpmap.caffe.formats.messages import MESSAGES
from lbpmap.caffe.layers.labels import LOG_THRESHOLD, LossParameter, ignored, normaliser
from lbpmap.caffe.layers.plan import Layer
from lbpmap.caffe.layers.torch_losses import AtLeast, true_classes

Tensors = list[torch.Tensor]

_Reduction = MESSAGES["ReductionParameter"]
# Caffe adds it to the distance of a pair before it divides a gradient by that.
_APART = 1e-4


def reduction(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Sum, sum of absolute values or of squares, or mean, of all axes from `axis` on."""
    p = layer.param.reduction_param
    x = bottoms[0]
    kept = x.shape[: p.axis % x.ndim]
    x = x.reshape(*kept, math.prod(x.shape[len(kept) :]))
    if p.operation == _Reduction.ASUM:
        x = x.abs()
    elif p.operation == _Reduction.SUMSQ:
        x = x * x
    return [(x.mean(-1) if p.operation == _Reduction.MEAN else x.sum(-1)) * p.coeff]


def contrastive_loss(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Half the mean of squared distances: of alike pairs, and of what others lack of `margin`."""
    p = layer.param.contrastive_loss_param
    one, other = (x.reshape(len(x), math.prod(x.shape[1:])) for x in bottoms[:2])
    squares = ((one - other) ** 2).sum(1)
    alike = bottoms[2].detach().reshape(-1).long() != 0
    pairs = _Pairs.apply(  # type: ignore[no-untyped-call]
        squares, alike, p.margin, p.legacy_version
    )
    return [pairs.sum() / len(one) / 2]


class _Pairs(torch.autograd.Function):
    """What each pair adds, with Caffe's gradient, which is finite for equal vectors too."""

    @staticmethod
    def forward(
        ctx: Any, squares: torch.Tensor, alike: torch.Tensor, margin: float, legacy: bool
    ) -> torch.Tensor:
        """Return the square of a distance, or what two vectors lack to be `margin` apart."""
        distance = squares.sqrt()
        lacking = torch.clamp(margin - (squares if legacy else distance), min=0)
        # Of a squared difference: -1, or -(margin - d) / d of the square of what is lacking.
        slope = -(lacking > 0).to(squares) if legacy else -lacking / (distance + _APART)
        ctx.save_for_backward(torch.where(alike, torch.ones_like(squares), slope))
        return torch.where(alike, squares, lacking if legacy else lacking**2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """Return the gradient by the squares."""
        (slope,) = ctx.saved_tensors
        return gradient * slope, None, None, None


def infogain_loss(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """As SoftmaxWithLoss, with -log of every class's probability, weighed by the true one's row.

    Neither the labels nor the matrix get a gradient, and none comes from the probabilities.
    """
    x, p = bottoms[0], layer.param.loss_param
    axis = layer.param.infogain_loss_param.axis % x.ndim
    place, counts = (
        each.movedim(axis, -1).reshape(-1) for each in true_classes(x, bottoms[1], axis, ignored(p))
    )
    given = bottoms[2].detach() if len(bottoms) == 3 else torch.as_tensor(layer.state)
    weights = given.to(x).reshape(x.shape[axis], -1)[place[counts]]
    rows = functional.log_softmax(x, axis).movedim(axis, -1).reshape(-1, x.shape[axis])[counts]
    logarithms = AtLeast.apply(rows, math.log(LOG_THRESHOLD))  # type: ignore[no-untyped-call]
    sizes = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    divisor = normaliser(p, LossParameter.VALID, sizes, int(counts.sum()))
    loss = -(weights * logarithms).sum() / divisor
    return [loss, torch.softmax(x.detach(), axis)][: len(layer.param.top)]
