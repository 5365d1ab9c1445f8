"""Walking protobuf's binary form field by field, without protobuf: every length is checked.

The encoding is the one of protobuf's documentation: a field is a varint key (number << 3 | kind)
and a value, which is a varint (kind 0), eight bytes (1), a length and so many bytes (2), or four
bytes (5).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple, Union

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
_FIXED = {EIGHT_BYTES: 8, FOUR_BYTES: 4}

Buffer = Union[bytes, mmap.mmap]


class WireError(ValueError):
    """Bytes that are no protobuf message; `offset` is where."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"byte {offset}: {reason}")
        self.offset = offset


class Field(NamedTuple):
    """One field: its number and kind, where its key and its value start, where the value ends."""

    number: int
    kind: int
    key: int
    start: int
    end: int


def varint(buffer: Buffer, at: int, end: int) -> tuple[int, int]:
    """Return the unsigned varint that starts at `at`, and the offset behind it."""
    value = 0
    for i in range(10):
        if at + i >= end:
            raise WireError(at, f"a number was expected, but the data end at byte {end}")
        byte = buffer[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value & (2**64 - 1), at + i + 1
    raise WireError(at, "a number longer than ten bytes")


def field_at(buffer: Buffer, at: int, end: int) -> Field:
    """Return the field whose key stands at `at`, in a message that ends at `end`.

    Raises
    ------
    WireError
        When it is malformed or reaches beyond `end`.
    """
    key, value = varint(buffer, at, end)
    number, kind = key >> 3, key & 7
    if number == 0 or number >= 2**29:
        raise WireError(at, f"field number {number} does not exist in protobuf")
    if kind == VARINT:
        _, stop = varint(buffer, value, end)
    elif kind == BYTES:
        length, value = varint(buffer, value, end)
        stop = value + length
    elif kind in _FIXED:
        stop = value + _FIXED[kind]
    else:
        raise WireError(at, f"field {number} is of kind {kind}, which Caffe does not use")
    if stop > end:
        raise WireError(
            at, f"field {number} claims {stop - value} bytes, only {end - value} are left"
        )
    return Field(number, kind, at, value, stop)


def fields(buffer: Buffer, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message in `buffer[start:end]`, values unread."""
    while start < end:
        field = field_at(buffer, start, end)
        yield field
        start = field.end


def encode_varint(value: int) -> bytes:
    """Encode an unsigned number.

    Examples
    --------
    >>> encode_varint(300).hex()
    'ac02'
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def key_and_length(number: int, length: int) -> bytes:
    """Encode what stands before `length` bytes of field `number`."""
    return encode_varint(number << 3 | BYTES) + encode_varint(length)
