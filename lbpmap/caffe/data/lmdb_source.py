"""The Data layer's source: the Datums of an LMDB in the order of their keys."""

from __future__ import annotations

import math

import numpy as np

from lbpmap._arrays import Array
from lbpmap.caffe.data import decoding, transform
from lbpmap.caffe.data.batches import Item, Pictures
from lbpmap.caffe.data.source import positive
from lbpmap.caffe.formats import database
from lbpmap.caffe.formats.messages import MESSAGES, Message

_LMDB: int = MESSAGES["DataParameter"].LMDB


class _Datums:
    """The pictures of a database, round and round."""

    def __init__(self, records: database.Records, color: bool | None) -> None:
        self._records = records
        self._color = color

    def first(self) -> Item:
        """Return the picture that comes next, without going on."""
        key, datum = self._records.current()
        name = f"{self._records.path}: record {key}"
        return Item(_values(datum, name, self._color), datum.label, name)

    def take(self, rng: np.random.Generator) -> Item:
        item = self.first()
        self._records.advance()
        return item


def open_source(layer: Message) -> Pictures:
    """Open the database of a Data layer.

    `rand_skip` and `force_encoded_color` have no effect, as in Caffe 1.0.

    Raises
    ------
    OSError, ValueError
        When it cannot be read, its first Datum is damaged, or a setting is wrong.
    """
    p, t = layer.data_param, layer.transform_param
    if p.backend != _LMDB:
        raise database.leveldb_error(p.source)
    batch = positive(p.batch_size, "batch_size")
    if t.force_color and t.force_gray:
        raise ValueError("force_color and force_gray are both set; give one of them")
    color = True if t.force_color else False if t.force_gray else None
    datums = _Datums(database.Records(p.source), color)
    return Pictures(datums, datums.first(), transform.of(layer), batch, len(layer.top) > 1)


def _values(datum: Message, name: str, color: bool | None) -> Array:
    """Return the picture of a Datum as uint8 or float32 (C, H, W)."""
    if datum.encoded:
        return decoding.decode(datum.data, name, color).transpose(2, 0, 1)
    shape = (datum.channels, datum.height, datum.width)
    values = (
        np.frombuffer(datum.data, np.uint8)
        if datum.data
        else np.array(datum.float_data, np.float32)
    )
    if min(shape) < 1 or values.size != math.prod(shape):
        raise ValueError(f"{name}: {values.size} values do not fill its shape {shape}")
    return values.reshape(shape)
