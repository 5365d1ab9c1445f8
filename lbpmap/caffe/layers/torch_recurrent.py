"""Recurrent layers on PyTorch: LSTM and RNN, step by step, so that a sequence may begin anywhere.

`recurrent_rules` tells what they share with the other engine. As in Caffe gradients flow through
the steps of one pass, not to the pass before, nor through an exposed hidden state.
"""

from __future__ import annotations

import torch

from lbpmap.caffe.layers.plan import Layer
from lbpmap.caffe.layers.recurrent_rules import HIDDEN_BLOBS, finish, has_static_input, start

Tensors = list[torch.Tensor]


def lstm(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Gates i, f, o, g of h W' + x W' + b; c = f c + i g, and the top is h = o tanh(c)."""
    drive, recurrent = _drive(layer, bottoms, params)
    h, c = _start(layer, bottoms, drive)
    steps = []
    for driven, cont in zip(drive, bottoms[1].detach().unsqueeze(-1)):
        gates = driven + (h * cont) @ recurrent.t()
        i, f, o, g = gates.chunk(4, 1)
        c = cont * torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        steps.append(h)
    return [torch.stack(steps), *_end(layer, [h, c])]


def rnn(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """State h = tanh(h W' + x W' + b); the top is tanh(h W' + b)."""
    drive, recurrent = _drive(layer, bottoms, params)
    (h,) = _start(layer, bottoms, drive)
    weight, bias = params[-2:]
    steps = []
    for driven, cont in zip(drive, bottoms[1].detach().unsqueeze(-1)):
        h = torch.tanh(driven + (h * cont) @ recurrent.t())
        steps.append(h)
    top = torch.tanh(torch.stack(steps) @ weight.t() + bias)
    return [top, *_end(layer, [h])]


def _drive(layer: Layer, bottoms: Tensors, params: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the inputs give to each step (T, N, rows), and the weights of the hidden state.

    One product for all steps, as none of them waits for another.
    """
    weight, bias, *more = params
    steps, sequences = bottoms[1].shape
    drive = (bottoms[0].reshape(-1, weight.shape[1]) @ weight.t() + bias).reshape(
        steps, sequences, len(weight)
    )
    if has_static_input(layer, len(bottoms)):
        static = more.pop(0)
        drive = drive + bottoms[2].reshape(-1, static.shape[1]) @ static.t()
    return drive, more[0]


def _start(layer: Layer, bottoms: Tensors, like: torch.Tensor) -> Tensors:
    """Return the hidden state (N, num_output) before the first step, h first."""
    p, count = layer.param.recurrent_param, HIDDEN_BLOBS[layer.type]
    shape = (bottoms[1].shape[1], p.num_output)
    if p.expose_hidden:
        return [bottom.detach().reshape(shape) for bottom in bottoms[-count:]]
    states = start(layer, shape)
    if states is None:
        return [like.new_zeros(shape) for _ in range(count)]
    # What the other engine has left is an array.
    return [torch.as_tensor(state, dtype=like.dtype, device=like.device) for state in states]


def _end(layer: Layer, states: Tensors) -> Tensors:
    """Hand the hidden state on: return it for the tops where it is exposed, else keep it."""
    states = [state.detach() for state in states]
    if layer.param.recurrent_param.expose_hidden:
        return [state.unsqueeze(0) for state in states]
    finish(layer, states)
    return []
