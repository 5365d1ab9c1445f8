"""The HDF5Data layer's source, the rows of HDF5 files; and the file that HDF5Output writes."""

from __future__ import annotations

from typing import Any

import numpy as np

from lbpmap._arrays import F32
from lbpmap._files import atomic_write, read_bytes
from lbpmap.caffe.blob import Blob, Shape
from lbpmap.caffe.data.source import positive, reshaped
from lbpmap.caffe.formats import hdf5 as layout
from lbpmap.caffe.formats.messages import Message

_MAX_LIST_BYTES = 2**24
# A blob's elements are counted in 32 bits in Caffe.
_MAX_COUNT = 2**31 - 1


class Rows:
    """Rows of the datasets that the tops are named after, file after file, round and round.

    One file is held in memory at a time. With `shuffle`, the files are drawn anew in each round
    and the rows in each file.

    Parameters
    ----------
    layer : LayerParameter
        Of an HDF5Data layer.

    Raises
    ------
    OSError, RuntimeError, ValueError
        When the list or its first file cannot be read, a setting is wrong, or h5py is missing.
    """

    def __init__(self, layer: Message) -> None:
        p = layer.hdf5_data_param
        if layer.HasField("transform_param"):
            raise ValueError("transform_param has no effect on HDF5Data; store transformed rows")
        self._batch = positive(p.batch_size, "batch_size")
        self._names = list(layer.top)
        self._files = _read_list(p.source)
        self._shuffle = p.shuffle
        self._loaded = 0
        self._values = read(self._files[0], self._names)
        self.tops: tuple[Shape, ...] = self._shapes()
        # Which file and which row come when: unknown until there are random numbers.
        self._file_order: list[int] = []
        self._row_order: list[int] = []
        self._file = self._row = 0

    def fill(self, tops: list[Blob], rng: np.random.Generator) -> None:
        """Write the next batch into the tops."""
        if not self._file_order:
            self._file_order = self._drawn(len(self._files), rng)
            self._load(rng)
        arrays = reshaped(tops, self.tops)
        done = 0
        while done < self._batch:
            count = min(self._batch - done, len(self._row_order) - self._row)
            rows = self._row_order[self._row : self._row + count]
            for array, values in zip(arrays, self._values):
                array[done : done + count] = values[rows]
            done += count
            self._row += count
            if self._row == len(self._row_order):
                self._next_file(rng)

    def _next_file(self, rng: np.random.Generator) -> None:
        self._file += 1
        if self._file == len(self._files):
            self._file = 0
            self._file_order = self._drawn(len(self._files), rng)
        self._load(rng)

    def _load(self, rng: np.random.Generator) -> None:
        wanted = self._file_order[self._file]
        if wanted != self._loaded:
            self._values = read(self._files[wanted], self._names)
            self._loaded = wanted
            if self._shapes() != self.tops:
                raise ValueError(
                    f"{self._files[wanted]}: its rows make tops of {self._shapes()}, those of the "
                    f"first file {self.tops}; rows must be of one shape"
                )
        self._row_order = self._drawn(len(self._values[0]), rng)
        self._row = 0

    def _drawn(self, count: int, rng: np.random.Generator) -> list[int]:
        order: list[int] = (rng.permutation(count) if self._shuffle else np.arange(count)).tolist()
        return order

    def _shapes(self) -> tuple[Shape, ...]:
        return tuple((self._batch, *values.shape[1:]) for values in self._values)


def read(path: str, names: list[str]) -> list[F32]:
    """Read datasets of one file, all with the same number of rows.

    Raises
    ------
    OSError, RuntimeError, ValueError
        When the file cannot be read or h5py is missing; when a dataset is missing, is not of
        numbers, has no rows, or claims more than the file can hold.
    """
    with layout.opened(path, "an HDF5 file") as file:
        found = [_dataset(file, name) for name in names]
        layout.check_room(found)
        arrays = [_values(each) for each in found]
    rows = [len(array) for array in arrays]
    if min(rows) < 1 or min(rows) != max(rows):
        counts = ", ".join(f"{name} {count}" for name, count in zip(names, rows))
        raise ValueError(f"{path}: rows of its datasets: {counts}; expected as many each, from 1")
    return arrays


def _dataset(file: Any, name: str) -> Any:
    *groups, last = name.split("/")
    parent = file
    for each in filter(None, groups):
        parent = layout.group(parent, each)
    if last not in parent:
        held = ", ".join(ascii(key) for key, _ in zip(parent, range(20)))
        raise layout.HDF5Error(f'no dataset "{name}", after the top; it holds {held or "nothing"}')
    found = layout.dataset(parent, last)
    if found.dtype.kind not in "fiu" or found.ndim < 1:
        raise layout.HDF5Error(
            f'dataset "{name}" is of {found.dtype} with {found.ndim} axes; expected numbers, a row '
            f"for each item"
        )
    if found.size > _MAX_COUNT:
        raise layout.HDF5Error(
            f'dataset "{name}" claims a shape of {found.shape}, more than a blob can hold'
        )
    return found


def _values(found: Any) -> F32:
    values: F32 = np.empty(found.shape, np.float32)
    layout.read_into(found, values)
    return values


def _read_list(path: str) -> list[str]:
    """Read the names of files; spaces and line ends stand between them."""
    raw = read_bytes(path, _MAX_LIST_BYTES, "a list of HDF5 files")
    names = raw.decode(errors="surrogateescape").split()
    if not names:
        raise ValueError(f"{path}: lists no HDF5 file; expected a name a line")
    return names


def write(path: str, data: Blob, label: Blob) -> None:
    """Write the datasets "data" and "label" of an HDF5Output layer, whole or not at all.

    Both get four axes, as Caffe writes them.

    Raises
    ------
    OSError, RuntimeError
        When the file cannot be written, or h5py is missing.
    """
    h5py = layout.import_h5py()
    with atomic_write(path) as out, h5py.File(out, "w") as file:
        for name, blob in (("data", data), ("label", label)):
            shape = (blob.num, blob.channels, blob.height, blob.width)
            file.create_dataset(name, data=blob.array().reshape(shape))
