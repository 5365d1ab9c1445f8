"""Arrays as Caffe's messages and back: `caffe.io`'s functions for BlobProto and Datum."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lbpmap._arrays import F64, U8, Array
from lbpmap.caffe.data import decoding
from lbpmap.caffe.formats.messages import BlobProto, BlobProtoVector, Datum, Message

_LEGACY_DIMS = ("num", "channels", "height", "width")


def blobproto_to_array(blob: Message, return_diff: bool = False) -> F64:
    """Return the values of a BlobProto, or its gradients, in the blob's shape.

    For a file, `lbpmap.caffe.formats.weights.read_blob` is faster and checks more.

    Raises
    ------
    ValueError
        When it does not hold as many values as its shape needs.
    """
    single, double = (blob.diff, blob.double_diff) if return_diff else (blob.data, blob.double_data)
    with np.errstate(invalid="ignore"):  # a NaN may be a signalling one
        values: F64 = np.array(double or single, np.float64)
    if any(blob.HasField(name) for name in _LEGACY_DIMS):
        shape = tuple(getattr(blob, name) for name in _LEGACY_DIMS)
    else:
        shape = tuple(blob.shape.dim)
    return _shaped(values, shape, "blobproto_to_array")


def array_to_blobproto(arr: Array, diff: Array | None = None) -> Message:
    """Return a BlobProto of an array's shape and values.

    Examples
    --------
    >>> blob = array_to_blobproto(np.array([[1, 2, 3]]))
    >>> blobproto_to_array(blob)
    array([[1., 2., 3.]])
    """
    blob = BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).ravel())
    if diff is not None:
        blob.diff.extend(diff.astype(float).ravel())
    return blob


def arraylist_to_blobprotovector_str(arraylist: Sequence[Array]) -> bytes:
    """Return the bytes of a BlobProtoVector that holds the arrays."""
    vector = BlobProtoVector(blobs=[array_to_blobproto(array) for array in arraylist])
    return bytes(vector.SerializeToString())


def blobprotovector_str_to_arraylist(data: bytes) -> list[F64]:
    """Return the arrays that the bytes of a BlobProtoVector hold."""
    return [blobproto_to_array(blob) for blob in BlobProtoVector.FromString(data).blobs]


def array_to_datum(arr: Array, label: int | None = None) -> Message:
    r"""Return a Datum of an array (C, H, W): bytes for uint8, numbers otherwise.

    Raises
    ------
    ValueError
        When the array is not three-dimensional.

    Examples
    --------
    >>> datum = array_to_datum(np.zeros((3, 1, 2), np.uint8), label=4)
    >>> datum.channels, datum.data, datum.label
    (3, b'\x00\x00\x00\x00\x00\x00', 4)
    """
    if arr.ndim != 3:
        raise ValueError(f"array_to_datum: arr must be (C, H, W), got shape {arr.shape}")
    channels, height, width = arr.shape
    datum = Datum(channels=channels, height=height, width=width)
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).ravel())
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: Message) -> U8 | F64:
    """Return the values of a Datum as an array (C, H, W), uint8 where it holds bytes.

    A compressed picture, PNG or JPEG, is decoded as Caffe's Data layer does: channels B, G, R, or
    grey alone. pycaffe itself returns an error there.

    Raises
    ------
    ValueError
        When it does not hold as many values as its shape needs, or a damaged picture.
    """
    if datum.encoded:
        decoded = decoding.decode(datum.data, "datum_to_array: the encoded picture")
        picture: U8 = np.ascontiguousarray(decoded.transpose(2, 0, 1))
        return picture
    shape = (datum.channels, datum.height, datum.width)
    if datum.data:
        return _shaped(np.frombuffer(datum.data, np.uint8).copy(), shape, "datum_to_array")
    return _shaped(np.array(datum.float_data, np.float64), shape, "datum_to_array")


def _shaped(values: Array, shape: tuple[int, ...], caller: str) -> Array:
    if min(shape, default=1) < 0 or values.size != math.prod(shape):
        raise ValueError(f"{caller}: {values.size} values do not fill the shape {shape}")
    return values.reshape(shape)
