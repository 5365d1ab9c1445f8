"""Layers on NumPy that compute each element from its own, or from its channel's numbers."""

from __future__ import annotations

import math

import numpy as np

from lbpmap._arrays import F32
from lbpmap.caffe.formats.messages import MESSAGES, TRAIN
from lbpmap.caffe.layers.plan import Layer

_PROD: int = MESSAGES["EltwiseParameter"].PROD
_MAX: int = MESSAGES["EltwiseParameter"].MAX


def relu(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """max(x, 0) + slope * min(x, 0)."""
    _leaky(bottoms[0], tops[0], layer.param.relu_param.negative_slope)


def prelu(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """As `relu`, with a learned slope a channel, or one for all."""
    slope = layer.blobs[0].data
    _leaky(bottoms[0], tops[0], slope.reshape(slope.shape + (1,) * (bottoms[0].ndim - 2)))


def _leaky(x: F32, y: F32, slope: float | F32) -> None:
    if np.any(slope):
        below = np.minimum(x, 0)
        below *= np.asarray(slope, np.float32)
        np.maximum(x, 0, out=y)
        y += below
    else:
        np.maximum(x, 0, out=y)


def elu(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Above zero x, else alpha * (exp(x) - 1)."""
    below = np.float32(layer.param.elu_param.alpha) * np.expm1(np.minimum(bottoms[0], 0))
    np.maximum(bottoms[0], 0, out=tops[0])
    tops[0] += below


def sigmoid(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """1 / (1 + exp(-x))."""
    tops[0][...] = logistic(bottoms[0])


def logistic(x: F32) -> F32:
    """Return the logistic function of x, to some last places even where it is small."""
    # Not as half a tanh and a half, as in Caffe, which has them in float64: of a float32 3e-8 is
    # lost there, and at x = -9 that is the fourth digit. An exp that overflows gives a right zero.
    with np.errstate(over="ignore"):
        result: F32 = np.exp(-x)
    result += np.float32(1)
    return np.divide(np.float32(1), result, out=result)


def swish(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Multiply x by logistic(beta * x)."""
    beta = np.float32(layer.param.swish_param.beta)
    np.multiply(bottoms[0], logistic(bottoms[0] * beta), out=tops[0])


def clip(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Bring values to min..max."""
    p = layer.param.clip_param
    np.clip(bottoms[0], np.float32(p.min), np.float32(p.max), out=tops[0])


def tanh(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Hyperbolic tangent."""
    np.tanh(bottoms[0], out=tops[0])


def absval(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Absolute value."""
    np.abs(bottoms[0], out=tops[0])


def bnll(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """log(1 + exp(x))."""
    np.logaddexp(bottoms[0], np.float32(0), out=tops[0])


def power(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """(shift + scale * x) ^ power."""
    p = layer.param.power_param
    _affine(bottoms[0], tops[0], p.scale, p.shift)
    if p.power != 1:
        np.power(tops[0], np.float32(p.power), out=tops[0])


def exp(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Raise base to shift + scale * x; base -1 stands for e."""
    p = layer.param.exp_param
    rate = 1.0 if p.base == -1 else math.log(p.base)
    _affine(bottoms[0], tops[0], rate * p.scale, rate * p.shift)
    np.exp(tops[0], out=tops[0])


def log(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Logarithm of shift + scale * x; base -1 stands for e."""
    p = layer.param.log_param
    _affine(bottoms[0], tops[0], p.scale, p.shift)
    np.log(tops[0], out=tops[0])
    if p.base != -1:
        tops[0] /= np.float32(math.log(p.base))


def _affine(x: F32, y: F32, scale: float, shift: float) -> None:
    np.multiply(x, np.float32(scale), out=y)
    y += np.float32(shift)


def threshold(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """1 above the threshold, else 0."""
    tops[0][...] = bottoms[0] > layer.param.threshold_param.threshold


def dropout(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """TRAIN: drop at random and scale the rest by 1 / (1 - ratio); TEST: nothing."""
    if layer.param.phase != TRAIN:
        if not np.may_share_memory(tops[0], bottoms[0]):
            tops[0][...] = bottoms[0]
        return
    ratio = layer.param.dropout_param.dropout_ratio
    kept = layer.rng.random(bottoms[0].shape, np.float32) >= ratio
    layer.kept["mask"] = kept.astype(np.float32) / np.float32(1 - ratio)
    np.multiply(bottoms[0], layer.kept["mask"], out=tops[0])


def eltwise(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Product, weighted sum or maximum of several blobs."""
    p = layer.param.eltwise_param
    if p.operation in (_PROD, _MAX):
        combine = np.multiply if p.operation == _PROD else np.maximum
        combine(bottoms[0], bottoms[1], out=tops[0])
        for bottom in bottoms[2:]:
            combine(tops[0], bottom, out=tops[0])
        return
    weights = list(p.coeff) or [1.0] * len(bottoms)
    np.multiply(bottoms[0], np.float32(weights[0]), out=tops[0])
    for bottom, weight in zip(bottoms[1:], weights[1:]):
        tops[0] += bottom * np.float32(weight)


def scale(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Multiply by a parameter or a second blob, and add a bias where there is one."""
    p = layer.param.scale_param
    factor = bottoms[1] if len(bottoms) == 2 else layer.blobs[0].data
    np.multiply(bottoms[0], _aligned(factor, bottoms[0], p.axis), out=tops[0])
    if p.bias_term:
        tops[0] += _aligned(layer.blobs[-1].data, bottoms[0], p.axis)


def bias(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Add a parameter or a second blob."""
    term = bottoms[1] if len(bottoms) == 2 else layer.blobs[0].data
    np.add(bottoms[0], _aligned(term, bottoms[0], layer.param.bias_param.axis), out=tops[0])


def _aligned(term: F32, x: F32, axis: int) -> F32:
    """Give `term`, which lies along the axes of x from `axis` on, all axes behind them."""
    return term.reshape(term.shape + (1,) * (x.ndim - axis % x.ndim - term.ndim))


def batch_norm(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Take the mean off each channel and divide by its deviation, of the batch or as stored."""
    p = layer.param.batch_norm_param
    x = bottoms[0]
    mean, variance, weight = (blob.data for blob in layer.blobs)
    stored = p.use_global_stats if p.HasField("use_global_stats") else layer.param.phase != TRAIN
    if stored:
        # The blobs hold sums; the third holds how much has been summed.
        factor = np.float32(0 if weight[0] == 0 else 1 / weight[0])
        mean, variance = mean * factor, variance * factor
    else:
        axes = (0, *range(2, x.ndim))
        keep, count = np.float32(p.moving_average_fraction), x.size // len(mean)
        sums, sums_of_squares = mean, variance
        mean, variance = x.mean(axes), x.var(axes)
        weight[0] = weight[0] * keep + 1
        sums[...] = sums * keep + mean
        unbiased = np.float32(count / (count - 1) if count > 1 else 1)
        sums_of_squares[...] = sums_of_squares * keep + variance * unbiased
    np.subtract(x, _aligned(mean, x, 1), out=tops[0])
    tops[0] /= _aligned(np.sqrt(variance + np.float32(p.eps)), x, 1)


def mvn(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Take the mean off each plane (or image) and divide by its deviation."""
    p = layer.param.mvn_param
    x = bottoms[0].reshape(bottoms[0].shape[0] if p.across_channels else _planes(bottoms[0]), -1)
    y = tops[0].reshape(x.shape)
    np.subtract(x, x.mean(1, keepdims=True), out=y)
    if p.normalize_variance:
        y /= np.sqrt(np.mean(y * y, 1, keepdims=True)) + np.float32(p.eps)


def _planes(x: F32) -> int:
    return math.prod(x.shape[:2])
