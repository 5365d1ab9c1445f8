"""Net surgery: the text of a net made ready to learn given labels, from pictures in memory.

Any Caffe net for classification will do: one for training, whatever its data layers read, or one
that is only run. Its last layers, those whose output a SoftmaxWithLoss reads, get the new number of
outputs and a new name, so that weights that are copied by name leave them as they were drawn.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lbpmap.caffe import assembly, graph
from lbpmap.caffe.formats.messages import TEST, TRAIN, FillerParameter, Message

_LOSS = "SoftmaxWithLoss"
# Types with weights to fill, and where their settings stand.
_SETTINGS = {"Convolution": "convolution_param", "InnerProduct": "inner_product_param"}
_BRINGS_DATA = ("MemoryData", "Data", "ImageData", "HDF5Data", "WindowData", "DummyData", "Input")


@dataclass(frozen=True)
class TrainingNet:
    """A net that learns, and the same net as it is run.

    Attributes
    ----------
    train_val : NetParameter
        With MemoryData layers in both phases, of tops `data` and `label`.
    deploy : NetParameter
        From an Input layer to the probabilities.
    heads : tuple of str
        Names of the last layers; several where a net has losses on the way.
    scores : str
        The blob that the main loss reads, one row of scores a picture.
    """

    train_val: Message
    deploy: Message
    heads: tuple[str, ...]
    scores: str


def prepare(
    net: Message,
    *,
    labels: int,
    crop: int,
    batch: int,
    fresh: bool = True,
    frozen: Collection[str] = (),
    rates: Mapping[str, float] | None = None,
) -> TrainingNet:
    """Make a net ready to learn.

    Parameters
    ----------
    net : NetParameter
        In the newest form, as `lbpmap.caffe.formats.prototxt.read_net` gives it; it is not changed.
    labels : int
        Outputs that the last layers shall have.
    crop : int
        Side of the pictures.
    batch : int
        Pictures a pass, in training and in tests.
    fresh : bool, default True
        Whether the last layers get new names, so that weights of the old ones are not taken.
    frozen : collection of str
        Layers that do not learn.
    rates : mapping of str to float, optional
        Factors for the learning-rate multipliers of layers.

    Returns
    -------
    TrainingNet

    Raises
    ------
    ValueError
        When the net has no loss of the kind or no plain last layer, reads other data than pictures
        and labels, or a layer is unknown.

    Examples
    --------
    >>> from lbpmap.caffe.formats import prototxt
    >>> from lbpmap.caffe.formats.messages import NetParameter
    >>> text = '''
    ... layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8
    ...   dim: 8 } } }
    ... layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
    ...   inner_product_param { num_output: 7 } }
    ... layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }'''
    >>> ready = prepare(prototxt.parse(text, NetParameter()), labels=3, crop=8, batch=4)
    >>> ready.heads, [layer.type for layer in ready.train_val.layer]
    (('ip_ft1',), ['MemoryData', 'MemoryData', 'InnerProduct', 'Softmax', 'SoftmaxWithLoss'])
    """
    train_val: Message = type(net)()
    train_val.CopyFrom(net)
    if not any(layer.type == _LOSS for layer in train_val.layer):
        _add_loss(train_val)
    losses = [layer for layer in _layers(train_val, TRAIN) if layer.type == _LOSS]
    if not losses:
        raise ValueError(f"no {_LOSS} in the TRAIN phase; it is the loss that is learned by")
    _feed_from_memory(train_val, losses[0].bottom[1], crop, batch)
    heads = tuple(dict.fromkeys(_head(train_val, loss) for loss in losses))
    _set_outputs(train_val, heads, labels)
    _set_rates(train_val, frozen, rates or {})
    if fresh:
        heads = _rename(train_val, heads)
    _give_fillers(train_val, heads)
    main = max(losses, key=_weight_of)  # the first of equal ones
    return TrainingNet(train_val, _deploy(train_val, main.bottom[0], crop), heads, main.bottom[0])


def _layers(net: Message, phase: int) -> list[Message]:
    """Give a net's layers of a phase, in which blobs still have their own names."""
    state = graph.NetState(phase=phase)
    return [layer for layer in net.layer if graph.runs(layer, state)]


def _weight_of(loss: Message) -> float:
    return float(loss.loss_weight[0]) if len(loss.loss_weight) else 1.0


def _add_loss(net: Message) -> None:
    """Give a net that is only run a loss, beside its Softmax."""
    ends = [layer for layer in net.layer if layer.type == "Softmax"]
    if not ends:
        raise ValueError(
            f"neither a {_LOSS} nor a Softmax at its end; expected a net for classification"
        )
    ends[-1].include.add(phase=TEST)
    net.layer.add(name="loss", type=_LOSS, bottom=[ends[-1].bottom[0], "label"], top=["loss"])


