"""How a run learns: a net's solver.prototxt, what is given otherwise, and what the run decides."""

from __future__ import annotations

import os

from lbpmap._files import PathLike
from lbpmap.caffe import policies, updates
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import Message
from lbpmap.caffe.located import located

# What a solver's text would say in vain, as a run has its own, and where that is said.
_THE_RUNS = {
    "net": "--from",
    "net_param": "--from",
    "train_net": "--from",
    "train_net_param": "--from",
    "test_net": "--from",
    "test_net_param": "--from",
    "train_state": "--from",
    "test_state": "--from",
    "weights": "--weights",
    "random_seed": "--seed",
    "test_iter": "the validation part, whole",
    "test_interval": "--validate-every",
    "snapshot": "--snapshot-every",
    "snapshot_prefix": "-o",
}


def run_solver(path: PathLike, text: str, *, seed: int, iter_size: int | None) -> Message:
    """Read a solver, and put in what is given otherwise.

    Parameters
    ----------
    path : str or path
        Of the net's solver.prototxt; what a run decides itself is left out of it.
    text : str
        Fields in the form of a prototxt, in place of the file's.
    seed : int
    iter_size : int, optional
        Batches an iteration, in place of the solver's.

    Returns
    -------
    SolverParameter

    Raises
    ------
    OSError, ValueError
        When the file cannot be read, a type or policy is none, or `text` says what a run
        decides.
    """
    param = prototxt.read_solver(path)
    given = prototxt.parse(text, type(param)(), "--solver-text")
    for field, _ in given.ListFields():
        if field.name in _THE_RUNS:
            raise ValueError(
                f"--solver-text: {field.name} is the run's own ({_THE_RUNS[field.name]}); leave it "
                f"out"
            )
        param.ClearField(field.name)  # a list replaces a list
    param.MergeFrom(given)
    for name in _THE_RUNS:
        param.ClearField(name)
    param.net = "train_val.prototxt"
    param.test_iter.append(1)
    param.test_interval = 2**31 - 1
    param.random_seed = seed
    param.iter_size = iter_size or param.iter_size
    with located(os.fspath(path)):
        updates.check(param)
        policies.check(param)
    return param
