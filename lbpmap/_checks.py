"""What may pass to the C core: pictures in, outputs out. Python checks, C trusts.

Every message names the function, says what it got and how to mend it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from lbpmap._arrays import U8, Array

Image = Union[U8, Sequence[U8]]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Pictures:
    """The pictures of one call, each (H, W) or (H, W, 3) uint8, pixels next to each other."""

    items: list[U8]
    sizes: list[Shape]  # (H, W) of each; of a batch the one that all share
    form: str  # "one", "batch" (equal sizes, one array) or "list"


def pictures(image: Image, function: str) -> Pictures:
    """Take one picture, a batch or a list of pictures apart."""
    if isinstance(image, (list, tuple)):
        items = [_picture(item, function, f"picture {i}") for i, item in enumerate(image)]
        return Pictures(items, [item.shape[:2] for item in items], "list")
    array = _array(image, function, "image")
    if array.ndim == 3 and array.shape[2] in (1, 4):
        _refuse_channels(array, function, "image")
    colour = array.ndim > 2 and array.shape[-1] == 3
    if array.ndim == (4 if colour else 3):
        return Pictures([_unit_stride(item) for item in array], [array.shape[1:3]], "batch")
    return Pictures([_picture(array, function, "image")], [array.shape[:2]], "one")


def _array(image: Any, function: str, what: str) -> U8:
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"{function}: {what} must be a uint8 array, got {type(image).__name__}; "
            f"np.asarray(...) makes one of a picture object, lbpmap.pictures.read of a file"
        )
    if image.dtype != np.uint8:
        raise TypeError(
            f"{function}: {what} must be uint8 (0 to 255), got {image.dtype}; "
            f"convert it first, e.g. np.rint(255 * x).astype(np.uint8) for values 0 to 1"
        )
    return image


def _picture(image: Any, function: str, what: str) -> U8:
    array = _array(image, function, what)
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3):
        if array.size == 0:
            raise ValueError(f"{function}: {what} is empty, shape {array.shape}")
        return _unit_stride(array)
    if array.ndim == 3:
        _refuse_channels(array, function, what)
    raise ValueError(
        f"{function}: {what} must be (H, W) grey or (H, W, 3) RGB, or a batch of these, "
        f"got shape {array.shape}"
    )


def _refuse_channels(array: U8, function: str, what: str) -> None:
    mend = {1: "use image[..., 0]", 4: "drop the alpha channel with image[..., :3]"}
    raise ValueError(
        f"{function}: {what} has shape {array.shape}, expected (H, W) grey or (H, W, 3) RGB; "
        + mend.get(array.shape[2], "a batch of grey pictures is an (N, H, W) array, not a list")
    )


def _unit_stride(array: U8) -> U8:
    """Give `array` with the pixels of a row next to each other; a copy only where they are not."""
    within = array.strides[-1:] if array.ndim == 2 else array.strides[-2:]
    return array if within == (1, 3)[: array.ndim - 1][::-1] else np.ascontiguousarray(array)


def interior(radius: int, function: str, *channels: int) -> Callable[[Shape, str], Shape]:
    """Give the rule from a picture's size to the shape of its codes, or of their colours."""

    def shape(size: Shape, which: str) -> Shape:
        height, width = size
        if min(height, width) <= 2 * radius:
            raise ValueError(
                f"{function}: {which} is {height} x {width} (H x W), but radius {radius} needs at "
                f"least {2 * radius + 1} x {2 * radius + 1}"
            )
        return (height - 2 * radius, width - 2 * radius, *channels)

    return shape


def output(
    out: Any,
    shape: Shape,
    dtype: type,
    inputs: Sequence[Array],
    function: str,
    *,
    packed: int = 1,
) -> Array:
    """Allocate an output, or check the one given: its last `packed` axes without gaps."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(
            f"{function}: out must be an array, {np.dtype(dtype)} {shape}, got {type(out).__name__}"
        )
    if out.dtype != dtype or out.shape != shape:
        raise ValueError(
            f"{function}: out must be {np.dtype(dtype)} {shape}, got {out.dtype} {out.shape}"
        )
    if not out.flags.writeable:
        raise ValueError(f"{function}: out is read-only; give an array that can be written")
    if not out.flags.aligned:
        raise ValueError(
            f"{function}: out must lie at multiples of {out.itemsize} bytes; a field of packed "
            f"records may not"
        )
    wanted_strides: Shape = (out.itemsize,)
    for length in shape[:-packed:-1]:
        wanted_strides = (wanted_strides[0] * length, *wanted_strides)
    if out.size and out.strides[-packed:] != wanted_strides:
        raise ValueError(
            f"{function}: the pixels of a row of out must follow each other: strides end in "
            f"{out.strides[-packed:]} bytes, expected {wanted_strides}"
        )
    if any(np.shares_memory(out, array) for array in inputs):
        raise ValueError(f"{function}: out overlaps the input; give memory of its own")
    return out


def outputs(
    out: Any,
    source: Pictures,
    shape: Callable[[Shape, str], Shape],
    dtype: type,
    function: str,
    *,
    packed: int = 1,
) -> tuple[Any, list[Array]]:
    """Give the result of a call, shaped like its input, and a view of it for each picture.

    `shape` turns a picture's size, and how to call that picture, into the shape of its output.
    """
    if source.form == "one":
        size = shape(source.sizes[0], "the picture")
        result = output(out, size, dtype, source.items, function, packed=packed)
        return result, [result]
    if source.form == "batch":
        size = (len(source.items), *shape(source.sizes[0], "each picture"))
        result = output(out, size, dtype, source.items, function, packed=packed)
        return result, list(result)
    if out is not None and (not isinstance(out, (list, tuple)) or len(out) != len(source.items)):
        raise ValueError(
            f"{function}: out must be a list of {len(source.items)} arrays, one a picture"
        )
    targets = [
        output(target, shape(size, f"picture {i}"), dtype, source.items, function, packed=packed)
        for i, (target, size) in enumerate(zip(out or [None] * len(source.items), source.sizes))
    ]
    return targets, targets


def positive(value: Any, argument: str, function: str) -> int:
    """Check a positive integer argument."""
    if type(value) is int and value > 0:
        return value
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(
            f"{function}: {argument} must be a positive integer, got {type(value).__name__} "
            f"{value!r}"
        )
    if value < 1:
        raise ValueError(f"{function}: {argument} must be a positive integer, got {value}")
    return int(value)


def one_of(value: Any, choices: Sequence[Any], argument: str, function: str) -> None:
    """Check an argument that has a few values."""
    if value not in choices:
        listed = ", ".join(map(repr, choices))
        raise ValueError(f"{function}: {argument} must be one of {listed}, got {value!r}")
