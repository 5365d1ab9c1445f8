"""Changes of files that keep their form, so that a reader gets further than the first bytes.

Text is changed token by token, protobuf's binary form field by field with lengths made right again,
and anything else by numbers that mean something, written where others stood.
"""

from __future__ import annotations

import re
import struct
from random import Random

from lbpmap.caffe.formats import wire
from lbpmap.caffe.formats.messages import MESSAGES
from lbpmap.caffe.layers.shapes import LAYER_TYPES

NUMBERS = (0, 1, 2, 3, 4, 7, 255, 256, 2**15, 2**16, 2**20, 2**31 - 1, 2**31, 2**32 - 1, 2**62,
           2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[\w.+-]+|\s+|.', re.DOTALL)
_SPELLED = (*map(str, NUMBERS), "-1", "-2147483648", str(-(2**63)), "9" * 5000, "1e30", "1e-50",
            "nan", "inf", "-inf", "0x7fffffff", "0777", "1.5", "true", "false", "1f", "\u0661",
            "TRAIN", "TEST")  # fmt: skip
_QUOTED = ('""', '"\\n"', '"\\x1b[2J"', '"\\xff"', '"\\u2028"', "'a' \"b\"", '"/dev/zero"', '"."',
           f'"{"x" * 3000}"', '"../x"', '"os"', '"Popen"', '"\\000"', '"d"', '"y"')  # fmt: skip
_MARKS = ("{", "}", "<", ">", "[", "]", ":", ",", ";", "#", "\n", "-", '"', "'", "\\", "\0", "=")
_FIELDS = sorted(
    {field.name for message in MESSAGES.values() for field in message.DESCRIPTOR.fields}
)
_WORDS = (*_FIELDS, *(f'"{name}"' for name in sorted(LAYER_TYPES)))
# Words of the other text files: model.toml and tables.
_KEYS = ("labels", "input", "size", "crop", "files", "weights", "representation", "points:",
         "radius:", "# name:", "sha256:", "[input]", "[[files]]", "released", "exact")  # fmt: skip


def text(raw: bytes, rng: Random) -> bytes:
    """Change tokens: numbers, names, marks; repeat, drop and move runs of them."""
    tokens = _TOKEN.findall(raw.decode("utf-8", "surrogateescape"))
    for _ in range(1 + rng.getrandbits(2)):
        at = rng.randrange(len(tokens)) if tokens else 0
        end = min(len(tokens), at + 1 + rng.randrange(1 + rng.getrandbits(5)))
        kind = rng.randrange(8)
        if kind == 0:
            del tokens[at:end]
        elif kind == 1:
            tokens[end:end] = tokens[at:end] * (1 + rng.getrandbits(2))
        elif kind == 2 and tokens:
            to = rng.randrange(len(tokens))
            tokens[at:end], tokens[to:to] = [], tokens[at:end]
        elif kind == 3:
            tokens[at:at] = [rng.choice((_MARKS, _WORDS, _KEYS, _SPELLED)[rng.randrange(4)])]
        else:
            _replace(tokens, at, rng)
    return "".join(tokens).encode("utf-8", "surrogateescape")


def _replace(tokens: list[str], at: int, rng: Random) -> None:
    """Put a token of the same kind in the place of the next one that is not white space."""
    at = next((i for i in range(at, len(tokens)) if not tokens[i].isspace()), len(tokens))
    if at == len(tokens):
        return
    token = tokens[at]
    if token[0] == '"':
        tokens[at] = rng.choice(_QUOTED if rng.getrandbits(1) else _WORDS[len(_FIELDS) :])
    elif token[0] in "-.0123456789":
        tokens[at] = rng.choice(_SPELLED)
    elif token[0].isalpha():
        tokens[at] = rng.choice(_WORDS if rng.getrandbits(2) else _SPELLED + _KEYS)
    else:
        tokens[at] = rng.choice(_MARKS)


def binary(raw: bytes, rng: Random) -> bytes:
    """Change a field of a message, or of one inside it; lengths around it are made right again."""
    try:
        parts = [
            (f.number, f.kind, raw[f.start : f.end], raw[f.key : f.end])
            for f in wire.fields(raw, 0, len(raw))
        ]
    except wire.WireError:
        return numbers(raw, rng)
    if not parts:
        return numbers(raw or b"\0", rng)
    at = rng.randrange(len(parts))
    number, kind, value, whole = parts[at]
    encoded = [part[3] for part in parts]
    change = rng.randrange(10)
    if change < 4 and kind == wire.BYTES and value:
        inner = binary(value, rng)
        encoded[at] = wire.key_and_length(number, len(inner)) + inner
    elif change == 4:
        del encoded[at]
    elif change == 5:
        encoded[at:at] = [encoded[rng.randrange(len(encoded))]] * (1 + rng.getrandbits(3))
    elif change == 6:
        number = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 50, 100, number + 1, 2**29 - 1, 2**29))
        encoded[at] = wire.encode_varint(number << 3 | kind) + whole[len(_key(whole)) :]
    elif change == 7:
        kind = rng.randrange(8)
        encoded[at] = wire.encode_varint(number << 3 | kind) + whole[len(_key(whole)) :]
    elif change == 8:
        # A number, or a length that is not true.
        value = b"" if kind == wire.VARINT else value
        encoded[at] = _key(whole) + wire.encode_varint(rng.choice(NUMBERS)) + value
    else:
        encoded[at] = _key(whole) + numbers(whole[len(_key(whole)) :], rng)
    return b"".join(encoded)


def _key(whole: bytes) -> bytes:
    return whole[: wire.varint(whole, 0, len(whole))[1]]


def numbers(raw: bytes, rng: Random) -> bytes:
    """Write numbers of 1 to 8 bytes over others; copy, cut and seldom move."""
    out = bytearray(raw)
    for _ in range(1 + rng.getrandbits(2)):
        if not out:
            return bytes(rng.getrandbits(8) for _ in range(8))
        at = rng.randrange(len(out))
        kind = rng.randrange(8)
        if kind < 3:
            width, form = rng.choice(((1, "B"), (2, "<H"), (4, "<I"), (8, "<Q")))
            near = int.from_bytes(out[at : at + width], "little") + rng.choice((-8, -1, 1, 8))
            value = rng.choice((*NUMBERS, len(out), near, near)) % 256**width
            out[at : at + width] = struct.pack(form, value)
        elif kind < 5:
            out[at] ^= 1 << rng.getrandbits(3) if rng.getrandbits(1) else rng.getrandbits(8)
        elif kind == 5:
            length = 1 + rng.getrandbits(5)
            start = rng.randrange(len(out))
            part = out[start : start + length]
            out[at : at + len(part)] = part
        elif kind == 6 and not rng.getrandbits(2):
            del out[at:]
        elif kind == 7 and not rng.getrandbits(2):
            out[at:at] = out[at : at + 1 + rng.getrandbits(4)]
    return bytes(out)
