"""Where the pixels of one blob lie on another: pycaffe's `coord_map`, for crops in nets like FCN.

A map (axis, scale, shift) takes a place x of one blob to scale * x + shift of the other, on every
axis behind `axis`; an axis of None stands for all. A layer's window of `extent` pixels has its
centre (extent - 1) / 2 behind its first pixel, so that a convolution's place x is that of its
bottom's stride * x + (extent - 1) / 2 - pad.

The arithmetic was held against pycaffe's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lbpmap._arrays import F64
from lbpmap.caffe.formats.messages import Message
from lbpmap.caffe.net_spec import Function, Top, in_order, layer_function

# Layers whose tops lie where their bottoms do.
PASS_THROUGH_LAYERS = (
    ["AbsVal", "BNLL", "BatchNorm", "Bias", "Clip", "Dropout", "ELU", "Eltwise", "Exp", "LRN"]
    + ["Log", "MVN", "PReLU", "Power", "ReLU", "Scale", "Sigmoid", "Split", "Swish", "TanH"]
    + ["Threshold"]
)


class UndefinedMapException(Exception):
    """A layer mixes places, or its settings do not tell where they lie."""


class AxisMismatchException(Exception):
    """Two layers of a path work on different axes."""


class CoordMap(NamedTuple):
    """Where the places of one blob lie on another.

    Attributes
    ----------
    axis : int or None
        The axis before the first spatial one.
    scale, shift : float64 arrays
        Of one number, or of one for each spatial axis.
    """

    axis: int | None
    scale: F64
    shift: F64


_IDENTITY = CoordMap(None, np.ones(()), np.zeros(()))


def coord_map(fn: Function) -> CoordMap:
    """Return the map from a layer's top to its first bottom.

    Raises
    ------
    UndefinedMapException
        When the type has none, such as InnerProduct, or the size of its windows is not told.
    """
    if fn.type_name in PASS_THROUGH_LAYERS:
        return _IDENTITY
    if fn.type_name not in _MAPS:
        raise UndefinedMapException(f"a layer of type {fn.type_name} keeps no places")
    return _MAPS[fn.type_name](fn.settings())


def compose(first: CoordMap, then: CoordMap) -> CoordMap:
    """Return the map that applies one map, and another to what comes out.

    Raises
    ------
    AxisMismatchException
        When they are of different axes.

    Examples
    --------
    >>> double = CoordMap(1, np.array([2.0]), np.array([0.5]))
    >>> axis, scale, shift = compose(double, double)
    >>> axis, scale.tolist(), shift.tolist()
    (1, [4.0], [1.5])
    """
    if None not in (first.axis, then.axis) and first.axis != then.axis:
        raise AxisMismatchException(
            f"layers work on the axes behind {first.axis} and behind {then.axis}; crop them apart"
        )
    axis = then.axis if first.axis is None else first.axis
    return CoordMap(axis, then.scale * first.scale, then.scale * first.shift + then.shift)


def inverse(forward: CoordMap) -> CoordMap:
    """Return the map in the other direction."""
    return CoordMap(forward.axis, 1 / forward.scale, -forward.shift / forward.scale)


def coord_map_from_to(top_from: Top, top_to: Top) -> CoordMap:
    """Return where the places of one blob lie on another.

    The way leads through the last blob that both were made from; of several ways to it that do not
    agree, that through the last bottom counts.

    Parameters
    ----------
    top_from, top_to : Top
        Blobs of one `NetSpec`.

    Raises
    ------
    AxisMismatchException
        When layers between them work on different axes.
    ValueError
        When a layer between them has a stride or a window of 0.
    RuntimeError
        When they have nothing in common, or a layer between them keeps no places.

    Examples
    --------
    >>> from lbpmap.caffe import layers as L
    >>> data = L.Input()
    >>> axis, scale, shift = coord_map_from_to(L.Pooling(data, kernel_size=2, stride=2), data)
    >>> axis, scale.tolist(), shift.tolist()
    (1, [2.0], [0.5])
    """
    to_ancestors = _maps_to_ancestors(top_to)
    for blob, way in _maps_to_ancestors(top_from).items():
        if blob in to_ancestors:
            return compose(way, inverse(to_ancestors[blob]))
    raise RuntimeError(
        "coord_map_from_to: no blob that both were made from by layers that keep places, such as "
        "Convolution, Pooling, Deconvolution, Crop and Eltwise"
    )


def crop(top_from: Top, top_to: Top) -> Any:
    """Return a Crop layer that cuts one blob to the size and place of another.

    Parameters
    ----------
    top_from, top_to : Top
        Blobs of one scale; `top_from` reaches at least as far as `top_to`.

    Returns
    -------
    Top

    Raises
    ------
    ValueError
        When their scales differ, or the offset is negative or no whole number of pixels.
    AxisMismatchException, RuntimeError
        As `coord_map_from_to`.

    Examples
    --------
    >>> from lbpmap.caffe import layers as L
    >>> data = L.Input()
    >>> crop(L.Convolution(data, num_output=2, kernel_size=3, pad=100), data).fn.params
    {'crop_param': {'axis': 2, 'offset': [99]}}
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    offset = np.atleast_1d(-shift)
    if np.any(scale != 1):
        wrong = f"the scales differ by {scale.tolist()}, they must be equal"
    elif np.any(offset < 0):
        wrong = f"the offset is {offset.tolist()}, it must not be negative: pad the blob more"
    elif np.any(offset != np.rint(offset)):
        wrong = f"the offset is {offset.tolist()}, it must be whole: change a pad or a kernel by 1"
    else:
        place = {"axis": 2 if axis is None else axis + 1, "offset": offset.astype(int).tolist()}
        return layer_function("Crop")(top_from, top_to, crop_param=place)
    raise ValueError(f"coord_map.crop: {wrong}")


