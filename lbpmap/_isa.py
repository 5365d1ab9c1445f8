"""Which row of the C core's dispatch table runs: chosen once, visible, forcible."""

from __future__ import annotations

import os
from types import TracebackType

from lbpmap._version import __version__

try:
    from lbpmap import _kernels
except ImportError as error:
    raise ImportError(
        f"lbpmap: the compiled part is missing ({error}): in a checkout, build it with "
        f"'pip install -e .', or run Python in another folder"
    ) from error

_COMPILED = _kernels.instruction_sets()
_AVAILABLE = [name for name, supported in _COMPILED if supported]


def _index(name: str, argument: str) -> int:
    if name not in _AVAILABLE:
        raise ValueError(
            f"{argument}: no instruction set {name!r} here; available: {', '.join(_AVAILABLE)}"
        )
    return [compiled for compiled, _ in _COMPILED].index(name)


_chosen: int | None = None


def chosen() -> int:
    """Index of the row to pass to a kernel; the first call makes the choice."""
    global _chosen
    if _chosen is None:
        forced = os.environ.get("LBPMAP_ISA")
        _chosen = _index(forced or _AVAILABLE[-1], "LBPMAP_ISA")
    return _chosen


class use_isa:
    """Choose the instruction set of the kernels, for good or for a block.

    Parameters
    ----------
    name : str
        One of `build_info()["available"]`.

    Raises
    ------
    ValueError
        When this build or this machine does not have it.

    Notes
    -----
    The choice holds for the whole process, all threads. All instruction sets give the same bytes.
    The environment variable ``LBPMAP_ISA`` makes the first choice.

    Examples
    --------
    >>> with use_isa("serial"):
    ...     build_info()["chosen"]
    'serial'
    """

    def __init__(self, name: str) -> None:
        global _chosen
        self._before = chosen()
        _chosen = _index(name, "use_isa")

    def __enter__(self) -> use_isa:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global _chosen
        _chosen = self._before


def build_info() -> dict[str, object]:
    """Say what this build is.

    Returns
    -------
    dict
        ``version`` and ``compiler`` (str); ``compiled`` and ``available`` (lists of instruction
        sets, slowest first: in the build, and of those on this machine); ``chosen`` (str).
    """
    return {
        "version": __version__,
        "compiler": _kernels.compiler(),
        "compiled": [name for name, _ in _COMPILED],
        "available": list(_AVAILABLE),
        "chosen": _COMPILED[chosen()][0],
    }
