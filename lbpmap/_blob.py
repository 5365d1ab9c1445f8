"""From a mapped picture to the crops that a net takes: the chain of pycaffe's Classifier.

The steps and their order are those of `caffe.io.load_image`, `resize_image`, `oversample` and
`Transformer.preprocess`, which prepared the pictures of the released nets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lbpmap import _checks
from lbpmap._arrays import F32, U8
from lbpmap.resize import resize_image

# A picture of this side takes 400 MB while it is stretched.
MAX_SIZE = 4096

_UNIT = (np.arange(256) / 255).astype(np.float32)


@dataclass(frozen=True)
class InputSpec:
    """What a net wants to see of a picture."""

    size: int  # side of the stretched picture
    crop: int  # side of a crop
    crops: int  # 1 or 10
    before: F32  # subtracted from the stretched picture: (3, size, size), or (1, 1, 1)
    after: F32  # subtracted from every crop: (3, crop, crop), (3, 1, 1), or (1, 1, 1)

    @staticmethod
    def checked(mean: Any, size: int, crop: int, crops: int, mean_mode: str) -> InputSpec:
        """Check the arguments of `caffe_blob` and prepare its mean."""
        name = "caffe_blob"
        size = _checks.positive(size, "size", name)
        crop = _checks.positive(crop, "crop", name)
        _checks.one_of(crops, (1, 10), "crops", name)
        _checks.one_of(mean_mode, ("resize", "crop"), "mean_mode", name)
        if size > MAX_SIZE:
            raise ValueError(f"{name}: size must be at most {MAX_SIZE} pixels, got {size}")
        if crop > size:
            raise ValueError(f"{name}: crop={crop} is larger than size={size}")
        zero = np.zeros((1, 1, 1), np.float32)
        array = _mean_array(mean)
        if array.ndim < 3:
            return InputSpec(size, crop, crops, zero, array.reshape(-1, 1, 1))
        if array.shape[1:] == (crop, crop):
            return InputSpec(size, crop, crops, zero, array)
        if mean_mode == "resize":
            return InputSpec(size, crop, crops, zero, resize_mean(array, crop))
        if array.shape[1:] != (size, size):
            raise ValueError(
                f'{name}: mean_mode "crop" needs a mean of 3 x {size} x {size}, got '
                f'{array.shape}; mean_mode="resize" takes any'
            )
        return InputSpec(size, crop, crops, array, zero)


def resize_mean(mean: F32, crop: int) -> F32:
    """Stretch a mean picture (3, H, W) to the crop, as pycaffe's Transformer does since 2017."""
    return resize_image(mean.transpose(1, 2, 0), (crop, crop)).transpose(2, 0, 1)


def _mean_array(mean: Any) -> F32:
    if mean is None:
        raise ValueError(
            "caffe_blob: mean is missing; without it the released nets give every face the same "
            "class: give what mean.binaryproto holds, three values (BGR), or an explicit 0"
        )
    try:
        array = np.asarray(mean, np.float32)
    except (TypeError, ValueError):
        raise TypeError(
            f"caffe_blob: mean must be numbers, got {type(mean).__name__}; lbpmap.caffe.io reads "
            f"a mean.binaryproto"
        ) from None
    explicit_zero = array.ndim == 0 and array == 0
    if not explicit_zero and (array.ndim not in (1, 3) or len(array) != 3):
        raise ValueError(
            f"caffe_blob: mean must have shape (3, H, W) or (3,), in BGR, or be 0; got "
            f"{'the number ' + str(mean) if array.ndim == 0 else f'shape {array.shape}'}"
        )
    if not array.size or not np.isfinite(array).all():
        raise ValueError("caffe_blob: mean must be finite numbers; it is empty or holds NaN or inf")
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


def windows(size: int, crop: int, crops: int) -> list[tuple[int, int]]:
    """Top left corners of the crops: the centre, or four corners and the centre."""
    middle, last = (size - crop) // 2, size - crop
    if crops == 1:
        return [(middle, middle)]
    return [(0, 0), (0, last), (last, 0), (last, last), (middle, middle)]


def fill(mapped: U8, spec: InputSpec, blob: F32) -> None:
    """Write the crops of one picture (H, W, 3) to `blob` (crops, 3, crop, crop)."""
    stretched = resize_image(_UNIT[mapped], (spec.size, spec.size))
    planes = stretched.transpose(2, 0, 1)[::-1] * np.float32(255) - spec.before
    for k, (y, x) in enumerate(windows(spec.size, spec.crop, spec.crops)):
        view = planes[:, y : y + spec.crop, x : x + spec.crop]
        blob[k] = view
        if spec.crops == 10:
            blob[k + 5] = view[:, :, ::-1]
    blob -= spec.after
