"""A table to look at: its colours by code and by class, in space, and against the distances."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from lbpmap._arrays import F64, U8, Array
from lbpmap._page import INK, PALE, PAPER, Colour, Page, Point
from lbpmap.tables import Table

_WIDTH, _MARGIN = 1400, 40
_TITLE, _HEADING, _LABEL = 26, 17, 12
_SOFT: Colour = (112, 112, 116)
_TINT: Colour = (158, 184, 204)
_AXES = (("1, red", (186, 62, 52)), ("2, green", (52, 128, 62)), ("3, blue", (58, 82, 180)))
_TICKS = (0, 64, 128, 192, 255)

_LEFT = _MARGIN + 34  # of whatever has numbers beside it
_TOP, _SIDE = 154, 448  # of the colours by code
_CLASSES = 790  # width of the colours by class
_SPACE_TOP, _VIEW = 694, 285  # of the views of the embedding
_FIT_TOP, _FIT_HIGH = 1096, 260  # of the Shepard diagram
_BINS = 160  # of embedded distance in the Shepard diagram
_SMOOTH = np.exp(-0.5 * (np.arange(-6, 7) / 2) ** 2)
_FEW = 8  # a density that fills a column; less fills its part of one
_LARGEST = 44  # side of a cell
_RINGED = 18  # cells of this side have room for a drawing of the code beside them


def draw(table: Table, kind: str | None = None) -> U8:
    """Draw a table on one sheet.

    The colours by code, 16 to a row for 8 points; by class, uniform patterns by their number of
    ones and rotation, then the other classes of codes that are rotations of each other; the codes
    in space, at and in their own colours, from aside and along each axis; and, where the distance
    between codes is known, the Shepard diagram: embedded against code distance, with the
    disparities (see `lbpmap.embedding.embed`) as a line.

    Parameters
    ----------
    table : Table
    kind : str, optional
        A distance of `lbpmap.embedding.code_distance`, for the Shepard diagram. By default the
        one by which the table is named (`known_kind`), if any.

    Returns
    -------
    uint8 array (H, 1400, 3)
        RGB.

    Raises
    ------
    ValueError
        When there is no such distance for the table.

    Examples
    --------
    >>> from lbpmap import load_table
    >>> draw(load_table("lbp")).shape
    (1432, 1400, 3)
    """
    kind = kind or known_kind(table)
    fit = None if kind is None else _fit(table, kind)
    page = Page(_WIDTH, _FIT_TOP + _FIT_HIGH + 76 if fit else _FIT_TOP - 40)
    _heading(page, table)
    _by_code(page, table)
    _by_class(page, table)
    _in_space(page, table)
    if fit:
        _shepard(page, fit)
    return page.pixels()


def known_kind(table: Table) -> str | None:
    """Name the distance by which a table is named, as `lbpmap.embed_codes` names them."""
    from lbpmap.embedding import KINDS, MAX_POINTS

    if table.points > MAX_POINTS:
        return None
    return next((k for k in KINDS if table.name == k or table.name.startswith(f"{k}_")), None)


def rotation_classes(points: int) -> tuple[list[list[int]], list[list[int]]]:
    """Arrange all codes by class.

    Parameters
    ----------
    points : int
        Bits of a code.

    Returns
    -------
    uniform : list of list of int
        By number of ones, 0 to `points`; in each the rotations of that many ones in one run, the
        first with its run at bit 0.
    others : list of list of int
        The other classes, by number of ones; in each the different rotations of its least code.

    Examples
    --------
    >>> rotation_classes(4)
    ([[0], [1, 2, 4, 8], [3, 6, 12, 9], [7, 14, 13, 11], [15]], [[5, 10]])
    """
    codes = np.arange(2**points)
    turned = np.stack(
        [(codes << r | codes >> (points - r)) & (2**points - 1) for r in range(points)], axis=1
    )
    least = np.flatnonzero(turned.min(axis=1) == codes)
    runs = {2**ones - 1 for ones in range(points + 1)}
    rows = {int(code): list(dict.fromkeys(turned[code].tolist())) for code in least}
    ranked = sorted(rows, key=lambda code: (bin(code).count("1"), code))
    return [rows[c] for c in ranked if c in runs], [rows[c] for c in ranked if c not in runs]


def _heading(page: Page, table: Table) -> None:
    page.words((_MARGIN, 44), table.name, _TITLE)
    line = (
        f"{2**table.points} codes of {table.points} points, radius {table.radius}, "
        f"arithmetic {table.arithmetic}, sha256 {table.sha256[:16]}"
    )
    if table.published:
        line += ". Published; its pictures give code 255 the colour of code 254."
    page.words((_MARGIN, 76), line, 14, colour=_SOFT)


def _panel(page: Page, left: float, top: float, heading: str, caption: str) -> None:
    page.words((left, top - 40), heading, _HEADING)
    page.words((left, top - 18), caption, _LABEL, colour=_SOFT)


def _by_code(page: Page, table: Table) -> None:
    columns = 2 ** -(-table.points // 2)
    rows = len(table.values) // columns
    cell = _SIDE // columns
    _panel(page, _LEFT, _TOP, "By code", "a code is the number of its row and that of its column")
    _cells(page, (_LEFT, _TOP), cell, np.arange(2**table.points).reshape(rows, columns), table)
    for column in range(0, columns, _apart(28, cell)):
        place = _LEFT + (column + 0.5) * cell, _TOP + rows * cell + 12
        page.words(place, f"{column}", _LABEL, 0.5, _SOFT)
    for row in range(0, rows, _apart(18, cell)):
        page.words((_LEFT - 8, _TOP + (row + 0.5) * cell), f"{row * columns}", _LABEL, 1, _SOFT)


def _apart(room: int, cell: int) -> int:
    """Of how many cells one is numbered, that each number has room: a power of two."""
    return 1 << max(0, math.ceil(math.log2(room / cell)))


def _cells(
    page: Page, corner: Point, cell: int, codes: Iterable[Iterable[int]], table: Table
) -> None:
    seam = 1 if cell >= 8 else 0
    for y, row in enumerate(codes):
        for x, code in enumerate(row):
            red, green, blue = table.values[code].tolist()
            place = corner[0] + x * cell, corner[1] + y * cell
            page.box(*place, cell - seam, cell - seam, (red, green, blue))


def _by_class(page: Page, table: Table) -> None:
    uniform, others = rotation_classes(table.points)
    cell, blocks = _blocks(table.points, uniform, others)
    ring = cell + 6 if cell >= _RINGED else 0
    wide = ring + table.points * cell
    gap = min(36, (_CLASSES - len(blocks) * wide) // max(1, len(blocks) - 1))
    left = _WIDTH - _MARGIN - _CLASSES
    _panel(
        page,
        left,
        _TOP,
        "By class",
        "first the uniform codes, then the others; a column is one more rotation",
    )
    for block in blocks:
        _cells(page, (left + ring, _TOP), cell, block, table)
        for y, row in enumerate(block if ring else ()):
            _ring(page, (left + cell / 2, _TOP + (y + 0.5) * cell), cell / 3, row[0], table.points)
        left += wide + gap


def _blocks(
    points: int, uniform: list[list[int]], others: list[list[int]]
) -> tuple[int, list[list[list[int]]]]:
    """Find the largest cells with which all classes fit, and share the rows out to blocks."""
    for cell in range(_LARGEST, 0, -1):
        high = _SIDE // cell
        count = -(-len(others) // high)
        wide = points * cell + (cell + 6 if cell >= _RINGED else 0) + 6
        if len(uniform) <= high and (1 + count) * wide <= _CLASSES:
            break
    rows = -(-len(others) // max(1, count))
    return cell, [uniform, *(others[i * rows : (i + 1) * rows] for i in range(count))]


def _ring(page: Page, middle: Point, radius: float, code: int, points: int) -> None:
    """Draw a code as its samples lie in the picture: from the right, counter-clockwise."""
    dot = min(2.4, 2 * radius / points)
    for i in range(points):
        turn = 2 * np.pi * i / points
        place = middle[0] + radius * np.cos(turn), middle[1] - radius * np.sin(turn)
        page.disc(place, dot, INK if code >> i & 1 else PAPER, INK if code >> i & 1 else _SOFT)


def _in_space(page: Page, table: Table) -> None:
    step = (_WIDTH - _MARGIN - _VIEW - _LEFT) / 3
    _panel(page, _LEFT, _SPACE_TOP, "The embedding", "a code's place is its colour")
    _cube(page, (_LEFT, _SPACE_TOP), table)
    for i, (across, up, toward) in enumerate(((0, 1, 2), (0, 2, 1), (2, 1, 0)), 1):
        corner = _LEFT + i * step, _SPACE_TOP
        _frame(page, corner, across, up)
        scale = _VIEW / 255
        places = np.stack(
            [
                corner[0] + table.values[:, across] * scale,
                corner[1] + _VIEW - table.values[:, up] * scale,
            ],
            axis=1,
        )
        _codes(page, places, table.values[:, toward], table)


def _frame(page: Page, corner: Point, across: int, up: int) -> None:
    left, top = corner
    for tick in _TICKS:
        at = tick / 255 * _VIEW
        page.line([(left + at, top), (left + at, top + _VIEW)], PALE)
        page.line([(left, top + at), (left + _VIEW, top + at)], PALE)
        page.words((left + at, top + _VIEW + 13), f"{tick}", _LABEL, 0.5, _SOFT)
        page.words((left - 8, top + _VIEW - at), f"{tick}", _LABEL, 1, _SOFT)
    name, colour = _AXES[across]
    page.words((left + _VIEW / 2, top + _VIEW + 32), f"dimension {name}", 13, 0.5, colour)
    name, colour = _AXES[up]
    page.words((left, top - 16), f"dimension {name}", 13, 0, colour)


def _cube(page: Page, corner: Point, table: Table) -> None:
    """Look at the cube of colours from aside and above, along no axis."""
    aside, above = np.deg2rad(35), np.deg2rad(24)
    right = np.array([np.cos(aside), np.sin(aside), 0])
    down = np.array([np.sin(above) * -np.sin(aside), np.sin(above) * np.cos(aside), -np.cos(above)])
    toward = np.cross(down, right)
    ends = np.array(list(itertools.product((0, 255), repeat=3)))
    flat = ends @ np.stack([right, down], axis=1)
    scale = (_VIEW - 10) / np.ptp(flat, axis=0).max()
    middle = np.array(corner) + _VIEW / 2

    def place(points: F64) -> F64:
        shown: F64 = (points @ np.stack([right, down], axis=1) - flat.mean(axis=0)) * scale + middle
        return shown

    for a, b in itertools.combinations(ends, 2):
        if (a != b).sum() == 1:
            page.line(place(np.stack([a, b])).tolist(), PALE)
    for axis, (name, colour) in enumerate(_AXES):
        end = 255.0 * np.eye(3)[axis]
        page.line(place(np.stack([np.zeros(3), end])).tolist(), colour, 1.4)
        x, y = place(end * 1.06)
        page.words((x, y), name, 13, (0.0, 1.0, 0.5)[axis], colour)
    _codes(page, place(table.values.astype(np.float64)), table.values @ toward, table)


def _codes(page: Page, places: F64, nearness: F64 | U8, table: Table) -> None:
    """Draw all codes as dots of their colours, the nearest last."""
    radius = min(6.0, 4.6 * (256 / len(places)) ** 0.25)
    for code in np.argsort(nearness, kind="stable"):
        red, green, blue = table.values[code].tolist()
        edge = (red * 5 // 9, green * 5 // 9, blue * 5 // 9)
        page.disc(tuple(places[code]), radius, (red, green, blue), edge)


class _Fit(NamedTuple):
    """Embedded distances and disparities, by code distance."""

    kind: str
    stress: float
    levels: Array  # the code distances that occur
    counts: Array  # integers (levels, _BINS): pairs by embedded distance
    top: float  # of the last bin, grey levels
    line: F64  # (levels, 2): least and greatest disparity


def _fit(table: Table, kind: str) -> _Fit:
    from scipy.spatial.distance import pdist, squareform  # type: ignore[import-untyped]

    from lbpmap._mds import Monotone, stress_1
    from lbpmap.embedding import code_distance

    wanted = squareform(code_distance(kind, table.points), checks=False)
    embedded = pdist(table.values.astype(np.float64))
    disparities = Monotone(wanted)(embedded)
    level = wanted.astype(np.intp)
    levels = np.flatnonzero(np.bincount(level))
    top = float(embedded.max())
    place = level * _BINS + np.minimum((embedded * (_BINS / top)).astype(np.intp), _BINS - 1)
    counts = np.bincount(place, minlength=(levels[-1] + 1) * _BINS).reshape(-1, _BINS)[levels]
    order = np.argsort(level, kind="stable")
    first = np.searchsorted(level[order], levels)
    line = np.stack([end.reduceat(disparities[order], first) for end in (np.minimum, np.maximum)])
    stress = stress_1(embedded, disparities)
    return _Fit(kind, stress, levels, counts, top, line.T)


def _shepard(page: Page, fit: _Fit) -> None:
    """Draw, for every code distance, how its pairs spread: a shape as wide as there are pairs."""
    wide = _WIDTH - _MARGIN - _LEFT
    step = wide / (fit.levels[-1] + 1)
    bottom = _FIT_TOP + _FIT_HIGH
    up = _FIT_HIGH / (1.04 * fit.top)
    _panel(
        page,
        _LEFT,
        _FIT_TOP,
        f"Embedded distance, in grey levels, against the distance {fit.kind}",
        f"all {int(fit.counts.sum()):,} pairs of codes; the line is the disparities, "
        f"stress {fit.stress:.4f}",
    )
    for tick in range(0, int(fit.top) + 1, 100):
        y = bottom - tick * up
        page.line([(_LEFT, y), (_LEFT + wide, y)], PALE)
        page.words((_LEFT - 8, y), f"{tick}", _LABEL, 1, _SOFT)
    heights = bottom - (np.arange(_BINS) + 0.5) * (fit.top / _BINS) * up
    for level, counts in zip(fit.levels, fit.counts):
        middle = _LEFT + (level + 0.5) * step
        density = np.convolve(counts, _SMOOTH, "same")
        seen = np.flatnonzero(density > density.max() / 200)
        part = slice(seen[0], seen[-1] + 1)
        half = 0.46 * step * density[part] / max(density.max(), _FEW)
        left, right = middle - half, middle + half
        outline = [*zip(left, heights[part]), *zip(right[::-1], heights[part][::-1])]
        page.area(outline, _TINT)
    apart = max(1, math.ceil(26 / step))
    for level in range(0, int(fit.levels[-1]) + 1, apart):
        page.words((_LEFT + (level + 0.5) * step, bottom + 14), f"{level}", _LABEL, 0.5, _SOFT)
    page.words((_LEFT + wide / 2, bottom + 36), "code distance", 13, 0.5)
    middles = _LEFT + (fit.levels + 0.5) * step
    path = [(x, bottom - y * up) for x, pair in zip(middles, fit.line) for y in pair]
    page.line(path, INK, 1.4)
