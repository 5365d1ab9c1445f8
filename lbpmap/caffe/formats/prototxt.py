"""Caffe's text files: read with errors that say where, brought to the newest form, written back."""

from __future__ import annotations

import difflib
import os
import re
from typing import Any

from google.protobuf import text_format

from lbpmap._files import read_bytes
from lbpmap.caffe.formats.messages import Message, NetParameter
from lbpmap.caffe.formats.upgrade import upgrade

# The largest nets in public use (Inception, ResNet-152) have prototxts of a few hundred KB.
MAX_TEXT_BYTES = 64 * 2**20

_NO_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "(\w+)"')
_NO_VALUE = re.compile(r'Enum type "([\w.]+)" has no value named (\w+)')


def read_net(path: str | os.PathLike[str]) -> Message:
    """Read a net's prototxt, of any age, as a NetParameter in the newest form.

    Parameters
    ----------
    path : str or path
        File of `layer {}` or old `layers {}` text, with inputs declared in any of Caffe's ways.

    Returns
    -------
    NetParameter
        `layer` only, with type names, `param` and Input layers.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        One line that names the file, and line and column where the text is wrong.
    """
    net = read_text(path, NetParameter())
    try:
        upgrade(net)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return net


def read_text(path: str | os.PathLike[str], message: Message) -> Message:
    """Parse a text file into `message` and return it; errors are those of `read_net`."""
    raw = read_bytes(path, MAX_TEXT_BYTES, "a prototxt")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: byte {error.start} is no text; a prototxt is expected here, not a caffemodel"
        ) from None
    return parse(text, message, str(path))


def parse(text: str, message: Message, source: str = "prototxt") -> Message:
    """Parse text into `message` and return it.

    Parameters
    ----------
    text : str
        Protobuf text format.
    message : message
        An empty message of the expected kind.
    source : str
        The name that errors begin with.

    Raises
    ------
    ValueError
        ``SOURCE:LINE:COLUMN: what is wrong``, with the closest known name.

    Examples
    --------
    >>> from lbpmap.caffe.formats.messages import NetParameter
    >>> parse('layer { nmae: "conv1" }', NetParameter(), "net.prototxt")
    Traceback (most recent call last):
    ValueError: net.prototxt:1:9: message type "caffe.LayerParameter" has no field named "nmae"; \
did you mean "name"?
    """
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise ValueError(_located(error, message, source)) from None
    missing = message.FindInitializationErrors()
    if missing:
        raise ValueError(f"{source}: {missing[0]} is missing, and required")
    return message


def format_text(message: Message) -> str:
    """Write a message as prototxt text.

    Examples
    --------
    >>> from lbpmap.caffe.formats.messages import NetParameter
    >>> print(format_text(NetParameter(name="tiny")), end="")
    name: "tiny"
    """
    return str(text_format.MessageToString(message))


def _located(error: text_format.ParseError, message: Message, source: str) -> str:
    """One line: file, line, column, what was unknown, the nearest name that is known."""
    # protobuf puts "LINE:COLUMN : " and, at times, the whole line of the file before the reason.
    reason = re.sub(r"^\d+:\d+ : ", "", str(error))
    tail = re.search(
        r"(Enum type|Message type|Expected|Value out|String missing|Couldn't).*$", reason
    )
    reason = (tail.group() if tail else reason).rstrip(".")
    for pattern in (_NO_FIELD, _NO_VALUE):
        match = pattern.search(reason)
        if match:
            close = difflib.get_close_matches(match[2], _known(message.DESCRIPTOR, match[1]), 1)
            reason += f'; did you mean "{close[0]}"?' if close else ""
    reason = reason[:1].lower() + reason[1:]
    return f"{source}:{error.GetLine()}:{error.GetColumn()}: {reason}"


def _known(descriptor: Any, full_name: str) -> list[str]:
    """Names of the fields of a message, or of the values of an enum, of Caffe's schema."""
    pool = descriptor.file.pool
    try:
        return [field.name for field in pool.FindMessageTypeByName(full_name).fields]
    except KeyError:
        return [value.name for value in pool.FindEnumTypeByName(full_name).values]
