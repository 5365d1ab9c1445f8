"""What both engines share of recurrent layers: their shapes, and the state between two passes.

In Caffe these layers hold a net of their own, unrolled over all steps; its parameters, in the order
in which it meets them, are the layer's. Where the second bottom is 0 a sequence begins, and what
was before counts for nothing. The state after the last step is where the next forward pass goes
on; `expose_hidden` makes it a matter of bottoms and tops instead, which, as in Caffe, no gradient
flows through.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lbpmap.caffe.blob import Shape
from lbpmap.caffe.formats.messages import Message
from lbpmap.caffe.layers.plan import Layer, Param, Plan

# How many blobs of hidden state a recurrent layer hands on from step to step.
HIDDEN_BLOBS = {"LSTM": 2, "RNN": 1}


def recurrent(layer: Message, bottoms: list[Shape]) -> Plan:
    """Make a row of numbers a step of each sequence, (T, N, num_output).

    Bottoms are the input (T, N, ...), whether each step goes on with what was before (T, N), and
    where they are given, an input that stays the same (N, ...) and the exposed hidden state.
    Parameters stand in the order in which Caffe's unrolled net has them.
    """
    p = layer.recurrent_param
    outputs, hidden = p.num_output, _exposed(layer)
    if outputs < 1:
        raise ValueError("num_output must be at least 1")
    if len(bottoms) not in (2 + hidden, 3 + hidden) or len(layer.top) != 1 + hidden:
        raise ValueError(
            f"has {len(bottoms)} bottoms and {len(layer.top)} tops; with expose_hidden "
            f"{str(p.expose_hidden).lower()} it needs {2 + hidden}, or one more, and {1 + hidden}"
        )
    x, cont = bottoms[:2]
    if len(x) < 3 or x[0] < 1:
        raise ValueError(f"the input must be (steps, sequences, ...), its shape is {x}")
    if cont != x[:2]:
        raise ValueError(
            f"the second input must have the shape {x[:2]}, a number a step, not {cont}"
        )
    state = (1, x[1], outputs)
    for shape in bottoms[len(bottoms) - hidden :]:
        if shape != state:
            raise ValueError(f"a hidden state must have the shape {state}, not {shape}")
    rows = 4 * outputs if layer.type == "LSTM" else outputs
    params = [Param((rows, math.prod(x[2:])), p.weight_filler), Param((rows,), p.bias_filler)]
    if len(bottoms) == 3 + hidden:
        static = bottoms[2]
        if len(static) < 2 or static[0] != x[1]:
            raise ValueError(f"the static input must be ({x[1]}, ...), its shape is {static}")
        params.append(Param((rows, math.prod(static[1:])), p.weight_filler))
    params.append(Param((rows, outputs), p.weight_filler))
    if layer.type == "RNN":
        params += [Param((outputs, outputs), p.weight_filler), Param((outputs,), p.bias_filler)]
    return Plan(((*x[:2], outputs), *[state] * hidden), tuple(params))


def has_static_input(layer: Layer, bottoms: int) -> bool:
    """Whether the third of so many bottoms is the input that stays the same."""
    return bottoms > 2 + _exposed(layer.param)


def _exposed(layer: Message) -> int:
    """Return how many blobs of hidden state are bottoms, and tops."""
    return HIDDEN_BLOBS[layer.type] if layer.recurrent_param.expose_hidden else 0


def start(layer: Layer, shape: tuple[int, int]) -> Sequence[Any] | None:
    """Return the hidden state of `shape` that the last pass has left, as arrays or tensors.

    A pass that is repeated starts where it started before. None stands for zeros: at first, and
    after the number of sequences has changed.
    """
    if not layer.replay:
        layer.kept["before"] = layer.kept.get("after")
    states: Sequence[Any] | None = layer.kept.get("before")
    return states if states and tuple(states[0].shape) == shape else None


def finish(layer: Layer, states: Sequence[Any]) -> None:
    """Keep the hidden state for the next pass; a repeated pass leaves it as it is."""
    if not layer.replay:
        layer.kept["after"] = list(states)
