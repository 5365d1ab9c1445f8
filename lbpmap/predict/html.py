"""The report of a run as one HTML page, which needs nothing else, and back to its records.

The page's sections are `page`'s. After them stand the records, one line of JSON each, in a data
block, which browsers neither run nor show. Their pictures are not repeated there: a picture that
the page shows is taken back from where it is shown, the others are not kept.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import BinaryIO, Callable

from lbpmap._errors import one_line
from lbpmap._files import PathLike, atomic_write, regular_size
from lbpmap.predict import page
from lbpmap.predict.records import Face, Record, Settings, check_record, from_json, to_json
from lbpmap.predict.survey import Survey, survey
from lbpmap.predict.thumbnails import thumbnails

__all__ = ["read", "thumbnails", "write"]

_FORMAT = 1
_OPENING = b'<script type="application/x-ndjson" id="records">\n'
_HEAD = (b"<!doctype html>", b'<meta name="generator" content="lbpmap ')
_CLOSING = b"</script>\n</body>\n</html>\n"
_EXPECTED = "a report of 'lbpmap predict'"
_IMAGE = re.compile(rb'<img id="p(\d{1,12})-(\d{1,6})" src="data:image/(?:jpeg|png);base64,')
# No line is longer: a picture of 80 pixels, or a record of thousands of faces.
_LONGEST = 1 << 24


def write(
    path: PathLike,
    settings: Settings,
    records: Callable[[], Iterable[Record]],
    *,
    title: str | None = None,
    threshold: float = 0.0,
    most_detailed: int = 200,
) -> None:
    """Write the report of a run, whole or not at all.

    Of many faces not all are shown: 600 on the sheet, the first ones; `most_detailed` at large, one
    half the first ones, the other the most disputed of the others (see
    `lbpmap.predict.disagreement`). The page says so. The numbers of all are in the file.

    Parameters
    ----------
    path : str or path
        Its folder must exist.
    settings : Settings
    records : callable
        Gives the same records from the first on at each call; called up to five times. Never more
        than one of them is held.
    title : str, optional
        By default "Apparent expressions".
    threshold : float
        Faces whose best probability is below are marked as unsure.
    most_detailed : int
        Faces that are shown at large.

    Raises
    ------
    ValueError
        When a record does not fit the settings, or a picture is neither JPEG nor PNG.
    OSError
        When the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> settings = Settings(("sad", "happy"), ({"name": "net"},), {}, 1, {}, None, "0.1.0")
    >>> record = Record("a.jpg", (Face({"net": (0.25, 0.75)}, (0.25, 0.75)),))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     name = os.path.join(folder, "report.html")
    ...     write(name, settings, lambda: [record])
    ...     list(read(name)[1]) == [record]
    True
    """
    if not 0 <= threshold <= 1 or most_detailed < 0:
        raise ValueError(
            f"write: threshold must be from 0 to 1 and most_detailed not below 0, got {threshold} "
            f"and {most_detailed}"
        )
    found = survey(settings, records(), threshold, most_detailed)
    with atomic_write(path) as file:
        for piece in _pieces(settings, records, found, title or "Apparent expressions", threshold):
            file.write(piece.encode())
        file.write(_OPENING)
        for line in _lines(settings, records(), found):
            # Data in HTML end at "</script", whatever is around it.
            file.write(line.replace("<", "\\u003c").encode() + b"\n")
        file.write(_CLOSING)


def _pieces(
    settings: Settings,
    records: Callable[[], Iterable[Record]],
    found: Survey,
    title: str,
    threshold: float,
) -> Iterator[str]:
    yield from page.head(title, settings, found, f"lbpmap {settings.version}")
    yield from page.summary(settings, found, threshold)
    if found.spans:
        yield from page.over_time(settings, found, records())
    yield from page.sheet(settings, found, records(), threshold)
    yield from page.at_large(settings, found, records(), threshold)
    yield from page.missing(found)
    yield from page.made(settings, threshold)
    yield page.meaning()
    yield page.foot()


def _lines(settings: Settings, records: Iterable[Record], found: Survey) -> Iterator[str]:
    """Give the data block's lines; a picture that the page shows is there by name, and empty."""
    plain = {"format": _FORMAT, "settings": asdict(settings)}
    yield json.dumps(plain, allow_nan=False, separators=(",", ":"))
    number = 0
    for record in records:
        faces = []
        for face in record.faces:
            shown = list(face.pictures)
            if number not in found.detailed:
                shown = ["face"] if number < page.SHEET and "face" in shown else []
            faces.append(replace(face, pictures=dict.fromkeys(shown, b"")))
            number += 1
        yield to_json(replace(record, faces=tuple(faces)))