def _feed_from_memory(net: Message, label: str, crop: int, batch: int) -> None:
    """Put MemoryData layers in the place of whatever brings data."""
    brought = {top for layer in net.layer if layer.type in _BRINGS_DATA for top in layer.top} - {
        label
    }
    if len(brought) != 1:
        raise ValueError(
            f"its data layers bring {', '.join(sorted(brought)) or 'nothing'} besides the label "
            f'"{label}"; expected one blob of pictures'
        )
    (data,) = brought
    kept = [layer for layer in net.layer if layer.type not in _BRINGS_DATA]
    fed: Message = type(net)()
    for phase, name in ((TRAIN, "train"), (TEST, "test")):
        source = fed.layer.add(name=f"{name}_data", type="MemoryData", top=[data, label])
        source.include.add(phase=phase)
        p = source.memory_data_param
        p.batch_size, p.channels, p.height, p.width = batch, 3, crop, crop
    fed.layer.extend(kept)
    net.ClearField("layer")
    net.layer.extend(fed.layer)


def _head(net: Message, loss: Message) -> str:
    """Name the layer that makes a loss's scores."""
    makers = [la for la in _layers(net, TRAIN) if loss.bottom[0] in la.top]
    if len(makers) != 1 or makers[0].type not in _SETTINGS:
        raise ValueError(
            f'layer "{loss.name}": its scores "{loss.bottom[0]}" come from '
            f"{', '.join(f'{la.name} ({la.type})' for la in makers) or 'no layer'}; expected one "
            f"layer of type {' or '.join(_SETTINGS)}"
        )
    return str(makers[0].name)


def _set_outputs(net: Message, heads: Collection[str], labels: int) -> None:
    for layer in net.layer:
        if layer.name in heads:
            getattr(layer, _SETTINGS[layer.type]).num_output = labels


def _rename(net: Message, heads: tuple[str, ...]) -> tuple[str, ...]:
    """Give the last layers a number: of fc8 fc8_ft1 is fine-tuned, of that fc8_ft2."""
    new = {}
    for head in heads:
        found = re.fullmatch(r"(.+)_ft(\d+)", head)
        new[head] = f"{found[1]}_ft{int(found[2]) + 1}" if found else f"{head}_ft1"
    for layer in net.layer:
        layer.name = new.get(layer.name, layer.name)
    return tuple(new.values())


def _give_fillers(net: Message, heads: Collection[str]) -> None:
    """Fill weights at random where the text leaves them zero: nothing would be learned."""
    for layer in net.layer:
        if layer.type in _SETTINGS:
            p = getattr(layer, _SETTINGS[layer.type])
            if p.weight_filler.type == "constant" and not p.weight_filler.value:
                kind = (
                    FillerParameter(type="gaussian", std=0.01)
                    if layer.name in heads
                    else FillerParameter(type="xavier")
                )
                p.weight_filler.CopyFrom(kind)


def _set_rates(net: Message, frozen: Collection[str], rates: Mapping[str, float]) -> None:
    factors = {**rates, **dict.fromkeys(frozen, 0.0)}
    if not factors:
        return
    state = graph.NetState(phase=TRAIN)
    chosen = graph.layers_for(net, state)
    plans, _ = assembly.plan_all(chosen, {})
    counts = {str(la.name): len(plan.params) for la, plan in zip(chosen, plans) if plan.params}
    unknown = [name for name in factors if name not in counts]
    if unknown:
        raise ValueError(
            f"no layer {', '.join(unknown)} with weights; there are {', '.join(counts)}"
        )
    for layer in net.layer:
        if layer.name in factors and layer.type != "BatchNorm":
            while len(layer.param) < counts[layer.name]:
                layer.param.add()
            for spec in layer.param:
                spec.lr_mult *= factors[layer.name]


def _deploy(net: Message, scores: str, crop: int) -> Message:
    """Take what leads from the pictures to the probabilities."""
    layers = _layers(net, TEST)
    source, *rest = layers
    ends = [la for la in rest if la.type == "Softmax" and la.bottom[0] == scores]
    deploy: Message = type(net)(name=net.name)
    shape = deploy.layer.add(name="data", type="Input", top=[source.top[0]]).input_param.shape
    shape.add().dim.extend([1, 3, crop, crop])
    wanted = {ends[0].top[0] if ends else scores}
    kept = []
    for layer in reversed(rest):
        if wanted.intersection(layer.top):
            wanted.update(layer.bottom)
            kept.append(layer)
    if source.top[1] in wanted:
        raise ValueError(f'its probabilities depend on the label "{source.top[1]}"')
    for layer in reversed(kept):
        added = deploy.layer.add()
        added.CopyFrom(layer)
        for name in ("include", "exclude", "loss_weight", "param"):
            added.ClearField(name)
        if layer.type in _SETTINGS:
            for name in ("weight_filler", "bias_filler"):
                getattr(added, _SETTINGS[layer.type]).ClearField(name)
    if not ends:
        deploy.layer.add(name="prob", type="Softmax", bottom=[scores], top=["prob"])
    return deploy


def batch_of(net: Message, default: int) -> int:
    """Give the batch that a net's text learns with, or `default` where it names none."""
    for layer in _layers(net, TRAIN):
        for kind in ("memory_data_param", "data_param", "image_data_param", "hdf5_data_param"):
            if layer.HasField(kind) and getattr(layer, kind).batch_size:
                return int(getattr(layer, kind).batch_size)
    return default
