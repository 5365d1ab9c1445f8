"""Settings of layers, drawn at random: what `random_nets` makes nets of.

A function takes hypothesis' `draw` and the shape of the bottom, and returns the text of a layer's
settings. Most of them fit; those that do not are for both Caffes to refuse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Shape = tuple[int, ...]
Draw = Callable[[Any], Any]


def one_of(draw: Draw, values: Sequence[Any]) -> Any:
    return draw(st.sampled_from(values))


def maybe(draw: Draw, *texts: str) -> str:
    """Leave the setting out, in half of the draws, or take one of the texts."""
    return one_of(draw, ("",) * len(texts) + texts)


def axis_in(draw: Draw, shape: Shape, first: int = 0) -> int:
    """An axis, from the front or from the back."""
    axis = draw(st.integers(first, len(shape) - 1))
    return axis - len(shape) if draw(st.booleans()) else axis


def no_settings(draw: Draw, shape: Shape) -> str:
    return ""


def window(draw: Draw, shape: Shape, dilated: bool = True) -> str:
    """Kernel, stride, padding and dilation of a convolution, for all axes or one by one."""
    axes = max(len(shape) - 2, 1)
    text = ""
    for name, least, most in (("kernel", 1, 4), ("stride", 1, 3), ("pad", 0, 2)):
        size = "kernel_size" if name == "kernel" else name
        if name != "kernel" and draw(st.booleans()):
            continue
        form = one_of(draw, ("all", "h and w", "each") if axes == 2 else ("all", "each"))
        values = [draw(st.integers(least, most)) for _ in range(1 if form == "all" else axes)]
        names = [f"{name}_h", f"{name}_w"] if form == "h and w" else [size] * len(values)
        text += "".join(f"{n}: {v} " for n, v in zip(names, values))
    return text + (maybe(draw, "dilation: 2", "dilation: 3") if dilated else "")


def convolution(draw: Draw, shape: Shape) -> str:
    channels = shape[1] if len(shape) > 1 else 1
    group = one_of(draw, [1, 1, *(n for n in (1, 2, 3, 4) if channels % n == 0)])
    outputs = group * draw(st.integers(1, 3))
    bias = maybe(draw, "bias_term: false")
    return (
        f"convolution_param {{ num_output: {outputs} group: {group} {window(draw, shape)} {bias} }}"
    )


def im2col(draw: Draw, shape: Shape) -> str:
    return f"convolution_param {{ {window(draw, shape)} }}"


def pooling(draw: Draw, shape: Shape) -> str:
    pool = one_of(draw, ("MAX", "AVE"))
    if draw(st.integers(0, 5)) == 0:
        return f"pooling_param {{ pool: {pool} global_pooling: true }}"
    text = ""
    for name, least, most in (("kernel", 1, 4), ("stride", 1, 3), ("pad", 0, 2)):
        values = [draw(st.integers(least, most)) for _ in range(2)]
        if draw(st.booleans()):
            text += f"{name}_h: {values[0]} {name}_w: {values[1]} "
        elif name == "kernel" or draw(st.booleans()):
            text += f"{'kernel_size' if name == 'kernel' else name}: {values[0]} "
    rounded = maybe(draw, "round_mode: FLOOR", "round_mode: CEIL")
    return f"pooling_param {{ pool: {pool} {text} {rounded} }}"


def max_pooling(draw: Draw, shape: Shape) -> str:
    return pooling(draw, shape).replace("AVE", "MAX")


def spp(draw: Draw, shape: Shape) -> str:
    height, pool = draw(st.integers(1, 3)), one_of(draw, ("MAX", "AVE"))
    return f"spp_param {{ pyramid_height: {height} pool: {pool} }}"


def inner_product(draw: Draw, shape: Shape) -> str:
    axis = maybe(draw, f"axis: {axis_in(draw, shape)}")
    more = maybe(draw, "transpose: true") + " " + maybe(draw, "bias_term: false")
    return f"inner_product_param {{ num_output: {draw(st.integers(1, 5))} {axis} {more} }}"


def lrn(draw: Draw, shape: Shape) -> str:
    region = maybe(draw, "norm_region: WITHIN_CHANNEL")
    size, alpha = one_of(draw, (1, 3, 5)), one_of(draw, (0.1, 1, 2))
    more = maybe(draw, "beta: 0.5", "beta: 1") + " " + maybe(draw, "k: 2")
    return f"lrn_param {{ local_size: {size} alpha: {alpha} {region} {more} }}"


def batch_norm(draw: Draw, shape: Shape) -> str:
    more = maybe(draw, "use_global_stats: true", "use_global_stats: false")
    more += " " + maybe(draw, "eps: 0.01") + " " + maybe(draw, "moving_average_fraction: 0.5")
    return f"batch_norm_param {{ {more} }}"


def mvn(draw: Draw, shape: Shape) -> str:
    more = maybe(draw, "across_channels: true") + " " + maybe(draw, "normalize_variance: false")
    return f"mvn_param {{ {more} {maybe(draw, 'eps: 0.1')} }}"


def along(kind: str) -> Callable[[Draw, Shape], str]:
    """Settings of Scale and Bias."""

    def settings(draw: Draw, shape: Shape) -> str:
        axis = draw(st.integers(0, len(shape) - 1))
        number = draw(st.integers(-1, len(shape) - axis))
        more = maybe(draw, "bias_term: true") if kind == "scale" else ""
        # Where the parameter has as many numbers as the bottom, real Caffe overwrites the gradient
        # of a Scale instead of adding to it.
        end = len(shape) if number == -1 else axis + number
        if kind == "scale" and math.prod(shape[axis:end]) == math.prod(shape):
            axis, number = 0, 0
            if math.prod(shape) == 1:
                return "scale_param { axis: 9 }"
        given = maybe(draw, "-") and axis == 1 and number == 1
        places = "" if given else f"axis: {axis} num_axes: {number}"
        return f"{kind}_param {{ {places} {more} }}"

    return settings


def prelu(draw: Draw, shape: Shape) -> str:
    return f"prelu_param {{ {maybe(draw, 'channel_shared: true')} }}"


def relu(draw: Draw, shape: Shape) -> str:
    return f"relu_param {{ {maybe(draw, 'negative_slope: 0.5', 'negative_slope: -1')} }}"


def elu(draw: Draw, shape: Shape) -> str:
    return f"elu_param {{ {maybe(draw, 'alpha: 0.5', 'alpha: 2')} }}"


def swish(draw: Draw, shape: Shape) -> str:
    return f"swish_param {{ {maybe(draw, 'beta: 0.5', 'beta: 2')} }}"


def clip(draw: Draw, shape: Shape) -> str:
    return "clip_param { min: -0.5 max: 0.75 }"


def dropout(draw: Draw, shape: Shape) -> str:
    """In a net of phase TRAIN the masks are random: `random_nets` sees to their ratio of 0."""
    return f"dropout_param {{ dropout_ratio: {one_of(draw, (0, 0.5, 0.7))} }}"


def exponential(draw: Draw, shape: Shape) -> str:
    more = maybe(draw, "base: 2", "base: 0.5") + " " + maybe(draw, "shift: -0.5")
    return f"exp_param {{ scale: {one_of(draw, (0.5, -0.5, 1))} {more} }}"


def logarithm(draw: Draw, shape: Shape) -> str:
    """To follow a layer of positive values."""
    return f"log_param {{ shift: 0.25 {maybe(draw, 'base: 2', 'base: 0.5', 'scale: 2')} }}"


def power(draw: Draw, shape: Shape) -> str:
    """With powers of which real Caffe has the gradient at zero, too."""
    p = one_of(draw, (0, 1, 1, 2))
    return f"power_param {{ power: {p} scale: {one_of(draw, (0.5, 1, -2))} shift: 0.5 }}"


def power_of_positive(draw: Draw, shape: Shape) -> str:
    p = one_of(draw, (0.5, -1, 1.5, 3))
    return f"power_param {{ power: {p} scale: {one_of(draw, (0.5, 1))} shift: 0.25 }}"


def whole_power(draw: Draw, shape: Shape) -> str:
    return f"power_param {{ scale: {one_of(draw, (1, -1, 2))} shift: {one_of(draw, (0, 1, -2))} }}"


def threshold(draw: Draw, shape: Shape) -> str:
    return f"threshold_param {{ threshold: {one_of(draw, (0, 1, -0.5))} }}"


def softmax(draw: Draw, shape: Shape) -> str:
    return f"softmax_param {{ {maybe(draw, f'axis: {axis_in(draw, shape)}')} }}"


def flatten(draw: Draw, shape: Shape) -> str:
    first = maybe(draw, f"axis: {axis_in(draw, shape)}")
    return f"flatten_param {{ {first} {maybe(draw, f'end_axis: {axis_in(draw, shape)}')} }}"


def reshape(draw: Draw, shape: Shape) -> str:
    """Dimensions joined, taken apart, or added; now and then one too many."""
    form = draw(st.integers(0, 4))
    if form == 0:
        return "reshape_param { shape { dim: 0 dim: -1 } }"
    if form == 1:
        axis = draw(st.integers(0, len(shape) - 1))
        parts = [n for n in range(1, shape[axis] + 1) if shape[axis] % n == 0]
        return (
            f"reshape_param {{ axis: {axis} num_axes: 1 "
            f"shape {{ dim: {one_of(draw, parts)} dim: -1 }} }}"
        )
    if form == 2:
        axis = draw(st.integers(-len(shape) - 1, len(shape)))
        return f"reshape_param {{ axis: {axis} num_axes: 0 shape {{ dim: 1 }} }}"
    dims = draw(st.permutations([*shape[1:], -1] if form == 3 else shape))
    return f"reshape_param {{ shape {{ {' '.join(f'dim: {n}' for n in dims)} }} }}"


def tile(draw: Draw, shape: Shape) -> str:
    return f"tile_param {{ axis: {axis_in(draw, shape)} tiles: {draw(st.integers(1, 3))} }}"


def argmax(draw: Draw, shape: Shape) -> str:
    more = maybe(draw, "out_max_val: true") + " " + maybe(draw, f"axis: {axis_in(draw, shape)}")
    return f"argmax_param {{ {maybe(draw, 'top_k: 2')} {more} }}"


def reduction(draw: Draw, shape: Shape) -> str:
    operation = one_of(draw, ("SUM", "ASUM", "SUMSQ", "MEAN"))
    return reduction_of(draw, shape, operation)


def whole_reduction(draw: Draw, shape: Shape) -> str:
    return reduction_of(draw, shape, one_of(draw, ("SUM", "ASUM", "SUMSQ")))


def reduction_of(draw: Draw, shape: Shape, operation: str) -> str:
    more = maybe(draw, f"axis: {axis_in(draw, shape)}") + " " + maybe(draw, "coeff: -2")
    return f"reduction_param {{ operation: {operation} {more} }}"


@dataclass(frozen=True)
class Kind:
    """How layers of a type are drawn.

    `exact` types give whole numbers for whole numbers; `reads_top` types look, on their way back,
    at what they gave out; `views` give out the memory of their bottom; `ends` have no gradient.
    `in_place` types may overwrite their bottom. `axes` is how many axes the bottom has.
    """

    settings: Callable[[Draw, Shape], str] = no_settings
    axes: tuple[int, int] = (1, 5)
    type: str = ""
    exact: bool = False
    in_place: bool = False
    reads_top: bool = False
    views: bool = False
    ends: bool = False
    positive: bool = False  # gives positive values
    after_positive: bool = False  # takes positive values only


KINDS: dict[str, Kind] = {
    "AbsVal": Kind(exact=True),
    "ArgMax": Kind(argmax, axes=(2, 4), exact=True, ends=True),
    "BNLL": Kind(positive=True),
    "BatchNorm": Kind(batch_norm, axes=(2, 5), in_place=True),
    "Bias": Kind(along("bias"), exact=True, in_place=True),
    "Clip": Kind(clip),
    "Convolution": Kind(convolution, axes=(3, 5), exact=True),
    "Deconvolution": Kind(convolution, axes=(3, 5), exact=True),
    "Dropout": Kind(dropout, in_place=True),
    "ELU": Kind(elu, in_place=True, reads_top=True),
    "Exp": Kind(exponential, in_place=True, reads_top=True),
    "Flatten": Kind(flatten, exact=True, views=True),
    "Im2col": Kind(im2col, axes=(3, 5), exact=True),
    "InnerProduct": Kind(inner_product, exact=True),
    "LRN": Kind(lrn, axes=(4, 4), reads_top=True),
    "Log": Kind(logarithm, after_positive=True),
    "MVN": Kind(mvn, axes=(1, 4), reads_top=True),
    "MaxPooling": Kind(max_pooling, axes=(4, 4), type="Pooling", exact=True),
    "PReLU": Kind(prelu, axes=(2, 5), exact=True, in_place=True),
    "Pooling": Kind(pooling, axes=(4, 4)),
    "Power": Kind(power, reads_top=True),
    "PowerOfPositive": Kind(power_of_positive, type="Power", reads_top=True, after_positive=True),
    "ReLU": Kind(relu, exact=True, in_place=True),
    "Reduction": Kind(reduction),
    "Reshape": Kind(reshape, exact=True, views=True),
    "SPP": Kind(spp, axes=(4, 4)),
    "Scale": Kind(along("scale"), exact=True, in_place=True),
    "Sigmoid": Kind(in_place=True, reads_top=True, positive=True),
    "Softmax": Kind(softmax, in_place=True, reads_top=True, positive=True),
    "Swish": Kind(swish, reads_top=True),
    "TanH": Kind(in_place=True, reads_top=True),
    "Threshold": Kind(threshold, exact=True, ends=True),
    "Tile": Kind(tile, exact=True),
    "WholePower": Kind(whole_power, type="Power", exact=True, reads_top=True),
    "WholeReduction": Kind(whole_reduction, type="Reduction", exact=True),
}
