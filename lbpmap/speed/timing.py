"""Timing calls in turns: on a machine that others share, only ratios within one run mean anything.

The yardstick is a copy: it moves as many bytes as the call reads and writes together, from and to
memory that is already mapped, and nothing that computes over the same bytes can be much faster.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np

Call = Callable[[], object]

# A turn lasts this many seconds where calls are shorter, so that reading the clock costs nothing.
_TURN = 5e-4
# A call this long is not repeated before it is timed: its own first part warms what it needs.
_LONG = 5e-2
_FEWEST_TURNS = 3
_MOST_CALLS = 2000

COPY = "copy: "

# Half a page and a line of the cache, in bytes.
_APART = 2048 + 64


def in_turns(
    calls: Mapping[str, Call], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Time calls in turns and give the median of each.

    Every round gives each call one turn: one call to bring its memory back into the caches, then as
    many as fill half a millisecond. A call leaves when it has had its share of the time, but not
    before three turns.

    Parameters
    ----------
    calls : mapping of name to callable
    seconds : float
        To spend on all of them together; slow ones may need more.
    clock : callable
        Gives seconds.

    Returns
    -------
    dict of name to float
        Seconds a call.

    Examples
    --------
    >>> sorted(in_turns({"one": lambda: 1, "two": lambda: 2}, 0.01))
    ['one', 'two']
    """
    repeats, turns, share = {}, {}, seconds / max(len(calls), 1)
    for name, call in calls.items():
        call()  # compiles, fills caches, touches pages
        once = _timed(call, 1, clock)
        repeats[name] = int(min(max(_TURN / max(once, 1e-9), 1), _MOST_CALLS))
        turns[name] = [once] if once > _LONG else []
    spent = dict.fromkeys(calls, 0.0)
    waiting = list(calls)
    while waiting:
        for name in waiting:
            if repeats[name] > 1 or not turns[name] or turns[name][0] < _LONG:
                calls[name]()
            took = _timed(calls[name], repeats[name], clock)
            turns[name].append(took / repeats[name])
            spent[name] += took
        waiting = [
            name for name in calls if len(turns[name]) < _FEWEST_TURNS or spent[name] < share
        ]
    return {name: statistics.median(times) for name, times in turns.items()}


def _timed(call: Call, repeats: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(repeats):
        call()
    return clock() - start


def copies(total: int) -> dict[str, Call]:
    """Give the ways to copy that move `total` bytes, half read and half written.

    Parameters
    ----------
    total : int
        Bytes that a case reads and writes.

    Returns
    -------
    dict of name to callable
        Names begin with `COPY`; the fastest is the ceiling.
    """
    size = max(total // 2, 1)
    # Not zeros: unwritten pages of zeros all lie in one page of memory, and cost nothing to read.
    # And not both at the start of a page: loads would wait for stores that lie 4096 bytes apart.
    source, target = np.full(size, 1, np.uint8), np.full(size + _APART, 2, np.uint8)[_APART:]
    to, of = target.ctypes.data, source.ctypes.data

    def move() -> object:
        # The closure keeps both arrays alive; `memmove` itself only has their addresses.
        return source is target or ctypes.memmove(to, of, size)

    return {
        COPY + "NumPy": lambda: np.copyto(target, source),
        COPY + "memmove": move,
    }


def ceiling(medians: Mapping[str, float]) -> float:
    """Give the seconds of the fastest copy among the results of `in_turns`."""
    return min(seconds for name, seconds in medians.items() if name.startswith(COPY))
