"""Multidimensional scaling: points in a few dimensions whose distances follow given ones.

`classical` is Torgerson's (Psychometrika 17, 1952) by eigenvectors. `descend` lowers Kruskal's
stress-1 (Psychometrika 29, 1964) from a start. Its steps are those by which the published tables
were made and they are part of the result: the table of `cyclic_lbp` is a saddle at which this
optimiser comes to rest, while another one goes on and ends in other colours.

Distances of n points are vectors of n (n - 1) / 2 pairs, float64, in the order of
`scipy.spatial.distance.pdist`, so that 4,096 points take 67 MB for each of them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh  # type: ignore[import-untyped]
from scipy.optimize import fminbound  # type: ignore[import-untyped]
from scipy.sparse.linalg import eigsh  # type: ignore[import-untyped]
from scipy.spatial.distance import pdist, squareform  # type: ignore[import-untyped]
from sklearn.isotonic import isotonic_regression  # type: ignore[import-untyped]
from tqdm import tqdm

from lbpmap._arrays import F64

# The smallest change of stress, of slope and of place, relative, that is worth another step.
_TOLERANCE = 1e-6
# Below this, stress is rounding.
_PERFECT = 1e-12
# The tolerance of the first line search, in the unit of the step; later ones are finer.
_COARSE = 1e-3
_LINE_EVALUATIONS = 100
_HALVINGS = 60

# More points than this have their few eigenvectors found by Lanczos, not all of them.
_DENSE = 512
# Components of an eigenvector that differ by less, relative to the largest, are the same.
_SAME = 1e-9
# Pairs handled at once: they stay in the cache, and are too few for a BLAS to wake its threads.
_CHUNK = 1 << 13


class Scaled(NamedTuple):
    """What `descend` comes to."""

    points: F64
    stress: float
    iterations: int
    converged: bool


class Monotone:
    """Disparities: what distances would be if they never fell where dissimilarities rise.

    Isotonic regression of the distances on the dissimilarities with the primary treatment of ties:
    pairs of the same dissimilarity may keep different distances, which is the regression of the
    pairs sorted by (dissimilarity, distance). Within one dissimilarity the fit of sorted values
    pools the lowest with those before and the highest with those after and leaves the others: it
    is a clip, so that only values have to be sorted and never pairs.
    """

    def __init__(self, dissimilarities: F64) -> None:
        self._order = np.argsort(dissimilarities, kind="stable")
        ranked = dissimilarities[self._order]
        self._first = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
        self._end = np.append(self._first[1:], len(ranked))
        tied = self._end - self._first
        self._level = np.empty(len(ranked), np.int32)
        self._level[self._order] = np.repeat(np.arange(len(tied), dtype=np.int32), tied)
        self._ties = list(zip(self._first[tied > 1].tolist(), self._end[tied > 1].tolist()))

    def __call__(self, distances: F64) -> F64:
        """Give the disparities nearest to `distances` in the sense of least squares."""
        ranked = distances[self._order]
        for first, end in self._ties:
            ranked[first:end].sort()
        fitted = isotonic_regression(ranked)
        low: F64 = fitted[self._first].take(self._level)
        np.maximum(distances, low, out=low)
        high = fitted[self._end - 1].take(self._level)
        np.minimum(low, high, out=low)
        return low


def stress_1(distances: F64, disparities: F64) -> float:
    """Kruskal's stress-1: the misfit of distances as a fraction of them, root of squares."""
    misfit = total = 0.0
    for start in range(0, len(distances), _CHUNK):
        part = distances[start : start + _CHUNK]
        difference = part - disparities[start : start + _CHUNK]
        misfit += float(difference @ difference)
        total += float(part @ part)
    return math.sqrt(misfit / total)


def classical(distances: F64, dims: int) -> F64:
    """Place points by the leading eigenvectors of the doubly centred squared distances.

    Parameters
    ----------
    distances : float64 array (n, n)
    dims : int
        Less than n.

    Returns
    -------
    float64 array (n, dims)
        By falling eigenvalue; zero where an eigenvalue is not positive. The component of largest
        magnitude is positive. Where several tie, it is that of the first odd row among them: of
        two complementary codes the one with bit 0 set.
    """
    centred = distances**2
    centred -= centred.mean(axis=0)
    centred -= centred.mean(axis=1, keepdims=True)
    centred *= -0.5
    values, vectors = _leading(centred, dims)
    for axis in range(dims):
        magnitude = np.abs(vectors[:, axis])
        tied = np.flatnonzero(magnitude >= magnitude.max() * (1 - _SAME))
        odd = tied[tied % 2 == 1]
        if vectors[(odd if len(odd) else tied)[0], axis] < 0:
            vectors[:, axis] *= -1
    placed: F64 = vectors * np.sqrt(np.maximum(values, 0))
    return placed


