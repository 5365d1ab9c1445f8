"""Weights in HDF5, as Caffe's `Net::ToHDF5` lays them out: /data/LAYER/0, 1, ... and /diff alike.

The HDF5 library follows links to other files, fills what a file does not hold with zeros, and
keeps numbers in further files, all on the word of the file. So datasets are looked at before they
are read: hard links only, numbers only, no more of them than the file has room for, and packed by
nothing that unpacks to more than its chunk or that would load a library.

What cannot be guarded from here is the library's own reading of a damaged file's structure, in this
process. It may ask for any memory before it sees that the file has less; it does not write to it.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from lbpmap._arrays import F32
from lbpmap._errors import one_line
from lbpmap._files import PathLike, atomic_write, regular_size
from lbpmap.caffe.blob import MAX_AXES, Shape
from lbpmap.caffe.formats.blobs import MAX_ENTRIES

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# Deflate, the strongest filter in common use, makes 1,032 bytes of one at best.
_MOST_INFLATION = 1032
# The filters that HDF5 always brings, so that Caffe reads what they pack: deflate, shuffle and a
# checksum. For any other it would look for a library to load.
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_CHECKSUM = 4  # bytes that fletcher32 adds
_MOST_CHUNKS = 1_000_000  # each takes some microseconds to look at
_INFLATED = 2**20  # bytes that are inflated at a time
_FILTERS = {_DEFLATE: "gzip", _SHUFFLE: "shuffle", _FLETCHER32: "fletcher32"}


class HDF5Error(ValueError):
    """What is wrong in a file, without its name."""


def import_h5py() -> Any:
    """Return the module h5py.

    Raises
    ------
    RuntimeError
        When it is not installed.
    """
    try:
        import h5py  # type: ignore[import-untyped]
    except ImportError:
        raise RuntimeError('HDF5 files need h5py: pip install "lbpmap[data]"') from None
    return h5py


@contextmanager
def opened(path: PathLike, expected: str) -> Iterator[Any]:
    """Open an HDF5 file for reading; whatever h5py or an `HDF5Error` says becomes one line.

    Parameters
    ----------
    path : str or path
    expected : str
        What should be there, for errors: "a solverstate".

    Yields
    ------
    h5py.File

    Raises
    ------
    OSError, RuntimeError, ValueError
        When the file cannot be read, h5py is missing, the file is no HDF5 file, or the block
        raises anything.
    """
    h5py = import_h5py()
    regular_size(path, expected)
    # h5py gets an open file rather than a name: then HDF5 neither locks nor opens any file itself.
    with open(path, "rb") as raw:
        try:
            with h5py.File(raw, "r") as file:
                yield file
        except HDF5Error as error:
            raise ValueError(f"{path}: {one_line(error)}") from None
        except MemoryError:
            raise
        except Exception as error:  # a damaged file makes h5py raise anything
            raise ValueError(
                f"{path}: not an HDF5 file, or a damaged one ({one_line(error)}); copy or "
                f"download it again"
            ) from None


def group(parent: Any, name: str) -> Any:
    """Return a group of the file itself, by the name it has in `parent`."""
    found = _linked(parent, name)
    if not isinstance(found, import_h5py().Group):
        kind = "no such thing" if found is None else "a dataset"
        held = ", ".join(ascii(key) for key, _ in zip(parent, range(20)))
        raise HDF5Error(
            f'{kind} where the group "{name}" was expected; "{parent.name}" holds '
            f"{held or 'nothing'}"
        )
    return found


def dataset(parent: Any, name: str) -> Any:
    """Return a dataset that can be read: in the file itself, of a size that the file can hold."""
    found = _linked(parent, name)
    where = f'dataset "{parent.name.rstrip("/")}/{name}"'
    if not isinstance(found, import_h5py().Dataset):
        raise HDF5Error(f"{where} is {'not there' if found is None else 'a group'}")
    if found.is_virtual or found.external:
        raise HDF5Error(f"{where} keeps its numbers in other files; copy them into this one")
    if found.shape is None or found.ndim > MAX_AXES:
        raise HDF5Error(f"{where} has no shape, or more than {MAX_AXES} dimensions")
    if found.chunks:
        _check_filters(found, where)
    # A chunk may be larger than what it holds a part of.
    count = max(math.prod(found.shape), math.prod(found.chunks or ()))
    if count * found.dtype.itemsize > _room(found):
        raise HDF5Error(
            f"{where} claims {' x '.join(map(str, found.shape))} of {found.dtype}, more than the "
            f"file can hold"
        )
    return found


def _filters(found: Any) -> list[int]:
    """Numbers of a dataset's filters, in the order in which they packed it."""
    settings = found.id.get_create_plist()
    return [int(settings.get_filter(i)[0]) for i in range(settings.get_nfilters())]


