"""Old nets and solvers brought to the newest form, as Caffe 1.0 does when it reads them.

First the layers of 2013 become V1, then transformations move, V1 becomes the newest form, and at
last inputs become a layer and BatchNorm's statistics are kept from learning.
"""

from __future__ import annotations

from lbpmap.caffe.formats.messages import MESSAGES, Message
from lbpmap.caffe.formats.upgrade_v0 import V1_NAMES, upgrade_v0

# V1's enum says CONTRASTIVE_LOSS, the newest form ContrastiveLoss; these do not follow the rule.
_IRREGULAR = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "IM2COL": "Im2col",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
_LayerType = MESSAGES["V1LayerParameter"].LayerType
V1_TYPES: dict[int, str] = {
    number: _IRREGULAR.get(name, name.title().replace("_", ""))
    for name, number in _LayerType.items()
}
V0_TYPES: dict[str, str] = {old: V1_TYPES[_LayerType.Value(v1)] for old, v1 in V1_NAMES.items()}

# These fields of V1LayerParameter have another name or shape in LayerParameter.
_RENAMED = ("type", "param", "blob_share_mode", "blobs_lr", "weight_decay")
# Data layers of V1 held their transformation themselves. The fields are still there in the newest
# form, where Caffe passes over them.
_TRANSFORMED = {
    _LayerType.Value("DATA"): "data_param",
    _LayerType.Value("IMAGE_DATA"): "image_data_param",
    _LayerType.Value("WINDOW_DATA"): "window_data_param",
}
_TRANSFORMATION = ("scale", "mean_file", "crop_size", "mirror")

_SOLVER_TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")


def upgrade(net: Message) -> None:
    """Bring a NetParameter to the newest form, in place.

    Raises
    ------
    ValueError
        When the net mixes layers of several forms, a layer of 2013 has something that cannot be
        carried over, or inputs and dimensions that are declared do not fit together.
    """
    if len(net.layers) and len(net.layer):
        raise ValueError('both "layers" (old) and "layer" (new) are used; a net has one kind only')
    upgrade_v0(net)
    for old in net.layers:
        _upgrade_transformation(old)
        _upgrade_v1(old, net.layer.add())
    del net.layers[:]
    _upgrade_inputs(net)
    for layer in net.layer:
        # Three parameters were once asked for; its three blobs are statistics, never learned.
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            for param in layer.param:
                param.lr_mult = param.decay_mult = 0


def upgrade_solver(solver: Message) -> None:
    """Turn the `solver_type` of a SolverParameter, an enum, into `type`, in place.

    Raises
    ------
    ValueError
        When both are given.
    """
    if not solver.HasField("solver_type"):
        return
    if solver.HasField("type"):
        raise ValueError(
            f'both solver_type (old) and type: "{solver.type}" (new) are given; use type'
        )
    solver.type = _SOLVER_TYPES[solver.solver_type]
    solver.ClearField("solver_type")


def _upgrade_v1(old: Message, new: Message) -> None:
    for field, value in old.ListFields():
        if field.name in _RENAMED:
            continue
        target = getattr(new, field.name)
        if hasattr(target, "MergeFrom"):
            target.MergeFrom(value)
        else:
            setattr(new, field.name, value)
    new.type = V1_TYPES[old.type]
    for i, name in enumerate(old.param):
        _param(new, i).name = name
    for i, mode in enumerate(old.blob_share_mode):
        _param(new, i).share_mode = mode
    for i, rate in enumerate(old.blobs_lr):
        _param(new, i).lr_mult = rate
    for i, decay in enumerate(old.weight_decay):
        _param(new, i).decay_mult = decay


def _param(layer: Message, i: int) -> Message:
    while len(layer.param) <= i:
        layer.param.add()
    return layer.param[i]


def _upgrade_transformation(layer: Message) -> None:
    """Move the transformation of a V1 data layer to where all data layers have it."""
    name = _TRANSFORMED.get(layer.type)
    if name is None or not layer.HasField(name):
        return
    old = getattr(layer, name)
    for field in _TRANSFORMATION:
        if old.HasField(field):
            setattr(layer.transform_param, field, getattr(old, field))
            old.ClearField(field)


def _upgrade_inputs(net: Message) -> None:
    """Turn `input`, `input_dim` and `input_shape` into an Input layer, the first of the net."""
    names, shapes = list(net.input), [list(shape.dim) for shape in net.input_shape]
    if not shapes:
        dims = list(net.input_dim)
        if dims and len(dims) != 4 * len(names):
            raise ValueError(
                f"{len(names)} input(s) need {4 * len(names)} input_dim, got {len(dims)}"
            )
        shapes = [dims[i : i + 4] for i in range(0, len(dims), 4)]
    elif len(net.input_dim):
        raise ValueError("both input_shape and input_dim are given; use one")
    elif len(shapes) != len(names):
        raise ValueError(f"{len(names)} input(s) but {len(shapes)} input_shape")
    for field in ("input", "input_dim", "input_shape"):
        net.ClearField(field)
    if not shapes:
        if names:
            raise ValueError(f'input "{names[0]}" has no shape; add input_shape {{ dim: ... }}')
        return
    layers = list(net.layer)
    first = type(net)().layer.add(name="input", type="Input", top=names)
    for shape in shapes:
        first.input_param.shape.add().dim.extend(shape)
    copies = [first] + [type(first).FromString(layer.SerializeToString()) for layer in layers]
    del net.layer[:]
    net.layer.extend(copies)
