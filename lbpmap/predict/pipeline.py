"""Inputs to records: read, find faces, cut, map, run nets; on threads, all but detector and nets.

Inputs go in groups. What is said of an input depends only on its group, which begins where the one
before it ends, so that a run that goes on at the start of a group says what an unbroken one does.
While the nets look at some faces, the next ones are read, searched for faces and mapped.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from lbpmap import faces
from lbpmap._arrays import F32, U8
from lbpmap._blob import InputSpec, filler, refuse_released_256
from lbpmap._decode import printable
from lbpmap._errors import one_line
from lbpmap._loader import ahead
from lbpmap.emotion.ensemble import LoadedNet, columns, common_labels, probabilities
from lbpmap.emotion.fusion import Fusion
from lbpmap.pictures import read
from lbpmap.predict.records import Face, Record
from lbpmap.predict.sources import Item
from lbpmap.representations import (
    REPRESENTATIONS,
    Representation,
    resolve,
)
from lbpmap.transform import mapped_lbp, to_gray

T = TypeVar("T")

_log = logging.getLogger(__name__)  # tracebacks of what a record says in a line

# Pictures in which faces are searched wait side by side: a group ends where they hold so many
# pixels (three telephone's photos; 120 MB).
_PIXELS = 40_000_000
# Smaller faces are enlarged to this side, so that every representation can be made of them.
_LEAST_FACE = 48
# Digits that are kept: of probabilities those that are true, of places a hundredth of a pixel.
_DIGITS, _PLACE_DIGITS = 7, 2


@dataclass(frozen=True)
class Looks:
    """How inputs are looked at.

    Attributes
    ----------
    nets : sequence of LoadedNet
        At least one, with the same labels in any order.
    fusion : Fusion
        How they are combined.
    detector : lbpmap.faces.Detector
    crops : {1, 10}
    largest : bool
        Whether only the largest face of an input counts.
    aspect : float
        Width through height of what is cut out of an input for a face.
    batch : int
        Faces that a net is shown at once, and inputs of a group.
    threads : int
        They read, cut and map.
    pictures : callable or None
        Makes of a face, uint8 (H, W, 3), and the nets' representations what a report shows.
    """

    nets: Sequence[LoadedNet]
    fusion: Fusion
    detector: faces.Detector
    crops: int = 1
    largest: bool = False
    aspect: float = 1.0
    batch: int = 32
    threads: int = 2
    pictures: Callable[[U8, Sequence[Representation]], dict[str, bytes]] | None = None


def look(items: Iterable[Item], looks: Looks) -> Iterator[list[Record]]:
    """Look at inputs, in order.

    Parameters
    ----------
    items : iterable of Item
        Taken as they are needed, so it may be endless.
    looks : Looks

    Yields
    ------
    list of Record
        Of a group of inputs, at most `looks.batch`, one each. An input that cannot be read is a
        record with its error.

    Raises
    ------
    ValueError
        When labels do not fit, or a net's answer is no probabilities.
    """
    common_labels([loaded.files for loaded in looks.nets])
    with ThreadPoolExecutor(looks.threads) as pool:
        found = _found(_groups(items, looks), looks)
        prepared = _prepared(found, looks, pool)
        # One by one, as from a camera, an answer should not wait for what comes next.
        yield from _answers(prepared if looks.batch == 1 else _one_ahead(prepared), looks)


@dataclass(frozen=True)
class _Seen:
    """An input and the faces found in it; or its error."""

    record: Record
    picture: U8 | None = None
    detected: faces.Detected | None = None


def _groups(items: Iterable[Item], looks: Looks) -> Iterator[list[_Seen]]:
    """Read inputs ahead, and gather them."""
    group: list[_Seen] = []
    pixels = 0
    for seen in ahead(_read, items, looks.threads, waiting=2 * looks.threads):
        group.append(seen)
        pixels += 0 if seen.picture is None else seen.picture[..., 0].size
        if len(group) == looks.batch or pixels > _PIXELS:
            yield group
            group, pixels = [], 0
    if group:
        yield group


def _read(item: Item) -> _Seen:
    record = Record(item.path, frame=item.frame, time=item.time and round(item.time, 3))
    try:
        return _Seen(record, item.read())
    except (OSError, ValueError, MemoryError) as error:
        return _Seen(replace(record, error=_why(item.path, error)))


def _why(path: str, error: Exception) -> str:
    """Say what is wrong with an input, without its name, which stands beside it."""
    _log.debug("%s", printable(path), exc_info=error)
    said, name = one_line(error), f"{printable(path)}: "
    return said[len(name) :] if said.startswith(name) else said


def _found(groups: Iterable[list[_Seen]], looks: Looks) -> Iterator[list[_Seen]]:
    """Find the faces of each group."""
    for group in groups:
        readable = [seen for seen in group if seen.picture is not None]
        try:
            detected = looks.detector.detect_all([_picture(seen) for seen in readable])
            with_faces = [_with(seen, found, looks) for seen, found in zip(readable, detected)]
        except ValueError:  # of one of them, which the others shall not suffer from
            with_faces = [_alone(seen, looks) for seen in readable]
        following = iter(with_faces)
        yield [seen if seen.picture is None else next(following) for seen in group]


def _picture(seen: _Seen) -> U8:
    if seen.picture is None:
        raise RuntimeError(f"{seen.record.path}: its picture is no longer kept")
    return seen.picture


def _with(seen: _Seen, detected: faces.Detected, looks: Looks) -> _Seen:
    return replace(seen, detected=_counting(detected, looks.largest))


def _alone(seen: _Seen, looks: Looks) -> _Seen:
    try:
        return _with(seen, looks.detector.detect(_picture(seen)), looks)
    except ValueError as error:
        said = replace(seen.record, error=_why(seen.record.path, error))
        return replace(seen, record=said)


def _counting(detected: faces.Detected, largest: bool) -> faces.Detected:
    if not largest or len(detected.boxes) < 2:
        return detected
    k = faces.largest(detected)
    return faces.Detected(*(part[k : k + 1] for part in detected))


@dataclass(frozen=True)
class _Prepared:
    """Some faces of a group on their way to the nets."""

    group: list[_Seen]
    owners: list[int]  # whose face each is, among the group
    work: list[Future[_Face]]
    is_last: bool  # of the group


@dataclass(frozen=True)
class _Face:
    """A face as nets take it; or why they cannot."""

    crops: list[F32]  # (crops, 3, crop, crop), one an input of `_Inputs`
    face: Face
    error: str | None = None


def _prepared(
    groups: Iterable[list[_Seen]], looks: Looks, pool: ThreadPoolExecutor
) -> Iterator[_Prepared]:
    prepare = _preparer(looks)
    for group in groups:
        places = [
            (i, seen.detected, k)
            for i, seen in enumerate(group)
            if seen.detected is not None
            for k in range(len(seen.detected.boxes))
        ]
        starts = range(0, len(places), looks.batch) or [0]
        for start in starts:
            some = places[start : start + looks.batch]
            work = [pool.submit(prepare, group[i], detected, k) for i, detected, k in some]
            owners = [i for i, _, _ in some]
            yield _Prepared(group, owners, work, start + looks.batch >= len(places))


def _one_ahead(things: Iterable[T]) -> Iterator[T]:
    """Ask for the next thing before one is given out, so that threads work on it meanwhile."""
    held: deque[T] = deque()
    for thing in things:
        held.append(thing)
        if len(held) == 2:
            yield held.popleft()
    yield from held


def _preparer(looks: Looks) -> Callable[[_Seen, faces.Detected, int], _Face]:
    """Give the function that makes of a face what nets take; each representation is mapped once."""
    representations, fills = _inputs(looks)
    finds = looks.detector.name != "none"  # else the input is the face

    def prepare(seen: _Seen, detected: faces.Detected, k: int) -> _Face:
        picture, about = _picture(seen), _about(detected, k) if finds else Face({}, ())
        try:
            cut = _cut_out(picture, detected, k, looks.aspect) if finds else picture
            gray = to_gray(cut)
            mapped = [
                mapped_lbp(cut if representation.table is None else gray, representation)
                for representation in representations
            ]
            crops = [fill(mapped[number]) for number, fill in fills]
            if looks.pictures is not None:
                about = replace(about, pictures=looks.pictures(cut, representations))
        except (ValueError, MemoryError) as error:
            return _Face([], about, _why(seen.record.path, error))
        return _Face(crops, about)

    return prepare


def _about(detected: faces.Detected, k: int) -> Face:
    """Say where a face is, and how sure its detector."""
    x0, y0, x1, y1 = (round(float(x), _PLACE_DIGITS) for x in detected.boxes[k])
    marks = detected.landmarks[k]
    points = tuple(
        (round(float(x), _PLACE_DIGITS), round(float(y), _PLACE_DIGITS)) for x, y in marks
    )
    return Face(
        {},
        (),
        box=(x0, y0, x1, y1),
        score=round(float(detected.scores[k]), 4),
        landmarks=points if np.isfinite(marks).all() else None,
    )


def with_pictures(record: Record, looks: Looks) -> Record:
    """Cut the faces of a record from a table out again, for a report to show them.

    Parameters
    ----------
    record : Record
    looks : Looks

    Returns
    -------
    Record
        As it was, where its faces have pictures already, or there is none to cut them from: frames
        of videos, and files that are gone.
    """
    to_cut = record.frame is None and not any(face.pictures for face in record.faces)
    if looks.pictures is None or not record.faces or not to_cut:
        return record
    try:
        picture = read(record.path)
        seen_as = _representations(looks)
        shown = [looks.pictures(cut, seen_as) for cut in _cuts(picture, record, looks)]
    except (OSError, ValueError, MemoryError) as error:
        _why(record.path, error)
        return record
    found = zip(record.faces, shown)
    return replace(record, faces=tuple(replace(face, pictures=parts) for face, parts in found))


def _cuts(picture: U8, record: Record, looks: Looks) -> Iterator[U8]:
    for face in record.faces:
        if face.box is None:
            yield picture
            continue
        marks = np.full((5, 2), np.nan) if face.landmarks is None else np.array(face.landmarks)
        box = np.array(face.box)
        yield _cut_out(picture, faces.Detected(box[None], np.ones(1), marks[None]), 0, looks.aspect)


def _cut_out(picture: U8, detected: faces.Detected, k: int, aspect: float) -> U8:
    """Cut a face out, upright; a small one enlarged, so that every representation can be made."""
    box, marks = detected.boxes[k], detected.landmarks[k]
    cut = faces.align(picture, box, marks, aspect=aspect)
    if min(cut.shape[:2]) < _LEAST_FACE:
        rows = math.ceil(_LEAST_FACE / min(aspect, 1))
        cut = faces.align(picture, box, marks, size=rows, aspect=aspect)
    return cut


def _inputs(
    looks: Looks,
) -> tuple[list[Representation], list[tuple[int, Callable[[U8], F32]]]]:
    """Give the nets' representations, each once; and of every net whose it is and what it takes."""
    numbers = {name: number for number, name in enumerate(_names(looks))}
    fills = []
    for loaded in looks.nets:
        files = loaded.files
        refuse_released_256(files.representation, files.crop, "look")
        spec = InputSpec.checked(loaded.mean, files.size, files.crop, looks.crops, "crop", "look")
        fills.append((numbers[files.representation], _filler(spec)))
    return _representations(looks), fills


