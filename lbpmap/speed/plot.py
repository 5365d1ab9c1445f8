"""One plot: speed against size, between the ceiling and the peers."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lbpmap._files import atomic_write
from lbpmap.speed.measure import CALL, Row
from lbpmap.speed.results import Machine

# Sides of the square pictures; one photo's worth of points, from well inside L1 to beyond L3.
SIDES = (64, 128, 256, 512, 1024, 2048)

# The first one's peers and copy are drawn too.
CASES = ("codes R=1, exact", "codes R=1, released", "mapped cyclic_lbp")

# Okabe and Ito's colours, which the colour-blind tell apart; the marks differ too.
_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"))
_GREY, _INK = "#999999", "#222222"


def require() -> Any:
    """Give matplotlib's parts for drawing to a file.

    Raises
    ------
    ImportError
        When matplotlib is not installed.
    """
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError:
        raise ImportError(
            '--plot needs matplotlib: pip install "lbpmap[report]", or leave --plot out'
        ) from None


def draw(path: Path, machine: Machine, rows: Sequence[Row]) -> None:
    """Draw Mpixel/s of `CASES`, of the first one's peers and of a copy of its bytes.

    Parameters
    ----------
    path : path
        The PNG to write.
    machine : Machine
    rows : sequence of Row
        Calls on square pictures are drawn.

    Raises
    ------
    ImportError
        When matplotlib is not installed.
    """
    figure = require().Figure(figsize=(9, 5.6), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    mine = [row for row in rows if row.by == CALL and row.height == row.width]
    first = _sorted(mine, CASES[0])
    names = [
        (_line(axes, first, lambda r: r.copy_ns_per_pixel, _INK, "", ls="--"), "copy of its bytes"),
        *(
            (_line(axes, _sorted(mine, case), lambda r: r.ns_per_pixel, *style, lw=2.2), case)
            for case, style in zip(CASES, _STYLES)
        ),
        *(
            (_line(axes, first, lambda r, p=peer: r.peers[p], _GREY, mark), peer)
            for peer, mark in zip(first[0].peers if first else {}, "vPX*")
        ),
    ]
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    sides = [row.width for row in first]
    axes.set_xticks(sides, [f"{side}²" for side in sides])
    axes.minorticks_off()
    axes.set_xlim(sides[0] / 1.15, sides[-1] * 2.9)
    axes.set_xlabel("picture (pixels)")
    axes.set_ylabel("speed (million pixels a second)")
    axes.yaxis.set_major_formatter(lambda value, at: f"{value:,.10g}")
    axes.grid(axis="y", color="#e5e5e5", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _label(axes, sides[-1], names)
    isas = ", ".join(dict.fromkeys(row.isa for row in first))
    axes.set_title(
        f"Local binary patterns, one thread: lbpmap ({isas}), its ceiling, its peers\n"
        f"{machine.processor}, {machine.date}",
        loc="left",
        fontsize=11,
    )
    with atomic_write(path) as file:
        figure.savefig(file, format="png")


def _sorted(rows: Sequence[Row], case: str) -> list[Row]:
    """Give one row a side, of the last instruction set that was measured."""
    by_side = {row.width: row for row in rows if row.case == case}
    return [by_side[side] for side in sorted(by_side)]


def _line(
    axes: Any, rows: Sequence[Row], ns: Any, colour: str, mark: str, ls: str = "-", lw: float = 1.5
) -> tuple[float, str]:
    """Draw one line; give its last height, and its colour."""
    speeds = [1e3 / ns(row) for row in rows]
    axes.plot([row.width for row in rows], speeds, color=colour, marker=mark, ls=ls, lw=lw, ms=5)
    return speeds[-1], colour


def _label(axes: Any, last: int, names: Sequence[tuple[tuple[float, str], str]]) -> None:
    """Name each line at its right end; names keep a distance of a line of text."""
    apart, below = 1.55, 0.0
    for (height, colour), name in sorted(names, key=lambda item: item[0][0]):
        below = max(height, below * apart)
        axes.annotate(
            name,
            (last, below),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color="#666666" if colour == _GREY else colour,
            fontsize=9.5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )
