"""``lbpmap predict``: faces in pictures and videos to probabilities of apparent expressions."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from lbpmap._decode import printable
from lbpmap.cli import inputs

if TYPE_CHECKING:
    _Items = Callable[..., Iterator["Item"]]

    from lbpmap.predict.pipeline import Looks
    from lbpmap.predict.records import Face, Record
    from lbpmap.predict.runs import Counts
    from lbpmap.predict.sources import Item
    from lbpmap.predict.tables import Shape

HELP = "name the apparent expression of faces in pictures, folders and videos"

EXAMPLES = """examples:
  lbpmap predict face.jpg --models ~/emotion_nets      every net found there, averaged
  lbpmap predict faces/ --net VGG_S_rgb --crops 10     one net, ten crops a face
  lbpmap predict party.jpg --faces mtcnn               every face in a picture is found and cut out
  lbpmap predict photos/ -o all.csv --html all.html    a table, and a page to look at
  lbpmap predict photos/ -o all.csv --resume           what it has not, after Ctrl-C or a crash
  lbpmap predict 'shots/**/*.png' --list more.txt      a pattern; and names in a file, one a line
  lbpmap predict talk.mp4 --faces mtcnn --largest --every 0.2 --html talk.html
  lbpmap predict --webcam --faces mtcnn                until Ctrl-C
  lbpmap predict faces/ --json > faces.jsonl           one JSON object a face
  lbpmap predict faces/ --ensemble ensemble.toml       nets weighed by 'lbpmap ensemble fit'
  lbpmap predict faces/ --engine real                  by the Caffe of LBPMAP_CAFFE_PYTHON

Without --faces an input is a cropped, upright face. DIR holds one folder a net, named as the
authors named it (VGG_S_rgb, ...), with its weights and mean. The labels name apparent expressions,
not feelings.

