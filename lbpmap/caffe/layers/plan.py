"""What the tables of layer types speak of: shapes of tops and parameters, the layer that runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lbpmap._arrays import F32
from lbpmap.caffe.blob import Blob, Shape
from lbpmap.caffe.formats.messages import FillerParameter, Message


@dataclass(frozen=True)
class Param:
    """A parameter of a layer: its shape and the filler that it starts with."""

    shape: Shape
    filler: Message


@dataclass(frozen=True)
class Plan:
    """What a layer makes of its bottoms: shapes of its tops and parameters.

    `state` is what a data layer or a Python layer has set up to know them: an open database, the
    user's object. The layer keeps it, and its next plan is made with it.
    """

    tops: tuple[Shape, ...]
    params: tuple[Param, ...] = ()
    state: Any = None


@dataclass(frozen=True)
class Flow:
    """Where gradients are wanted in a backward pass: of which bottoms, of which parameters."""

    bottoms: tuple[bool, ...] = ()
    params: tuple[bool, ...] = ()

    @property
    def any(self) -> bool:
        """Whether the layer takes part in a backward pass."""
        return any(self.bottoms) or any(self.params)


class Workspace:
    """Memory that the layers of a net use one after another and need not find again."""

    def __init__(self) -> None:
        self._array: F32 = np.empty(0, np.float32)

    def take(self, *shape: int) -> F32:
        """Return an array of any content; the one returned before is then no more valid."""
        count = int(np.prod(shape, dtype=np.int64))
        if self._array.size < count:
            self._array = np.empty(count, np.float32)
        return self._array[:count].reshape(shape)


@dataclass(eq=False)
class Layer:
    """A layer of a net, as `net.layers` shows it.

    Attributes
    ----------
    param : LayerParameter
        Its settings, in the newest form.
    blobs : list of Blob
        Its parameters, weights first.
    loss_weights : list of float
        How much each top counts in the loss.
    flow : Flow
        Which gradients a backward pass computes.
    state : object
        What its plan has set up, such as an open database; None for most types.
    replay : bool
        True while a backward pass repeats the forward one: nothing random is drawn anew, and no
        statistics are updated.
    """

    param: Message
    blobs: list[Blob]
    workspace: Workspace
    rng: np.random.Generator
    # What a layer keeps from its forward pass, such as the mask of Dropout.
    kept: dict[str, Any] = field(default_factory=dict)
    loss_weights: list[float] = field(default_factory=list)
    flow: Flow = Flow()
    state: Any = None
    replay: bool = False

    @property
    def type(self) -> str:
        """Name of the layer's type, such as "Convolution"."""
        return str(self.param.type)

    @property
    def name(self) -> str:
        """Name of the layer."""
        return str(self.param.name)


def constant(value: float) -> Message:
    """Return a filler that sets everything to `value`."""
    return FillerParameter(type="constant", value=value)


def axis_of(shape: Shape, axis: int, name: str = "axis") -> int:
    """Return `axis` counted from the front, for a blob of `shape`.

    Raises
    ------
    ValueError
        When the blob has no such axis.
    """
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"{name} is {axis}, the input of shape {shape} has {len(shape)} axes")
    return axis % len(shape)