def _leading(matrix: F64, count: int) -> tuple[F64, F64]:
    n = len(matrix)
    if n > _DENSE:
        # Lanczos starts at random if left to itself; ones are an eigenvector of a centred matrix.
        start = np.random.default_rng(0).standard_normal(n)
        values, vectors = eigsh(matrix, count, which="LA", v0=start)
        order = np.argsort(values)
        values, vectors = values[order], vectors[:, order]
    else:
        values, vectors = eigh(matrix)
    return values[: -count - 1 : -1], np.ascontiguousarray(vectors[:, : -count - 1 : -1])


def principal(points: F64) -> F64:
    """Centre points and turn them to their principal axes, the first the longest.

    The largest component of each axis is positive, so that points already there stay there.
    """
    centred = points - points.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    largest = np.abs(axes).argmax(axis=1)
    axes *= np.sign(axes[np.arange(len(axes)), largest])[:, np.newaxis]
    turned: F64 = centred @ axes.T
    return turned


def rescaled(points: F64, dissimilarities: F64, metric: bool) -> tuple[F64, F64]:
    """Centre points and bring them to the size of the dissimilarities; also give their distances.

    For metric stress the size is the one of least stress-1; otherwise the largest distance becomes
    the largest dissimilarity, without which the search stops elsewhere.
    """
    points = points - points.mean(axis=0)
    distances = pdist(points)
    if metric:
        factor = (dissimilarities @ dissimilarities) / (distances @ dissimilarities)
    else:
        factor = dissimilarities.max() / distances.max()
    distances *= factor
    return points * factor, distances


def descend(
    dissimilarities: F64, start: F64, *, metric: bool, max_iterations: int, progress: bool
) -> Scaled:
    """Lower stress-1 by conjugate gradients, Polak and Ribiere's, never negative.

    Parameters
    ----------
    dissimilarities : float64 array (n (n - 1) / 2,)
        Not all zero.
    start : float64 array (n, dims)
        Not all in one place.
    metric : bool
        Compare distances with the dissimilarities themselves, not with disparities that only
        follow their order.
    max_iterations : int
        Steps to make at most.
    progress : bool
        Show a bar on the error stream.

    Returns
    -------
    Scaled
        The points centred and rescaled (`rescaled`), not turned.
    """
    monotone = None if metric else Monotone(dissimilarities)
    points, before, step = start, math.inf, math.inf
    direction = slope_before = None
    tolerance = _COARSE
    with tqdm(total=max_iterations, desc="stress", disable=not progress) as bar:
        for iteration in range(max_iterations + 1):
            points, distances = rescaled(points, dissimilarities, metric)
            disparities = dissimilarities if monotone is None else monotone(distances)
            stress = stress_1(distances, disparities)
            if stress < _PERFECT:
                return Scaled(points, stress, iteration, True)
            slope = _gradient(points, distances, disparities, stress)
            if (
                before - stress < _TOLERANCE * before
                or float(np.linalg.norm(slope)) < _TOLERANCE * stress
                or step < _TOLERANCE * float(np.linalg.norm(points))
            ):
                return Scaled(points, stress, iteration, True)
            if iteration == max_iterations:
                break
            if direction is None or slope_before is None:
                direction = -slope
            else:
                turn = np.vdot(slope - slope_before, slope) / np.vdot(slope_before, slope_before)
                direction = max(0.0, float(turn)) * direction - slope
            length, searched = _line_search(points, direction, disparities, stress, tolerance)
            points = points + length * direction
            step = length * float(np.linalg.norm(direction))
            slope_before = slope if searched else None
            before, tolerance = stress, max(tolerance / 2, _TOLERANCE)
            bar.set_postfix_str(f"{stress:.7f}", refresh=False)
            bar.update()
    return Scaled(points, stress, max_iterations, False)


def _gradient(points: F64, distances: F64, disparities: F64, stress: float) -> F64:
    """Differentiate stress-1 by the points, the disparities held fixed."""
    pull = distances - disparities
    # Points in the same place have no direction in which to part.
    np.divide(pull, distances, out=pull, where=distances > 0)
    pull -= stress**2
    pull /= stress * float(distances @ distances)
    square = squareform(pull, checks=False)
    slope: F64 = square.sum(axis=1)[:, np.newaxis] * points - square @ points
    return slope


def _line_search(
    points: F64, direction: F64, disparities: F64, stress: float, tolerance: float
) -> tuple[float, bool]:
    """Find the step of least stress, the disparities held fixed; say whether Brent's holds.

    If Brent's is no improvement it is halved until it is one, and the conjugate directions start
    afresh. Zero after many halvings: the stress is as low as rounding lets it be.
    """
    trial = np.empty_like(disparities)

    def at(length: float) -> float:
        return stress_1(pdist(points + length * direction, out=trial), disparities)

    limit = 2.0
    while at(limit) <= stress:
        limit *= 2
    length, value, _, _ = fminbound(
        at, 0.0, limit, xtol=tolerance, maxfun=_LINE_EVALUATIONS, full_output=True
    )
    if value < stress:
        return float(length), True
    for _ in range(_HALVINGS):
        length /= 2
        if at(length) < stress:
            return float(length), False
    return 0.0, False
