"""What pycaffe has and this package has not: asked for by name, it is named in the error."""

from __future__ import annotations

from collections.abc import Collection

MODULE = frozenset(
    {
        "Detector",
        "NCCL",
        "NetSpec",
        "Timer",
        "coord_map",
        "detector",
        "draw",
        "has_nccl",
        "init_log",
        "log",
        "net_spec",
        "params",
        "pycaffe",
        "set_multiprocess",
        "set_solver_count",
        "set_solver_rank",
        "solver_count",
        "solver_rank",
        "to_proto",
    }
)


def error(owner: str, name: str, names: Collection[str]) -> AttributeError:
    """Return the error for an attribute that `owner` has not; `names` are those of pycaffe.

    Examples
    --------
    >>> error("caffe", "NetSpec", MODULE)
    AttributeError('caffe.NetSpec: not in this version of lbpmap.caffe')
    """
    if name in names:
        return AttributeError(f"{owner}.{name}: not in this version of lbpmap.caffe")
    return AttributeError(f"{owner} has no attribute {name!r}")
