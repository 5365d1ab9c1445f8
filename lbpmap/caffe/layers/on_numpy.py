"""Layer type -> forward on NumPy: the readable engine, and the only one of a plain install.

Each function takes the layer, the arrays of its bottoms and those of its tops, which it fills; a
top may be its bottom's own array (in place).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lbpmap._arrays import F32
from lbpmap.caffe.layers import numpy_arranging as arranging
from lbpmap.caffe.layers import numpy_elementwise as elementwise
from lbpmap.caffe.layers import numpy_losses as losses
from lbpmap.caffe.layers import numpy_recurrent as recurrent
from lbpmap.caffe.layers import numpy_windows as windows
from lbpmap.caffe.layers.numpy_deconvolution import deconvolution
from lbpmap.caffe.layers.plan import Layer
from lbpmap.caffe.layers.threads import in_parts

Forward = Callable[[Layer, list[F32], list[F32]], None]


def nothing(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Tops are what the user wrote, or share the memory of the bottom."""


def inner_product(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Matrix product with the weights, every axis from `axis` on taken together."""
    p = layer.param.inner_product_param
    weight = layer.blobs[0].data
    inputs, outputs = weight.shape if p.transpose else weight.shape[::-1]
    rows, result = bottoms[0].reshape(-1, inputs), tops[0].reshape(-1, outputs)
    columns = weight if p.transpose else weight.T

    def multiply(first: int, last: int) -> None:
        np.matmul(rows, columns[:, first:last], out=result[:, first:last])

    in_parts(multiply, outputs, work=weight.size * len(rows))
    if p.bias_term:
        result += layer.blobs[1].data


FORWARD: dict[str, Forward] = {
    "AbsVal": elementwise.absval,
    "Accuracy": losses.accuracy,
    "ArgMax": losses.argmax,
    "BNLL": elementwise.bnll,
    "BatchNorm": elementwise.batch_norm,
    "BatchReindex": arranging.batch_reindex,
    "Bias": elementwise.bias,
    "Clip": elementwise.clip,
    "Concat": arranging.concat,
    "ContrastiveLoss": losses.contrastive_loss,
    "Convolution": windows.convolution,
    "Crop": arranging.crop,
    "Deconvolution": deconvolution,
    "Dropout": elementwise.dropout,
    "ELU": elementwise.elu,
    "Eltwise": elementwise.eltwise,
    "Embed": arranging.embed,
    "EuclideanLoss": losses.euclidean_loss,
    "Exp": elementwise.exp,
    "Flatten": nothing,
    "HingeLoss": losses.hinge_loss,
    "Im2col": windows.im2col,
    "InfogainLoss": losses.infogain_loss,
    "InnerProduct": inner_product,
    "Input": nothing,
    "LRN": windows.lrn,
    "LSTM": recurrent.lstm,
    "Log": elementwise.log,
    "MVN": elementwise.mvn,
    "MultinomialLogisticLoss": losses.multinomial_logistic_loss,
    "PReLU": elementwise.prelu,
    "Parameter": arranging.parameter,
    "Pooling": windows.pooling,
    "Power": elementwise.power,
    "RNN": recurrent.rnn,
    "ReLU": elementwise.relu,
    "Reduction": losses.reduction,
    "Reshape": nothing,
    "SPP": windows.spp,
    "Scale": elementwise.scale,
    "Sigmoid": elementwise.sigmoid,
    "SigmoidCrossEntropyLoss": losses.sigmoid_cross_entropy_loss,
    "Silence": nothing,
    "Slice": arranging.slice_,
    "Softmax": losses.softmax,
    "SoftmaxWithLoss": losses.softmax_loss,
    "Split": nothing,
    "Swish": elementwise.swish,
    "TanH": elementwise.tanh,
    "Threshold": elementwise.threshold,
    "Tile": arranging.tile,
}
