"""ONNX for layers that compute each element from its own, or from its channel's numbers.

Each function appends the nodes of one layer; the formulas are those of `numpy_elementwise`.
"""

from __future__ import annotations

import math

import numpy as np

from lbpmap.caffe.export.onnx_writer import NoForm, Place, Value, number
from lbpmap.caffe.formats.messages import MESSAGES

_PROD: int = MESSAGES["EltwiseParameter"].PROD
_MAX: int = MESSAGES["EltwiseParameter"].MAX


def relu(at: Place) -> None:
    """Relu, or LeakyRelu with a slope."""
    slope = at.layer.param.relu_param.negative_slope
    if slope:
        at.add("LeakyRelu", at.bottoms[0].name, top=at.tops[0].name, alpha=slope)
    else:
        at.add("Relu", at.bottoms[0].name, top=at.tops[0].name)


def prelu(at: Place) -> None:
    """PRelu; its slopes stand along the channels."""
    count, axes = at.layer.blobs[0].count, len(at.bottoms[0].shape)
    slope = at.param(0, (count,) + (1,) * (axes - 2))
    at.add("PRelu", at.bottoms[0].name, slope, top=at.tops[0].name)


def elu(at: Place) -> None:
    """Elu."""
    at.add("Elu", at.bottoms[0].name, top=at.tops[0].name, alpha=at.layer.param.elu_param.alpha)


def sigmoid(at: Place) -> None:
    """Sigmoid."""
    at.add("Sigmoid", at.bottoms[0].name, top=at.tops[0].name)


def tanh(at: Place) -> None:
    """Tanh."""
    at.add("Tanh", at.bottoms[0].name, top=at.tops[0].name)


def absval(at: Place) -> None:
    """Abs."""
    at.add("Abs", at.bottoms[0].name, top=at.tops[0].name)


def bnll(at: Place) -> None:
    """Softplus."""
    at.add("Softplus", at.bottoms[0].name, top=at.tops[0].name)


def swish(at: Place) -> None:
    """Multiply x by Sigmoid(beta x)."""
    x, beta = at.bottoms[0].name, at.layer.param.swish_param.beta
    inner = x if beta == 1 else at.add("Mul", x, at.floats(beta))
    at.add("Mul", x, at.add("Sigmoid", inner), top=at.tops[0].name)


def clip(at: Place) -> None:
    """Clip."""
    p = at.layer.param.clip_param
    at.add("Clip", at.bottoms[0].name, at.floats(p.min), at.floats(p.max), top=at.tops[0].name)


def power(at: Place) -> None:
    """(shift + scale x) ^ power."""
    p = at.layer.param.power_param
    _affine_then(at, p.scale, p.shift, [("Pow", p.power)] if p.power != 1 else [])


def exp(at: Place) -> None:
    """Exp of what base and scale make of x."""
    p = at.layer.param.exp_param
    rate = 1.0 if p.base == -1 else math.log(p.base)
    _affine_then(at, rate * p.scale, rate * p.shift, [("Exp", None)])


def log(at: Place) -> None:
    """Log, over that of the base."""
    p = at.layer.param.log_param
    ends = [] if p.base == -1 else [("Div", math.log(p.base))]
    _affine_then(at, p.scale, p.shift, [("Log", None), *ends])


def _affine_then(
    at: Place, scale: float, shift: float, steps: list[tuple[str, float | None]]
) -> None:
    """Append Mul and Add as far as they do something, then `steps`."""
    affine = [("Mul", scale)] * (number(scale) != 1) + [("Add", shift)] * (number(shift) != 0)
    chain = [*affine, *steps] or [("Identity", None)]
    x = at.bottoms[0].name
    for i, (op, operand) in enumerate(chain):
        top = at.tops[0].name if i == len(chain) - 1 else None
        x = at.add(op, x, *([] if operand is None else [at.floats(operand)]), top=top)


def threshold(at: Place) -> None:
    """Greater, as numbers."""
    limit = at.floats(at.layer.param.threshold_param.threshold)
    above = at.add("Greater", at.bottoms[0].name, limit)
    at.add("Cast", above, top=at.tops[0].name, to=1)


def identity(at: Place) -> None:
    """Hand the bottom on, once a top."""
    for top in at.tops:
        at.add("Identity", at.bottoms[0].name, top=top.name)


