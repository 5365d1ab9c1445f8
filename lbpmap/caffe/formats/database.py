"""LMDB databases of Datums, as Caffe's Data layer reads them and its convert_imageset writes them.

They are read by `lmdb_pages`, which checks what it reads, and written by the package lmdb.
"""

from __future__ import annotations

import mmap
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from google.protobuf.message import DecodeError

from lbpmap._files import regular_size
from lbpmap.caffe.formats import lmdb_pages
from lbpmap.caffe.formats.messages import Datum, Message

if TYPE_CHECKING:
    import lmdb

PathLike = Union[str, "os.PathLike[str]"]

# Records that are written in one transaction, as convert_imageset does.
RECORDS_AT_ONCE = 1000
# LMDB's own limit of a key, in bytes.
MAX_KEY_BYTES = 511
# A decoded picture of `lbpmap.pictures.MAX_PIXELS` in colour fits.
MAX_RECORD_BYTES = 2**29

_FIRST_MAP_BYTES = 2**24
_DATA_FILE = "data.mdb"
_HOW_TO_CONVERT = (
    "convert it to LMDB, with Caffe's convert_imageset -backend=lmdb, or by handing its records to "
    "lbpmap.caffe.data.write_lmdb"
)


class Records:
    """The records of an LMDB in the order of their keys, without end: the first follows the last.

    Parameters
    ----------
    path : str or path
        Folder of the database, which nobody may write to meanwhile.

    Raises
    ------
    OSError
        When there is no such folder.
    ValueError
        When it is no LMDB, is empty or is damaged.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = os.fspath(path)
        _check_folder(self.path)
        with open(os.path.join(self.path, _DATA_FILE), "rb") as file:
            self._buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._rest = lmdb_pages.records(self._buffer)
        first = self._next()
        if first is None:
            raise ValueError(f"{self.path}: an LMDB without records")
        self._record = first

    def current(self) -> tuple[str, Message]:
        """Return the key and the Datum that come next, without going on."""
        key, start, end = self._record
        name = ascii(key)[2:-1]
        if end - start > MAX_RECORD_BYTES:
            raise ValueError(
                f"{self.path}: record {name} takes {end - start} bytes, more than a picture "
                f"({MAX_RECORD_BYTES})"
            )
        try:
            return name, Datum.FromString(self._buffer[start:end])
        except DecodeError:
            raise ValueError(
                f"{self.path}: record {name} is no Datum of Caffe ({end - start} bytes)"
            ) from None

    def advance(self) -> bool:
        """Go on to the next record; False when that is the first one again."""
        following = self._next()
        if following is None:
            self._rest = lmdb_pages.records(self._buffer)
        self._record = following or self._next() or self._record
        return following is not None

    def _next(self) -> lmdb_pages.Record | None:
        try:
            return next(self._rest, None)
        except lmdb_pages.PageError as error:
            raise ValueError(
                f"{self.path}: not an LMDB, or a damaged one ({error}); copy or make it again"
            ) from None


def read_lmdb(path: PathLike) -> Iterator[tuple[str, Message]]:
    """Yield the keys and Datums of an LMDB, each once, in the order of the keys.

    Parameters
    ----------
    path : str or path
        Folder of the database, which nobody may write to meanwhile.

    Yields
    ------
    key : str
    datum : Datum
        `lbpmap.caffe.io.datum_to_array` makes an array of it, unless it is encoded.

    Raises
    ------
    OSError, ValueError
        As `Records`; and ValueError, naming the key, for a record that is no Datum.
    """
    records = Records(path)
    yield records.current()
    while records.advance():
        yield records.current()


def write_lmdb(path: PathLike, datums: Iterable[Message | tuple[str, Message]]) -> int:
    """Write an LMDB that a Data layer of Caffe, or of this package, reads; whole or not at all.

    Parameters
    ----------
    path : str or path
        The folder to make; it must not exist, the folder around it must.
    datums : iterable of Datum, or of (str, Datum)
        The records in order, such as `lbpmap.caffe.io.array_to_datum` makes; a name becomes a part
        of its record's key, ``00000012_name``, as convert_imageset does. It may be a generator: a
        thousand records are held at a time.

    Returns
    -------
    int
        How many were written.

    Raises
    ------
    OSError
        When `path` exists, or cannot be written.
    RuntimeError
        When the package lmdb is not installed.
    ValueError
        When a name is too long for a key, or there is nothing to write.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from lbpmap.caffe import io
    >>> pictures = np.zeros((2, 3, 4, 5), np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "train_lmdb")
    ...     count = write_lmdb(path, (io.array_to_datum(p, label=6) for p in pictures))
    ...     first = next(read_lmdb(path))
    >>> count, first[0], first[1].label
    (2, '00000000', 6)
    """
    lmdb = _import_lmdb()
    target = Path(path)
    if os.path.lexists(target):
        raise FileExistsError(f"{path}: exists already; remove it, or name another folder")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: its folder does not exist; create the folder first")
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.part")
    try:
        environment = lmdb.open(str(temporary), map_size=_FIRST_MAP_BYTES)
        try:
            count = 0
            for batch in _batches(path, datums):
                _put(lmdb, environment, batch)
                count += len(batch)
            environment.sync(True)
        finally:
            environment.close()
        if not count:
            raise ValueError(f"{path}: not written, there are no datums")
        os.rename(temporary, target)
    except lmdb.Error as error:
        raise OSError(f"{path}: not written ({error})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


def _batches(
    path: PathLike, datums: Iterable[Message | tuple[str, Message]]
) -> Iterator[list[tuple[bytes, bytes]]]:
    """Encode the records, so many at a time as go into one transaction."""
    batch = []
    for i, entry in enumerate(datums):
        name, datum = entry if isinstance(entry, tuple) else ("", entry)
        key = (f"{i:08d}_{name}" if name else f"{i:08d}").encode()
        if len(key) > MAX_KEY_BYTES:
            raise ValueError(
                f"{path}: the key of record {i} takes {len(key)} bytes, at most {MAX_KEY_BYTES} "
                f"are allowed: shorten its name"
            )
        batch.append((key, datum.SerializeToString()))
        if len(batch) == RECORDS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _put(lmdb: Any, environment: lmdb.Environment, batch: list[tuple[bytes, bytes]]) -> None:
    """Write records in one transaction; the map is doubled as often as it takes to hold them."""
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, value in batch:
                    transaction.put(key, value)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])


def _import_lmdb() -> Any:
    try:
        import lmdb
    except ImportError:
        raise RuntimeError('writing an LMDB needs lmdb: pip install "lbpmap[data]"') from None
    return lmdb


def _check_folder(path: str) -> None:
    """Refuse what is no folder of an LMDB, and a LevelDB with the way to convert it."""
    if not os.path.isdir(path):
        what = "a file" if os.path.exists(path) else "no such folder"
        raise FileNotFoundError(f"{path}: {what}; expected the folder of an LMDB ({_DATA_FILE})")
    if os.path.exists(os.path.join(path, "CURRENT")):
        raise ValueError(f"{path}: a LevelDB, which is not read here; {_HOW_TO_CONVERT}")
    file = os.path.join(path, _DATA_FILE)
    if regular_size(file, "the file of an LMDB") == 0:
        raise ValueError(f"{file}: an empty file, an LMDB was expected")


def leveldb_error(path: str) -> ValueError:
    """Return the error for a layer whose backend is LEVELDB, the default of Caffe."""
    if os.path.exists(os.path.join(path, _DATA_FILE)):
        return ValueError(
            f"{path} is an LMDB, but the backend is LEVELDB, Caffe's default; write backend: LMDB "
            f"into data_param"
        )
    return ValueError(f"{path}: backend LEVELDB is not read here; {_HOW_TO_CONVERT}")
