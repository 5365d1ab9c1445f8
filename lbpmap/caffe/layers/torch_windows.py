"""Convolution, pooling and local normalisation on PyTorch: what looks at windows of an image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lbpmap.caffe.blob import Shape
from lbpmap.caffe.formats.messages import MESSAGES
from lbpmap.caffe.layers import shape_rules, windows
from lbpmap.caffe.layers.plan import Layer
from lbpmap.caffe.layers.windows import Windows

Tensors = list[torch.Tensor]

_MAX: int = MESSAGES["PoolingParameter"].MAX
_WITHIN_CHANNEL: int = MESSAGES["LRNParameter"].WITHIN_CHANNEL
# Where Caffe's maximum starts: a window that holds nothing but padding gives this.
_LOWEST = torch.finfo(torch.float32).min
# How many numbers of each tensor local normalisation works on at a time: 1 MB.
_IN_CACHE = 2**18
# PyTorch has these; with more axes a convolution is a product with its columns.
_CONVOLUTIONS: dict[int, Any] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}


def convolution(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Convolve each bottom with the same weights, over any number of spatial axes."""
    p = layer.param.convolution_param
    weight, bias = params[0], params[1] if p.bias_term else None
    axis = p.axis % bottoms[0].ndim
    outer, size = bottoms[0].shape[:axis], bottoms[0].shape[axis + 1 :]
    fit = windows.convolution(p, size)
    tops = []
    for bottom in bottoms:
        images = bottom.reshape(math.prod(outer), *bottom.shape[axis:])
        if len(size) in _CONVOLUTIONS:
            convolve = _CONVOLUTIONS[len(size)]
            result = convolve(images, weight, bias, fit.stride, fit.pad, fit.dilation, p.group)
        else:
            result = _product_with_columns(images, weight, bias, fit, p.group)
        tops.append(result.reshape(*outer, *result.shape[1:]))
    return tops


