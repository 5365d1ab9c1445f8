"""Deconvolution on NumPy: each pixel of the bottom is a window that adds to the top.

It is the backward pass of a convolution, run forward, and stores its weights the convolution's way:
(channels, outputs / group, kernel).
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from lbpmap._arrays import F32
from lbpmap.caffe.layers import windows
from lbpmap.caffe.layers.plan import Layer
from lbpmap.caffe.layers.windows import Windows


def deconvolution(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Compute all windows of an image by a matrix product a group, then add them up."""
    p = layer.param.convolution_param
    weight = layer.blobs[0].data
    groups = p.group
    # Transposed: (groups, outputs of a group x kernel, channels of a group).
    rows = weight.reshape(groups, len(weight) // groups, -1).transpose(0, 2, 1)
    for bottom, top in zip(bottoms, tops):
        axis = p.axis % bottom.ndim
        fit, covered = windows.deconvolution(p, bottom.shape[axis + 1 :])
        images = bottom.reshape(-1, groups, rows.shape[2], math.prod(fit.out))
        results = top.reshape(-1, top.shape[axis], *covered)
        columns = layer.workspace.take(groups, rows.shape[1], math.prod(fit.out))
        for image, result in zip(images, results):
            np.matmul(rows, image, out=columns)
            _add_up(columns.reshape(len(result), -1, *fit.out), result, fit)
        if p.bias_term:
            results += layer.blobs[1].data.reshape(-1, *(1,) * len(covered))


def _add_up(columns: F32, image: F32, fit: Windows) -> None:
    """Add windows (channels, kernel size, windows) to an image of zeros, in their places.

    What falls into the padding is lost.
    """
    sides = [n + 2 * q for n, q in zip(image.shape[1:], fit.pad)]
    padded: F32 = np.zeros((len(image), *sides), np.float32)
    every = slice(None)
    for i, offset in enumerate(itertools.product(*map(range, fit.kernel))):
        place = (
            slice(d * o, d * o + s * (n - 1) + 1, s)
            for o, d, s, n in zip(offset, fit.dilation, fit.stride, fit.out)
        )
        padded[(every, *place)] += columns[:, i]
    image[...] = padded[(every, *(slice(q, n - q) for n, q in zip(sides, fit.pad)))]
