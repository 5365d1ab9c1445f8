"""Records kept as they come, so that a run that was broken off can go on.

A journal is a text file beside the output: the settings, then a line for each group of records. A
group is written at once; a line without an end was cut short by a crash and counts for nothing.
Where a finished output is added to, its records are taken first, all or none. Between groups stand
marks: where that ends, and where a run was broken off and gone on with.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import Enum
from io import FileIO
from pathlib import Path
from typing import Any, Optional, Union

from lbpmap._files import PathLike, lock, regular_size
from lbpmap.predict.records import (
    Record,
    Settings,
    check_record,
    differing,
    from_json,
    to_json,
)

# Within a line; JSON writes a tab in a text otherwise.
_BETWEEN = "\t"


class Mark(Enum):
    """What a line says that holds no records, of all that stands above it."""

    FINISHED = "finished"
    BROKEN_OFF = "broken off"


Entry = Union[Record, Mark]
Before = Optional[Callable[[], Iterable[Iterable[Record]]]]


@contextmanager
def opened(path: PathLike, settings: Settings, before: Before = None) -> Iterator[Journal]:
    """Open a journal to add to it, or begin one.

    Parameters
    ----------
    path : str or path
    settings : Settings
        Those of this run. A journal that is there must have the same.
    before : callable, optional
        Gives groups of records of a finished run, with which a journal begins. When it raises,
        there is no journal.

    Yields
    ------
    Journal
        No other process can open it meanwhile.

    Raises
    ------
    OSError
        When it cannot be written, or another process writes to it.
    ValueError
        When it is no journal, or was begun with other settings.
    """
    if os.path.lexists(path):
        regular_size(path, "the journal of a run that was broken off")
    # Unbuffered: what is not written at once is not tried again when the file is closed.
    with open(path, "ab", buffering=0) as file:
        lock(file, path)
        journal = Journal(Path(path), file, settings)
        if journal.is_begun():
            journal.go_on()
        else:
            journal.begin(before)
        yield journal


def check_free(path: PathLike) -> None:
    """Refuse to begin where another run is at work, or was broken off."""
    if os.path.lexists(path):
        regular_size(path, "the journal of a run that was broken off")
        with open(path, "rb+") as file:
            lock(file, path)
        raise ValueError(
            f"{path}: a run was broken off here: go on with it (--resume), or remove this file"
        )


class Journal:
    """An open journal."""

    def __init__(self, path: Path, file: FileIO, settings: Settings) -> None:
        self.path = path
        self._file = file
        self._made_with = settings

    def is_begun(self) -> bool:
        """Say whether its settings were written whole, and what it adds to was taken."""
        with open(self.path, "rb") as file:
            if not file.readline().endswith(b"\n"):
                return False
            if not self._head().get("adds"):
                return True
            return any(line == _line(Mark.FINISHED.value) for line in file)

    def begin(self, before: Before) -> None:
        """Write the settings, and what it adds to, in the place of anything that is there."""
        self._file.truncate(0)
        try:
            head = {"settings": asdict(self._made_with), "adds": before is not None}
            self._write(json.dumps(head))
            if before is not None:
                for group in before():
                    self.add(group)
                self._write(Mark.FINISHED.value)
        except BaseException:
            self.path.unlink()  # nothing in it that is nowhere else
            raise

    def go_on(self) -> None:
        """Refuse a journal of other settings; cut off what was not written whole."""
        there = self._head()["settings"]
        name = differing(there, self._made_with)
        if name is not None:
            raise ValueError(
                f"{self.path}: was begun with other {name} than this run has: "
                f"{_shown(there.get(name))}, now {_shown(getattr(self._made_with, name))}: give "
                f"the same ones, or remove this file to begin anew"
            )
        self._file.truncate(self._whole_lines())
        self._write(Mark.BROKEN_OFF.value)

    def add(self, group: Iterable[Record]) -> None:
        """Keep a group of records."""
        self._write(_BETWEEN.join(to_json(record) for record in group))

    def records(self) -> Iterator[Record]:
        """Give the records that are kept."""
        for entry in self.entries():
            if isinstance(entry, Record):
                yield entry

    def entries(self) -> Iterator[Entry]:
        """Give the records that are kept, and the marks between them.

        Raises
        ------
        ValueError
            When a line is damaged.
        """
        marks = {_line(mark.value): mark for mark in Mark}
        with open(self.path, "rb") as file:
            file.readline()
            for number, line in enumerate(file, 2):
                if line in marks:
                    yield marks[line]
                    continue
                try:
                    for text in line.decode("ascii").rstrip("\n").split(_BETWEEN):
                        yield self._checked(from_json(text))
                except ValueError as error:
                    raise ValueError(
                        f"{self.path}: line {number}: {error}: remove that line, and its inputs "
                        f"are looked at again"
                    ) from None

    def _checked(self, record: Record) -> Record:
        check_record(record, self._made_with)
        nets = {net["name"] for net in self._made_with.nets}
        if any(set(face.by_net) != nets for face in record.faces):
            raise ValueError("a face of other nets")
        return record

    def _write(self, line: str) -> None:
        start, left = self._file.seek(0, os.SEEK_END), memoryview(_line(line))
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._file.truncate(start)
            raise OSError(error.errno, f"not written ({error.strerror})", str(self.path)) from None

    def _head(self) -> dict[str, Any]:
        try:
            with open(self.path, "rb") as file:
                head = json.loads(file.readline())
        except (ValueError, RecursionError):
            head = None
        if not isinstance(head, dict) or not isinstance(head.get("settings"), dict):
            raise ValueError(f"{self.path}: no journal of a run; remove it, or name another output")
        return head

    def _whole_lines(self) -> int:
        with open(self.path, "rb") as file:
            return sum(len(line) for line in file if line.endswith(b"\n"))


def _line(text: str) -> bytes:
    return text.encode("ascii") + b"\n"


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
