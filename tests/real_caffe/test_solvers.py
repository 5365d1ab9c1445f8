"""Solvers against real Caffe: rules, policies, clipping, iter_size, what gradients hold after."""

from __future__ import annotations

import numpy as np
import pytest

NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 5 } } }
layer { name: "l" type: "Input" top: "l" input_param { shape { dim: 4 } } }
layer {
  name: "a" type: "InnerProduct" bottom: "x" top: "a"
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  inner_product_param { num_output: 6 }
}
layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }
layer {
  name: "b" type: "InnerProduct" bottom: "a" top: "b" param { lr_mult: 0.5 decay_mult: 3 }
  inner_product_param { num_output: 3 }
}
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "b" bottom: "l" top: "loss" }
"""
FROZEN = NET.replace("param { lr_mult: 1", "param { lr_mult: 0")
SHARED = (
    NET.replace("num_output: 6", "num_output: 5")
    .replace(
        "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }",
        'param { name: "w" }',
    )
    .replace("param { lr_mult: 0.5 decay_mult: 3 }", 'param { name: "w" }')
    .replace("num_output: 3", "num_output: 5")
)
LABELS = {"l": np.array([0.0, 2, 1, 1])}

SOLVERS = {
    "AdaDelta": 'type: "AdaDelta" momentum: 0.95 delta: 1e-6 base_lr: 1',
    "AdaDelta with decay": 'type: "AdaDelta" momentum: 0.9 delta: 1e-4 base_lr: 0.5 '
    "weight_decay: 0.05",
    "SGD": "momentum: 0.9 weight_decay: 0.05",
    "L1": 'momentum: 0.5 weight_decay: 0.05 regularization_type: "L1"',
    "Nesterov": 'type: "Nesterov" momentum: 0.9',
    "AdaGrad": 'type: "AdaGrad" delta: 1e-3 weight_decay: 0.01',
    "RMSProp": 'type: "RMSProp" rms_decay: 0.9 delta: 1e-3',
    "Adam": 'type: "Adam" momentum: 0.9 momentum2: 0.99 delta: 1e-3',
    "old name of Adam": "solver_type: ADAM momentum: 0.9 momentum2: 0.99 delta: 1e-3",
    "sigmoid": 'lr_policy: "sigmoid" gamma: 0.7 stepsize: 3 momentum: 0.5',
    "inv": 'lr_policy: "inv" gamma: 0.3 power: 0.75 momentum: 0.5',
    "step": 'lr_policy: "step" gamma: 0.5 stepsize: 2 momentum: 0.9',
    "exp": 'lr_policy: "exp" gamma: 0.8',
    "poly": 'lr_policy: "poly" power: 1.5 max_iter: 10',
    "multistep": 'lr_policy: "multistep" gamma: 0.3 stepvalue: 1 stepvalue: 4 momentum: 0.9',
    "two at once of multistep": 'lr_policy: "multistep" gamma: 0.5 stepvalue: 1 stepvalue: 1',
    "multistep at the start": 'lr_policy: "multistep" gamma: 0.5 stepvalue: 0 stepvalue: 2',
    "multistep that falls": 'lr_policy: "multistep" gamma: 0.5 stepvalue: 3 stepvalue: 1',
    "no decay of an unknown kind": 'regularization_type: "L3"',
    "iter_size": "iter_size: 3 momentum: 0.9 weight_decay: 0.05",
    "clipped": "clip_gradients: 0.1 momentum: 0.9 weight_decay: 0.05",
    "not clipped": "clip_gradients: 100",
    "clipped over three passes": "clip_gradients: 0.5 iter_size: 3 momentum: 0.9 "
    "weight_decay: 0.05",
    "Adam, clipped over two passes": 'type: "Adam" momentum: 0.9 delta: 1e-3 clip_gradients: 0.2 '
    "iter_size: 2",
}


def solver_text(settings):
    text = 'net: "net.prototxt" snapshot_prefix: "snap" ' + settings
    for name, value in (("base_lr", "0.2"), ("lr_policy", '"fixed"'), ("max_iter", "20")):
        if name not in settings:
            text += f" {name}: {value}"
    return text + " random_seed: 1 display: 0 snapshot: 0 snapshot_after_train: false"


def steps(caffe, live, given):
    solver = caffe.get_solver("solver.prototxt")
    live.fill(solver.net, given)
    found = {}
    for i in range(5):
        solver.step(1)
        found.update(live.parameters(solver.net, True, f"{i} "))
        found[f"{i} iter"] = solver.iter
    found.update(live.everything(solver.net))
    return found


@pytest.mark.parametrize("case", SOLVERS)
def test_steps(compare, case):
    """After a step the gradient of a parameter is what was taken off it."""
    files = {"net.prototxt": NET, "solver.prototxt": solver_text(SOLVERS[case])}
    compare(steps, files, **LABELS)


@pytest.mark.parametrize("net", [FROZEN, SHARED], ids=["frozen", "shared"])
@pytest.mark.parametrize("case", ["SGD", "Adam", "clipped", "iter_size"])
def test_steps_of_other_nets(compare, case, net):
    files = {"net.prototxt": net, "solver.prototxt": solver_text(SOLVERS[case])}
    compare(steps, files, **LABELS)


def by_hand(caffe, live, given):
    solver = caffe.SGDSolver("solver.prototxt")
    live.fill(solver.net, given)
    found = {}
    for i in range(3):
        solver.net.clear_param_diffs()
        solver.net.forward()
        solver.net.backward()
        solver.apply_update()
        found.update(live.parameters(solver.net, True, f"{i} "))
    found["iter"] = solver.iter
    return found


def test_updates_by_hand(compare):
    files = {"net.prototxt": NET, "solver.prototxt": solver_text(SOLVERS["SGD"])}
    compare(by_hand, files, **LABELS)


def callbacks(caffe, live, given):
    solver = caffe.SGDSolver("solver.prototxt")
    live.fill(solver.net, given)
    seen = []
    solver.add_callback(
        lambda: seen.append(f"start {solver.iter}"), lambda: seen.append(f"ready {solver.iter}")
    )
    solver.step(2)
    return {"seen": seen}


def test_callbacks(compare):
    files = {"net.prototxt": NET, "solver.prototxt": solver_text("momentum: 0.5")}
    compare(callbacks, files, **LABELS)


def with_tests(caffe, live, given):
    solver = caffe.get_solver("solver.prototxt")
    live.fill(solver.net, given)
    test = solver.test_nets[0]
    for name in test.inputs:
        test.blobs[name].data[...] = solver.net.blobs[name].data
    solver.step(4)
    found = live.everything(test, False)
    found.update(live.structure(test))
    found["same"] = bool((test.params["a"][0].data == solver.net.params["a"][0].data).all())
    solver.test_nets[0].share_with(solver.net)
    test.forward()
    found.update(live.everything(test, False, "shared "))
    return found


def test_test_nets(compare):
    text = solver_text("momentum: 0.5 test_iter: 1 test_interval: 2 test_initialization: false")
    compare(with_tests, {"net.prototxt": NET, "solver.prototxt": text}, **LABELS)
