"""Pictures as OpenCV hands them to Caffe: 8-bit, blue first, resized by OpenCV's own arithmetic.

The pixels are those of `lbpmap.pictures`, but a rotation that EXIF asks for is not applied.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from lbpmap._arrays import U8, Array
from lbpmap._decode import RefusedError, open_header
from lbpmap._errors import one_line

# Weights of two neighbours are whole 2048ths.
_ONE = 2048
_WITH_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_GREY = frozenset({"1", "L"})


def decode(raw: bytes, name: str, color: bool | None = None) -> U8:
    """Decode the bytes of a picture file.

    Parameters
    ----------
    raw : bytes
    name : str
        What errors call it.
    color : bool, optional
        True for three channels (grey repeated, alpha dropped), False for grey; without it the
        picture's own: 1, 3 or, with alpha, 4 channels.

    Returns
    -------
    uint8 array (H, W, C)
        B, G, R and then alpha. Grey is ITU-R BT.601's luma, for a JPEG the one it holds; OpenCV
        rounds that of other formats in its own way, so that single values may be 1 off.

    Raises
    ------
    ValueError
        When it is no picture, a damaged one, or one that `lbpmap.pictures.read` refuses.
    """
    try:
        image = open_header(BytesIO(raw), name)
        if color is False:
            image.draft("L", None)
        image.load()
        values = np.array(_converted(image, color))
    except RefusedError:
        raise
    except UnidentifiedImageError:
        raise ValueError(f"{name}: not a picture that can be read, such as PNG or JPEG") from None
    except Exception as error:  # a damaged file makes decoders raise anything
        raise ValueError(
            f"{name}: a damaged picture ({one_line(error)}); fetch or make it again"
        ) from None
    if values.ndim == 2:
        return values[:, :, np.newaxis]
    values[:, :, :3] = values[:, :, 2::-1].copy()
    return values


def _converted(image: Image.Image, color: bool | None) -> Image.Image:
    transparent = image.mode in _WITH_ALPHA or (image.mode == "P" and "transparency" in image.info)
    if color is None and transparent:
        return image.convert("RGBA")
    # A transparent colour would be carried along, with a warning where it is a table.
    image.info.pop("transparency", None)
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if image.mode in _GREY and not color:
        return image.convert("L")
    image = image.convert("RGB")
    return image.convert("L") if color is False else image


def resize(picture: U8, rows: int, cols: int) -> U8:
    """Resize as `cv::resize` does: bilinear at half-pixel centres, no smoothing, edges repeated.

    Its fixed-point arithmetic is followed step by step, since a rounding of its own would change
    every second value by 1. Halving both sides is the mean of four pixels, as OpenCV has it.

    Parameters
    ----------
    picture : uint8 array (H, W, C)
    rows, cols : int

    Returns
    -------
    uint8 array (rows, cols, C)

    Examples
    --------
    >>> resize(np.array([[[0], [100]]], np.uint8), 1, 4).ravel()
    array([  0,  25,  75, 100], dtype=uint8)
    """
    height, width = picture.shape[:2]
    if (height, width) == (rows, cols):
        return picture
    if (height, width) == (2 * rows, 2 * cols):
        blocks: Array = picture.reshape(rows, 2, cols, 2, -1).sum(axis=(1, 3), dtype=np.int32)
        halved: U8 = ((blocks + 2) >> 2).astype(np.uint8)
        return halved
    left, right, weights = _neighbours(width, cols, inside=True)
    lines = picture[:, left] * weights[0][:, None] + picture[:, right] * weights[1][:, None]
    lines >>= 4
    upper, lower, weights = _neighbours(height, rows, inside=False)
    above: Array = lines[upper] * weights[0][:, None, None]
    below: Array = lines[lower] * weights[1][:, None, None]
    resized: U8 = (((above >> 16) + (below >> 16) + 2) >> 2).astype(np.uint8)
    return resized


def _neighbours(length: int, new: int, *, inside: bool) -> tuple[Array, Array, Array]:
    """Return the two pixels before and behind each new one, and their weights (2, new), int32.

    With `inside`, a new pixel beyond the outermost centres gets one of them whole; without, both
    are that one, which OpenCV's rounding tells apart.
    """
    step = 1 / (new / length)
    at = ((np.arange(new) + 0.5) * step - 0.5).astype(np.float32)
    low = np.floor(at).astype(np.intp)
    part = (at - low).astype(np.float32)
    if inside:
        part[(low < 0) | (low >= length - 1)] = 0
    weights = np.rint(np.stack([1 - part, part]) * _ONE).astype(np.int32)
    return low.clip(0, length - 1), (low + 1).clip(0, length - 1), weights
