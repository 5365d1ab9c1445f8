"""The curves of a run: loss and accuracy, in training and in validation, over the iterations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from lbpmap._arrays import U8
from lbpmap._files import PathLike
from lbpmap._page import INK, PALE, Colour, Page, Point
from lbpmap.emotion import runs
from lbpmap.pictures import write_png

# Okabe and Ito's blue and vermilion, which the colour-blind tell apart.
_TRAINING: Colour = (0, 114, 178)
_VALIDATION: Colour = (213, 94, 0)
_FAINT: Colour = (190, 216, 232)

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 900, 660, 74, 70, 62
# Points of a smoothed curve: means of as many stretches of the run.
_STRETCHES = 60

# Iteration and value.
_Points = list[Point]


def draw(folder: PathLike) -> None:
    """Draw ``curves.png`` from a run's ``log.csv``.

    Parameters
    ----------
    folder : str or path

    Raises
    ------
    OSError
        When it cannot be written.
    """
    rows = runs.read_rows(Path(folder) / "log.csv", 2**62)
    write_png(Path(folder) / "curves.png", picture(rows, Path(folder).name))


def picture(rows: Sequence[dict[str, str]], title: str) -> U8:
    """Draw the curves of a log.

    Parameters
    ----------
    rows : sequence of dict
        With "iteration", and "loss", "accuracy", "validation_loss", "validation_accuracy" where
        they are known.
    title : str

    Returns
    -------
    uint8 array (660, 900, 3)

    Examples
    --------
    >>> rows = [{"iteration": "1", "loss": "2.0"}, {"iteration": "2", "loss": "1.5"}]
    >>> picture(rows, "run").shape
    (660, 900, 3)
    """
    page = Page(_WIDTH, _HEIGHT)
    page.words((_LEFT, 24), title, 17)
    panel = (_HEIGHT - _TOP - 2 * _GAP) / 2
    for number, name in enumerate(("loss", "accuracy")):
        top = _TOP + number * (panel + _GAP)
        curves = (_points(rows, name), _points(rows, f"validation_{name}"))
        _panel(page, top, panel, name, curves)
    for x, colour, what in (
        (_WIDTH - 300, _TRAINING, "training"),
        (_WIDTH - 170, _VALIDATION, "validation"),
    ):
        page.line([(x, 24), (x + 24, 24)], colour, 3)
        page.words((x + 32, 24), what)
    return page.pixels()


def _points(rows: Sequence[dict[str, str]], name: str) -> _Points:
    return [(float(row["iteration"]), float(row[name])) for row in rows if row.get(name)]


def _panel(page: Page, top: float, height: float, name: str, curves: Sequence[_Points]) -> None:
    """Draw one kind of value: each iteration faintly, its course, and the validations."""
    values = [y for points in curves for _, y in points] or [0.0]
    last = max([x for points in curves for x, _ in points] or [1.0]) or 1.0
    ticks = _ticks(0.0, 1.0 if name == "accuracy" else max(values))
    most, right = ticks[-1], _WIDTH - 24

    def at(x: float, y: float) -> Point:
        return (
            _LEFT + (right - _LEFT) * x / last,
            top + height * (1 - min(max(y / most, 0), 1)),
        )

    for tick in ticks:
        page.line([at(0, tick), at(last, tick)], PALE)
        page.words((_LEFT - 10, at(0, tick)[1]), f"{tick:g}", align=1)
    for tick in _ticks(0.0, last)[:-1]:
        page.words((at(tick, 0)[0], top + height + 16), f"{tick:g}", align=0.5)
    page.words((right, top + height + 16), "iteration", align=1)
    page.words((_LEFT, top - 14), name, colour=INK)
    training, validation = curves
    if len(training) > 1:
        page.line([at(*p) for p in training], _FAINT)
        page.line([at(*p) for p in _smoothed(training)], _TRAINING, 2)
    if len(validation) > 1:
        page.line([at(*p) for p in validation], _VALIDATION, 2)
    for point in validation:
        page.disc(at(*point), 3, _VALIDATION, _VALIDATION)


def _smoothed(points: _Points) -> _Points:
    length = max(1, len(points) // _STRETCHES)
    stretches = [points[i : i + length] for i in range(0, len(points), length)]
    return [(sum(x for x, _ in s) / len(s), sum(y for _, y in s) / len(s)) for s in stretches]


def _ticks(low: float, high: float) -> list[float]:
    """Choose about five round numbers, the last one not below `high`."""
    span = max(high - low, 1e-9) / 5
    power = 10 ** math.floor(math.log10(span))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= span * 0.999999)
    return [low + i * step for i in range(math.ceil((high - low) / step - 1e-9) + 1)]
