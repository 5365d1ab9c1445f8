"""What parameters start with: Caffe's fillers.

Random streams are NumPy's, so that distributions agree with Caffe's, not single values.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lbpmap._arrays import F32
from lbpmap.caffe.blob import Shape
from lbpmap.caffe.formats.messages import FillerParameter, Message

_Rng = np.random.Generator


def fill(shape: Shape, filler: Message, rng: np.random.Generator) -> F32:
    """Return a new array as a FillerParameter wants it.

    Parameters
    ----------
    shape : tuple of int
    filler : FillerParameter
        `check` has passed it.
    rng : numpy.random.Generator
        Where random numbers come from.

    Returns
    -------
    float32 array; where `filler` is the constant 0, of memory that is not yet taken
    """
    return _FILLERS[filler.type](shape, filler, rng)


def check(shape: Shape, filler: Message) -> None:
    """Raise ValueError for a filler that does not exist or cannot fill `shape`."""
    if filler.type not in _FILLERS:
        raise ValueError(f'unknown filler "{filler.type}"; known are {", ".join(_FILLERS)}')
    if filler.type == "bilinear" and (len(shape) != 4 or shape[2] != shape[3]):
        raise ValueError(f"the bilinear filler needs a square kernel of four axes, got {shape}")
    if filler.type == "uniform" and filler.min > filler.max:
        raise ValueError(f"the uniform filler has min {filler.min:g} above max {filler.max:g}")
    if filler.type == "gaussian" and filler.std < 0:
        raise ValueError(f"the gaussian filler has a negative std, {filler.std:g}")


def _constant(shape: Shape, filler: Message, rng: _Rng) -> F32:
    if filler.value == 0:
        return np.zeros(shape, np.float32)
    return np.full(shape, filler.value, np.float32)


def _uniform(shape: Shape, filler: Message, rng: _Rng) -> F32:
    return _between(shape, filler.min, filler.max, rng)


def _gaussian(shape: Shape, filler: Message, rng: _Rng) -> F32:
    values = _normal(shape, filler.mean, filler.std, rng)
    if filler.sparse >= 0:
        # Each output keeps, on average, `sparse` of its inputs.
        values *= rng.random(shape, np.float32) < filler.sparse / shape[0]
    return values


def _xavier(shape: Shape, filler: Message, rng: _Rng) -> F32:
    limit = math.sqrt(3 / _fan(shape, filler))
    return _between(shape, -limit, limit, rng)


def _msra(shape: Shape, filler: Message, rng: _Rng) -> F32:
    return _normal(shape, 0, math.sqrt(2 / _fan(shape, filler)), rng)


def _positive_unitball(shape: Shape, filler: Message, rng: _Rng) -> F32:
    rows = _between(shape, 0, 1, rng).reshape(shape[0], -1)
    rows /= rows.sum(axis=1, keepdims=True)
    return rows.reshape(shape)


def _bilinear(shape: Shape, filler: Message, rng: _Rng) -> F32:
    """Weights with which a Deconvolution enlarges bilinearly."""
    factor = math.ceil(shape[3] / 2)
    centre = (shape[3] - 1) / (2 * factor)
    line = 1 - np.abs(np.arange(shape[3]) / factor - centre)
    return np.broadcast_to(np.outer(line, line), shape).astype(np.float32)


def _fan(shape: Shape, filler: Message) -> float:
    count = math.prod(shape)
    fan_in, fan_out = count / shape[0], count / (shape[1] if len(shape) > 1 else 1)
    if filler.variance_norm == FillerParameter.FAN_OUT:
        return fan_out
    if filler.variance_norm == FillerParameter.AVERAGE:
        return (fan_in + fan_out) / 2
    return fan_in


def _between(shape: Shape, low: float, high: float, rng: _Rng) -> F32:
    values = rng.random(shape, np.float32)
    values *= np.float32(high - low)
    values += np.float32(low)
    return values


def _normal(shape: Shape, mean: float, std: float, rng: _Rng) -> F32:
    values = rng.standard_normal(shape, np.float32)
    values *= np.float32(std)
    values += np.float32(mean)
    return values


_FILLERS: dict[str, Callable[[Shape, Message, _Rng], F32]] = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "positive_unitball": _positive_unitball,
    "xavier": _xavier,
    "msra": _msra,
    "bilinear": _bilinear,
}
