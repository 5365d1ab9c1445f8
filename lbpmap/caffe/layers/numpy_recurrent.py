"""Recurrent layers on NumPy: LSTM (Hochreiter and Schmidhuber 1997, with forget gates) and RNN.

Steps come one after another, sequences side by side; `recurrent_rules` tells what they share.
"""

from __future__ import annotations

import numpy as np

from lbpmap._arrays import F32
from lbpmap.caffe.layers.numpy_elementwise import logistic
from lbpmap.caffe.layers.plan import Layer
from lbpmap.caffe.layers.recurrent_rules import HIDDEN_BLOBS, finish, has_static_input, start


def lstm(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Gates i, f, o, g of h W' + x W' + b; c = f c + i g, and the top is h = o tanh(c)."""
    drive, recurrent = _drive(layer, bottoms)
    h, c = _start(layer, bottoms)
    for t, cont in enumerate(bottoms[1][..., np.newaxis]):
        gates = drive[t] + (h * cont) @ recurrent.T
        i, f, o = np.split(logistic(gates[:, : 3 * h.shape[1]]), 3, axis=1)
        c = cont * f * c + i * np.tanh(gates[:, 3 * h.shape[1] :])
        h = o * np.tanh(c)
        tops[0][t] = h
    _end(layer, [h, c], tops)


def rnn(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """State h = tanh(h W' + x W' + b); the top is tanh(h W' + b)."""
    drive, recurrent = _drive(layer, bottoms)
    (h,) = _start(layer, bottoms)
    weight, bias = (blob.data for blob in layer.blobs[-2:])
    for t, cont in enumerate(bottoms[1][..., np.newaxis]):
        h = np.tanh(drive[t] + (h * cont) @ recurrent.T)
        np.tanh(h @ weight.T + bias, out=tops[0][t])
    _end(layer, [h], tops)


def _drive(layer: Layer, bottoms: list[F32]) -> tuple[F32, F32]:
    """Return what the inputs give to each step (T, N, rows), and the weights of the hidden state.

    One product for all steps, as none of them waits for another.
    """
    weight, bias, *more = (blob.data for blob in layer.blobs)
    steps, sequences = bottoms[1].shape
    drive = bottoms[0].reshape(-1, weight.shape[1]) @ weight.T + bias
    drive = drive.reshape(steps, sequences, len(weight))
    if has_static_input(layer, len(bottoms)):
        static = more.pop(0)
        drive += bottoms[2].reshape(-1, static.shape[1]) @ static.T
    return drive, more[0]


def _start(layer: Layer, bottoms: list[F32]) -> list[F32]:
    """Return the hidden state (N, num_output) before the first step, h first."""
    p, count = layer.param.recurrent_param, HIDDEN_BLOBS[layer.type]
    shape = (bottoms[1].shape[1], p.num_output)
    if p.expose_hidden:
        return [bottom.reshape(shape) for bottom in bottoms[-count:]]
    states = start(layer, shape)
    if states is None:
        return [np.zeros(shape, np.float32) for _ in range(count)]
    # What the other engine has left is a tensor.
    return [np.asarray(s if isinstance(s, np.ndarray) else s.cpu(), np.float32) for s in states]


def _end(layer: Layer, states: list[F32], tops: list[F32]) -> None:
    """Hand the hidden state on: to the tops where it is exposed, else to the next pass."""
    if not layer.param.recurrent_param.expose_hidden:
        finish(layer, states)
    for top, state in zip(tops[1:], states):
        top[...] = state
