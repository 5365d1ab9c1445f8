"""The classes and calls of pycaffe under its module's own name, `caffe.pycaffe`."""

from __future__ import annotations

from lbpmap.caffe.blob import Blob
from lbpmap.caffe.engine import set_device, set_mode_cpu, set_mode_gpu
from lbpmap.caffe.net import Net
from lbpmap.caffe.process import (
    Timer,
    has_nccl,
    init_log,
    log,
    set_multiprocess,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from lbpmap.caffe.python_layer import BlobVec, Layer
from lbpmap.caffe.seed import set_random_seed
from lbpmap.caffe.solver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    Solver,
    get_solver,
)

__all__ = [
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Blob",
    "BlobVec",
    "Layer",
    "NesterovSolver",
    "Net",
    "RMSPropSolver",
    "SGDSolver",
    "Solver",
    "Timer",
    "get_solver",
    "has_nccl",
    "init_log",
    "log",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
]
