"""Caffe nets without Caffe: pycaffe's own interface, on NumPy and on PyTorch.

A script changes its import and nothing else: ``from lbpmap import caffe``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from lbpmap.caffe import (
    absent,
    coord_map,
    draw,
    engine,
    io,
    layers,
    net_spec,
    params,
    proto,
    pycaffe,
)
from lbpmap.caffe.classifier import Classifier
from lbpmap.caffe.detector import Detector
from lbpmap.caffe.engine import (
    set_device,
    set_engine,
    set_mixed_precision,
    set_mode_cpu,
    set_mode_gpu,
    set_tf32,
)
from lbpmap.caffe.formats.messages import TEST, TRAIN
from lbpmap.caffe.installing import install
from lbpmap.caffe.layers.shapes import LAYER_TYPES
from lbpmap.caffe.net import Net
from lbpmap.caffe.net_spec import NetSpec, to_proto
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
from lbpmap.caffe.python_layer import Layer
from lbpmap.caffe.seed import set_random_seed
from lbpmap.caffe.solver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)

_caffe = pycaffe  # the name of pycaffe's compiled part
__version__ = "1.0.0"  # the Caffe that is reproduced: what scripts test for

__all__ = [
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Classifier",
    "Detector",
    "Layer",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "SGDSolver",
    "Timer",
    "__version__",
    "coord_map",
    "draw",
    "get_solver",
    "has_nccl",
    "init_log",
    "install",
    "io",
    "layer_type_list",
    "layers",
    "log",
    "net_spec",
    "params",
    "proto",
    "pycaffe",
    "set_device",
    "set_engine",
    "set_mixed_precision",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "set_tf32",
    "solver_count",
    "solver_rank",
    "to_proto",
]


def layer_type_list() -> list[str]:
    """Return the names of the layer types that run, in alphabetical order."""
    if engine.is_real():
        return list(engine.real_caffe().hello["layer_types"])
    return sorted(LAYER_TYPES)


if not TYPE_CHECKING:  # for a type checker, what is absent is simply not there

    def __getattr__(name: str) -> NoReturn:
        raise absent.error(name)
