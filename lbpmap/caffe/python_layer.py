"""Layers that the user writes in Python: pycaffe's `caffe.Layer`, and how a net runs them.

What the user's code raises is passed on as it is, with its traceback: `raised_by_user` tells it
from the errors of this package, which get the names of the file and the layer.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lbpmap.caffe.blob import Blob, Shape
from lbpmap.caffe.formats.messages import Message
from lbpmap.caffe.layers.plan import Layer as NetLayer
from lbpmap.caffe.layers.plan import Param, Plan, constant

_MARK = "_raised_by_python_layer"


class BlobVec(list[Blob]):
    """The parameters of a Python layer, as pycaffe shows them.

    Examples
    --------
    >>> blobs = BlobVec()
    >>> blobs.add_blob(2, 3)
    >>> blobs[0].data[...] = 1
    >>> len(blobs), blobs[0].shape
    (1, (2, 3))
    """

    def add_blob(self, *dims: int) -> None:
        """Add a parameter of these dimensions, all zeros; only `Layer.setup` may do so."""
        blob = Blob(())
        blob.reshape(*dims)
        self.append(blob)


class Layer:
    """Base of layers written in Python, as pycaffe's.

    A prototxt names the class: ``type: "Python" python_param { module: "my_layers" layer: "Twice"
    param_str: "..." }``. The module is found as by ``import my_layers``. Override the four methods;
    `bottom` and `top` are sequences of blobs, whose `data` and `diff` are live arrays.

    Attributes
    ----------
    param_str : str
        What the prototxt gives the layer; also `param_str_`, its name until 2015.
    phase : int
        TRAIN or TEST.
    blobs : BlobVec
        Parameters: `setup` adds them and gives them their first values. They are learned, saved and
        loaded as those of any layer.

    Examples
    --------
    >>> class Twice(Layer):
    ...     def setup(self, bottom, top):
    ...         if len(bottom) != 1:
    ...             raise Exception("needs one bottom")
    ...     def reshape(self, bottom, top):
    ...         top[0].reshape(*bottom[0].shape)
    ...     def forward(self, bottom, top):
    ...         top[0].data[...] = 2 * bottom[0].data
    ...     def backward(self, top, propagate_down, bottom):
    ...         if propagate_down[0]:
    ...             bottom[0].diff[...] = 2 * top[0].diff
    """

    param_str: str
    param_str_: str
    phase: int
    blobs: BlobVec

    def __init__(self, param: Any = None) -> None:
        """Take what a net hands over; subclasses override `setup` instead."""

    def setup(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Check the bottoms and read `param_str`, once, when the net is made."""

    def reshape(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Give the tops their shapes; called before every forward pass."""

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        """Fill `top[i].data`."""

    def backward(
        self, top: Sequence[Blob], propagate_down: Sequence[bool], bottom: Sequence[Blob]
    ) -> None:
        """Fill `bottom[i].diff` where `propagate_down[i]`, and add to the parameters' `diff`."""


@dataclass(frozen=True)
class Running:
    """The user's object, and blobs that stand for the net's own until there are any."""

    instance: Layer
    bottoms: list[Blob]
    tops: list[Blob]


def plan(layer: Message, bottoms: list[Shape], state: Running | None) -> Plan:
    """Make the user's object, once, and ask it for the shapes of its tops.

    Raises
    ------
    ValueError
        When the module or the class is not there, or the class is no `Layer`.
    Exception
        Whatever the user's code raises.
    """
    if state is None:
        state = _set_up(layer, bottoms)
    for blob, shape in zip(state.bottoms, bottoms):
        blob.reshape(*shape)
    with _user_code():
        state.instance.reshape(state.bottoms, state.tops)
    params = tuple(Param(blob.shape, constant(0)) for blob in state.instance.blobs)
    return Plan(tuple(top.shape for top in state.tops), params, state)


def adopt(layer: NetLayer, bottoms: list[Blob], tops: list[Blob]) -> None:
    """Let the user's object and the net have the same parameters, with the values of `setup`."""
    if layer.kept.get("adopted"):
        return
    own = layer.state.instance.blobs
    for blob, first in zip(layer.blobs, own):
        blob.unfilled()[...] = first.array()
    own[:] = layer.blobs
    layer.kept["adopted"] = True


def forward(layer: NetLayer, bottoms: list[Blob], tops: list[Blob]) -> None:
    """Run the user's reshape and forward, as Caffe does in each pass."""
    adopt(layer, bottoms, tops)
    with _user_code():
        layer.state.instance.reshape(bottoms, tops)
        layer.state.instance.forward(bottoms, tops)


def backward(
    layer: NetLayer, tops: list[Blob], propagate_down: list[bool], bottoms: list[Blob]
) -> None:
    """Run the user's backward."""
    with _user_code():
        layer.state.instance.backward(tops, propagate_down, bottoms)


def raised_by_user(error: BaseException) -> bool:
    """Whether an exception has come out of a Python layer's own code."""
    return bool(getattr(error, _MARK, False))


@contextmanager
def _user_code() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        setattr(error, _MARK, True)
        raise


def _set_up(layer: Message, bottoms: list[Shape]) -> Running:
    kind = _class(layer.python_param.module, layer.python_param.layer)
    with _user_code():
        instance = kind(layer)
    instance.param_str = instance.param_str_ = layer.python_param.param_str
    instance.phase = layer.phase
    instance.blobs = BlobVec()
    inputs = [Blob(shape) for shape in bottoms]
    # A top in place is the very blob of its bottom.
    named = dict(zip(layer.bottom, inputs))
    outputs = [named[name] if name in named else Blob(()) for name in layer.top]
    with _user_code():
        instance.setup(inputs, outputs)
    return Running(instance, inputs, outputs)


def _class(module: str, name: str) -> type[Layer]:
    if not module or not name:
        raise ValueError("python_param needs a module and a layer, the name of a class in it")
    try:
        with _user_code():
            found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        # One that the user's module itself misses is the user's own error.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ValueError(
            f'no module "{module}" can be imported; put its folder into PYTHONPATH or sys.path'
        ) from None
    kind = getattr(found, name, None)
    if kind is None:
        raise ValueError(f'module "{module}" ({found.__file__}) has no class "{name}"')
    if not (isinstance(kind, type) and issubclass(kind, Layer)):
        raise ValueError(
            f'"{name}" of module "{module}" ({found.__file__}) is no subclass of the Layer of '
            f"lbpmap.caffe; import caffe from lbpmap there, or call lbpmap.caffe.install() before"
        )
    return kind
