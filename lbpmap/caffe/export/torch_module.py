"""A net as a PyTorch module that `torch.export` takes whole.

Layers run by the functions of `on_torch`, but for those that look at values, or that work piece by
piece in a CPU's cache: these have a plain form here.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from lbpmap.caffe.blob import Shape
from lbpmap.caffe.export import pools
from lbpmap.caffe.formats.messages import MESSAGES
from lbpmap.caffe.layers import on_torch, shape_rules, windows
from lbpmap.caffe.layers.plan import Layer
from lbpmap.caffe.layers.windows import Windows
from lbpmap.caffe.net import Net

Tensors = list[torch.Tensor]

_MAX: int = MESSAGES["PoolingParameter"].MAX
_WITHIN_CHANNEL: int = MESSAGES["LRNParameter"].WITHIN_CHANNEL
_LOWEST = torch.finfo(torch.float32).min


def lrn(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Divide by (k + alpha / n * sum of squares in the neighbourhood) ^ beta."""
    p, x = layer.param.lrn_param, bottoms[0]
    n = p.local_size
    if p.norm_region == _WITHIN_CHANNEL:
        mean = functional.avg_pool2d(x * x, n, 1, n // 2)
        return [x * (1 + p.alpha * mean) ** -p.beta]
    return [functional.local_response_norm(x, n, p.alpha, p.beta, p.k)]


def pooling(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """MAX (with its mask, if asked for) or AVE, of a padded image."""
    p, x = layer.param.pooling_param, bottoms[0]
    size = tuple(int(n) for n in x.shape[2:])
    fit = windows.pooling(p, size)
    if len(layer.param.top) == 2:
        return _max_and_mask(x, fit)
    return [(_max if p.pool == _MAX else _average)(x, fit)]


def spp(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Pooling on ever finer grids, side by side."""
    x, pool = bottoms[0], _max if layer.param.spp_param.pool == _MAX else _average
    shape = (1, *(int(n) for n in x.shape[1:]))
    levels = [pool(x, fit) for fit in shape_rules.pyramid(layer.param, shape)]
    return levels if len(levels) == 1 else [torch.cat([each.flatten(1) for each in levels], 1)]


def _padded(x: torch.Tensor, fit: Windows, value: float) -> tuple[torch.Tensor, pools.Padded]:
    size = tuple(int(n) for n in x.shape[2:])
    over = pools.padded(fit, size, size, round_up=True)
    around = [q for pair in zip(over.before[::-1], over.after[::-1]) for q in pair]
    return functional.pad(x, around, value=value) if any(around) else x, over


def _max(x: torch.Tensor, fit: Windows) -> torch.Tensor:
    whole, over = _padded(x, fit, _LOWEST)
    return functional.max_pool2d(whole, over.kernel, over.stride)


def _max_and_mask(x: torch.Tensor, fit: Windows) -> Tensors:
    whole, over = _padded(x, fit, -torch.inf)
    best, place = functional.max_pool2d(whole, over.kernel, over.stride, return_indices=True)
    row, column = place // whole.shape[3] - over.before[0], place % whole.shape[3] - over.before[1]
    empty = best == -torch.inf
    mask = torch.where(empty, -1, row * x.shape[3] + column)
    return [torch.where(empty, _LOWEST, best), mask.to(x.dtype)]


def _average(x: torch.Tensor, fit: Windows) -> torch.Tensor:
    whole, over = _padded(x, fit, 0)
    mean = functional.avg_pool2d(whole, over.kernel, over.stride)
    if not over.overhangs(fit.pad):
        return mean
    size = tuple(int(n) for n in x.shape[2:])
    return mean * torch.tensor(pools.average_factor(fit, size).tolist(), dtype=x.dtype)


def embed(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Look up a row of the weights for every number."""
    rows = functional.embedding(bottoms[0].long(), params[0])
    return [rows + params[1] if layer.param.embed_param.bias_term else rows]


def batch_reindex(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Choose items."""
    return [bottoms[0].index_select(0, bottoms[1].long())]


_PLAIN: dict[str, on_torch.TorchForward] = {
    "BatchReindex": batch_reindex,
    "Embed": embed,
    "LRN": lrn,
    "Pooling": pooling,
    "SPP": spp,
}


class CaffeModule(nn.Module):
    """A net in the TEST phase.

    Parameters
    ----------
    net : Net
        Its parameters are copied.

    Notes
    -----
    ``forward`` takes a float32 tensor for each of the net's inputs, in their order, and gives a
    dict of its outputs by name. Parameters are named ``layers.LAYER.0`` (weight), ``.1`` (bias),
    with dots of the layer's name as underscores.
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        self._inputs, self._outputs = list(net.inputs), list(net.outputs)
        self._steps: list[tuple[Layer, str]] = []
        held: dict[tuple[int, Shape], nn.Parameter] = {}
        self.layers = nn.ModuleDict()
        for layer in net.layers:
            if layer.type in ("Input", "Silence"):
                continue
            name = layer.name.replace(".", "_")
            while name in self.layers:
                name += "_"
            params = []
            for blob in layer.blobs:
                key = (id(blob.values), tuple(blob.shape))
                if key not in held:
                    values = torch.from_numpy(blob.array().copy())
                    held[key] = nn.Parameter(values, requires_grad=False)
                params.append(held[key])
            self.layers[name] = nn.ParameterList(params)
            self._steps.append((layer, name))

    def forward(self, *inputs: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Run the net."""
        made = dict(zip(self._inputs, inputs))
        for layer, name in self._steps:
            function = _PLAIN.get(layer.type) or on_torch.FORWARD[layer.type]
            params = self.layers[name]
            assert isinstance(params, nn.ParameterList)
            bottoms = [made[bottom] for bottom in layer.param.bottom]
            made.update(zip(layer.param.top, function(layer, bottoms, list(params))))
        return {name: made[name] for name in self._outputs if name not in self._inputs}
