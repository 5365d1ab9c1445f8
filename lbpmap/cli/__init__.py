"""The command ``lbpmap``: it only parses and prints; one file a command."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lbpmap._errors import one_line
from lbpmap._version import __version__
from lbpmap.cli import (
    bench,
    completion,
    demo,
    ensemble,
    evaluate,
    explain,
    export,
    finetune,
    grid,
    info,
    inputs,
    map,
    models,
    predict,
    table,
)
from lbpmap.cli.inputs import INTERRUPTED
from lbpmap.cli.interleaved import Parser

ALL_GOOD, SOME_FAILED, USAGE = 0, 1, 2

_COMMANDS = {
    "map": map,
    "predict": predict,
    "explain": explain,
    "finetune": finetune,
    "evaluate": evaluate,
    "ensemble": ensemble,
    "export": export,
    "grid": grid,
    "models": models,
    "info": info,
    "demo": demo,
    "table": table,
    "bench": bench,
    "completion": completion,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Its arguments, without the program's name; by default those of this process.

    Returns
    -------
    int
        0 all good, 1 some inputs failed (each is named on the error stream), 2 usage.
    """
    _open_closed_streams()
    args = _parser().parse_args(argv)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)
    try:
        with _tracebacks(args.verbose), inputs.engine(args):
            return int(args.run(args))
    except BrokenPipeError:
        # The reader, such as `head`, has had enough; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED
    except KeyboardInterrupt:
        print("lbpmap: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, OSError, ImportError, MemoryError, RuntimeError) as error:
        if args.verbose:
            traceback.print_exc()
        print(f"lbpmap {args.command}: {one_line(error)}", file=sys.stderr)
        return USAGE


def _open_closed_streams() -> None:
    """Let there be streams where the caller closed them: files would get their numbers else."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - until the process ends


@contextmanager
def _tracebacks(wanted: bool) -> Iterator[None]:
    """Let those of errors that end nothing, which the package logs, be seen."""
    if not wanted:
        yield
        return
    log, handler = logging.getLogger("lbpmap"), logging.StreamHandler()
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.setLevel(before)
        log.removeHandler(handler)


def _end(number: int, frame: object) -> None:
    # An exception, unlike the signal, lets half-written files be removed.
    sys.exit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lbpmap",
        description="Mapped binary patterns of face pictures, and the nets that read them.",
        epilog="'lbpmap COMMAND --help' shows examples. Exit codes: 0 all good, 1 some inputs "
        "failed (each is named), 2 usage; 130 after Ctrl-C, 143 after a SIGTERM.",
    )
    parser.add_argument("--version", action="version", version=f"lbpmap {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=Parser
    )
    for name, module in _COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP[0].upper() + module.HELP[1:] + ".",
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.add_argument("-v", "--verbose", action="store_true", help="tracebacks of errors")
        command.set_defaults(run=module.run)
    commands.choices["completion"].set_defaults(whole=parser)
    return parser
