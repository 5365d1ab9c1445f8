"""Rows as text: lines on a terminal, and the README's table."""

from __future__ import annotations

from collections.abc import Sequence

from lbpmap.speed.measure import CALL, Row
from lbpmap.speed.results import Machine

_LINE = "{:<28}{:>11} {:<7}{:>8}{:>8}{:>8}  {:<7}{}"

HEADER = _LINE.format(
    "case", "picture", "timed", "ns/pix", "GB/s", "x copy", "exact", "best peer"
).rstrip()

# The README's rows: the case, and what the README calls it.
_CASES = {
    "codes R=1, exact": "codes, R = 1, exact",
    "codes R=1, released": "codes, R = 1, released",
    "codes R=5, exact": "codes, R = 5, exact",
    "codes R=10, exact": "codes, R = 10, exact",
    "square codes R=1": "codes on the square grid",
    "lookup, codes to colours": "codes to colours",
    "mapped cyclic_lbp, exact": "picture to colours, uint8, exact",
    "mapped cyclic_lbp": "picture to colours, uint8, released",
    "planes cyclic_lbp, exact": "picture to float32 planes, exact",
    "planes cyclic_lbp": "picture to float32 planes, released",
    "RGB to grey": "RGB to grey",
    "RGB to 3 x 224 x 224 blob": "RGB to a 3 x 224 x 224 blob",
}
_SIZES = ((256, 256), (4096, 4096))


def line(row: Row) -> str:
    """Give a row of the terminal's table, under `HEADER`."""
    peer = ""
    if row.times_the_peer is not None and row.best_peer is not None:
        peer = f"{row.times_the_peer:.3g} x as fast as {row.best_peer}"
    return _LINE.format(
        row.case,
        f"{row.height}x{row.width}",
        row.by,
        f"{row.ns_per_pixel:.3f}",
        f"{row.gb_per_s:.2f}",
        f"{row.times_a_copy:.1f}",
        "yes" if row.exact else "NO",
        peer,
    ).rstrip()


def describe(machine: Machine) -> str:
    """Give the machine in two lines."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"{machine.processor}, {machine.cores} cores, {machine.system}, {machine.compiler}\n"
        f"{machine.date}: {versions}"
    )


def markdown(machine: Machine, rows: Sequence[Row]) -> str:
    """Give the README's table.

    Parameters
    ----------
    machine : Machine
    rows : sequence of Row
        Of the public functions, those at 256 x 256 and 4096 x 4096 are shown, as far as they were
        measured, and of those the last instruction set's.

    Returns
    -------
    str
        Markdown: a table and a line on the machine.

    Raises
    ------
    ValueError
        When no case of the table was measured.
    """
    found = {(r.case, (r.height, r.width)): r for r in rows if r.by == CALL}
    lines = [
        "| one thread, ns a pixel (times a copy) | 256 x 256 | 4096 x 4096 | the best peer takes |",
        "|---|---|---|---|",
    ]
    shown = []
    for case, words in _CASES.items():
        measured = [found[case, size] for size in _SIZES if (case, size) in found]
        if not measured:
            continue
        shown += measured
        cells = [_cell(found.get((case, size))) for size in _SIZES]
        lines.append(f"| {words} | {cells[0]} | {cells[1]} | {_peer(measured)} |")
    if not shown:
        raise ValueError(
            "the results have no case of the table: measure with 'lbpmap bench --full'"
        )
    inexact = sorted({row.case for row in shown if not row.exact})
    lines += [
        "",
        f"{machine.processor}, {', '.join(dict.fromkeys(row.isa for row in shown))}, "
        f"{machine.compiler}, {machine.date}; medians of calls from Python into a warm `out=`, in "
        f"turns with the peers and with a copy of as many bytes as are read and written. "
        + (
            f"Not equal to the reference: {', '.join(inexact)}."
            if inexact
            else "All outputs equal the reference's (the blob within 1e-5 of its largest value)."
        ),
    ]
    return "\n".join(lines) + "\n"


def _cell(row: Row | None) -> str:
    return "" if row is None else f"{row.ns_per_pixel:.2g} ({row.times_a_copy:.2g} x)"


def _peer(rows: Sequence[Row]) -> str:
    """Give how many times as long the best peer takes at each size, and which it is."""
    found = [(f"{r.times_the_peer:.2g} x", r.best_peer) for r in rows if r.times_the_peer]
    if len({name for _, name in found}) == 1:
        return f"{' / '.join(times for times, _ in found)}, {found[0][1]}"
    return " / ".join(f"{times}, {name}" for times, name in found)
