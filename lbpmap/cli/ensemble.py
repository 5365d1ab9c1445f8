"""``lbpmap ensemble``: weights of nets chosen on validation pictures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lbpmap.cli import asking, inputs

if TYPE_CHECKING:
    from lbpmap.emotion.ensemble_file import Ensemble

HELP = "weigh nets by how well they do together on validation pictures"

EXAMPLES = """examples:
  lbpmap ensemble fit nets/ faces.csv -o ensemble.toml
  lbpmap ensemble fit RUN1 RUN2 RUN3 faces/ -o ensemble.toml --method stacked
  lbpmap ensemble show ensemble.toml
  lbpmap predict face.jpg --ensemble ensemble.toml             what it is for
  lbpmap evaluate --ensemble ensemble.toml faces.csv --part test

Fit on pictures that no net learned from, and judge the ensemble by others still.
"""

# Those of `lbpmap.emotion.fusion`, which is only loaded when there is something to compute.
METHODS = ("weighted", "uniform", "stacked")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    fit = inputs.add_action(actions, "fit", "choose weights, and write them to a file", EXAMPLES)
    asking.add_arguments(fit, "default: validation, or all where the data have no parts")
    fit.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=inputs.some_path,
        required=True,
        help="the TOML file to write, which predict and evaluate take",
    )
    fit.add_argument(
        "--method",
        choices=METHODS,
        default="weighted",
        help="weighted: a mean with the weights of least log loss (default); uniform: a plain "
        "mean; stacked: logistic regression on log-probabilities, for many pictures",
    )
    fit.add_argument(
        "--crops", type=int, choices=(1, 10), default=1, help="crops a picture (default 1)"
    )
    show = inputs.add_action(actions, "show", "say what an ensemble's file holds", EXAMPLES)
    show.add_argument("file", metavar="FILE", type=inputs.some_path, help="an ensemble's file")


def run(args: argparse.Namespace) -> int:
    """Fit or show; 1 when pictures failed."""
    return {"fit": _fit, "show": _show}[args.action](args)


def _fit(args: argparse.Namespace) -> int:
    from lbpmap._decode import printable
    from lbpmap.emotion import ensemble_file, evaluate, fusion, scores, selection
    from lbpmap.emotion.dataset import PARTS, VALIDATION, read_dataset

    named, data = asking.nets_and_data(args)
    if not named:
        raise ValueError(f"{data}: no net given, only data: name nets or folders of them first")
    inputs.check_output(args.output)
    chosen = selection.select_nets(named, args.models)
    dataset = read_dataset(data, group_by=args.group_by)
    parted = any(sample.part in PARTS for sample in dataset.samples)
    part = evaluate.part_to_score(dataset, args.part or (VALIDATION if parted else "all"))
    answers = asking.ask(chosen, dataset, part, args, args.crops)
    if not answers.samples:
        raise ValueError(f"{data}: no picture could be read")
    plain = fusion.uniform(list(answers.by_net), answers.labels)
    fitted = fusion.fit(args.method, answers.by_net, answers.truth, answers.labels)

    def figures(how: fusion.Fusion) -> ensemble_file.Figures:
        p = how.combine(answers.by_net)
        right = p.argmax(axis=1) == answers.truth
        return ensemble_file.Figures(scores.log_loss(p, answers.truth), float(right.mean()))

    ensemble = ensemble_file.Ensemble(
        fitted,
        tuple(ensemble_file.member(files) for files in chosen),
        ensemble_file.Fitted(
            data=printable(data),
            part=part,
            pictures=len(answers.samples),
            crops=args.crops,
            uniform=figures(plain),
            chosen=figures(fitted),
        ),
    )
    ensemble_file.save(ensemble, args.output)
    print(_text(ensemble), end="")
    return 1 if answers.failed else 0


def _show(args: argparse.Namespace) -> int:
    from lbpmap.emotion import ensemble_file

    print(_text(ensemble_file.load(args.file)), end="")
    return 0


def _text(ensemble: Ensemble) -> str:
    from lbpmap.emotion.confusion import columns

    fusion, on = ensemble.fusion, ensemble.fitted
    if fusion.weights is not None:
        nets = [[net.name, f"{w:.4f}"] for net, w in zip(ensemble.members, fusion.weights)]
        rows = [["net", "weight"], *nets]
    else:
        rows = [["net"], *([net.name] for net in ensemble.members)]
    figures = [
        [name, f"{f.accuracy:.4f}", f"{f.log_loss:.4f}"]
        for name, f in (("uniform", on.uniform), (fusion.method, on.chosen))
    ]
    return (
        f"{fusion.method}, fitted on {on.pictures} pictures ({on.part}) of {on.data}, crops "
        f"{on.crops}\n\n{columns(rows)}\n"
        f"{columns([['on these pictures', 'accuracy', 'log loss'], *figures])}"
    )