def _check_filters(found: Any, where: str) -> None:
    """Refuse filters that are unknown, or that unpack what others have unpacked."""
    used = _filters(found)
    # A checksum may stand anywhere; what was deflated must not be shuffled, nor deflated again.
    order = [number for number in used if number != _FLETCHER32]
    if not set(used) <= set(_FILTERS) or order not in (
        [],
        [_DEFLATE],
        [_SHUFFLE],
        [_SHUFFLE, _DEFLATE],
    ):
        named = ", ".join(_FILTERS.get(number, str(number)) for number in used[:20])
        raise HDF5Error(
            f"{where} is packed by the filters {named}; expected none, or shuffle and gzip: write "
            f"it again"
        )


def check_chunks(found: Any) -> None:
    """Refuse packed chunks that unpack to more than a chunk: HDF5 would take memory for all of it.

    They are inflated twice so; the weights and states that Caffe writes are not packed.
    """
    if found.chunks is None or _DEFLATE not in _filters(found):
        return
    places = [range(0, size, step) for size, step in zip(found.shape, found.chunks)]
    if math.prod(map(len, places)) > _MOST_CHUNKS:
        raise HDF5Error(f'dataset "{found.name}" has more than {_MOST_CHUNKS} chunks')
    most = math.prod(found.chunks) * found.dtype.itemsize + _CHECKSUM
    skipped = 1 << _filters(found).index(_DEFLATE)
    for place in itertools.product(*places):
        chunk = found.id.get_chunk_info_by_coord(place)
        if chunk.byte_offset is None or chunk.filter_mask & skipped:
            continue
        if chunk.size > found.file.id.get_filesize():
            raise HDF5Error(f'dataset "{found.name}" has a chunk larger than the file')
        packed = found.id.read_direct_chunk(place)[1]
        whole = zlib.decompressobj()
        for _ in range(0, most + 1, _INFLATED):
            whole.decompress(packed, _INFLATED)
            packed = whole.unconsumed_tail
        if not whole.eof:
            raise HDF5Error(
                f'dataset "{found.name}" has a chunk that is no {most} bytes packed by gzip'
            )


def check_room(found: Sequence[Any]) -> None:
    """Refuse datasets that together are more than the file can hold: several names of the same."""
    if sum(each.nbytes for each in found) > max(map(_room, found), default=0):
        raise HDF5Error(
            f'{len(found)} datasets of "{found[0].parent.name}" claim more than the file can hold'
        )


def _room(found: Any) -> int:
    """Bytes that a dataset, or several of its kind, can take at most."""
    inflates = found.chunks is not None and _DEFLATE in _filters(found)
    return int(found.file.id.get_filesize()) * (_MOST_INFLATION if inflates else 1)


def numbers(parent: Any, name: str) -> Any:
    """Return a dataset of numbers; the shape and type stand in it, the values are unread."""
    found = dataset(parent, name)
    if found.dtype.kind not in "fiu":
        raise HDF5Error(
            f'dataset "{parent.name}/{name}" is of type {found.dtype}; expected numbers'
        )
    return found


def read_into(found: Any, out: F32) -> None:
    """Read the values of a dataset into a C-contiguous float32 array of its shape."""
    if out.size:
        check_chunks(found)
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, as in Caffe
            found.read_direct(out)


def numbered(parent: Any) -> dict[int, str]:
    """Return the names in a group that are whole numbers, as Caffe writes them, in their order."""
    if len(parent) > MAX_ENTRIES:
        raise HDF5Error(f'"{parent.name}" holds more than {MAX_ENTRIES} things')
    names = {int(name): name for name in parent if name.isascii() and name.isdigit()}
    return {number: names[number] for number in sorted(names) if str(number) == names[number]}


