"""ONNX for what looks at windows of an image, and for products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lbpmap.caffe.blob import Shape
from lbpmap.caffe.export import pools
from lbpmap.caffe.export.onnx_writer import NeedsFixed, NoForm, Place, Value, fixed
from lbpmap.caffe.export.sizes import Lengths
from lbpmap.caffe.formats.messages import MESSAGES
from lbpmap.caffe.layers import shape_rules, windows
from lbpmap.caffe.layers.windows import Windows

_MAX: int = MESSAGES["PoolingParameter"].MAX
_WITHIN_CHANNEL: int = MESSAGES["LRNParameter"].WITHIN_CHANNEL
# Where Caffe's maximum starts.
_LOWEST = float(np.finfo(np.float32).min)
# ONNX Runtime convolves over so many axes.
_MAX_AXES = 3


def convolution(at: Place) -> None:
    """Conv, of each bottom."""
    p = at.layer.param.convolution_param
    _convolve(at, "Conv", lambda size: windows.convolution(p, size))


def deconvolution(at: Place) -> None:
    """ConvTranspose, of each bottom."""
    p = at.layer.param.convolution_param
    _convolve(at, "ConvTranspose", lambda size: windows.deconvolution(p, size)[0])


def _convolve(at: Place, op: str, laid: object) -> None:
    p = at.layer.param.convolution_param
    assert callable(laid)
    for bottom, top in zip(at.bottoms, at.tops):
        axis = p.axis % len(bottom.shape)
        fit: Windows = laid(bottom.shape[axis + 1 :])
        if len(fit.kernel) > _MAX_AXES:
            raise NoForm(f"has {len(fit.kernel)} spatial axes, ONNX Runtime takes {_MAX_AXES}")
        params = [at.param(i) for i in range(len(at.layer.blobs))]
        inner, outer = _images(at, bottom, axis), axis != 1
        made = at.add(
            op,
            inner,
            *params,
            top=None if outer else top.name,
            kernel_shape=fit.kernel,
            strides=fit.stride,
            pads=(*fit.pad, *fit.pad),
            dilations=fit.dilation,
            group=p.group,
        )
        if outer:
            at.reshape(made, ("?", *top.lengths[axis:]), top.lengths, top=top.name)


def _images(at: Place, bottom: Value, axis: int) -> str:
    """Give the bottom with one axis before its channels."""
    if axis == 1:
        return bottom.name
    return at.reshape(bottom.name, bottom.lengths, ("images", *bottom.lengths[axis:]))


def im2col(at: Place) -> None:
    """Convolve with a kernel for each pixel of the window, each channel by itself."""
    p, bottom, top = at.layer.param.convolution_param, at.bottoms[0], at.tops[0]
    axis = p.axis % len(bottom.shape)
    fit = windows.convolution(p, bottom.shape[axis + 1 :])
    if len(fit.kernel) > _MAX_AXES:
        raise NoForm(f"has {len(fit.kernel)} spatial axes, ONNX Runtime takes {_MAX_AXES}")
    channels, pixels = fixed(bottom.lengths[axis]), math.prod(fit.kernel)
    picks = np.tile(np.eye(pixels, dtype=np.float32), (channels, 1))
    made = at.add(
        "Conv",
        _images(at, bottom, axis),
        at.floats(picks.reshape(channels * pixels, 1, *fit.kernel)),
        top=top.name if axis == 1 else None,
        kernel_shape=fit.kernel,
        strides=fit.stride,
        pads=(*fit.pad, *fit.pad),
        dilations=fit.dilation,
        group=channels,
    )
    if axis != 1:
        at.reshape(made, ("?", *top.lengths[axis:]), top.lengths, top=top.name)


def pooling(at: Place) -> None:
    """MaxPool or AveragePool with Caffe's windows; the mask where it is asked for."""
    p, bottom = at.layer.param.pooling_param, at.bottoms[0]
    if p.global_pooling and len(at.tops) == 1:
        op = "GlobalMaxPool" if p.pool == _MAX else "GlobalAveragePool"
        at.add(op, bottom.name, top=at.tops[0].name)
        return
    fit = windows.pooling(p, bottom.shape[2:])
    over = pools.padded(
        fit, bottom.shape[2:], bottom.lengths[2:], round_up=p.round_mode != windows.FLOOR
    )
    if len(at.tops) == 2:
        _max_and_mask(at, bottom, over)
    elif p.pool == _MAX:
        _max(at, bottom.name, over, at.tops[0].name)
    else:
        _average(at, bottom, fit, over, at.tops[0].name)


def _max(at: Place, x: str, over: pools.Padded, top: str | None) -> str:
    pads = (*over.before, *over.after)
    if not over.fits_nodes:
        x = at.add("Pad", x, at.ints(_on_planes(over)), at.floats(_LOWEST))
        pads = (0, 0, 0, 0)
    return at.add("MaxPool", x, top=top, kernel_shape=over.kernel, strides=over.stride, pads=pads)


