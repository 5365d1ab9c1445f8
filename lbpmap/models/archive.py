"""Files in a folder or a ZIP archive, seen alike; nothing in an archive is trusted.

Names are never joined to a path of ours: who reads an archive takes entries out one by one, and
says where to. So what is refused here, names that lead elsewhere, links, names twice, is refused
because an archive that has them was made to deceive, or was damaged.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedReader, FileIO
from pathlib import Path
from typing import BinaryIO, NoReturn

from lbpmap._errors import one_line
from lbpmap._files import regular_size

__all__ = ["Entry", "opened"]

_MAX_ENTRIES = 20_000
_MAX_DEPTH = 32
# Of one reading: the directory of an archive, 200 bytes an entry or so, is read at once.
_MAX_READ = 1 << 23
# Deflate reaches 1032; weights come to 1.1, prototxts to 10.
_MAX_RATIO = 100
_MAX_RATIO_FROM = 1 << 20
_KINDS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_DRIVE = re.compile(r"[A-Za-z]:")
_PAGE = re.compile(rb"\s*<(!doctype|html)", re.IGNORECASE)
# All that zipfile says of a damaged archive, and what it lets through of others.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    UnicodeDecodeError,
    ValueError,
)


class Unwanted(ValueError):
    """Whole or not, it is not taken."""


@dataclass(frozen=True)
class Entry:
    """A file: the folders it lies in and its name, its size as declared, and how to read it."""

    parts: tuple[str, ...]
    size: int
    open: Callable[[], BinaryIO]
    where: str

    @property
    def name(self) -> str:
        """Its name alone."""
        return self.parts[-1]


@contextmanager
def opened(path: Path) -> Iterator[list[Entry]]:
    """List the files of a folder or a ZIP archive, all the way down.

    Parameters
    ----------
    path : Path
        The first of an entry's `parts` is the name of this folder, or of the archive without
        ".zip". Archives within an archive are files like others.

    Yields
    ------
    list of Entry
        They can be read while the block lasts.

    Raises
    ------
    OSError
        When it cannot be read.
    ValueError
        One line: no archive, a damaged one, or one that is refused, and why. What is damaged
        within a file shows when it is read, see `damage`.
    """
    if path.is_dir():
        yield list(_in_folder(path))
        return
    regular_size(path, "a ZIP archive or a folder")
    with _Bounded(FileIO(path)) as file:
        beginning = file.read(512)
        if _PAGE.match(beginning):
            raise Unwanted(f"{path}: a web page, not a ZIP: download what the page links to")
        file.seek(0)
        with damage(path):
            archive = zipfile.ZipFile(file)
        with archive:
            yield _in_archive(path, archive)


@contextmanager
def damage(where: object) -> Iterator[None]:
    """Turn what zipfile says of a damaged archive into one line.

    Raises
    ------
    ValueError
    """
    try:
        yield
    except Unwanted:
        raise
    except (OSError, *_DAMAGED) as error:
        # An offset before the file's beginning cannot be gone to.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise ValueError(
            f"{where}: a damaged ZIP, or none ({one_line(error)}): download it again, or unpack it "
            f"and import the folder"
        ) from None


class _Bounded(BufferedReader):
    """A file that is not read in one go into more memory than an honest archive takes."""

    def read(self, size: int | None = -1, /) -> bytes:
        whole = size is None or size < 0
        data = super().read(_MAX_READ + 1 if whole else min(size or 0, _MAX_READ + 1))
        if len(data) > _MAX_READ:
            raise zipfile.BadZipFile(f"more than {_MAX_READ} bytes are to be read at once")
        return data


def _in_folder(root: Path) -> Iterator[Entry]:
    """Walk a folder; links to folders are not followed, as they may lead in a circle."""
    base, count = Path(os.path.abspath(root)), 0
    for folder, folders, files in os.walk(base, onerror=_raise):
        below = Path(folder).relative_to(base).parts
        # Hidden ones are no nets: the stage of an import, or a version control's.
        visible = sorted(each for each in folders if not each.startswith("."))
        folders[:] = visible if len(below) < _MAX_DEPTH else []
        for name in sorted(files):
            count += 1
            if count > _MAX_ENTRIES:
                raise ValueError(f"{root}: more than {_MAX_ENTRIES} files; name the folder itself")
            path = Path(folder) / name
            if path.is_file():
                yield Entry(
                    (base.name, *below, name),
                    path.stat().st_size,
                    partial(_open_file, path),
                    str(path),
                )


def _open_file(path: Path) -> BinaryIO:
    return open(path, "rb")


def _raise(error: OSError) -> NoReturn:
    raise error


def _in_archive(path: Path, archive: zipfile.ZipFile) -> list[Entry]:
    infos = archive.infolist()
    if len(infos) > _MAX_ENTRIES:
        raise ValueError(f"{path}: {len(infos)} entries, at most {_MAX_ENTRIES} are read")
    stem = path.name[:-4] if path.name.lower().endswith(".zip") else path.name
    names = _Names(path)
    entries = []
    for info in infos:
        parts = names.checked(info)
        if not info.is_dir():
            entries.append(_entry(path, archive, info, (stem, *parts)))
    return entries


class _Names:
    """The names of an archive, each of which must be one of its own on any system."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def checked(self, info: zipfile.ZipInfo) -> tuple[str, ...]:
        """Give the parts of an entry's name."""
        # zipfile cuts `filename` at a NUL, and turns backslashes round on Windows.
        name = info.orig_filename
        parts = tuple(name[:-1].split("/") if name.endswith("/") else name.split("/"))
        bad = (
            not name.isprintable()
            or "\\" in name
            or _DRIVE.match(name)
            or any(part in ("", ".", "..") for part in parts)
            or len(parts) > _MAX_DEPTH
        )
        if bad:
            self._refuse(name, "a name that leads out of the archive, or that no file may have")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            self._refuse(name, "a link or a device, not a file")
        for depth in range(1, len(parts)):
            self._add_folder("/".join(parts[:depth]), name)
        if info.is_dir():
            self._add_folder("/".join(parts), name)
            return parts
        like = _alike(name)
        taken = self._files.get(like, self._folders.get(like))
        if taken is not None:
            self._refuse(name, f"it is there twice, the other time as {taken!r}")
        self._files[like] = name
        return parts

    def _add_folder(self, name: str, entry: str) -> None:
        like = _alike(name)
        taken = self._files.get(like, self._folders.setdefault(like, name))
        if taken != name or like in self._files:
            self._refuse(entry, f"a folder {name!r}, beside {taken!r}")

    def _refuse(self, name: str, why: str) -> NoReturn:
        raise ValueError(f"{self._path}: refused for its entry {one_line(repr(name))}: {why}")


def _alike(name: str) -> str:
    """Give what names have in common that some file systems do not tell apart."""
    return unicodedata.normalize("NFC", name).casefold()


def _entry(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, parts: tuple[str, ...]
) -> Entry:
    where = f"{path}: {one_line(info.filename)}"

    def open_it() -> BinaryIO:
        if info.flag_bits & 1:
            raise Unwanted(f"{where}: encrypted; unpack it and import the folder")
        if info.compress_type not in _KINDS:
            raise Unwanted(
                f"{where}: compressed by method {info.compress_type}, expected deflate; unpack it "
                f"and import the folder"
            )
        ratio = info.file_size / max(info.compress_size, 1)
        if info.file_size > _MAX_RATIO_FROM and ratio > _MAX_RATIO:
            raise Unwanted(
                f"{where}: {info.compress_size} bytes that claim to become {info.file_size}: "
                f"refused as a bomb"
            )
        return archive.open(info)  # type: ignore[return-value]

    return Entry(parts, info.file_size, open_it, where)
