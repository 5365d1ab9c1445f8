"""The ImageData layer's source: picture files that a list names, each with its label."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from lbpmap import pictures
from lbpmap._files import read_bytes
from lbpmap.caffe.data import decoding, transform
from lbpmap.caffe.data.batches import Item, Pictures
from lbpmap.caffe.data.source import positive
from lbpmap.caffe.formats.messages import Message

# The list of ImageNet's 1.3 million pictures takes 40 MB.
MAX_LIST_BYTES = 2**30
# No picture that `lbpmap.pictures` decodes takes more bytes than its pixels do in 8-bit RGBA.
_MAX_PICTURE_BYTES = 4 * pictures.MAX_PIXELS


@dataclass
class _Files:
    """The pictures of a list, round and round."""

    names: list[str]
    labels: list[int]
    color: bool
    size: tuple[int, int] | None
    shuffle: bool
    rand_skip: int
    order: list[int] = field(default_factory=list)
    at: int = 0

    def read(self, i: int) -> Item:
        name = self.names[i]
        raw = read_bytes(name, _MAX_PICTURE_BYTES, "a picture")
        shown = name if name.isprintable() else ascii(name)
        picture = decoding.decode(raw, shown, self.color)
        if self.size is not None:
            picture = decoding.resize(picture, *self.size)
        return Item(picture.transpose(2, 0, 1), self.labels[i], shown)

    def take(self, rng: np.random.Generator) -> Item:
        if not self.order:
            self._start(rng)
        item = self.read(self.order[self.at])
        self.at += 1
        if self.at == len(self.order):
            self.at = 0
            if self.shuffle:
                rng.shuffle(self.order)
        return item

    def _start(self, rng: np.random.Generator) -> None:
        self.order = list(range(len(self.names)))
        if self.shuffle:
            rng.shuffle(self.order)
        if self.rand_skip:
            self.at = int(rng.integers(self.rand_skip))


def open_source(layer: Message) -> Pictures:
    """Read the list of an ImageData layer.

    Raises
    ------
    OSError, ValueError
        When the list or its first picture cannot be read, or a setting is wrong.
    """
    p = layer.image_data_param
    if (p.new_height == 0) != (p.new_width == 0):
        raise ValueError("new_height and new_width must be given both or not at all")
    if p.new_height * p.new_width > pictures.MAX_PIXELS:
        raise ValueError(
            f"new_height x new_width is {p.new_height} x {p.new_width}, more than "
            f"{pictures.MAX_PIXELS} pixels"
        )
    batch = positive(p.batch_size, "batch_size")
    entries = read_list(p.source)
    if p.rand_skip > len(entries):
        raise ValueError(
            f"rand_skip is {p.rand_skip}, but {p.source} lists {len(entries)} picture(s)"
        )
    files = _Files(
        [p.root_folder + name for name, _ in entries],
        [label for _, label in entries],
        p.is_color,
        (p.new_height, p.new_width) if p.new_height else None,
        p.shuffle,
        p.rand_skip,
    )
    return Pictures(files, files.read(0), transform.of(layer), batch, labelled=True)


def read_list(path: str) -> list[tuple[str, int]]:
    """Read lines of a name and a whole number; the last space stands between them.

    Raises
    ------
    OSError, ValueError
        When the file cannot be read, is empty, or holds another line.
    """
    raw = read_bytes(path, MAX_LIST_BYTES, "a list of pictures")
    entries = []
    for i, line in enumerate(raw.decode(errors="surrogateescape").split("\n"), 1):
        if not line.strip():
            continue
        match = re.fullmatch(r"(.+?)\s+([+-]?\d{1,10})\s*", line)
        if match is None:
            raise ValueError(f'{path}: line {i}: expected "picture label", got {line[:80]!a}')
        entries.append((match[1], int(match[2])))
    if not entries:
        raise ValueError(f'{path}: no pictures listed; expected lines of "picture label"')
    return entries
