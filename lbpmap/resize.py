"""The bilinear resizing of 2015, with which the pictures of the released nets were made.

It is what `caffe.io.resize_image` did through the scikit-image of its day: half-pixel centres, no
anti-aliasing, and zero outside the picture, so that the edges of an enlarged picture darken.
Today's scikit-image smooths when it shrinks, and its values are up to 0.21 of the full range off.
"""

from __future__ import annotations

import numpy as np

from lbpmap._arrays import F32, F64, Array


def resize_image(image: Array, size: tuple[int, int], order: int = 1) -> F32:
    """Stretch a picture as `caffe.io.resize_image` does.

    Values are brought to 0..1 by the picture's own minimum and maximum and back afterwards, so that
    the "zero" outside the picture is its minimum. The aspect ratio is not kept.

    Parameters
    ----------
    image : array (H, W, C)
        Any number of channels; a constant picture stays constant.
    size : (int, int)
        Rows and columns of the result.
    order : {1, 0}
        1 bilinear, 0 nearest.

    Returns
    -------
    float32 array (size[0], size[1], C)

    Raises
    ------
    ValueError
        When the picture is empty or not three-dimensional, a size is below 1, or `order` is
        neither 0 nor 1.

    Examples
    --------
    >>> picture = np.array([0, 1, 2, 3], np.float32).reshape(1, 4, 1)
    >>> resize_image(picture, (1, 2)).ravel()
    array([0.5, 2.5], dtype=float32)
    """
    if image.ndim != 3 or image.size == 0:
        raise ValueError(f"resize_image: image must be (H, W, C), got shape {image.shape}")
    rows, cols = size
    if rows < 1 or cols < 1:
        raise ValueError(f"resize_image: size must be positive, got {rows} x {cols}")
    if order not in (0, 1):
        raise ValueError(f"resize_image: order must be 0 (nearest) or 1 (bilinear), got {order}")
    low, high = image.min(), image.max()
    if not high > low:
        return np.full((rows, cols, image.shape[2]), low, np.float32)
    unit = ((image - low) / (high - low)).astype(np.float64)
    along = _nearest if order == 0 else _bilinear
    resized = along(along(unit, rows).swapaxes(0, 1), cols).swapaxes(0, 1)
    restored: F64 = resized * (high - low) + low
    return restored.astype(np.float32)


def _coordinates(length: int, new: int) -> F64:
    return (np.arange(new, dtype=np.float64) + 0.5) * (length / new) - 0.5


def _bilinear(image: F64, new: int) -> F64:
    """Resize the first axis: two neighbours each, those outside count as zero."""
    at = _coordinates(len(image), new)
    below = np.floor(at).astype(np.intp)
    part = at - below
    weight_low = np.where(below >= 0, 1 - part, 0.0)
    weight_high = np.where(below + 1 < len(image), part, 0.0)
    low = image[np.maximum(below, 0)]
    low *= weight_low[:, None, None]
    high = image[np.minimum(below + 1, len(image) - 1)]
    high *= weight_high[:, None, None]
    low += high
    return low


def _nearest(image: F64, new: int) -> F64:
    """Resize the first axis: the nearest pixel, halves upwards."""
    at = np.floor(_coordinates(len(image), new) + 0.5).astype(np.intp)
    return image[np.minimum(at, len(image) - 1)]
