"""Small pictures of a face to show it by: the face, its codes, and what nets looked at."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from lbpmap._arrays import U8
from lbpmap.representations import AnyRepresentation, resolve
from lbpmap.transform import lbp_codes, mapped_lbp

# Longer sides, pixels. Of a face of 220 x 220 all six pictures are 10 to 11 KB.
_FACE, _MAPPED = 112, 80
# What nets are shown has this side; they get it by bilinear taps, without smoothing.
_SHOWN = 256
# JPEG's blocks of 8 x 8 would be most of a smaller picture.
_LOSSLESS = 40


def thumbnails(face: U8, representations: Sequence[AnyRepresentation]) -> dict[str, bytes]:
    """Make the small pictures of a face.

    Codes and mapped pictures are made at the face's own size, as nets get them, brought to at most
    256 pixels a side by leaving pixels out, which is what the unsmoothed resizing of 2015 does, and
    only then averaged down to be looked at.

    Parameters
    ----------
    face : uint8 array (H, W, 3)
        RGB, cropped.
    representations : sequence of str, path, Table or Representation
        What nets are shown. "rgb" is the face itself, which is there anyway.

    Returns
    -------
    dict of bytes
        "face", at most 112 pixels a side; "codes" (exact, of radius 1, as grey) and every
        representation by its name, at most 80: JPEG files, or PNG where a side has less than 40. A
        face too small for the radius of a representation, or for codes, goes without it.

    Raises
    ------
    TypeError, ValueError
        When the face is no such array, or there is no such representation.

    Examples
    --------
    >>> made = thumbnails(np.zeros((64, 48, 3), np.uint8), ["rgb", "cyclic_lbp", "cyclic_lbp_10"])
    >>> list(made)
    ['face', 'codes', 'cyclic_lbp', 'cyclic_lbp_10']
    """
    if not isinstance(face, np.ndarray) or face.dtype != np.uint8:
        got = face.dtype if isinstance(face, np.ndarray) else type(face).__name__
        raise TypeError(f"thumbnails: face is {got}; expected a uint8 array")
    if face.ndim != 3 or face.shape[2] != 3 or face.size == 0:
        raise ValueError(f"thumbnails: face has shape {face.shape}; expected (H, W, 3), not empty")
    least = min(face.shape[:2])
    made = {"face": _encoded(face, _FACE, 75)}
    if least > 2:
        made["codes"] = _encoded(_thinned(lbp_codes(face)), _MAPPED, 60)
    for chosen in map(resolve, representations):
        if chosen.table is not None and least > 2 * chosen.radius:
            made[chosen.name] = _encoded(_thinned(mapped_lbp(face, chosen)), _MAPPED, 60)
    return made


def _thinned(picture: U8) -> U8:
    """Leave out all but 256 rows and columns of the longer side, and as many of the other."""
    longer = max(picture.shape[:2])
    if longer <= _SHOWN:
        return picture
    rows, columns = (
        (np.arange(kept) * 2 + 1) * length // (2 * kept)
        for length in picture.shape[:2]
        for kept in (max(1, length * _SHOWN // longer),)
    )
    thinned: U8 = picture[rows[:, None], columns]
    return thinned


def _encoded(picture: U8, side: int, quality: int) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((side, side))
    file = io.BytesIO()
    if max(image.size) < _LOSSLESS:
        image.save(file, "PNG", optimize=True)
    else:
        image.save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()
