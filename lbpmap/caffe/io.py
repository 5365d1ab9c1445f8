"""pycaffe's `caffe.io`: pictures and blobs in and out, as they were in 2015."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Union

import numpy as np
from PIL import Image, UnidentifiedImageError

from lbpmap import resize
from lbpmap._arrays import F32, F64, Array
from lbpmap._files import regular_size
from lbpmap.caffe.proto import caffe_pb2
from lbpmap.caffe.proto.arrays import (
    array_to_blobproto,
    array_to_datum,
    arraylist_to_blobprotovector_str,
    blobproto_to_array,
    blobprotovector_str_to_arraylist,
    datum_to_array,
)

PathLike = Union[str, "os.PathLike[str]"]

__all__ = [
    "Transformer",
    "array_to_blobproto",
    "array_to_datum",
    "arraylist_to_blobprotovector_str",
    "blobproto_to_array",
    "blobprotovector_str_to_arraylist",
    "caffe_pb2",
    "datum_to_array",
    "load_image",
    "oversample",
    "resize_image",
]

# Luminance as scikit-image's rgb2gray has it (ITU-R BT.709).
_LUMINANCE = np.array([0.2125, 0.7154, 0.0721])
# Zeros around a picture whose splines are computed: what lies beyond weighs less than 1e-8.
_MARGIN = 24


def load_image(filename: PathLike, color: bool = True) -> F32:
    """Read a picture as pycaffe does; a rotation that EXIF asks for is not applied.

    Parameters
    ----------
    filename : str or path
    color : bool, default True
        Three channels, grey repeated; otherwise one channel of luminance.

    Returns
    -------
    float32 array (H, W, 3) or (H, W, 1)
        RGB from 0 to 1; alpha is dropped.

    Raises
    ------
    OSError
        When the file cannot be read or is no picture.
    """
    regular_size(filename, "a picture")
    try:
        with Image.open(filename) as file:
            values = _unit_values(file)
    except UnidentifiedImageError:
        raise OSError(
            f"{filename}: not a picture; expected one that Pillow reads, such as PNG or JPEG"
        ) from None
    except Image.DecompressionBombError as error:
        raise OSError(f"{filename}: too many pixels ({error}); shrink the picture first") from None
    except Exception as error:  # a damaged file makes decoders raise anything
        raise OSError(
            f"{filename}: damaged or cut short ({error}); expected a whole picture: fetch it again"
        ) from None
    if values.ndim == 2:
        values = values[:, :, np.newaxis]
        return np.tile(values, (1, 1, 3)).astype(np.float32) if color else values.astype(np.float32)
    if color:
        return values[:, :, :3].astype(np.float32)
    if values.shape[2] == 4:
        # Grey is made of the picture laid over white.
        values = np.clip(values[:, :, 3:] * values[:, :, :3] + (1 - values[:, :, 3:]), 0, 1)
    return np.asarray(values @ _LUMINANCE, np.float32)[:, :, np.newaxis]


def _unit_values(picture: Image.Image) -> F64:
    """Decode to values from 0 to 1: grey (H, W), RGB or RGBA (H, W, C)."""
    # Older versions of Pillow read 16-bit PNG as 32-bit integers.
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG"):
        return np.asarray(picture) / 65535
    if picture.mode in ("1", "LA", "La"):
        picture = picture.convert("L")
    elif picture.mode not in ("L", "RGB", "RGBA"):
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    return np.asarray(picture) / 255


def resize_image(im: Array, new_dims: Sequence[int], interp_order: int = 1) -> F32:
    """Stretch a picture as the scikit-image of 2015 did; see `lbpmap.resize`.

    Orders above 1 are the splines of today's scikit-image, without its smoothing: those of 2015
    were computed otherwise.

    Parameters
    ----------
    im : array (H, W, C)
    new_dims : (int, int)
        Rows and columns of the result.
    interp_order : int, default 1
        1 bilinear, 0 nearest, 2 to 5 splines. Pictures of neither one nor three channels go
        through `scipy.ndimage.zoom`, as in pycaffe.

    Returns
    -------
    float32 array (new_dims[0], new_dims[1], C)

    Raises
    ------
    TypeError
        When `im` is no array, or `new_dims` are not two numbers.
    ValueError
        When the picture is not (H, W, C) or is empty, or a number is out of its range.
    """
    if not isinstance(im, np.ndarray):
        raise TypeError(
            f"resize_image: im must be an array (H, W, C), got {type(im).__name__}; io.load_image "
            f"reads a file"
        )
    if im.ndim != 3 or im.size == 0:
        raise ValueError(
            f"resize_image: im must be (H, W, C), got shape {im.shape}; a grey picture goes in as "
            f"im[:, :, np.newaxis]"
        )
    if np.ndim(new_dims) != 1 or len(new_dims) != 2:
        raise TypeError(f"resize_image: new_dims must be (rows, columns), got {new_dims!r}")
    rows, cols = int(new_dims[0]), int(new_dims[1])
    if rows < 1 or cols < 1:
        raise ValueError(f"resize_image: new_dims must be positive, got {rows} x {cols}")
    if interp_order not in range(6):
        raise ValueError(f"resize_image: interp_order must be from 0 to 5, got {interp_order}")
    if im.shape[-1] in (1, 3):
        if interp_order > 1:
            return _splines(im, rows, cols, interp_order)
        return resize.resize_image(im, (rows, cols), interp_order)
    from scipy.ndimage import zoom  # type: ignore[import-untyped]

    zoomed = zoom(im, (rows / im.shape[0], cols / im.shape[1], 1), order=interp_order)
    return np.asarray(zoomed, np.float32)


def _splines(im: Array, rows: int, cols: int, order: int) -> F32:
    """Resize as today's scikit-image does: zero outside, results kept to the input's range."""
    from scipy.ndimage import affine_transform, spline_filter

    low, high = float(im.min()), float(im.max())
    out: F32 = np.full((rows, cols, im.shape[2]), low, np.float32)
    if not high > low:
        return out
    steps = np.array([im.shape[0] / rows, im.shape[1] / cols])
    for channel in range(im.shape[2]):
        unit = np.pad((im[:, :, channel].astype(np.float64) - low) / (high - low), _MARGIN)
        plane = affine_transform(
            spline_filter(unit, order),
            np.diag(steps),
            steps / 2 - 0.5 + _MARGIN,
            (rows, cols),
            order=order,
            prefilter=False,
        )
        out[:, :, channel] = np.clip(plane, 0, 1) * (high - low) + low
    return out


def oversample(
    images: Sequence[Array] | Array,
    crop_dims: Sequence[int] | Array,
) -> F32:
    """Cut the four corners, the centre, and their mirrors.

    Parameters
    ----------
    images : sequence of arrays (H, W, C) of one size
    crop_dims : (int, int)
        Rows and columns of a crop.

    Returns
    -------
    float32 array (10 * len(images), crop_dims[0], crop_dims[1], C)
        Picture by picture: top left, top right, bottom left, bottom right, centre, and the mirrors
        in the same order.
    """
    rows, cols = images[0].shape[:2]
    height, width = int(crop_dims[0]), int(crop_dims[1])
    if height > rows or width > cols:
        raise ValueError(f"oversample: crops of {height} x {width} from {rows} x {cols} pixels")
    corners = [(y, x) for y in (0, rows - height) for x in (0, cols - width)]
    corners.append((int((rows - height) / 2), int((cols - width) / 2)))
    crops: F32 = np.empty((10 * len(images), height, width, images[0].shape[2]), np.float32)
    for i, image in enumerate(images):
        for k, (y, x) in enumerate(corners):
            crop = image[y : y + height, x : x + width]
            crops[10 * i + k] = crop
            crops[10 * i + 5 + k] = crop[:, ::-1]
    return crops


class Transformer:
    """Brings pictures (H, W, C) into the form of a net's input, and back.

    Parameters
    ----------
    inputs : dict
        Shape of each input blob, by name.

    Examples
    --------
    >>> transformer = Transformer({"data": (1, 3, 2, 2)})
    >>> transformer.set_transpose("data", (2, 0, 1))
    >>> transformer.set_raw_scale("data", 255)
    >>> transformer.preprocess("data", np.ones((2, 2, 3), np.float32)).shape
    (3, 2, 2)
    """

    def __init__(self, inputs: dict[str, Sequence[int]]) -> None:
        self.inputs = {name: tuple(shape) for name, shape in inputs.items()}
        self.transpose: dict[str, tuple[int, ...]] = {}
        self.channel_swap: dict[str, tuple[int, ...]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, Array] = {}
        self.input_scale: dict[str, float] = {}

    def preprocess(self, in_: str, data: Array) -> F32:
        """Stretch, transpose, swap channels, scale, subtract the mean, scale: in this order.

        Parameters
        ----------
        in_ : str
            Name of the input blob.
        data : array (H, W, C)

        Returns
        -------
        float32 array of the input's shape, without its batch axis
        """
        self._check(in_)
        picture: F32 = data.astype(np.float32, copy=False)
        size = self.inputs[in_][2:]
        if picture.shape[:2] != size:
            picture = resize_image(picture, size)
        if in_ in self.transpose:
            picture = picture.transpose(self.transpose[in_])
        if in_ in self.channel_swap:
            picture = picture[list(self.channel_swap[in_])]
        if in_ in self.raw_scale:
            picture = picture * np.float32(self.raw_scale[in_])
        if in_ in self.mean:
            picture = (picture - self.mean[in_]).astype(np.float32, copy=False)
        if in_ in self.input_scale:
            picture = picture * np.float32(self.input_scale[in_])
        return picture

    def deprocess(self, in_: str, data: Array) -> Array:
        """Undo `preprocess`, all but the stretching."""
        self._check(in_)
        picture = data.copy().squeeze()
        if in_ in self.input_scale:
            picture = picture / np.float32(self.input_scale[in_])
        if in_ in self.mean:
            picture = (picture + self.mean[in_]).astype(np.float32, copy=False)
        if in_ in self.raw_scale:
            picture = picture / np.float32(self.raw_scale[in_])
        if in_ in self.channel_swap:
            picture = picture[np.argsort(self.channel_swap[in_])]
        if in_ in self.transpose:
            picture = picture.transpose(np.argsort(self.transpose[in_]))
        return picture

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of axes, (2, 0, 1) to bring channels to the front."""
        self._check(in_)
        if len(order) != len(self.inputs[in_]) - 1:
            raise ValueError(f"Transpose order of {len(order)} axes does not fit input {in_!r}")
        self.transpose[in_] = tuple(order)

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of channels, (2, 1, 0) for RGB to BGR."""
        self._check(in_)
        if len(order) != self.inputs[in_][1]:
            raise ValueError(f"Channel swap of {len(order)} does not fit the channels of {in_!r}")
        self.channel_swap[in_] = tuple(order)

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """Set what values are multiplied by before the mean is subtracted."""
        self._check(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: Array) -> None:
        """Set what is subtracted: an array (C, H, W), or a value a channel.

        A mean of another size than the input is stretched to it, as pycaffe does since 2017-06;
        before, it refused it ("Mean shape incompatible with input shape").
        """
        self._check(in_)
        if not isinstance(mean, np.ndarray):
            raise TypeError(
                f"Transformer.set_mean: mean must be an array (C,), (H, W) or (C, H, W), got "
                f"{type(mean).__name__}; np.load reads a .npy file"
            )
        channels, size = self.inputs[in_][1], self.inputs[in_][2:]
        if mean.ndim not in (1, 2, 3):
            raise ValueError(
                f"Mean shape invalid: {mean.shape}, expected (C,), (H, W) or (C, H, W)"
            )
        planes = 1 if mean.ndim == 2 else mean.shape[0]
        if planes != channels:
            raise ValueError(
                f"Mean channels incompatible with input: {planes}, {in_!r} has {channels}"
            )
        if mean.ndim == 1:
            mean = mean[:, np.newaxis, np.newaxis]
        elif mean.shape[-2:] != size:
            stacked = mean.reshape(channels, *mean.shape[-2:]).transpose(1, 2, 0)
            mean = resize_image(stacked, size).transpose(2, 0, 1)
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: float) -> None:
        """Set what values are multiplied by after the mean is subtracted."""
        self._check(in_)
        self.input_scale[in_] = scale

    def _check(self, in_: str) -> None:
        if in_ not in self.inputs:
            raise ValueError(f"{in_!r} is not one of the net inputs: {', '.join(self.inputs)}")
