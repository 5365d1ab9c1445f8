"""What data layers make: shapes that the first item of a source tells, or the prototxt itself.

A source stays the layer's state: planned again, a layer has the shapes of its last batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbpmap.caffe.blob import Shape
from lbpmap.caffe.data import hdf5_source, image_source, lmdb_source, memory
from lbpmap.caffe.data.source import Source
from lbpmap.caffe.formats.messages import FillerParameter, Message
from lbpmap.caffe.layers import fillers
from lbpmap.caffe.layers.plan import Plan


def data(layer: Message, bottoms: list[Shape], state: Source | None) -> Plan:
    """Pictures and labels of an LMDB."""
    return _of(state or lmdb_source.open_source(layer))


def image_data(layer: Message, bottoms: list[Shape], state: Source | None) -> Plan:
    """Pictures and labels of a list of files."""
    return _of(state or image_source.open_source(layer))


def hdf5_data(layer: Message, bottoms: list[Shape], state: Source | None) -> Plan:
    """Rows of HDF5 datasets, one a top."""
    return _of(state or hdf5_source.Rows(layer))


def memory_data(layer: Message, bottoms: list[Shape], state: Source | None) -> Plan:
    """Arrays of the user, set later."""
    return _of(state or memory.Memory(layer))


def _of(source: Source) -> Plan:
    return Plan(source.tops, state=source)


def hdf5_output(layer: Message, bottoms: list[Shape]) -> Plan:
    """No tops; two bottoms with as many items each."""
    if not layer.hdf5_output_param.file_name:
        raise ValueError("hdf5_output_param needs a file_name")
    counts = [shape[0] if shape else 1 for shape in bottoms]
    if counts[0] != counts[1]:
        raise ValueError(f"its bottoms hold {counts[0]} and {counts[1]} items; they must agree")
    if max(map(len, bottoms)) > 4:
        raise ValueError(f"bottoms of shapes {bottoms}; at most 4 axes can be written")
    return Plan(())


def dummy_data(layer: Message, bottoms: list[Shape]) -> Plan:
    """Shapes of `dummy_data_param`, one for all tops or one each, new or old style."""
    p = layer.dummy_data_param
    old = [list(getattr(p, name)) for name in ("num", "channels", "height", "width")]
    tops = len(layer.top)
    if any(old) and len(p.shape):
        raise ValueError("dummy_data_param has shape and num, channels, height, width; use one way")
    counts = {len(values) for values in old} if any(old) else {len(p.shape)}
    if not counts <= {1, tops}:
        raise ValueError(
            f"dummy_data_param gives {' or '.join(map(str, sorted(counts)))} shape(s) for {tops} "
            f"top(s); give one for all or one each, with all of num, channels, height, width"
        )
    if any(old):
        shapes = [tuple(_of_top(values, i) for values in old) for i in range(tops)]
    else:
        shapes = [tuple(_of_top(p.shape, i).dim) for i in range(tops)]
    if len(p.data_filler) not in (0, 1, tops):
        raise ValueError(
            f"{len(p.data_filler)} data_filler for {tops} top(s); give none, one, or one each"
        )
    for shape, filler in zip(shapes, dummy_fillers(layer)):
        if min(shape, default=1) < 1:
            raise ValueError(f"shape {shape} has no elements; dimensions count from 1")
        fillers.check(shape, filler)
    return Plan(tuple(shapes))


def dummy_fillers(layer: Message) -> list[Message]:
    """Return the filler of each top of a DummyData layer; zeros where none is given."""
    given = list(layer.dummy_data_param.data_filler) or [FillerParameter()]
    return [_of_top(given, i) for i in range(len(layer.top))]


def _of_top(values: Sequence[Any], i: int) -> Any:
    """Return what is given for top `i`: one for all, or one each."""
    return values[0] if len(values) == 1 else values[i]
