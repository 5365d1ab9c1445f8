"""``lbpmap table``: tables of colours listed, drawn and made."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lbpmap import pictures
from lbpmap.cli import inputs
from lbpmap.representations import REPRESENTATIONS
from lbpmap.tables import ARITHMETICS, PUBLISHED, load_table

HELP = "list, draw and make tables: one colour per code"

EXAMPLES = """examples:
  lbpmap table list
  lbpmap table show cyclic_lbp -o cyclic_lbp.png     its colours, its space, its distances
  lbpmap table show my.table --kind hamming -o my.png
  lbpmap table make cyclic_lbp -o my.table           the published one, from first principles
  lbpmap table make circular_emd -o my.table --radius 5
  lbpmap table make lbp -o ten.table --points 10 --radius 2
  lbpmap map face.jpg -o mapped -r my.table          and what it is for
"""

# Those of `lbpmap.embedding`, which is only loaded when there is something to compute.
_KINDS = ("lbp", "cyclic_lbp", "circular_emd", "hamming")
_CRITERIA = ("nonmetric", "metric", "classical")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = inputs.add_action(
        actions, "list", "name the published tables and what they are for", EXAMPLES
    )
    listing.add_argument("tables", metavar="FILE", nargs="*", type=Path, help="files to name too")

    show = inputs.add_action(
        actions, "show", "draw a table: by code, by class, in space, Shepard diagram", EXAMPLES
    )
    show.add_argument("table", metavar="NAME", help=f"{', '.join(PUBLISHED)} or a table file")
    show.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=inputs.png_path,
        required=True,
        help="the PNG to write",
    )
    show.add_argument(
        "--kind",
        choices=_KINDS,
        help="distance of the Shepard diagram (by default the one that the table is named by)",
    )

    make = inputs.add_action(
        actions, "make", "compute a table of a distance between codes", EXAMPLES
    )
    make.add_argument(
        "kind", metavar="KIND", choices=_KINDS, help=f"the distance: {', '.join(_KINDS)}"
    )
    make.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=inputs.some_path,
        required=True,
        help="the table to write",
    )
    make.add_argument("--points", type=int, default=8, help="bits of a code, 2 to 12 (default 8)")
    make.add_argument("--radius", type=int, default=1, help="of the codes, pixels (default 1)")
    make.add_argument(
        "--arithmetic",
        choices=ARITHMETICS[::-1],
        default="released",
        help="how ties fall in the codes (default released)",
    )
    make.add_argument("--name", help="what to call it (default KIND, with points and radius)")
    make.add_argument(
        "--criterion",
        choices=_CRITERIA,
        default="nonmetric",
        help="what the colours keep of the distances: their order (nonmetric, as the published "
        "tables), themselves (metric), or classical scaling (default nonmetric)",
    )
    make.add_argument("--init", choices=("classical", "random"), default="classical",
                      help="where the search starts (default classical)")  # fmt: skip
    make.add_argument("--seed", type=int, help="of a random start (default: another each time)")
    make.add_argument(
        "--iterations", type=int, default=200, metavar="N", help="at most as many (default 200)"
    )
    make.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """List, draw or make."""
    return {"list": _list, "show": _show, "make": _make}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    for given in (*PUBLISHED, *args.tables):
        table = load_table(given)
        print(
            f"{given}: {table.points} points, radius {table.radius}, arithmetic "
            f"{table.arithmetic}, sha256 {table.sha256[:16]}\n    {table.provenance}"
        )
    uses = (f"{r.name} ({r.table.name})" for r in REPRESENTATIONS.values() if r.table)
    print(f"representations and their tables: {', '.join(uses)}")
    return 0


def _show(args: argparse.Namespace) -> int:
    from lbpmap.table_report import draw

    inputs.check_output(args.output)
    pictures.write_png(args.output, draw(load_table(args.table), args.kind))
    return 0


def _make(args: argparse.Namespace) -> int:
    from lbpmap.embedding import embed_codes

    inputs.check_output(args.output)
    table = embed_codes(
        args.kind,
        points=args.points,
        radius=args.radius,
        arithmetic=args.arithmetic,
        name=args.name,
        init=args.init,
        criterion=args.criterion,
        seed=args.seed,
        max_iterations=args.iterations,
        progress=not args.quiet and sys.stderr.isatty(),
    )
    table.save(args.output)
    print(f"{args.output}: {table.name}, sha256 {table.sha256[:16]}")
    print(f"    {table.provenance}")
    return 0
