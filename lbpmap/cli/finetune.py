"""``lbpmap finetune``: a net learns from labelled faces."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbpmap.cli import inputs

if TYPE_CHECKING:
    from lbpmap.emotion.finetune import Result
    from lbpmap.emotion.preparing import Options, Prepared

HELP = "let a net learn from labelled faces, from given weights or from scratch"

EXAMPLES = """examples:
  lbpmap finetune faces/ --from VGG_S_cyclic_lbp -o run      faces/Happy/1.png, faces/Sad/2.png
  lbpmap finetune faces.csv --from run -o run2 --group-by subject     path,label,subject a row
  lbpmap finetune faces/ --from VGG_M_2048 --scratch -r rgb -o run    an architecture, new
  lbpmap finetune faces/ --from VGG_S_rgb -o run --batch 10 --iter-size 3     less memory
  lbpmap finetune faces/ --from VGG_S_rgb -o run --solver-text 'base_lr: 0.01 type: "Adam"'
  lbpmap finetune faces/ --from VGG_S_rgb -o run --freeze conv1 --rate fc8_cat=10
  lbpmap finetune --resume run                               goes on where it was stopped

RUN becomes a net's folder: lbpmap evaluate RUN faces/, lbpmap predict --models . --net RUN.
Ctrl-C takes a snapshot and ends. Training needs PyTorch: lbpmap[torch].
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add(
        "data",
        metavar="DATA",
        nargs="?",
        type=inputs.some_path,
        help="a folder a label (perhaps below train/ and val/), or a CSV file with the columns "
        "path,label and, if wanted, split and others",
    )
    add("-o", "--output", metavar="RUN", type=inputs.some_path, help="folder of the run, made anew")
    add("--resume", metavar="RUN", type=inputs.some_path, help="go on with a run")
    add("--from", dest="source", metavar="NET", help="a net's name or folder, or an architecture")
    inputs.add_models(parser)
    add_choices(parser)
    add("--weights", metavar="FILE", type=inputs.some_path, help="start from these weights "
        "(default: the net's own)")  # fmt: skip
    add("--scratch", action="store_true", help="start from new weights")
    add("-r", "--representation", metavar="NAME", help="what the net looks at, as for "
        "lbpmap map (default: the net's own)")  # fmt: skip
    add("--train-val", metavar="FILE", type=inputs.some_path, help="the net's text for training")
    add("--last-layer", choices=("auto", "new", "keep"), default="auto", help="begin the last "
        "layer anew, or keep it (default: keep it where the labels are the same)")  # fmt: skip
    add("--freeze", metavar="LAYER", action="append", default=[],
        help="a layer that does not learn; may be repeated")  # fmt: skip
    add("--rate", metavar="LAYER=X", action="append", default=[], type=_rate,
        help="multiply a layer's learning rate; may be repeated")  # fmt: skip
    add("-q", "--quiet", action="store_true", help="no progress bar")


