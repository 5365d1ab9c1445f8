"""Shape rules of layers that compute: windows, products, units; `shapes` has the table.

Each function takes the layer's settings and the shapes of its bottoms, and raises ValueError where
Caffe would abort. Sizes are Python integers, so that no product overflows.
"""

from __future__ import annotations

import math

from lbpmap.caffe.blob import Shape
from lbpmap.caffe.formats.messages import MESSAGES, Message
from lbpmap.caffe.layers import windows
from lbpmap.caffe.layers.plan import Param, Plan, axis_of, constant

# A blob's elements are counted in 32 bits in Caffe.
MAX_COUNT = 2**31 - 1


def same(layer: Message, bottoms: list[Shape]) -> Plan:
    """One top of the shape of the (first) bottom."""
    return Plan((bottoms[0],))


def copies(layer: Message, bottoms: list[Shape]) -> Plan:
    """Every top has the shape of the bottom."""
    return Plan((bottoms[0],) * len(layer.top))


def none(layer: Message, bottoms: list[Shape]) -> Plan:
    """No tops."""
    return Plan(())


def input_(layer: Message, bottoms: list[Shape]) -> Plan:
    """Take the shapes that `input_param` gives, one for all or one a top."""
    shapes = [tuple(shape.dim) for shape in layer.input_param.shape]
    if len(shapes) not in (1, len(layer.top)):
        raise ValueError(f"has {len(layer.top)} tops but {len(shapes)} shapes; give one each")
    for shape in shapes:
        if min(shape, default=0) < 0:
            raise ValueError(f"shape {shape} has a negative dimension")
    return Plan(tuple(shapes if len(shapes) == len(layer.top) else shapes * len(layer.top)))


def _outputs(p: Message) -> int:
    if p.num_output < 1:
        raise ValueError("num_output must be at least 1")
    return int(p.num_output)


def _weights(p: Message, shape: Shape, outputs: int) -> tuple[Param, ...]:
    weight = Param(shape, p.weight_filler)
    return (weight, Param((outputs,), p.bias_filler)) if p.bias_term else (weight,)


def _split_at_channels(p: Message, bottom: Shape) -> tuple[Shape, int, Shape]:
    """Return what stands before the channels, the channels, and the spatial axes."""
    axis = axis_of(bottom, p.axis)
    if axis + 1 == len(bottom):
        raise ValueError(f"the input of shape {bottom} has no axes behind its channels")
    return bottom[:axis], bottom[axis], bottom[axis + 1 :]


