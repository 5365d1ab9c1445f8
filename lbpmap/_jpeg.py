"""JPEGs quickly, where simplejpeg is installed; what is unusual or damaged is left to Pillow.

simplejpeg and Pillow are both libjpeg-turbo and give the same pixels (tests/test_decode.py), but
Pillow takes twice as long for a face: it reads a header in Python, decodes through its own buffers
and hands pixels over by two copies. So `read_plain` reads files with nothing to interpret, and
`decode` gives the pixels of those whose header Pillow has read. Both return None where the answer
is Pillow's to give: which file is refused, and how that is said, depends on Pillow alone.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any, BinaryIO

import numpy as np
from PIL import features

from lbpmap._arrays import U8

# Bytes in which the header of a file without pictures or profiles inside ends; a whole face.
_HEADER = 1 << 16
# No JPEG is larger than its pixels as RGB and this, unless it carries something else.
_METADATA = 1 << 20

_START = b"\xff\xd8"
_FRAMES = frozenset((0xC0, 0xC1, 0xC2))  # Huffman-coded: baseline, extended, progressive
_TABLES = frozenset((0xC4, 0xDB, 0xDD))  # DHT, DQT, DRI
_ANNOTATIONS = frozenset((0xE0, 0xEE, 0xFE))  # APP0 (JFIF), APP14 (Adobe), a comment
_SCAN = 0xDA


def read_plain(file: BinaryIO, most_pixels: int) -> U8 | None:
    """Read a JPEG that carries nothing but its picture: neither EXIF nor XMP, so it is upright."""
    head = file.read(_HEADER)
    size = _plain_size(head)
    if size is None or size[0] * size[1] > most_pixels:
        return None
    return _decode(head, file, size)


def decode(file: BinaryIO, size: tuple[int, int]) -> U8 | None:
    """Decode a JPEG that holds a grey or RGB picture of `size` (H, W), as it is stored."""
    file.seek(0)
    return _decode(file.read(_HEADER), file, size)


def _decode(head: bytes, file: BinaryIO, size: tuple[int, int]) -> U8 | None:
    module = _simplejpeg()
    if module is None:
        return None
    most = 3 * size[0] * size[1] + _METADATA
    data = head if len(head) < _HEADER else head + file.read(most + 1 - len(head))
    if len(data) > most:
        return None
    pixels = np.empty((*size, 3), np.uint8)
    try:
        # A buffer of the size that is expected: the file cannot ask for more memory.
        decoded = module.decode_jpeg(data, "RGB", buffer=pixels, strict=True)
    except Exception:  # also what libjpeg only warns of: a damaged file
        return None
    return pixels if decoded.shape == pixels.shape else None


@cache
def _simplejpeg() -> Any:
    """Give the module; None where it is missing, or where Pillow's JPEG library is another."""
    try:
        return import_module("simplejpeg") if features.check("libjpeg_turbo") else None
    except ImportError:
        return None


def _plain_size(head: bytes) -> tuple[int, int] | None:
    """Give the (H, W) that a header states, if it is whole, well-formed and without metadata."""
    if not head.startswith(_START) or _simplejpeg() is None:
        return None
    size = None
    at = len(_START)
    while at + 4 <= len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if marker == _SCAN:
            return size
        if marker in _FRAMES:
            segment = head[at + 4 : at + 2 + length]
            if size or len(segment) < 6 or segment[0] != 8 or segment[5] not in (1, 3):
                return None
            size = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
        elif marker not in _TABLES and marker not in _ANNOTATIONS:
            return None
        at += 2 + length
    return None
