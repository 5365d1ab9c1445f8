"""``lbpmap info``: what this installation is, and which engines and nets it finds."""

from __future__ import annotations

import argparse
import json
import platform

import numpy as np

from lbpmap.cli import inputs
from lbpmap.transform import build_info

HELP = "say what this installation is, which engines and which nets it finds"

EXAMPLES = """examples:
  lbpmap info                              version, instruction sets, engines, nets
  lbpmap info --models ~/emotion_nets      are the nets of this folder found, with their means?
  lbpmap info --json                       for a script, or for a report of a bug
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    inputs.add_models(parser)
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print what there is."""
    from lbpmap.caffe import engine
    from lbpmap.emotion import registry

    nets = registry.find_nets(args.models)
    facts = {
        **build_info(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "engines": engine.described(),
        "models": [str(folder) for folder in registry.search_path(args.models)],
        "nets": {
            name: {
                "representation": files.representation,
                "weights": files.weights and str(files.weights),
                "mean": files.mean and str(files.mean),
            }
            for name, files in nets.items()
        },
    }
    print(json.dumps(facts, indent=2) if args.json else _text(facts))
    if not args.json and any(not files.weights for files in nets.values()):
        print("'lbpmap models fetch NAME' and 'lbpmap models import ZIP' bring weights")
    return 0


def _text(facts: dict[str, object]) -> str:
    lines = []
    for key, value in facts.items():
        if isinstance(value, list):
            lines.append(f"{key:<10} " + ("\n" + " " * 11).join(value))
        elif isinstance(value, dict):
            lines.append(f"{key}")
            lines += (f"  {name:<22} {_said(each)}" for name, each in value.items())
        else:
            lines.append(f"{key:<10} {value}")
    return "\n".join(lines)


def _said(about: object) -> str:
    """Say in words what is told of an engine, or of a net's files."""
    if not isinstance(about, dict):
        return str(about)
    return f"{about['weights'] or 'no weights'}{'' if about['mean'] else ', no mean'}"
