"""What nets take: float planes, channels first and reversed, minus a mean.

`transform` gives these functions out; pictures are taken as everywhere there.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from lbpmap import _checks, _mapping
from lbpmap._arrays import F32
from lbpmap._blob import InputSpec, filler, refuse_released_256, three_values
from lbpmap._checks import Image
from lbpmap.representations import AnyRepresentation, resolve


def mapped_planes(
    image: Image,
    representation: AnyRepresentation = "cyclic_lbp",
    *,
    mean: Any,
    code_255: str = "released",
    out: Any = None,
    threads: int = 1,
) -> Any:
    """Turn a picture into a mapped binary pattern as a net of any input size reads it.

    What `mapped_lbp` gives, in float32, channels first and reversed (BGR; dimension 3 first), minus
    the mean, in one pass over the picture. Nothing is stretched or cropped: for the blob of the
    released nets see `caffe_blob`.

    Parameters
    ----------
    image : uint8 array (H, W) or (H, W, 3), a batch or a list of these
    representation : str, path, Table or Representation, default "cyclic_lbp"
        As for `mapped_lbp`.
    mean : three numbers, or 0
        To subtract, in Caffe's channel order (BGR), 0..255; an explicit 0 subtracts nothing.
    code_255 : {"released", "own"}
        As for `mapped_lbp`.
    out : float32 array of the result's shape, optional
    threads : int, default 1
        Threads to use: pictures are shared out first, then bands of rows.

    Returns
    -------
    float32 array (3, H - 2R, W - 2R)
        A batch: (N, 3, H - 2R, W - 2R); a list: a list.

    Raises
    ------
    TypeError, ValueError, OSError
        When an argument is not as described, or a picture is smaller than the neighbourhood.

    Examples
    --------
    >>> from lbpmap import mapped_lbp
    >>> flat = np.full((4, 4), 128, np.uint8)
    >>> planes = mapped_planes(flat, mean=(104, 117, 123))
    >>> planes.shape, float(planes[2, 0, 0]) == int(mapped_lbp(flat)[0, 0, 0]) - 123
    ((3, 2, 2), True)
    """
    name = "mapped_planes"
    threads = _checks.positive(threads, "threads", name)
    _checks.one_of(code_255, ("released", "own"), "code_255", name)
    shade = three_values(mean, name)
    chosen = resolve(representation)
    source = _checks.pictures(image, name)
    result, targets = _checks.outputs(
        out,
        source,
        lambda size, which: (3, *_checks.interior(chosen.radius, name)(size, which)),
        np.float32,
        name,
    )
    if targets:
        _mapping.run(
            _mapping.plane_mapper(chosen, code_255, shade),
            source.items,
            # Rows first, so that bands of them are shared out.
            [target.transpose(1, 0, 2) for target in targets],
            margin=chosen.radius,
            threads=threads,
        )
    return result


def caffe_blob(
    images: Image,
    representation: AnyRepresentation,
    *,
    mean: Any,
    size: int = 256,
    crop: int = 224,
    crops: int = 1,
    mean_mode: str = "resize",
    out: Any = None,
    threads: int = 1,
) -> F32:
    """Turn pictures into the input blob that the released nets expect.

    Each picture is mapped, scaled to 0..1, stretched to `size` x `size` (bilinear, no
    anti-aliasing, zero outside: `lbpmap.resize`), cropped, and laid out as Caffe wants it:
    channels first and reversed (BGR; dimension 3 first), 0..255, minus the mean.

    Parameters
    ----------
    images : uint8 array (H, W) or (H, W, 3), a batch or a list of these
    representation : str, path, Table or Representation
        As for `mapped_lbp`.
    mean : float array (3, H, W) or (3,), or 0
        To subtract, in Caffe's channel order (BGR), 0..255: what `mean.binaryproto` holds, one
        value a channel, or an explicit 0.
    size : int, default 256
        Side of the stretched picture, pixels; at most 4096.
    crop : int, default 224
        Side of the crops, pixels.
    crops : {1, 10}
        The centre; or the four corners, the centre, and their mirror images.
    mean_mode : {"resize", "crop"}
        Resize a mean picture to `crop` (as pycaffe's Classifier has done since 2017), or crop it
        at the same place as the picture (as Caffe does in training; it must be `size` x `size`).
        One of `crop` x `crop` is taken as it is.
    out : float32 array (N * crops, 3, crop, crop), optional
    threads : int, default 1
        Threads to use, over pictures.

    Returns
    -------
    float32 array (N * crops, 3, crop, crop)
        N is 1 for one picture. The crops of a picture follow each other.

    Raises
    ------
    TypeError, ValueError, OSError
        When an argument is not as described; when `mean` is None; when a released representation
        is asked for at 256 x 256.

    Examples
    --------
    >>> flat = np.full((60, 50, 3), 128, np.uint8)
    >>> caffe_blob(flat, "rgb", mean=(100, 110, 120))[0, :, 0, 0]
    array([28., 18.,  8.], dtype=float32)
    """
    name = "caffe_blob"
    threads = _checks.positive(threads, "threads", name)
    spec = InputSpec.checked(mean, size, crop, crops, mean_mode)
    refuse_released_256(representation, spec.crop, name)
    source = _checks.pictures(images, name)
    result = _checks.output(
        out, (len(source.items) * crops, 3, crop, crop), np.float32, source.items, name, packed=3
    )
    fill = filler(resolve(representation), spec, name)
    numbers = range(len(source.items))

    def one(i: int) -> None:
        which = "the picture" if source.form == "one" else f"picture {i}"
        fill(source.items[i], result[i * crops : (i + 1) * crops], which)

    if threads == 1:
        for i in numbers:
            one(i)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, numbers))
    return result
