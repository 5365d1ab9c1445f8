"""How far codes are from each other: the distances of which tables are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist  # type: ignore[import-untyped]

from lbpmap._arrays import F64

#: More points than these make a matrix that no longer fits: 2**12 codes have 134 MB of distances.
MAX_POINTS = 12


def code_distance(kind: str, points: int = 8) -> F64:
    """Compute how far every code is from every other.

    A code's bits, the least significant first, are a row of `points` numbers; its cdf is their
    running sum, not normalised; EMD(p, q) is the sum of abs(cdf p - cdf q), where the numbers
    of ones may differ. All distances are whole numbers, symmetric, with a zero diagonal.

    ``"lbp"``
        EMD of the bits, as for the published table `lbp`. A metric.
    ``"cyclic_lbp"``
        As for the published table of that name: with a zero put before the bits, x and y, and
        `rev` their reversal, the least of EMD(x, y), EMD(rev x, y) and EMD(x, rev y). Not
        invariant to rotation of the codes, whatever the name, and not a metric: for 8 points 56
        pairs of different codes are at distance 0.
    ``"circular_emd"``
        The circle is cut before any of its bits and read in either direction, both codes alike:
        the least EMD of the 2 `points` pairs of rows. Where both have as many ones it is the earth
        mover's distance on the circle; the ones that a code has more leave at the cut. Invariant
        to rotating both codes by the same number of bits and to mirroring both, as happens to all
        codes of a picture that is turned or mirrored; rotating only one of them changes it. Zero
        for equal codes only. The triangle inequality holds among codes of as many ones; ones that
        leave together at one cut cost more than one by one.
    ``"hamming"``
        How many bits differ. A metric, invariant to any reordering of the bits of both codes.

    Parameters
    ----------
    kind : {"lbp", "cyclic_lbp", "circular_emd", "hamming"}
    points : int, default 8
        Bits of a code, 1 to 12.

    Returns
    -------
    float64 array, shape (2**points, 2**points)
        Row and column are codes. From 0 to points (points + 1) / 2; to `points` for "hamming".

    Raises
    ------
    ValueError
        When an argument is not as described.

    Examples
    --------
    >>> code_distance("lbp", 3)[0b001]
    array([3., 0., 1., 2., 2., 1., 2., 3.])
    >>> code_distance("circular_emd", 3)[0b001]
    array([1., 0., 1., 1., 1., 1., 2., 3.])
    """
    if kind not in KINDS:
        raise ValueError(f"code_distance: kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if not whole(points) or not 1 <= points <= MAX_POINTS:
        raise ValueError(
            f"code_distance: points must be an integer from 1 to {MAX_POINTS}, got {points!r}"
        )
    return _DISTANCES[kind](_bits(int(points)))


def whole(number: Any) -> bool:
    """Whether this is an integer, Python's or NumPy's."""
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool)


def _bits(points: int) -> F64:
    bits: F64 = (np.arange(2**points)[:, np.newaxis] >> np.arange(points) & 1).astype(np.float64)
    return bits


def _emd(p: F64, q: F64) -> F64:
    distances: F64 = cdist(p.cumsum(axis=1), q.cumsum(axis=1), "cityblock")
    return distances


def _plain(bits: F64) -> F64:
    return _emd(bits, bits)


def _released_cyclic(bits: F64) -> F64:
    behind_zero = np.hstack([np.zeros((len(bits), 1)), bits])
    distances = _emd(behind_zero, behind_zero)
    reversed_first = _emd(behind_zero[:, ::-1], behind_zero)
    np.minimum(distances, reversed_first, out=distances)
    return np.minimum(distances, reversed_first.T, out=distances)


def _circular(bits: F64) -> F64:
    points = bits.shape[1]
    weights = 1 << np.arange(points)
    # Whole numbers of at most 78, gathered 2 `points` times: bytes are an eighth of the memory.
    straight = _emd(bits, bits).astype(np.uint8)
    least = straight.copy()
    for way in (bits, bits[:, ::-1]):
        for cut in range(points):
            read = (np.roll(way, -cut, axis=1) @ weights).astype(np.intp)
            np.minimum(least, straight[np.ix_(read, read)], out=least)
    return least.astype(np.float64)


def _differing(bits: F64) -> F64:
    distances: F64 = cdist(bits, bits, "cityblock")
    return distances


_DISTANCES: dict[str, Callable[[F64], F64]] = {
    "lbp": _plain,
    "cyclic_lbp": _released_cyclic,
    "circular_emd": _circular,
    "hamming": _differing,
}

#: The distances between codes that `code_distance` knows.
KINDS = tuple(_DISTANCES)
