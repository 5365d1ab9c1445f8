"""The folder of a run: what it was told, what it has learned, and how it goes on.

A run's folder is a net's folder too, so that whatever runs nets runs the best of a run's weights:

    run.toml                what is needed to repeat it: settings, versions, checksums
    model.toml labels.txt   the net's description
    train_val.prototxt solver.prototxt deploy.prototxt mean.binaryproto
    data.csv                the pictures, with their parts
    best.caffemodel         the weights that did best on the validation part
    log.csv curves.png      iteration by iteration
    result.toml             how it ended
    snapshots/              net_iter_N.caffemodel, .solverstate, and .resume.json: what these two do
                            not hold, the best so far and where random numbers stand

A folder appears whole, with its first files, or not at all; and every file in it does.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lbpmap import _toml
from lbpmap._files import PathLike, atomic_write, lock, read_bytes
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import Message

_MAX_TEXT_BYTES = 1 << 26
_MAX_TOML_BYTES = 1 << 20
_STEM = "net"
_RESUME = re.compile(rf"{_STEM}_iter_(\d+)\.resume\.json")
_MAY_BE_ZERO = ("seed", "patience", "mirror", "mixed_precision")
_ENDS = (".caffemodel", ".solverstate", ".resume.json")


@dataclass(frozen=True)
class Settings:
    """What a run does, beside what its prototxts say.

    Attributes
    ----------
    representation : str
        What pictures are turned into: a name, or the file of a table in the folder.
    size, crop : int
        Side of the stretched picture, and of what is cut from it.
    mirror : bool
        Whether half of the pictures are mirrored, by chance.
    seed : int
        Of the order, the cuts, fillers and Dropout.
    batch, iter_size : int
        Pictures a pass, passes an iteration.
    max_iter : int
        Iterations at most.
    validate_every, snapshot_every : int
        Iterations between.
    keep : int
        Snapshots that are kept.
    patience : int
        Validations without a better one after which it stops; 0 for never.
    scores : str
        The blob with the scores of a picture.
    device : str
        "cpu", "gpu", or "gpu:N".
    mixed_precision : bool
        Whether a GPU multiplies in bfloat16.
    """

    representation: str
    size: int
    crop: int
    mirror: bool
    seed: int
    batch: int
    iter_size: int
    max_iter: int
    validate_every: int
    snapshot_every: int
    keep: int
    patience: int
    scores: str
    device: str = "cpu"
    mixed_precision: bool = False

    @property
    def pictures(self) -> int:
        """Pictures an iteration."""
        return self.batch * self.iter_size


@dataclass(frozen=True)
class Best:
    """The best validation so far."""

    iteration: int
    accuracy: float
    loss: float

    def beats(self, other: Best | None) -> bool:
        """Whether it has the higher accuracy, or the same with a lower loss."""
        return other is None or (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


@dataclass(frozen=True)
class Resume:
    """What a solverstate does not hold.

    Attributes
    ----------
    iteration : int
    best : Best or None
    since_best : int
        Validations since then.
    random : dict or None
        From `lbpmap.caffe.seed.states`; None where the real Caffe drew, which tells nobody.
    """

    iteration: int
    best: Best | None
    since_best: int
    random: dict[str, Any] | None


def check_new(folder: PathLike) -> Path:
    """Refuse a folder that holds something already.

    Raises
    ------
    FileExistsError
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{folder}: exists; choose another folder, or go on with --resume")
    return target