def read(path: PathLike) -> tuple[Settings, Iterator[Record]]:
    """Take the settings and all records out of a report.

    Parameters
    ----------
    path : str or path
        What `write` has written.

    Returns
    -------
    settings : Settings
    records : iterator of Record
        Read as they are asked for. Those that the page does not show have no pictures.

    Raises
    ------
    ValueError
        When it is no report, or not a whole one; from the iterator, when a record is damaged.
    OSError
        When it is no regular file or cannot be read.
    """
    size = regular_size(path, _EXPECTED)
    with open(path, "rb") as file:
        shown = _find_pictures(file, path, size)
        settings = _settings(_line(file, path), path)
        start = file.tell()
    return settings, _records(path, start, settings, shown)


# Where the BASE64 of a picture begins, by the number of its face and its own.
_Shown = dict[tuple[int, int], int]


def _find_pictures(file: BinaryIO, path: PathLike, size: int) -> _Shown:
    """Go to the data block, past all pictures that are shown."""
    file.seek(max(0, size - len(_CLOSING)))
    whole = file.read() == _CLOSING
    file.seek(0)
    head = file.read(512)
    ours = head.startswith(_HEAD[0]) and _HEAD[1] in head
    if not ours:
        raise ValueError(f"{path}: expected {_EXPECTED}")
    shown: _Shown = {}
    file.seek(0)
    while whole and (line := _line(file, path)):
        if line == _OPENING:
            return shown
        if found := _IMAGE.match(line):
            at = file.tell() - len(line) + found.end()
            shown[int(found[1]), int(found[2])] = at
    raise ValueError(f"{path}: not whole; expected {_EXPECTED}, unchanged")


def _line(file: BinaryIO, path: PathLike) -> bytes:
    line = file.readline(_LONGEST)
    if len(line) == _LONGEST:
        raise ValueError(f"{path}: a line of more than {_LONGEST} bytes; expected {_EXPECTED}")
    return line


def _settings(line: bytes, path: PathLike) -> Settings:
    try:
        plain = json.loads(line)
        if plain["format"] != _FORMAT:
            raise ValueError(f"format {plain['format']}, and this version knows {_FORMAT}")
        held = plain["settings"]
        held["labels"] = tuple(map(str, held["labels"]))
        held["nets"] = tuple(map(dict, held["nets"]))
        held["fusion"], held["faces"] = dict(held["fusion"]), dict(held["faces"])
        return Settings(**held)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = f"{type(error).__name__} {one_line(error)}"
        raise ValueError(f"{path}: its settings cannot be read ({said})") from None


def _records(path: PathLike, start: int, settings: Settings, shown: _Shown) -> Iterator[Record]:
    with open(path, "rb") as file:
        file.seek(start)
        faces = 0
        lines = iter(lambda: _line(file, path), _CLOSING.splitlines(keepends=True)[0])
        for number, line in enumerate(lines, 1):
            after = file.tell()
            try:
                record = from_json(line.decode("ascii"))
                check_record(record, settings)
                whole = tuple(
                    _with_pictures(face, n, file, shown)
                    for n, face in enumerate(record.faces, faces)
                )
            except ValueError as error:
                raise ValueError(
                    f"{path}: record {number} is damaged ({one_line(error)}); expected "
                    f"{_EXPECTED}, unchanged"
                ) from None
            file.seek(after)
            faces += len(whole)
            yield replace(record, faces=whole)


def _with_pictures(face: Face, number: int, file: BinaryIO, shown: _Shown) -> Face:
    """Give a face the pictures that the page shows of it."""
    pictures = {}
    for i, name in enumerate(face.pictures):
        if (number, i) not in shown:
            raise ValueError(f"its picture {name} is missing")
        file.seek(shown[number, i])
        encoded = file.readline(_LONGEST).partition(b'"')[0]
        pictures[name] = base64.b64decode(encoded, validate=True)
    return replace(face, pictures=pictures)
