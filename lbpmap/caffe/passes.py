"""One layer's forward or backward pass, on NumPy or on PyTorch.

Backward passes are autograd's, a layer at a time: a layer is a function of its bottoms and
parameters, its gradients go into their blobs, and the next layer begins with what the blobs hold
then. So a pass may start and end anywhere, a user may write into any blob between two layers, and
gradients of parameters add up until they are cleared, as in Caffe.

In the TRAIN phase a forward pass on PyTorch leaves the layer's graph for the backward pass. In
other cases, and for a ReLU that works in place, the backward pass repeats the layer's forward pass
from what its bottoms hold: of such a ReLU Caffe tells the gradient from what is there by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lbpmap.caffe import engine
from lbpmap.caffe.blob import Blob, Storage
from lbpmap.caffe.formats.messages import TRAIN
from lbpmap.caffe.layers import on_host, on_numpy, shapes
from lbpmap.caffe.layers.plan import Layer

if TYPE_CHECKING:
    import torch

# Their gradient can be told from what they have written over their input, or from a mask.
_READS_ITS_OUTPUT = frozenset({"ReLU", "Dropout"})


def forward(
    layer: Layer, bottoms: list[Blob], tops: list[Blob], device: torch.device | None
) -> None:
    """Compute the tops of a layer from its bottoms.

    Parameters
    ----------
    layer : Layer
    bottoms, tops : list of Blob
        A layer that works in place has its bottom among its tops.
    device : torch.device or None
        None is NumPy.

    Raises
    ------
    ValueError
        When the values are wrong, such as a label that is no class.
    """
    layer.kept.pop("graph", None)
    if shapes.shares_gradients(layer.param):
        return
    if layer.type in on_host.FORWARD:
        on_host.FORWARD[layer.type](layer, bottoms, tops)
    elif device is not None and _runs_on_torch(layer):
        _forward_on_torch(layer, bottoms, tops, device)
    else:
        if _loses_its_input(layer, bottoms, tops):
            layer.kept["input"] = bottoms[0].array().copy()
        # Infinities and NaN are values here, as in Caffe, and no reason for a warning.
        with np.errstate(all="ignore"):
            on_numpy.FORWARD[layer.type](
                layer, [blob.array() for blob in bottoms], [blob.array() for blob in tops]
            )


def backward(layer: Layer, bottoms: list[Blob], tops: list[Blob], device: torch.device) -> None:
    """Write the gradients of a layer's bottoms, and add to those of its parameters.

    Parameters
    ----------
    layer : Layer
        What `layer.flow` wants is computed.
    bottoms, tops : list of Blob
        The gradients of the tops are those in the blobs.
    device : torch.device
    """
    if layer.type in on_host.FORWARD:
        if layer.type in on_host.BACKWARD:
            on_host.BACKWARD[layer.type](layer, tops, list(layer.flow.bottoms), bottoms)
        return
    if not _runs_on_torch(layer) or shapes.shares_gradients(layer.param):
        return
    import torch

    inputs, params, results = layer.kept.pop("graph", None) or _replay(layer, bottoms, device)
    differentiable = [
        (result, blob.diff_tensor(device).view(result.shape))
        for result, blob in zip(results, tops)
        if result.requires_grad
    ]
    leaves = [leaf for leaf in (*inputs, *params) if leaf.requires_grad]
    found: dict[int, torch.Tensor] = {}
    if differentiable and leaves:
        outs, diffs = zip(*differentiable)
        gradients = torch.autograd.grad(outs, leaves, diffs, allow_unused=True)
        found = {id(leaf): g for leaf, g in zip(leaves, gradients) if g is not None}
    taken = [diff for _, diff in differentiable]
    for blob, leaf, want in zip(bottoms, inputs, layer.flow.bottoms):
        if want and id(leaf) in found:
            _put(blob.gradients, found[id(leaf)], taken)
        elif want:
            blob.gradients.clear()
    for blob, leaf in zip(layer.blobs, params):
        if id(leaf) in found:
            _add(blob, found[id(leaf)], taken, device)


def _runs_on_torch(layer: Layer) -> bool:
    from lbpmap.caffe.layers import on_torch

    return layer.type in on_torch.FORWARD


def _in_place(bottoms: list[Blob], tops: list[Blob]) -> bool:
    return bool(bottoms) and any(top is bottoms[0] for top in tops)


def _loses_its_input(layer: Layer, bottoms: list[Blob], tops: list[Blob]) -> bool:
    """Whether a backward pass will need what an in-place layer overwrites."""
    return layer.flow.any and layer.type not in _READS_ITS_OUTPUT and _in_place(bottoms, tops)


def _forward_on_torch(
    layer: Layer, bottoms: list[Blob], tops: list[Blob], device: torch.device
) -> None:
    import torch

    # The graph of an in-place ReLU would know the input. Caffe looks at what has overwritten it:
    # with a negative slope, or below another layer in place, that may have another sign.
    overwritten = layer.type == "ReLU" and _in_place(bottoms, tops)
    track = layer.flow.any and layer.param.phase == TRAIN and not overwritten
    shares = shapes.shares_values(layer.param)
    if shares and not track:
        return
    inputs = [blob.tensor(device) for blob in bottoms]
    if _loses_its_input(layer, bottoms, tops):
        # The memory may be written again although the graph, or a later pass, still reads it.
        inputs = [inputs[0].clone(), *inputs[1:]]
        layer.kept["input"] = inputs[0]
    if track:
        layer.kept["graph"] = inputs, params, results = _apply(layer, inputs, device)
    else:
        params = _parameters(layer, device)
        with torch.no_grad():
            results = _compute(layer, inputs, params, device)
    if not shares:
        taken = [*inputs, *params]
        for blob, result in zip(tops, results):
            _put(blob.values, result.detach(), taken)


def _apply(
    layer: Layer, inputs: list[torch.Tensor], device: torch.device
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    """Run a layer's function on leaves of its own, so that its gradients can be found."""
    import torch

    leaves = [x.detach().requires_grad_(want) for x, want in zip(inputs, layer.flow.bottoms)]
    params = _parameters(layer, device)
    for param, want in zip(params, layer.flow.params):
        param.requires_grad_(want)
    with torch.enable_grad():
        return leaves, params, _compute(layer, leaves, params, device)