def _product_with_columns(
    images: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, fit: Windows, groups: int
) -> torch.Tensor:
    rows = weight.reshape(groups, len(weight) // groups, -1)
    columns = _columns(images, fit).reshape(len(images), groups, rows.shape[2], -1)
    result = (rows @ columns).reshape(len(images), len(weight), *fit.out)
    return result if bias is None else result + bias.reshape(-1, *(1,) * len(fit.out))


def im2col(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Only the columns of a convolution."""
    p, x = layer.param.convolution_param, bottoms[0]
    axis = p.axis % x.ndim
    fit = windows.convolution(p, x.shape[axis + 1 :])
    columns = _columns(x.reshape(math.prod(x.shape[:axis]), *x.shape[axis:]), fit)
    return [columns.reshape(*x.shape[:axis], columns.shape[1], *fit.out)]


def _columns(images: torch.Tensor, fit: Windows) -> torch.Tensor:
    """Lay out all windows of images (N, C, ...) as columns: (N, C * kernel size, windows)."""
    axes = len(fit.kernel)
    view = functional.pad(images, [q for q in reversed(fit.pad) for _ in range(2)])
    for axis, (k, s, d) in enumerate(zip(fit.kernel, fit.stride, fit.dilation), 2):
        # The pixels of a window become a new last axis.
        view = view.unfold(axis, d * (k - 1) + 1, s)[..., ::d]
    pixels, places = range(2 + axes, 2 + 2 * axes), range(2, 2 + axes)
    rows = images.shape[1] * math.prod(fit.kernel)
    return view.permute(0, 1, *pixels, *places).reshape(len(images), rows, math.prod(fit.out))


def pooling(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """MAX (with its mask, if asked for) or AVE."""
    p = layer.param.pooling_param
    fit = windows.pooling(p, bottoms[0].shape[2:])
    if len(layer.param.top) == 2:
        return list(_max_and_mask(bottoms[0], fit))
    return [(_max if p.pool == _MAX else _average)(bottoms[0], fit)]


def spp(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Pooling on ever finer grids, side by side."""
    x, pool = bottoms[0], _max if layer.param.spp_param.pool == _MAX else _average
    levels = [pool(x, fit) for fit in shape_rules.pyramid(layer.param, x.shape)]
    if len(levels) == 1:
        return levels
    return [torch.cat([level.flatten(1) for level in levels], 1)]


def _is_plain(fit: Windows, size: Shape) -> bool:
    """Whether PyTorch has the same windows.

    It takes no padding beyond half a kernel, and drops every window that starts behind the image,
    where Caffe does so only with padding: strides beyond the kernel leave such windows.
    """
    return all(
        2 * q <= k <= n + q and s <= k for n, k, s, q in zip(size, fit.kernel, fit.stride, fit.pad)
    )


def _rounds_up(fit: Windows, size: Shape) -> bool:
    """Whether there are more windows than lie within the padded image."""
    return any(
        out != (n + 2 * q - k) // s + 1
        for n, k, s, q, out in zip(size, fit.kernel, fit.stride, fit.pad, fit.out)
    )


def _max(x: torch.Tensor, fit: Windows) -> torch.Tensor:
    """Maximum of each window; its gradient goes to the first pixel that has it, row by row."""
    size = x.shape[2:]
    if not _is_plain(fit, size):
        return _max_and_mask(x, fit)[0]
    return functional.max_pool2d(
        x, fit.kernel, fit.stride, fit.pad, ceil_mode=_rounds_up(fit, size)
    )


def _max_and_mask(x: torch.Tensor, fit: Windows) -> tuple[torch.Tensor, torch.Tensor]:
    """Maximum, and where in the plane its first pixel lies; -1 in a window of padding alone."""
    size = x.shape[2:]
    if _is_plain(fit, size):
        best, place = functional.max_pool2d(
            x, fit.kernel, fit.stride, fit.pad, ceil_mode=_rounds_up(fit, size), return_indices=True
        )
        return best, place.to(x.dtype)
    with torch.no_grad():
        best, column = _first_largest(x, fit, 1)
        _, row = _first_largest(best, fit, 0)
        place = row * size[1] + column.gather(2, row.clamp(min=0))
        place = torch.where(row < 0, row, place)
    found = x.flatten(2).gather(2, place.clamp(min=0).flatten(2)).reshape(place.shape)
    return torch.where(place < 0, _lowest(x), found), place.to(x.dtype)


def _lowest(x: torch.Tensor) -> torch.Tensor:
    return x.new_tensor(max(_LOWEST, torch.finfo(x.dtype).min))


def _offsets(
    x: torch.Tensor, fit: Windows, axis: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """For each offset in a window, clipped to the image: which pixels it hits, in which windows.

    As many offsets as the widest clipped window has, however large the kernel and the padding are.
    """
    n = x.shape[2 + axis]
    start = torch.arange(fit.out[axis], device=x.device) * fit.stride[axis] - fit.pad[axis]
    end = (start + fit.kernel[axis]).clamp(max=n)
    first = start.clamp(min=0)
    for offset in range(int((end - first).max())):
        inside = first + offset < end
        yield (first + offset).clamp(max=n - 1), inside.reshape(-1, *(1,) * (1 - axis))


def _first_largest(x: torch.Tensor, fit: Windows, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Maximum of each window of one axis, and where its first pixel lies; -1 without one."""
    shape = (*x.shape[: 2 + axis], fit.out[axis], *x.shape[3 + axis :])
    best = _lowest(x).expand(shape)
    place = torch.full(shape, -1, device=x.device)
    for at, inside in _offsets(x, fit, axis):
        pixel = x.index_select(2 + axis, at)
        larger = (pixel > best) & inside
        best = torch.where(larger, pixel, best)
        place = torch.where(larger, at.reshape(inside.shape), place)
    return best, place


def _average(x: torch.Tensor, fit: Windows) -> torch.Tensor:
    """Sum of each window over its size within the padded input: padding counts, overhang not."""
    size = x.shape[2:]
    if _is_plain(fit, size):
        return functional.avg_pool2d(
            x, fit.kernel, fit.stride, fit.pad, ceil_mode=_rounds_up(fit, size)
        )
    sizes = []
    total = x
    for axis, (n, k, s, q, out) in enumerate(zip(size, fit.kernel, fit.stride, fit.pad, fit.out)):
        shape = (*total.shape[: 2 + axis], out, *total.shape[3 + axis :])
        sums = total.new_zeros(shape)
        for at, inside in _offsets(total, fit, axis):
            sums = sums + total.index_select(2 + axis, at).where(inside, total.new_zeros(()))
        total = sums
        start = torch.arange(out, device=x.device) * s - q
        sizes.append((start + k).clamp(max=n + q) - start)
    return total / torch.outer(*sizes).to(x.dtype)


def lrn(layer: Layer, bottoms: Tensors, params: Tensors) -> Tensors:
    """Divide by (k + alpha / n * sum of squares in the neighbourhood) ^ beta."""
    p, x = layer.param.lrn_param, bottoms[0]
    n = p.local_size
    if p.norm_region == _WITHIN_CHANNEL:
        fit = windows.pooling_windows(x.shape[2:], (n, n), (1, 1), (n // 2, n // 2), round_up=True)
        return [x * (1 + p.alpha * _average(x * x, fit)) ** -p.beta]
    return [_AcrossChannels.apply(x, n, p.alpha, p.beta, p.k)]  # type: ignore[no-untyped-call]


class _AcrossChannels(torch.autograd.Function):
    """Local normalisation across channels, in memory that stays in a CPU's cache.

    Piece by piece and in place this takes a tenth of the time of `local_response_norm`, which pads
    and pools in three dimensions (96 x 109 x 109: 1.8 ms instead of 18). Nothing but the input is
    kept for the backward pass, as computing the divisor again is cheaper than memory for it.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, n: int, alpha: float, beta: float, k: float
    ) -> torch.Tensor:
        """Return x * scale ^ -beta."""
        ctx.save_for_backward(x)
        ctx.settings = n, alpha, beta, k
        y = torch.empty_like(x)
        for image, result, scale, spare in _pieces(x, y, spares=2):
            _fill_scale(scale, spare, image, n, alpha, k)
            torch.mul(image, _negative_power(scale, beta, spare), out=result)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return g * scale ^ -beta - 2 alpha beta / n * x * (sum of g * y / scale nearby)."""
        (x,) = ctx.saved_tensors
        n, alpha, beta, k = ctx.settings
        down = torch.empty_like(x)
        for image, top, result, scale, spare, ratio in _pieces(x, gradient, down, spares=3):
            _fill_scale(scale, spare, image, n, alpha, k)
            ratio.copy_(scale)
            torch.mul(top, _negative_power(ratio, beta, spare), out=result)
            torch.mul(result, image, out=ratio).div_(scale)
            _sum_nearby(scale, ratio, n // 2)
            result.addcmul_(scale, image, value=-2 * alpha * beta / n)
        return down, None, None, None, None


def _pieces(*tensors: torch.Tensor, spares: int) -> Iterator[list[torch.Tensor]]:
    """Give the same images of each tensor, as many as fit a CPU's cache, and spare memory.

    Elsewhere than on a CPU all images come at once.
    """
    x = tensors[0]
    step = max(1, len(x))
    if x.device.type == "cpu":
        step = max(1, _IN_CACHE // max(1, math.prod(x.shape[1:])))
    held = [torch.empty_like(x[:step]) for _ in range(spares)]
    for at in range(0, len(x), step):
        pieces = [each[at : at + step] for each in tensors]
        yield pieces + [each[: len(pieces[0])] for each in held]


def _fill_scale(
    scale: torch.Tensor, squares: torch.Tensor, x: torch.Tensor, n: int, alpha: float, k: float
) -> None:
    torch.mul(x, x, out=squares)
    _sum_nearby(scale, squares, n // 2)
    scale.mul_(alpha / n).add_(k)


def _sum_nearby(total: torch.Tensor, x: torch.Tensor, reach: int) -> None:
    """Fill `total` with sums over the channels up to `reach` away."""
    total.copy_(x)
    for shift in range(1, min(reach, x.shape[1] - 1) + 1):
        total[:, shift:] += x[:, :-shift]
        total[:, :-shift] += x[:, shift:]


def _negative_power(base: torch.Tensor, exponent: float, spare: torch.Tensor) -> torch.Tensor:
    """Return base ^ -exponent, in the memory of either argument."""
    if exponent == 0.75:
        # Two roots and a product, exact to 3e-7.
        base.rsqrt_()
        return torch.sqrt(base, out=spare).mul_(base)
    return base.pow_(-exponent)
