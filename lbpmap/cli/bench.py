"""``lbpmap bench``: how fast this machine maps, beside a copy and beside other libraries."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from lbpmap.cli import inputs
from lbpmap.transform import use_isa

if TYPE_CHECKING:
    from lbpmap.speed.measure import Row

HELP = "time the transform here, beside a copy of the same bytes and other libraries"

EXAMPLES = """examples:
  lbpmap bench                               a table in some 20 seconds
  lbpmap bench --isa serial --isa avx512     two instruction sets, one after the other
  lbpmap bench --plot bench.png              speed against picture size
  lbpmap bench --full --json results.json    with 4096 x 4096, every row written to a file
  lbpmap bench --table results.json          the README's table from such a file; nothing is timed
"""

# Seconds for one case on one picture; what slow peers need comes on top.
_SECONDS, _FULL_SECONDS = 0.1, 2.0
_SIZES = ((256, 256), (1080, 1920))
_FULL_SIZES = ((143, 181), *_SIZES, (4096, 4096))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--isa",
        metavar="NAME",
        action="append",
        help="time this instruction set ('lbpmap info' lists them); may be repeated",
    )
    parser.add_argument(
        "--full", action="store_true", help="take minutes: more turns, 143 x 181, 4096 x 4096"
    )
    parser.add_argument(
        "--json", metavar="FILE", type=inputs.some_path, help="write the machine and all rows"
    )
    parser.add_argument(
        "--plot", metavar="FILE", type=inputs.png_path, help="draw speed against picture size"
    )
    parser.add_argument(
        "--table",
        metavar="FILE",
        type=inputs.some_path,
        help="print the README's table from a file that --json wrote",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; 1 when an output is not exact."""
    from lbpmap.speed import peers, plot, results, tables

    if args.table:
        print(tables.markdown(*results.read(args.table)), end="")
        return 0
    if args.plot:
        plot.require()
    for path in filter(None, (args.json, args.plot)):
        _check_folder(path)
    for isa in args.isa or ():
        with use_isa(isa):
            pass
    machine = results.this_machine()
    print(tables.describe(machine))
    if peers.missing():
        print(f"not installed: {', '.join(peers.missing())} (pip install 'lbpmap[bench]')")
    rows: list[Row] = []
    for isa in args.isa or [None]:
        for row in _rows(isa, args.full, args.plot is not None):
            if not rows or rows[-1].isa != row.isa:
                print(f"\n{row.isa}\n{tables.HEADER}")
            print(tables.line(row), flush=True)
            rows.append(row)
    if args.json:
        results.write(args.json, machine, rows)
    if args.plot:
        plot.draw(args.plot, machine, rows)
    return 0 if all(row.exact for row in rows) else 1


def _check_folder(path: Path) -> None:
    """Refuse before minutes are spent, not after."""
    if path.is_dir() or not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: expected the name of a file in a folder that exists")


def _rows(isa: str | None, full: bool, plotted: bool) -> Iterator[Row]:
    """Give the rows of one instruction set as they are measured."""
    from lbpmap.speed import cases, plot
    from lbpmap.speed.measure import measure

    with use_isa(isa) if isa else nullcontext():
        seconds = _FULL_SECONDS if full else _SECONDS
        for height, width in _FULL_SIZES if full else _SIZES:
            for case in cases.SHORT:
                if height * width <= case.largest:
                    yield from measure(case, cases.photo(height, width), seconds)
        done = {height for height, width in (_FULL_SIZES if full else _SIZES) if height == width}
        for side in plot.SIDES if plotted else ():
            for name in plot.CASES if side not in done else ():
                case = next(case for case in cases.SHORT if case.name == name)
                yield from measure(case, cases.photo(side, side), seconds)