def create(
    folder: PathLike, settings: Settings, record: dict[str, Any], write: Callable[[Path], None]
) -> None:
    """Make the folder of a run.

    Parameters
    ----------
    folder : str or path
        Must not exist, or be empty.
    settings : Settings
    record : dict of dicts
        More for run.toml, table by table.
    write : function of a path
        Writes the other files into the folder whose path it is given.

    Raises
    ------
    OSError
        When the folder exists, or a file cannot be written; nothing is left then.
    """
    target = check_new(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.part")
    part.mkdir()
    try:
        write(part)
        (part / "snapshots").mkdir()
        _toml.write(part / "run.toml", {"settings": asdict(settings), **record})
        os.replace(part, target)
    except BaseException:
        shutil.rmtree(part)
        raise


@contextmanager
def alone(folder: PathLike) -> Iterator[None]:
    """Let no other process work on a run meanwhile.

    Raises
    ------
    OSError
        When another one does, or `folder` is not a run's.
    """
    with open(Path(folder) / "run.toml", "r+b") as file:
        lock(file, folder)
        yield


def read_settings(folder: PathLike) -> Settings:
    """Read what a run was told.

    Raises
    ------
    OSError, ValueError
        When `folder` is not a run's, or its run.toml is not as it was written.
    """
    path = Path(folder) / "run.toml"
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no run: it holds no run.toml")
    told = read_toml(path).get("settings")
    if not isinstance(told, dict):
        raise ValueError(f"{path}: no table [settings]")
    kinds = {"int": int, "str": str, "bool": bool}
    for field in fields(Settings):
        value: Any = told.get(field.name)
        if type(value) is not kinds[str(field.type)]:
            raise ValueError(f"{path}: settings.{field.name} must be {field.type}, got {value!r}")
        if isinstance(value, int) and value < (field.name not in _MAY_BE_ZERO):
            raise ValueError(f"{path}: settings.{field.name} must be positive, got {value}")
    unknown = set(told) - {field.name for field in fields(Settings)}
    if unknown:
        raise ValueError(f"{path}: unknown settings: {', '.join(sorted(unknown))}")
    return Settings(**told)


def snapshot_prefix(folder: PathLike) -> str:
    """Give what the names of a run's snapshots begin with, for a solver."""
    return str(Path(folder) / "snapshots" / _STEM)


def snapshots(folder: PathLike) -> list[int]:
    """List the iterations of the snapshots that are whole, in order."""
    place = Path(folder) / "snapshots"
    found = [_RESUME.fullmatch(path.name) for path in place.iterdir()]
    numbers = sorted(int(match[1]) for match in found if match)
    return [n for n in numbers if all(p.is_file() for p in snapshot_files(folder, n))]


def snapshot_files(folder: PathLike, iteration: int) -> list[Path]:
    """Give the three files of a snapshot: weights, solverstate, and what that does not hold."""
    return [Path(f"{snapshot_prefix(folder)}_iter_{iteration}{end}") for end in _ENDS]


def finish_snapshot(folder: PathLike, state: Resume, keep: int) -> None:
    """Add the third file, which makes a snapshot whole, and remove all but the newest few.

    Parameters
    ----------
    folder : str or path
    state : Resume
        Of the iteration whose weights and solverstate are written already.
    keep : int
    """
    with atomic_write(snapshot_files(folder, state.iteration)[-1]) as file:
        file.write(json.dumps(asdict(state)).encode())
    place = Path(folder) / "snapshots"
    newest = {path.name for n in snapshots(folder)[-keep:] for path in snapshot_files(folder, n)}
    # The file that makes a snapshot whole goes first.
    for path in sorted(place.iterdir(), key=lambda path: path.suffix != ".json"):
        if path.name not in newest and _iteration(path) < state.iteration:
            path.unlink()


def _iteration(path: Path) -> float:
    match = re.match(rf"{_STEM}_iter_(\d+)\.", path.name)
    return int(match[1]) if match else float("inf")


def read_resume(folder: PathLike, iteration: int) -> Resume:
    """Read the third file of a snapshot.

    Raises
    ------
    OSError, ValueError
        When it cannot be read, or is not as it was written.
    """
    path = snapshot_files(folder, iteration)[-1]
    raw = read_bytes(path, _MAX_TEXT_BYTES, "a snapshot's third file")
    try:
        told = json.loads(raw)
        best = told["best"] and Best(
            int(told["best"]["iteration"]),
            float(told["best"]["accuracy"]),
            float(told["best"]["loss"]),
        )
        random = None if told["random"] is None else dict(told["random"])
        state = Resume(int(told["iteration"]), best, int(told["since_best"]), random)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: damaged ({error!r}); remove it to use the one before") from None
    if state.iteration != iteration:
        raise ValueError(f"{path}: is of iteration {state.iteration}; remove it")
    return state


def write_rows(path: PathLike, rows: Iterable[dict[str, Any]], columns: Iterable[str]) -> None:
    """Write a CSV file whole."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def read_rows(path: PathLike, until: int) -> list[dict[str, str]]:
    """Read the rows of a log up to an iteration; what a crash left of a last line is dropped."""
    rows: list[dict[str, str]] = []
    with suppress(FileNotFoundError):
        raw = read_bytes(path, 1 << 30, "a log").decode("utf-8", "replace")
        for row in csv.DictReader(io.StringIO(raw, newline="")):
            number = row.get("iteration") or ""
            if number.isdigit() and int(number) <= until and None not in row.values():
                rows.append(row)
    return rows


def sweep(folder: PathLike) -> None:
    """Remove what a run that was killed left half-written."""
    for place in (Path(folder), Path(folder) / "snapshots"):
        for path in place.glob(".*.part"):
            path.unlink()


def write_message(path: PathLike, message: Message) -> None:
    """Write a message as text, whole or not at all."""
    with atomic_write(path) as file:
        file.write(prototxt.format_text(message).encode())


def read_toml(path: PathLike) -> dict[str, Any]:
    """Read a TOML file of a run."""
    return _toml.read(path, _MAX_TOML_BYTES, "a file of a run")
