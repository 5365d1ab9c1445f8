"""Exported files held against the engine they came from, on random inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lbpmap._arrays import F32, Array
from lbpmap.caffe.blob import Shape
from lbpmap.caffe.export.sizes import Lengths
from lbpmap.caffe.net import Net

#: How far an output may be off, of its largest value or, where that is smaller, of 1.
TOLERANCE = 1e-4
# How many items, and how large their numbers. Larger ones would make what a Softmax sees so large
# that float32 itself is 1e-4 off.
_TRIALS = ((1, 1), (3, 1), (3, 16))
# How much taller and wider a picture is tried on a net that takes any.
_LARGER = (9, 4)


@dataclass(frozen=True)
class Trial:
    """What goes into a file, and what should come out.

    Attributes
    ----------
    inputs, expected : dict of array
    """

    inputs: Mapping[str, Array]
    expected: Mapping[str, Array]


Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def random_trials(net: Net, lengths: Mapping[str, Lengths], seed: int = 0) -> Iterator[Trial]:
    """Run a net on random inputs: one item, three, and where they are free other sides, too.

    Parameters
    ----------
    net : Net
        Its blobs have the shapes afterwards that they had before.
    lengths : dict of tuple
        Of its inputs; names stand for free axes.
    seed : int

    Yields
    ------
    Trial
    """
    rng = np.random.default_rng(seed)
    before = {name: tuple(net.blobs[name].shape) for name in net.inputs}
    try:
        for items, scale in _TRIALS:
            yield _trial(net, rng, scale, {n: _sized(lengths[n], before[n], items) for n in before})
        if any(set(lengths[name]) & {"H", "W"} for name in before):
            larger = {n: _sized(lengths[n], before[n], 2, *_LARGER) for n in before}
            yield _trial(net, rng, 1, larger)
    finally:
        for name, shape in before.items():
            net.blobs[name].reshape(*shape)
        net.reshape()


def _sized(lengths: Lengths, shape: Shape, items: int, high: int = 0, wide: int = 0) -> Shape:
    """Put numbers in the place of free axes."""
    return tuple(
        {"N": items, "H": old + high, "W": old + wide}.get(length, old)
        if isinstance(length, str)
        else length
        for length, old in zip(lengths, shape)
    )


def _trial(net: Net, rng: np.random.Generator, scale: float, shapes: dict[str, Shape]) -> Trial:
    inputs: dict[str, F32] = {}
    for name, shape in shapes.items():
        limit = _places(net, name, shapes)
        if limit is None:
            inputs[name] = np.asarray(rng.standard_normal(shape) * scale, np.float32)
        else:
            inputs[name] = np.asarray(rng.integers(limit, size=shape), np.float32)
        net.blobs[name].reshape(*shape)
    for name, values in inputs.items():
        net.blobs[name].data[...] = values
    out = net.forward()
    return Trial(inputs, {k: v.copy() for k, v in out.items() if k not in inputs})


def _places(net: Net, name: str, shapes: dict[str, Shape]) -> int | None:
    """Say below what an input's numbers must be, where they name rows or items; else None."""
    names = {name}
    for layer in net.layers:
        read = [bottom in names for bottom in layer.param.bottom]
        if layer.type == "Split" and any(read):
            names.update(layer.param.top)
        if layer.type == "Embed" and any(read):
            return int(layer.param.embed_param.input_dim)
        if layer.type == "BatchReindex" and read[1]:
            first = layer.param.bottom[0]
            return shapes[first][0] if first in shapes else 1
    return None


def differences(run: Run, trials: Iterable[Trial]) -> dict[str, float]:
    """Measure how far the outputs of a file are off.

    Parameters
    ----------
    run : callable
        Gives the outputs for a trial's inputs.
    trials : iterable of Trial

    Returns
    -------
    dict of float
        By name of the output, the largest difference over the trials: of the expected output's
        largest value, or of 1 where that is smaller. Infinite where shapes differ, or where one
        side is no finite number and the other another one.
    """
    worst: dict[str, float] = {}
    for trial in trials:
        got = run(trial.inputs)
        for name, expected in trial.expected.items():
            far = difference(np.asarray(got[name]), expected)
            worst[name] = max(worst.get(name, 0.0), far)
    return worst


def difference(got: Array, expected: Array) -> float:
    """Measure how far one array is off another.

    Examples
    --------
    >>> difference(np.array([0.0, 3.0]), np.array([0.0, 4.0]))
    0.25
    """
    if got.shape != expected.shape:
        return float("inf")
    finite = np.isfinite(expected)
    if not np.array_equal(got[~finite], expected[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    values = expected[finite].astype(np.float64)
    far = np.abs(got[finite].astype(np.float64) - values).max()
    return float("inf") if np.isnan(far) else float(far / max(1.0, np.abs(values).max()))


def refuse_wrong(worst: Mapping[str, float], what: str) -> None:
    """Refuse what is too far off.

    Raises
    ------
    RuntimeError
        One line with the output that is farthest off.
    """
    name = max(worst, key=lambda name: worst[name])
    if not worst[name] <= TOLERANCE:
        raise RuntimeError(
            f"{what}: output {name!r} differs by {worst[name]:.1e} from this engine's, at most "
            f"{TOLERANCE:.0e} is allowed; no file is left: please report it with the prototxt"
        )