def convolution(layer: Message, bottoms: list[Shape]) -> Plan:
    """Windows of every bottom; weights (outputs, channels / group, kernel)."""
    p = layer.convolution_param
    outer, channels, size = _split_at_channels(p, bottoms[0])
    outputs = _grouped(p, channels, bottoms)
    _one_top_each(layer, bottoms)
    fit = windows.convolution(p, size)
    _check_columns(channels, size, fit)
    weight = (outputs, channels // p.group, *fit.kernel)
    return Plan(((*outer, outputs, *fit.out),) * len(bottoms), _weights(p, weight, outputs))


def _check_columns(channels: int, size: Shape, fit: windows.Windows) -> None:
    """Refuse windows whose columns, or padding whose pixels, are more than a blob may hold."""
    if channels * math.prod(fit.kernel) * math.prod(fit.out) > MAX_COUNT:
        raise ValueError(
            f"{math.prod(fit.out)} windows of {channels} x {math.prod(fit.kernel)} are too many "
            f"(2^31 - 1 elements in all)"
        )
    padded = tuple(n + 2 * q for n, q in zip(size, fit.pad))
    if channels * math.prod(padded) > MAX_COUNT:
        raise ValueError(
            f"the padded input of {channels} x {padded} has more than 2^31 - 1 elements"
        )


def deconvolution(layer: Message, bottoms: list[Shape]) -> Plan:
    """Windows of every top; weights (channels, outputs / group, kernel), as of a Convolution back.

    An axis of n becomes s (n - 1) + d (k - 1) + 1 - 2 p.
    """
    p = layer.convolution_param
    outer, channels, size = _split_at_channels(p, bottoms[0])
    outputs = _grouped(p, channels, bottoms)
    _one_top_each(layer, bottoms)
    if min(size) < 1:
        raise ValueError(f"the input of shape {bottoms[0]} has no pixels")
    fit, covered = windows.deconvolution(p, size)
    _check_columns(outputs, covered, fit)
    weight = (channels, outputs // p.group, *fit.kernel)
    return Plan(((*outer, outputs, *covered),) * len(bottoms), _weights(p, weight, outputs))


def _grouped(p: Message, channels: int, bottoms: list[Shape]) -> int:
    """Return the output channels, which, as the input's, `group` must divide."""
    outputs = _outputs(p)
    if p.group < 1 or channels % p.group or outputs % p.group:
        raise ValueError(
            f"group {p.group} does not divide {channels} input and {outputs} output channels"
        )
    if channels == 0:
        raise ValueError(f"the input of shape {bottoms[0]} has no channels")
    return outputs


def _one_top_each(layer: Message, bottoms: list[Shape]) -> None:
    if any(shape != bottoms[0] for shape in bottoms) or len(layer.top) != len(bottoms):
        raise ValueError("several bottoms must be of one shape, and have a top each")


def im2col(layer: Message, bottoms: list[Shape]) -> Plan:
    """Make a channel for every pixel of the window."""
    outer, channels, size = _split_at_channels(layer.convolution_param, bottoms[0])
    fit = windows.convolution(layer.convolution_param, size)
    _check_columns(channels, size, fit)
    return Plan(((*outer, channels * math.prod(fit.kernel), *fit.out),))


def image(bottom: Shape) -> Shape:
    """Return (height, width) of a blob that must have four axes."""
    if len(bottom) != 4:
        raise ValueError(f"the input must have four axes (N, C, H, W), got shape {bottom}")
    return bottom[2:]


def pooling(layer: Message, bottoms: list[Shape]) -> Plan:
    """One pixel a window; the mask, if it is asked for, likewise."""
    p = layer.pooling_param
    if p.pool == MESSAGES["PoolingParameter"].STOCHASTIC:
        raise ValueError("pool: STOCHASTIC is not supported; Caffe has it on the GPU only")
    if len(layer.top) == 2 and p.pool != MESSAGES["PoolingParameter"].MAX:
        raise ValueError("only pool: MAX has a mask as its second top")
    shape = bottoms[0][:2] + windows.pooling(p, image(bottoms[0])).out
    return Plan((shape,) * len(layer.top))


def pyramid(layer: Message, bottom: Shape) -> list[windows.Windows]:
    """Return the pooling windows of an SPP layer, coarsest level first."""
    size = image(bottom)
    height = layer.spp_param.pyramid_height
    if not 1 <= height <= 16:
        raise ValueError(f"pyramid_height is {height}, it must be from 1 to 16")
    levels = []
    for level in range(height):
        kernel = tuple(-(-n // 2**level) for n in size)
        pad = tuple((k * 2**level - n + 1) // 2 for k, n in zip(kernel, size))
        if any(q >= k for q, k in zip(pad, kernel)):
            raise ValueError(f"pyramid_height {height} is too much for an input of shape {bottom}")
        levels.append(windows.pooling_windows(size, kernel, kernel, pad, round_up=True))
    return levels


def spp(layer: Message, bottoms: list[Shape]) -> Plan:
    """Put the windows of all levels side by side."""
    if layer.spp_param.pool == MESSAGES["SPPParameter"].STOCHASTIC:
        raise ValueError("pool: STOCHASTIC is not supported; Caffe has it on the GPU only")
    levels = pyramid(layer, bottoms[0])
    num, channels = bottoms[0][:2]
    if len(levels) == 1:
        return Plan(((num, channels, *levels[0].out),))
    return Plan(((num, channels * sum(math.prod(level.out) for level in levels)),))


def lrn(layer: Message, bottoms: list[Shape]) -> Plan:
    """Keep the shape of the bottom, which must be an image."""
    p = layer.lrn_param
    if p.local_size % 2 == 0:
        raise ValueError(f"local_size is {p.local_size}, it must be odd")
    image(bottoms[0])
    return Plan((bottoms[0],))


def inner_product(layer: Message, bottoms: list[Shape]) -> Plan:
    """Everything from `axis` on becomes `num_output`."""
    p = layer.inner_product_param
    axis = axis_of(bottoms[0], p.axis)
    inputs, outputs = math.prod(bottoms[0][axis:]), _outputs(p)
    shape = (inputs, outputs) if p.transpose else (outputs, inputs)
    return Plan(((*bottoms[0][:axis], outputs),), _weights(p, shape, outputs))


def prelu(layer: Message, bottoms: list[Shape]) -> Plan:
    """Keep the shape of the bottom; a slope a channel, or one."""
    p = layer.prelu_param
    if not 2 <= len(bottoms[0]) <= 4:
        raise ValueError(f"the input must have channels and at most 4 axes, got {bottoms[0]}")
    filler = p.filler if p.HasField("filler") else constant(0.25)
    return Plan((bottoms[0],), (Param(() if p.channel_shared else bottoms[0][1:2], filler),))


def exponential(layer: Message, bottoms: list[Shape]) -> Plan:
    """Keep the shape of the bottom; a base is positive, or -1 for e."""
    p = layer.exp_param if layer.type == "Exp" else layer.log_param
    if (p.base != -1 and not p.base > 0) or (layer.type == "Log" and p.base == 1):
        raise ValueError(f"base is {p.base:g}, it must be positive, or -1 for e; 1 has no Log")
    return Plan((bottoms[0],))


def softmax(layer: Message, bottoms: list[Shape]) -> Plan:
    """Keep the shape of the bottom, which must have the axis."""
    axis_of(bottoms[0], layer.softmax_param.axis)
    return Plan((bottoms[0],))


def dropout(layer: Message, bottoms: list[Shape]) -> Plan:
    """Keep the shape of the bottom."""
    ratio = layer.dropout_param.dropout_ratio
    if not 0 <= ratio < 1:
        raise ValueError(f"dropout_ratio is {ratio:g}, it must be from 0 to below 1")
    return Plan((bottoms[0],))


def eltwise(layer: Message, bottoms: list[Shape]) -> Plan:
    """Keep the one shape that all bottoms must have."""
    p = layer.eltwise_param
    if any(shape != bottoms[0] for shape in bottoms):
        raise ValueError(f"inputs must be of one shape, got {', '.join(map(str, bottoms))}")
    if len(p.coeff) not in (0, len(bottoms)):
        raise ValueError(f"{len(p.coeff)} coeff for {len(bottoms)} bottoms; give one each or none")
    if len(p.coeff) and p.operation != MESSAGES["EltwiseParameter"].SUM:
        raise ValueError("coeff goes with operation: SUM only")
    return Plan((bottoms[0],))


def _along_axes(p: Message, bottoms: list[Shape]) -> Shape:
    """Shape of what Scale and Bias apply: the second bottom's, or `num_axes` from `axis` on."""
    axis = axis_of(bottoms[0], p.axis)
    if len(bottoms) == 2:
        shape = bottoms[1]
        if bottoms[0][axis : axis + len(shape)] != shape:
            raise ValueError(f"second input of shape {shape} does not fit {bottoms[0]} at {axis}")
        return shape
    end = len(bottoms[0]) if p.num_axes == -1 else axis + p.num_axes
    if p.num_axes < -1 or end > len(bottoms[0]):
        raise ValueError(f"num_axes {p.num_axes} is too many for an input of shape {bottoms[0]}")
    return bottoms[0][axis:end]


def scale(layer: Message, bottoms: list[Shape]) -> Plan:
    """Keep the shape of the bottom; a factor and a bias along some axes."""
    p = layer.scale_param
    shape = _along_axes(p, bottoms)
    params: tuple[Param, ...] = ()
    if len(bottoms) == 1:
        params += (Param(shape, p.filler if p.HasField("filler") else constant(1)),)
    if p.bias_term:
        params += (Param(shape, p.bias_filler),)
    return Plan((bottoms[0],), params)


def bias(layer: Message, bottoms: list[Shape]) -> Plan:
    """Keep the shape of the bottom; a term along some axes."""
    shape = _along_axes(layer.bias_param, bottoms)
    params = (Param(shape, layer.bias_param.filler),) if len(bottoms) == 1 else ()
    return Plan((bottoms[0],), params)


def mvn(layer: Message, bottoms: list[Shape]) -> Plan:
    """Give the top four axes, as Caffe does: those that the bottom lacks have a length of 1."""
    shape = bottoms[0]
    if len(shape) > 4:
        raise ValueError(f"the input must have at most four axes, got shape {shape}")
    return Plan(((*shape, *(1,) * (4 - len(shape))),))


def batch_norm(layer: Message, bottoms: list[Shape]) -> Plan:
    """Keep the shape of the bottom; sums of mean and variance a channel, and their weight."""
    channels = bottoms[0][1:2]
    if not channels:
        raise ValueError(f"the input must have channels, got shape {bottoms[0]}")
    zero = constant(0)
    return Plan((bottoms[0],), (Param(channels, zero), Param(channels, zero), Param((1,), zero)))
