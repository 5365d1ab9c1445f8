"""``lbpmap export``: a net in a file for other stacks."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lbpmap.cli import inputs

if TYPE_CHECKING:
    from lbpmap.caffe.export import Exported

HELP = "write a net as ONNX, safetensors or a PyTorch program, checked by its own runtime"

EXAMPLES = """examples:
  lbpmap export VGG_S_rgb -o rgb.onnx --models ~/emotion_nets
  lbpmap export VGG_S_cyclic_lbp -o face.onnx --input picture   takes a picture, does all itself
  lbpmap export ~/nets/mine -o mine.safetensors                 parameters only: conv1.0, conv1.1
  lbpmap export ~/nets/mine -o mine.pt2 --batch 8               torch.export, eight items a time
  lbpmap export --deploy deploy.prototxt --weights net.caffemodel -o net.onnx   any Caffe net

What comes out is compared with this engine on random inputs; a file that differs is not left.
What a file says about itself: lbpmap.caffe.export.read_about(FILE).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("net", metavar="NET", nargs="?", help="a net's name, or its folder")
    inputs.add_models(parser)
    parser.add_argument(
        "--deploy", metavar="FILE", type=inputs.some_path, help="a prototxt, in the place of NET"
    )
    parser.add_argument(
        "--weights", metavar="FILE", type=inputs.some_path, help="the caffemodel that goes with it"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=inputs.some_path,
        required=True,
        help="the file to write: .onnx, .safetensors or .pt2",
    )
    parser.add_argument(
        "--input",
        choices=("blob", "picture"),
        default="blob",
        help="what an .onnx takes: float32 as the net itself (default), or a uint8 RGB picture "
        "(H, W, 3) of any size",
    )
    parser.add_argument(
        "--batch",
        metavar="N",
        type=inputs.positive,
        help="write it for exactly N items of the net's size (default: any number)",
    )
    parser.add_argument(
        "--mean-mode",
        choices=("resize", "crop"),
        help="as for 'lbpmap predict' (default: what the net's model.toml says, else resize)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the file, and print what it takes and how far its outputs are off."""
    from lbpmap.caffe.export import FORMATS, export_files
    from lbpmap.emotion import exporting, selection

    if args.output.suffix.lower() not in FORMATS:
        raise ValueError(f"{args.output}: expected a name that ends in {', '.join(FORMATS)}")
    inputs.check_output(args.output)
    if args.input == "picture" and args.output.suffix.lower() != ".onnx":
        raise ValueError(f"{args.output}: --input picture goes with .onnx")
    if args.deploy or args.weights:
        if args.net or not (args.deploy and args.weights):
            raise ValueError("give a NET, or both --deploy and --weights")
        if args.input == "picture" or args.mean_mode:
            raise ValueError(
                "--input picture and --mean-mode are for a NET, whose model.toml says what it sees"
            )
        made = export_files(args.deploy, args.weights, args.output, batch=args.batch)
    elif args.net:
        made = exporting.export_net(
            selection.select_net(args.net, args.models),
            args.output,
            takes=args.input,
            batch=args.batch,
            mean_mode=args.mean_mode,
        )
    else:
        raise ValueError("give a NET, or both --deploy and --weights")
    print("\n".join(_lines(made)))
    return 0


def _lines(made: Exported) -> list[str]:
    takes = (f"{name} {' x '.join(map(str, n))}" for name, n in made.inputs.items())
    lines = [f"{made.path}: {made.size} bytes" + "".join(f", {each}" for each in takes)]
    return lines + [f"  {name}: off by at most {far:.1e}" for name, far in made.differences.items()]