def eltwise(at: Place) -> None:
    """Mul and Max one after the other, or a sum with weights."""
    p = at.layer.param.eltwise_param
    names = [bottom.name for bottom in at.bottoms]
    if p.operation in (_PROD, _MAX):
        op = "Mul" if p.operation == _PROD else "Max"
    else:
        op = "Add"
        names = [
            name if weight == 1 else at.add("Mul", name, at.floats(weight))
            for name, weight in zip(names, list(p.coeff) or [1] * len(names))
        ]
    total = names[0]
    for i, name in enumerate(names[1:], 2):
        total = at.add(op, total, name, top=at.tops[0].name if i == len(names) else None)


def scale(at: Place) -> None:
    """Mul by a parameter or a second blob, then Add."""
    p, x = at.layer.param.scale_param, at.bottoms[0]
    factor = _along(at, x, p.axis)
    scaled = at.add("Mul", x.name, factor, top=None if p.bias_term else at.tops[0].name)
    if p.bias_term:
        bias_ = _aligned_param(at, len(at.layer.blobs) - 1, x, p.axis)
        at.add("Add", scaled, bias_, top=at.tops[0].name)


def bias(at: Place) -> None:
    """Add a parameter or a second blob."""
    x = at.bottoms[0]
    at.add("Add", x.name, _along(at, x, at.layer.param.bias_param.axis), top=at.tops[0].name)


def _along(at: Place, x: Value, axis: int) -> str:
    """Give the first parameter or the second bottom all axes of x behind its own."""
    if len(at.bottoms) == 1:
        return _aligned_param(at, 0, x, axis)
    term = at.bottoms[1]
    more = len(x.shape) - axis % len(x.shape) - len(term.shape)
    if not more:
        return term.name
    axes = range(len(term.shape), len(term.shape) + more)
    return at.add("Unsqueeze", term.name, at.ints(list(axes)))


def _aligned_param(at: Place, i: int, x: Value, axis: int) -> str:
    shape = tuple(at.layer.blobs[i].shape)
    more = len(x.shape) - axis % len(x.shape) - len(shape)
    return at.param(i, shape + (1,) * more)


def batch_norm(at: Place) -> None:
    """BatchNormalization by the stored statistics, divided by how much they sum up."""
    p = at.layer.param.batch_norm_param
    if p.HasField("use_global_stats") and not p.use_global_stats:
        raise NoForm(
            "takes the statistics of each batch (use_global_stats: false); leave that out for the "
            "stored ones"
        )
    sums, sums_of_squares, weight = (blob.array() for blob in at.layer.blobs)
    factor = np.float32(0 if weight[0] == 0 else 1 / weight[0])
    stored = {"mean": sums * factor, "variance": sums_of_squares * factor}
    at.add(
        "BatchNormalization",
        at.bottoms[0].name,
        at.floats(np.ones_like(sums)),
        at.floats(np.zeros_like(sums)),
        *(at.writer.initializer(v, f"{at.layer.name}.{name}") for name, v in stored.items()),
        top=at.tops[0].name,
        epsilon=p.eps,
    )


def mvn(at: Place) -> None:
    """Means off, then over the deviation plus epsilon, a plane or an image at a time."""
    p, x = at.layer.param.mvn_param, at.bottoms[0]
    axes = list(range(1 if p.across_channels else 2, len(x.shape)))
    last = at.tops[0].name if x.lengths == at.tops[0].lengths else None
    normalizes = p.normalize_variance
    # A number that is a plane by itself is its own mean; without axes ONNX would take them all.
    mean = at.add("ReduceMean", x.name, axes=axes) if axes else x.name
    result = at.add("Sub", x.name, mean, top=None if normalizes else last)
    if normalizes:
        squares = at.add("Mul", result, result)
        variance = at.add("ReduceMean", squares, axes=axes) if axes else squares
        deviation = at.add("Add", at.add("Sqrt", variance), at.floats(p.eps))
        result = at.add("Div", result, deviation, top=last)
    if last is None:
        at.reshape(result, x.lengths, at.tops[0].lengths, top=at.tops[0].name)


def softmax(at: Place) -> None:
    """Softmax along one axis."""
    axis = at.layer.param.softmax_param.axis % len(at.bottoms[0].shape)
    at.add("Softmax", at.bottoms[0].name, top=at.tops[0].name, axis=axis)
