"""From a mapped picture to the crops that a net takes: the chain of pycaffe's Classifier.

The steps and their order are those of `caffe.io.load_image`, `resize_image`, `oversample` and
`Transformer.preprocess`, which prepared the pictures of the released nets.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lbpmap import _checks, _isa, _kernels, _mapping
from lbpmap._arrays import F32, I32, U8, Array
from lbpmap.representations import REPRESENTATIONS, AnyRepresentation, Representation
from lbpmap.resize import resize_image

# Ten crops of this side take 2 GB.
MAX_SIZE = 4096

# Bytes of a row are counted in 32 bits by the C core.
MAX_SIDE = 1 << 29


@dataclass(frozen=True)
class InputSpec:
    """What a net wants to see of a picture."""

    size: int  # side of the stretched picture
    crop: int  # side of a crop
    crops: int  # 1 or 10
    means: F32  # (1, 3, crop, crop), of every crop; or (2, 3, size, size), the second mirrored
    cuts: I32  # (crops, 5): row and column among those wanted; where in `means`, its row and column

    @staticmethod
    def checked(
        mean: Any, size: int, crop: int, crops: int, mean_mode: str, name: str = "caffe_blob"
    ) -> InputSpec:
        """Check the arguments of `caffe_blob`, or of the function named, and prepare its mean."""
        size = _checks.positive(size, "size", name)
        crop = _checks.positive(crop, "crop", name)
        _checks.one_of(crops, (1, 10), "crops", name)
        _checks.one_of(mean_mode, ("resize", "crop"), "mean_mode", name)
        if size > MAX_SIZE:
            raise ValueError(f"{name}: size must be at most {MAX_SIZE} pixels, got {size}")
        if crop > size:
            raise ValueError(f"{name}: crop={crop} is larger than size={size}")
        array = _mean_array(mean, name)
        if array.ndim < 3:
            # A row of each value serves all rows.
            row = np.empty((3, 1, crop), np.float32)
            row[...] = array.reshape(-1, 1, 1)
            array = np.broadcast_to(row, (3, crop, crop))
        elif array.shape[1:] != (crop, crop) and mean_mode == "resize":
            array = resize_mean(array, crop)
        if array.shape[1:] == (crop, crop):
            if array.strides[2] != array.itemsize or not array.flags.aligned:
                array = np.array(array, order="C")
            return InputSpec(size, crop, crops, array[None], _cuts(size, crop, crops, False))
        if array.shape[1:] != (size, size):
            raise ValueError(
                f'{name}: mean_mode "crop" needs a mean of 3 x {size} x {size}, got '
                f'{array.shape}; mean_mode="resize" takes any'
            )
        both = np.stack([array, array[:, :, ::-1]][: 1 if crops == 1 else 2])
        return InputSpec(size, crop, crops, both, _cuts(size, crop, crops, True))


def refuse_released_256(representation: AnyRepresentation, crop: int, function: str) -> None:
    """Refuse the size that the released nets run on and answer wrongly."""
    if isinstance(representation, str) and representation in REPRESENTATIONS and crop == 256:
        raise ValueError(
            f"{function}: the released nets take 224 x 224; they accept a 256 x 256 blob too, and "
            f"answer wrongly: use crop=224, or for a net of your own pass "
            f"REPRESENTATIONS[{representation!r}]"
        )


def resize_mean(mean: F32, crop: int) -> F32:
    """Stretch a mean picture (3, H, W) to the crop, as pycaffe's Transformer does since 2017."""
    return resize_image(mean.transpose(1, 2, 0), (crop, crop)).transpose(2, 0, 1)