def _compute(
    layer: Layer, inputs: list[torch.Tensor], params: list[torch.Tensor], device: torch.device
) -> list[torch.Tensor]:
    """Call a layer's function; what it gives is float32, whatever it multiplied in."""
    from lbpmap.caffe.layers import on_torch

    with engine.multiplying(device):
        return [result.float() for result in on_torch.FORWARD[layer.type](layer, inputs, params)]


def _parameters(layer: Layer, device: torch.device) -> list[torch.Tensor]:
    """Return tensors of a layer's parameters, which BatchNorm writes to while it trains."""
    if layer.param.phase != TRAIN:
        return [blob.tensor(device) for blob in layer.blobs]
    return [
        blob.values.writable_tensor(blob.count, device).view(blob.shape).detach()
        for blob in layer.blobs
    ]


def _replay(
    layer: Layer, bottoms: list[Blob], device: torch.device
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    import torch

    inputs = [blob.tensor(device) for blob in bottoms]
    if "input" in layer.kept:
        kept = layer.kept["input"]
        inputs[0] = (torch.from_numpy(kept) if isinstance(kept, np.ndarray) else kept).to(device)
    layer.replay = True
    try:
        return _apply(layer, inputs, device)
    finally:
        layer.replay = False


def _put(storage: Storage, values: torch.Tensor, others: list[torch.Tensor]) -> None:
    """Write a result; the tensor itself is kept where its memory is none of the others'."""
    flat = values.reshape(-1)
    memory = flat.untyped_storage()
    own = memory.nbytes() == 4 * flat.numel() and all(
        memory.data_ptr() != other.untyped_storage().data_ptr() for other in others
    )
    storage.put(flat, keep=own)
    others.append(flat)


def _add(
    blob: Blob, gradient: torch.Tensor, others: list[torch.Tensor], device: torch.device
) -> None:
    if blob.gradients.untouched:
        _put(blob.gradients, gradient, others)
    else:
        blob.gradients.writable_tensor(blob.count, device).add_(gradient.reshape(-1))
