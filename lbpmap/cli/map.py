"""``lbpmap map``: pictures to mapped pictures."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from lbpmap import pictures
from lbpmap._arrays import U8
from lbpmap.cli import inputs
from lbpmap.representations import MAPPED, Representation, resolve
from lbpmap.transform import mapped_lbp, to_gray

HELP = "turn pictures into mapped binary patterns, as PNG files"

EXAMPLES = """examples:
  lbpmap map face.jpg -o mapped                    mapped/face_cyclic_lbp.png
  lbpmap map faces/ -o mapped -r all               the four of the paper, for every picture below
  lbpmap map faces/ -o mapped -r lbp -r cyclic_lbp_5          two of them
  lbpmap map face.jpg -o mapped -r my.table        a table of your own ('lbpmap table make')
"""

Job = tuple[Path, list[tuple[Representation, Path]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    inputs.add_inputs(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        type=inputs.some_path,
        help="folder to write to; a.png of a folder b in an input becomes "
        "OUT/b/a_REPRESENTATION.png",
    )
    parser.add_argument(
        "-r",
        "--representation",
        metavar="REPRESENTATION",
        action="append",
        help=f"{', '.join(MAPPED)}, all of these with 'all', rgb, or a table file; may be repeated "
        "(default cyclic_lbp)",
    )
    parser.add_argument(
        "--code-255",
        choices=("released", "own"),
        default="released",
        help="colour of code 255: that of 254, as in the released pictures, or the table's own "
        "(default released)",
    )
    parser.add_argument(
        "--threads", type=inputs.positive, default=1, help="threads a picture (default 1)"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Map every input; 1 when some failed."""
    named = args.representation or ["cyclic_lbp"]
    names = [name for given in named for name in (MAPPED if given == "all" else (given,))]
    chosen = [resolve(name) for name in dict.fromkeys(names)]
    _check_names(chosen)
    jobs = _plan(args.inputs, args.output, chosen)
    args.output.mkdir(parents=True, exist_ok=True)

    def work(job: Job) -> None:
        path, targets = job
        picture = to_gray(pictures.read(path))
        mapped: list[tuple[Path, U8]] = [
            (target, mapped_lbp(picture, how, code_255=args.code_255, threads=args.threads))
            for how, target in targets
        ]
        for target, pixels in mapped:
            target.parent.mkdir(parents=True, exist_ok=True)
            pictures.write_png(target, pixels)

    return inputs.each(jobs, work, lambda job: job[0], quiet=args.quiet, verbose=args.verbose)


def _check_names(chosen: list[Representation]) -> None:
    """Refuse two tables of one name: they would write the same files."""
    names = [how.name for how in chosen]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"two tables are named {name!r} (inside, whatever their files are called): map "
                f"them one after the other, into different folders"
            )


def _plan(given: list[Path], output: Path, chosen: list[Representation]) -> list[Job]:
    """Say what is written where, before anything is; two inputs for one output are an error."""
    jobs: list[Job] = []
    found = list(dict.fromkeys(pictures.find(given)))
    sources = {os.path.realpath(path) for path, _ in found}
    writers: dict[Path, Path] = {}
    for path, relative in found:
        targets = []
        for how in chosen:
            target = output / relative.parent / f"{relative.stem}_{how.name}.png"
            if target in writers:
                raise ValueError(
                    f"{path}: would be written to {target}, and so would {writers[target]}: rename "
                    f"one, or map them into different folders"
                )
            if os.path.realpath(target) in sources:
                raise ValueError(f"{target}: is an input and an output: choose another folder")
            writers[target] = path
            targets.append((how, target))
        jobs.append((path, targets))
    return jobs
