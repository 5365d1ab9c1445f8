"""What pycaffe keeps for a whole process: its log, a timer, how many solvers work together."""

from __future__ import annotations

import logging
import sys
import time

_log = logging.getLogger("lbpmap.caffe")
# The levels of Caffe's log, from 0.
_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


class Timer:
    """A stopwatch, as pycaffe's.

    Examples
    --------
    >>> timer = Timer()
    >>> timer.start()
    >>> timer.stop()
    >>> timer.ms >= 0
    True
    """

    def __init__(self) -> None:
        self._started: float | None = None
        self._ms = 0.0

    def start(self) -> None:
        """Start, unless it runs."""
        if self._started is None:
            self._started = _now()

    def stop(self) -> None:
        """Stop, if it runs."""
        if self._started is not None:
            self._ms = (_now() - self._started) * 1000
            self._started = None

    @property
    def ms(self) -> float:
        """Milliseconds between the last start and stop; asking stops it, as in Caffe."""
        self.stop()
        return self._ms


def _now() -> float:
    """Return the time in seconds, when a GPU has done what it was given."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def init_log(level: int = 0, stderr: bool = False) -> None:
    """Choose what the package tells: of messages of the logger ``lbpmap.caffe``.

    Parameters
    ----------
    level : int, default 0
        The least that is told: 0 everything, 1 warnings, 2 errors, 3 fatal errors.
    stderr : bool, default False
        Write messages to standard error, unless `logging` was told already where to write.

    Raises
    ------
    ValueError
        When there is no such level.
    """
    if level not in range(len(_LEVELS)):
        raise ValueError(f"caffe.init_log: level must be from 0 to 3, got {level}")
    _log.setLevel(_LEVELS[level])
    if stderr and not _log.hasHandlers():
        _log.addHandler(logging.StreamHandler())


def log(message: str) -> None:
    """Tell a message in the log, at level 0."""
    _log.info("%s", message)


def set_solver_count(count: int) -> None:
    """Accept what a script for several GPUs says of one.

    Raises
    ------
    ValueError
        When `count` is not 1: a net learns on one device.
    """
    if count != 1:
        raise ValueError(f"caffe.set_solver_count: a net learns on one device, got {count}; set 1")


def set_solver_rank(rank: int) -> None:
    """Accept the number of the one solver.

    Raises
    ------
    ValueError
        When `rank` is not 0.
    """
    if rank != 0:
        raise ValueError(f"caffe.set_solver_rank: the one solver has rank 0, got {rank}")


def set_multiprocess(multiprocess: bool) -> None:
    """Accept whether several processes train together; with one solver nothing depends on it."""


def solver_count() -> int:
    """Return 1: a net learns on one device."""
    return 1


def solver_rank() -> int:
    """Return 0, the number of the one solver."""
    return 0


def has_nccl() -> bool:
    """Return False: nothing here joins several GPUs."""
    return False
