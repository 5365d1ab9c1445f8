"""Layer type -> forward on PyTorch: for GPUs and, through autograd, for backward passes.

Each function takes the layer, the tensors of its bottoms and those of its parameters, and returns
tensors for its tops, which may be views of the bottoms; it writes to none of them, but for the
statistics of BatchNorm. Gradients are Caffe's, at kinks too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from lbpmap.caffe.layers import torch_arranging as arranging
from lbpmap.caffe.layers import torch_elementwise as elementwise
from lbpmap.caffe.layers import torch_losses as losses
from lbpmap.caffe.layers import torch_recurrent as recurrent
from lbpmap.caffe.layers import torch_reductions as reductions
from lbpmap.caffe.layers import torch_windows as windows
from lbpmap.caffe.layers.plan import Layer
from lbpmap.caffe.layers.torch_deconvolution import deconvolution

Tensors = list[torch.Tensor]
TorchForward = Callable[[Layer, Tensors, Tensors], Tensors]


def inner_product(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Matrix product with the weights, every axis from `axis` on taken together."""
    p, x = layer.param.inner_product_param, bottoms[0]
    outer = x.shape[: p.axis % x.ndim]
    weight = params[0].t() if p.transpose else params[0]
    rows = x.reshape(math.prod(outer), weight.shape[1])
    result = functional.linear(rows, weight, params[1] if p.bias_term else None)
    return [result.reshape(*outer, len(weight))]


def silence(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Nothing."""
    return []


FORWARD: dict[str, TorchForward] = {
    "AbsVal": elementwise.absval,
    "Accuracy": losses.accuracy,
    "ArgMax": losses.argmax,
    "BNLL": elementwise.bnll,
    "BatchNorm": elementwise.batch_norm,
    "BatchReindex": arranging.batch_reindex,
    "Bias": elementwise.bias,
    "Clip": elementwise.clip,
    "Concat": arranging.concat,
    "ContrastiveLoss": reductions.contrastive_loss,
    "Convolution": windows.convolution,
    "Crop": arranging.crop,
    "Deconvolution": deconvolution,
    "Dropout": elementwise.dropout,
    "ELU": elementwise.elu,
    "Eltwise": elementwise.eltwise,
    "Embed": arranging.embed,
    "EuclideanLoss": losses.euclidean_loss,
    "Exp": elementwise.exp,
    "Flatten": arranging.flatten,
    "HingeLoss": losses.hinge_loss,
    "Im2col": windows.im2col,
    "InfogainLoss": reductions.infogain_loss,
    "InnerProduct": inner_product,
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
    "Reduction": reductions.reduction,
    "Reshape": arranging.reshape,
    "SPP": windows.spp,
    "Scale": elementwise.scale,
    "Sigmoid": elementwise.sigmoid,
    "SigmoidCrossEntropyLoss": losses.sigmoid_cross_entropy_loss,
    "Silence": silence,
    "Slice": arranging.slice_,
    "Softmax": losses.softmax,
    "SoftmaxWithLoss": losses.softmax_loss,
    "Split": arranging.split,
    "Swish": elementwise.swish,
    "TanH": elementwise.tanh,
    "Threshold": elementwise.threshold,
    "Tile": arranging.tile,
}
