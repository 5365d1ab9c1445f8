"""Which axes of a net's blobs may have another length in an exported file, found by planning.

A net is planned again with other input shapes. An axis whose length changes is free; it is named
after the input's axis where it always has that length, such as "N", and else after its blob.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Union

from lbpmap.caffe import assembly
from lbpmap.caffe.blob import Shape
from lbpmap.caffe.net import Net

# A length, or the name of a free axis.
Length = Union[int, str]
Lengths = tuple[Length, ...]

# How far lengths of the input are changed: a net that a few pixels more leave as it is, because
# its pooling rounds them away, is not one that takes any picture.
_ITEMS = (1, 2, 3, 5)
_SIDES = ((1, 0), (0, 1), (2, 5), (33, 14))


def candidates(net: Net) -> Iterator[dict[str, Lengths]]:
    """Give the shapes of all blobs, the freest way first, that with no free axis last.

    Parameters
    ----------
    net : Net
        Its blobs' present shapes are those of axes that are not free.

    Yields
    ------
    dict of tuple
        By name of the blob.
    """
    fixed: dict[str, Shape] = {name: tuple(blob.shape) for name, blob in net.blobs.items()}
    items = list(_with_items(net))
    sides = list(_with_sides(net))
    for variations in (items + sides, items, []):
        planned = [_planned(net, inputs) for inputs in variations]
        if all(plan is not None for plan in planned) and (planned or not variations):
            yield _named(net, fixed, [plan for plan in planned if plan is not None])


def _with_items(net: Net) -> Iterator[dict[str, Shape]]:
    """Give other input shapes: another number of items."""
    first = tuple(net.blobs[net.inputs[0]].shape) if net.inputs else ()
    for items in _ITEMS if first else ():
        yield {
            name: (items, *shape[1:]) if shape[:1] == first[:1] else shape
            for name, shape in _inputs(net).items()
        }


def _with_sides(net: Net) -> Iterator[dict[str, Shape]]:
    """Give other input shapes: another height or width of the only input."""
    (name, shape), *more = _inputs(net).items() if net.inputs else [("", ())]
    if more or len(shape) != 4:
        return
    for high, wide in (*_SIDES, (shape[2] + 5, shape[3] + 8)):
        yield {name: (*shape[:2], shape[2] + high, shape[3] + wide)}


def _inputs(net: Net) -> dict[str, Shape]:
    return {name: tuple(net.blobs[name].shape) for name in net.inputs}


def _planned(net: Net, inputs: dict[str, Shape]) -> dict[str, Shape] | None:
    """Plan the net for other inputs; None where it, or its parameters, would not fit them."""
    try:
        plans, shapes = assembly.plan_all(
            [layer.param for layer in net.layers], inputs, [layer.state for layer in net.layers]
        )
    except ValueError:
        return None
    fits = all(
        tuple(blob.shape) == param.shape
        for layer, plan in zip(net.layers, plans)
        for blob, param in zip(layer.blobs, plan.params)
    )
    return shapes if fits else None


def _named(
    net: Net, fixed: dict[str, Shape], planned: Sequence[dict[str, Shape]]
) -> dict[str, Lengths]:
    """Put names in the place of lengths that are not always the same."""
    axes: dict[str, list[int]] = {}
    if planned:
        first = net.inputs[0]
        for i, letter in enumerate("NCHW"[: len(fixed[first])]):
            axes[letter] = [shapes[first][i] for shapes in (fixed, *planned)]
    named = {}
    for name, shape in fixed.items():
        found = [[shapes[name][i] for shapes in (fixed, *planned)] for i in range(len(shape))]
        named[name] = tuple(
            lengths[0]
            if len(set(lengths)) == 1
            else next((a for a, known in axes.items() if known == lengths), f"{name}_{i}")
            for i, lengths in enumerate(found)
        )
    return named
