"""Caffemodels, of old and new layout: their layers found without reading them, and written.

A caffemodel is one protobuf message. Protobuf itself would copy it twice and refuse more than
2 GiB: for the 498 MB of a released net it takes 2 s and 1 GB to reach arrays. Here a walk over a
memory map finds where every blob's numbers lie (under a millisecond; weights are not touched), and
each blob is then read once, straight into its array.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat

from lbpmap._arrays import F32
from lbpmap._errors import one_line
from lbpmap._files import atomic_write, regular_size
from lbpmap.caffe.formats import blobs, wire
from lbpmap.caffe.formats.blobs import BlobEntry, Walk, read_blob, read_into, write_blob
from lbpmap.caffe.formats.hdf5 import SIGNATURE
from lbpmap.caffe.formats.messages import Message
from lbpmap.caffe.formats.upgrade import V0_TYPES, V1_TYPES
from lbpmap.caffe.formats.wire import Buffer, Field, WireError

__all__ = [
    "BlobEntry",
    "LayerEntry",
    "index",
    "read_blob",
    "read_into",
    "write",
    "write_blob",
]

# A caffemodel may begin with the bytes of "\n<": what follows must be markup.
_WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!|\?xml|html|head|body)", re.IGNORECASE)


@dataclass(frozen=True)
class _Layout:
    """Numbers of the fields of one of the three layer messages."""

    name: int
    type: int
    blobs: int


_NET_LAYOUTS = {100: _Layout(1, 2, 7), 2: _Layout(4, 5, 6)}
_V0, _V0_FIELD = _Layout(1, 2, 50), 1


@dataclass(frozen=True)
class LayerEntry:
    """A layer of the file; `type` as in the newest form, empty where that has none."""

    name: str
    type: str
    blobs: tuple[BlobEntry, ...]


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
        walk = Walk(buffer)
        try:
            layers = [
                _layer(walk, part, _NET_LAYOUTS[part.number])
                for part in wire.fields(buffer, 0, len(buffer))
                if part.number in _NET_LAYOUTS and part.kind == wire.BYTES
            ]
        except WireError as error:
            if buffer[: len(SIGNATURE)] == SIGNATURE:
                raise ValueError(
                    f"{path}: an HDF5 file, not a caffemodel: give it a name that ends in .h5"
                ) from None
            if _WEB_PAGE.match(buffer[:1000]):
                raise ValueError(
                    f"{path}: a web page, not a caffemodel: download the file that the page links "
                    f"to"
                ) from None
            reason = one_line(": ".join([*walk.where, str(error)]))
            raise ValueError(
                f"{path}: {reason}; cut short or not a caffemodel: download or copy it again"
            ) from None
    if not layers:
        raise ValueError(f"{path}: no layers in {size} bytes; this is not a caffemodel")
    return layers


def _layer(walk: Walk, part: Field, layout: _Layout) -> LayerEntry:
    walk.count(part.key)
    name, kind, found = "", "", []
    for item in wire.fields(walk.buffer, part.start, part.end):
        if layout is _NET_LAYOUTS[2] and item.number == _V0_FIELD and item.kind == wire.BYTES:
            return _layer(walk, item, _V0)
        if item.number == layout.name and item.kind == wire.BYTES:
            name = _text(walk.buffer, item)
            walk.where[:] = [f'layer "{name}"']
        elif item.number == layout.type and item.kind == wire.BYTES:
            kind = _text(walk.buffer, item)
            kind = V0_TYPES.get(kind, "") if layout is _V0 else kind
        elif item.number == layout.type and item.kind == wire.VARINT:
            kind = V1_TYPES.get(wire.varint(walk.buffer, item.start, item.end)[0], "")
        elif item.number == layout.blobs and item.kind == wire.BYTES:
            walk.count(item.key)
            found.append(blobs.entry_at(walk, item.key, item.start, item.end))
    walk.where.clear()
    return LayerEntry(name, kind, tuple(found))


def _text(buffer: Buffer, item: Field) -> str:
    if item.end - item.start > 4096:
        raise WireError(item.key, f"a name of {item.end - item.start} bytes")
    try:
        return bytes(buffer[item.start : item.end]).decode("utf-8")
    except UnicodeDecodeError:
        raise WireError(item.key, "a name was expected, the bytes are no text") from None


def write(
    path: str | os.PathLike[str],
    name: str,
    layers: Iterable[tuple[Message, list[F32]]],
    diffs: Iterable[list[F32]] | None = None,
) -> None:
    """Write a caffemodel in the newest form, array after array; it appears whole or not at all.

    The bytes are those that Caffe itself writes.

    Parameters
    ----------
    path : str or path
        The file to write.
    name : str
        The net's name.
    layers : iterable of (LayerParameter, list of float32 arrays)
        Every layer, in the net's order; the messages hold no blobs of their own.
    diffs : iterable of list of float32 arrays, optional
        The gradients of each layer's arrays, of the same shapes, to be written with them.

    Raises
    ------
    OSError
        When the file cannot be written; an old one stays as it was.
    ValueError
        When gradients are given and are not of the shapes of the arrays.
    """
    with atomic_write(path) as file:
        text = name.encode()
        file.write(wire.key_and_length(1, len(text)) + text)
        each = repeat(None) if diffs is None else iter(diffs)
        for layer, arrays in layers:
            gradients = next(each, [])
            shapes = [array.shape for array in arrays]
            if gradients is not None and [diff.shape for diff in gradients] != shapes:
                raise ValueError(
                    f'{path}: layer "{layer.name}": not written, its gradients have the shapes '
                    f"{[diff.shape for diff in gradients]}, its parameters {shapes}"
                )
            before, behind = _settings(layer)
            parts: list[bytes | memoryview] = [before]
            for array, gradient in zip(arrays, gradients or repeat(None)):
                parts += blobs.encode(_NET_LAYOUTS[100].blobs, array, gradient)
            parts.append(behind)
            file.write(wire.key_and_length(100, sum(map(len, parts))))
            for part in parts:
                file.write(part)


def _settings(layer: Message) -> tuple[bytes, bytes]:
    """Encode a layer, cut where its blobs belong: protobuf writes fields in order of number."""
    raw = layer.SerializeToString()
    for part in wire.fields(raw, 0, len(raw)):
        if part.number > _NET_LAYOUTS[100].blobs:
            return raw[: part.key], raw[part.key :]
    return raw, b""
