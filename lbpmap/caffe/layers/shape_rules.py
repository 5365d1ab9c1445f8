"""What each layer type makes of the shapes of its bottoms; `shapes` is the table of them.

Each function takes the layer's settings and the shapes of its bottoms, and raises ValueError where
Caffe would abort. Sizes are Python integers, so that no product overflows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    outputs = _outputs(p)
    if p.group < 1 or channels % p.group or outputs % p.group:
        raise ValueError(
            f"group {p.group} does not divide {channels} input and {outputs} output channels"
        )
    if channels == 0:
        raise ValueError(f"the input of shape {bottoms[0]} has no channels")
    if any(shape != bottoms[0] for shape in bottoms) or len(layer.top) != len(bottoms):
        raise ValueError("several bottoms must be of one shape, and have a top each")
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
    if len(bottoms[0]) < 2:
        raise ValueError(f"the input must have channels, got shape {bottoms[0]}")
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
    if not 0 < ratio < 1:
        raise ValueError(f"dropout_ratio is {ratio:g}, it must lie between 0 and 1")
    return Plan((bottoms[0],))


def concat_axis(layer: Message, bottom: Shape) -> int:
    """Return the axis along which a Concat layer joins."""
    p = layer.concat_param
    old = p.HasField("concat_dim")
    return axis_of(bottom, p.concat_dim if old else p.axis, "concat_dim" if old else "axis")


def concat(layer: Message, bottoms: list[Shape]) -> Plan:
    """Lengths along one axis added up."""
    axis = concat_axis(layer, bottoms[0])
    for shape in bottoms[1:]:
        if len(shape) != len(bottoms[0]) or any(
            a != b for i, (a, b) in enumerate(zip(shape, bottoms[0])) if i != axis
        ):
            raise ValueError(f"inputs of shapes {bottoms[0]} and {shape} differ beside axis {axis}")
    total = sum(shape[axis] for shape in bottoms)
    return Plan(((*bottoms[0][:axis], total, *bottoms[0][axis + 1 :]),))


def slices(layer: Message, bottom: Shape) -> tuple[int, list[int]]:
    """Return the axis that a Slice layer cuts, and where each top begins, with the end."""
    p = layer.slice_param
    old = p.HasField("slice_dim")
    axis = axis_of(bottom, p.slice_dim if old else p.axis, "slice_dim" if old else "axis")
    tops, length = len(layer.top), bottom[axis]
    points = list(p.slice_point)
    if not points:
        if length % tops:
            raise ValueError(f"{tops} tops do not divide {length}; give slice_point")
        points = [length // tops * i for i in range(1, tops)]
    bounds = [0, *points, length]
    if len(points) != tops - 1 or any(a >= b for a, b in zip(bounds, bounds[1:])):
        raise ValueError(
            f"slice_point {points} must be {tops - 1} rising number(s) between 0 and {length}"
        )
    return axis, bounds


def slice_(layer: Message, bottoms: list[Shape]) -> Plan:
    """Parts of one axis."""
    axis, bounds = slices(layer, bottoms[0])
    head, tail = bottoms[0][:axis], bottoms[0][axis + 1 :]
    return Plan(tuple((*head, b - a, *tail) for a, b in zip(bounds, bounds[1:])))


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


def flatten(layer: Message, bottoms: list[Shape]) -> Plan:
    """Axes from `axis` to `end_axis` as one."""
    p = layer.flatten_param
    first, last = axis_of(bottoms[0], p.axis), axis_of(bottoms[0], p.end_axis, "end_axis")
    if first > last + 1:
        raise ValueError(f"axis {p.axis} lies behind end_axis {p.end_axis}")
    middle = math.prod(bottoms[0][first : last + 1])
    return Plan(((*bottoms[0][:first], middle, *bottoms[0][last + 1 :]),))


def reshape(layer: Message, bottoms: list[Shape]) -> Plan:
    """Dimensions as given: 0 copies one, -1 takes what is left."""
    p, shape = layer.reshape_param, bottoms[0]
    first = p.axis if p.axis >= 0 else len(shape) + p.axis + 1
    last = len(shape) if p.num_axes == -1 else first + p.num_axes
    if not 0 <= first <= last <= len(shape) or p.num_axes < -1:
        raise ValueError(f"axis {p.axis}, num_axes {p.num_axes} do not fit the input {shape}")
    old, dims = shape[first:last], list(p.shape.dim)
    if dims.count(-1) > 1 or min(dims, default=0) < -1:
        raise ValueError(f"shape {dims} may hold -1 once, and nothing below")
    if any(dim == 0 and i >= len(old) for i, dim in enumerate(dims)):
        raise ValueError(f"shape {dims} copies a dimension that the input {shape} lacks")
    dims = [old[i] if dim == 0 else dim for i, dim in enumerate(dims)]
    if -1 in dims:
        known = math.prod(dim for dim in dims if dim != -1)
        dims[dims.index(-1)] = math.prod(old) // known if known else 0
    if math.prod(dims) != math.prod(old):
        raise ValueError(f"an input of shape {shape} cannot take shape {list(p.shape.dim)}")
    return Plan(((*shape[:first], *dims, *shape[last:]),))


def crop_offsets(layer: Message, bottoms: Sequence[Shape]) -> list[int]:
    """Return where a Crop layer starts, axis by axis."""
    data, reference = bottoms
    p = layer.crop_param
    axis = axis_of(data, p.axis)
    if len(data) != len(reference):
        raise ValueError(f"inputs of shapes {data} and {reference} have not as many axes")
    if len(p.offset) not in (0, 1, len(data) - axis):
        raise ValueError(f"{len(p.offset)} offsets for {len(data) - axis} axes")
    given = list(p.offset) or [0]
    offsets = [0] * axis + (given * (len(data) - axis) if len(given) == 1 else given)
    for i in range(axis, len(data)):
        if offsets[i] + reference[i] > data[i]:
            raise ValueError(
                f"offset {offsets[i]} + {reference[i]} is beyond {data[i]} on axis {i}"
            )
    return offsets


def crop(layer: Message, bottoms: list[Shape]) -> Plan:
    """Cut the first bottom to the second's size, from `axis` on."""
    axis = axis_of(bottoms[0], layer.crop_param.axis)
    crop_offsets(layer, bottoms)
    return Plan((bottoms[0][:axis] + bottoms[1][axis:],))


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


