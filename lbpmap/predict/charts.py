"""Probabilities as bars, and over time: HTML and inline SVG, with their numbers in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lbpmap.predict.markup import clock, count, name, percent, text
from lbpmap.predict.records import Face, Record

# A label's word fits a part of a bar that is so wide; letters are about 1.3 % of it.
_ROOM, _LETTER = 0.03, 0.022
# Of many labels so many have bars, the others stand in a list that opens.
_MANY, _FIRST = 10, 8
#: Columns of a chart over time; more moments than these are averaged.
COLUMNS = 160
# Seconds, below which quarters of a chart would be called alike without tenths.
_SHORT = 8


def bars(labels: Sequence[str], probabilities: Sequence[float], caption: str) -> str:
    """Draw a bar a label, in the order of the labels, or the most probable first if they are many.

    Parameters
    ----------
    labels : sequence of str
    probabilities : sequence of float
    caption : str
        For those who hear the page; plain text.
    """
    return _folded(labels, probabilities, [percent(p) for p in probabilities], 1.0, caption)


def counts(labels: Sequence[str], numbers: Sequence[int], caption: str) -> str:
    """Draw how many faces have each label, as parts of all faces; in order as `bars`."""
    total, most = sum(numbers) or 1, max(numbers, default=0) or 1
    words = [f"{n:,} · {percent(n / total)}" for n in numbers]
    return _folded(labels, numbers, words, most, caption)


def _folded(
    labels: Sequence[str], values: Sequence[float], words: Sequence[str], full: float, caption: str
) -> str:
    """Draw a table of bars; of many rows all but the first in a list that opens."""
    order = list(range(len(labels)))
    if len(labels) > _MANY:
        order.sort(key=lambda i: -values[i])
    best = max(values, default=0.0)
    rows = [_row(labels[i], i, values[i] / full, words[i], values[i] == best) for i in order]
    if len(rows) <= _MANY:
        return _table(rows, caption)
    rest = math.fsum(values[i] for i in order[_FIRST:]) / (math.fsum(values) or 1)
    return (
        f"{_table(rows[:_FIRST], caption)}<details><summary>{len(rows) - _FIRST} more labels, "
        f"together {percent(rest)}</summary>{_table(rows[_FIRST:], caption)}</details>"
    )


def _table(rows: Sequence[str], caption: str) -> str:
    return (
        f'<table class="bars"><caption><span class="hidden">{text(caption)}</span></caption>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _row(label: str, number: int, part: float, words: str, best: bool) -> str:
    return (
        f'<tr{" class=best" if best else ""}><th scope="row">{name(label)}</th>'
        f'<td><span class="bar c{number}"><i style="width:{100 * part:.1f}%"></i></span></td>'
        f'<td class="n">{words}</td></tr>'
    )


def net_bars(labels: Sequence[str], face: Face) -> str:
    """Draw a bar a net, parted by labels, and mark the nets whose most probable label is another.

    Parameters
    ----------
    labels : sequence of str
    face : Face
    """
    rows = []
    for net, shares in face.by_net.items():
        best = max(range(len(shares)), key=shares.__getitem__)
        differs = shares[face.best] < shares[best]
        mark = '<span class="mark" aria-hidden="true">≠</span>' if differs else ""
        hidden = '<span class="hidden">, differs</span>' if differs else ""
        rows.append(
            f'<li{" class=differs" if differs else ""}><span class="net">{name(net)}</span>'
            f"{_stack(labels, shares)}"
            f'<span class="verdict">{mark}{name(labels[best])} '
            f'<span class="n">{percent(shares[best])}</span>{hidden}</span></li>'
        )
    return f'<ul class="nets">{"".join(rows)}</ul>'


def _stack(labels: Sequence[str], shares: Sequence[float]) -> str:
    order = sorted(range(len(shares)), key=lambda i: -shares[i])
    said = ", ".join(f"{labels[i]} {percent(shares[i])}" for i in order[:_FIRST] if shares[i] > 0)
    parts = "".join(
        f'<i class="c{i}" style="width:{100 * p:.1f}%">{_inside(labels[i], p)}</i>'
        for i, p in enumerate(shares)
        if p >= 0.001
    )
    return f'<span class="stack" role="img" aria-label="{text(said)}">{parts}</span>'


def _inside(label: str, share: float) -> str:
    """Write a label into its part of a bar, if it surely fits on a telephone."""
    return text(label) if share > _ROOM + _LETTER * len(label) else ""


@dataclass
class Span:
    """When a video's records begin and end, and how many there are."""

    first: float
    last: float
    moments: int = 0

    def add(self, time: float) -> None:
        """Take one more into account."""
        self.first, self.last = min(self.first, time), max(self.last, time)
        self.moments += 1