def _mean_array(mean: Any, name: str) -> F32:
    if mean is None:
        raise ValueError(
            f"{name}: mean is missing; without it the released nets give every face the same "
            "class: give what mean.binaryproto holds, three values (BGR), or an explicit 0"
        )
    try:
        array = np.asarray(mean, np.float32)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name}: mean must be numbers, got {type(mean).__name__}; lbpmap.caffe.io reads "
            f"a mean.binaryproto"
        ) from None
    explicit_zero = array.ndim == 0 and array == 0
    if not explicit_zero and (array.ndim not in (1, 3) or len(array) != 3):
        raise ValueError(
            f"{name}: mean must have shape (3, H, W) or (3,), in BGR, or be 0; got "
            f"{'the number ' + str(mean) if array.ndim == 0 else f'shape {array.shape}'}"
        )
    if not array.size or not np.isfinite(array).all():
        raise ValueError(f"{name}: mean must be finite numbers; it is empty or holds NaN or inf")
    return array


def three_values(mean: Any, function: str) -> F32:
    """Check a mean of one value a channel; 0 stands for three zeros."""
    try:
        values = np.asarray(mean, np.float32)
    except (TypeError, ValueError):
        values = np.empty(0, np.float32)
    if values.ndim == 0 and values == 0:
        return np.zeros(3, np.float32)
    if values.shape != (3,) or not np.isfinite(values).all():
        raise ValueError(
            f"{function}: mean must be three finite numbers (BGR), or an explicit 0, got "
            f"{mean if np.size(mean) < 5 else f'shape {np.shape(mean)}'}"
        )
    return values


def filler(
    chosen: Representation, spec: InputSpec, function: str
) -> Callable[[U8, F32, str], None]:
    """Give the function that writes the crops of one picture to a blob (crops, 3, crop, crop).

    Any number of threads may run it. Its last argument says how to call the picture in errors.
    """
    put, rule = _putter(chosen, spec.size, function), (spec.size, spec.crop, spec.crops)

    def taps(height: int, width: int) -> Taps:
        return _taps(height, *rule, False), _taps(width, *rule, True)

    def fill(picture: U8, blob: F32, which: str) -> None:
        put(picture, which, taps, spec.cuts, spec.means, blob)

    return fill


@dataclass(frozen=True)
class Cut:
    """Where a crop lies in the stretched picture, and whether it is mirrored."""

    row: int
    column: int
    mirrored: bool = False


def cutter(
    chosen: Representation, size: int, crop: int, mean: Any, function: str
) -> Callable[[U8, F32, Cut, str], None]:
    """Give the function that writes one crop of a picture, anywhere, to a blob (3, crop, crop).

    As `filler`, with the picture stretched to `size`. A mean picture of that size is cut, and
    mirrored, with the picture, as Caffe's data layers do in training.
    """
    means = InputSpec.checked(mean, size, crop, 10, "crop", function).means
    mean_follows = np.shape(mean)[1:] == (size, size)
    if mean_follows and len(means) == 1:  # as large as the crop, too
        means = np.concatenate([means, means[:, :, :, ::-1]])
    put, ahead = _putter(chosen, size, function), np.arange(crop, dtype=np.int32)

    def cut(picture: U8, blob: F32, where: Cut, which: str) -> None:
        right = size - crop - where.column
        columns = where.column + (ahead[::-1] if where.mirrored else ahead)
        place = (where.mirrored, where.row, right if where.mirrored else where.column)
        cuts = np.array([(0, 0, *(place if mean_follows else (0, 0, 0)))], np.int32)

        def taps(height: int, width: int) -> Taps:
            return (
                _kernels.Taps(height, size, where.row + ahead),
                _kernels.Taps(width, size, np.ascontiguousarray(columns)),
            )

        put(picture, which, taps, cuts, means, blob[None])

    return cut


# Of the rows and of the columns of a mapped picture.
Taps = tuple[_kernels.Taps, _kernels.Taps]


