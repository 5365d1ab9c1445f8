"""Layer type -> forward on NumPy: the readable engine, and the only one of a plain install.

Each function takes the layer, the arrays of its bottoms and those of its tops, which it fills; a
top may be its bottom's own array (in place).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lbpmap._arrays import F32
from lbpmap.caffe.layers import numpy_elementwise as elementwise
from lbpmap.caffe.layers import numpy_losses as losses
from lbpmap.caffe.layers import numpy_windows as windows
from lbpmap.caffe.layers import shape_rules
from lbpmap.caffe.layers.plan import Layer

Forward = Callable[[Layer, list[F32], list[F32]], None]


def nothing(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Tops are what the user wrote, or share the memory of the bottom."""


def inner_product(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Matrix product with the weights, every axis from `axis` on taken together."""
    p = layer.param.inner_product_param
    weight = layer.blobs[0].data
    inputs, outputs = weight.shape if p.transpose else weight.shape[::-1]
    rows, result = bottoms[0].reshape(-1, inputs), tops[0].reshape(-1, outputs)
    np.matmul(rows, weight if p.transpose else weight.T, out=result)
    if p.bias_term:
        result += layer.blobs[1].data


def concat(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Join along an axis."""
    np.concatenate(bottoms, shape_rules.concat_axis(layer.param, bottoms[0].shape), out=tops[0])


def slice_(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Cut along an axis."""
    axis, bounds = shape_rules.slices(layer.param, bottoms[0].shape)
    for top, start, end in zip(tops, bounds, bounds[1:]):
        top[...] = bottoms[0][(slice(None),) * axis + (slice(start, end),)]


def crop(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Cut to the size of a second blob."""
    offsets = shape_rules.crop_offsets(layer.param, [bottom.shape for bottom in bottoms])
    tops[0][...] = bottoms[0][tuple(slice(o, o + n) for o, n in zip(offsets, tops[0].shape))]


FORWARD: dict[str, Forward] = {
    "AbsVal": elementwise.absval,
    "Accuracy": losses.accuracy,
    "ArgMax": losses.argmax,
    "BNLL": elementwise.bnll,
    "BatchNorm": elementwise.batch_norm,
    "Bias": elementwise.bias,
    "Clip": elementwise.clip,
    "Concat": concat,
    "Convolution": windows.convolution,
    "Crop": crop,
    "Dropout": elementwise.dropout,
    "ELU": elementwise.elu,
    "Eltwise": elementwise.eltwise,
    "EuclideanLoss": losses.euclidean_loss,
    "Exp": elementwise.exp,
    "Flatten": nothing,
    "HingeLoss": losses.hinge_loss,
    "Im2col": windows.im2col,
    "InnerProduct": inner_product,
    "Input": nothing,
    "LRN": windows.lrn,
    "Log": elementwise.log,
    "MVN": elementwise.mvn,
    "MultinomialLogisticLoss": losses.multinomial_logistic_loss,
    "PReLU": elementwise.prelu,
    "Pooling": windows.pooling,
    "Power": elementwise.power,
    "ReLU": elementwise.relu,
    "Reshape": nothing,
    "SPP": windows.spp,
    "Scale": elementwise.scale,
    "Sigmoid": elementwise.sigmoid,
    "SigmoidCrossEntropyLoss": losses.sigmoid_cross_entropy_loss,
    "Silence": nothing,
    "Slice": slice_,
    "Softmax": losses.softmax,
    "SoftmaxWithLoss": losses.softmax_loss,
    "Split": nothing,
    "Swish": elementwise.swish,
    "TanH": elementwise.tanh,
    "Threshold": elementwise.threshold,
}
