"""Layer types as tables: what shapes come out, and how they are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from lbpmap.caffe import absent

if not TYPE_CHECKING:  # for a type checker, what is absent is simply not there

    def __getattr__(name: str) -> NoReturn:
        # In pycaffe, layers.Convolution and its like write a layer's text.
        raise absent.error("caffe.layers", name, {name} if name[:1].isupper() else ())
