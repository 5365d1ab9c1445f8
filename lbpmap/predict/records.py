"""What is known of one input, as it is kept while a run goes on and shown when it is done."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lbpmap._errors import one_line

# Sums of single precision may be a little over 1.
_MOST = 1.001
# What a column of whole numbers holds.
_LARGEST = 2**63


@dataclass(frozen=True)
class Face:
    """One face and what nets say of it.

    Attributes
    ----------
    by_net : dict of tuples of float
        Probabilities of every net by its name, in the order of `Settings.labels`.
    probabilities : tuple of float
        Of all nets together, in that order.
    box : tuple of 4 float, or None
        x0, y0, x1, y1 in pixels of the input; None where the input is the face.
    score : float or None
        The detector's.
    landmarks : tuple of 5 pairs of float, or None
        Eye at the left, eye at the right, nose, corners of the mouth at the left and right: x, y.
    pictures : dict of bytes
        Small JPEG and PNG files to show it by: "face", "codes", and a representation's name for
        each that a net was shown. Only kept where a report is to be written.
    """

    by_net: Mapping[str, tuple[float, ...]]
    probabilities: tuple[float, ...]
    box: tuple[float, float, float, float] | None = None
    score: float | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def best(self) -> int:
        """Number of the most probable label."""
        return max(range(len(self.probabilities)), key=self.probabilities.__getitem__)


@dataclass(frozen=True)
class Record:
    """An input and the faces in it.

    Attributes
    ----------
    path : str
        As it was named or found; of a camera, its name.
    faces : tuple of Face
        In falling order of the detector's scores. None, without an error: it has no face.
    frame : int or None
        Number of a video's frame, from 0.
    time : float or None
        Seconds from the start of the video.
    error : str or None
        Why nothing can be said of it, in one line.
    """

    path: str
    faces: tuple[Face, ...] = ()
    frame: int | None = None
    time: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Settings:
    """What records were made with.

    Two runs with equal settings say the same of the same inputs.

    Attributes
    ----------
    labels : tuple of str
    nets : tuple of dict
        Of each net its name, what it is shown, its labels in its own order, and the SHA-256 of
        deploy, weights and mean, and of a table of colours of its own.
    fusion : dict
        How nets are combined: method, and weights by net or the checksum of the ensemble file.
    crops : int
        Crops a face.
    faces : dict
        The detector, as it describes itself, and whether only the largest face counts.
    every : float or None
        Seconds between frames of videos.
    version : str
        Of this package.
    """

    labels: tuple[str, ...]
    nets: tuple[Mapping[str, Any], ...]
    fusion: Mapping[str, Any]
    crops: int
    faces: Mapping[str, Any]
    every: float | None
    version: str


def differing(there: Mapping[str, Any], settings: Settings) -> str | None:
    """Compare the settings that a file holds with those of a run.

    Parameters
    ----------
    there : mapping
        By the names of fields, as JSON has them or as `dataclasses.asdict` gives them.
    settings : Settings

    Returns
    -------
    str or None
        The first field that differs; None where all are the same.
    """
    theirs, ours = (json.loads(json.dumps(each)) for each in (there, asdict(settings)))
    return next((name for name, value in ours.items() if theirs.get(name) != value), None)


def to_json(record: Record) -> str:
    """Write a record as one line of JSON.

    Parameters
    ----------
    record : Record

    Returns
    -------
    str
        Without a line end.

    Examples
    --------
    >>> line = to_json(Record("a.jpg", (Face({"net": (0.25, 0.75)}, (0.25, 0.75)),)))
    >>> from_json(line).faces[0].best
    1
    """
    # Not `asdict`, which would copy every number.
    plain = {**vars(record), "faces": [_plain(face) for face in record.faces]}
    return json.dumps(plain, allow_nan=False, separators=(",", ":"))


def _plain(face: Face) -> dict[str, Any]:
    pictures = {name: base64.b64encode(data).decode() for name, data in face.pictures.items()}
    return {**vars(face), "pictures": pictures}


def from_json(line: str) -> Record:
    """Read what `to_json` has written.

    Parameters
    ----------
    line : str

    Returns
    -------
    Record

    Raises
    ------
    ValueError
        When it is no record.
    """
    try:
        plain = json.loads(line)
        faces = tuple(_face(face) for face in plain.pop("faces"))
        return Record(faces=faces, **plain)
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"no record: {type(error).__name__} {error}") from None


def _face(plain: dict[str, Any]) -> Face:
    def numbers(values: Any) -> tuple[float, ...]:
        return tuple(map(float, values))

    box, marks = plain["box"], plain["landmarks"]
    return Face(
        by_net={str(name): numbers(p) for name, p in plain["by_net"].items()},
        probabilities=numbers(plain["probabilities"]),
        box=box and numbers(box),  # type: ignore[arg-type]
        score=plain["score"],
        landmarks=marks and tuple((float(x), float(y)) for x, y in marks),
        pictures={
            str(name): base64.b64decode(data, validate=True)
            for name, data in plain["pictures"].items()
        },
    )


def check_record(record: Record, settings: Settings) -> None:
    """Refuse a record that these settings cannot have made: it comes from a file.

    Parameters
    ----------
    record : Record
    settings : Settings

    Raises
    ------
    ValueError
        In one line, without the name of the file.
    """
    if not isinstance(record.path, str) or not isinstance(record.error, (str, type(None))):
        raise ValueError(f"a record with the path {one_line(repr(record.path))}; expected words")
    name = one_line(record.path)
    if record.time is not None and not _finite(record.time):
        raise ValueError(f"{name}: time {one_line(repr(record.time))}; expected seconds or none")
    if record.frame is not None and not (isinstance(record.frame, int) and _finite(record.frame)):
        raise ValueError(f"{name}: frame {one_line(repr(record.frame))}; expected a number or none")
    for face in record.faces:
        for whose, shares in (("all nets", face.probabilities), *face.by_net.items()):
            fit = len(shares) == len(settings.labels) and all(map(_is_share, shares))
            if not fit:
                raise ValueError(
                    f"{name}: {one_line(whose)}: expected {len(settings.labels)} probabilities "
                    f"between 0 and 1, got {one_line(repr(shares))}"
                )
        if face.score is not None and not _finite(face.score):
            raise ValueError(f"{name}: score {one_line(repr(face.score))}; expected a number")
        if face.box is not None and not (len(face.box) == 4 and all(map(_finite, face.box))):
            raise ValueError(f"{name}: box {one_line(repr(face.box))}; expected 4 numbers")
        marks = face.landmarks
        if marks is not None and not (len(marks) == 5 and all(map(_is_point, marks))):
            raise ValueError(f"{name}: landmarks {one_line(repr(marks))}; expected 5 points")


def _is_share(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= _MOST


def _is_point(values: tuple[float, ...]) -> bool:
    return len(values) == 2 and all(map(_finite, values))


def _finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and -_LARGEST <= value < _LARGEST


def rows(record: Record) -> Iterator[tuple[int | None, Face | None]]:
    """Give the rows of a record in a table: one a face, with its number, or one for none.

    Faces are counted from 1, as on the page of a report.
    """
    if not record.faces:
        yield None, None
    yield from enumerate(record.faces, 1)
