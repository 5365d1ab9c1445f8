"""What pycaffe has and this package has not: asked for by name, it is named in the error."""

from __future__ import annotations

from collections.abc import Collection

MODULE = frozenset(
    {
        "AdaDeltaSolver",
        "AdaGradSolver",
        "AdamSolver",
        "Detector",
        "Layer",
        "NCCL",
        "NesterovSolver",
        "NetSpec",
        "RMSPropSolver",
        "SGDSolver",
        "Timer",
        "coord_map",
        "detector",
        "draw",
        "get_solver",
        "has_nccl",
        "init_log",
        "log",
        "net_spec",
        "params",
        "pycaffe",
        "set_device",
        "set_multiprocess",
        "set_solver_count",
        "set_solver_rank",
        "solver_count",
        "solver_rank",
        "to_proto",
    }
)
NET = frozenset(
    {
        "after_backward",
        "after_forward",
        "backward",
        "before_backward",
        "before_forward",
        "blob_loss_weights",
        "forward_backward_all",
        "load_hdf5",
        "save_hdf5",
        "set_input_arrays",
    }
)


def error(owner: str, name: str, names: Collection[str]) -> AttributeError:
    """Return the error for an attribute that `owner` has not; `names` are those of pycaffe.

    Examples
    --------
    >>> error("Net", "backward", NET)
    AttributeError('Net.backward: not in this version of lbpmap.caffe, which runs nets forward on \
the CPU')
    """
    if name in names:
        return AttributeError(
            f"{owner}.{name}: not in this version of lbpmap.caffe, which runs nets forward on the "
            f"CPU"
        )
    return AttributeError(f"{owner} has no attribute {name!r}")