A table has a row a face: path; frame (from 0) and time of a video; number (from 1), box and
landmarks of the face; the label and its probability; all probabilities; and the error of an input
that failed, which stops nothing. Exit codes: 0 all good, 1 some inputs failed, 2 usage.
"""

# A net takes far longer than two threads that read and map.
_THREADS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add(
        "inputs",
        metavar="INPUT",
        nargs="*",
        type=_input,
        help="pictures, folders of them, patterns such as 'a/*.png', and videos",
    )
    add(
        "--list",
        metavar="FILE",
        type=inputs.some_path,
        action="append",
        default=[],
        help="a text file with an input a line",
    )
    add(
        "--webcam",
        metavar="DEVICE",
        nargs="?",
        const="0",
        help="frames of a camera, by its number (default 0) or file, until Ctrl-C",
    )
    add(
        "--every",
        metavar="SECONDS",
        type=inputs.seconds,
        default=0.5,
        help="of a video or camera, a frame so often; 0 takes all (default 0.5)",
    )
    add("--seconds", metavar="N", type=inputs.seconds, help="of a camera, stop after so long")
    add(
        "-o",
        "--output",
        metavar="FILE",
        type=inputs.some_path,
        action="append",
        default=[],
        help="write FILE.csv, .jsonl, .parquet or .html, in place of printing; may be repeated",
    )
    add(
        "--html",
        metavar="FILE",
        type=inputs.html_path,
        action="append",
        dest="output",
        help="as -o: a report of its own in one file, with the pictures",
    )
    add(
        "--resume",
        action="store_true",
        help="leave out what the first output has, finished or not; without inputs, write what "
        "was kept of a run that was broken off, as by a camera. Give the same options: a finished "
        ".csv or .jsonl does not say what it was made with",
    )
    inputs.add_models(parser)
    inputs.add_engine(parser)
    inputs.add_device(parser)
    add(
        "--net",
        metavar="NET",
        action="append",
        help="a net to run, by its name or the folder of a net or a run; may be repeated (default: "
        "all whose weights are found)",
    )
    add(
        "--ensemble",
        metavar="FILE",
        type=inputs.some_path,
        help="nets and weights that 'lbpmap ensemble fit' wrote, in the place of --net",
    )
    add(
        "--faces",
        choices=("none", "mtcnn", "dlib"),
        default="none",
        help="what finds faces: none (the input is one, the default), mtcnn ('lbpmap models fetch "
        "mtcnn'), or dlib (lbpmap[faces])",
    )
    add("--largest", action="store_true", help="only the largest face of an input")
    add(
        "--crop-shape",
        choices=("square", "authors"),
        default="square",
        help="what is cut out for a face: a square (default), or an upright rectangle like the "
        "pictures that the released nets learned from, which they see stretched",
    )
    add(
        "--smallest",
        metavar="PIXELS",
        type=inputs.positive,
        default=40,
        help="side of the smallest face to be found (default 40)",
    )
    add(
        "--crops",
        type=int,
        choices=(1, 10),
        help="crops a face (default 1, or as the ensemble was fitted)",
    )
    add(
        "--mean-mode",
        choices=("resize", "crop"),
        help="how the 256 x 256 mean meets a 224 x 224 crop (default: what the net's model.toml "
        "says, else resize)",
    )
    add("--top", metavar="K", type=inputs.positive, help="name the K most probable labels")
    add(
        "--threshold",
        metavar="P",
        type=inputs.share,
        default=0.0,
        help="name no label that is less probable than this, 0 to 1",
    )
    add("--json", action="store_true", help="print one JSON object a face")
    add(
        "--batch",
        metavar="N",
        type=inputs.positive,
        help="faces that a net is shown at once (default 32, or 3 with ten crops)",
    )
    add(
        "--threads",
        metavar="N",
        type=inputs.positive,
        default=_THREADS,
        help=f"threads that read, cut and map ahead of the nets (default {_THREADS})",
    )
    add("-q", "--quiet", action="store_true", help="no progress bar and no summary")


def run(args: argparse.Namespace) -> int:
    """Go over the inputs; 1 when some failed."""
    from lbpmap import video
    from lbpmap.predict import sources
    from lbpmap.predict.tables import Shape

    _check(args)
    listed = [name for path in args.list for name in sources.read_list(path)]
    found = sources.paths([*args.inputs, *listed])
    has_video = bool(args.webcam) or any(map(sources.is_video, found))
    if has_video:
        video.require()
    looks = _looks(args)
    shape = Shape(min(args.top or 1, len(looks.fusion.labels)), args.threshold)
    total = None if has_video else len(found)
    with inputs.bar(total=total, unit="input", quiet=args.quiet) as bar:

        def items(done: Collection[tuple[str, int | None]] = ()) -> Iterator[Item]:
            bar.update(len({path for path, _ in done}))
            if args.webcam:
                return _until(sources.of_camera(args.webcam, every=args.every), args.seconds)
            return sources.items(found, every=args.every, done=done)

        counts = (_into_files if args.output else _onto_screen)(args, looks, shape, items, bar)
    if counts.failed:
        print(f"{counts.failed} of {counts.inputs} failed", file=sys.stderr)
    if args.output and not args.quiet:
        print(f"{', '.join(map(str, args.output))}: {counts}", file=sys.stderr)
    return 1 if counts.failed else 0


def _check(args: argparse.Namespace) -> None:
    """Refuse what can be refused before nets are read."""
    from lbpmap.predict import outputs, runs

    if args.webcam and (args.inputs or args.list or args.resume):
        raise ValueError("--webcam stands alone: leave inputs, --list and --resume out")
    broken_off = args.resume and args.output and runs.journal_of(args.output[0]).exists()
    if not (args.webcam or args.inputs or args.list or broken_off):
        raise ValueError("no input: name pictures, folders or videos, --list FILE or --webcam")
    if args.resume and not args.output:
        raise ValueError("--resume goes on with an output: name it with -o")
    if args.json and args.output:
        raise ValueError(
            "--json prints, and -o writes: leave one of them out; -o FILE.jsonl is both"
        )
    if args.seconds is not None and not args.webcam:
        raise ValueError("--seconds is for --webcam")
    for path in args.output:
        outputs.check(path)
        inputs.check_output(path)


def _looks(args: argparse.Namespace) -> Looks:
    """Load what is to look at the inputs."""
    from lbpmap import faces
    from lbpmap.emotion import (
        ensemble,
        ensemble_file,
        evaluate,
        fusion,
        registry,
        selection,
    )
    from lbpmap.predict import html, outputs, pipeline

    together, crops = None, args.crops or 1
    if args.ensemble:
        if args.net:
            raise ValueError(f"--ensemble says which nets run: leave --net {args.net[0]} out")
        held = ensemble_file.load(args.ensemble)
        chosen = ensemble_file.find_members(held, args.ensemble)
        together, crops = held.fusion, args.crops or held.fitted.crops
    else:
        named = args.net and selection.select_nets(args.net, args.models)
        chosen = named or selection.ready_nets(args.models)
    labels = ensemble.common_labels(chosen)
    detector = faces.load(
        args.faces, models=registry.search_path(args.models), smallest=args.smallest
    )
    nets = [
        ensemble.load_net(
            files, mean_mode=args.mean_mode, allow_python_layers=args.allow_python_layers
        )
        for files in chosen
    ]
    shows_pictures = any(outputs.suffix(path) == ".html" for path in args.output)
    from_camera = bool(args.webcam)
    return pipeline.Looks(
        nets,
        together or fusion.uniform([files.name for files in chosen], labels),
        detector,
        crops=crops,
        largest=args.largest,
        aspect=faces.AUTHORS_ASPECT if args.crop_shape == "authors" else 1.0,
        batch=args.batch or (1 if from_camera else evaluate.default_batch(crops)),
        threads=1 if from_camera else args.threads,
        pictures=html.thumbnails if shows_pictures else None,
    )


def _into_files(
    args: argparse.Namespace, looks: Looks, shape: Shape, items: _Items, bar: tqdm[Any]
) -> Counts:
    from lbpmap.predict import runs

    made_with = runs.settings(looks, every=args.every, mean_mode=args.mean_mode)

    def seen(group: Sequence[Record]) -> None:
        _complain(group)
        bar.update(len(group))

    try:
        return runs.into_files(
            items, looks, made_with, args.output, shape, resume=args.resume, seen=seen
        )
    except (KeyboardInterrupt, SystemExit):
        kept = runs.journal_of(args.output[0])
        if kept.exists():
            print(f"{kept}: kept for --resume", file=sys.stderr)
        raise


def _onto_screen(
    args: argparse.Namespace, looks: Looks, shape: Shape, items: _Items, bar: tqdm[Any]
) -> Counts:
    from lbpmap.predict import pipeline, records, runs

    counts = runs.Counts()
    for group in pipeline.look(items(), looks):
        _complain(group)
        for record in group:
            counts.add(record)
            for number, face in records.rows(record):
                if args.json:
                    tqdm.write(_json(record, number, face, looks, shape))
                elif record.error is None:
                    tqdm.write(_line(record, number, face, looks, shape, args.top))
        sys.stdout.flush()  # who reads a camera's answers through a pipe waits for each
        bar.update(len(group))
    return counts


def _complain(group: Sequence[Record]) -> None:
    for record in group:
        if record.error is not None:
            tqdm.write(f"{printable(record.path)}: {record.error}", file=sys.stderr)


def _line(
    record: Record,
    number: int | None,
    face: Face | None,
    looks: Looks,
    shape: Shape,
    top: int | None,
) -> str:
    from lbpmap.predict.tables import names

    where = printable(record.path)
    where += "" if record.time is None else f" at {record.time:.2f} s"
    if face is None:
        return f"{where}\tno face"
    where += "" if face.box is None else f", face {number}"
    named = names(face, looks.fusion.labels, shape)
    shares = named if top else zip(looks.fusion.labels, face.probabilities)
    said = "  ".join(f"{label} {p:.3f}" for label, p in shares)
    return f"{where}\t{named[0][0] if named else 'unsure'}\t{said}"


def _json(record: Record, number: int | None, face: Face | None, looks: Looks, shape: Shape) -> str:
    from lbpmap.predict.tables import as_object

    row = as_object(record, number, face, looks.fusion.labels, shape)
    return json.dumps(row, allow_nan=False)


def _until(frames: Iterator[Item], seconds: float | None) -> Iterator[Item]:
    """Take frames of a camera until their time is over or Ctrl-C, which ends them in good order."""
    pressed = Event()
    before = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        for frame in frames:
            if pressed.is_set() or (seconds is not None and (frame.time or 0) > seconds):
                return
            yield frame
    finally:
        signal.signal(signal.SIGINT, before)


def _input(text: str) -> str:
    """Take an input as it is named."""
    inputs.some_path(text)
    return text
