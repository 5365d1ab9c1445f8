"""The front door: arrays in, arrays out, nothing imported but NumPy.

Every `image` is one uint8 picture, (H, W) grey or (H, W, 3) RGB; a batch, (N, H, W) or
(N, H, W, 3); or a list of pictures of any sizes, for which a list comes back. A last axis of 3
means colour. Rows may have any stride, also negative: views are not copied.

Source of the method: G. Levi and T. Hassner, "Emotion Recognition in the Wild via Convolutional
Neural Networks and Mapped Binary Patterns", ICMI 2015; codes after T. Ojala, M. Pietikainen and
T. Maenpaa, PAMI 24(7), 2002, as Oulu's lbp.m computes them.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from lbpmap import _checks, _isa, _kernels, _mapping
from lbpmap._arrays import U8, Array
from lbpmap._checks import Image
from lbpmap._isa import build_info, use_isa
from lbpmap.blobs import caffe_blob, mapped_planes
from lbpmap.representations import (
    REPRESENTATIONS,
    AnyRepresentation,
    Representation,
    resolve,
)
from lbpmap.tables import ARITHMETICS, MAX_POINTS, Table, load_table

__all__ = [
    "REPRESENTATIONS",
    "Representation",
    "Table",
    "build_info",
    "caffe_blob",
    "lbp_codes",
    "load_table",
    "map_codes",
    "mapped_lbp",
    "mapped_planes",
    "to_gray",
    "use_isa",
]


def to_gray(image: Image, *, out: Any = None) -> Any:
    """Turn RGB into grey as MATLAB's ``rgb2gray`` does.

    Y = 0.298936021293775 R + 0.587043074451121 G + 0.114020904255103 B, rounded half up. Pillow's
    and OpenCV's grey differ from it in about 2 pixels of 1,000, and so do the codes made of them.

    Parameters
    ----------
    image : uint8 array (H, W, 3), or (H, W), a batch or a list of these
        RGB. Grey pictures are returned as they are, without a copy.
    out : uint8 array (H, W), optional
        Where to put the result (a batch: (N, H, W); a list: a list of arrays).

    Returns
    -------
    uint8 array (H, W)

    Raises
    ------
    TypeError, ValueError
        When a picture or `out` is not as described.

    Examples
    --------
    >>> to_gray(np.array([[[255, 0, 0], [10, 20, 30]]], np.uint8))
    array([[76, 18]], dtype=uint8)
    """
    source = _checks.pictures(image, "to_gray")
    if out is None and all(item.ndim == 2 for item in source.items):
        return image
    result, targets = _checks.outputs(out, source, lambda size, which: size, np.uint8, "to_gray")
    _mapping.run(_mapping.gray_into, source.items, targets, margin=0, threads=1)
    return result


def lbp_codes(
    image: Image,
    radius: int = 1,
    *,
    points: int = 8,
    neighborhood: str = "circular",
    arithmetic: str = "exact",
    out: Any = None,
    threads: int = 1,
) -> Any:
    """Compute the local binary pattern code of every pixel whose neighbourhood is in the picture.

    Bit i of a code (weight 2**i) is 1 where sample i is not below the centre. Sample i lies at
    row ``-radius * sin(2 pi i / points)``, column ``radius * cos(2 pi i / points)``: from east,
    counter-clockwise. Between pixels it is bilinear.

    Parameters
    ----------
    image : uint8 array (H, W) or (H, W, 3), a batch or a list of these
        Colour is turned to grey first (`to_gray`).
    radius : int, default 1
        Of the circle, in pixels.
    points : int, default 8
        Number of samples, 1 to 16.
    neighborhood : {"circular", "square"}
        "square" takes the eight pixels at offsets 0 and ±`radius` instead, without
        interpolation: another feature, for `points` 8 only.
    arithmetic : {"exact", "released"}
        How a sample between pixels is compared with the centre. "exact" follows lbp.m 0.3.3
        (weights to 6 decimals, samples to 4): an integer rule. "released" follows lbp.m 0.3.2 in
        double precision, with which the released nets were trained; true ties fall by rounding.
        Both give the same codes on every machine.
    out : array of the result's shape and dtype, optional
        Where to put the result; it must not overlap the input.
    threads : int, default 1
        Threads to use: pictures are shared out first, then bands of rows.

    Returns
    -------
    uint8 array (H - 2 radius, W - 2 radius)
        uint16 when `points` > 8.

    Raises
    ------
    TypeError, ValueError
        When an argument is not as described, or a picture is smaller than the neighbourhood.

    References
    ----------
    M. Heikkila and T. Ahonen, lbp.m 0.3.2 and 0.3.3, University of Oulu.

    Examples
    --------
    >>> step = np.repeat(np.array([[0, 0, 9, 9]], np.uint8), 3, axis=0)
    >>> lbp_codes(step)
    array([[255, 199]], dtype=uint8)
    """
    name = "lbp_codes"
    radius = _checks.positive(radius, "radius", name)
    points = _checks.positive(points, "points", name)
    threads = _checks.positive(threads, "threads", name)
    _checks.one_of(neighborhood, ("circular", "square"), "neighborhood", name)
    _checks.one_of(arithmetic, ARITHMETICS, "arithmetic", name)
    if points > MAX_POINTS:
        raise ValueError(f"{name}: points must be 1 to {MAX_POINTS}, got {points}")
    if neighborhood == "square" and points != 8:
        raise ValueError(f'{name}: neighborhood "square" has 8 points, got points={points}')

    source = _checks.pictures(image, name)
    dtype = np.uint8 if points <= 8 else np.uint16
    result, targets = _checks.outputs(out, source, _checks.interior(radius, name), dtype, name)
    if targets:
        around = _mapping.neighborhood(neighborhood == "square", points, radius, arithmetic)
        isa, kernel = _isa.chosen(), _kernels.codes if points <= 8 else _kernels.codes16
        _mapping.run(
            lambda rows, codes: kernel(isa, around, _mapping.gray(rows), codes),
            source.items,
            targets,
            margin=radius,
            threads=threads,
        )
    return result


def map_codes(codes: Array, table: str | Table | U8, *, out: Any = None) -> U8:
    """Look codes up in a table of colours.

    Parameters
    ----------
    codes : uint8 or uint16 array, any shape
        As `lbp_codes` gives them.
    table : str, path, Table or uint8 array (2**P, 3)
        A published table ("lbp", "cyclic_lbp", or a `Table` of the same values) gives code 255
        the colour of code 254, as the released pictures have it; ``table.values`` keeps its own
        last row. An array is used as it is.
    out : uint8 array, shape ``codes.shape + (3,)``, optional
        Where to put the result; it must not overlap `codes`.

    Returns
    -------
    uint8 array, shape ``codes.shape + (3,)``

    Raises
    ------
    TypeError, ValueError
        When an argument is not as described, or a code has no row in the table.

    Examples
    --------
    >>> map_codes(np.array([[0, 255]], np.uint8), "cyclic_lbp").tolist()
    [[[255, 172, 132], [18, 105, 128]]]
    """
    name = "map_codes"
    if not isinstance(codes, np.ndarray) or codes.dtype not in (np.uint8, np.uint16):
        got = getattr(codes, "dtype", type(codes).__name__)
        raise TypeError(f"{name}: codes must be a uint8 or uint16 array, got {got}")
    rows = _rows(table, name)
    if codes.size and len(rows) < np.iinfo(codes.dtype).max + 1 and codes.max() >= len(rows):
        raise ValueError(
            f"{name}: code {codes.max()} has no row in a table of {len(rows)} ({name} needs one "
            f"row a code)"
        )
    result = _checks.output(out, (*codes.shape, 3), np.uint8, [codes], name, packed=2)
    if codes.size:
        flat = codes if codes.ndim >= 2 else codes.reshape(1, -1)
        target = result if codes.ndim >= 2 else result.reshape(1, -1, 3)
        lookup = _kernels.lookup if codes.dtype == np.uint8 else _kernels.lookup16
        padded = _mapping.padded(rows)
        for index in np.ndindex(flat.shape[:-2]):
            part = flat[index]
            unit = part.strides[1] == part.itemsize
            lookup(_isa.chosen(), part if unit else part.copy(), padded, target[index])
    return result


def mapped_lbp(
    image: Image,
    representation: AnyRepresentation = "cyclic_lbp",
    *,
    code_255: str = "released",
    out: Any = None,
    threads: int = 1,
) -> Any:
    """Turn a picture into a mapped binary pattern, what the released nets look at.

    Parameters
    ----------
    image : uint8 array (H, W) or (H, W, 3), a batch or a list of these
        Colour is turned to grey first (`to_gray`).
    representation : str, path, Table or Representation, default "cyclic_lbp"
        "lbp", "cyclic_lbp", "cyclic_lbp_5", "cyclic_lbp_10"; "rgb" returns the picture itself,
        grey repeated three times. A table of your own, or its file, brings radius, points and
        arithmetic with it.
    code_255 : {"released", "own"}
        In the two published tables, give code 255 the colour of code 254, as the authors'
        pictures have it, or the table's own. Any other table has only its own rows.
    out : uint8 array of the result's shape, optional
        Where to put the result; it must not overlap the input.
    threads : int, default 1
        Threads to use: pictures are shared out first, then bands of rows.

    Returns
    -------
    uint8 array (H - 2R, W - 2R, 3)
        Dimensions 1, 2, 3 of the embedding as R, G, B.

    Raises
    ------
    TypeError, ValueError, OSError
        When an argument is not as described, or a picture is smaller than the neighbourhood.

    Examples
    --------
    >>> flat = np.full((4, 4, 3), 128, np.uint8)
    >>> mapped_lbp(flat, "cyclic_lbp").shape
    (2, 2, 3)
    """
    name = "mapped_lbp"
    threads = _checks.positive(threads, "threads", name)
    _checks.one_of(code_255, ("released", "own"), "code_255", name)
    chosen = resolve(representation)
    source = _checks.pictures(image, name)
    if chosen.table is None:
        return _as_rgb(image, source, out)
    result, targets = _checks.outputs(
        out, source, _checks.interior(chosen.radius, name, 3), np.uint8, name, packed=2
    )
    if targets:
        _mapping.run(
            _mapping.mapper(chosen, code_255),
            source.items,
            targets,
            margin=chosen.radius,
            threads=threads,
        )
    return result


def _rows(table: Any, name: str) -> U8:
    if isinstance(table, np.ndarray):
        if table.dtype != np.uint8 or table.ndim != 2 or table.shape[1] != 3 or not len(table):
            raise ValueError(
                f"{name}: a table must be a uint8 array (2^P, 3), got {table.dtype} {table.shape}"
            )
        return table
    if not isinstance(table, (Table, str, os.PathLike)):
        raise TypeError(
            f"{name}: table must be a name, a table file, a Table or an array, got "
            f"{type(table).__name__}"
        )
    found = table if isinstance(table, Table) else load_table(table)
    return found.lookup("released" if found.published else "own")


def _as_rgb(image: Image, source: _checks.Pictures, out: Any) -> Any:
    if out is None and source.items and all(item.ndim == 3 for item in source.items):
        return image
    result, targets = _checks.outputs(
        out, source, lambda size, which: (*size, 3), np.uint8, "mapped_lbp", packed=2
    )
    for item, target in zip(source.items, targets):
        np.copyto(target, item if item.ndim == 3 else item[..., None])
    return result
