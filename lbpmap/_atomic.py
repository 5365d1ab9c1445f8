"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of `path` when the block ends well.

    The bytes go to a new file in the same folder, are flushed to the disk and renamed over `path`,
    so that a reader, a crash or a full disk never meets half of them. On an error the new file is
    removed and an old `path` stays as it was.

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
        When the folder is missing or full, or may not be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.part")
    # Not tempfile.mkstemp: it makes files that only their owner may read, whatever the umask.
    handle = os.open(
        temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
    )
    try:
        with open(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink()
        raise