def _maps_to_ancestors(top: Top) -> dict[Top, CoordMap]:
    """Return the maps from a blob to itself and to all that it was made from, nearest first."""
    found = {top: _IDENTITY}
    for fn in reversed(in_order([top])):
        for made in [top for top in fn.tops if top in found]:
            try:
                way = compose(found[made], coord_map(fn))
            except UndefinedMapException:
                continue
            # A Crop takes no more than its size from its second bottom.
            for bottom in reversed(fn.inputs[:1] if fn.type_name == "Crop" else fn.inputs):
                found.setdefault(bottom, way)
    return found


def _convolution(layer: Message) -> CoordMap:
    p = layer.convolution_param
    extent = _numbers(p, "dilation", 1) * (_numbers(p, "kernel", None) - 1) + 1
    return _windows(p.axis, extent, _numbers(p, "stride", 1), _numbers(p, "pad", 0))


def _deconvolution(layer: Message) -> CoordMap:
    return inverse(_convolution(layer))


def _pooling(layer: Message) -> CoordMap:
    p = layer.pooling_param
    if p.global_pooling:
        raise UndefinedMapException("global pooling keeps no places")
    return _windows(1, _numbers(p, "kernel", None), _numbers(p, "stride", 1), _numbers(p, "pad", 0))


def _crop(layer: Message) -> CoordMap:
    p = layer.crop_param
    return CoordMap(p.axis - 1, np.ones(()), np.array(list(p.offset) or [0], np.float64))


def _windows(axis: int, extent: F64, stride: F64, pad: F64) -> CoordMap:
    if np.any(stride < 1) or np.any(extent < 1):
        raise ValueError(
            f"coord_map: stride is {stride.tolist()} and the window {extent.tolist()}, both must "
            f"be at least 1 (the _h and _w forms go together)"
        )
    return CoordMap(axis, stride, (extent - 1) / 2 - pad)


def _numbers(p: Message, name: str, default: int | None) -> F64:
    """Read a number, one for each axis, or the `_h` and `_w` forms."""
    fields = p.DESCRIPTOR.fields_by_name
    high, wide = f"{name}_h", f"{name}_w"
    if high in fields and (p.HasField(high) or p.HasField(wide)):
        return np.array([getattr(p, high), getattr(p, wide)], np.float64)
    field = "kernel_size" if name == "kernel" else name
    value = getattr(p, field)
    several = hasattr(value, "extend")
    values = list(value) if several else [value] * p.HasField(field)
    if not values and default is None:
        raise UndefinedMapException(f"{field} is missing")
    return np.array(values or [default], np.float64)


_MAPS: dict[str, Callable[[Message], CoordMap]] = {
    "Convolution": _convolution,
    "Crop": _crop,
    "Deconvolution": _deconvolution,
    "Im2col": _convolution,
    "Pooling": _pooling,
}
