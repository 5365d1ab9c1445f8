"""Errors that say where: the file and the layer before what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lbpmap.caffe.python_layer import raised_by_user


@contextmanager
def located(where: str) -> Iterator[None]:
    """Put `where` before the text of a ValueError; what a Python layer raises passes as it is.

    Examples
    --------
    >>> with located("net.prototxt"):
    ...     raise ValueError("no layers")
    Traceback (most recent call last):
    ValueError: net.prototxt: no layers
    """
    try:
        yield
    except ValueError as error:
        if raised_by_user(error):
            raise
        raise ValueError(f"{where}: {error}") from None
