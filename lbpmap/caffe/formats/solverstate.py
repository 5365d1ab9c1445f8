"""Solverstates: what a solver needs to go on, in Caffe's binary form and in its HDF5 form.

The binary form is the message SolverState. The HDF5 form has the datasets iter, current_step and
learned_net, and the group history with 0, 1, ...
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

import numpy as np

from lbpmap._arrays import F32
from lbpmap._files import PathLike, atomic_write, regular_size
from lbpmap.caffe.formats import blobs, wire
from lbpmap.caffe.formats import hdf5 as layout
from lbpmap.caffe.formats.blobs import BlobEntry, Walk
from lbpmap.caffe.formats.wire import Field, WireError

# Numbers of the fields of the message SolverState.
_ITER, _LEARNED_NET, _HISTORY, _CURRENT_STEP = 1, 2, 3, 4
_KINDS = {
    _ITER: ("iter", wire.VARINT),
    _LEARNED_NET: ("learned_net", wire.BYTES),
    _HISTORY: ("history", wire.BYTES),
    _CURRENT_STEP: ("current_step", wire.VARINT),
}
_MAX_PATH_BYTES = 4096
_MAX_INT = 2**31 - 1


@dataclass
class SolverState:
    """Where a solver stands.

    Attributes
    ----------
    iter : int
        Iterations done.
    learned_net : str
        Path of the weights that belong to it; may be empty.
    current_step : int
        Steps of the learning rate done, of the policies step and multistep.
    history : list of float32 arrays
        All parameters' first history, then all second ones, in the net's order.
    """

    iter: int
    learned_net: str
    current_step: int
    history: list[F32]


def read(path: PathLike) -> SolverState:
    """Read a solverstate of either form; its content tells which, not its name.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    SolverState
        Histories have the shapes that they have in the file.

    Raises
    ------
    OSError
        When the file cannot be read.
    RuntimeError
        When it is in HDF5, and h5py is missing.
    ValueError
        One line: file, field, what was found and what was expected.
    """
    if regular_size(path, "a solverstate") == 0:
        raise ValueError(f"{path}: the file is empty, a solverstate was expected")
    with open(path, "rb") as file:
        if file.read(len(layout.SIGNATURE)) != layout.SIGNATURE:
            return _read_binary(path, file)
    return _read_hdf5(path)


def write(path: PathLike, state: SolverState, hdf5: bool = False) -> None:
    """Write a solverstate that Caffe restores; whole or not at all.

    Parameters
    ----------
    path : str or path
        The file to write; Caffe takes it for HDF5 when its name ends in ``.h5``.
    state : SolverState
    hdf5 : bool, default False
        The HDF5 form rather than the binary one.

    Raises
    ------
    OSError
        When the file cannot be written; an old one stays as it was.
    RuntimeError
        When h5py is missing.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "tiny_iter_10.solverstate")
    ...     write(path, SolverState(10, "tiny_iter_10.caffemodel", 0, [np.zeros((2, 3))]))
    ...     state = read(path)
    >>> state.iter, state.learned_net, state.history[0].shape
    (10, 'tiny_iter_10.caffemodel', (2, 3))
    """
    if hdf5:
        _write_hdf5(path, state)
    else:
        _write_binary(path, state)


def _read_binary(path: PathLike, file: BufferedReader) -> SolverState:
    state = SolverState(0, "", 0, [])
    entries = []
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
        walk = Walk(buffer)
        try:
            for item in wire.fields(buffer, 0, len(buffer)):
                _check_kind(item)
                if item.number == _HISTORY:
                    walk.count(item.key)
                    entries.append(blobs.entry_at(walk, item.key, item.start, item.end))
                elif item.number == _LEARNED_NET:
                    if item.end - item.start > _MAX_PATH_BYTES:
                        raise WireError(item.key, f"a path of {item.end - item.start} bytes")
                    state.learned_net = _text(bytes(buffer[item.start : item.end]))
                elif item.number in _KINDS:
                    number, _ = wire.varint(buffer, item.start, item.end)
                    setattr(state, _KINDS[item.number][0], _checked(number, item))
        except WireError as error:
            raise ValueError(
                f"{path}: {error}; cut short or not a solverstate: copy it again"
            ) from None
    if not entries and not state.learned_net:
        raise ValueError(f"{path}: neither history nor learned_net; this is not a solverstate")
    state.history = [_values(file, entry) for entry in entries]
    return state


def _check_kind(item: Field) -> None:
    name, kind = _KINDS.get(item.number, ("", item.kind))
    if item.kind != kind:
        raise WireError(item.key, f"{name} is of kind {item.kind}, expected {kind}")


def _checked(number: int, item: Field) -> int:
    if number > _MAX_INT:
        raise WireError(item.key, f"{_KINDS[item.number][0]} is not from 0 to {_MAX_INT}")
    return number


def _values(file: BufferedReader, entry: BlobEntry) -> F32:
    out: F32 = np.empty(entry.shape, np.float32)
    blobs.read_into(file, entry, out)
    return out


def _text(raw: bytes) -> str:
    # A path need not be text; Python's own way keeps the bytes.
    return raw.decode("utf-8", "surrogateescape")


def _write_binary(path: PathLike, state: SolverState) -> None:
    name = state.learned_net.encode("utf-8", "surrogateescape")
    with atomic_write(path) as file:
        file.write(_key(_ITER) + wire.encode_varint(state.iter))
        file.write(wire.key_and_length(_LEARNED_NET, len(name)) + name)
        for array in state.history:
            for part in blobs.encode(_HISTORY, array):
                file.write(part)
        file.write(_key(_CURRENT_STEP) + wire.encode_varint(state.current_step))


def _key(number: int) -> bytes:
    return wire.encode_varint(number << 3 | wire.VARINT)


def _read_hdf5(path: PathLike) -> SolverState:
    with layout.opened(path, "a solverstate") as file:
        numbers = [_integer(file, name) for name in ("iter", "current_step")]
        name = _string(file, "learned_net") if "learned_net" in file else ""
        kept = layout.group(file, "history")
        found = [layout.numbers(kept, key) for key in layout.numbered(kept).values()]
        if len(found) != len(kept) or list(layout.numbered(kept)) != list(range(len(found))):
            raise layout.HDF5Error('"/history" holds other things than 0, 1, ... without a gap')
        layout.check_room(found)
        history = []
        for each in found:
            out: F32 = np.empty(each.shape, np.float32)
            layout.read_into(each, out)
            history.append(out)
    return SolverState(numbers[0], name, numbers[1], history)


def _integer(file: Any, name: str) -> int:
    found = layout.numbers(file, name)
    if found.dtype.kind not in "iu" or found.shape not in ((), (1,)):
        raise layout.HDF5Error(
            f'dataset "/{name}" is {found.shape} of {found.dtype}; expected one whole number'
        )
    layout.check_chunks(found)
    value = int(np.asarray(found[()]).reshape(()))
    if not 0 <= value <= _MAX_INT:
        raise layout.HDF5Error(f'dataset "/{name}" is {value}; expected 0 to {_MAX_INT}')
    return value


def _string(file: Any, name: str) -> str:
    found = layout.dataset(file, name)
    kind = found.dtype
    if kind.kind != "S" or kind.itemsize > _MAX_PATH_BYTES or found.shape not in ((), (1,)):
        raise layout.HDF5Error(
            f'dataset "/{name}" is {found.shape} of {kind}; expected a text of fixed length'
        )
    layout.check_chunks(found)
    return _text(np.asarray(found[()]).reshape(()).item().split(b"\0")[0])


def _write_hdf5(path: PathLike, state: SolverState) -> None:
    h5py = layout.import_h5py()
    name = state.learned_net.encode("utf-8", "surrogateescape")
    # Caffe reads the text up to its zero byte, which NumPy's own type of text would not hold.
    text = h5py.h5t.C_S1.copy()
    text.set_size(len(name) + 1)
    text.set_strpad(h5py.h5t.STR_NULLTERM)
    with atomic_write(path) as out, h5py.File(out, "w") as file:
        for key, value in (("iter", state.iter), ("current_step", state.current_step)):
            file.create_dataset(key, data=np.array([value], np.int32))
        space = h5py.h5s.create(h5py.h5s.SCALAR)
        h5py.h5d.create(file.id, b"learned_net", text, space).write(
            h5py.h5s.ALL, h5py.h5s.ALL, np.array(name + b"\0"), mtype=text
        )
        layout.write_numbered(file.create_group("history"), state.history)
