"""`install`: this package under the name `caffe`, for scripts that cannot be edited."""

from __future__ import annotations

import importlib
import sys

_PACKAGE = "lbpmap.caffe"
# Names that scripts import -> our modules. `_caffe` is pycaffe's compiled part.
_MODULES = {
    "caffe": _PACKAGE,
    "caffe._caffe": f"{_PACKAGE}.pycaffe",
    **{
        f"caffe.{name}": f"{_PACKAGE}.{name}"
        for name in (
            "classifier",
            "coord_map",
            "detector",
            "draw",
            "io",
            "layers",
            "net_spec",
            "params",
            "proto",
            "proto.caffe_pb2",
            "pycaffe",
        )
    },
}


def install(*, force: bool = False) -> None:
    """Let ``import caffe`` give this package, in this process, from now on.

    Python layers that import `caffe` work then, too. Calling it again changes nothing.

    Parameters
    ----------
    force : bool, default False
        Put this package in the place of a real Caffe that was imported before; what others took
        from that stays real.

    Raises
    ------
    RuntimeError
        When a real Caffe was imported before. An empty package of that name, such as PyPI's, does
        not count.

    Examples
    --------
    >>> from lbpmap.caffe import install
    >>> install()
    >>> import caffe
    >>> caffe.Net.__module__
    'lbpmap.caffe.net'
    """
    there = sys.modules.get("caffe")
    is_ours = getattr(there, "__name__", None) == _PACKAGE
    if hasattr(there, "Net") and not is_ours and not force:
        raise RuntimeError(
            f"caffe.install: a real Caffe ({getattr(there, '__file__', None)}) is imported "
            f"already; call install before it, or install(force=True)"
        )
    ours = {name: importlib.import_module(module) for name, module in _MODULES.items()}
    if not is_ours:
        for name in [name for name in sys.modules if name.startswith("caffe.")]:
            del sys.modules[name]
    sys.modules.update(ours)
