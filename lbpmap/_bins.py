"""Which codes a histogram counts together, after Ojala, Pietikainen and Maenpaa, PAMI 24(7), 2002.

A code is read around its circle: bit P - 1 is the neighbour of bit 0.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lbpmap._arrays import U16, Array

BINS = ("all", "uniform", "rotation", "uniform_rotation")


def _rotations(points: int) -> Array:
    """Give every code rotated by every step: (points, 2**points)."""
    codes = np.arange(2**points, dtype=np.uint32)
    return np.stack([(codes >> i | codes << (points - i)) & (2**points - 1) for i in range(points)])


def _ones(codes: Array, points: int) -> Array:
    return sum((codes >> i & 1 for i in range(points)), np.zeros_like(codes))


@lru_cache(maxsize=16)
def _groups(bins: str, points: int) -> tuple[Array, int | None]:
    """Give each code the value that its bin shares, and the value of the bin called "other"."""
    codes = np.arange(2**points, dtype=np.uint32)
    if bins == "all":
        return codes, None
    rotated = _rotations(points)
    if bins == "rotation":
        return rotated.min(axis=0), None
    uniform = _ones(codes ^ rotated[1 % points], points) <= 2
    other = 2**points
    return np.where(uniform, codes if bins == "uniform" else _ones(codes, points), other), other


@lru_cache(maxsize=16)
def bin_table(bins: str, points: int) -> tuple[U16, int]:
    """Give the bin of every code, at least 256 entries, and the number of bins."""
    values, other = _groups(bins, points)
    distinct, table = np.unique(values, return_inverse=True)
    count = len(distinct) + (other is not None and other not in distinct)
    padded = np.zeros(max(256, len(table)), np.uint16)
    padded[: len(table)] = table
    return padded, count


def bin_labels(bins: str, points: int) -> list[str]:
    """Give the bins' names: their codes, smallest codes or numbers of ones, and "other"."""
    values, other = _groups(bins, points)
    word = {"rotation": "class", "uniform_rotation": "ones"}.get(bins, "code")
    named = [f"{word}_{value}" for value in np.unique(values) if value != other]
    return named if other is None else [*named, "other"]
