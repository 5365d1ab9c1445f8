"""What `transform_param` does to a picture: subtract a mean, scale, crop, mirror.

Caffe's own order: a value v becomes (v - mean) * scale, with the mean file taken at the place of
the crop. A mirror is drawn in both phases where `mirror` is set; the crop is drawn in TRAIN only
and central in TEST.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lbpmap._arrays import F32, Array
from lbpmap.caffe.blob import Shape
from lbpmap.caffe.formats import weights
from lbpmap.caffe.formats.messages import TRAIN, Message


@dataclass(frozen=True)
class Transformation:
    """The settings of one layer, with its mean file read.

    Attributes
    ----------
    scale : float
    mirror : bool
    crop : int
        Rows and columns that are cut out; 0 takes the whole picture.
    random_crop : bool
        Whether the place of the crop is drawn.
    mean : float32 array (C, H, W), (1, 1, 1) or (C, 1, 1), or None
        What is subtracted; the first kind is of the size of the pictures.
    mean_file : str
        Where the mean comes from, empty where it does not come from a file.
    """

    scale: float = 1.0
    mirror: bool = False
    crop: int = 0
    random_crop: bool = False
    mean: F32 | None = None
    mean_file: str = ""


def of(layer: Message) -> Transformation:
    """Read the transformation of a layer.

    Parameters
    ----------
    layer : LayerParameter
        With its phase.

    Raises
    ------
    OSError
        When the mean file cannot be read.
    ValueError
        When a mean file and mean values are given, or the file holds no mean picture.
    """
    p = layer.transform_param
    mean = None
    if p.mean_file and len(p.mean_value):
        raise ValueError("transform_param has mean_file and mean_value; give one of them")
    if p.mean_file:
        mean = weights.read_blob(p.mean_file)
        if mean.ndim != 4 or len(mean) != 1:
            raise ValueError(
                f"{p.mean_file}: a blob of shape {mean.shape}; expected a mean picture "
                f"(1, channels, height, width)"
            )
        mean = mean[0]
    elif len(p.mean_value):
        mean = np.array(p.mean_value, np.float32).reshape(-1, 1, 1)
    return Transformation(
        p.scale, p.mirror, p.crop_size, layer.phase == TRAIN, mean, str(p.mean_file)
    )


def output_shape(t: Transformation, shape: Shape) -> Shape:
    """Return what a picture (C, H, W) of `shape` becomes.

    Raises
    ------
    ValueError
        When the picture is smaller than the crop, or the mean is not for such pictures.
    """
    channels, height, width = shape
    if min(shape) < 1:
        raise ValueError(f"a picture of shape {shape} has no values")
    if t.crop > min(height, width):
        raise ValueError(f"crop_size {t.crop} is larger than a picture of {height} x {width}")
    if t.mean_file and t.mean is not None and t.mean.shape != shape:
        raise ValueError(
            f"{t.mean_file}: a mean of shape {t.mean.shape} for pictures of {shape}; they must be "
            f"of one shape: make the mean of these pictures, or give mean_value"
        )
    if t.mean is not None and len(t.mean) not in (1, channels):
        raise ValueError(
            f"{len(t.mean)} mean_value for pictures of {channels} channels; give one, or one each"
        )
    return (channels, t.crop, t.crop) if t.crop else shape


def apply(t: Transformation, picture: Array, out: F32, rng: np.random.Generator) -> None:
    """Transform one picture.

    Parameters
    ----------
    t : Transformation
    picture : uint8 or float32 array (C, H, W)
        `output_shape` has accepted its shape.
    out : float32 array
        Of the shape that `output_shape` gives; overwritten.
    rng : numpy.random.Generator
        Where the mirror and the place of the crop come from.
    """
    mirrored = t.mirror and rng.integers(2) == 1
    mean = t.mean
    if t.crop:
        rows, cols = picture.shape[1] - t.crop, picture.shape[2] - t.crop
        if t.random_crop:
            top, left = int(rng.integers(rows + 1)), int(rng.integers(cols + 1))
        else:
            top, left = rows // 2, cols // 2
        window = (slice(None), slice(top, top + t.crop), slice(left, left + t.crop))
        picture = picture[window]
        mean = mean[window] if mean is not None and t.mean_file else mean
    if mirrored:
        out = out[:, :, ::-1]
    if mean is None:
        out[...] = picture
    else:
        np.subtract(picture, mean, out=out)
    if t.scale != 1:
        out *= np.float32(t.scale)
