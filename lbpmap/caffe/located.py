"""Errors that say where: the file and the layer before what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lbpmap._errors import one_line
from lbpmap.caffe.python_layer import raised_by_user


@contextmanager
def located(where: str) -> Iterator[None]:
    """Put `where` before the text of a ValueError or OSError, which becomes one line.

    What a Python layer raises passes as it is.

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
        raise ValueError(f"{where}: {one_line(error)}") from None
    except OSError as error:
        if raised_by_user(error):
            raise
        # A file that the net names is missing or cannot be read.
        raise type(error)(f"{where}: {one_line(error)}") from None