def _putter(
    chosen: Representation, size: int, function: str
) -> Callable[[U8, str, Callable[[int, int], Taps], I32, F32, F32], None]:
    """Give what makes of a picture what nets see, mapped or as it is, and writes crops of that."""
    interior = _checks.interior(chosen.radius if chosen.table is not None else 0, function, 3)
    isa, scratch = _isa.chosen(), _Scratch()
    to_mapped: _mapping.Kernel = _as_rgb
    fused = None
    if chosen.table is not None and chosen.points <= 8:
        fused = _mapping.ingredients(chosen, "released")
    elif chosen.table is not None:
        to_mapped = _mapping.mapper(chosen, "released")

    def put(
        picture: U8,
        which: str,
        taps: Callable[[int, int], Taps],
        cuts: I32,
        means: F32,
        blob: F32,
    ) -> None:
        height, width, _ = shape = interior(picture.shape[:2], which)
        if max(shape) >= MAX_SIDE:
            raise ValueError(
                f"{function}: {which} is {height} x {width}, expected sides below {MAX_SIDE}"
            )
        rows, columns = taps(height, width)
        lines = scratch.take("lines", (12 * size,), np.float32)
        rgb = picture if picture.ndim == 3 else None
        if chosen.table is None and rgb is not None:
            _kernels.blob(isa, rows, columns, cuts, means, rgb, lines, blob)
            return
        mapped = scratch.take("mapped", shape, np.uint8)
        if fused is None:
            to_mapped(picture, mapped)
            _kernels.blob(isa, rows, columns, cuts, means, mapped, lines, blob)
            return
        gray = picture if rgb is None else scratch.take("gray", rgb.shape[:2], np.uint8)
        _kernels.mapped_blob(
            isa, *fused, rgb, gray, mapped, rows, columns, cuts, means, lines, blob
        )

    return put


class _Scratch(threading.local):
    """Memory for one picture after the other; each thread has its own."""

    def __init__(self) -> None:
        self._held: dict[str, Array] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: type) -> Array:
        """Give the memory of that name, larger where it was too small."""
        entries = math.prod(shape)
        held = self._held.get(name)
        if held is None or held.size < entries:
            held = self._held[name] = np.empty(entries, dtype)
        return held[:entries].reshape(shape)


def _as_rgb(gray: U8, out: U8) -> None:
    np.copyto(out, gray[:, :, None])


def _windows(size: int, crop: int, crops: int) -> list[tuple[int, int]]:
    """Top left corners of the crops: the centre, or four corners and the centre."""
    middle, last = (size - crop) // 2, size - crop
    if crops == 1:
        return [(middle, middle)]
    return [(0, 0), (0, last), (last, 0), (last, last), (middle, middle)]


@lru_cache(maxsize=16)
def _wanted(size: int, crop: int, crops: int) -> I32:
    """Give the rows, and as well the columns, of the stretched picture that any crop needs."""
    starts = {y for y, _ in _windows(size, crop, crops)}
    return np.unique([np.arange(start, start + crop) for start in starts]).astype(np.int32)


@lru_cache(maxsize=128)
def _taps(source: int, size: int, crop: int, crops: int, columns: bool) -> _kernels.Taps:
    """Place what is wanted of a side in the picture; of ten crops the mirrored columns as well."""
    wanted = _wanted(size, crop, crops)
    mirrored = wanted[::-1] if columns and crops == 10 else wanted[:0]
    return _kernels.Taps(source, size, np.concatenate([wanted, mirrored]))


@lru_cache(maxsize=16)
def _cuts(size: int, crop: int, crops: int, mean_follows: bool) -> I32:
    """Say where each crop and its mean begin; `mean_follows`: the mean is cut with the picture."""
    wanted = _wanted(size, crop, crops)
    straight, mirrored = [], []
    for y, x in _windows(size, crop, crops):
        row, column = np.searchsorted(wanted, (y, x))
        straight.append((row, column, 0, y, x))
        mirrored.append((row, 2 * len(wanted) - column - crop, 1, y, size - x - crop))
    cuts = np.array(straight + mirrored[: crops - len(straight)], np.int32)
    if not mean_follows:
        cuts[:, 2:] = 0
    return cuts
