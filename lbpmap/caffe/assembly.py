"""The parts of a net put together: every shape is known and checked before memory is taken."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any

from lbpmap.caffe import flow
from lbpmap.caffe.blob import Blob, Shape
from lbpmap.caffe.formats.messages import MESSAGES, Message
from lbpmap.caffe.layers import fillers, on_host, shapes
from lbpmap.caffe.layers.plan import Layer, Param, Plan, Workspace
from lbpmap.caffe.located import located
from lbpmap.caffe.seed import new_generator

# VGG-16, the largest net in wide use, takes 15 GiB at batch 256.
MAX_NET_BYTES = 2**36

_PERMISSIVE: int = MESSAGES["ParamSpec"].PERMISSIVE
# The name that Caffe gives the top of a loss layer that names none.
AUTOMATIC = "(automatic)"
# Parameters of BatchNorm: mean, variance, and how much they sum up.
_STATISTICS = 3


@dataclass(frozen=True)
class Assembly:
    """Layers in order, and the blobs between them by name."""

    layers: list[Layer]
    blobs: dict[str, Blob]


def described(layer: Message) -> str:
    """Return how errors name a layer."""
    return f'layer "{layer.name}" ({layer.type})'


def assemble(params: Sequence[Message], *, force_backward: bool = False) -> Assembly:
    """Build the layers and blobs of a net.

    Parameters
    ----------
    params : sequence of LayerParameter
        What `graph.layers_for` returns; loss layers without a top get one.
    force_backward : bool, default False
        Whether all gradients are wanted, or only those that something learns from.

    Raises
    ------
    ValueError
        One line that names the layer; nothing is half built then.
    """
    _complete(params)
    plans, blob_shapes = plan_all(params, {})
    _check_memory(plans, params)
    weights = [_loss_weights(layer) for layer in params]
    flows = flow.wanted(params, [len(plan.params) for plan in plans], weights, force_backward)
    _freeze_statistics(params)
    blobs = {name: Blob(shape) for name, shape in blob_shapes.items()}
    for layer in params:
        if shapes.shares_values(layer):
            for top in layer.top:
                blobs[top].share(blobs[layer.bottom[0]])
        if shapes.shares_gradients(layer):
            blobs[layer.top[0]].share_diff(blobs[layer.bottom[0]])
    workspace = Workspace()
    owners: dict[str, Blob] = {}
    layers = [
        Layer(
            layer,
            _parameters(layer, plan.params, owners),
            workspace,
            new_generator(),
            loss_weights=weight,
            flow=gradients,
            state=plan.state,
        )
        for layer, plan, weight, gradients in zip(params, plans, weights, flows)
    ]
    flow.learnable(layers)  # refuses factors that contradict each other
    for layer in layers:
        if layer.type == "Parameter":
            blobs[layer.param.top[0]].share(layer.blobs[0])
        if layer.type in on_host.SET_UP:
            bottoms, tops = ends(layer, blobs)
            on_host.SET_UP[layer.type](layer, bottoms, tops)
    return Assembly(layers, blobs)


def ends(layer: Layer, blobs: Mapping[str, Blob]) -> tuple[list[Blob], list[Blob]]:
    """Return the bottoms and the tops of a layer."""
    return [blobs[name] for name in layer.param.bottom], [blobs[name] for name in layer.param.top]


def _loss_weights(layer: Message) -> list[float]:
    with located(described(layer)):
        return flow.loss_weights(layer)


def _complete(params: Sequence[Message]) -> None:
    """Add what Caffe's layers add to their own settings, which are saved with the weights.

    Losses that name no top get one, numbered from the second on, and a weight of 1.
    """
    unnamed = 0
    for layer in params:
        known = shapes.LAYER_TYPES.get(layer.type)
        if known is not None and known.loss:
            if not len(layer.top):
                unnamed += 1
                layer.top.append(AUTOMATIC if unnamed == 1 else f"{AUTOMATIC} {unnamed}")
            if not len(layer.loss_weight):
                layer.loss_weight.append(1)
        if layer.type == "BatchNorm" and any(spec.lr_mult != 0 for spec in layer.param):
            raise ValueError(
                f"{described(layer)}: its statistics cannot learn; give param {{ lr_mult: 0 }} "
                f"three times, or none"
            )


def _freeze_statistics(params: Sequence[Message]) -> None:
    """Let those of BatchNorm never learn.

    Caffe's layer says so itself, which its net does not hear when it looks where gradients flow.
    """
    for layer in params:
        while layer.type == "BatchNorm" and len(layer.param) < _STATISTICS:
            layer.param.add(lr_mult=0)


def plan_all(
    params: Sequence[Message], known: dict[str, Shape], states: Iterable[Any] = repeat(None)
) -> tuple[list[Plan], dict[str, Shape]]:
    """Plan layers one after another.

    Parameters
    ----------
    params : sequence of LayerParameter
    known : dict
        Shapes of blobs that are there already; those of Input layers are kept.
    states : iterable, optional
        What each layer's last plan has set up.

    Returns
    -------
    plans : list of Plan
    blob_shapes : dict
        `known`, with what the layers make of it.
    """
    plans, blob_shapes = [], dict(known)
    for layer, state in zip(params, states):
        bottoms = [blob_shapes[name] for name in layer.bottom]
        with located(described(layer)):
            plan = shapes.plan(layer, bottoms, state)
        _check_in_place(layer, plan, blob_shapes)
        for name, shape in zip(layer.top, plan.tops):
            if layer.type != "Input" or name not in known:
                blob_shapes[name] = shape
        plans.append(plan)
    return plans, blob_shapes


def _check_in_place(layer: Message, plan: Plan, blob_shapes: dict[str, Shape]) -> None:
    """Refuse a layer that writes to its own bottom a result of another shape, or a mere view."""
    for name, shape in zip(layer.top, plan.tops):
        if name in layer.bottom and (blob_shapes[name] != shape or shapes.shares_values(layer)):
            raise ValueError(
                f'{described(layer)}: cannot overwrite its bottom "{name}" in place; give its top '
                f"another name"
            )


def _check_memory(plans: Sequence[Plan], params: Sequence[Message]) -> None:
    total = 0
    for layer, plan in zip(params, plans):
        counts = [math.prod(s) for s in plan.tops] + [math.prod(p.shape) for p in plan.params]
        total += 4 * sum(counts)
        if total > MAX_NET_BYTES:
            raise ValueError(
                f"{described(layer)}: the net needs more than {MAX_NET_BYTES >> 30} GiB up to "
                f"here; make its input or batch smaller"
            )


def _parameters(layer: Message, params: Sequence[Param], owners: dict[str, Blob]) -> list[Blob]:
    """Make a layer's parameters; those with a name that was used before share its memory."""
    blobs = []
    for i, param in enumerate(params):
        fill = partial(fillers.fill, param.shape, param.filler, new_generator())
        blob = Blob(param.shape, fill)
        name = layer.param[i].name if i < len(layer.param) else ""
        if name in owners:
            owner = owners[name]
            loose = layer.param[i].share_mode == _PERMISSIVE and owner.count == blob.count
            if owner.shape != blob.shape and not loose:
                raise ValueError(
                    f'{described(layer)}: parameter "{name}" has shape {blob.shape} here and '
                    f"{owner.shape} in the layer that it is shared with"
                )
            blob.share(owner)
            blob.share_diff(owner)
        elif name:
            owners[name] = blob
        blobs.append(blob)
    return blobs
