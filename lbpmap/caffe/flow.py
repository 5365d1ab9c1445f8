"""Where gradients flow: which layers, bottoms and parameters a backward pass computes.

The rules are those of Caffe's Net::Init. A gradient is wanted where a parameter that learns lies
before it, and it exists where a loss lies behind it; `force_backward` wants all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from lbpmap.caffe.blob import Blob
from lbpmap.caffe.formats.messages import MESSAGES, Message
from lbpmap.caffe.layers import shapes
from lbpmap.caffe.layers.plan import Flow, Layer

_ALWAYS_DOWN = frozenset({"BatchNorm", "Flatten", "Im2col", "MVN", "Softmax"})


def loss_weights(layer: Message) -> list[float]:
    """Return how much each top of a layer counts in the loss.

    Raises
    ------
    ValueError
        When `loss_weight` is given for some tops only. A loss with two tops needs both: Caffe gives
        it one, of 1, and then misses the other.
    """
    given = list(layer.loss_weight)
    loss = shapes.LAYER_TYPES[layer.type].loss
    if not given and not (loss and len(layer.top) > 1):
        return [float(loss)] * len(layer.top)
    if len(given) != len(layer.top):
        raise ValueError(
            f"{len(given)} loss_weight for {len(layer.top)} top blob(s); give one each"
            + (", such as 1 and 0" if loss else " or none")
        )
    return given


def wanted(
    layers: Sequence[Message],
    params: Sequence[int],
    weights: Sequence[Sequence[float]],
    force: bool,
) -> list[Flow]:
    """Find out which gradients a backward pass computes.

    Parameters
    ----------
    layers : sequence of LayerParameter
        In order, splits included.
    params : sequence of int
        How many parameters each has.
    weights : sequence of sequence of float
        `loss_weights` of each.
    force : bool
        The net's `force_backward`.

    Returns
    -------
    list of Flow
        One a layer.

    Raises
    ------
    ValueError
        When a layer has settings for more parameters than it has, or for some bottoms only.
    """
    flows, runs = [], []
    learns: set[str] = set()  # blobs that something before them learns through
    for layer, count in zip(layers, params):
        _check_counts(layer, count)
        reached = tuple(name in learns for name in layer.bottom)
        own = tuple(lr_mult(layer, i) != 0 for i in range(count))
        runs.append(any(reached) or any(own))
        if runs[-1]:
            learns.update(layer.top)
        flows.append(Flow(tuple(layer.propagate_down) or reached, own))
    if force:
        return [_forced(layer, count) for layer, count in zip(layers, params)]
    return _towards_loss(layers, flows, runs, weights)


def lr_mult(layer: Message, i: int) -> float:
    """Return the factor of the learning rate of parameter `i`."""
    return float(layer.param[i].lr_mult) if i < len(layer.param) else 1.0


def _check_counts(layer: Message, params: int) -> None:
    name = f'layer "{layer.name}" ({layer.type})'
    if len(layer.param) > params:
        raise ValueError(f"{name}: {len(layer.param)} param for {params} parameter(s); remove some")
    if len(layer.propagate_down) not in (0, len(layer.bottom)):
        raise ValueError(
            f"{name}: {len(layer.propagate_down)} propagate_down for {len(layer.bottom)} bottom "
            f"blob(s); give one each or none"
        )


def _forced(layer: Message, params: int) -> Flow:
    """Want everything: in Caffe, `force_backward` overrules `propagate_down`."""
    return Flow((True,) * len(layer.bottom), (True,) * params)


def _towards_loss(
    layers: Sequence[Message],
    flows: Sequence[Flow],
    runs: Sequence[bool],
    weights: Sequence[Sequence[float]],
) -> list[Flow]:
    """Keep only the flows of layers that run, that a loss lies behind and that nothing cuts off."""
    under_loss: set[str] = set()
    cut: set[str] = set()  # blobs whose only reader passes no gradient down
    kept = []
    for layer, flow, run, own in zip(
        reversed(layers), reversed(flows), reversed(runs), reversed(weights)
    ):
        counts = any(own) or any(name in under_loss for name in layer.top)
        cut_off = run and all(name in cut for name in layer.top)
        bottoms = flow.bottoms if counts and not cut_off else (False,) * len(flow.bottoms)
        for name, want in zip(layer.bottom, bottoms):
            if counts:
                under_loss.add(name)
            if not want:
                cut.add(name)
        if not run or not counts or cut_off:
            flow = Flow((False,) * len(flow.bottoms), (False,) * len(flow.params))
        else:
            flow = Flow(_always_down(layer) or bottoms, flow.params)
        kept.append(flow)
    return kept[::-1]


def _always_down(layer: Message) -> tuple[bool, ...]:
    """Give the flow of layers that compute the gradient of their bottom when they run at all.

    In Caffe these do not ask whether it is wanted: an input below a BatchNorm has a gradient.
    """
    across = MESSAGES["LRNParameter"].ACROSS_CHANNELS
    if layer.type in _ALWAYS_DOWN or (
        layer.type == "LRN" and layer.lrn_param.norm_region == across
    ):
        return (True,)
    return ()


def learnable(layers: Sequence[Layer]) -> list[tuple[Blob, float, float]]:
    """Return each parameter once, with the factors of its learning rate and its decay.

    A parameter that several layers share has the factors that any of them gives.

    Raises
    ------
    ValueError
        When two layers give other factors to a parameter that they share.
    """
    blobs: dict[int, Blob] = {}
    given: dict[int, dict[str, float]] = {}
    for layer in layers:
        for i, blob in enumerate(layer.blobs):
            memory = id(blob.values)
            blobs.setdefault(memory, blob)
            factors = given.setdefault(memory, {})
            for name in ("lr_mult", "decay_mult") if i < len(layer.param.param) else ():
                spec = layer.param.param[i]
                if not spec.HasField(name):
                    continue
                value = float(getattr(spec, name))
                if factors.setdefault(name, value) != value:
                    raise ValueError(
                        f'layer "{layer.name}": parameter "{spec.name}" has {name} {value:g}, and '
                        f"{factors[name]:g} in the layer that it is shared with"
                    )
    return [
        (blob, given[memory].get("lr_mult", 1.0), given[memory].get("decay_mult", 1.0))
        for memory, blob in blobs.items()
    ]
