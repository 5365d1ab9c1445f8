"""Old nets brought to the newest form, as Caffe does on reading: `layers`, inputs, transformations.

The rules are what Caffe 1.0 makes of old files when it reads them.
"""

from __future__ import annotations

from lbpmap.caffe.formats.messages import MESSAGES, Message

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
V1_TYPES: dict[int, str] = {
    number: _IRREGULAR.get(name, name.title().replace("_", ""))
    for name, number in MESSAGES["V1LayerParameter"].LayerType.items()
}

# These fields of V1LayerParameter have another name or shape in LayerParameter.
_RENAMED = ("type", "param", "blob_share_mode", "blobs_lr", "weight_decay", "layer")
# Data layers of 2013 held their transformation themselves.
_TRANSFORMED = ("data_param", "image_data_param", "window_data_param")
_TRANSFORMATION = ("scale", "mean_file", "crop_size", "mirror")


def upgrade(net: Message) -> None:
    """Bring a NetParameter to the newest form, in place.

    Raises
    ------
    ValueError
        When the net mixes old and new layers, is of the oldest form (V0: `layers { layer { } }`),
        or declares inputs and dimensions that do not fit together.
    """
    if len(net.layers) and len(net.layer):
        raise ValueError('both "layers" (old) and "layer" (new) are used; a net has one kind only')
    for old in net.layers:
        _upgrade_v1(old, net.layer.add())
    del net.layers[:]
    for layer in net.layer:
        _upgrade_transformation(layer)
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            del layer.param[:]  # its three blobs are statistics: no learning rate applies to them
    _upgrade_inputs(net)


def _upgrade_v1(old: Message, new: Message) -> None:
    if old.HasField("layer"):
        raise ValueError(
            f'layer "{old.layer.name}": the form of 2013 (layers {{ layer {{ }} }}) is not '
            f"supported; Caffe's tool upgrade_net_proto_text brings it to the newest"
        )
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
    for name in _TRANSFORMED:
        if layer.HasField(name):
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