def _on_planes(over: pools.Padded) -> list[int]:
    """Give the padding of all four axes, as Pad takes it."""
    return [0, 0, *over.before, 0, 0, *over.after]


def _max_and_mask(at: Place, bottom: Value, over: pools.Padded) -> None:
    """Count places in a plane, as the mask does, not in the whole blob."""
    if not over.fits_nodes:
        raise NoForm("has windows of nothing but padding in its mask; leave its second top out")
    plane = math.prod(fixed(length) for length in bottom.lengths[2:])
    _, places = at.add_many(
        "MaxPool",
        [bottom.name],
        [at.tops[0].name, None],
        kernel_shape=over.kernel,
        strides=over.stride,
        pads=(*over.before, *over.after),
    )
    at.add("Cast", at.add("Mod", places, at.ints(plane)), top=at.tops[1].name, to=1)


def _average(at: Place, x: Value, fit: Windows, over: pools.Padded, top: str | None) -> str:
    hangs = over.overhangs(fit.pad)
    settings: dict[str, Any] = {"kernel_shape": over.kernel, "strides": over.stride}
    if not hangs and over.fits_nodes:
        pads = (*over.before, *over.after)
        return at.add("AveragePool", x.name, top=top, pads=pads, count_include_pad=1, **settings)
    whole = at.add("Pad", x.name, at.ints(_on_planes(over)), at.floats(0))
    mean = at.add("AveragePool", whole, top=None if hangs else top, **settings)
    if not hangs:
        return mean
    if not any(isinstance(length, str) for length in x.lengths[2:]):
        factor = pools.average_factor(fit, x.shape[2:])
        return at.add("Mul", mean, at.floats(factor[None, None]), top=top)
    if any(stride > k for stride, k in zip(over.stride, over.kernel)):
        raise NeedsFixed  # windows may lie behind the image, where Caffe divides by less than 0
    # The mean of ones on image and padding, zeros behind, is how much of a window counts.
    sides = at.add("Slice", at.add("Shape", x.name), at.ints([2]), at.ints([4]))
    sides = at.add("Add", sides, at.ints([2 * q for q in fit.pad]))
    shape = at.add("Concat", at.ints([1, 1]), sides, axis=0)
    ones = at.add("Expand", at.floats(1), shape)
    behind = [after - q for after, q in zip(over.after, fit.pad)]
    ones = at.add("Pad", ones, at.ints([0, 0, 0, 0, 0, 0, *behind]), at.floats(0))
    return at.add("Div", mean, at.add("AveragePool", ones, **settings), top=top)


def spp(at: Place) -> None:
    """Pooling on ever finer grids, each flattened, side by side."""
    bottom, top = at.bottoms[0], at.tops[0]
    size: Shape = tuple(fixed(length) for length in bottom.lengths[2:])
    fits = shape_rules.pyramid(at.layer.param, bottom.shape)
    levels = []
    for fit in fits:
        over = pools.padded(fit, size, size, round_up=True)
        one = top.name if len(fits) == 1 else None
        if at.layer.param.spp_param.pool == _MAX:
            levels.append(_max(at, bottom.name, over, one))
        else:
            levels.append(_average(at, bottom, fit, over, one))
    if len(fits) > 1:
        flat = [at.add("Flatten", level, axis=1) for level in levels]
        at.add("Concat", *flat, top=top.name, axis=1)


def lrn(at: Place) -> None:
    """LRN across channels; within one, a mean of squares over a window."""
    p, bottom, top = at.layer.param.lrn_param, at.bottoms[0], at.tops[0]
    n = p.local_size
    if p.norm_region != _WITHIN_CHANNEL:
        at.add("LRN", bottom.name, top=top.name, size=n, alpha=p.alpha, beta=p.beta, bias=p.k)
        return
    half = n // 2
    mean = at.add(
        "AveragePool",
        at.add("Mul", bottom.name, bottom.name),
        kernel_shape=(n, n),
        pads=(half,) * 4,
        count_include_pad=1,
    )
    divisor = at.add("Add", at.add("Mul", mean, at.floats(p.alpha)), at.floats(1))
    at.add("Mul", bottom.name, at.add("Pow", divisor, at.floats(-p.beta)), top=top.name)


def inner_product(at: Place) -> None:
    """Gemm, of everything from `axis` on."""
    p, bottom, top = at.layer.param.inner_product_param, at.bottoms[0], at.tops[0]
    axis = p.axis % len(bottom.shape)
    is_rows = axis == 1 and len(bottom.shape) == 2
    rows = bottom.name if is_rows else at.add("Flatten", bottom.name, axis=axis)
    params = [at.param(i) for i in range(len(at.layer.blobs))]
    made = at.add(
        "Gemm",
        rows,
        *params,
        top=top.name if axis == 1 else None,
        transB=0 if p.transpose else 1,
    )
    if axis != 1:
        lengths: Lengths = top.lengths
        free = [length for length in lengths if isinstance(length, str)]
        if len(free) > 1:
            raise NeedsFixed
        at.reshape(made, ("?", lengths[-1]), lengths, top=top.name)