def add_choices(parser: argparse.ArgumentParser) -> None:
    """Declare what every run may be told, one or a whole grid of them."""
    add = parser.add_argument
    add("--solver", metavar="FILE", type=inputs.some_path, help="a solver prototxt (default: the "
        "net's own)")  # fmt: skip
    add("--solver-text", metavar="TEXT", default="",
        help="fields that replace the solver's, as a solver prototxt has them")  # fmt: skip
    add("--validation", metavar="SHARE", type=float, default=0.2,
        help="share to validate on, where the data name no split (default 0.2)")  # fmt: skip
    add("--group-by", metavar="WHAT", help="whose picture it is: a column of the CSV file, or a "
        "regular expression for paths; nobody is on both sides")  # fmt: skip
    add("--mean", metavar="WHAT", default="train", help="to subtract: 'train' computes it, "
        "'pretrained' takes the net's own, or a binaryproto (default train)")  # fmt: skip
    add("--no-mirror", action="store_true", help="mirror no picture")
    add("--seed", type=inputs.not_negative, default=0, help="of everything random (default 0)")
    add("--batch", type=inputs.positive, help="pictures a pass (default: the net's, 30)")
    add("--iter-size", type=inputs.positive, help="passes an iteration, to spare memory "
        "(default: the solver's, or 1)")  # fmt: skip
    add("--epochs", type=inputs.positive, help="how often each picture is shown at "
        "most (default: as --max-iter has it)")  # fmt: skip
    add("--max-iter", type=inputs.positive, help="iterations at most (default: the "
        "solver's, unless --epochs is given)")  # fmt: skip
    add("--validate-every", metavar="N", type=inputs.positive,
        help="iterations between two validations (default an epoch)")  # fmt: skip
    add("--snapshot-every", metavar="N", type=inputs.positive,
        help="iterations between two snapshots (default as --validate-every)")  # fmt: skip
    add("--keep", metavar="N", type=inputs.positive, default=2,
        help="snapshots that are kept (default 2)")  # fmt: skip
    add("--patience", metavar="N", type=inputs.not_negative, default=10,
        help="validations without a better one before it stops; 0 never (default 10)")  # fmt: skip
    add("--device", default="cpu", help=inputs.DEVICES)
    add("--mixed-precision", action="store_true", help="on a GPU: multiply in bfloat16")
    inputs.add_engine(parser)
    add("--threads", type=inputs.positive, default=2, help="threads that prepare "
        "pictures (default 2)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Prepare a run, or find it again, and let it learn; 1 when pictures could not be read."""
    from lbpmap.emotion import preparing, sources

    if args.resume is not None:
        _refuse_settings(args)
        return go_on(args.resume, args)
    check(args)
    for name, value in (("DATA", args.data), ("--from", args.source), ("-o", args.output)):
        if value is None:
            raise ValueError(f"{name} is missing; see lbpmap finetune --help")
    source = sources.find_source(
        args.source, models=args.models, train_val=args.train_val, solver=args.solver
    )
    return begin(preparing.prepare_run(args.output, args.data, source, options(args)), args)


# What a run that goes on can be told anew.
_AT_RESUMING = frozenset(
    ["resume", "max_iter", "threads", "engine", "allow_python_layers", "quiet", "verbose"]
)


def _refuse_settings(args: argparse.Namespace) -> None:
    """Refuse what a run knows already, and would not listen to."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    for name, value in vars(args).items():
        known = name in _AT_RESUMING or name in ("command", "run")
        if not known and value != parser.get_default(name):
            said = {"data": "DATA", "source": "--from"}.get(name, f"--{name.replace('_', '-')}")
            raise ValueError(
                f"--resume RUN takes no {said}: the run knows it, in {args.resume / 'run.toml'}; "
                f"start a new run for another"
            )


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot be done here, before pictures are read."""
    from lbpmap.emotion.devices import learning

    with learning(args.device, args.mixed_precision):
        pass


def begin(prepared: Prepared, args: argparse.Namespace) -> int:
    """Let a new run learn; 1 when pictures could not be read."""
    _tell(prepared)
    return _learn(prepared.folder, prepared.weights, args) or int(bool(prepared.unread))


def go_on(folder: Path, args: argparse.Namespace) -> int:
    """Let a run learn that was stopped."""
    from lbpmap.emotion import finetune

    return _learn(folder, finetune.starting_weights(folder), args)


def options(args: argparse.Namespace) -> Options:
    """Give what the arguments say."""
    from lbpmap.emotion.preparing import Options

    return Options(
        representation=args.representation,
        weights=args.weights,
        scratch=args.scratch,
        validation=args.validation,
        group_by=args.group_by,
        mean=args.mean,
        mirror=not args.no_mirror,
        seed=args.seed,
        batch=args.batch,
        iter_size=args.iter_size,
        epochs=args.epochs,
        max_iter=args.max_iter,
        solver_text=args.solver_text,
        last_layer=args.last_layer,
        frozen=args.freeze,
        rates=dict(args.rate),
        validate_every=args.validate_every,
        snapshot_every=args.snapshot_every,
        keep=args.keep,
        patience=args.patience,
        device=args.device,
        mixed_precision=args.mixed_precision,
        threads=args.threads,
        allow_python_layers=args.allow_python_layers,
    )


def _tell(prepared: Prepared) -> None:
    """Say what a run learns from, and what it leaves out."""
    for item in prepared.unread:
        print(f"{item.error}; left out", file=sys.stderr)
    for label, count in prepared.alone.items():
        print(
            f"{prepared.dataset.source}: {label} has {count} picture{'s' * (count > 1)}, none of "
            f"them to validate on",
            file=sys.stderr,
        )
    data = prepared.dataset
    counts = [(part, len(data.part(part))) for part in ("train", "validation")]
    print(
        f"{prepared.folder}: {len(data.labels)} labels, "
        + ", ".join(f"{count} pictures in {part}" for part, count in counts)
    )
    if prepared.weights is not None:
        new = f"; these layers begin anew: {', '.join(prepared.anew)}" if prepared.anew else ""
        print(f"from {prepared.weights}{new}")


def _learn(folder: Path, weights: Path | None, args: argparse.Namespace) -> int:
    """Let a run learn, with a progress bar on a terminal; Ctrl-C ends it in good order."""
    from lbpmap.emotion import curves, finetune, runs

    total = args.max_iter or runs.read_settings(folder).max_iter
    with inputs.bar(total=total, unit="it", quiet=args.quiet) as bar:

        def on_row(row: dict[str, Any]) -> None:
            bar.n = row["iteration"]
            if "loss" in row:
                bar.set_postfix_str(
                    f"loss {row['loss']:.3f}, accuracy {row['accuracy']:.2f}, rate "
                    f"{row['learning_rate']:g}, {row['pictures_per_second']:.0f} pictures/s"
                )
            if "validation_accuracy" in row and not args.quiet:
                bar.write(
                    f"iteration {row['iteration']}: validation accuracy "
                    f"{row['validation_accuracy']:.3f}, loss {row['validation_loss']:.4f}"
                )

        with _stoppable() as stop:
            result = finetune.train(
                folder,
                weights=weights,
                max_iter=args.max_iter,
                threads=args.threads,
                on_row=on_row,
                stop=stop,
            )
    curves.draw(folder)
    print(_summary(folder, result))
    return inputs.INTERRUPTED if result.reason == "interrupted" else 0


def _summary(folder: Path, result: Result) -> str:
    """Say in one line how a run ended, and in one whether the net had to wait for pictures."""
    best = result.best
    why = {
        "max_iter": "all iterations are done",
        "patience": "no better validation for a while",
        "interrupted": f"interrupted; go on with: lbpmap finetune --resume {folder}",
    }[result.reason]
    lines = [f"{folder}: {result.iteration} iterations ({why})"]
    if best is not None:
        lines[0] += (
            f"; best validation accuracy {best.accuracy:.4f} (loss {best.loss:.4f}) at iteration "
            f"{best.iteration}"
        )
    if result.net_pictures_per_second:
        ratio = result.loader_pictures_per_second / result.net_pictures_per_second
        lines.append(
            f"the loader makes {result.loader_pictures_per_second:.0f} pictures/s, the net takes "
            f"{result.net_pictures_per_second:.1f} ({ratio:.1f} x); it waited "
            f"{100 * result.share_waited:.1f} % of the time"
        )
    return "\n".join(lines)


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C, or SIGTERM, ask for an end; the second one is as always."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: object) -> None:
        asked.set()
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _rate(text: str) -> tuple[str, float]:
    layer, equals, factor = text.rpartition("=")
    try:
        if not equals or not layer or not 0 <= float(factor) < float("inf"):
            raise ValueError
        return layer, float(factor)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected LAYER=FACTOR, 0 or more, got {text!r}"
        ) from None
