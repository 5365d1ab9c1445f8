"""The files of MTCNN: found, checked, opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lbpmap import caffe
from lbpmap._errors import one_line
from lbpmap._files import sha256
from lbpmap.caffe import graph

FOLDER = "mtcnn"


@dataclass(frozen=True)
class Stage:
    """One of the three nets.

    Attributes
    ----------
    name : str
        As its files are called.
    size : int
        Side of what it looks at, pixels.
    outputs : dict of int
        How many numbers each output gives for a picture of that size.
    """

    name: str
    size: int
    outputs: dict[str, int]


STAGES = (
    Stage("det1", 12, {"conv4-2": 4, "prob1": 2}),
    Stage("det2", 24, {"conv5-2": 4, "prob1": 2}),
    Stage("det3", 48, {"conv6-2": 4, "conv6-3": 10, "prob1": 2}),
)
NAMES = [f"{stage.name}.{kind}" for stage in STAGES for kind in ("prototxt", "caffemodel")]


def find(folders: Sequence[Path]) -> Path:
    """Give the first folder that holds the six files.

    Parameters
    ----------
    folders : sequence of Path
        Each may hold a folder ``mtcnn``.

    Raises
    ------
    FileNotFoundError
        When none holds them all.
    """
    places = [folder / FOLDER for folder in folders]
    absent = {place: [n for n in NAMES if not (place / n).is_file()] for place in places}
    for place, names in absent.items():
        if not names:
            return place
    # Of a folder that holds a part the missing part is named, of others only where they are.
    looked = ", ".join(
        f"{place} (without {', '.join(names)})" if len(names) < len(NAMES) else str(place)
        for place, names in absent.items()
    )
    raise FileNotFoundError(
        f"mtcnn: {NAMES[0]} to {NAMES[-1]} are not in {looked or 'any folder: none was given'}; "
        f"get them with 'lbpmap models fetch mtcnn', or with 'lbpmap models import FOLDER' of a "
        f"folder that holds them"
    )


def open_nets(place: Path) -> tuple[tuple[caffe.Net, ...], dict[str, str]]:
    """Open the nets of a folder.

    Parameters
    ----------
    place : Path

    Returns
    -------
    nets : tuple of three Net
    checksums : dict of str
        SHA-256 of each file, by its name.

    Raises
    ------
    OSError
        When a file cannot be read.
    ValueError
        When a file is malformed, or its net is another one.
    """
    checksums = {name: sha256(place / name) for name in NAMES}
    return tuple(_open(place, stage) for stage in STAGES), checksums


def _open(place: Path, stage: Stage) -> caffe.Net:
    deploy, weights = (place / f"{stage.name}.{kind}" for kind in ("prototxt", "caffemodel"))
    graph.refuse_python_layers(deploy, ", which no net of MTCNN does; get the files anew")
    net = caffe.Net(deploy, weights, caffe.TEST)
    given = {name: net.blobs[name].shape for name in (*net.inputs, *net.outputs)}
    wanted: dict[str, tuple[int, ...]] = {"data": (1, 3, stage.size, stage.size)}
    # The first net gives maps, of a single place for a picture of its own size.
    maps = (1, 1) if stage is STAGES[0] else ()
    wanted.update({name: (1, count, *maps) for name, count in stage.outputs.items()})
    if {name: tuple(shape) for name, shape in given.items()} != wanted or net.inputs != ["data"]:
        raise ValueError(
            f"{deploy}: not {stage.name} of MTCNN: its input and outputs are {_shown(given)}, "
            f"expected {_shown(wanted)}"
        )
    unfilled = net.unfilled_layers()
    if unfilled:
        names = one_line(", ".join(unfilled))
        raise ValueError(f"{weights}: has no weights for {names} of {deploy}: of another net")
    return net


def _shown(shapes: dict[str, tuple[int, ...]]) -> str:
    return one_line(
        ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in shapes.items())
    )
