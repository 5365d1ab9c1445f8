"""Nets shown labelled pictures: what ``evaluate`` and ``ensemble fit`` share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lbpmap._errors import one_line
from lbpmap.cli import inputs

if TYPE_CHECKING:
    from lbpmap.emotion.dataset import Dataset
    from lbpmap.emotion.evaluate import Answers
    from lbpmap.emotion.registry import NetFiles

# A net takes far longer than two threads that read and map.
_THREADS = 2


def add_arguments(parser: argparse.ArgumentParser, part: str) -> None:
    """Declare nets, data and how they meet; `part` says which pictures are taken by default."""
    parser.add_argument(
        "nets",
        metavar="NET",
        nargs="*",
        help="the folder of a run or a net (with a model.toml), a folder of such folders, or a "
        "net's name",
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        help="labelled pictures: a folder a label, perhaps below train, validation and test; or a "
        "CSV file with columns path, label and perhaps split, such as a run's data.csv",
    )
    inputs.add_models(parser)
    inputs.add_engine(parser)
    inputs.add_device(parser)
    parser.add_argument(
        "--part", choices=("test", "validation", "train", "all"), help=f"pictures to take ({part})"
    )
    parser.add_argument(
        "--group-by",
        metavar="NAME",
        help="what tells whose picture one is: a column of a CSV file, or for a folder a regular "
        "expression searched for in the paths below it",
    )
    parser.add_argument(
        "--batch",
        metavar="N",
        type=inputs.positive,
        help="pictures that a net is shown at once (default 32, or 3 with ten crops)",
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=inputs.positive,
        default=_THREADS,
        help=f"threads that read and map ahead of the nets (default {_THREADS})",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def nets_and_data(args: argparse.Namespace) -> tuple[list[str], Path]:
    """Tell the nets named from the data; a run alone is evaluated on its own data."""
    from lbpmap.emotion.registry import DESCRIPTION

    data = Path(args.data)
    own = data / "data.csv"
    if not args.nets and (data / DESCRIPTION).is_file() and own.is_file():
        return [args.data], own
    return args.nets, data


def ask(
    chosen: Sequence[NetFiles], dataset: Dataset, part: str, args: argparse.Namespace, crops: int
) -> Answers:
    """Show the pictures of a part to nets; those that cannot be read are named."""
    from lbpmap.emotion import evaluate
    from lbpmap.emotion.ensemble import common_labels, load_net

    # Before half a gigabyte a net is read.
    evaluate.match_labels(dataset, common_labels(chosen))
    nets = [load_net(files, allow_python_layers=args.allow_python_layers) for files in chosen]
    samples = evaluate.samples_of(dataset, part)
    with inputs.bar(total=len(samples), unit="picture", quiet=args.quiet) as bar:
        answers = evaluate.ask(
            nets,
            dataset,
            samples,
            crops=crops,
            batch=args.batch,
            threads=args.threads,
            progress=bar.update,
        )
    for item in answers.failed:
        name, said = str(item.path), one_line(item.error)
        print(said if said.startswith(name) else f"{name}: {said}", file=sys.stderr)
    if answers.failed:
        print(f"{len(answers.failed)} of {len(samples)} failed", file=sys.stderr)
    return answers
