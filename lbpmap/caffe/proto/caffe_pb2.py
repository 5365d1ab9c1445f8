"""Caffe's message classes under the name that scripts import: `caffe.proto.caffe_pb2`.

Examples
--------
>>> from lbpmap.caffe.proto import caffe_pb2
>>> net = caffe_pb2.NetParameter(name="tiny")
>>> caffe_pb2.PoolingParameter.AVE, caffe_pb2.TEST
(1, 1)
"""

from __future__ import annotations

from typing import Any

from lbpmap.caffe.formats import messages as _messages

_NAMES: dict[str, Any] = {
    **_messages.MESSAGES,
    **_messages.ENUMS,
    **{name: number for enum in _messages.ENUMS.values() for name, number in enum.items()},
    "DESCRIPTOR": _messages.BlobShape.DESCRIPTOR.file,
}

__all__ = sorted(_NAMES)

# So that messages can be pickled, and their classes say where they are found.
for _message in _messages.MESSAGES.values():
    _message.__module__ = __name__


def __getattr__(name: str) -> Any:
    try:
        return _NAMES[name]
    except KeyError:
        raise AttributeError(f"caffe_pb2 has no message or enum {name!r}") from None


def __dir__() -> list[str]:
    return sorted(_NAMES)
