"""``lbpmap explain``: what a net makes of one face, as a sheet of pictures."""

from __future__ import annotations

import argparse

from lbpmap import pictures
from lbpmap._decode import printable
from lbpmap.cli import inputs

HELP = "draw what a net makes of one face, and which part of it speaks for a label"

EXAMPLES = """examples:
  lbpmap explain face.jpg -o sheet.png                 the first net whose weights are found
  lbpmap explain face.jpg --net VGG_S_lbp -o sheet.png
  lbpmap explain face.jpg --net run/ -o sheet.png      a net of your own, of any layers
  lbpmap explain face.jpg -o sheet.png --label Fear    what speaks for another label
  lbpmap explain face.jpg -o sheet.png --method gradcam
  lbpmap explain face.jpg -o sheet.png --patch 48 --stride 8
  lbpmap explain face.jpg -o sheet.png --parts parts/  and each picture by itself

The sheet shows the face, its codes, what the net is shown of it and what it answers; the filters of
its first convolution and their responses; and the face coloured by what speaks for the label.
'occlusion' moves a grey patch over the net's input and measures how far the label's probability
falls (some 170 passes); 'gradcam' follows the gradient of its score to the last convolution, and
needs PyTorch. The labels name apparent expressions, not feelings.
"""

# Those of `lbpmap.emotion.evidence`, which is only loaded when there is something to compute.
METHODS = ("occlusion", "gradcam")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "face", metavar="FACE", type=inputs.some_path, help="a picture: a cropped, upright face"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=inputs.png_path,
        required=True,
        help="the PNG to write the sheet to",
    )
    parser.add_argument(
        "--parts",
        metavar="DIR",
        type=inputs.some_path,
        help="a folder to write the sheet's pictures to, one by one and pixel for pixel: face, "
        "codes, input, evidence, filters, responses, pooled",
    )
    parser.add_argument(
        "--net",
        metavar="NET",
        help="a net's name, or the folder of a net or a run (default: the first whose weights are "
        "found)",
    )
    inputs.add_models(parser)
    inputs.add_engine(parser)
    parser.add_argument(
        "--label", metavar="LABEL", help="what to look for evidence of (default: what it answers)"
    )
    parser.add_argument(
        "--method", choices=METHODS, default=METHODS[0], help="how (default occlusion)"
    )
    parser.add_argument(
        "--patch",
        metavar="N",
        type=inputs.positive,
        help="side of the grey patch, pixels of the net's input (default a seventh of it: 32)",
    )
    parser.add_argument(
        "--stride",
        metavar="N",
        type=inputs.positive,
        help="by how much it moves, pixels (default half the patch)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Draw the sheet."""
    from lbpmap.emotion import evidence, explain, explain_sheet, registry, selection
    from lbpmap.emotion.ensemble import load_net

    # All that can be refused before half a gigabyte is read.
    evidence.check_method(args.method)
    inputs.check_output(args.output)
    if args.parts is not None and args.parts.exists() and not args.parts.is_dir():
        raise ValueError(f"{args.parts}: a file; expected a folder to write to (--parts)")
    files = (
        selection.select_net(args.net, args.models)
        if args.net
        else selection.ready_nets(args.models)[0]
    )
    registry.require_weights(files)
    if args.label is not None:
        explain.label_number(files, args.label)
    total = 0
    if args.method == "occlusion":
        total = evidence.positions(files.crop, args.patch, args.stride)
    face = pictures.read(args.face)
    loaded = load_net(files, allow_python_layers=args.allow_python_layers)
    with inputs.bar(total=total, unit="patch", quiet=args.quiet or not total) as bar:
        told = explain.explain(
            loaded,
            face,
            label=args.label,
            method=args.method,
            patch=args.patch,
            stride=args.stride,
            progress=bar.update,
        )
    name = printable(args.face.name)
    pictures.write_png(args.output, explain_sheet.draw(told, name))
    if args.parts is not None:
        args.parts.mkdir(parents=True, exist_ok=True)
        for part, pixels in explain_sheet.parts(told).items():
            pictures.write_png(args.parts / f"{part}.png", pixels)
    print(f"{args.face}\t{files.name}\t{explain_sheet.answer(told)}")
    return 0
