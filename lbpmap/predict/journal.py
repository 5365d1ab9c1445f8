"""Records kept as they come, so that a run that was broken off can go on.

A journal is a text file beside the output: the settings, then a line for each group of records. A
group is written at once; a line without an end was cut short by a crash and counts for nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any

from lbpmap._files import PathLike, lock, regular_size
from lbpmap.predict.records import Record, Settings, from_json, to_json

# Within a line; JSON writes a tab in a text otherwise.
_BETWEEN = "\t"


@contextmanager
def opened(path: PathLike, settings: Settings) -> Iterator[Journal]:
    """Open a journal to add to it, or begin one.

    Parameters
    ----------
    path : str or path
    settings : Settings
        Those of this run. A journal that is there must have the same.

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
        journal = Journal(Path(path), file)
        if journal.is_empty():
            journal.begin(settings)
        else:
            journal.check(settings)
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

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self._file = file

    def is_empty(self) -> bool:
        """Say whether not even its settings were written whole; if so, it is emptied."""
        with open(self.path, "rb") as file:
            whole = file.readline().endswith(b"\n")
        if not whole:
            self._file.truncate(0)
        return not whole

    def begin(self, settings: Settings) -> None:
        """Write the settings."""
        self._write(json.dumps({"settings": asdict(settings)}))

    def check(self, settings: Settings) -> None:
        """Refuse a journal of other settings; cut off what was not written whole."""
        there = self._settings()
        ours = json.loads(json.dumps(asdict(settings)))
        for name, value in ours.items():
            if there.get(name) != value:
                raise ValueError(
                    f"{self.path}: was begun with other {name} than this run has: "
                    f"{_shown(there.get(name))}, now {_shown(value)}: give the same ones, or "
                    f"remove this file to begin anew"
                )
        end = self._whole_lines()
        self._file.truncate(end)

    def add(self, group: Iterable[Record]) -> None:
        """Keep a group of records."""
        self._write(_BETWEEN.join(to_json(record) for record in group))

    def records(self) -> Iterator[Record]:
        """Give the records that are kept."""
        with open(self.path, "rb") as file:
            file.readline()
            for number, line in enumerate(file, 2):
                try:
                    for text in line.decode("ascii").rstrip("\n").split(_BETWEEN):
                        yield from_json(text)
                except ValueError as error:
                    raise ValueError(f"{self.path}: line {number}: {error}") from None

    def _write(self, line: str) -> None:
        start, left = self._file.seek(0, os.SEEK_END), memoryview(line.encode("ascii") + b"\n")
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._file.truncate(start)
            raise OSError(error.errno, f"not written ({error.strerror})", str(self.path)) from None

    def _settings(self) -> dict[str, Any]:
        try:
            with open(self.path, "rb") as file:
                there = json.loads(file.readline())["settings"]
        except (ValueError, KeyError, TypeError, RecursionError):
            there = None
        if not isinstance(there, dict):
            raise ValueError(f"{self.path}: no journal of a run; remove it, or name another output")
        return there

    def _whole_lines(self) -> int:
        with open(self.path, "rb") as file:
            return sum(len(line) for line in file if line.endswith(b"\n"))


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
