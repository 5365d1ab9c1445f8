"""Layers on PyTorch that compute each element from its own, or from its channel's numbers."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from lbpmap.caffe.formats.messages import MESSAGES, TRAIN
from lbpmap.caffe.layers.plan import Layer

Tensors = list[torch.Tensor]

_PROD: int = MESSAGES["EltwiseParameter"].PROD
_MAX: int = MESSAGES["EltwiseParameter"].MAX
# Where exp(x) stands for log(1 + exp(x)) no more: Caffe's own limit in BNLL's gradient.
_BNLL_THRESHOLD = 50


def relu(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """max(x, 0) + slope * min(x, 0); at 0 the gradient is the slope's."""
    slope = layer.param.relu_param.negative_slope
    if slope:
        return [functional.leaky_relu(bottoms[0], slope)]
    return [functional.relu(bottoms[0])]


def prelu(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """As `relu`, with a learned slope a channel, or one for all."""
    return [functional.prelu(bottoms[0], params[0].reshape(-1))]


def elu(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Above zero x, else alpha * (exp(x) - 1)."""
    return [functional.elu(bottoms[0], layer.param.elu_param.alpha)]


def sigmoid(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """1 / (1 + exp(-x))."""
    return [torch.sigmoid(bottoms[0])]


def swish(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Multiply x by logistic(beta * x)."""
    return [bottoms[0] * torch.sigmoid(bottoms[0] * layer.param.swish_param.beta)]


def clip(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Bring values to min..max; those at either have a gradient."""
    p = layer.param.clip_param
    return [bottoms[0].clamp(p.min, p.max)]


def tanh(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Hyperbolic tangent."""
    return [torch.tanh(bottoms[0])]


def absval(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Absolute value; at 0 the gradient is 0."""
    return [bottoms[0].abs()]


def bnll(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """log(1 + exp(x))."""
    return [functional.softplus(bottoms[0], threshold=_BNLL_THRESHOLD)]


def power(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """(shift + scale * x) ^ power."""
    p = layer.param.power_param
    inner = _affine(bottoms[0], p.scale, p.shift)
    return [inner if p.power == 1 else inner**p.power]


def exp(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Raise base to shift + scale * x; base -1 stands for e."""
    p = layer.param.exp_param
    rate = 1.0 if p.base == -1 else math.log(p.base)
    return [_affine(bottoms[0], rate * p.scale, rate * p.shift).exp()]


def log(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Logarithm of shift + scale * x; base -1 stands for e."""
    p = layer.param.log_param
    logarithm = _affine(bottoms[0], p.scale, p.shift).log()
    return [logarithm if p.base == -1 else logarithm / math.log(p.base)]


def _affine(x: torch.Tensor, scale: float, shift: float) -> torch.Tensor:
    return x * scale + shift


def threshold(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """1 above the threshold, else 0; no gradient."""
    return [(bottoms[0] > layer.param.threshold_param.threshold).to(bottoms[0].dtype)]


def dropout(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """TRAIN: drop at random and scale the rest by 1 / (1 - ratio); TEST: nothing."""
    x = bottoms[0]
    if layer.param.phase != TRAIN:
        return [x]
    if not layer.replay or "mask" not in layer.kept:
        kept = 1 - layer.param.dropout_param.dropout_ratio
        mask = x.new_empty(x.shape).bernoulli_(kept, generator=_generator(layer, x.device))
        layer.kept["mask"] = mask.div_(kept)
    # A forward pass on NumPy has left an array.
    return [x * torch.as_tensor(layer.kept["mask"], dtype=x.dtype, device=x.device)]


def _generator(layer: Layer, device: torch.device) -> torch.Generator:
    """Return the layer's own stream on a device, which starts where its NumPy stream stands."""
    known = layer.kept.get("generator")
    if known is None or known.device != device:
        seed = int(layer.rng.integers(2**63))
        layer.kept["generator"] = known = torch.Generator(device).manual_seed(seed)
    assert isinstance(known, torch.Generator)
    return known


def eltwise(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Product, weighted sum or maximum of several blobs."""
    p = layer.param.eltwise_param
    result = bottoms[0]
    if p.operation == _PROD:
        for bottom in bottoms[1:]:
            result = result * bottom
        return [result]
    if p.operation == _MAX:
        # Of the first two, equal, Caffe gives the gradient to the second; later ones must exceed.
        result = torch.where(result > bottoms[1], result, bottoms[1])
        for bottom in bottoms[2:]:
            result = torch.where(bottom > result, bottom, result)
        return [result]
    weights = list(p.coeff) or [1.0] * len(bottoms)
    if weights[0] != 1:
        result = result * weights[0]
    for bottom, weight in zip(bottoms[1:], weights[1:]):
        result = torch.add(result, bottom, alpha=weight)
    return [result]


def scale(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Multiply by a parameter or a second blob, and add a bias where there is one."""
    p, x = layer.param.scale_param, bottoms[0]
    factor = bottoms[1] if len(bottoms) == 2 else params[0]
    result = x * _aligned(factor, x, p.axis)
    return [result + _aligned(params[-1], x, p.axis) if p.bias_term else result]


def bias(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Add a parameter or a second blob."""
    x, term = bottoms[0], bottoms[1] if len(bottoms) == 2 else params[0]
    return [x + _aligned(term, x, layer.param.bias_param.axis)]


def _aligned(term: torch.Tensor, x: torch.Tensor, axis: int) -> torch.Tensor:
    """Give `term`, which lies along the axes of x from `axis` on, all axes behind them."""
    return term.reshape(*term.shape, *(1,) * (x.ndim - axis % x.ndim - term.ndim))


def batch_norm(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Take the mean off each channel and divide by its deviation, of the batch or as stored.

    The statistics of a batch are added to the parameters in place, which have no gradient.
    """
    p, x = layer.param.batch_norm_param, bottoms[0]
    sums, sums_of_squares, weight = (param.detach() for param in params)
    stored = p.use_global_stats if p.HasField("use_global_stats") else layer.param.phase != TRAIN
    if stored:
        # The blobs hold sums; the third holds how much has been summed.
        factor = torch.where(weight == 0, weight, 1 / weight)
        mean, variance = sums * factor, sums_of_squares * factor
    else:
        axes = (0, *range(2, x.ndim))
        variance, mean = torch.var_mean(x, axes, correction=0)
        if not layer.replay:
            keep, count = p.moving_average_fraction, x.numel() // len(sums)
            unbiased = count / (count - 1) if count > 1 else 1
            weight.mul_(keep).add_(1)
            sums.mul_(keep).add_(mean.detach())
            sums_of_squares.mul_(keep).add_(variance.detach(), alpha=unbiased)
    deviation = (variance + p.eps).sqrt()
    return [(x - _aligned(mean, x, 1)) / _aligned(deviation, x, 1)]


def mvn(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Take the mean off each plane (or image) and divide by its deviation."""
    p, shape = layer.param.mvn_param, bottoms[0].shape
    rows = math.prod(shape[:1] if p.across_channels else shape[:2])
    x = bottoms[0].reshape(rows, -1)
    result = x - x.mean(1, keepdim=True)
    if p.normalize_variance:
        variance = result.square().mean(1, keepdim=True)
        # Caffe's gradient is that of a root of variance + constant, which exists at variance 0.
        with torch.no_grad():
            constant = (variance.sqrt() + p.eps).square() - variance
        result = result / (variance + constant).sqrt()
    return [result.reshape(*shape, *(1,) * (4 - len(shape)))]
