"""The only place that writes among a user's models: whole files, by one process at a time.

Files gather in a hidden folder among the models, are checked there, and renamed to where they
belong; what a killed process left in it, the next one removes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Optional

from filelock import FileLock, Timeout

from lbpmap.models import records
from lbpmap.models.records import Record

_STAGE, _LOCK = ".incoming", ".lock"
_BLOCK = 1 << 20

Say = Callable[[str], None]
# Told how many bytes are done, of how many, or of None where that is unknown.
Progress = Callable[[int, Optional[int]], None]


@dataclass(frozen=True)
class Staged:
    """A checked file that may be placed: where it waits, and what will be recorded of it."""

    path: Path
    record: Record


@contextmanager
def alone(lock: Path, say: Say) -> Iterator[None]:
    """Let one process at a time go on; the lock of one that was killed is free.

    Parameters
    ----------
    lock : Path
        A file, made where it is missing.
    say : callable
        Called with a line when there is another one to wait for.

    Raises
    ------
    OSError
        When the file cannot be made.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        say(f"{lock.parent}: another lbpmap is writing there; waiting for it")
        held.acquire()
    try:
        yield
    finally:
        held.release()


@contextmanager
def stage(root: Path, say: Say) -> Iterator[Path]:
    """Give an empty folder among the models of `root`, gone at the end; nobody else writes there.

    Raises
    ------
    OSError
        When it cannot be made.
    """
    folder = root / _STAGE
    with alone(root / _LOCK, say):
        _remove(folder)
        try:
            folder.mkdir()
            yield folder
        finally:
            _remove(folder)


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def copy(
    source: BinaryIO, target: Path, at_most: int, came: Callable[[int], None] | None = None
) -> tuple[int, str]:
    """Copy a stream into a new file on the disk, a megabyte at a time.

    Parameters
    ----------
    source : binary file
    target : Path
    at_most : int
        Bytes that it does not exceed; the copy ends behind the first one too many.
    came : callable, optional
        Called with the size of every block.

    Returns
    -------
    size : int
    sha256 : str

    Raises
    ------
    OSError
        When it cannot be written, or the disk is full.
    """
    digest, size = hashlib.sha256(), 0
    with open(target, "xb", buffering=0) as file:
        while size <= at_most and (block := source.read(_BLOCK)):
            size += len(block)
            digest.update(block)
            with _told(target):
                write_all(file, block)
            if came is not None:
                came(len(block))
        with _told(target):
            os.fsync(file.fileno())
    return size, digest.hexdigest()


def write_all(file: FileIO, block: bytes) -> None:
    """Write all of a block: a disk that is nearly full takes a part, and refuses the next.

    Raises
    ------
    OSError
    """
    left = memoryview(block)
    while left:
        left = left[file.write(left) :]


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """Say of a staged file that could not be written where it was to be."""
    try:
        yield
    except OSError as error:
        place = Path(*(part for part in target.parts if part != _STAGE))
        raise OSError(f"{place}: not written ({error.strerror}); make room") from None


def take(source: Path, target: Path) -> None:
    """Move a file, which may lie on another disk, and see it written.

    Raises
    ------
    OSError
        When it cannot be moved, or the disk is full; it then stays where it was.
    """
    with open(source, "r+b") as file:
        os.fsync(file.fileno())
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        size = source.stat().st_size
        check_room(target.parent, size)
        with open(source, "rb") as file:
            copy(file, target, size)
        source.unlink()


def place(root: Path, name: str, files: dict[str, Staged], here: Collection[str] = ()) -> None:
    """Put checked files of one set where they belong, and record what they are.

    Call it within `stage`. Every file appears whole; its record follows.

    Parameters
    ----------
    root : Path
    name : str
        The set's.
    files : dict of Staged, by name
    here : collection of str
        Those that are there already, and are only recorded.

    Raises
    ------
    OSError
        When one cannot be written.
    """
    if not files:
        return
    folder = root / name
    folder.mkdir(exist_ok=True)
    known = records.read(root)
    for file, staged in files.items():
        key = f"{name}/{file}"
        if file in here:
            known.setdefault(key, staged.record)
        else:
            os.replace(staged.path, folder / file)
            known[key] = staged.record
    records.write(root, known)


def record(root: Path, name: str, file: str, about: Record, say: Say) -> None:
    """Record a file that is there already.

    Raises
    ------
    OSError, ValueError
        When the records cannot be read or written.
    """
    with alone(root / _LOCK, say):
        records.write(root, {**records.read(root), f"{name}/{file}": about})


def check_room(root: Path, needed: int) -> None:
    """Refuse to begin what the disk has no room for.

    Raises
    ------
    OSError
        One line.
    """
    free = shutil.disk_usage(root).free
    if needed > free:
        raise OSError(f"{root}: {needed} bytes are to be written, and {free} are free; make room")
