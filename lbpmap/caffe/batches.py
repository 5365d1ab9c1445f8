"""More samples than a net takes at once: batch by batch, the last filled up with zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lbpmap._arrays import F32, ArrayLike

if TYPE_CHECKING:
    from lbpmap.caffe.net import Net


def run(
    net: Net, blobs: list[str], diffs: list[str] | None, arrays: dict[str, ArrayLike]
) -> tuple[dict[str, F32], dict[str, F32]]:
    """Run samples through a net, forward, and backward where `diffs` is not None.

    Parameters
    ----------
    net : Net
    blobs, diffs : list of str
        Blobs whose values and gradients to collect besides outputs and inputs.
    arrays : dict
        Samples of every input, and of the gradients of outputs if there are any.

    Returns
    -------
    values, gradients : dict of float32 arrays
        One row a sample.
    """
    samples = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    totals = {len(array) if array.ndim else 1 for array in samples.values()}
    if len(totals) != 1:
        raise ValueError(f"forward_all: inputs hold {sorted(totals)} samples; give as many each")
    unknown = set(samples) - set(net.blobs)
    if unknown:
        raise ValueError(f"forward_all: the net has no blob {', '.join(sorted(unknown))}")
    total, batch = totals.pop(), net.blobs[next(iter(samples))].num
    values: dict[str, list[F32]] = {}
    gradients: dict[str, list[F32]] = {}
    for at in range(0, total, batch):
        count = min(batch, total - at)
        filled: dict[str, Any] = {}
        for name, array in samples.items():
            filled[name] = np.zeros((batch, *array.shape[1:]), np.float32)
            filled[name][:count] = array[at : at + count]
        inputs = {name: array for name, array in filled.items() if name in net.inputs}
        _collect(values, net.forward(blobs, **inputs), count)
        if diffs is not None:
            tops = {name: array for name, array in filled.items() if name not in inputs}
            _collect(gradients, net.backward(diffs, **tops), count)
    return _joined(values), _joined(gradients)


def _collect(into: dict[str, list[F32]], found: dict[str, F32], count: int) -> None:
    for name, array in found.items():
        # A loss is one number a batch.
        into.setdefault(name, []).append(np.atleast_1d(array)[:count].copy())


def _joined(parts: dict[str, list[F32]]) -> dict[str, F32]:
    return {name: np.concatenate(each) for name, each in parts.items()}
