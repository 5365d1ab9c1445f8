"""A job: take steps of a solver of `random_nets`, and hand its snapshot over."""

import os

import numpy as np


def started(caffe, live, given):
    solver = caffe.get_solver("solver.prototxt")
    live.set_values(solver.net, given)
    return solver


def steps(live, solver, given):
    """Take the steps one by one; a snapshot is written where it is to be."""
    found = {}
    for i in range(solver.iter, given["steps"]):
        if given["write"] and i == given["snapshot"]:
            solver.snapshot()
        solver.step(1)
        found[f"{i} iter"] = np.array(float(solver.iter))
        found.update(live.everything(solver.net, True, f"{i} "))
    if given["write"] and given["steps"] == given["snapshot"]:
        solver.snapshot()
    return found


def job(caffe, live, given):
    """With `shaken`, tell how far noise moves it; where there is a snapshot, go on from it."""
    solver = started(caffe, live, given)
    state = [name for name in os.listdir(".") if "solverstate" in name]
    if state:
        for blobs in solver.net.params.values():
            for blob in blobs:
                blob.data[...] = 0  # what must come from the files
        solver.restore(state[0])
        found = {"restored iter": np.array(float(solver.iter))}
        found.update(live.parameters(solver.net, False, "restored "))
    else:
        found = live.structure(solver.net)
    taken = steps(live, solver, given)
    shaken = []
    for seed in range(given["shaken"]):
        other = started(caffe, live, given)
        live.shake(other.net, given, seed)
        shaken.append(steps(live, other, {**given, "write": False}))
    parts = live.moved(taken, shaken) if shaken else {}
    for name in os.listdir("."):
        if name.startswith("snap") and not state:
            parts["file " + name] = np.fromfile(name, np.uint8)
    return {**found, **taken, **parts}
