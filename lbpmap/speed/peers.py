"""What other libraries take for the same work, or for the part of it that they have.

A peer is ready to run: its inputs are made, its output is allocated where it takes one, and it has
one thread. Those that are not installed are left out, and `missing` names them. A name in brackets
says what a peer leaves out.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from lbpmap import _reference
from lbpmap._arrays import F64, U8, Array

Call = Callable[[], Any]

# The module to look for; what pip calls it where that is another name.
PACKAGES = {
    "scikit-image": "skimage",
    "mahotas": "mahotas",
    "numba": "numba",
    "OpenCV": "cv2",
}
_PIP_NAMES = {"OpenCV": "opencv-python-headless"}


def has(library: str) -> bool:
    """Say whether a library of `PACKAGES` is installed."""
    return importlib.util.find_spec(PACKAGES[library]) is not None


def missing() -> list[str]:
    """Give what pip calls the libraries that are not installed."""
    return [_PIP_NAMES.get(name, name) for name in PACKAGES if not has(name)]


def _load(module: str) -> Any:
    found = importlib.import_module(module)
    if module == "cv2":
        found.setNumThreads(1)
    return found


def _ready(table: dict[str, Callable[..., Call]], *inputs: Any) -> dict[str, Call]:
    return {
        name: make(*inputs)
        for name, make in table.items()
        if name.split(" ")[0] not in PACKAGES or has(name.split(" ")[0])
    }


def _skimage_codes(gray: U8, radius: int) -> Call:
    feature = _load("skimage.feature")
    return lambda: feature.local_binary_pattern(gray, 8, radius)


def _mahotas_codes(gray: U8, radius: int) -> Call:
    """Give the smallest rotation of each code, from an interpolation of its own, for all pixels."""
    lbp = importlib.import_module("mahotas.features.lbp").lbp_transform
    return lambda: lbp(gray, radius, 8, preserve_shape=False)


def straight_codes(gray: U8, rows: Array, cols: Array, weights: F64, radius: int, out: U8) -> None:
    """Code a picture in plain float64 loops, row by row, so that a compiler makes vectors of it."""
    for y in range(out.shape[0]):
        codes, centre = out[y], gray[y + radius, radius:]
        codes[:] = 0
        for i in range(8):
            upper, lower = gray[y + radius + rows[i, 0]], gray[y + radius + rows[i, 1]]
            left, right = radius + cols[i, 0], radius + cols[i, 1]
            p00, p01, p10, p11 = upper[left:], upper[right:], lower[left:], lower[right:]
            w00, w01, w10, w11 = weights[i]
            bit, zero = np.uint8(1 << i), np.uint8(0)
            for x in range(codes.shape[0]):
                value = w00 * p00[x] + w01 * p01[x] + w10 * p10[x] + w11 * p11[x]
                codes[x] |= bit if value >= centre[x] else zero


@lru_cache(maxsize=1)
def _compiled() -> Any:
    return _load("numba").njit(straight_codes)


def _numba_codes(gray: U8, radius: int) -> Call:
    samples = _reference.circle(8, radius)
    rows, cols = (np.array([sample[axis] for sample in samples]) for axis in (0, 1))
    weights = np.array([(1.0, 0, 0, 0) if s.is_pixel else s.weights for s in samples])
    out = np.empty((gray.shape[0] - 2 * radius, gray.shape[1] - 2 * radius), np.uint8)
    loop = _compiled()

    def call() -> U8:
        loop(gray, rows, cols, weights, radius, out)
        return out

    return call


def _opencv_square(gray: U8, radius: int) -> Call:
    """Eight comparisons of shifted pictures, and their bits put together."""
    cv2 = _load("cv2")
    height, width = (length - 2 * radius for length in gray.shape)
    shifted = [
        gray[radius + s.rows[0] :, radius + s.cols[0] :][:height, :width]
        for s in _reference.square(radius)
    ]
    centre = gray[radius:, radius:][:height, :width]
    bits, out = np.empty((height, width), np.uint8), np.empty((height, width), np.uint8)

    def call() -> U8:
        out[...] = 0
        for i, sample in enumerate(shifted):
            cv2.compare(sample, centre, cv2.CMP_GE, dst=bits)
            cv2.bitwise_and(bits, 1 << i, dst=bits)
            cv2.bitwise_or(out, bits, dst=out)
        return out

    return call


def _numpy_take(codes: U8, table: U8) -> Call:
    out = np.empty((*codes.shape, 3), np.uint8)
    return lambda: np.take(table, codes, axis=0, out=out, mode="clip")


def _pillow_palette(codes: U8, table: U8) -> Call:
    image = importlib.import_module("PIL.Image").fromarray(codes)
    image.putpalette(table.tobytes())
    return lambda: image.convert("RGB")


def _opencv_colours(codes: U8, table: U8) -> Call:
    cv2 = _load("cv2")
    colours, out = table.reshape(256, 1, 3), np.empty((*codes.shape, 3), np.uint8)
    return lambda: cv2.applyColorMap(codes, colours, dst=out)


def _opencv_lut(codes: U8, table: U8) -> Call:
    """Its table has as many channels as its input, so that grey is repeated first."""
    cv2 = _load("cv2")
    colours, three = table.reshape(256, 1, 3), np.empty((*codes.shape, 3), np.uint8)
    out = np.empty_like(three)

    def call() -> U8:
        cv2.cvtColor(codes, cv2.COLOR_GRAY2RGB, dst=three)
        cv2.LUT(three, colours, dst=out)
        return out

    return call


def _opencv_blob(mapped: U8, mean: Array) -> Call:
    cv2 = _load("cv2")
    shade = tuple(float(value) for value in mean[::-1])
    return lambda: cv2.dnn.blobFromImage(mapped, 1.0, mean=shade, swapRB=True)


def _opencv_stretch(mapped: U8, mean: Array) -> Call:
    cv2 = _load("cv2")
    shade = tuple(float(value) for value in mean[::-1])

    def call() -> Array:
        stretched = cv2.resize(mapped, (256, 256))[16:240, 16:240]
        blob: Array = cv2.dnn.blobFromImage(stretched, 1.0, mean=shade, swapRB=True)
        return blob

    return call


def _numba_mapped(gray: U8, radius: int, table: U8) -> Call:
    codes = _numba_codes(gray, radius)
    look_up = _numpy_take(codes(), table)

    def call() -> Any:
        codes()
        return look_up()

    return call


def _opencv_gray(rgb: U8) -> Call:
    cv2 = _load("cv2")
    out = np.empty(rgb.shape[:2], np.uint8)
    return lambda: cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY, dst=out)


def _pillow_gray(rgb: U8) -> Call:
    image = importlib.import_module("PIL.Image").fromarray(rgb)
    return lambda: image.convert("L")


CODES = {
    "scikit-image": _skimage_codes,
    "mahotas": _mahotas_codes,
    "numba float64": _numba_codes,
}
SQUARE = {"OpenCV compare": _opencv_square}
LOOKUP = {
    "NumPy take": _numpy_take,
    "Pillow palette": _pillow_palette,
    "OpenCV applyColorMap": _opencv_colours,
    "OpenCV LUT": _opencv_lut,
}
GRAY = {"OpenCV cvtColor": _opencv_gray, "Pillow convert": _pillow_gray}
_NUMBA_MAPPED = {"numba float64 + NumPy take": _numba_mapped}
_LOOKUP_ONLY = {"OpenCV applyColorMap (lookup only)": _opencv_colours}
_BLOB_ONLY = {"OpenCV blobFromImage (blob only)": _opencv_blob}
_STRETCH_ONLY = {"OpenCV resize, blobFromImage (no codes)": _opencv_stretch}


def of_codes(gray: U8, radius: int) -> dict[str, Call]:
    """Give those that code a grey picture (H, W) on a circle; the slowest only at radius 1."""
    table = {name: make for name, make in CODES.items() if radius == 1 or name != "mahotas"}
    return _ready(table, gray, radius)


def of_square(gray: U8, radius: int) -> dict[str, Call]:
    """Give those that code a grey picture (H, W) on the square grid."""
    return _ready(SQUARE, gray, radius)


def of_lookup(codes: U8, table: U8) -> dict[str, Call]:
    """Give those that look codes (H, W) up in a table (256, 3)."""
    return _ready(LOOKUP, codes, table)


def of_mapped(gray: U8, codes: U8, radius: int, table: U8) -> dict[str, Call]:
    """Give those that go from grey to colours, or from codes to colours at least."""
    return {**_ready(_NUMBA_MAPPED, gray, radius, table), **_ready(_LOOKUP_ONLY, codes, table)}


def of_planes(mapped: U8, mean: Array) -> dict[str, Call]:
    """Give those that turn a mapped picture (H, W, 3) into float planes minus a mean."""
    return _ready(_BLOB_ONLY, mapped, mean)


def of_blob(mapped: U8, mean: Array) -> dict[str, Call]:
    """Give those that stretch a mapped picture and make the released nets' blob of it."""
    return _ready(_STRETCH_ONLY, mapped, mean)


def of_gray(rgb: U8) -> dict[str, Call]:
    """Give those that turn RGB into grey, each with weights of its own."""
    return _ready(GRAY, rgb)
