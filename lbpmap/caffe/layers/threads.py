"""Parts of a layer's work on threads, each with matrix products of its own.

A BLAS that is given one product after another starts and joins its threads at each, and between
them they wait busily (OpenBLAS: for a tenth of a second), in the way of whoever else has work.
So the threads are ours, and while they work BLAS uses one a product.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any

import threadpoolctl  # type: ignore[import-untyped]

# Handing work to a thread takes some 50 us, in which one does this much of the simplest kind.
_WORTH = 2**18


@lru_cache(maxsize=1)
def _blas() -> Any:
    """Find the BLAS libraries that are loaded: NumPy's is."""
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


@lru_cache(maxsize=1)
def _pool() -> tuple[ThreadPoolExecutor | None, int]:
    """Start as many threads as BLAS would use, one fewer: the caller works too."""
    count = 1
    if hasattr(threadpoolctl, "ThreadpoolController"):  # from its version 3 on
        numbers = [each.num_threads for each in _blas().lib_controllers]
        count = max([n for n in numbers if n], default=1)
    return (ThreadPoolExecutor(count - 1, "lbpmap") if count > 1 else None), count


# Whose parts the threads do: BLAS can be held to one thread for one caller at a time.
_turn = threading.Lock()


def _begin_anew() -> None:
    """Forget the threads and whose turn it was: a forked process has neither from its parent."""
    global _turn
    _pool.cache_clear()
    _turn = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def in_parts(
    part: Callable[[int, int], object], count: int, step: int = 1, *, work: int = _WORTH
) -> None:
    """Call `part(first, last)` on the parts of a range, on threads, and wait for all of them.

    While another thread does so, the range is one part.

    Parameters
    ----------
    part : callable
        What it calls should release the GIL.
    count : int
        The range is 0..count.
    step : int, default 1
        Parts begin at multiples of it.
    work : int
        How many numbers are handled, or products made: too little is not worth the threads.
    """
    turn = _turn
    if work < _WORTH or not turn.acquire(blocking=False):
        part(0, count)
        return
    try:
        pool, parts = _pool()
        units = -(-count // step)
        parts = min(parts, units)
        if pool is None or parts < 2:
            part(0, count)
            return
        edges = [min(count, units * i // parts * step) for i in range(parts + 1)]
        with _blas().limit(limits=1):
            jobs = [pool.submit(part, first, last) for first, last in zip(edges[1:], edges[2:])]
            try:
                part(edges[0], edges[1])
            finally:
                wait(jobs)
        for job in jobs:
            job.result()
    finally:
        turn.release()
