"""Layer type -> shapes of tops and parameters: the table that every engine shares."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lbpmap.caffe import python_layer
from lbpmap.caffe.blob import MAX_AXES, Shape, is_shape
from lbpmap.caffe.formats.messages import Message
from lbpmap.caffe.layers import arranging_rules as arranging
from lbpmap.caffe.layers import data_rules as data
from lbpmap.caffe.layers import fillers
from lbpmap.caffe.layers import loss_rules as losses
from lbpmap.caffe.layers import shape_rules as rules
from lbpmap.caffe.layers.plan import Plan
from lbpmap.caffe.layers.recurrent_rules import recurrent

_MANY = 1 << 30


@dataclass(frozen=True)
class LayerType:
    """How a type is planned, and how many bottoms and tops (least, most) it takes.

    `loss` types get a top of their own when they name none; `shares` types give out the very memory
    of their bottom; `stateful` types are planned with the state of their last plan, None at first,
    as a third argument.
    """

    plan: Callable[..., Plan]
    bottoms: tuple[int, int] = (1, 1)
    tops: tuple[int, int] = (1, 1)
    loss: bool = False
    shares: bool = False
    stateful: bool = False


def plan(layer: Message, bottoms: list[Shape], state: Any = None) -> Plan:
    """Compute the shapes of a layer's tops and parameters.

    Parameters
    ----------
    layer : LayerParameter
    bottoms : list of tuple of int
    state : object, optional
        `Plan.state` of the layer's last plan.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        When the type is unknown, a setting is wrong, or the bottoms do not fit.
    """
    known = LAYER_TYPES.get(layer.type)
    if layer.type in NOT_HERE:
        raise ValueError(NOT_HERE[layer.type])
    if known is None:
        raise ValueError(
            f'unknown layer type "{layer.type}"; known are {", ".join(sorted(LAYER_TYPES))}'
        )
    for what, count, (least, most) in (
        ("bottom", len(bottoms), known.bottoms),
        ("top", len(layer.top), known.tops),
    ):
        if not least <= count <= most:
            wanted = str(least) if least == most else f"{least} or more"
            if least < most < _MANY:
                wanted = f"{least} to {most}"
            raise ValueError(f"has {count} {what} blob(s), needs {wanted}")
    made = known.plan(layer, bottoms, *([state] if known.stateful else []))
    for shape in made.tops + tuple(param.shape for param in made.params):
        if len(shape) > MAX_AXES:
            raise ValueError(f"a blob of {len(shape)} axes, at most {MAX_AXES} are allowed")
        if math.prod(shape) > rules.MAX_COUNT or not is_shape(shape):
            raise ValueError(f"a blob of shape {shape} has more than 2^31 - 1 elements")
    for param in made.params:
        fillers.check(param.shape, param.filler)
    return made


def shares_values(layer: Message) -> bool:
    """Whether the tops of a layer are the very memory of its bottom."""
    return LAYER_TYPES[layer.type].shares or _is_idle(layer)


def shares_gradients(layer: Message) -> bool:
    """Whether its top's gradient is its bottom's, too: it then has nothing to do."""
    return layer.type == "Reshape" or _is_idle(layer)


def _is_idle(layer: Message) -> bool:
    """Whether a layer joins one blob, or cuts one into one."""
    return layer.type in ("Concat", "Slice") and len(layer.bottom) == len(layer.top) == 1


# Types of Caffe that nothing here stands for, and what to use instead.
NOT_HERE = {
    "WindowData": "WindowData is not supported; cut the windows out first and use ImageData or Data"
}

LAYER_TYPES: dict[str, LayerType] = {
    "AbsVal": LayerType(rules.same),
    "Accuracy": LayerType(losses.accuracy, bottoms=(2, 2), tops=(1, 2)),
    "ArgMax": LayerType(losses.argmax),
    "BNLL": LayerType(rules.same),
    "BatchNorm": LayerType(rules.batch_norm),
    "BatchReindex": LayerType(arranging.batch_reindex, bottoms=(2, 2)),
    "Bias": LayerType(rules.bias, bottoms=(1, 2)),
    "Clip": LayerType(rules.same),
    "Concat": LayerType(arranging.concat, bottoms=(1, _MANY)),
    "ContrastiveLoss": LayerType(losses.contrastive_loss, bottoms=(3, 3), loss=True),
    "Convolution": LayerType(rules.convolution, bottoms=(1, _MANY), tops=(1, _MANY)),
    "Crop": LayerType(arranging.crop, bottoms=(2, 2)),
    "Data": LayerType(data.data, bottoms=(0, 0), tops=(1, 2), stateful=True),
    "Deconvolution": LayerType(rules.deconvolution, bottoms=(1, _MANY), tops=(1, _MANY)),
    "Dropout": LayerType(rules.dropout),
    "DummyData": LayerType(data.dummy_data, bottoms=(0, 0), tops=(1, _MANY)),
    "ELU": LayerType(rules.same),
    "Eltwise": LayerType(rules.eltwise, bottoms=(2, _MANY)),
    "Embed": LayerType(arranging.embed),
    "EuclideanLoss": LayerType(losses.loss_of_targets, bottoms=(2, 2), loss=True),
    "Exp": LayerType(rules.exponential),
    "Filter": LayerType(arranging.filter_, bottoms=(2, _MANY), tops=(1, _MANY)),
    "Flatten": LayerType(arranging.flatten, shares=True),
    "HDF5Data": LayerType(data.hdf5_data, bottoms=(0, 0), tops=(1, _MANY), stateful=True),
    "HDF5Output": LayerType(data.hdf5_output, bottoms=(2, 2), tops=(0, 0)),
    "HingeLoss": LayerType(losses.loss_of_labels, bottoms=(2, 2), loss=True),
    "Im2col": LayerType(rules.im2col),
    "ImageData": LayerType(data.image_data, bottoms=(0, 0), tops=(2, 2), stateful=True),
    "InfogainLoss": LayerType(
        losses.infogain_loss, bottoms=(2, 3), tops=(1, 2), loss=True, stateful=True
    ),
    "InnerProduct": LayerType(rules.inner_product),
    "Input": LayerType(rules.input_, bottoms=(0, 0), tops=(1, _MANY)),
    "LRN": LayerType(rules.lrn),
    "LSTM": LayerType(recurrent, bottoms=(2, 5), tops=(1, 3)),
    "Log": LayerType(rules.exponential),
    "MVN": LayerType(rules.mvn),
    "MemoryData": LayerType(data.memory_data, bottoms=(0, 0), tops=(2, 2), stateful=True),
    "MultinomialLogisticLoss": LayerType(losses.loss_of_labels, bottoms=(2, 2), loss=True),
    "PReLU": LayerType(rules.prelu),
    "Parameter": LayerType(arranging.parameter, bottoms=(0, 0)),
    "Pooling": LayerType(rules.pooling, tops=(1, 2)),
    "Power": LayerType(rules.same),
    "Python": LayerType(python_layer.plan, bottoms=(0, _MANY), tops=(0, _MANY), stateful=True),
    "RNN": LayerType(recurrent, bottoms=(2, 4), tops=(1, 2)),
    "ReLU": LayerType(rules.same),
    "Reduction": LayerType(losses.reduction),
    "Reshape": LayerType(arranging.reshape, shares=True),
    "SPP": LayerType(rules.spp),
    "Scale": LayerType(rules.scale, bottoms=(1, 2)),
    "Sigmoid": LayerType(rules.same),
    "SigmoidCrossEntropyLoss": LayerType(losses.loss_of_targets, bottoms=(2, 2), loss=True),
    "Silence": LayerType(rules.none, bottoms=(1, _MANY), tops=(0, 0)),
    "Slice": LayerType(arranging.slice_, tops=(1, _MANY)),
    "Softmax": LayerType(rules.softmax),
    "SoftmaxWithLoss": LayerType(losses.softmax_loss, bottoms=(2, 2), tops=(1, 2), loss=True),
    "Split": LayerType(rules.copies, tops=(1, _MANY), shares=True),
    "Swish": LayerType(rules.same),
    "TanH": LayerType(rules.same),
    "Threshold": LayerType(rules.same),
    "Tile": LayerType(arranging.tile),
}
