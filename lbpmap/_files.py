"""Files: read only when they are files, and of a size that can be; written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Union

# A write that these end says nothing of the file.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What a file system without locks says.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

PathLike = Union[str, "os.PathLike[str]"]


def regular_size(path: PathLike, expected: str) -> int:
    """Give the size of a file that can be read to its end.

    A pipe would wait for a writer that may never come, and a device may never end.

    Parameters
    ----------
    path : str or path
    expected : str
        What should be there, for the error: "a prototxt".

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    OSError
        When there is nothing, a folder, a pipe or a device.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected {expected}") from None
    except NotADirectoryError:
        raise NotADirectoryError(f"{path}: a part of this path is no folder") from None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"{path}: a folder; expected {expected}")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path}: a pipe or a device; expected {expected}: copy it to a file")
    return status.st_size


def read_bytes(path: PathLike, most: int, expected: str) -> bytes:
    """Read a small file whole.

    Parameters
    ----------
    path : str or path
    most : int
        Bytes that no such file exceeds.
    expected : str
        What should be there, for the error.

    Returns
    -------
    bytes

    Raises
    ------
    OSError
        When it is no regular file, or cannot be read.
    ValueError
        When it is larger.
    """
    size = regular_size(path, expected)
    if size > most:
        raise ValueError(f"{path}: {size} bytes are too many for {expected} (at most {most})")
    with open(path, "rb") as file:
        return file.read(size)


def sha256(path: PathLike) -> str:
    """Give a file's checksum, in hexadecimal.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def atomic_write(path: PathLike) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of `path` when the block ends well.

    The bytes go to a new file in the same folder, are flushed to the disk and renamed over `path`
    (over the file that it links to), so that a reader, a crash or a full disk never meets half of
    them. On an error the new file is removed and an old `path` stays as it was.

    Parameters
    ----------
    path : str or path
        Where the file shall be; its folder must exist.

    Yields
    ------
    binary file, open for writing and seeking

    Raises
    ------
    OSError
        When the folder is missing or full or may not be written, or `path` is no regular file.
    """
    with _replacing(path) as (_, handle), open(handle, "w+b") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Name a file for others to write, that takes the place of `path` when the block ends well.

    For libraries that want a name, not an open file; else as `atomic_write`.

    Parameters
    ----------
    path : str or path
        Where the file shall be; its folder must exist.

    Yields
    ------
    Path
        An empty file in the same folder, with the same suffix.

    Raises
    ------
    OSError
        As `atomic_write`.
    """
    with _replacing(path, keep_suffix=True) as (temporary, handle):
        os.close(handle)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())


@contextmanager
def _replacing(path: PathLike, *, keep_suffix: bool = False) -> Iterator[tuple[Path, int]]:
    """Give a new file beside `path`, and its open descriptor, that takes its place at the end."""
    target = _target(path)
    temporary, handle = _new_beside(target, path, target.suffix if keep_suffix else "")
    try:
        yield temporary, handle
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise OSError(error.errno, f"not written ({error.strerror})", os.fspath(path)) from None
        raise


def _target(path: PathLike) -> Path:
    """Give the file that `path` is or links to, where a file can be written."""
    target = Path(os.path.realpath(path))
    if not os.fspath(path) or target.is_dir():
        raise IsADirectoryError(f"{path}: a folder; expected the name of a file to write")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: its folder does not exist; create the folder first")
    if target.exists():
        regular_size(target, "the name of a file to write")
    return target


def _new_beside(target: Path, path: PathLike, suffix: str = "") -> tuple[Path, int]:
    """Make a new file beside `target`, which errors call `path`, and open it."""
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.part{suffix}")
    # Not tempfile.mkstemp: it makes files that only their owner may read, whatever the umask.
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        return temporary, os.open(temporary, flags, 0o666)
    except OSError as error:
        raise type(error)(f"{path}: not written ({error.strerror})") from None


def lock(file: IO[bytes], path: PathLike) -> None:
    """Take an open file for this process alone, until it is closed.

    Where the system, or the file's, has no such locks it does without.

    Parameters
    ----------
    file : binary file, open for writing
        NFS locks no other.
    path : str or path
        What it is called, for the error.

    Raises
    ------
    OSError
        When another process has it.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise OSError(f"{path}: another process is at work on it") from None
        if error.errno not in _NO_LOCKS:
            raise
