"""Layer type -> shapes of tops and parameters: the table that every engine shares."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lbpmap.caffe.blob import MAX_AXES, Shape
from lbpmap.caffe.formats.messages import Message
from lbpmap.caffe.layers import fillers
from lbpmap.caffe.layers import shape_rules as rules
from lbpmap.caffe.layers.plan import Plan

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
        if math.prod(shape) > rules.MAX_COUNT:
            raise ValueError(f"a blob of shape {shape} has more than 2^31 - 1 elements")
    for param in made.params:
        fillers.check(param.shape, param.filler)
    return made


LAYER_TYPES: dict[str, LayerType] = {
    "AbsVal": LayerType(rules.same),
    "Accuracy": LayerType(rules.accuracy, bottoms=(2, 2), tops=(1, 2)),
    "ArgMax": LayerType(rules.argmax),
    "BNLL": LayerType(rules.same),
    "BatchNorm": LayerType(rules.batch_norm),
    "Bias": LayerType(rules.bias, bottoms=(1, 2)),
    "Clip": LayerType(rules.same),
    "Concat": LayerType(rules.concat, bottoms=(1, _MANY)),
    "Convolution": LayerType(rules.convolution, bottoms=(1, _MANY), tops=(1, _MANY)),
    "Crop": LayerType(rules.crop, bottoms=(2, 2)),
    "Dropout": LayerType(rules.dropout),
    "ELU": LayerType(rules.same),
    "Eltwise": LayerType(rules.eltwise, bottoms=(2, _MANY)),
    "EuclideanLoss": LayerType(rules.loss_of_targets, bottoms=(2, 2), loss=True),
    "Exp": LayerType(rules.exponential),
    "Flatten": LayerType(rules.flatten, shares=True),
    "HingeLoss": LayerType(rules.loss_of_labels, bottoms=(2, 2), loss=True),
    "Im2col": LayerType(rules.im2col),
    "InnerProduct": LayerType(rules.inner_product),
    "Input": LayerType(rules.input_, bottoms=(0, 0), tops=(1, _MANY)),
    "LRN": LayerType(rules.lrn),
    "Log": LayerType(rules.exponential),
    "MVN": LayerType(rules.same),
    "MultinomialLogisticLoss": LayerType(rules.loss_of_labels, bottoms=(2, 2), loss=True),
    "PReLU": LayerType(rules.prelu),
    "Pooling": LayerType(rules.pooling, tops=(1, 2)),
    "Power": LayerType(rules.same),
    "ReLU": LayerType(rules.same),
    "Reshape": LayerType(rules.reshape, shares=True),
    "SPP": LayerType(rules.spp),
    "Scale": LayerType(rules.scale, bottoms=(1, 2)),
    "Sigmoid": LayerType(rules.same),
    "SigmoidCrossEntropyLoss": LayerType(rules.loss_of_targets, bottoms=(2, 2), loss=True),
    "Silence": LayerType(rules.none, bottoms=(1, _MANY), tops=(0, 0)),
    "Slice": LayerType(rules.slice_, tops=(1, _MANY)),
    "Softmax": LayerType(rules.softmax),
    "SoftmaxWithLoss": LayerType(rules.softmax_loss, bottoms=(2, 2), tops=(1, 2), loss=True),
    "Split": LayerType(rules.copies, tops=(1, _MANY), shares=True),
    "Swish": LayerType(rules.same),
    "TanH": LayerType(rules.same),
    "Threshold": LayerType(rules.same),
}
