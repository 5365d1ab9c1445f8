"""The slow, readable twin of every kernel: the definitions, in NumPy, double precision.

Each function follows its source line by line. The C core must give the same bytes; the tests hold
the two together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lbpmap._arrays import F32, U8, U16, Array
from lbpmap.resize import resize_image


class Sample(NamedTuple):
    """One sample of a neighbourhood: four pixels around it, offsets from the centre."""

    rows: tuple[int, int]
    cols: tuple[int, int]
    is_pixel: bool
    weights: tuple[float, float, float, float]


def to_gray(rgb: U8) -> U8:
    """Turn RGB (H, W, 3) into MATLAB's rgb2gray (H, W): weights in double, rounded half up."""
    red, green, blue = (rgb[..., channel].astype(np.float64) for channel in range(3))
    luma = 0.298936021293775 * red + 0.587043074451121 * green + 0.114020904255103 * blue
    return np.floor(luma + 0.5).astype(np.uint8)


def circle(points: int, radius: int) -> list[Sample]:
    """Place the samples as lbp.m does: 1-based coordinates, fractions taken after the addition."""
    step = 2 * math.pi / points
    origin = 1 + radius
    found = []
    for i in range(points):
        y = -radius * math.sin(i * step) + origin
        x = radius * math.cos(i * step) + origin
        near_y, near_x = math.floor(y + 0.5), math.floor(x + 0.5)
        if abs(y - near_y) < 1e-6 and abs(x - near_x) < 1e-6:
            row, col = near_y - origin, near_x - origin
            found.append(Sample((row, row), (col, col), True, (0.0, 0.0, 0.0, 0.0)))
            continue
        ty, tx = y - math.floor(y), x - math.floor(x)
        found.append(
            Sample(
                (math.floor(y) - origin, math.ceil(y) - origin),
                (math.floor(x) - origin, math.ceil(x) - origin),
                False,
                ((1 - tx) * (1 - ty), tx * (1 - ty), (1 - tx) * ty, tx * ty),
            )
        )
    return found


def square(radius: int) -> list[Sample]:
    """Place the eight samples of the square grid, from east, counter-clockwise."""
    steps = [(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)]
    return [
        Sample((dy * radius,) * 2, (dx * radius,) * 2, True, (0.0, 0.0, 0.0, 0.0))
        for dy, dx in steps
    ]


def lbp_codes(gray: U8, samples: list[Sample], radius: int, arithmetic: str) -> U16:
    """Code the interior of `gray` (H, W): bit i is 1 where sample i >= centre.

    "released" is lbp.m 0.3.2: the sum in double, left to right. "exact" is lbp.m 0.3.3: weights
    rounded to 6 decimals, the last one what is left to 1, the sample rounded to 4 decimals; done
    here in integers, where those roundings are exact.
    """
    height, width = gray.shape[0] - 2 * radius, gray.shape[1] - 2 * radius

    def pixels(dy: int, dx: int) -> U8:
        return gray[radius + dy :, radius + dx :][:height, :width]

    centre = pixels(0, 0)
    codes = np.zeros((height, width), np.uint16)
    for i, sample in enumerate(samples):
        corners = [pixels(dy, dx) for dy in sample.rows for dx in sample.cols]
        if sample.is_pixel:
            bit = corners[0] >= centre
        elif arithmetic == "released":
            total = sample.weights[0] * corners[0].astype(np.float64)
            for weight, corner in zip(sample.weights[1:], corners[1:]):
                total = total + weight * corner.astype(np.float64)
            bit = total >= centre
        else:
            millionths = [math.floor(w * 1e6 + 0.5) for w in sample.weights[:3]]
            millionths.append(1_000_000 - sum(millionths))
            value = sum(w * c.astype(np.int64) for w, c in zip(millionths, corners))
            # Rounding to 4 decimals is adding 50 millionths and dropping what is below 100.
            bit = (value + 50) // 100 >= centre.astype(np.int64) * 10_000
        codes |= bit.astype(np.uint16) << np.uint16(i)
    return codes


def map_codes(codes: U16, table: U8) -> U8:
    """Look every code up in `table` (2^P, 3)."""
    return table[codes]


def histogram(codes: Array, bin_of_code: U16, bins: int, grid: tuple[int, int]) -> Array:
    """Count codes (H, W) by bin in each cell: (rows, columns, bins).

    Cell edges lie at `length * i // cells`, so that sides differ by at most one pixel.
    """
    tops, lefts = (
        [length * i // cells for i in range(cells + 1)] for length, cells in zip(codes.shape, grid)
    )
    return np.array(
        [
            [
                np.bincount(bin_of_code[codes[top:bottom, left:right]].ravel(), minlength=bins)
                for left, right in zip(lefts, lefts[1:])
            ]
            for top, bottom in zip(tops, tops[1:])
        ]
    )


def blob(mapped: U8, size: int, crop: int, crops: int, before: F32, after: F32) -> F32:
    """Cut the crops of one mapped picture (H, W, 3) that a net takes: (crops, 3, crop, crop).

    The steps are those of `caffe.io.load_image`, `resize_image`, `oversample` and
    `Transformer.preprocess`. One mean is subtracted before the crops are cut, (3, size, size), the
    other after, (3, crop, crop); either may be 0.
    """
    unit = (np.arange(256) / 255).astype(np.float32)
    stretched = resize_image(unit[mapped], (size, size))
    planes = stretched.transpose(2, 0, 1)[::-1] * np.float32(255) - before
    middle, last = (size - crop) // 2, size - crop
    corners = [(0, 0), (0, last), (last, 0), (last, last)] if crops == 10 else []
    cut = [planes[:, y : y + crop, x : x + crop] for y, x in [*corners, (middle, middle)]]
    if crops == 10:
        cut += [view[:, :, ::-1] for view in cut]
    return np.array(cut) - after