def batch_norm(layer: Message, bottoms: list[Shape]) -> Plan:
    """Keep the shape of the bottom; sums of mean and variance a channel, and their weight."""
    channels = bottoms[0][1:2] or (1,)
    zero = constant(0)
    return Plan((bottoms[0],), (Param(channels, zero), Param(channels, zero), Param((1,), zero)))


def argmax(layer: Message, bottoms: list[Shape]) -> Plan:
    """`top_k` places, values, or both."""
    p, shape = layer.argmax_param, bottoms[0]
    if p.HasField("axis"):
        axis = axis_of(shape, p.axis)
        length, top = shape[axis], (*shape[:axis], p.top_k, *shape[axis + 1 :])
    else:
        length = math.prod(shape[1:])
        top = (shape[0], 2 if p.out_max_val else 1, p.top_k) + (1,) * (len(shape) - 3)
    if not 1 <= p.top_k <= length:
        raise ValueError(f"top_k is {p.top_k}, it must be from 1 to {length}")
    return Plan((top,))


def _labelled(bottoms: list[Shape], axis: int) -> int:
    """Check that there is one label for every prediction along `axis`, which is returned."""
    axis = axis_of(bottoms[0], axis)
    labels = math.prod(bottoms[0][:axis]) * math.prod(bottoms[0][axis + 1 :])
    if math.prod(bottoms[1]) != labels:
        raise ValueError(f"{labels} labels are needed, the second input has shape {bottoms[1]}")
    return axis


def accuracy(layer: Message, bottoms: list[Shape]) -> Plan:
    """Make a number, and one a class."""
    axis = _labelled(bottoms, layer.accuracy_param.axis)
    classes = bottoms[0][axis]
    if layer.accuracy_param.top_k > classes:
        raise ValueError(f"top_k is {layer.accuracy_param.top_k}, there are {classes} classes")
    return Plan(((), (classes,))[: len(layer.top)])


def softmax_loss(layer: Message, bottoms: list[Shape]) -> Plan:
    """Make a number, and the probabilities."""
    _labelled(bottoms, layer.softmax_param.axis)
    return Plan(((), bottoms[0])[: len(layer.top)])


def loss_of_labels(layer: Message, bottoms: list[Shape]) -> Plan:
    """Make a number, from one label a row."""
    _labelled([(bottoms[0][0], math.prod(bottoms[0][1:])), bottoms[1]], 1)
    return Plan(((),))


def loss_of_targets(layer: Message, bottoms: list[Shape]) -> Plan:
    """Make a number, from as many targets as predictions."""
    if math.prod(bottoms[0]) != math.prod(bottoms[1]):
        raise ValueError(
            f"inputs of shapes {bottoms[0]} and {bottoms[1]} have not as many elements"
        )
    return Plan(((),))
