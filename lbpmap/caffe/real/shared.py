"""Arrays in memory that this process shares with the worker, and what has to be copied when.

An array that was handed out counts as held while it, or any view of it, is alive: before a call the
worker takes its values, and after it shows them there again. One that nobody holds any more is
taken once more, because something may have been written into it, and then given back.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections import deque
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
        self._dead: deque[int] = deque()

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
            memory = self._chunks[described["chunk"]]
            whole = np.ndarray((described["count"],), np.float32, memory, described["offset"])
            dead = self._dead
            held = weakref.ref(whole, lambda _: dead.append(number))
            region = self._regions[number] = _Region(held)
        region.pending = True
        return whole.reshape(described["shape"])

    def before(self, *, all_held: bool) -> dict[str, list[int]]:
        """Return the numbers of the arrays to take before a call, to show after it, and to drop.

        Parameters
        ----------
        all_held : bool
            False before a call that changes nothing in Caffe: what is held can wait.
        """
        took, dropped = [], []
        for _ in range(len(self._dead)):
            number = self._dead.popleft()
            region = self._regions.get(number)
            if region is not None and region.held() is None:
                dropped.append(number)
                took += [number] * region.pending
                del self._regions[number]
        held = list(self._regions) if all_held else []
        for number in held:
            self._regions[number].pending = False
        return {"in": took + held, "out": held, "drop": dropped}

    def forget(self, chunks: list[int]) -> None:
        """Let go of memory that the worker gave back."""
        for chunk in chunks:
            self._chunks.pop(chunk, None)
