"""Going over many pictures: one that fails is reported, and the rest goes on."""

from __future__ import annotations

import argparse
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from lbpmap._errors import one_line

T = TypeVar("T")

# Those of `lbpmap.caffe.engine`, which is only loaded when a net is to be run.
ENGINES = ("auto", "numpy", "torch", "real")

# Of an option that names one.
DEVICES = "cpu, gpu or gpu:N (default cpu); GPUs need PyTorch"

# The exit code of a command that Ctrl-C ended, as shells have it.
INTERRUPTED = 130


def bar(*, quiet: bool, **settings: Any) -> tqdm[Any]:
    """Give a progress bar with tqdm's settings, that is seen on a terminal only, until its end."""
    # `disable=None` is tqdm's "only on a terminal".
    settings.update(disable=True if quiet else None, leave=False)
    return tqdm(**settings)


def each(
    items: Sequence[T],
    work: Callable[[T], str | None],
    path: Callable[[T], Path],
    *,
    quiet: bool,
    verbose: bool,
) -> int:
    """Do `work` on every item and print what it returns, with a progress bar on a terminal.

    Returns the exit code: 1 when an item failed, each of which is named on the error stream. An
    output that cannot be printed ends the run.
    """
    failed = 0
    for item in bar(iterable=items, unit="picture", quiet=quiet):
        try:
            line = work(item)
        except (ValueError, OSError, MemoryError) as error:
            failed += 1
            name, said = str(path(item)), one_line(error)
            tqdm.write(said if said.startswith(name) else f"{name}: {said}", file=sys.stderr)
            if verbose:
                tqdm.write(traceback.format_exc(), file=sys.stderr)
        else:
            if line is not None:
                tqdm.write(line)
    if failed:
        print(f"{failed} of {len(items)} failed", file=sys.stderr)
    return 1 if failed else 0


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Declare the pictures that a command goes over."""
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        type=some_path,
        help="pictures and folders of them",
    )


def add_models(parser: argparse.ArgumentParser) -> None:
    """Declare where a command looks for nets."""
    parser.add_argument(
        "--models",
        metavar="DIR",
        type=some_path,
        help="look for nets here first, then in LBPMAP_MODELS, the user's data folder, and the "
        "package's own ('lbpmap info' names them)",
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Declare what runs the nets of a command, which `main` puts to use, and what they may run."""
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="what runs the nets ('lbpmap info' says which are here; default auto)",
    )
    parser.add_argument(
        "--allow-python-layers",
        action="store_true",
        help="run the Python modules that a net's prototxt names; they can do anything",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Declare where the nets of a command run, which `main` puts to use."""
    parser.add_argument("--device", dest="run_on", default="cpu", help=DEVICES)


@contextmanager
def engine(args: argparse.Namespace) -> Iterator[None]:
    """Let nets run as a command was asked to, and afterwards as before.

    Raises
    ------
    RuntimeError, ValueError
        When the engine or the device is not there.
    """
    with ExitStack() as during:
        if getattr(args, "engine", "auto") != "auto":
            from lbpmap.caffe.engine import using

            during.enter_context(using(args.engine, "--engine"))
        if getattr(args, "run_on", "cpu") != "cpu":
            from lbpmap.caffe.engine import on_device
            from lbpmap.emotion.devices import gpu_number

            number = gpu_number(args.run_on)
            try:
                during.enter_context(on_device(number))
            except RuntimeError as error:
                said = str(error).removeprefix("caffe.set_mode_gpu: ")
                raise RuntimeError(f"--device {args.run_on}: {said}") from error
        yield


def positive(text: str) -> int:
    """Parse a positive integer argument."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text}")
    return value


def not_negative(text: str) -> int:
    """Parse an integer argument from 0."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"expected 0 or more, below 2**63, got {text}")
    return value


def seconds(text: str) -> float:
    """Parse a number of seconds."""
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected 0 or more seconds, got {text}")
    return value


def share(text: str) -> float:
    """Parse a probability."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text}")
    return value


def some_path(text: str) -> Path:
    """Parse the name of a file or folder; an unset variable of the shell gives none."""
    if not text:
        raise argparse.ArgumentTypeError("expected a name, got nothing")
    return Path(text)


def png_path(text: str) -> Path:
    """Parse the name of a PNG file to write."""
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"the picture is written as PNG: end {text!r} in .png")
    return Path(text)


def html_path(text: str) -> Path:
    """Parse the name of a report to write."""
    if not text.lower().endswith(".html"):
        raise argparse.ArgumentTypeError(f"the report is a web page: end {text!r} in .html")
    return Path(text)


def check_output(path: Path) -> None:
    """Find out before the work, which may take minutes, that its result has no place to go."""
    if path.is_dir():
        raise ValueError(f"{path}: a folder; expected the name of a file to write")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: its folder does not exist; make it first")


def add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    does: str,
    examples: str,
) -> argparse.ArgumentParser:
    """Declare one of several things that a command does."""
    action = actions.add_parser(
        name,
        help=does,
        description=does[0].upper() + does[1:] + ".",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # The command's own -v stands before the action; with this it may stand behind it too.
    action.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=argparse.SUPPRESS,
        help="tracebacks of errors",
    )
    return action
