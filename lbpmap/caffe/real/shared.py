"""Arrays in memory that this process shares with the worker, and what has to be copied when.

An array that was handed out counts as held while it, or any view of it, is alive: before a call the
worker takes its values, and after it shows them there again. One that nobody holds any more is
taken once more, because something may have been written into it, and then given back.
"""

from __future__ import annotations

import mmap
import os
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from lbpmap._arrays import F32


@dataclass
class _Region:
    """A shared array, as the worker knows it."""

    held: weakref.ref[F32]
    # Whether it was handed out since the worker last took it.
    pending: bool = True


class SharedArrays:
    """What the worker shares with this process."""

    def __init__(self) -> None:
        self._regions: dict[int, _Region] = {}
        self._chunks: dict[int, mmap.mmap] = {}

    def arrays(self, described: list[dict[str, Any]], descriptors: list[int]) -> list[F32]:
        """Return arrays that the worker described; a descriptor comes with each new chunk."""
        for each in described:
            if each["new"]:
                descriptor = descriptors.pop(0)
                self._chunks[each["chunk"]] = mmap.mmap(descriptor, each["bytes"])
                os.close(descriptor)
        return [self._array(each) for each in described]

    def _array(self, described: dict[str, Any]) -> F32:
        number = described["region"]
        region = self._regions.get(number)
        whole = region.held() if region else None
        if region is None or whole is None:
            whole = np.ndarray(
                (described["count"],),
                np.float32,
                self._chunks[described["chunk"]],
                described["offset"],
            )
            region = self._regions[number] = _Region(weakref.ref(whole))
        region.pending = True
        return whole.reshape(described["shape"])

    def before(self) -> dict[str, list[int]]:
        """Return the numbers of the arrays to take before a call, to show after it, to drop."""
        held = [number for number, each in self._regions.items() if each.held() is not None]
        written = [number for number, each in self._regions.items() if each.pending]
        took = sorted({*held, *written})
        dropped = [number for number in self._regions if number not in took]
        for number in dropped:
            del self._regions[number]
        return {"in": took, "out": held, "drop": dropped}

    def took(self, numbers: list[int]) -> None:
        """Note that the worker took arrays."""
        for number in numbers:
            if number in self._regions:
                self._regions[number].pending = False

    def lose(self, numbers: list[int]) -> None:
        """Leave arrays alone whose net is gone; who holds one keeps the values that it has."""
        for number in numbers:
            self._regions.pop(number, None)

    def forget(self, chunks: list[int]) -> None:
        """Let go of memory that the worker gave back."""
        for chunk in chunks:
            self._chunks.pop(chunk, None)
