"""``lbpmap predict``: faces to probabilities of apparent expressions."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from lbpmap import pictures
from lbpmap.cli import inputs

if TYPE_CHECKING:
    from lbpmap.emotion.ensemble import Prediction
    from lbpmap.emotion.registry import NetFiles

HELP = "name the apparent expression of cropped faces, with the released nets"

EXAMPLES = """examples:
  lbpmap predict face.jpg --models ~/emotion_nets      every net found there, averaged
  lbpmap predict faces/ --net VGG_S_rgb --crops 10     one net, ten crops a face
  lbpmap predict faces/ --json > faces.jsonl           one JSON object a face
  lbpmap predict faces/ --ensemble ensemble.toml       nets weighed by 'lbpmap ensemble fit'
  lbpmap predict faces/ --engine real                  by the Caffe of LBPMAP_CAFFE_PYTHON

The input is a cropped, upright face. DIR holds one folder a net, named as the authors named it
(VGG_S_rgb, ...), with its weights and mean. The labels name apparent expressions, not feelings.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    inputs.add_inputs(parser)
    inputs.add_models(parser)
    inputs.add_engine(parser)
    parser.add_argument(
        "--net",
        metavar="NAME",
        action="append",
        help="a net to run; may be repeated (default: all whose weights are found)",
    )
    parser.add_argument(
        "--ensemble",
        metavar="FILE",
        type=inputs.some_path,
        help="nets and weights that 'lbpmap ensemble fit' wrote, in the place of --net",
    )
    parser.add_argument(
        "--crops",
        type=int,
        choices=(1, 10),
        help="crops a face (default 1, or as the ensemble was fitted)",
    )
    parser.add_argument(
        "--mean-mode",
        choices=("resize", "crop"),
        help="how the 256 x 256 mean meets a 224 x 224 crop (default: what the net's model.toml "
        "says, else resize)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a face")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Print a line for every face; 1 when some failed."""
    from lbpmap.emotion import ensemble, ensemble_file, registry

    found = pictures.find(args.inputs)
    fusion, crops = None, args.crops or 1
    if args.ensemble:
        if args.net:
            raise ValueError(f"--ensemble says which nets run: leave --net {args.net[0]} out")
        held = ensemble_file.load(args.ensemble)
        chosen = ensemble_file.find_members(held, args.ensemble)
        fusion, crops = held.fusion, args.crops or held.fitted.crops
    else:
        known = registry.find_nets(args.models)
        chosen = _choose(known, args.net, registry.search_path(args.models))
    ensemble.common_labels(chosen)
    nets = [
        ensemble.load_net(
            files, mean_mode=args.mean_mode, allow_python_layers=args.allow_python_layers
        )
        for files in chosen
    ]

    def work(item: tuple[Path, Path]) -> str:
        picture = pictures.read(item[0])
        prediction = ensemble.predict(nets, picture, crops=crops, fusion=fusion)
        return (_json if args.json else _line)(item[0], prediction)

    return inputs.each(found, work, lambda item: item[0], quiet=args.quiet, verbose=args.verbose)


def _choose(
    nets: dict[str, NetFiles], names: list[str] | None, roots: list[Path]
) -> list[NetFiles]:
    for name in names or []:
        if name not in nets:
            raise ValueError(f"no net {name!r}; known ones are {', '.join(nets)}")
    chosen = [nets[name] for name in dict.fromkeys(names or [])]
    if not names:
        chosen = [files for files in nets.values() if files.weights is not None]
    if not chosen:
        raise FileNotFoundError(
            f"no weights in {', '.join(map(str, roots))} for any of {', '.join(nets)}: each net "
            f"is a folder of its name there; where to get the released ones: "
            f"{roots[-1] / 'README.md'}"
        )
    return chosen


def _line(path: Path, prediction: Prediction) -> str:
    shares = "  ".join(
        f"{label} {p:.3f}" for label, p in zip(prediction.labels, prediction.probabilities)
    )
    return f"{path}\t{prediction.label}\t{shares}"


def _json(path: Path, prediction: Prediction) -> str:
    def named(probabilities: object) -> dict[str, float]:
        return {
            label: round(float(p), 7)
            for label, p in zip(prediction.labels, probabilities)  # type: ignore[call-overload]
        }

    return json.dumps(
        {
            "path": str(path),
            "label": prediction.label,
            "probabilities": named(prediction.probabilities),
            "nets": {name: named(p) for name, p in prediction.by_net.items()},
        },
        allow_nan=False,
    )
