"""Shape rules of what ends a net: losses, accuracy, sums; `shapes` has the table.

Each function takes the layer's settings and the shapes of its bottoms, and raises ValueError where
Caffe would abort.
"""

from __future__ import annotations

import math

from lbpmap._arrays import F32
from lbpmap.caffe.blob import Shape
from lbpmap.caffe.formats import weights
from lbpmap.caffe.formats.messages import Message
from lbpmap.caffe.layers.plan import Plan, axis_of


def argmax(layer: Message, bottoms: list[Shape]) -> Plan:
    """`top_k` places, values, or both."""
    p, shape = layer.argmax_param, bottoms[0]
    if p.HasField("axis"):
        axis = axis_of(shape, p.axis)
        length, top = shape[axis], (*shape[:axis], p.top_k, *shape[axis + 1 :])
    else:
        length = math.prod(shape[1:])
        top = (shape[0], 2 if p.out_max_val else 1, p.top_k) + (1,) * (len(shape) - 3)
    if not 1 <= p.top_k <= length:
        raise ValueError(f"top_k is {p.top_k}, it must be from 1 to {length}")
    return Plan((top,))


def _labelled(bottoms: list[Shape], axis: int) -> int:
    """Check that there is one label for every prediction along `axis`, which is returned."""
    axis = axis_of(bottoms[0], axis)
    labels = math.prod(bottoms[0][:axis]) * math.prod(bottoms[0][axis + 1 :])
    if math.prod(bottoms[1]) != labels:
        raise ValueError(f"{labels} labels are needed, the second input has shape {bottoms[1]}")
    return axis


def _as_many_items(bottoms: list[Shape]) -> None:
    """Check that both inputs of a loss have the same first dimension, as all losses ask for."""
    if not bottoms[0] or bottoms[0][:1] != bottoms[1][:1]:
        raise ValueError(
            f"inputs of shapes {bottoms[0]} and {bottoms[1]} have not as many items; their first "
            f"dimensions must be the same"
        )


def _check_old_axes(shape: Shape) -> None:
    """Refuse more axes than the N, C, H and W by which old layers know their bottom."""
    if len(shape) > 4:
        raise ValueError(f"the input must have at most four axes, got shape {shape}")


def accuracy(layer: Message, bottoms: list[Shape]) -> Plan:
    """Make a number, and one a class."""
    axis = _labelled(bottoms, layer.accuracy_param.axis)
    classes = bottoms[0][axis]
    if layer.accuracy_param.top_k > classes:
        raise ValueError(f"top_k is {layer.accuracy_param.top_k}, there are {classes} classes")
    return Plan(((), (classes,))[: len(layer.top)])


def softmax_loss(layer: Message, bottoms: list[Shape]) -> Plan:
    """Make a number, and the probabilities."""
    _labelled(bottoms, layer.softmax_param.axis)
    _as_many_items(bottoms)
    return Plan(((), bottoms[0])[: len(layer.top)])


def loss_of_labels(layer: Message, bottoms: list[Shape]) -> Plan:
    """Make a number, from one label a row."""
    _as_many_items(bottoms)
    _check_old_axes(bottoms[0])
    _labelled([(bottoms[0][0], math.prod(bottoms[0][1:])), bottoms[1]], 1)
    return Plan(((),))


def loss_of_targets(layer: Message, bottoms: list[Shape]) -> Plan:
    """Make a number, from as many targets as predictions."""
    if math.prod(bottoms[0]) != math.prod(bottoms[1]):
        raise ValueError(
            f"inputs of shapes {bottoms[0]} and {bottoms[1]} have not as many elements"
        )
    _as_many_items(bottoms)
    if layer.type == "EuclideanLoss":
        _check_old_axes(bottoms[0])
    return Plan(((),))


def infogain_loss(layer: Message, bottoms: list[Shape], matrix: F32 | None) -> Plan:
    """Make a number, and the probabilities; `matrix` is what was read from `source` before."""
    p = layer.infogain_loss_param
    axis = _labelled(bottoms[:2], p.axis)
    _as_many_items(bottoms)
    if layer.loss_param.HasField("normalize"):
        raise ValueError("normalize is out of use here; give normalization instead")
    if len(bottoms) == 2 and matrix is None:
        if not p.source:
            raise ValueError("needs a third bottom or source: a binaryproto of the infogain matrix")
        matrix = weights.read_blob(p.source)
    classes = bottoms[0][axis]
    given = bottoms[2] if len(bottoms) == 3 or matrix is None else matrix.shape
    if math.prod(given) != classes**2:
        raise ValueError(
            f"the infogain matrix has shape {given}, {classes} classes need {classes} x {classes}"
        )
    return Plan(((), bottoms[0])[: len(layer.top)], state=matrix)


def contrastive_loss(layer: Message, bottoms: list[Shape]) -> Plan:
    """Make a number, from two vectors a pair and whether they are alike."""
    for shape in bottoms:
        if not 1 <= len(shape) <= 4 or math.prod(shape[2:]) != 1:
            raise ValueError(f"inputs must be (N, C) or (N, C, 1, 1), got shape {shape}")
    one, other, alike = (math.prod(shape[1:]) for shape in bottoms)
    if one != other or alike != 1 or len({shape[0] for shape in bottoms}) != 1:
        raise ValueError(
            f"inputs of shapes {', '.join(map(str, bottoms))} do not fit; as many numbers in the "
            f"first as in the second are needed, and one a pair in the third"
        )
    return Plan(((),))


def reduction(layer: Message, bottoms: list[Shape]) -> Plan:
    """Keep the axes before `axis`: none, so that one number is left, where it is 0."""
    return Plan((bottoms[0][: axis_of(bottoms[0], layer.reduction_param.axis)],))
