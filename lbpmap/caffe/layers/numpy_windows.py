"""Convolution, pooling and local normalisation on NumPy: what looks at windows of an image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import as_strided

from lbpmap import _isa, _kernels
from lbpmap._arrays import F32
from lbpmap.caffe.formats.messages import MESSAGES, Message
from lbpmap.caffe.layers import numpy_winograd as winograd
from lbpmap.caffe.layers import shape_rules, windows
from lbpmap.caffe.layers.plan import Layer, Workspace
from lbpmap.caffe.layers.threads import in_parts
from lbpmap.caffe.layers.windows import Windows

_MAX: int = MESSAGES["PoolingParameter"].MAX
_WITHIN_CHANNEL: int = MESSAGES["LRNParameter"].WITHIN_CHANNEL
# Where Caffe's maximum starts: a window that holds nothing but padding gives this.
_LOWEST = -np.finfo(np.float32).max
# How many numbers of each array local normalisation works on at a time: 512 KB.
_IN_CACHE = 2**17


def _padded(image: F32, fit: Windows) -> F32:
    if not any(fit.pad):
        return image
    sides = [n + 2 * q for n, q in zip(image.shape[1:], fit.pad)]
    padded: F32 = np.zeros((len(image), *sides), np.float32)
    padded[(slice(None), *(slice(q, n - q) for n, q in zip(sides, fit.pad)))] = image
    return padded


def _columns(image: F32, fit: Windows, workspace: Workspace) -> F32:
    """Lay out all windows of one image (C, ...) as columns: (C * kernel size, windows)."""
    if fit.is_pointwise:
        return image.reshape(len(image), -1)
    columns = workspace.take(len(image), math.prod(fit.kernel) * math.prod(fit.out))

    def lay_out(first: int, last: int) -> None:
        _fill_columns(image[first:last], fit, columns[first:last])

    in_parts(lay_out, len(image), work=columns.size)
    return columns.reshape(-1, math.prod(fit.out))


def _fill_columns(image: F32, fit: Windows, columns: F32) -> None:
    padded = _padded(image, fit)
    channel, *steps = padded.strides
    view = as_strided(
        padded,
        (len(image), *fit.kernel, *fit.out),
        (
            channel,
            *(step * d for step, d in zip(steps, fit.dilation)),
            *(step * s for step, s in zip(steps, fit.stride)),
        ),
        writeable=False,
    )
    columns.reshape(view.shape)[...] = view


def convolution(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Windows as columns, image by image into one buffer, then a matrix product a group."""
    p = layer.param.convolution_param
    weight = layer.blobs[0].data
    groups = p.group
    rows = weight.reshape(groups, len(weight) // groups, -1)
    for bottom, top in zip(bottoms, tops):
        axis = p.axis % bottom.ndim
        fit = windows.convolution(p, bottom.shape[axis + 1 :])
        images = bottom.reshape(-1, *bottom.shape[axis:])
        if (
            groups == 1
            and images.ndim == 4
            and winograd.suits(fit, len(images), *weight.shape[1::-1])
        ):
            bias = layer.blobs[1].data if p.bias_term else None
            out = top.reshape(len(images), len(weight), *fit.out)
            if winograd.convolution(images, weight, bias, fit, out, layer.workspace):
                continue
        results = top.reshape(len(images), groups, rows.shape[1], math.prod(fit.out))
        for image, result in zip(images, results):
            columns = _columns(image, fit, layer.workspace).reshape(groups, rows.shape[2], -1)
            _multiply(rows, columns, result)
        if p.bias_term:
            results += layer.blobs[1].data.reshape(groups, -1, 1)


def _multiply(rows: F32, columns: F32, result: F32) -> None:
    """Multiply a group's rows with its columns."""

    def multiply(first: int, last: int) -> None:
        np.matmul(rows[:, first:last], columns, out=result[:, first:last])

    in_parts(multiply, rows.shape[1], work=rows.size * columns.shape[2])


def im2col(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Only the columns of a convolution."""
    p = layer.param.convolution_param
    axis = p.axis % bottoms[0].ndim
    fit = windows.convolution(p, bottoms[0].shape[axis + 1 :])
    images = bottoms[0].reshape(-1, *bottoms[0].shape[axis:])
    for image, result in zip(images, tops[0].reshape(len(images), -1)):
        result[...] = _columns(image, fit, layer.workspace).reshape(-1)


def pooling(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """MAX (with its mask, if asked for) or AVE."""
    p = layer.param.pooling_param
    fit = windows.pooling(p, bottoms[0].shape[2:])
    if len(tops) == 2:
        _max_and_mask(bottoms[0], tops[0], tops[1], fit)
    elif p.pool == _MAX:
        _compiled_max(bottoms[0], tops[0], fit)
    else:
        _average(bottoms[0], tops[0], fit, layer.workspace)


def _compiled_max(bottom: F32, top: F32, fit: Windows) -> None:
    """As `_max`, in the C core, on threads."""
    if not top.size:
        return
    planes, out = bottom.reshape(-1, *bottom.shape[2:]), top.reshape(-1, *top.shape[2:])
    isa = _isa.chosen()

    def pool(first: int, last: int) -> None:
        scratch: F32 = np.empty(planes.shape[2], np.float32)
        _kernels.maxima(
            isa, planes[first:last], fit.kernel, fit.stride, fit.pad, scratch, out[first:last]
        )

    in_parts(pool, len(planes), work=planes.size)


def spp(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Pooling on ever finer grids, side by side."""
    bottom, pool = bottoms[0], _max if layer.param.spp_param.pool == _MAX else _average
    top = tops[0].reshape(len(bottom), -1)
    at = 0
    for fit in shape_rules.pyramid(layer.param, bottom.shape):
        level: F32 = np.empty(bottom.shape[:2] + fit.out, np.float32)
        pool(bottom, level, fit, layer.workspace)
        flat = level.reshape(len(bottom), -1)
        top[:, at : at + flat.shape[1]] = flat
        at += flat.shape[1]


def _shifts(fit: Windows, size: tuple[int, ...], axis: int) -> Iterator[tuple[slice, slice]]:
    """For each offset in a window that meets the image: which windows, and which pixels of it."""
    n, s, q, out = size[axis], fit.stride[axis], fit.pad[axis], fit.out[axis]
    # Beyond these, offsets lie in the padding of every window.
    for offset in range(max(0, q - (out - 1) * s), min(fit.kernel[axis], q + n)):
        first, last = max(0, -((offset - q) // s)), min(out, (n - 1 - offset + q) // s + 1)
        if first < last:
            start = first * s + offset - q
            yield slice(first, last), slice(start, start + (last - first - 1) * s + 1, s)


def _max(bottom: F32, top: F32, fit: Windows, workspace: Workspace) -> None:
    """Maximum over the columns of each window, then over its rows; NaN is passed over."""
    size = bottom.shape[2:]
    partial = workspace.take(*bottom.shape[:3], fit.out[1])
    partial.fill(_LOWEST)
    for to, of in _shifts(fit, size, 1):
        np.fmax(partial[..., to], bottom[..., of], out=partial[..., to])
    top.fill(_LOWEST)
    for to, of in _shifts(fit, size, 0):
        np.fmax(top[:, :, to], partial[:, :, of], out=top[:, :, to])


def _average(bottom: F32, top: F32, fit: Windows, workspace: Workspace) -> None:
    """Sum of each window over its size within the padded input: padding counts, overhang not."""
    size = bottom.shape[2:]
    partial = workspace.take(*bottom.shape[:3], fit.out[1])
    partial.fill(0)
    for to, of in _shifts(fit, size, 1):
        partial[..., to] += bottom[..., of]
    top.fill(0)
    for to, of in _shifts(fit, size, 0):
        top[:, :, to] += partial[:, :, of]
    sizes = []
    for n, k, s, q, count in zip(size, fit.kernel, fit.stride, fit.pad, fit.out):
        start = np.arange(count) * s - q
        sizes.append(np.minimum(start + k, n + q) - start)
    top /= np.outer(*sizes).astype(np.float32)


def _max_and_mask(bottom: F32, top: F32, mask: F32, fit: Windows) -> None:
    """Maximum, and where in the plane its first pixel lies; -1 in a window of padding alone."""
    size = bottom.shape[2:]
    place: F32 = np.arange(math.prod(size), dtype=np.float32).reshape(size)
    top.fill(_LOWEST)
    mask.fill(-1)
    for (rows, from_rows), (cols, from_cols) in itertools.product(
        _shifts(fit, size, 0), _shifts(fit, size, 1)
    ):
        pixel, best = bottom[:, :, from_rows, from_cols], top[:, :, rows, cols]
        larger = pixel > best
        best[larger] = pixel[larger]
        where = np.broadcast_to(place[from_rows, from_cols], larger.shape)
        mask[:, :, rows, cols][larger] = where[larger]


def lrn(layer: Layer, bottoms: list[F32], tops: list[F32]) -> None:
    """Divide by (k + alpha / n * sum of squares in the neighbourhood) ^ beta."""
    p = layer.param.lrn_param
    if p.norm_region == _WITHIN_CHANNEL:
        _lrn_within(layer, bottoms[0], tops[0])
        return
    for image, result in zip(bottoms[0], tops[0]):
        _lrn_across(p, image.reshape(len(image), -1), result.reshape(len(image), -1))


def _lrn_across(p: Message, pixels: F32, result: F32) -> None:
    """Normalise one image (C, pixels), as many pixels at a time as stay in a cache."""
    step = max(1, _IN_CACHE // max(1, len(pixels)))

    def part(first: int, last: int) -> None:
        for at in range(first, last, step):
            some = slice(at, min(at + step, last))
            _normalise(p, pixels[:, some], result[:, some])

    in_parts(part, pixels.shape[1], work=pixels.size * 16)


def _normalise(p: Message, pixels: F32, result: F32) -> None:
    """Fill `result` from `pixels`, both (C, count)."""
    squares = pixels * pixels
    scale = squares.copy()
    for shift in range(1, min(p.local_size // 2, len(pixels) - 1) + 1):
        scale[shift:] += squares[:-shift]
        scale[:-shift] += squares[shift:]
    scale *= np.float32(p.alpha / p.local_size)
    scale += np.float32(p.k)
    np.divide(pixels, _power(scale, p.beta, squares), out=result)


def _power(base: F32, exponent: float, spare: F32) -> F32:
    """Return base ^ exponent, in the memory of either argument."""
    if exponent == 0.75:
        # Two roots and a product: exact to 2e-7, and six times as fast as `power` without AVX-512.
        np.sqrt(base, out=base)
        np.sqrt(base, out=spare)
        spare *= base
        return spare
    return np.power(base, np.float32(exponent), out=base)


def _lrn_within(layer: Layer, bottom: F32, top: F32) -> None:
    """As `lrn`, over a square of one channel; the average counts the zeros of the padding."""
    p = layer.param.lrn_param
    n = p.local_size
    size = bottom.shape[2:]
    fit = windows.pooling_windows(size, (n, n), (1, 1), (n // 2, n // 2), round_up=True)
    scale: F32 = np.empty(bottom.shape, np.float32)
    _average(bottom * bottom, scale, fit, layer.workspace)
    scale *= np.float32(p.alpha)
    scale += np.float32(1)
    np.divide(bottom, np.power(scale, np.float32(p.beta)), out=top)
