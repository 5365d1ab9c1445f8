"""``lbpmap evaluate``: how good nets and ensembles are, on labelled pictures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbpmap.cli import asking, inputs

if TYPE_CHECKING:
    from lbpmap._arrays import Array
    from lbpmap.emotion.accuracy_table import AccuracyTable
    from lbpmap.emotion.evaluate import Answers
    from lbpmap.emotion.fusion import Fusion
    from lbpmap.emotion.registry import NetFiles
    from lbpmap.emotion.scores import Scores

HELP = "score nets and their ensemble on labelled pictures"

EXAMPLES = """examples:
  lbpmap evaluate RUN                                  a run, on its own validation pictures
  lbpmap evaluate RUN faces/                           faces/Angry/1.png, faces/Happy/2.png, ...
  lbpmap evaluate nets/ faces.csv --part test          every net of a folder, and their average
  lbpmap evaluate VGG_S_rgb VGG_S_lbp faces/ --models nets/ --crops 10
  lbpmap evaluate --ensemble ensemble.toml faces/ -o scores/
  lbpmap evaluate nets/ faces/ --json scores.json

Intervals are of a bootstrap over pictures, or over people where --group-by, or the column group of
a CSV file, tells them apart.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    asking.add_arguments(parser, "default: test if there is one, else validation, else all")
    parser.add_argument(
        "--crops",
        type=int,
        choices=(1, 10),
        help="crops a picture (default 1, or as the ensemble was fitted)",
    )
    parser.add_argument(
        "--ensemble",
        metavar="FILE",
        type=inputs.some_path,
        help="nets and weights that 'lbpmap ensemble fit' wrote, in the place of NET",
    )
    parser.add_argument(
        "--json",
        metavar="FILE.json",
        nargs="?",
        const=Path("-"),
        type=_json_path,
        help="print scores as one JSON object instead, or write it to a file too",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=inputs.some_path,
        help="write scores.json, confusion.png, predictions.csv, table.md and table.csv there, and "
        "of several nets each one's picture and predictions in a folder of its name",
    )
    parser.add_argument(
        "--bootstrap",
        metavar="N",
        type=inputs.not_negative,
        default=2000,
        help="resamples for the 95 %% intervals; 0 for no intervals (default 2000)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=inputs.not_negative,
        default=0,
        help="of the bootstrap (default 0)",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate and print; 1 when pictures failed."""
    from lbpmap.emotion import ensemble_file, evaluate, fusion, selection
    from lbpmap.emotion.dataset import read_dataset

    named, data = asking.nets_and_data(args)
    crops = args.crops or 1
    together: Fusion | None = None
    if args.ensemble:
        if named:
            raise ValueError(f"--ensemble says which nets run: leave {', '.join(named)} out")
        held = ensemble_file.load(args.ensemble)
        chosen = ensemble_file.find_members(held, args.ensemble)
        together, crops = held.fusion, args.crops or held.fitted.crops
    elif named:
        chosen = selection.select_nets(named, args.models)
    else:
        raise ValueError(f"{data}: no net given, only data: name a net, a folder, or --ensemble")
    _check_outputs(args)
    dataset = read_dataset(data, group_by=args.group_by)
    part = evaluate.part_to_score(dataset, args.part)
    answers = asking.ask(chosen, dataset, part, args, crops)
    if not answers.samples:
        raise ValueError(f"{data}: no picture could be read")
    if together is None and len(chosen) > 1:
        together = fusion.uniform(list(answers.by_net), answers.labels)
    report = _Report(args, chosen, answers, together)
    about = {
        "data": str(data),
        "part": part,
        "pictures": len(answers.samples),
        "failed": [str(item.path) for item in answers.failed],
        "crops": crops,
        "bootstrap": args.bootstrap,
        "seed": args.seed,
    }
    if args.output:
        report.write(args.output, about)
    if args.json == Path("-"):
        print(report.json(about), end="")
    else:
        print(f"{len(answers.samples)} pictures ({part}) of {data}, crops {crops}\n")
        print(report.text(), end="")
        if args.json:
            _write(args.json, report.json(about))
    return 1 if answers.failed else 0


class _Report:
    """The scores of nets and of the ensemble, printed and written."""

    def __init__(
        self,
        args: argparse.Namespace,
        chosen: list[NetFiles],
        answers: Answers,
        together: Fusion | None,
    ) -> None:
        from lbpmap.emotion.accuracy_table import accuracy_table
        from lbpmap.emotion.scores import score

        def scored(probabilities: Array) -> Scores:
            return score(
                probabilities,
                answers.truth,
                answers.labels,
                groups=answers.groups,
                resamples=args.bootstrap,
                seed=args.seed,
            )

        self._answers = answers
        self._nets = {name: scored(p) for name, p in answers.by_net.items()}
        self._together = together
        self._probabilities: Array
        if together is None:
            self._name, self._probabilities = next(iter(answers.by_net.items()))
            self._final = self._nets[self._name]
        else:
            there = [answers.labels.index(label) for label in together.labels]
            back = [together.labels.index(label) for label in answers.labels]
            mixed = together.combine({name: p[:, there] for name, p in answers.by_net.items()})
            self._probabilities = mixed[:, back]
            self._name = f"ensemble ({together.method})"
            self._final = scored(self._probabilities)
        self._table: AccuracyTable = accuracy_table(
            [(files, self._nets[files.name].accuracy) for files in chosen],
            ensemble=None if together is None else (self._name, self._final.accuracy),
        )

    def text(self) -> str:
        """Give what is printed."""
        from lbpmap.emotion import confusion

        figures = dict(self._nets)
        figures[self._name] = self._final
        head = ["", "accuracy", "mean class accuracy", "macro F1", "log loss"]
        rows = [
            [
                name,
                _with_interval(s.accuracy, s.accuracy_interval),
                _with_interval(s.mean_class_accuracy, s.mean_class_accuracy_interval),
                f"{s.macro_f1:.4f}",
                f"{s.log_loss:.4f}",
            ]
            for name, s in figures.items()
        ]
        per_class = [
            [c.label, f"{c.precision:.4f}", f"{c.recall:.4f}", f"{c.f1:.4f}", str(c.support)]
            for c in self._final.per_class
        ]
        blocks = [
            confusion.columns([head, *rows]),
            confusion.columns([[self._name, "precision", "recall", "F1", "pictures"], *per_class]),
            confusion.text(self._final.confusion, self._final.labels),
        ]
        if self._together is not None:
            blocks.append(self._table.markdown())
        return "\n".join(blocks)

    def json(self, about: dict[str, Any]) -> str:
        """Give all scores as one JSON object."""
        content = {**about, "nets": {name: s.to_json() for name, s in self._nets.items()}}
        if self._together is not None:
            weights = self._together.weights
            content["ensemble"] = {
                "method": self._together.method,
                "nets": list(self._together.names),
                "weights": None if weights is None else weights.tolist(),
                **self._final.to_json(),
            }
        return json.dumps(content, indent=2, allow_nan=False) + "\n"

    def write(self, folder: Path, about: dict[str, Any]) -> None:
        """Write scores, tables, pictures and predictions."""
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "scores.json", self.json(about))
        _write(folder / "table.md", self._table.markdown())
        _write(folder / "table.csv", self._table.csv())
        self._write_one(folder, self._name, self._final, self._probabilities)
        for name, scores in self._nets.items() if self._together is not None else ():
            (folder / name).mkdir(exist_ok=True)
            self._write_one(folder / name, name, scores, self._answers.by_net[name])

    def _write_one(self, folder: Path, name: str, scores: Scores, probabilities: Array) -> None:
        from lbpmap import pictures
        from lbpmap.emotion import confusion, predictions

        title = f"{name}: accuracy {100 * scores.accuracy:.1f} %, {scores.pictures} pictures"
        drawn = confusion.draw(scores.confusion, scores.labels, title)
        pictures.write_png(folder / "confusion.png", drawn)
        _write(folder / "predictions.csv", predictions.as_csv(self._answers, probabilities))


def _with_interval(value: float, interval: Any) -> str:
    if interval is None:
        return f"{value:.4f}"
    return f"{value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


def _write(path: Path, text: str) -> None:
    from lbpmap._files import atomic_write

    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def _check_outputs(args: argparse.Namespace) -> None:
    """Refuse before minutes are spent, not after."""
    if args.json and not args.json.parent.is_dir():
        raise FileNotFoundError(f"{args.json}: its folder does not exist; create the folder first")
    if args.output and args.output.exists() and not args.output.is_dir():
        raise NotADirectoryError(f"{args.output}: a file; expected the name of a folder")


def _json_path(text: str) -> Path:
    # A name that is meant as DATA must not be written over.
    if not text.lower().endswith(".json"):
        raise argparse.ArgumentTypeError(
            f"writes a file that ends in .json, got {text!r}; to print, give it last"
        )
    return Path(text)
