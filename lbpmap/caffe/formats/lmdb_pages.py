"""Walking the pages of an LMDB file, without LMDB: every offset is checked.

LMDB's own library maps the file and trusts it: of 240 copies of a database with a few bytes
changed or cut off, 7 ended the process. It also refuses to open a file twice, which a net for
training and one for testing do.

A file is a row of pages, numbered from 0. The first two are heads, of which the one with the higher
transaction number holds; it names the root of a tree of branch and leaf pages. A page begins with
16 bytes: its number, two unused bytes, what it is, and where its table of nodes ends; the table
gives where in the page each node lies. A node is a size or a page number, flags, the length of its
key, the key, and in a leaf the value, or the number of the first of the pages that hold it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import NamedTuple

_PAGE = struct.Struct("<Q2xHH2x")  # number, flags, end of the table of nodes
_NODE = struct.Struct("<HHHH")  # low and high half of the size or page, flags, length of the key
_PAGE_NUMBER = struct.Struct("<Q")
# Behind the 16 bytes of a page: magic, version, page size, and of the main tree flags, depth, root;
# the last page in use and the number of the transaction.
_HEAD = struct.Struct("<16xII16xI44x4xHH32xQQQ")
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _OVERFLOW = 1, 2, 4
_IN_OTHER_PAGES = 1  # flag of a node whose value is on overflow pages
_MAX_DEPTH = 32  # LMDB's own limit of a cursor
_PAGE_SIZES = [2**i for i in range(8, 17)]
_NO_ROOT = 2**64 - 1


class PageError(ValueError):
    """A file that is no LMDB, or a damaged one."""


class Record(NamedTuple):
    """A record: its key, and where in the file its value lies."""

    key: bytes
    start: int
    end: int


class _Tree(NamedTuple):
    """The main tree of a file: size of a page, depth, number of its root, pages in the file."""

    page_size: int
    depth: int
    root: int
    pages: int


def records(buffer: mmap.mmap) -> Iterator[Record]:
    """Yield the records of an LMDB file in the order of their keys.

    Parameters
    ----------
    buffer : mmap.mmap
        The whole file, of little-endian 64-bit form, as all machines in common use write it.

    Raises
    ------
    PageError
        When the file is no LMDB or a damaged one; records before the damage have been given.
    """
    tree = _tree(buffer)
    if tree.root != _NO_ROOT:
        # A damaged tree may lead back to a page and never end.
        yield from _below(buffer, tree, tree.root, tree.depth, iter(range(tree.pages)))


def _tree(buffer: mmap.mmap) -> _Tree:
    found = []
    for page_size in _PAGE_SIZES:
        for at in (0, page_size):
            if at + _HEAD.size <= len(buffer):
                magic, version, size, *rest = _HEAD.unpack_from(buffer, at)
                if magic == _MAGIC and version == _VERSION and size == page_size:
                    found.append((rest[-1], size, rest))
    if not found:
        raise PageError("no head of an LMDB in it")
    _, page_size, (flags, depth, root, last, _) = max(found)
    # A last page that is free again may never have been written.
    pages = min(last + 1, len(buffer) // page_size)
    if flags:
        raise PageError(f"its tree has flags {flags}, which no database of Caffe has")
    if root != _NO_ROOT and not 1 <= depth <= _MAX_DEPTH:
        raise PageError(f"a tree of depth {depth}")
    return _Tree(page_size, depth, root, pages)


def _below(
    buffer: mmap.mmap, tree: _Tree, number: int, depth: int, budget: Iterator[int]
) -> Iterator[Record]:
    """Yield the records below one page; `budget` has an element for each page still to visit."""
    if next(budget, None) is None:
        raise PageError("more pages in its tree than in the file")
    wanted = _LEAF if depth == 1 else _BRANCH
    flags, end = _page(buffer, tree, number)
    if not flags & wanted or end < _PAGE.size or end > tree.page_size:
        raise PageError(f"page {number} is not what the tree needs there")
    start = number * tree.page_size
    stop = start + tree.page_size
    for (offset,) in struct.iter_unpack("<H", buffer[start + _PAGE.size : start + end - end % 2]):
        at = start + offset
        if at + _NODE.size > stop:
            raise PageError(f"a node beyond the end of page {number}")
        low, high, node_flags, key_size = _NODE.unpack_from(buffer, at)
        key_start = at + _NODE.size
        value = key_start + key_size
        if value > stop:
            raise PageError(f"a key beyond the end of page {number}")
        if wanted == _BRANCH:
            child = low | high << 16 | node_flags << 32
            yield from _below(buffer, tree, child, depth - 1, budget)
            continue
        size = low | high << 16
        if node_flags & ~_IN_OTHER_PAGES:
            raise PageError(f"page {number} holds a database inside the database")
        if node_flags:
            if value + _PAGE_NUMBER.size > stop:
                raise PageError(f"a node beyond the end of page {number}")
            (first,) = _PAGE_NUMBER.unpack_from(buffer, value)
            if not _page(buffer, tree, first)[0] & _OVERFLOW:
                raise PageError(f"page {first} is not what page {number} says")
            value = first * tree.page_size + _PAGE.size
            stop_of_value = tree.pages * tree.page_size
        else:
            stop_of_value = stop
        if value + size > stop_of_value:
            raise PageError(f"a value of {size} bytes beyond the end of page {number}")
        yield Record(buffer[key_start : key_start + key_size], value, value + size)


def _page(buffer: mmap.mmap, tree: _Tree, number: int) -> tuple[int, int]:
    """Return the flags of a page, and where its table of nodes ends."""
    if not 2 <= number < tree.pages:
        raise PageError(f"page {number} is not in the file, which has {tree.pages}")
    own, flags, end = _PAGE.unpack_from(buffer, number * tree.page_size)
    if own != number:
        raise PageError(f"page {number} has the number {own}")
    return flags, end
