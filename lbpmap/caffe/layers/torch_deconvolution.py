"""Deconvolution on PyTorch: its transposed convolutions, and the same for more than three axes."""

from __future__ import annotations

import itertools
import math

import torch
from torch.nn import functional

from lbpmap.caffe.blob import Shape
from lbpmap.caffe.layers import windows
from lbpmap.caffe.layers.plan import Layer
from lbpmap.caffe.layers.windows import Windows

Tensors = list[torch.Tensor]

_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def deconvolution(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Each pixel of a bottom is a window that adds to its top; weights stand as PyTorch's do."""
    p = layer.param.convolution_param
    weight, bias = params[0], params[1] if p.bias_term else None
    tops = []
    for bottom in bottoms:
        axis = p.axis % bottom.ndim
        fit, covered = windows.deconvolution(p, tuple(bottom.shape[axis + 1 :]))
        images = bottom.reshape(-1, *bottom.shape[axis:])
        transposed = _TRANSPOSED.get(len(covered))
        if transposed is None:
            result = _add_up(images, weight, p.group, fit, covered)
            if bias is not None:
                result = result + bias.reshape(-1, *(1,) * len(covered))
        else:
            result = transposed(images, weight, bias, fit.stride, fit.pad, 0, p.group, fit.dilation)
        tops.append(result.reshape(*bottom.shape[:axis], *result.shape[1:]))
    return tops


def _add_up(
    images: torch.Tensor, weight: torch.Tensor, groups: int, fit: Windows, covered: Shape
) -> torch.Tensor:
    """Compute windows by a matrix product a group, and add them up in their places."""
    rows = weight.reshape(groups, len(weight) // groups, -1).transpose(1, 2)
    columns = rows @ images.reshape(len(images), groups, rows.shape[2], math.prod(fit.out))
    columns = columns.reshape(len(images), -1, math.prod(fit.kernel), *fit.out)
    sides = [n + 2 * q for n, q in zip(covered, fit.pad)]
    padded = columns.new_zeros(len(images), columns.shape[1], *sides)
    every = slice(None)
    for i, offset in enumerate(itertools.product(*map(range, fit.kernel))):
        place = (
            slice(d * o, d * o + s * (n - 1) + 1, s)
            for o, d, s, n in zip(offset, fit.dilation, fit.stride, fit.out)
        )
        padded[(every, every, *place)] += columns[:, :, i]
    return padded[(every, every, *(slice(q, n - q) for n, q in zip(sides, fit.pad)))]
