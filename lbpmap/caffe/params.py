"""pycaffe's `caffe.params`, the numbers of settings that have names: ``P.Pooling.MAX``.

Examples
--------
>>> from lbpmap.caffe import params as P
>>> P.Pooling.MAX, P.Pooling.AVE, P.Eltwise.SUM, P.Data.LMDB
(0, 1, 1, 1)
"""

from __future__ import annotations

from types import SimpleNamespace

from lbpmap.caffe.formats.messages import MESSAGES


class Names(SimpleNamespace):
    """The names that the settings of one type of layer know, each with its number."""

    def __getattr__(self, name: str) -> int:
        known = ", ".join(sorted(vars(self))) or "none"
        raise AttributeError(f'caffe.params: no name "{name}" here; known are {known}')


def __getattr__(name: str) -> Names:
    message = MESSAGES.get(f"{name}Parameter")
    if message is None:
        raise AttributeError(f'caffe.params: no settings "{name}"; try Pooling, Eltwise or Data')
    return Names(
        **{
            value.name: value.number
            for enum in message.DESCRIPTOR.enum_types
            for value in enum.values
        }
    )