def index_net(path: PathLike) -> dict[str, dict[int, Shape]]:
    """Find the layers of a weights file and the shapes of their blobs; values stay unread.

    Parameters
    ----------
    path : str or path
        As `write_net` or Caffe writes it.

    Returns
    -------
    dict of str to dict of int to tuple of int
        By layer, the shape of each blob by its number. A blob that another layer owns is left
        out, and a layer without blobs of its own is there, but empty.

    Raises
    ------
    OSError
        When the file cannot be read.
    RuntimeError
        When h5py is missing.
    ValueError
        One line: file, dataset, what was found and what was expected.
    """
    with opened(path, "a caffemodel in HDF5") as file:
        data = group(file, "data")
        layers: dict[str, dict[int, Shape]] = {}
        for name in list(data):
            blobs = group(data, name)
            layers[name] = {
                number: tuple(numbers(blobs, key).shape) for number, key in numbered(blobs).items()
            }
    return layers


def read_net(path: PathLike, wanted: Iterable[tuple[str, int, F32]]) -> None:
    """Read blobs of a weights file.

    Parameters
    ----------
    path : str or path
    wanted : iterable of (str, int, float32 array)
        Layer and number of a blob, and the C-contiguous array that takes it, of its shape.

    Raises
    ------
    OSError, RuntimeError, ValueError
        As `index_net`; ValueError also for an array of another shape.
    """
    targets = list(wanted)
    with opened(path, "a caffemodel in HDF5") as file:
        data = group(file, "data")
        for name, number, out in targets:
            found = numbers(group(data, name), str(number))
            if found.shape != out.shape:
                raise HDF5Error(
                    f'layer "{name}": blob {number} has shape {found.shape}, expected {out.shape}'
                )
            read_into(found, out)


def write_net(
    path: PathLike,
    layers: Iterable[tuple[str, Sequence[F32 | None]]],
    diffs: Mapping[str, Sequence[F32]] | None = None,
) -> None:
    """Write a weights file that Caffe loads; whole or not at all.

    Parameters
    ----------
    path : str or path
        The file to write; Caffe tells it from a binary one by its end ``.h5``.
    layers : iterable of (str, sequence of float32 array or None)
        Every layer with its blobs, in the net's order; None for one that another layer owns,
        which Caffe leaves out.
    diffs : mapping of str to sequence of float32 arrays, optional
        Gradients of each layer's blobs, also of those that others own.

    Raises
    ------
    OSError
        When the file cannot be written; an old one stays as it was.
    RuntimeError
        When h5py is missing.
    ValueError
        When HDF5 cannot hold the name of a layer.
    """
    h5py = import_h5py()
    with atomic_write(path) as out, h5py.File(out, "w") as file:
        data = file.create_group("data")
        for name, blobs in layers:
            _check_name(path, name, data)
            write_numbered(data.create_group(name), blobs)
        if diffs is not None:
            gradients = file.create_group("diff")
            for name in data:
                write_numbered(gradients.create_group(name), diffs.get(name, ()))


def write_numbered(parent: Any, arrays: Iterable[F32 | None]) -> None:
    """Write arrays into a group under the names 0, 1, ..., leaving out None."""
    for number, array in enumerate(arrays):
        if array is not None:
            parent.create_dataset(str(number), data=np.asarray(array, np.float32))


def _check_name(path: PathLike, name: str, data: Any) -> None:
    if name in ("", ".") or "/" in name or "\0" in name:
        raise ValueError(
            f'{path}: not written, HDF5 cannot hold a layer of the name "{name}" (nor can Caffe '
            f"write it there); rename the layer, or save a .caffemodel"
        )
    if name in data:
        raise ValueError(
            f'{path}: not written, two layers have the name "{name}"; rename one of them'
        )


def _linked(parent: Any, name: str) -> Any:
    """Return what a hard link leads to, None where there is no such name."""
    link = parent.get(name, getlink=True)
    if link is not None and not isinstance(link, import_h5py().HardLink):
        raise HDF5Error(
            f'"{parent.name.rstrip("/")}/{name}" is a link to somewhere else, which is not '
            f"followed; put a copy in its place"
        )
    return None if link is None else parent[name]
