"""Caffe's binary files: caffemodel (old and new layout) and binaryproto, read and written in place.

A caffemodel is one protobuf message. Protobuf itself would copy it twice and refuse more than
2 GiB: for the 498 MB of a released net it takes 2 s and 1 GB to reach arrays. Here a walk over a
memory map finds where every blob's numbers lie (under a millisecond; weights are not touched), and
each blob is then read once, straight into its array.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BufferedReader

import numpy as np

from lbpmap._arrays import F32, Array
from lbpmap._files import atomic_write, read_bytes, regular_size
from lbpmap.caffe.blob import MAX_AXES, Shape
from lbpmap.caffe.formats import wire
from lbpmap.caffe.formats.messages import Message
from lbpmap.caffe.formats.upgrade import V1_TYPES
from lbpmap.caffe.formats.wire import Buffer, Field, WireError

# Layers, blobs and runs of numbers in one file. ResNet-152 has some 1,500; a hostile file of empty
# layers would otherwise take 35 times its size in memory.
MAX_ENTRIES = 1_000_000
# A mean picture takes under a MB.
MAX_BLOB_BYTES = 2**30
_CHUNK = 2**20  # numbers that are converted at a time where they cannot be read in place

# A caffemodel may begin with the bytes of "\n<": what follows must be markup.
_WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!|\?xml|html|head|body)", re.IGNORECASE)

# Numbers of the fields of BlobProto.
_LEGACY_DIMS = (1, 2, 3, 4)  # num, channels, height, width
_DATA, _SHAPE, _DOUBLE_DATA = 5, 7, 8
_WIDTH = {_DATA: 4, _DOUBLE_DATA: 8}
_SINGLE_KIND = {_DATA: wire.FOUR_BYTES, _DOUBLE_DATA: wire.EIGHT_BYTES}


@dataclass(frozen=True)
class _Layout:
    """Numbers of the fields of one of the three layer messages."""

    name: int
    type: int
    blobs: int


_NET_LAYOUTS = {100: _Layout(1, 2, 7), 2: _Layout(4, 5, 6)}
_V0, _V0_FIELD = _Layout(1, 2, 50), 1


@dataclass(frozen=True)
class Run:
    """Numbers that lie in the file one after another: `count` of `width` bytes, `step` apart."""

    offset: int
    count: int
    width: int
    step: int


@dataclass(frozen=True)
class BlobEntry:
    """A blob of the file: its shape, and where its numbers lie.

    A `legacy` shape has four dimensions, filled up with ones in front: (1, 1, N, K).
    """

    shape: Shape
    runs: tuple[Run, ...]
    legacy: bool

    def fits(self, shape: Shape) -> bool:
        """Whether a parameter of `shape` can take this blob."""
        if self.legacy:
            return len(shape) <= 4 and (1,) * (4 - len(shape)) + shape == self.shape
        return shape == self.shape


@dataclass(frozen=True)
class LayerEntry:
    """A layer of the file; `type` as in the newest form."""

    name: str
    type: str
    blobs: tuple[BlobEntry, ...]


@dataclass
class _Walk:
    """A walk over one file: the bytes, and what may still be found."""

    buffer: Buffer
    entries_left: int = field(default_factory=lambda: MAX_ENTRIES)
    where: list[str] = field(default_factory=list)

    def count(self, at: int) -> None:
        self.entries_left -= 1
        if self.entries_left < 0:
            raise WireError(at, f"more than {MAX_ENTRIES} layers and blobs")


def index(path: str | os.PathLike[str]) -> list[LayerEntry]:
    """Find the layers and blobs of a caffemodel; their numbers stay unread.

    Parameters
    ----------
    path : str or path
        Binary NetParameter with `layer` (new), `layers` (V1), or the layers of 2013 (V0).

    Returns
    -------
    list of LayerEntry
        In the order of the file, layers without blobs included.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        One line: file, layer where known, byte offset, what was found and what was expected.
    """
    size = regular_size(path, "a caffemodel")
    if size == 0:
        raise ValueError(f"{path}: the file is empty, a caffemodel was expected")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
        walk = _Walk(buffer)
        try:
            layers = [
                _layer(walk, part, _NET_LAYOUTS[part.number])
                for part in wire.fields(buffer, 0, len(buffer))
                if part.number in _NET_LAYOUTS and part.kind == wire.BYTES
            ]
        except WireError as error:
            if _WEB_PAGE.match(buffer[:1000]):
                raise ValueError(
                    f"{path}: a web page, not a caffemodel: download the file that the page links "
                    f"to"
                ) from None
            raise ValueError(
                ": ".join([str(path), *walk.where, str(error)])
                + "; cut short or not a caffemodel: download or copy it again"
            ) from None
    if not layers:
        raise ValueError(f"{path}: no layers in {size} bytes; this is not a caffemodel")
    return layers


def _layer(walk: _Walk, part: Field, layout: _Layout) -> LayerEntry:
    walk.count(part.key)
    name, kind, blobs = "", "", []
    for item in wire.fields(walk.buffer, part.start, part.end):
        if layout is _NET_LAYOUTS[2] and item.number == _V0_FIELD and item.kind == wire.BYTES:
            return _layer(walk, item, _V0)
        if item.number == layout.name and item.kind == wire.BYTES:
            name = _text(walk.buffer, item)
            walk.where[:] = [f'layer "{name}"']
        elif item.number == layout.type and item.kind == wire.BYTES:
            kind = _text(walk.buffer, item)
        elif item.number == layout.type and item.kind == wire.VARINT:
            kind = V1_TYPES.get(wire.varint(walk.buffer, item.start, item.end)[0], "")
        elif item.number == layout.blobs and item.kind == wire.BYTES:
            walk.count(item.key)
            blobs.append(_blob(walk, item.key, item.start, item.end))
    walk.where.clear()
    return LayerEntry(name, kind, tuple(blobs))


def _text(buffer: Buffer, item: Field) -> str:
    if item.end - item.start > 4096:
        raise WireError(item.key, f"a name of {item.end - item.start} bytes")
    try:
        return bytes(buffer[item.start : item.end]).decode("utf-8")
    except UnicodeDecodeError:
        raise WireError(item.key, "a name was expected, the bytes are no text") from None


def _blob(walk: _Walk, key: int, start: int, end: int) -> BlobEntry:
    legacy, shape = [0, 0, 0, 0], []
    is_legacy = False
    runs: dict[int, list[Run]] = {_DATA: [], _DOUBLE_DATA: []}
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
    found = runs[_DOUBLE_DATA] or runs[_DATA]
    count, expected = sum(run.count for run in found), math.prod(dims)
    if count != expected:
        raise WireError(
            key,
            f"a blob of shape {' x '.join(map(str, dims)) or '()'} needs {expected} numbers, "
            f"the file holds {count}",
        )
    return BlobEntry(dims, tuple(found), is_legacy)


def _run(buffer: Buffer, item: Field, end: int) -> Run:
    """Locate packed numbers, or as many single ones as follow one another."""
    width = _WIDTH[item.number]
    if item.kind == wire.BYTES:
        count, rest = divmod(item.end - item.start, width)
        if rest:
            raise WireError(item.key, f"{item.end - item.start} bytes are no array of {width} each")
        return Run(item.start, count, width, width)
    if item.kind != _SINGLE_KIND[item.number]:
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


def read_into(file: BufferedReader, blob: BlobEntry, out: F32) -> None:
    """Read a blob's numbers into `out`, a C-contiguous float32 array of as many elements.

    Raises
    ------
    ValueError
        When the file has become shorter than it was when it was indexed.
    """
    flat = out.reshape(-1)
    at = 0
    for run in blob.runs:
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
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, as in Caffe
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
        entry = _blob(_Walk(raw), 0, 0, len(raw))
    except WireError as error:
        raise ValueError(f"{path}: {error}; is this a binaryproto?") from None
    if not entry.runs:
        raise ValueError(f"{path}: no numbers in {len(raw)} bytes; this is not a binaryproto")
    out: F32 = np.empty(entry.shape, np.float32)
    with open(path, "rb") as file:
        read_into(file, entry, out)
    return out


def write(
    path: str | os.PathLike[str], name: str, layers: Iterable[tuple[Message, list[F32]]]
) -> None:
    """Write a caffemodel in the newest form, array after array; it appears whole or not at all.

    Parameters
    ----------
    path : str or path
        The file to write.
    name : str
        The net's name.
    layers : iterable of (LayerParameter, list of float32 arrays)
        Every layer, in the net's order; the messages hold no blobs of their own.

    Raises
    ------
    OSError
        When the file cannot be written; an old one stays as it was.
    """
    with atomic_write(path) as file:
        text = name.encode()
        file.write(wire.key_and_length(1, len(text)) + text)
        for layer, arrays in layers:
            settings = layer.SerializeToString()
            heads = [_blob_head(array) for array in arrays]
            length = len(settings) + sum(
                len(head) + 4 * array.size for head, array in zip(heads, arrays)
            )
            file.write(wire.key_and_length(100, length) + settings)
            for head, array in zip(heads, arrays):
                file.write(head)
                file.write(np.ascontiguousarray(array, "<f4").reshape(-1).data.cast("B"))


def _blob_head(array: Array) -> bytes:
    """Everything of a layer's blob but its numbers: keys, lengths and shape."""
    dims = b"".join(map(wire.encode_varint, array.shape))
    shape = wire.key_and_length(1, len(dims)) + dims
    head = wire.key_and_length(_SHAPE, len(shape)) + shape
    head += wire.key_and_length(_DATA, 4 * array.size)
    return wire.key_and_length(_NET_LAYOUTS[100].blobs, len(head) + 4 * array.size) + head
