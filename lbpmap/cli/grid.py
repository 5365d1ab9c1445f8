"""``lbpmap grid``: every architecture on every representation, and all of them together."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lbpmap._errors import one_line
from lbpmap.cli import ensemble, evaluate, finetune, inputs

if TYPE_CHECKING:
    from lbpmap.emotion.sources import Source

HELP = "fine-tune every architecture on every representation, and weigh them as an ensemble"

EXAMPLES = """examples:
  lbpmap grid faces/ -o grid --models ~/nets        20 nets: from DIR/VGG_S_lbp/..., and so on
  lbpmap grid faces/ -o grid --scratch              without weights to start from
  lbpmap grid faces/ -o grid --architectures VGG_S --representations rgb lbp --epochs 5
  lbpmap grid faces/ -o grid                        again: goes on where it was stopped

GRID holds a run a net (GRID/VGG_S_lbp), data.csv with the split that all share, ensemble.toml with
weights fitted on the validation part, and scores/table.md in the paper's form: of the test part,
or without one of the validation part, which chose the weights and flatters them. Called again, it
goes on with GRID/data.csv and the runs that were begun; options are for those that were not.
20 full-size nets take 10 GB of disk for the best weights, as much again for each snapshot, and
10 GB of memory when they are weighed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from lbpmap.representations import REPRESENTATIONS

    add = parser.add_argument
    add("data", metavar="DATA", type=inputs.some_path, help="as for lbpmap finetune")
    add("-o", "--output", metavar="GRID", type=inputs.some_path, required=True,
        help="folder of the runs; an unfinished one is gone on with")  # fmt: skip
    add("--architectures", metavar="NAME", nargs="+", help="names as in "
        "caffe_models/architectures (default: the paper's four, VGG_S, VGG_M_2048, VGG_M_4096 "
        "and GoogLeNet)")  # fmt: skip
    add("--representations", metavar="NAME", nargs="+", default=list(REPRESENTATIONS),
        help="names or table files (default: the paper's five, "
        f"{', '.join(REPRESENTATIONS)})")  # fmt: skip
    inputs.add_models(parser)
    add("--scratch", action="store_true", help="start from new weights where none are found")
    finetune.add_choices(parser)
    parser.set_defaults(weights=None, representation=None, last_layer="auto", freeze=[], rate=[])
    add("--method", choices=ensemble.METHODS, default="weighted", help="as for lbpmap ensemble fit")
    add("-q", "--quiet", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> int:
    """Train what is not trained yet; then weigh and score all of it."""
    from lbpmap.emotion.architectures import ARCHITECTURES

    finetune.check(args)
    cells = [
        (f"{architecture}_{name}", representation, _source(args, architecture, name))
        for architecture in args.architectures or ARCHITECTURES
        for representation, name in _representations(args.representations)
    ]
    data = _share_data(args, cells[0][2])
    codes = []
    for name, representation, source in cells:
        folder = args.output / name
        try:
            codes.append(_cell(args, folder, representation, source))
        except (ValueError, OSError) as error:
            print(f"{one_line(error)}; remove {folder} to begin it anew", file=sys.stderr)
            codes.append(1)
        if codes[-1] == inputs.INTERRUPTED:
            return inputs.INTERRUPTED
    folders = [args.output / name for name, _, _ in cells]
    runs = [str(folder) for folder in folders if (folder / "result.toml").is_file()]
    if not runs:
        raise ValueError(f"{args.output}: no net of the grid could be trained")
    fitted = str(args.output / "ensemble.toml")
    quiet = ["-q"] * args.quiet + ["--allow-python-layers"] * args.allow_python_layers
    codes += [
        _do(ensemble, "fit", *runs, str(data), "-o", fitted, "--method", args.method, *quiet),
        _do(evaluate, "--ensemble", fitted, str(data), "-o", str(args.output / "scores"), *quiet),
    ]
    return 1 if any(codes) else 0


def _source(args: argparse.Namespace, architecture: str, representation: str) -> Source:
    """Find weights of the net in the grid's place; without, the architecture alone."""
    from lbpmap.emotion import registry, sources

    name = f"{architecture}_{representation}"
    known = registry.find_nets(args.models).get(name)
    if known is not None and known.weights is not None:
        return sources.find_source(name, models=args.models, solver=args.solver)
    if not args.scratch:
        raise FileNotFoundError(
            f"{name}: no weights to start from; put them into a folder {name} with a model.toml "
            f"and say where (--models DIR), or start from new ones (--scratch)"
        )
    return sources.find_source(architecture, models=args.models, solver=args.solver)


def _representations(names: Sequence[str]) -> list[tuple[str, str]]:
    """Give what was typed, which may be the file of a table, and its name."""
    from lbpmap.representations import resolve

    return [(name, resolve(name).name) for name in names]


def _share_data(args: argparse.Namespace, source: Source) -> Path:
    """Divide the pictures once, so that no net is tested by what another one learned from."""
    from lbpmap.emotion.dataset import read_dataset, split, write_dataset

    target: Path = args.output / "data.csv"
    if not target.is_file():
        dataset = read_dataset(args.data, labels=source.labels, group_by=args.group_by)
        dataset = split(dataset, validation=args.validation, seed=args.seed)
        args.output.mkdir(parents=True, exist_ok=True)
        write_dataset(dataset, target)
    return target


def _cell(args: argparse.Namespace, folder: Path, representation: str, source: Source) -> int:
    """Train one net, as far as it is not trained."""
    from lbpmap.emotion import preparing

    if (folder / "result.toml").is_file():
        print(f"{folder}: is done")
        return 0
    if (folder / "run.toml").is_file():
        return finetune.go_on(folder, args)
    options = replace(
        finetune.options(args),
        representation=representation,
        scratch=source.weights is None,
        group_by=None,  # data.csv has the groups
    )
    prepared = preparing.prepare_run(folder, args.output / "data.csv", source, options)
    return finetune.begin(prepared, args)


def _do(command: object, *args: str) -> int:
    """Run another command, as if it had been typed."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)  # type: ignore[attr-defined]
    print()
    return int(command.run(parser.parse_args(args)))  # type: ignore[attr-defined]
