"""BlobProto, Caffe's message of one array: found in a file without reading it, then read in place.

Where a caffemodel, a solverstate or a mean picture holds an array, this finds its shape and where
its numbers lie, and checks that there are as many as the shape needs, before memory is taken.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass, field
from io import BufferedReader

import numpy as np

from lbpmap._arrays import F32, Array
from lbpmap._files import atomic_write, read_bytes
from lbpmap.caffe.blob import MAX_AXES, Shape, is_shape
from lbpmap.caffe.formats import wire
from lbpmap.caffe.formats.wire import Buffer, Field, WireError

# Layers, blobs and runs of numbers in one file. ResNet-152 has some 1,500; a hostile file of empty
# layers takes 80 times its size in memory, which are 16 MB at most so.
MAX_ENTRIES = 2**16
# A mean picture takes under a MB.
MAX_BLOB_BYTES = 2**30
_CHUNK = 2**20  # numbers that are converted at a time where they cannot be read in place

# Numbers of the fields of BlobProto.
_LEGACY_DIMS = (1, 2, 3, 4)  # num, channels, height, width
_DATA, _DIFF, _SHAPE, _DOUBLE_DATA, _DOUBLE_DIFF = 5, 6, 7, 8, 9
_WIDTH = {_DATA: 4, _DIFF: 4, _DOUBLE_DATA: 8, _DOUBLE_DIFF: 8}
_SINGLE_KIND = {4: wire.FOUR_BYTES, 8: wire.EIGHT_BYTES}


@dataclass(frozen=True)
class Run:
    """Numbers that lie in the file one after another: `count` of `width` bytes, `step` apart."""

    offset: int
    count: int
    width: int
    step: int


@dataclass(frozen=True)
class BlobEntry:
    """A blob of the file: its shape, and where its numbers and perhaps its gradients lie.

    A `legacy` shape has four dimensions, filled up with ones in front: (1, 1, N, K).
    """

    shape: Shape
    runs: tuple[Run, ...]
    legacy: bool
    diff_runs: tuple[Run, ...] = ()

    def fits(self, shape: Shape) -> bool:
        """Whether a parameter of `shape` can take this blob."""
        if self.legacy:
            return len(shape) <= 4 and (1,) * (4 - len(shape)) + shape == self.shape
        return shape == self.shape


@dataclass
class Walk:
    """A walk over one file: the bytes, and what may still be found."""

    buffer: Buffer
    entries_left: int = field(default_factory=lambda: MAX_ENTRIES)
    where: list[str] = field(default_factory=list)

    def count(self, at: int) -> None:
        """Count what was found at an offset; refuse what is too much."""
        self.entries_left -= 1
        if self.entries_left < 0:
            raise WireError(at, f"more than {MAX_ENTRIES} layers and blobs")


def entry_at(walk: Walk, key: int, start: int, end: int) -> BlobEntry:
    """Find the parts of the BlobProto in `buffer[start:end]`, whose key stands at `key`.

    Raises
    ------
    WireError
        When it is malformed, or its numbers are not as many as its shape needs.
    """
    legacy, shape = [0, 0, 0, 0], []
    is_legacy = False
    runs: dict[int, list[Run]] = {number: [] for number in _WIDTH}
    at = start
    while at < end:
        item = wire.field_at(walk.buffer, at, end)
        at = item.end
        if item.number in _LEGACY_DIMS and item.kind == wire.VARINT:
            legacy[item.number - 1] = _dimension(walk.buffer, item.start, item.end)
            is_legacy = True
        elif item.number == _SHAPE and item.kind == wire.BYTES:
            shape += _shape(walk.buffer, item)
        elif item.number in runs:
            run = _run(walk.buffer, item, end)
            if run.step != run.width:
                at = item.key + run.count * run.step
            walk.count(item.key)
            runs[item.number].append(run)
    # A blob with any of the four old fields has four dimensions, whatever `shape` says.
    dims = tuple(legacy if is_legacy else shape)
    if len(dims) > MAX_AXES:
        raise WireError(key, f"a blob of {len(dims)} dimensions, at most {MAX_AXES} are allowed")
    if 0 in dims and not (is_shape(dims) and max(dims) < 2**31):
        raise WireError(key, f"a blob of shape {' x '.join(map(str, dims))}, which none can have")
    found = _given(runs[_DOUBLE_DATA], runs[_DATA])
    diffs = _given(runs[_DOUBLE_DIFF], runs[_DIFF])
    expected = math.prod(dims)
    for what, parts in (("numbers", found), ("gradients", diffs)):
        count = sum(part.count for part in parts)
        # Only who asks for them writes gradients.
        if count != expected and (count or parts is found):
            raise WireError(
                key,
                f"a blob of shape {' x '.join(map(str, dims)) or '()'} needs {expected} {what}, "
                f"the file holds {count}",
            )
    return BlobEntry(dims, tuple(found), is_legacy, tuple(diffs))


def _given(double: list[Run], single: list[Run]) -> list[Run]:
    """Choose the double numbers where there are some, as Caffe does; an empty field is none."""
    return double if any(run.count for run in double) else single


def _run(buffer: Buffer, item: Field, end: int) -> Run:
    """Locate packed numbers, or as many single ones as follow one another."""
    width = _WIDTH[item.number]
    if item.kind == wire.BYTES:
        count, rest = divmod(item.end - item.start, width)
        if rest:
            raise WireError(item.key, f"{item.end - item.start} bytes are no array of {width} each")
        return Run(item.start, count, width, width)
    if item.kind != _SINGLE_KIND[width]:
        raise WireError(item.key, f"numbers of {width} bytes were expected, got kind {item.kind}")
    step = item.end - item.key
    head, count = buffer[item.key], 1
    while item.key + (count + 1) * step <= end:
        block = min(_CHUNK, (end - item.key) // step - count)
        first = item.key + count * step
        keys = np.frombuffer(buffer[first : first + block * step], np.uint8)[::step]
        same = int(np.argmax(keys != head)) if (keys != head).any() else block
        count += same
        if same < block:
            break
    return Run(item.start, count, width, step)


def _dimension(buffer: Buffer, at: int, end: int) -> int:
    value, _ = wire.varint(buffer, at, end)
    if value >= 2**63:
        raise WireError(at, f"a dimension of {value - 2**64}")
    return value


def _shape(buffer: Buffer, item: Field) -> list[int]:
    """Read a BlobShape: dimensions packed or one by one."""
    dims: list[int] = []
    for part in wire.fields(buffer, item.start, item.end):
        if part.number != 1:
            continue
        at = part.start
        while at < part.end:
            dims.append(_dimension(buffer, at, part.end))
            at = wire.varint(buffer, at, part.end)[1]
            if len(dims) > MAX_AXES:
                raise WireError(item.key, f"a shape of more than {MAX_AXES} dimensions")
    return dims


def read_into(file: BufferedReader, blob: BlobEntry, out: F32, diff: bool = False) -> None:
    """Read a blob's numbers, or its gradients, into a C-contiguous float32 array of as many.

    Raises
    ------
    ValueError
        When the file has become shorter than it was when it was indexed.
    """
    flat = out.reshape(-1)
    at = 0
    for run in blob.diff_runs if diff else blob.runs:
        part = flat[at : at + run.count]
        at += run.count
        file.seek(run.offset)
        if run.step == run.width == 4:
            done = file.readinto(part.data.cast("B")) if run.count else 0
            _complete(file, run, done, 4 * run.count)
            if sys.byteorder == "big":
                part.byteswap(inplace=True)
        else:
            _convert(file, run, part)


def _convert(file: BufferedReader, run: Run, out: F32) -> None:
    """Read numbers that are double, or that have their keys between them."""
    for first in range(0, run.count, _CHUNK):
        count = min(_CHUNK, run.count - first)
        # Behind the last number there is no key.
        length = (count - 1) * run.step + run.width
        file.seek(run.offset + first * run.step)
        raw = file.read(length)
        _complete(file, run, len(raw), length)
        numbers: Array = np.ndarray(count, np.dtype(f"<f{run.width}"), raw, strides=(run.step,))
        # A double beyond float32 becomes infinite, as in Caffe; a NaN may be a signalling one.
        with np.errstate(over="ignore", invalid="ignore"):
            out[first : first + count] = numbers


def _complete(file: BufferedReader, run: Run, got: int, expected: int) -> None:
    if got != expected:
        raise ValueError(
            f"{file.name}: byte {run.offset}: {expected} bytes expected, {got} read; "
            f"the file was changed while it was read"
        )


def read_blob(path: str | os.PathLike[str]) -> F32:
    """Read a binaryproto: one blob, such as a mean picture.

    Parameters
    ----------
    path : str or path
        Binary BlobProto, with four old dimensions or a BlobShape.

    Returns
    -------
    float32 array of the blob's own shape, (1, 3, H, W) for a mean picture

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        One line: file, byte offset, what was found and what was expected.
    """
    raw = read_bytes(path, MAX_BLOB_BYTES, "a binaryproto")
    try:
        entry = entry_at(Walk(raw), 0, 0, len(raw))
    except WireError as error:
        raise ValueError(f"{path}: {error}; is this a binaryproto?") from None
    if not entry.runs:
        raise ValueError(f"{path}: no numbers in {len(raw)} bytes; this is not a binaryproto")
    out: F32 = np.empty(entry.shape, np.float32)
    with open(path, "rb") as file:
        read_into(file, entry, out)
    return out


def write_blob(path: str | os.PathLike[str], array: Array) -> None:
    """Write a binaryproto, such as a mean picture (1, 3, H, W); whole or not at all.

    Raises
    ------
    OSError
        When the file cannot be written; an old one stays as it was.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "mean.binaryproto")
    ...     write_blob(path, np.zeros((1, 3, 2, 2)))
    ...     read_blob(path).shape
    (1, 3, 2, 2)
    """
    with atomic_write(path) as file:
        for part in _fields_of(array, None):
            file.write(part)


def encode(number: int, array: Array, diff: Array | None = None) -> list[bytes | memoryview]:
    """Return an array as field `number` of a message: its bytes in parts, numbers uncopied.

    The fields stand in the order in which protobuf writes them.
    """
    parts = _fields_of(array, diff)
    return [wire.key_and_length(number, sum(map(len, parts))), *parts]


def _fields_of(array: Array, diff: Array | None) -> list[bytes | memoryview]:
    parts = [wire.key_and_length(_DATA, 4 * array.size), _raw(array)]
    if diff is not None:
        parts += [wire.key_and_length(_DIFF, 4 * diff.size), _raw(diff)]
    if array.ndim:
        dims = b"".join(map(wire.encode_varint, array.shape))
        shape = wire.key_and_length(1, len(dims)) + dims
        parts.append(wire.key_and_length(_SHAPE, len(shape)) + shape)
    return parts


def _raw(array: Array) -> bytes | memoryview:
    flat = np.ascontiguousarray(array, "<f4").reshape(-1)
    return flat.data.cast("B") if flat.size else b""
