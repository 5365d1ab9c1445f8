"""Caffe's text files: read with errors that say where, brought to the newest form, written back."""

from __future__ import annotations

import difflib
import os
import re
from typing import Any

from google.protobuf import text_format

from lbpmap._errors import one_line
from lbpmap._files import read_bytes
from lbpmap.caffe.formats.messages import Message, NetParameter, SolverParameter
from lbpmap.caffe.formats.upgrade import upgrade, upgrade_solver

# The largest nets in public use (Inception, ResNet-152) have prototxts of a few hundred KB.
MAX_TEXT_BYTES = 4 * 2**20
# Some 10,000 messages and 50,000 marks stand in those. A message takes 2 KB, though "layer{}" are
# 7 bytes, so that these numbers keep any text's memory near 100 MB.
MAX_MESSAGES = 2**15
MAX_MARKS = 2**18

_NO_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "(\w+)"')
_NO_VALUE = re.compile(r'Enum type "([\w.]+)" has no value named (\w+)')
# Comments may be in any encoding, and often are; a string, which may hold "#", is kept.
_COMMENT = re.compile(rb"""("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|#[^\n]*""")

# A text's kind, and what it is when it begins with fields of the other one.
_MISTAKEN = {
    NetParameter: (SolverParameter, "a net's prototxt is expected, this is a solver's"),
    SolverParameter: (NetParameter, "a solver's prototxt is expected, this is a net's"),
}


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
        raise ValueError(f"{path}: {one_line(error)}") from None
    return net


def read_solver(path: str | os.PathLike[str]) -> Message:
    """Read a solver's prototxt, of any age, as a SolverParameter in the newest form.

    Nets that it names stay unread, and nets that stand in it stay as they are.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    SolverParameter
        With `type`, whether the file has that or the older `solver_type`.

    Raises
    ------
    OSError, ValueError
        As `read_net`.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "solver.prototxt")
    ...     with open(path, "w") as file:
    ...         _ = file.write('net: "train_val.prototxt" solver_type: ADAGRAD')
    ...     read_solver(path).type
    'AdaGrad'
    """
    solver = read_text(path, SolverParameter())
    try:
        upgrade_solver(solver)
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(error)}") from None
    return solver


def read_text(path: str | os.PathLike[str], message: Message) -> Message:
    """Parse a text file into `message` and return it; errors are those of `read_net`."""
    raw = read_bytes(path, MAX_TEXT_BYTES, "a prototxt")
    _check_counts(path, raw)
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        raw = _COMMENT.sub(lambda found: found[1] or b" " * len(found[0]), raw)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: byte {error.start} is no text; a prototxt is expected here, not a caffemodel"
        ) from None
    return parse(text, message, str(path))


def _check_counts(path: str | os.PathLike[str], raw: bytes) -> None:
    """Refuse a text whose parts would take far more memory than itself."""
    messages = sum(map(raw.count, (b"{", b"<")))
    marks = sum(map(raw.count, (b":", b",", b'"', b"'")))
    for count, most, what in (
        (messages, MAX_MESSAGES, "messages"),
        (marks, MAX_MARKS, "marks between its values"),
    ):
        if count > most:
            raise ValueError(
                f"{path}: {count} {what}, more than a prototxt has (at most {most}); is this one?"
            )


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
        r"(Enum type|Message type|Expected|Value out|String missing|Couldn't|Invalid).*$", reason
    )
    reason = (tail.group() if tail else reason).rstrip(".")
    # A hostile word may be as long as the file.
    reason = re.sub(r"(\S{60})\S{20,}", r"\1...", reason)
    for pattern in (_NO_FIELD, _NO_VALUE):
        match = pattern.search(reason)
        if match and _is_mistaken(message, match[1], match[2]):
            reason += f"; {_MISTAKEN[type(message)][1]}"
        elif match:
            close = difflib.get_close_matches(match[2], _known(message.DESCRIPTOR, match[1]), 1)
            reason += f'; did you mean "{close[0]}"?' if close else ""
    reason = reason[:1].lower() + reason[1:]
    return f"{source}:{error.GetLine()}:{error.GetColumn()}: {one_line(reason)}"


def _is_mistaken(message: Message, full_name: str, field: str) -> bool:
    """Whether a field that `message` itself lacks tells that the text is of another kind.

    `type` tells nothing: it is a layer's too, whose `layer {` may just have been forgotten.
    """
    if full_name != message.DESCRIPTOR.full_name or type(message) not in _MISTAKEN:
        return False
    other = _MISTAKEN[type(message)][0].DESCRIPTOR.fields_by_name
    return field in other and field != "type"


def _known(descriptor: Any, full_name: str) -> list[str]:
    """Names of the fields of a message, or of the values of an enum, of Caffe's schema."""
    pool = descriptor.file.pool
    try:
        return [field.name for field in pool.FindMessageTypeByName(full_name).fields]
    except KeyError:
        return [value.name for value in pool.FindEnumTypeByName(full_name).values]
