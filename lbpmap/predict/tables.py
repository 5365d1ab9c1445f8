"""What a table of records has in its columns: a row a face, and one for an input without any.

A row holds all that a record holds but the pictures, so that a table can be read back and added to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbpmap.predict.records import Face, Record, Settings

# The corners of a box and the landmarks of a face, by the names of their columns.
_BOX = ("x0", "y0", "x1", "y1")
_MARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
# Labels that would be taken for other columns.
_RESERVED = re.compile(
    "path|frame|time|face|score|error|(label|probability)(_[0-9]+)?|"
    f"{'|'.join(_BOX)}|({'|'.join(_MARKS)})_[xy]"
)


@dataclass(frozen=True)
class Shape:
    """What a table shows besides what records hold.

    Attributes
    ----------
    top : int
        Labels named in a row, most probable first.
    threshold : float
        A label less probable than this is left out: nothing is named.
    """

    top: int = 1
    threshold: float = 0.0


@dataclass(frozen=True)
class Column:
    """A column: its name, the type of its values, and how a row has it.

    A row is a record with the number of a face and that face, as `lbpmap.predict.records.rows`
    gives them; what it has nothing of is None.
    """

    name: str
    kind: type
    value: Callable[[Record, int | None, Face | None], Any]


def names(face: Face, labels: Sequence[str], shape: Shape) -> list[tuple[str, float]]:
    """Name the most probable labels of a face.

    Parameters
    ----------
    face : Face
    labels : sequence of str
    shape : Shape

    Returns
    -------
    list of (str, float)
        At most `shape.top`, each at least as probable as the threshold.

    Examples
    --------
    >>> names(Face({}, (0.2, 0.7, 0.1)), ["sad", "glad", "calm"], Shape(top=2, threshold=0.2))
    [('glad', 0.7), ('sad', 0.2)]
    """
    ranked = sorted(zip(labels, face.probabilities), key=lambda named: -named[1])
    return [named for named in ranked[: shape.top] if named[1] >= shape.threshold]


def columns(settings: Settings, shape: Shape) -> list[Column]:
    """List the columns of a table.

    Parameters
    ----------
    settings : Settings
    shape : Shape

    Returns
    -------
    list of Column
        The input and the face in it; what is named and how probable it is; a probability a label,
        of all nets together, and as ``net:label`` of each, where there are several; the error. Of a
        label that is called as another column is, such as "face", it is ``all:face``.
    """

    def of_face(name: str, kind: type, value: Callable[[Face], Any]) -> Column:
        return Column(name, kind, lambda _, __, face: None if face is None else value(face))

    def corner(k: int) -> Callable[[Face], Any]:
        return lambda face: face.box and face.box[k]

    def mark(k: int, axis: int) -> Callable[[Face], Any]:
        return lambda face: face.landmarks and face.landmarks[k][axis]

    def ranked(k: int, part: int) -> Callable[[Face], Any]:
        def value(face: Face) -> Any:
            named = names(face, settings.labels, shape)
            return named[k][part] if k < len(named) else None

        return value

    def share(k: int) -> Callable[[Face], Any]:
        return lambda face: face.probabilities[k]

    def share_of(net: str, k: int) -> Callable[[Face], Any]:
        return lambda face: face.by_net[net][k]

    ending = ["", *(f"_{k}" for k in range(2, shape.top + 1))]
    return [
        Column("path", str, lambda record, _, __: record.path),
        Column("frame", int, lambda record, _, __: record.frame),
        Column("time", float, lambda record, _, __: record.time),
        Column("face", int, lambda _, number, __: number),
        *(of_face(name, float, corner(k)) for k, name in enumerate(_BOX)),
        of_face("score", float, lambda face: face.score),
        *(
            of_face(f"{name}_{axis}", float, mark(k, number))
            for k, name in enumerate(_MARKS)
            for number, axis in enumerate("xy")
        ),
        *(
            of_face(name + end, kind, ranked(k, part))
            for k, end in enumerate(ending)
            for part, (name, kind) in enumerate([("label", str), ("probability", float)])
        ),
        *(of_face(_column_of(label), float, share(k)) for k, label in enumerate(settings.labels)),
        *(
            of_face(f"{net}:{label}", float, share_of(net, k))
            for net in _told_apart(settings)
            for k, label in enumerate(settings.labels)
        ),
        Column("error", str, lambda record, _, __: record.error),
    ]


def _column_of(label: str) -> str:
    """Name the column of a label, whatever the label: as itself, if no other is called so.

    >>> _column_of("happy"), _column_of("face"), _column_of("label_2")
    ('happy', 'all:face', 'all:label_2')
    """
    return f"all:{label}" if _RESERVED.fullmatch(label) else label


def _told_apart(settings: Settings) -> list[str]:
    """Name the nets whose probabilities are not those of all together."""
    alone = len(settings.nets) == 1 and settings.fusion["method"] != "stacked"
    return [] if alone else [net["name"] for net in settings.nets]


def from_row(row: Mapping[str, Any], settings: Settings) -> tuple[Record, Face | None]:
    """Read back what a row of a table holds.

    Parameters
    ----------
    row : mapping
        Values by the names of columns, each of its column's type, or None.
    settings : Settings
        Those that the table was made with.

    Returns
    -------
    record : Record
        Without its faces.
    face : Face or None

    Raises
    ------
    KeyError
        When a column is missing.
    """
    return _record_of(row), None if row["face"] is None else _face_of_columns(row, settings)


def _record_of(row: Mapping[str, Any]) -> Record:
    return Record(row["path"], (), row["frame"], row["time"], row["error"])


def _face_of_columns(row: Mapping[str, Any], settings: Settings) -> Face:
    together = tuple(row[_column_of(label)] for label in settings.labels)
    told_apart = _told_apart(settings)
    by_net = {
        net["name"]: tuple(row[f"{net['name']}:{label}"] for label in settings.labels)
        if told_apart
        else together
        for net in settings.nets
    }
    marks = tuple((row[f"{name}_x"], row[f"{name}_y"]) for name in _MARKS)
    box = tuple(row[name] for name in _BOX)
    return Face(
        by_net,
        together,
        box=None if set(box) == {None} else box,
        score=row["score"],
        landmarks=None if set(marks) == {(None, None)} else marks,
    )


def as_object(
    record: Record, number: int | None, face: Face | None, labels: Sequence[str], shape: Shape
) -> dict[str, Any]:
    """Give a row as what JSON writes.

    Parameters
    ----------
    record, number, face
        As from `lbpmap.predict.records.rows`.
    labels : sequence of str
    shape : Shape

    Returns
    -------
    dict
        Every row has the same keys; what it has nothing of is None.
    """
    named = [] if face is None else names(face, labels, shape)

    def by_label(values: Sequence[float]) -> dict[str, float]:
        return dict(zip(labels, values))

    row: dict[str, Any] = {
        "path": record.path,
        "frame": record.frame,
        "time": record.time,
        "face": number,
        "box": face and face.box,
        "score": face and face.score,
        "landmarks": face and face.landmarks,
        "label": named[0][0] if named else None,
        "probability": named[0][1] if named else None,
        "probabilities": face and by_label(face.probabilities),
        "nets": face and {name: by_label(p) for name, p in face.by_net.items()},
        "error": record.error,
    }
    if shape.top > 1:
        row["top"] = [list(pair) for pair in named]
    return row


def from_object(row: Mapping[str, Any], settings: Settings) -> tuple[Record, Face | None]:
    """Read back what `as_object` gives.

    Parameters
    ----------
    row : mapping
    settings : Settings
        Those that it was made with.

    Returns
    -------
    record : Record
        Without its faces.
    face : Face or None

    Raises
    ------
    KeyError
        When a label or a net is missing.
    """
    return _record_of(row), None if row["face"] is None else _face_of_fields(row, settings)


def _face_of_fields(row: Mapping[str, Any], settings: Settings) -> Face:
    def in_order(values: Mapping[str, float]) -> tuple[float, ...]:
        return tuple(values[label] for label in settings.labels)

    return Face(
        {net["name"]: in_order(row["nets"][net["name"]]) for net in settings.nets},
        in_order(row["probabilities"]),
        box=row["box"] and tuple(row["box"]),
        score=row["score"],
        landmarks=row["landmarks"] and tuple(map(tuple, row["landmarks"])),
    )
