"""The layers of 2013 (V0: `layers { layer { type: "conv" } }`) brought to V1, as Caffe does it.

V0 kept the settings of all types in one message, and padded a convolution or a pooling by a layer
of its own in front of it. Every rule here was held against Caffe 1.0's upgrade_net_proto_text.
"""

from __future__ import annotations

from typing import NamedTuple

from lbpmap.caffe.formats.messages import MESSAGES, Message

_V1: Message = MESSAGES["V1LayerParameter"]


class _Type(NamedTuple):
    """What became of a type: its name in V1, the message of its settings, which settings it has."""

    name: str
    param: str = ""
    settings: str = ""


_TYPES = {
    "accuracy": _Type("ACCURACY"),
    "bnll": _Type("BNLL"),
    "concat": _Type("CONCAT", "concat_param", "concat_dim"),
    "conv": _Type(
        "CONVOLUTION",
        "convolution_param",
        "num_output biasterm weight_filler bias_filler pad kernelsize group stride",
    ),
    "data": _Type("DATA", "data_param", "source batchsize rand_skip"),
    "dropout": _Type("DROPOUT", "dropout_param", "dropout_ratio"),
    "euclidean_loss": _Type("EUCLIDEAN_LOSS"),
    "flatten": _Type("FLATTEN"),
    "hdf5_data": _Type("HDF5_DATA", "hdf5_data_param", "source batchsize"),
    "hdf5_output": _Type("HDF5_OUTPUT", "", "hdf5_output_param"),
    "im2col": _Type("IM2COL", "convolution_param", "pad kernelsize stride"),
    "images": _Type(
        "IMAGE_DATA",
        "image_data_param",
        "source batchsize rand_skip shuffle_images new_height new_width",
    ),
    "infogain_loss": _Type("INFOGAIN_LOSS", "infogain_loss_param", "source"),
    "innerproduct": _Type(
        "INNER_PRODUCT", "inner_product_param", "num_output biasterm weight_filler bias_filler"
    ),
    "lrn": _Type("LRN", "lrn_param", "local_size alpha beta k"),
    "multinomial_logistic_loss": _Type("MULTINOMIAL_LOGISTIC_LOSS"),
    "pool": _Type("POOLING", "pooling_param", "pool pad kernelsize stride"),
    "relu": _Type("RELU"),
    "sigmoid": _Type("SIGMOID"),
    "softmax": _Type("SOFTMAX"),
    "softmax_loss": _Type("SOFTMAX_LOSS"),
    "split": _Type("SPLIT"),
    "tanh": _Type("TANH"),
    "window_data": _Type(
        "WINDOW_DATA",
        "window_data_param",
        "source batchsize det_fg_threshold det_bg_threshold det_fg_fraction det_context_pad "
        "det_crop_mode",
    ),
}

# Settings whose names changed when they moved.
_RENAMED = {
    "batchsize": "batch_size",
    "biasterm": "bias_term",
    "det_bg_threshold": "bg_threshold",
    "det_context_pad": "context_pad",
    "det_crop_mode": "crop_mode",
    "det_fg_fraction": "fg_fraction",
    "det_fg_threshold": "fg_threshold",
    "kernelsize": "kernel_size",
    "shuffle_images": "shuffle",
}
# These go to the transformation, whatever the type.
_TRANSFORMATION = {
    "cropsize": "crop_size",
    "meanfile": "mean_file",
    "mirror": "mirror",
    "scale": "scale",
}
_OF_EVERY_TYPE = ("name", "type", "blobs", "blobs_lr", "weight_decay")
_AROUND = ("layer", "bottom", "top")
_PADDED = ("conv", "pool")

# Name of each V0 type in V1; a padding layer has none.
V1_NAMES: dict[str, str] = {name: kind.name for name, kind in _TYPES.items()}


def upgrade_v0(net: Message) -> None:
    """Turn the V0 layers of a NetParameter into V1 layers, in place.

    Raises
    ------
    ValueError
        When V0 and V1 are mixed, or a type or a setting has no counterpart; it names the layer.
    """
    if not any(layer.HasField("layer") for layer in net.layers):
        return
    for layer in net.layers:
        if not layer.HasField("layer"):
            raise ValueError(
                f'layer "{layer.name}" is of V1, others are of V0 (layers {{ layer {{ }} }}); a '
                f"net has one kind only"
            )
    upgraded = [_upgraded(layer) for layer in _without_padding(net)]
    del net.layers[:]
    net.layers.extend(upgraded)


def _without_padding(net: Message) -> list[Message]:
    """Return all layers but those that pad; the layers behind those pad for themselves."""
    makers: dict[str, Message] = {}
    kept = []
    for layer in net.layers:
        for blob in layer.bottom:
            if blob in makers and makers[blob].layer.type == "padding":
                _fold(makers[blob], layer)
        makers.update(dict.fromkeys(layer.top, layer))
        if layer.layer.type != "padding":
            kept.append(layer)
    return kept


def _fold(padding: Message, layer: Message) -> None:
    if layer.layer.type not in _PADDED:
        raise ValueError(
            f"{_named(layer)}: its bottom is made by the padding layer "
            f'"{padding.layer.name}"; only conv and pool can follow one'
        )
    if not len(layer.bottom) == len(padding.bottom) == len(padding.top) == 1:
        raise ValueError(
            f'{_named(layer)}: it and the padding layer "{padding.layer.name}" in front of it must '
            f"have one bottom and one top each"
        )
    layer.layer.pad = padding.layer.pad
    layer.bottom[0] = padding.bottom[0]


def _upgraded(layer: Message) -> Message:
    old = layer.layer
    kind = _TYPES.get(old.type)
    if kind is None:
        raise ValueError(
            f"{_named(layer)}: no such type among those of 2013; known are "
            f"{', '.join([*_TYPES, 'padding'])}"
        )
    for field, _ in layer.ListFields():
        if field.name not in _AROUND:
            raise ValueError(
                f"{_named(layer)}: {field.name} stands beside layer {{ }} of 2013, which knows "
                f"bottom and top only; remove it, or write the layer in a newer form"
            )
    new = _V1(name=old.name, type=kind.name, bottom=layer.bottom, top=layer.top)
    for field, value in old.ListFields():
        if field.name in ("name", "type"):
            continue
        if field.name in _OF_EVERY_TYPE:
            getattr(new, field.name).MergeFrom(value)
        elif field.name in _TRANSFORMATION:
            setattr(new.transform_param, _TRANSFORMATION[field.name], value)
        elif field.name in kind.settings.split():
            target = getattr(new, kind.param) if kind.param else new
            _set(target, _RENAMED.get(field.name, field.name), value)
        else:
            raise ValueError(
                f"{_named(layer)}: {field.name} is no setting of this type, which has "
                f"{', '.join(kind.settings.split()) or 'none'}; remove it"
            )
    return new


def _set(message: Message, name: str, value: object) -> None:
    """Set a field of any kind; `pad`, `kernel_size` and `stride` of a convolution may repeat."""
    target = getattr(message, name)
    if hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    elif hasattr(target, "append"):
        target.append(value)
    else:
        setattr(message, name, value)


def _named(layer: Message) -> str:
    return f'layer "{layer.layer.name}" ({layer.layer.type or "no type"})'