def _names(looks: Looks) -> list[str]:
    return list(dict.fromkeys(loaded.files.representation for loaded in looks.nets))


def _representations(looks: Looks) -> list[Representation]:
    """Give the nets' representations, each once."""
    return [resolve(name) for name in _names(looks)]


def _filler(spec: InputSpec) -> Callable[[U8], F32]:
    put = filler(REPRESENTATIONS["rgb"], spec, "look")  # what is put there is mapped already

    def fill(mapped: U8) -> F32:
        blob = np.empty((spec.crops, 3, spec.crop, spec.crop), np.float32)
        put(mapped, blob, "the face")
        return blob

    return fill


def _answers(prepared: Iterable[_Prepared], looks: Looks) -> Iterator[list[Record]]:
    faces_of: list[list[Face]] = []
    errors: list[str | None] = []
    for some in prepared:
        if not faces_of:
            faces_of = [[] for _ in some.group]
            errors = [seen.record.error for seen in some.group]
        done = [job.result() for job in some.work]
        good = [face for face in done if face.error is None]
        said = iter(_said(good, looks))
        for owner, face in zip(some.owners, done):
            if face.error is None:
                faces_of[owner].append(next(said))
            else:
                errors[owner] = face.error
        if some.is_last:
            yield [
                replace(seen.record, faces=() if error else tuple(found), error=error)
                for seen, found, error in zip(some.group, faces_of, errors)
            ]
            faces_of = []


def _said(shown: Sequence[_Face], looks: Looks) -> list[Face]:
    """Show faces to the nets."""
    if not shown:
        return []
    labels = looks.fusion.labels
    by_net = {}
    for number, loaded in enumerate(looks.nets):
        said = probabilities(loaded, np.concatenate([face.crops[number] for face in shown]))
        mean = said.reshape(len(shown), looks.crops, -1).mean(axis=1)
        by_net[loaded.files.name] = mean[:, columns(loaded.files, labels)]
    together = looks.fusion.combine(by_net)
    return [
        replace(
            face.face,
            by_net={name: _rounded(p[k]) for name, p in by_net.items()},
            probabilities=_rounded(together[k]),
        )
        for k, face in enumerate(shown)
    ]


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(value), _DIGITS) for value in values)
