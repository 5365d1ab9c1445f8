"""A confusion matrix as a picture and as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lbpmap._arrays import U8, Array
from lbpmap._page import INK, PAPER, Colour, Page

_EDGE, _TITLE, _HEAD, _GAP, _LETTER = 18, 34, 44, 2, 7.2
_WORDS, _SMALL, _LARGE = 13, 12, 17
_GREY: Colour = (110, 110, 116)
_SOFT: Colour = (72, 72, 80)
# From the paper's own white to a blue on which white letters read well.
_FULL: Colour = (8, 69, 148)
# Cells that hold no words, of more labels than a page has room for, are this wide together.
_CROWDED, _CROWD_WIDTH = 24, 1200


def draw(confusion: Sequence[Sequence[int]], labels: Sequence[str], title: str = "") -> U8:
    """Draw a confusion matrix: pictures by true label (rows) and predicted label (columns).

    Parameters
    ----------
    confusion : sequence of sequences of int
        Counts.
    labels : sequence of str
    title : str, default ""

    Returns
    -------
    uint8 array (h, w, 3)
        RGB. A cell has its count and its share of the row, and is the darker the larger that is;
        behind each row stands its number of pictures. With more than 24 labels, shades alone.

    Examples
    --------
    >>> draw([[3, 1], [0, 4]], ["sad", "happy"]).shape
    (238, 316, 3)
    """
    counts = np.asarray(confusion)
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    names = [_short(label) for label in labels]
    worded = len(names) <= _CROWDED
    aside = round(max(map(len, names)) * _LETTER) + 12 if worded else 0
    width = max(84, round(max(map(len, names)) * _LETTER) + 14) if worded else 0
    width = width or max(3, _CROWD_WIDTH // len(names))
    height = 60 if worded else width
    left, top = _EDGE + max(aside, 44), _EDGE + _TITLE + _HEAD
    behind = 64 if worded else 0
    wide = max(left + len(names) * width + behind, round(len(title) * 8.5) + _EDGE) + _EDGE
    page = Page(wide, top + len(names) * height + _EDGE + 4)
    page.words((_EDGE, _EDGE + 8), title, 16)
    page.words((left, top - _HEAD + 10), "predicted", _WORDS, colour=_GREY)
    page.words((left - 10, top - 12), "true", _WORDS, 1, _GREY)
    if worded:
        page.words((left + len(names) * width + 10, top - 12), "pictures", _SMALL, 0, _GREY)
    for i in range(len(names)):
        y = top + i * height
        if worded:
            page.words((left + (i + 0.5) * width, top - 12), names[i], _WORDS, 0.5)
            page.words((left - 10, y + height / 2), names[i], _WORDS, 1)
            count = f"{totals[i]:,}"
            page.words((left + len(names) * width + 10, y + height / 2), count, _SMALL, 0, _GREY)
        for j in range(len(names)):
            x, share = left + j * width, float(shares[i, j])
            gap = _GAP if worded else 0
            page.box(x, y, width - gap, height - gap, _shade(share))
            if worded and totals[i]:
                ink = PAPER if share > 0.35 else INK if counts[i, j] else _GREY
                pale = PAPER if share > 0.35 else _SOFT if counts[i, j] else _GREY
                middle = x + (width - gap) / 2
                page.words((middle, y + 22), f"{counts[i, j]:,}", _LARGE, 0.5, ink)
                page.words((middle, y + 42), f"{100 * share:.0f} %", _SMALL, 0.5, pale)
    return page.pixels()


def text(confusion: Array | Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    r"""Write a confusion matrix in columns: rows true, columns predicted.

    Examples
    --------
    >>> print(text([[3, 1], [0, 4]], ["sad", "happy"]), end="")
    true \ predicted  sad  happy
    sad                 3      1
    happy               0      4
    """
    head = ["true \\ predicted", *labels]
    rows = [[label, *map(str, row)] for label, row in zip(labels, np.asarray(confusion).tolist())]
    return columns([head, *rows])


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Set lines of words in columns, the first to the left and the others to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def _short(label: str) -> str:
    return label if len(label) <= 18 else label[:17] + "…"


def _shade(share: float) -> Colour:
    """Mix the cell's colour; a share of 0 is a little darker than the paper."""
    pale = np.array((238, 241, 245))
    red, green, blue = np.rint(pale + (np.array(_FULL) - pale) * share**0.8).astype(int)
    return int(red), int(green), int(blue)