@dataclass
class Timeline:
    """Mean probabilities of a video's largest faces, by stretches of time.

    Parameters
    ----------
    span : Span
        Of all records that will be added.
    labels : int
    """

    span: Span
    labels: int
    _sums: list[list[float]] = field(default_factory=list)
    _faces: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        columns = max(1, min(COLUMNS, self.span.moments))
        self._sums = [[0.0] * self.labels for _ in range(columns)]
        self._faces = [0] * columns

    def add(self, record: Record) -> None:
        """Put a record into its stretch."""
        if record.time is None or not record.faces:
            return
        face = max(record.faces, key=_size)
        column = self._column(record.time)
        self._faces[column] += 1
        self._sums[column] = [a + b for a, b in zip(self._sums[column], face.probabilities)]

    def _column(self, time: float) -> int:
        """Find the stretch of a moment; evenly spaced moments fill all of them alike."""
        length = self.span.last - self.span.first
        moments, columns = self.span.moments, len(self._faces)
        if length <= 0 or moments < 2:
            return 0
        at = (time - self.span.first) / length * (moments - 1)
        return max(0, min(columns - 1, math.floor((at + 0.5) / moments * columns)))

    def draw(self, labels: Sequence[str], path: str) -> str:
        """Draw the chart, its axes and its legend."""
        shares = [
            [total / faces for total in sums] if faces else None
            for sums, faces in zip(self._sums, self._faces)
        ]
        seen = [column for column in shares if column is not None]
        means = [math.fsum(c[i] for c in seen) / max(1, len(seen)) for i in range(len(labels))]
        order = sorted(range(len(labels)), key=lambda i: -means[i])
        first = ", ".join(f"{labels[i]} {percent(means[i])}" for i in order[:3])
        said = (
            f"Probabilities in {path} over time. On the mean {first}."
            if seen
            else (f"No face in {path}.")
        )
        paths = "".join(
            f'<path class="c{i}" d="{shape}"/>'
            for i in range(len(labels))
            for shape in (_areas(shares, i),)
            if shape
        )
        length = self.span.last - self.span.first
        ticks = [self.span.first + length * i / 4 for i in range(5 if length > 0 else 1)]
        tenths = length < _SHORT
        return (
            f'<div class="plot"><div class="up" aria-hidden="true"><span>100\u202f%</span>'
            f'<span>50\u202f%</span><span>0</span></div><svg viewBox="0 0 {len(shares)} 100" '
            f'preserveAspectRatio="none" role="img" aria-label="{text(said)}">{paths}'
            f'<path class="half" d="M0 50H{len(shares)}"/></svg>'
            f'<div class="along" aria-hidden="true">'
            f"{''.join(f'<span>{clock(tick, tenths)}</span>' for tick in ticks)}</div></div>"
            f"{_legend(labels, means, order)}{self._thinned()}"
        )

    def _thinned(self) -> str:
        columns = len(self._faces)
        empty = self._faces.count(0)
        parts = []
        if self.span.moments > columns:
            each = (self.span.last - self.span.first) / columns
            parts.append(
                f"{count(self.span.moments, 'frame')} in {columns} stretches of "
                f"{each:.3g} seconds, averaged."
            )
        if empty:
            parts.append(f"Gaps: no face ({percent(empty / columns)} of the time).")
        return f'<p class="meta">{" ".join(parts)}</p>' if parts else ""


def _size(face: Face) -> float:
    if face.box is None:
        return 0.0
    left, top, right, bottom = face.box
    return (right - left) * (bottom - top)


def _areas(shares: Sequence[Sequence[float] | None], label: int) -> str:
    """Outline a label's part of every column; 100 is the bottom."""
    shape = []
    for x, column in enumerate(shares):
        if column is not None and column[label] >= 0.001:
            top = 100 * math.fsum(column[:label])
            shape.append(f"M{x} {top:.1f}h1v{100 * column[label]:.1f}h-1z")
    return "".join(shape)


def _legend(labels: Sequence[str], means: Sequence[float], order: Iterable[int]) -> str:
    """Name the colours with the means over time; of many labels only those that are seen."""
    shown = range(len(labels)) if len(labels) <= _MANY else [i for i in order if means[i] >= 0.005]
    items = "".join(
        f'<li><span class="dot c{i}" aria-hidden="true"></span>{name(labels[i])} '
        f'<span class="n">{percent(means[i])}</span></li>'
        for i in shown
    )
    return f'<ul class="legend" aria-label="Means over time">{items}</ul>'
