"""Where a table comes from: distances between codes, and points in space that keep to them.

A code's colour is a place: non-metric multidimensional scaling lays the codes out in three
dimensions so that near codes get near colours, and three dimensions are red, green and blue.
`embed_codes` does all of it and gives the two published tables to the last grey level;
`code_distance`, `embed` and `Table.from_embedding` are its parts, for tables of one's own.

Source of the method: G. Levi and T. Hassner, "Emotion Recognition in the Wild via Convolutional
Neural Networks and Mapped Binary Patterns", ICMI 2015, as their published tables have it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist, squareform  # type: ignore[import-untyped]

from lbpmap import _mds
from lbpmap._arrays import F64, Array
from lbpmap._code_distance import KINDS, MAX_POINTS, code_distance, whole
from lbpmap._version import __version__
from lbpmap.tables import Table

__all__ = ["CRITERIA", "KINDS", "MAX_POINTS", "Embedding", "code_distance", "embed", "embed_codes"]

CRITERIA = ("nonmetric", "metric", "classical")

# Relative to the largest distance: by how much two that should be equal may differ.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Embedding:
    """Points in space, one a row of the distances they were made of.

    Attributes
    ----------
    coordinates : float64 array, shape (n, dims)
        Centred and turned to principal axes, the longest first. For "nonmetric" the largest
        distance between two points is the largest of the distances given, for "metric" the size
        is that of least stress.
    stress : float
        Kruskal's stress-1 of the coordinates: for "nonmetric" against the disparities, otherwise
        against the distances given.
    iterations : int
        Steps made; 0 for "classical".
    converged : bool
        Whether the search came to rest before its last allowed iteration.
    criterion : {"nonmetric", "metric", "classical"}
        What was made small.
    """

    coordinates: F64
    stress: float
    iterations: int
    converged: bool
    criterion: str


def embed(
    distances: Array,
    dims: int = 3,
    *,
    init: str | Array = "classical",
    criterion: str = "nonmetric",
    seed: int | None = None,
    max_iterations: int = 200,
    progress: bool = False,
) -> Embedding:
    """Find points whose distances follow the distances given.

    Memory grows with the square of the number of points: 4,096 of them need about 1.5 GB.

    Parameters
    ----------
    distances : array (n, n) of real numbers
        Symmetric, not negative, zero on the diagonal; distinct things may be at distance 0.
    dims : int, default 3
        Dimensions of the space, less than n.
    init : {"classical", "random"} or array (n, dims)
        Where to start: classical scaling, a normal distribution, or the points given.
    criterion : {"nonmetric", "metric", "classical"}
        "nonmetric" lowers Kruskal's stress-1 against disparities, the best distances that keep the
        order of those given, with the primary treatment of ties: the published tables' criterion.
        "metric" lowers it against the distances themselves. "classical" takes the leading
        eigenvectors (Torgerson) and neither searches nor starts from `init`.
    seed : int, optional
        Of the random start; other starts have no use for it.
    max_iterations : int, default 200
        Steps to make at most.
    progress : bool, default False
        Show a bar with the stress on the error stream.

    Returns
    -------
    Embedding

    Raises
    ------
    TypeError, ValueError
        When an argument is not as described.

    Notes
    -----
    Stress is lowered to the nearest rest, which need not be its least. Where eigenvalues of the
    distances coincide, as those of "hamming" and of "circular_emd" do, rounding chooses the
    classical start among equals, and machines may differ in the embedding (a start of one's own
    settles it); for "lbp" and "cyclic_lbp" it has no such choice.

    Examples
    --------
    >>> corners = np.array([[0, 0], [0, 3], [4, 0], [4, 3]])
    >>> distances = np.linalg.norm(corners[:, None] - corners[None], axis=2)
    >>> found = embed(distances, 2, criterion="classical")
    >>> np.abs(found.coordinates).round(6).tolist()
    [[2.0, 1.5], [2.0, 1.5], [2.0, 1.5], [2.0, 1.5]]
    """
    given = _distances(distances)
    n = len(given)
    if not whole(dims) or not 1 <= dims < n:
        raise ValueError(
            f"embed: dims must be an integer from 1 to {n - 1} for {n} points, got {dims!r}"
        )
    if criterion not in CRITERIA:
        raise ValueError(
            f"embed: criterion must be one of {', '.join(CRITERIA)}, got {criterion!r}"
        )
    if not whole(max_iterations) or max_iterations < 0:
        raise ValueError(
            f"embed: max_iterations must be an integer of at least 0, got {max_iterations!r}"
        )
    pairs = squareform(given, checks=False)
    if criterion == "classical":
        placed = _mds.principal(_mds.classical(given, dims))
        stress = _mds.stress_1(pdist(placed), pairs)
        return Embedding(placed, stress, 0, True, criterion)
    found = _mds.descend(
        pairs,
        _start(init, given, dims, seed),
        metric=criterion == "metric",
        max_iterations=max_iterations,
        progress=progress,
    )
    return Embedding(
        _mds.principal(found.points), found.stress, found.iterations, found.converged, criterion
    )


def embed_codes(
    kind: str = "cyclic_lbp",
    *,
    points: int = 8,
    radius: int = 1,
    arithmetic: str = "released",
    name: str | None = None,
    init: str | Array = "classical",
    criterion: str = "nonmetric",
    seed: int | None = None,
    max_iterations: int = 200,
    progress: bool = False,
) -> Table:
    """Make a table of colours for codes, as the published ones were made.

    With the defaults, "lbp" and "cyclic_lbp" give the published tables exactly, in 60 iterations
    (stress 0.0226354) and 41 (0.0851643).

    Parameters
    ----------
    kind : {"lbp", "cyclic_lbp", "circular_emd", "hamming"}
        How far codes are from each other, see `code_distance`.
    points : int, default 8
        Bits of a code, 2 to 12.
    radius : int, default 1
        Radius in pixels of the codes it is for; it does not change the colours.
    arithmetic : {"released", "exact"}
        How ties fall in those codes, see `lbpmap.lbp_codes`; it does not change the colours.
    name : str, optional
        By default the kind, then "_p" and the points if they are not 8, then "_" and the radius
        if it is not 1: "cyclic_lbp_5", "hamming_p10_2".
    init, criterion, seed, max_iterations, progress
        See `embed`.

    Returns
    -------
    Table
        `.values` is uint8 (2**points, 3), with its own last row; `.provenance` says how it was
        made, with the stress.

    Raises
    ------
    TypeError, ValueError
        When an argument is not as described.

    Examples
    --------
    >>> table = embed_codes("lbp", points=5)
    >>> table.name, table.values.shape
    ('lbp_p5', (32, 3))
    """
    distances = code_distance(kind, points)
    if points < 2:
        raise ValueError(f"embed_codes: points must be from 2 to {MAX_POINTS}, got {points}")
    # Fields that are wrong are told of now, not after minutes of work.
    blank = np.zeros((2**points, 3), np.uint8)
    asked = Table(blank, name or _name(kind, points, radius), "", radius, points, arithmetic)
    found = embed(
        distances,
        init=init,
        criterion=criterion,
        seed=seed,
        max_iterations=max_iterations,
        progress=progress,
    )
    return Table.from_embedding(
        found,
        asked.name,
        radius=radius,
        arithmetic=arithmetic,
        provenance=f"lbpmap {__version__}: {criterion} multidimensional scaling, 3 dimensions, of "
        f"the distance {kind} of {points} points{_search(found, init, seed)}, "
        f"stress {found.stress:.7f}",
    )


def _name(kind: str, points: int, radius: int) -> str:
    for_points = "" if points == 8 else f"_p{points}"
    return kind + for_points + ("" if radius == 1 else f"_{radius}")


def _search(found: Embedding, init: str | Array, seed: int | None) -> str:
    if found.criterion == "classical":
        return ""
    start = init if isinstance(init, str) else "given"
    seeded = f" (seed {seed})" if start == "random" else ""
    ended = "" if found.converged else ", where it was stopped"
    return f", {found.iterations} iterations from a {start} start{seeded}{ended}"


def _distances(given: Array) -> F64:
    array = np.asarray(given)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"embed: distances must be an array of real numbers, got {array.dtype}")
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(
            f"embed: distances must be square, one row and one column a point, got shape "
            f"{array.shape}; scipy.spatial.distance.squareform makes it of pairs"
        )
    if len(array) < 2:
        raise ValueError(
            f"embed: distances must be those of at least 2 points, got {len(array)}: there is "
            f"nothing to place"
        )
    distances: F64 = array.astype(np.float64)
    _refuse(~np.isfinite(distances), distances, "be finite", "leave out what has no distance")
    _refuse(distances < 0, distances, "not be negative", "take distances, not similarities")
    off = np.eye(len(distances), dtype=bool) & (distances != 0)
    _refuse(off, distances, "be 0 on the diagonal", "take distances, not similarities")
    largest = distances.max()
    if largest == 0:
        raise ValueError("embed: all distances are 0: there is nothing to place")
    skew = np.abs(distances - distances.T) > _ROUNDING * largest
    _refuse(skew, distances, "be the same in both directions", "(d + d.T) / 2 is symmetric")
    return distances


def _refuse(wrong: Array, distances: F64, must: str, mend: str) -> None:
    if wrong.any():
        row, column = np.unravel_index(wrong.argmax(), wrong.shape)
        got = f"{distances[row, column]:g} at row {row}, column {column}"
        raise ValueError(f"embed: distances must {must}, got {got}; {mend}")


def _start(init: str | Array, distances: F64, dims: int, seed: int | None) -> F64:
    shape = (len(distances), dims)
    if isinstance(init, str):
        if init == "classical":
            return _mds.classical(distances, dims)
        if init == "random":
            return np.random.default_rng(seed).standard_normal(shape)
        raise ValueError(
            f"embed: init must be classical, random or an array of shape {shape}, got {init!r}"
        )
    start = np.array(init, np.float64)
    if start.shape != shape:
        raise ValueError(f"embed: init must have shape {shape}, got {start.shape}")
    if not np.isfinite(start).all():
        raise ValueError("embed: init must be finite, got NaN or infinity in it")
    if (start == start[0]).all():
        raise ValueError("embed: init has all points in one place; spread them out")
    return start
