"""``lbpmap completion``: the script with which a shell completes commands, options and names."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lbpmap.cli import inputs
from lbpmap.representations import MAPPED, REPRESENTATIONS
from lbpmap.tables import PUBLISHED
from lbpmap.transform import build_info

HELP = "print the script with which a shell completes commands, options, files and nets"

EXAMPLES = """examples:
  eval "$(lbpmap completion bash)"                     in ~/.bashrc, or for this shell alone
  eval "$(lbpmap completion zsh)"                      in ~/.zshrc, below compinit
  lbpmap completion zsh > ~/.zfunc/_lbpmap             or once, into a folder of $fpath
  lbpmap completion tcsh > ~/.lbpmap.tcsh              once; 'source ~/.lbpmap.tcsh' in ~/.tcshrc

Nets are those that are found when the script is made ('lbpmap info' names them). Needs shtab:
pip install "lbpmap[completion]".
"""

SHELLS = ("bash", "zsh", "tcsh")

_FOLDERS = ("DIR", "GRID", "OUT", "RUN")
_FILES = ("DATA", "FACE", "FILE", "FILE.json", "INPUT")
_PATHS = (Path, inputs.some_path, inputs.png_path)
# A net's folder may be called anything; what is written into a script may not.
_PLAIN = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)

# What shtab takes: by shell.
Complete = Mapping[str, object]


class _Named(NamedTuple):
    """Words that an argument may be, and what else."""

    words: Callable[[], Iterable[str]]
    paths: str  # "", "file" or "dir"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    try:
        import shtab
    except ImportError:
        raise RuntimeError('completion needs shtab: pip install "lbpmap[completion]"') from None

    words = {name: _plain(named.words()) for name, named in _NAMED.items()}
    for action in arguments(args.whole):
        complete = _completion(action, words, shtab.FILE, shtab.DIRECTORY)
        if complete:
            action.complete = complete  # type: ignore[attr-defined]
    functions = "\n".join(
        _FUNCTIONS[args.shell](name, words[name], named.paths)
        for name, named in _NAMED.items()
        if args.shell in _FUNCTIONS
    )
    print(shtab.complete(args.whole, args.shell, preamble=functions))
    return 0


def arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Give every argument of a command and of all below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from arguments(command)
        else:
            yield action


def _completion(
    action: argparse.Action, words: dict[str, list[str]], files: Complete, folders: Complete
) -> Complete | None:
    """Say how an argument is completed; None for one of fixed choices, and for a free one."""
    if action.choices or action.nargs == 0:
        return None
    if action.metavar in _FOLDERS:
        return folders
    if action.metavar in _FILES or action.type in _PATHS:
        return files
    name = _DESTINATIONS.get(action.dest)
    if name is None:
        return None
    function = _function(name, _NAMED[name].paths)
    # tcsh has no functions: there an option is one of the words, anything else a path.
    path = "" if action.option_strings else _NAMED[name].paths[:1]
    return {
        "bash": function,
        "zsh": function,
        "tcsh": {"": f"({' '.join(words[name])})", "f": "f", "d": "d"}[path],
    }


def _nets() -> Iterable[str]:
    from lbpmap.emotion import registry

    return registry.find_nets()


def _architectures() -> Iterable[str]:
    from lbpmap.emotion.architectures import ARCHITECTURES

    return ARCHITECTURES


def _labels() -> Iterable[str]:
    from lbpmap.emotion import registry

    return (label for files in registry.find_nets().values() for label in files.labels)


def _isas() -> Iterable[str]:
    available: list[str] = build_info()["available"]  # type: ignore[assignment]
    return available


_NAMED = {
    "nets": _Named(_nets, "dir"),
    "nets_or_data": _Named(_nets, "file"),
    "sources": _Named(lambda: [*_nets(), *_architectures()], "dir"),
    "architectures": _Named(_architectures, ""),
    "mapped": _Named(lambda: [*MAPPED, "rgb", "all"], "file"),
    "representations": _Named(lambda: REPRESENTATIONS, ""),
    "tables": _Named(lambda: PUBLISHED, "file"),
    "labels": _Named(_labels, ""),
    "instruction_sets": _Named(_isas, ""),
    "devices": _Named(lambda: ["cpu", "gpu"], ""),
}

# What an argument is called in its command, and the words that it may be.
_DESTINATIONS = {
    "net": "nets",
    "nets": "nets_or_data",  # the data follow
    "source": "sources",
    "architectures": "architectures",
    "representation": "mapped",
    "representations": "representations",
    "table": "tables",
    "label": "labels",
    "isa": "instruction_sets",
    "device": "devices",
}


def _plain(words: Iterable[str]) -> list[str]:
    """Keep each word once, and only what no shell reads as anything else."""
    return [word for word in dict.fromkeys(words) if _PLAIN.fullmatch(word)]


def _function(name: str, paths: str) -> str:
    # shtab tells by "_file" and "_dir" that what comes back may be paths.
    return f"_lbpmap_{paths}_or_{name}" if paths else f"_lbpmap_{name}"


def _in_bash(name: str, words: list[str], paths: str) -> str:
    also = {"file": '; compgen -f -- "$1"', "dir": '; compgen -d -- "$1"', "": ""}[paths]
    return f"{_function(name, paths)}() {{ compgen -W '{' '.join(words)}' -- \"$1\"{also}; }}"


def _in_zsh(name: str, words: list[str], paths: str) -> str:
    also = {"file": " 'files:file:_files'", "dir": " 'files:folder:_files -/'", "": ""}[paths]
    return (
        f"{_function(name, paths)}() {{ _alternative '{name}:{name}:({' '.join(words)})'{also}; }}"
    )


_FUNCTIONS = {"bash": _in_bash, "zsh": _in_zsh}
