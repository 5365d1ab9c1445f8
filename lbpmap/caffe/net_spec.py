"""Nets written in Python: pycaffe's `NetSpec`, where layers are calls and blobs what they return.

Examples
--------
>>> from lbpmap import caffe
>>> from lbpmap.caffe import layers as L, params as P
>>> n = caffe.NetSpec()
>>> n.data = L.Input(shape=dict(dim=[1, 3, 8, 8]))
>>> n.conv1 = L.Convolution(n.data, kernel_size=3, num_output=2, weight_filler=dict(type="xavier"))
>>> n.relu1 = L.ReLU(n.conv1, in_place=True)
>>> n.pool1 = L.Pooling(n.relu1, pool=P.Pooling.MAX, kernel_size=2, stride=2)
>>> net = n.to_proto()
>>> [(layer.name, list(layer.bottom), list(layer.top)) for layer in net.layer[1:3]]
[('conv1', ['data'], ['conv1']), ('relu1', ['conv1'], ['conv1'])]
"""

from __future__ import annotations

import difflib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from lbpmap.caffe import layers, params
from lbpmap.caffe.formats.messages import LayerParameter, Message, NetParameter
from lbpmap.caffe.layers.shapes import LAYER_TYPES, NOT_HERE

__all__ = [
    "Function",
    "NetSpec",
    "Top",
    "assign_proto",
    "layer_function",
    "layers",
    "params",
    "to_proto",
]

# Layer type -> the field that holds its own settings, such as Convolution -> convolution_param.
_OWN_FIELD = {
    field.message_type.name[: -len("Parameter")]: field.name
    for field in LayerParameter.DESCRIPTOR.fields
    if field.name.endswith("_param")
}


class Top:
    """A blob that a layer makes.

    Attributes
    ----------
    fn : Function
        The layer.
    n : int
        Which of the layer's tops it is, from 0.
    """

    def __init__(self, fn: Function, n: int) -> None:
        self.fn = fn
        self.n = n

    def to_proto(self) -> Message:
        """Return the net that makes this blob; see `to_proto`."""
        return to_proto(self)


class Function:
    """A layer that is called: its type, bottoms and settings.

    Attributes
    ----------
    type_name : str
    inputs : tuple of Top
    params : dict
        Settings, which may be changed until the net is written.
    ntop : int
    in_place : bool
        Whether the top is the first bottom.
    tops : tuple of Top

    Raises
    ------
    AttributeError
        When the type has no such setting.
    TypeError, ValueError
        When a bottom is no `Top`, or a setting has the wrong kind of value.
    """

    def __init__(self, type_name: str, inputs: Iterable[Top], params: dict[str, Any]) -> None:
        self.type_name = type_name
        self.inputs = tuple(inputs)
        self.params = dict(params)
        self.ntop = int(self.params.pop("ntop", 1))
        self.in_place = bool(self.params.pop("in_place", False))
        for i, bottom in enumerate(self.inputs):
            if not isinstance(bottom, Top):
                several = "; a layer with several tops returns all, pass one of them"
                raise TypeError(
                    f"L.{type_name}: bottom {i} must be what another layer returned, got "
                    f"{type(bottom).__name__}{several if isinstance(bottom, tuple) else ''}"
                )
        if self.in_place and not self.inputs:
            raise TypeError(f"L.{type_name}: in_place needs a bottom to overwrite")
        self.tops = tuple(Top(self, n) for n in range(self.ntop))
        self.settings()

    def settings(self) -> Message:
        """Return a LayerParameter of the type and the settings, without blobs and name."""
        layer = LayerParameter(type=self.type_name)
        own = _OWN_FIELD.get(self.type_name)
        where = f"L.{self.type_name}"
        for name, value in self.params.items():
            if name in LayerParameter.DESCRIPTOR.fields_by_name:
                _assign(layer, name, value, where)
            elif own and name in getattr(layer, own).DESCRIPTOR.fields_by_name:
                _assign(getattr(layer, own), name, value, where)
            else:
                raise AttributeError(_unknown_setting(self.type_name, name))
        return layer


class NetSpec:
    """A net whose blobs are attributes, named as they are assigned.

    ``n.conv1 = L.Convolution(n.data, ...)`` names a blob and its layer ``conv1``; names that are no
    identifiers go in as ``n["inception/1x1"]``. Layers that nobody named are numbered by type.

    Attributes
    ----------
    tops : OrderedDict of Top
        What was assigned, in order; a layer without tops stands here itself.
    """

    tops: OrderedDict[str, Top | Function]

    def __init__(self) -> None:
        object.__setattr__(self, "tops", OrderedDict())

    def __setattr__(self, name: str, value: Any) -> None:
        if not isinstance(value, (Top, Function)):
            raise TypeError(
                f"NetSpec.{name} must be what a layer returned, got {type(value).__name__}; a "
                f"layer with several tops is assigned as n.a, n.b = L.Data(..., ntop=2)"
            )
        self.tops[name] = value

    # Any: whoever wrote n.conv1 knows that it is one top.
    def __getattr__(self, name: str) -> Any:
        try:
            return self.tops[name]
        except KeyError:
            raise AttributeError(f"NetSpec: nothing was assigned to {name!r}") from None

    def __setitem__(self, name: str, value: Any) -> None:
        self.__setattr__(name, value)

    def __getitem__(self, name: str) -> Any:
        return self.tops[name]

    def __delattr__(self, name: str) -> None:
        del self.tops[name]

    def __delitem__(self, name: str) -> None:
        del self.tops[name]

    def to_proto(self) -> Message:
        """Return the net as a NetParameter; its `str` is a prototxt."""
        return _net(self.tops.values(), {top: name for name, top in self.tops.items()})


