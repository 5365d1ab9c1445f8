"""The windows of convolution and pooling: their size, stride and padding, and how many fit."""

from __future__ import annotations

from dataclasses import dataclass

from lbpmap.caffe.blob import Shape
from lbpmap.caffe.formats.messages import MESSAGES, Message

_PoolingParameter = MESSAGES["PoolingParameter"]
FLOOR: int = _PoolingParameter.FLOOR


@dataclass(frozen=True)
class Windows:
    """Windows over the spatial axes of a blob, one number an axis."""

    kernel: Shape
    stride: Shape
    pad: Shape
    dilation: Shape
    out: Shape  # how many windows fit

    @property
    def is_pointwise(self) -> bool:
        """Whether every window is one pixel, and every pixel a window."""
        ones = (1,) * len(self.kernel)
        return self.kernel == self.stride == ones and not any(self.pad)


def convolution(p: Message, size: Shape) -> Windows:
    """Lay the windows of a ConvolutionParameter over spatial axes of `size`.

    Raises
    ------
    ValueError
        When a number is missing or zero, given twice, or no window fits.
    """
    kernel, stride, pad, dilation, extent = _geometry(p, len(size))
    out = tuple((n + 2 * q - e) // s + 1 for n, q, e, s in zip(size, pad, extent, stride))
    if any(n + 2 * q < e for n, q, e in zip(size, pad, extent)):
        raise ValueError(
            f"kernel of {_times(extent)} is larger than the padded input of "
            f"{_times(tuple(n + 2 * q for n, q in zip(size, pad)))}"
        )
    return Windows(kernel, stride, pad, dilation, out)


def deconvolution(p: Message, size: Shape) -> tuple[Windows, Shape]:
    """Lay the windows of a ConvolutionParameter so that there is one for each pixel of `size`.

    Returns
    -------
    windows : Windows
        `out` is `size`.
    covered : tuple of int
        Spatial axes of the output, which the windows cover, padding left out.

    Raises
    ------
    ValueError
        When a number is missing or zero, given twice, or nothing is left within the padding.
    """
    kernel, stride, pad, dilation, extent = _geometry(p, len(size))
    covered = tuple(s * (n - 1) + e - 2 * q for n, s, e, q in zip(size, stride, extent, pad))
    if min(covered) < 1:
        raise ValueError(
            f"pad of {_times(pad)} leaves nothing of an output of "
            f"{_times(tuple(n + 2 * q for n, q in zip(covered, pad)))}"
        )
    return Windows(kernel, stride, pad, dilation, size), covered


def _geometry(p: Message, axes: int) -> tuple[Shape, Shape, Shape, Shape, Shape]:
    """Read kernel, stride, pad and dilation, and how far a dilated kernel reaches."""
    kernel = _per_axis(p, "kernel", p.kernel_size, axes, None)
    stride = _per_axis(p, "stride", p.stride, axes, 1)
    pad = _per_axis(p, "pad", p.pad, axes, 0)
    dilation = _repeat("dilation", list(p.dilation), axes, 1)
    for name, values in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
        _positive(name, values)
    extent = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel))
    return kernel, stride, pad, dilation, extent


def pooling(p: Message, size: Shape) -> Windows:
    """Lay the windows of a PoolingParameter over (height, width).

    The number of windows is rounded up, and the last is dropped where it would start in the padding
    behind the input; if either pad is not zero, this is done for both axes.

    Raises
    ------
    ValueError
        When a number is missing or zero, given twice, or the padding is as large as the kernel.
    """
    if p.global_pooling:
        if any(p.HasField(name) for name in ("kernel_size", "kernel_h", "kernel_w")):
            raise ValueError("global_pooling takes no kernel size")
        kernel = size
    else:
        kernel = _single(p, "kernel", "kernel_size", 0)
    stride, pad = _single(p, "stride", "stride", 1), _single(p, "pad", "pad", 0)
    _positive("kernel_size", kernel)
    _positive("stride", stride)
    if p.global_pooling and (pad != (0, 0) or stride != (1, 1)):
        raise ValueError("global_pooling takes no pad and no stride but 1")
    if any(q >= k for q, k in zip(pad, kernel)):
        raise ValueError(
            f"pad of {_times(pad)} must be smaller than the kernel of {_times(kernel)}"
        )
    return pooling_windows(size, kernel, stride, pad, round_up=p.round_mode != FLOOR)


def pooling_windows(
    size: Shape, kernel: Shape, stride: Shape, pad: Shape, *, round_up: bool
) -> Windows:
    """Count the pooling windows that fit on `size`; see `pooling`."""
    out = []
    for n, k, s, q in zip(size, kernel, stride, pad):
        span = n + 2 * q - k
        if (span < 0 and not round_up) or span <= -s:
            raise ValueError(
                f"kernel of {_times(kernel)} is larger than the padded input of "
                f"{_times(tuple(m + 2 * r for m, r in zip(size, pad)))}"
            )
        fit = (-(-span // s) if round_up else span // s) + 1
        if any(pad) and (fit - 1) * s >= n + q:
            fit -= 1
        out.append(fit)
    return Windows(kernel, stride, pad, (1,) * len(size), tuple(out))


def _per_axis(p: Message, name: str, values: list[int], axes: int, default: int | None) -> Shape:
    """Read a repeated number, or its `_h` and `_w` forms, which fit two axes only."""
    high, wide = f"{name}_h", f"{name}_w"
    if p.HasField(high) or p.HasField(wide):
        if len(values):
            raise ValueError(f"{name} is given together with {high} or {wide}; use one")
        if axes != 2:
            raise ValueError(f"{high} and {wide} need two spatial axes, the input has {axes}")
        return (getattr(p, high), getattr(p, wide))
    return _repeat("kernel_size" if name == "kernel" else name, list(values), axes, default)


def _repeat(name: str, values: list[int], axes: int, default: int | None) -> Shape:
    if not values and default is None:
        raise ValueError(f"{name} is missing")
    if len(values) not in (0, 1, axes):
        raise ValueError(f"{name} is given {len(values)} times, for {axes} spatial axes")
    return tuple(values) if len(values) == axes else tuple(values or [default or 0]) * axes


def _single(p: Message, name: str, square: str, default: int) -> Shape:
    """Read a number of PoolingParameter, or its `_h` and `_w` forms."""
    high, wide = f"{name}_h", f"{name}_w"
    if p.HasField(high) != p.HasField(wide):
        raise ValueError(f"{high} and {wide} must be given together")
    if p.HasField(high):
        if p.HasField(square):
            raise ValueError(f"{square} is given together with {high} and {wide}; use one")
        return (getattr(p, high), getattr(p, wide))
    if name == "kernel" and not p.HasField(square):
        raise ValueError(f"{square} is missing")
    value = getattr(p, square) if p.HasField(square) else default
    return (value, value)


def _positive(name: str, values: Shape) -> None:
    if min(values) < 1:
        raise ValueError(f"{name} is {_times(values)}, it must be at least 1")


def _times(values: Shape) -> str:
    return " x ".join(map(str, values))
