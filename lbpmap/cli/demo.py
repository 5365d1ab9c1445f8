"""``lbpmap demo``: the whole way on a picture that the package brings."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import lbpmap
from lbpmap import pictures
from lbpmap.cli import inputs
from lbpmap.representations import MAPPED
from lbpmap.transform import lbp_codes, mapped_lbp, to_gray

if TYPE_CHECKING:
    from lbpmap._arrays import U8
    from lbpmap.emotion.registry import NetFiles

HELP = "show the whole way on one face: codes, mapped pictures, a net"

EXAMPLES = """examples:
  lbpmap demo                              lbpmap_demo.png, and how long each step takes
  lbpmap demo -o sheet.png --no-net        the pictures alone
  lbpmap demo --models ~/emotion_nets      with what the nets found there say

Without weights a net of random ones is written, read and run, which takes 0.5 GB of disk for a
moment; what it answers means nothing and is not shown.
"""

# Eileen Collins, NASA, in the public domain: the upper middle of scikit-image's `astronaut`.
_PHOTO = Path(lbpmap.__file__).parent / "astronaut.png"
_FACE = (slice(40, 200), slice(54, 198))
_NET_BYTES = 498_100_000

T = TypeVar("T")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=inputs.png_path, default=Path("lbpmap_demo.png"),
        help="the picture sheet to write (default lbpmap_demo.png)",
    )  # fmt: skip
    inputs.add_models(parser)
    inputs.add_engine(parser)
    parser.add_argument("--no-net", action="store_true", help="pictures only")


def run(args: argparse.Namespace) -> int:
    """Go the whole way, and time each step."""
    photo = _timed("read the astronaut", lambda: pictures.read(_PHOTO))
    face = photo[_FACE]
    gray = _timed(f"face of {face.shape[0]} x {face.shape[1]} to grey", lambda: to_gray(face))
    _timed("LBP codes", lambda: lbp_codes(gray))
    for name in MAPPED:
        _timed(f"map to {name}", partial(mapped_lbp, gray, name))

    from lbpmap.emotion import report

    drawn = _timed("draw the sheet", lambda: report.sheet(face))
    pictures.write_png(args.output, drawn)
    print(f"photo, codes and mapped pictures: {args.output}")
    if not args.no_net:
        _nets(args, face)
    return 0


def _nets(args: argparse.Namespace, face: U8) -> None:
    from lbpmap.emotion import ensemble, registry

    nets = registry.find_nets(args.models)
    ready = [files for files in nets.values() if files.weights and files.mean]
    if not ready:
        print(
            "no released weights here, so no expression is predicted; 'lbpmap models list' says "
            "which there are"
        )
        _rehearse(nets["VGG_S_cyclic_lbp"], face)
        return
    for files in ready:
        load = partial(ensemble.load_net, files, allow_python_layers=args.allow_python_layers)
        loaded = _timed(f"read {files.name}", load)
        said = _timed(f"run {files.name}", partial(ensemble.predict, [loaded], face))
        print(f"{files.name}: apparent expression {said.label} ({said.probabilities.max():.2f})")


def _rehearse(files: NetFiles, face: U8) -> None:
    """Write, read and run the net with random weights, to show that the way through files works."""
    from lbpmap import caffe
    from lbpmap.emotion import synthetic
    from lbpmap.transform import caffe_blob

    with tempfile.TemporaryDirectory(prefix="lbpmap-demo-") as folder:
        if shutil.disk_usage(folder).free < 2 * _NET_BYTES:
            print(f"less than 1 GB free in {folder}: the net is not written and run")
            return
        path = Path(folder) / "random.caffemodel"
        count = _timed(
            "write a net of random weights",
            lambda: synthetic.write_random_weights(files.deploy, path),
        )
        net = _timed(
            f"read it ({path.stat().st_size / 1e6:.0f} MB)",
            lambda: caffe.Net(str(files.deploy), str(path), caffe.TEST),
        )
        blob = _timed("face to input blob", lambda: caffe_blob(face, files.representation, mean=0))
        net.blobs["data"].data[...] = blob
        _timed("run it", net.forward)
    print(
        f"{files.name}'s layout, {count:,} random weights: it runs; what it answers means nothing "
        f"and is not shown"
    )


def _timed(what: str, step: Callable[[], T]) -> T:
    start = time.perf_counter()
    result = step()
    print(f"  {what:<32} {1e3 * (time.perf_counter() - start):9.2f} ms", flush=True)
    return result