def to_proto(*tops: Top | Function) -> Message:
    """Return the net that makes some blobs as a NetParameter, its layers numbered by type.

    Parameters
    ----------
    *tops : Top

    Examples
    --------
    >>> from lbpmap.caffe import layers as L
    >>> print(to_proto(L.ReLU(L.Input())), end="")
    layer {
      name: "Input1"
      type: "Input"
      top: "Input1"
    }
    layer {
      name: "ReLU1"
      type: "ReLU"
      bottom: "Input1"
      top: "ReLU1"
    }
    """
    return _net(tops, {})


def layer_function(type_name: str) -> Callable[..., Any]:
    """Return what ``L.Convolution`` and its like are: a call that makes a layer.

    Parameters
    ----------
    type_name : str

    Returns
    -------
    function
        Its arguments are bottoms, then settings by name; `ntop` (1), `in_place` (False) and `name`
        among them. It returns a `Top`, a tuple of several, or with ``ntop=0`` a `Function`.

    Raises
    ------
    AttributeError
        When Caffe has no such type.
    """
    if type_name not in LAYER_TYPES and type_name not in NOT_HERE:
        raise AttributeError(
            f'caffe.layers: no layer type "{type_name}"{_did_you_mean(type_name, LAYER_TYPES)}'
        )

    def layer(*bottoms: Top, **settings: Any) -> Any:
        made = Function(type_name, bottoms, settings)
        if made.ntop == 0:
            return made
        return made.tops[0] if made.ntop == 1 else made.tops

    layer.__name__ = layer.__qualname__ = type_name
    return layer


def assign_proto(proto: Message, name: str, val: Any) -> None:
    """Set a field of a message: dictionaries fill messages, sequences repeated fields.

    Parameters
    ----------
    proto : message
    name : str
    val : number, str, bool, dict, message, or a sequence of them
        A single value also fills a repeated field.

    Raises
    ------
    AttributeError, TypeError, ValueError
        When there is no such field, or the value is not of its kind.

    Examples
    --------
    >>> layer = LayerParameter(name="l")
    >>> assign_proto(layer, "param", [dict(lr_mult=1), dict(lr_mult=2)])
    >>> [param.lr_mult for param in layer.param]
    [1.0, 2.0]
    """
    _assign(proto, name, val, proto.DESCRIPTOR.name)


def _assign(message: Message, name: str, value: Any, where: str) -> None:
    fields = message.DESCRIPTOR.fields_by_name
    if name not in fields:
        raise AttributeError(f'{where}: no field "{name}"{_did_you_mean(name, fields)}')
    place = getattr(message, name)
    repeated = hasattr(place, "extend")
    many = repeated and isinstance(value, (list, tuple, np.ndarray))
    try:
        if fields[name].message_type is not None:
            for one in value if many else [value]:
                _fill(place.add() if repeated else place, one, f"{where}: {name}")
        elif repeated:
            place.extend(value if many else [value])
        else:
            setattr(message, name, value)
    except (TypeError, ValueError) as error:
        said = str(error)
        raise type(error)(said if said.startswith(where) else f"{where}: {name}: {said}") from None


def _fill(message: Message, value: Any, where: str) -> None:
    """Set fields from a dictionary, or all from a message of the same kind."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _assign(message, name, inner, where)
    elif type(value) is type(message):
        message.CopyFrom(value)
    else:
        raise TypeError(f"{where} must be a dict, got {type(value).__name__}")


def _net(ends: Iterable[Top | Function], names: dict[Top | Function, str]) -> Message:
    """Write the layers that `ends` need; tops and functions without a name get numbers."""
    net, counts = NetParameter(), Counter[str]()
    blobs: dict[Top, str] = {}  # as the text calls them: an in-place top is its bottom

    def name_of(made: Top | Function, type_name: str) -> str:
        if made not in names:
            counts[type_name] += 1
            names[made] = f"{type_name}{counts[type_name]}"
        return names[made]

    for fn in in_order(ends):
        layer = net.layer.add()
        layer.name = name_of(fn.tops[0] if fn.tops else fn, fn.type_name)
        layer.bottom.extend(blobs[bottom] for bottom in fn.inputs)
        for top in fn.tops:
            blobs[top] = blobs[fn.inputs[0]] if fn.in_place else name_of(top, fn.type_name)
        layer.top.extend(blobs[top] for top in (fn.tops[:1] if fn.in_place else fn.tops))
        layer.MergeFrom(fn.settings())
    return net


def in_order(ends: Iterable[Top | Function]) -> list[Function]:
    """Return the layers that `ends` need, every one behind those that make its bottoms."""
    order: dict[Function, None] = {}
    for end in ends:
        waiting = [end.fn if isinstance(end, Top) else end]
        while waiting:
            before = [top.fn for top in waiting[-1].inputs if top.fn not in order]
            if before:
                waiting.append(before[0])
            else:
                order[waiting.pop()] = None
    return list(order)


def _unknown_setting(type_name: str, name: str) -> str:
    """Say what a type lacks, and where else a setting of that name stands."""
    fields = LayerParameter.DESCRIPTOR.fields_by_name
    text = f'L.{type_name}: no setting "{name}"'
    own = _OWN_FIELD.get(type_name)
    close = _did_you_mean(
        name, [*fields, *(fields[own].message_type.fields_by_name if own else ())]
    )
    holders = [
        key for key in _OWN_FIELD.values() if name in fields[key].message_type.fields_by_name
    ]
    if own or not holders:
        return text + close
    return (
        f"{text}; settings of that name stand in {', '.join(holders)}: give its own as a dictionary"
    )


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f'; did you mean "{close[0]}"?' if close else ""
