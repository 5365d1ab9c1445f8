"""Solvers: against real Caffe's weights after every iteration, and against its update rules."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe import blob as blob_room
from lbpmap.caffe import policies
from lbpmap.caffe.formats.messages import MESSAGES

pytest.importorskip("torch", reason="solvers compute gradients with PyTorch")

CASES = [
    "adagrad",
    "adam",
    "exp",
    "fixed_mom",
    "fixed_plain",
    "inv",
    "multistep",
    "nesterov",
    "poly",
    "rmsprop",
    "step",
    "step_l1",
]
NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 5 } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }
layer {
  name: "one" type: "InnerProduct" bottom: "data" top: "one" param { lr_mult: 1 decay_mult: 1 }
  param { lr_mult: 2 decay_mult: 0 }
  inner_product_param { num_output: 6 weight_filler { type: "xavier" } }
}
layer { name: "relu" type: "ReLU" bottom: "one" top: "one" }
layer {
  name: "two" type: "InnerProduct" bottom: "one" top: "two"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } }
}
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "two" bottom: "label" top: "loss" }
layer {
  name: "accuracy" type: "Accuracy" bottom: "two" bottom: "label" top: "accuracy"
  include { phase: TEST }
}
"""


def weights(net):
    return np.concatenate([b.data.ravel() for blobs in net.params.values() for b in blobs])


@pytest.fixture
def in_fixtures(fixtures, monkeypatch):
    """Work where the recorded solvers find their data."""
    pytest.importorskip("h5py", reason="the recorded solvers read HDF5")
    monkeypatch.chdir(fixtures / "solver")
    return Path()


@pytest.fixture
def solver_of(text_file, tmp_path, monkeypatch):
    """Give a function that makes a solver for a small net, its inputs filled."""
    monkeypatch.chdir(tmp_path)

    def make(settings="", net=NET):
        text_file(net, "net.prototxt")
        text = 'base_lr: 0.1 random_seed: 3 max_iter: 12 snapshot_prefix: "snap" ' + settings
        for key, value in (("net", "net.prototxt"), ("lr_policy", "fixed")):
            if f"{key}: " not in settings:
                text += f' {key}: "{value}"'
        solver = caffe.get_solver(text_file(text, "solver.prototxt"))
        fill(solver.net)
        return solver

    return make


def fill(net):
    rng = np.random.default_rng(0)
    net.blobs["data"].data[...] = rng.normal(size=(4, 5))
    net.blobs["label"].data[...] = rng.integers(0, 3, 4)


def test_weights_on_a_device_with_memory_of_its_own(in_fixtures, monkeypatch):
    """As on a GPU: what the host is not shown stays there, what it writes is carried over."""
    monkeypatch.setattr(blob_room, "_is_host", lambda device: False)
    for case in ("adam", "multistep"):
        recorded = np.load(f"{case}.npz")["weights"]
        solver = caffe.get_solver(f"{case}.solver.prototxt")
        solver.net.copy_from("init.caffemodel")
        solver.step(3)
        assert np.abs(weights(solver.net) - recorded[3]).max() <= 1e-5
        # What the host writes counts: nothing would be learned from weights that it has cleared.
        kept = [blob.data.copy() for blobs in solver.net.params.values() for blob in blobs]
        for blobs in solver.net.params.values():
            for blob in blobs:
                blob.data[...] = 0
        solver.net.forward(start="conv1")  # the data layer would go on to its next batch
        assert not solver.net.blobs["fc2"].data.any()
        for blobs in solver.net.params.values():
            for blob in blobs:
                blob.data[...] = kept.pop(0)
        solver.step(22)
        assert np.abs(weights(solver.net) - recorded[25]).max() <= 1e-5


@pytest.mark.parametrize("case", CASES)
def test_weights_after_each_iteration(in_fixtures, case):
    recorded = np.load(f"{case}.npz")
    solver = caffe.get_solver(f"{case}.solver.prototxt")
    solver.net.copy_from("init.caffemodel")
    shapes = [
        ",".join(map(str, blob.shape)) for blobs in solver.net.params.values() for blob in blobs
    ]
    assert len(shapes) == len(recorded["param_shapes"])
    assert np.abs(weights(solver.net) - recorded["weights"][0]).max() <= 1e-7
    for i in range(25):
        assert solver.iter == i
        solver.step(1)
        assert np.abs(weights(solver.net) - recorded["weights"][i + 1]).max() <= 1e-5
        assert abs(float(solver.net.blobs["loss"].data) - recorded["loss"][i]) <= 1e-5
    (test,) = solver.test_nets
    test.share_with(solver.net)
    for accuracy, loss in recorded["test_acc_loss_3batches"]:
        out = test.forward()
        assert float(out["accuracy"]) == pytest.approx(accuracy, abs=1e-6)
        assert float(out["loss"]) == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("case", ["step", "poly", "nesterov", "adam"])
def test_resumed_from_a_solverstate_of_caffe(in_fixtures, case):
    recorded = np.load(f"resume_{case}.npz")["weights"]
    solver = caffe.get_solver(f"{case}.solver.prototxt")
    solver.restore(f"snap_{case}_iter_10.solverstate")
    assert solver.iter == 10
    for row in recorded:
        solver.step(1)
        assert np.abs(weights(solver.net) - row).max() <= 1e-5


# Rules without recorded values, as Caffe documents them: (settings, state -> update).
def sgd(g, state, rate, n):
    state[0] = 0.9 * state[0] + rate * g
    return state[0]


def adadelta(g, state, rate, n):
    state[0] = 0.95 * state[0] + 0.05 * g * g
    update = g * np.sqrt((state[1] + 1e-6) / (state[0] + 1e-6))
    state[1] = 0.95 * state[1] + 0.05 * update * update
    return rate * update


@pytest.mark.parametrize(
    ("settings", "rule", "clip", "iter_size"),
    [
        ('type: "AdaDelta" momentum: 0.95 delta: 1e-6', adadelta, None, 1),
        ("solver_type: ADADELTA momentum: 0.95 delta: 1e-6", adadelta, None, 1),
        ("momentum: 0.9 iter_size: 3", sgd, None, 3),
        ("momentum: 0.9 clip_gradients: 0.05", sgd, 0.05, 1),
        ("momentum: 0.9 clip_gradients: 0.05 iter_size: 2", sgd, 0.05, 2),
        ("momentum: 0.9 clip_gradients: 100", sgd, 100, 1),
    ],
)
def test_documented_rules(solver_of, settings, rule, clip, iter_size):
    """No recorded values exist: gradients are the solver's, what follows is the formula."""
    solver = solver_of(settings + " weight_decay: 0.01")
    seen = []
    blobs = [blob for blobs in solver.net.params.values() for blob in blobs]
    solver.add_callback(
        lambda: seen.append("start"), lambda: seen.append([blob.diff.copy() for blob in blobs])
    )
    lr_mults, decay_mults = [1, 2, 1, 1], [1, 0, 1, 1]
    states = [[0.0, 0.0] for _ in blobs]
    for n in range(5):
        before = [blob.data.astype(np.float64) for blob in blobs]
        solver.step(1)
        start, gradients = seen[-2:]
        assert start == "start"
        gradients = [g.astype(np.float64) for g in gradients]
        length = math.sqrt(sum((g**2).sum() for g in gradients))
        if clip is not None and length > clip:
            gradients = [g * clip / length for g in gradients]
        for i, blob in enumerate(blobs):
            g = gradients[i] / iter_size + 0.01 * decay_mults[i] * before[i]
            update = rule(g, states[i], 0.1 * lr_mults[i], n)
            np.testing.assert_allclose(blob.data, before[i] - update, rtol=0, atol=1e-6)
            np.testing.assert_allclose(blob.diff, update, rtol=0, atol=1e-6)


def test_iter_size_is_a_larger_batch(solver_of):
    once, thrice = solver_of("momentum: 0.9"), solver_of("momentum: 0.9 iter_size: 3")
    for solver in (once, thrice):
        solver.step(4)
    np.testing.assert_allclose(weights(thrice.net), weights(once.net), rtol=0, atol=1e-6)


def test_every_policy():
    p = MESSAGES["SolverParameter"](
        base_lr=0.5, gamma=0.5, power=2, stepsize=10, max_iter=100, stepvalue=[5, 20]
    )
    formulas = {
        "fixed": lambda i: 1,
        "step": lambda i: 0.5 ** (i // 10),
        "exp": lambda i: 0.5**i,
        "inv": lambda i: (1 + 0.5 * i) ** -2,
        "multistep": lambda i: 0.5 ** ((i >= 5) + (i >= 20)),
        "poly": lambda i: (1 - i / 100) ** 2,
        "sigmoid": lambda i: 1 / (1 + math.exp(-0.5 * (i - 10))),
    }
    assert set(formulas) == set(policies.POLICIES)
    for name, formula in formulas.items():
        p.lr_policy = name
        policies.check(p)
        for i in (0, 4, 5, 9, 10, 19, 20, 30, 100):
            assert policies.learning_rate(p, i) == pytest.approx(0.5 * formula(i))


@pytest.mark.parametrize("form", ["", "snapshot_format: HDF5"])
@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdaDelta"])
def test_a_resumed_run_goes_on_as_if_unbroken(solver_of, tmp_path, kind, form):
    if form:
        pytest.importorskip("h5py")
    settings = f'type: "{kind}" momentum: 0.9 snapshot: 5 {form}'
    unbroken = solver_of(settings)
    unbroken.solve()
    assert unbroken.iter == 12
    end = ".h5" if form else ""
    written = {path.name for path in tmp_path.glob("snap*")}
    assert written == {
        f"snap_iter_{n}.{what}{end}" for n in (5, 10, 12) for what in ("caffemodel", "solverstate")
    }
    resumed = solver_of(settings)
    state = f"snap_iter_5.solverstate{end}"
    resumed.restore(state)
    assert resumed.iter == 5
    resumed.step(7)
    np.testing.assert_array_equal(weights(resumed.net), weights(unbroken.net))
    again = solver_of(settings)
    again.solve(state)
    np.testing.assert_array_equal(weights(again.net), weights(unbroken.net))
    net = caffe.Net("net.prototxt", f"snap_iter_12.caffemodel{end}", caffe.TEST)
    np.testing.assert_array_equal(weights(net), weights(unbroken.net))


def test_a_state_is_found_beside_its_weights(solver_of, tmp_path, monkeypatch):
    solver = solver_of("momentum: 0.9 snapshot: 4")
    solver.step(4)
    later = solver_of("momentum: 0.9")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    later.restore(tmp_path / "snap_iter_4.solverstate")
    np.testing.assert_array_equal(weights(later.net), weights(solver.net))


def test_a_state_of_another_solver_is_refused(solver_of):
    solver_of("snapshot: 1").step(1)
    adam = solver_of('type: "Adam" momentum: 0.9')
    before = weights(adam.net)
    with pytest.raises(
        ValueError, match=r"snap_iter_1\.solverstate: 4 histories .* type Adam .* 8"
    ):
        adam.restore("snap_iter_1.solverstate")
    np.testing.assert_array_equal(weights(adam.net), before)


def test_tests_share_weights_and_are_logged(solver_of, caplog):
    solver = solver_of("test_iter: 2 test_interval: 3 display: 2 average_loss: 2")
    (test,) = solver.test_nets
    fill(test)
    with caplog.at_level(logging.INFO, "lbpmap.caffe"):
        solver.step(4)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(",")[0] for line in lines if "test net" in line] == [
        "Iteration 0",
        "Iteration 0",
        "Iteration 3",
        "Iteration 3",
    ]
    assert [line for line in lines if "lr =" in line][1].startswith("Iteration 2, lr = 0.1, loss")
    assert np.shares_memory(test.params["one"][0].data, solver.net.params["one"][0].data)
    assert (solver.net.blobs.keys() ^ test.blobs.keys()) >= {"accuracy"}


def test_a_frozen_layer_does_not_move(solver_of):
    solver = solver_of("momentum: 0.9 weight_decay: 0.1", NET.replace("lr_mult: 1", "lr_mult: 0"))
    before = [blob.data.copy() for blob in solver.net.params["one"]]
    solver.step(3)
    np.testing.assert_array_equal(solver.net.params["one"][0].data, before[0])
    assert (solver.net.params["one"][1].data != before[1]).any()


def test_a_view_held_before_training_shows_the_weights(solver_of):
    solver = solver_of()
    view, before = solver.net.params["two"][0].data, solver.net.params["two"][0].data.copy()
    solver.step(2)
    assert (view != before).any()
    np.testing.assert_array_equal(view, solver.net.params["two"][0].data)
    other = caffe.Net("net.prototxt", caffe.TEST)
    solver.share_weights(other)
    assert np.shares_memory(other.params["two"][0].data, view)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('type: "SDG"', 'type is "SDG", it must be one of SGD, Nesterov'),
        ('lr_policy: "stpe"', 'lr_policy is "stpe", it must be one of exp, fixed'),
        ('lr_policy: "step"', 'lr_policy "step" needs a stepsize of at least 1'),
        ('lr_policy: "sigmoid" gamma: 1', 'lr_policy "sigmoid" needs a stepsize of at least 1'),
        ('lr_policy: "exp" gamma: -1', 'lr_policy "exp" needs a gamma of at least 0, got -1'),
        ("iter_size: 0", "iter_size is 0, it must be at least 1"),
        ("average_loss: 0", "average_loss is 0, it must be at least 1"),
        ('type: "AdaGrad" momentum: 0.9', "momentum is 0.9, a solver of type AdaGrad takes none"),
        ('regularization_type: "L3" weight_decay: 1', 'regularization_type is "L3"'),
        ("test_iter: 3", "test_iter is given, but no test_interval"),
        (
            'test_iter: 1 test_interval: 1 test_state: { stage: "a" } test_state: { }',
            "2 test_state",
        ),
        ('train_net: "net.prototxt" train_net: "x"', r"solver\.prototxt:1:"),
        ("momentun: 0.9", 'no field named "momentun"; did you mean "momentum"'),
        ('net: "other.prototxt"', r"no net other\.prototxt in .*: names in a solver are relative"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(solver_of, settings, message):
    with pytest.raises((ValueError, OSError), match=message) as caught:
        solver_of(settings)
    assert "\n" not in str(caught.value)
    assert "solver.prototxt" in str(caught.value)


def test_classes_fix_the_type(solver_of, tmp_path):
    solver_of('type: "Adam"')
    assert caffe.SGDSolver(tmp_path / "solver.prototxt").param.type == "SGD"
    assert caffe.AdamSolver("solver.prototxt").lr == pytest.approx(0.1)
    assert isinstance(caffe.get_solver("solver.prototxt"), caffe.AdamSolver)


def test_statistics_of_batch_norm_do_not_learn(solver_of, tmp_path):
    batch_norm = 'layer { name: "bn" type: "BatchNorm" bottom: "one" top: "bn" }'
    net = NET.replace('layer { name: "relu"', f'{batch_norm} layer {{ name: "relu"')
    net = net.replace('bottom: "one" top: "one"', 'bottom: "bn" top: "bn"').replace(
        'name: "two" type: "InnerProduct" bottom: "one"',
        'name: "two" type: "InnerProduct" bottom: "bn"',
    )
    solver = solver_of("momentum: 0.9 weight_decay: 0.5", net)
    solver.net.forward()
    mean = solver.net.params["bn"][0].data.copy()
    assert mean.any()
    solver.step(1)
    count = solver.net.params["bn"][2].data[0]
    assert count == pytest.approx(1.999)
    # Twice the same batch mean, but for what the step has changed before the second pass: nothing.
    np.testing.assert_allclose(solver.net.params["bn"][0].data, 1.999 * mean, rtol=1e-5)
    solver.net.save("bn.caffemodel")
    stored = MESSAGES["NetParameter"].FromString((tmp_path / "bn.caffemodel").read_bytes())
    by_name = {layer.name: layer for layer in stored.layer}
    assert [spec.lr_mult for spec in by_name["bn"].param] == [0, 0, 0]
    assert list(by_name["loss"].loss_weight) == [1]
    learning = net.replace('top: "bn" }', 'top: "bn" param { lr_mult: 1 } }', 1)
    with pytest.raises(ValueError, match=r'layer "bn" \(BatchNorm\): its statistics cannot learn'):
        solver_of("", learning)


def test_gradients_are_written_and_read_with_the_weights(solver_of, tmp_path):
    solver = solver_of("momentum: 0.9")
    solver.step(1)
    solver.net.save("with.caffemodel", True)
    solver.net.save("without.caffemodel")
    sizes = [(tmp_path / f"{name}.caffemodel").stat().st_size for name in ("with", "without")]
    assert sizes[0] >= sizes[1] + 4 * 57  # as many gradients as weights
    net = caffe.Net("net.prototxt", "with.caffemodel", caffe.TEST)
    np.testing.assert_array_equal(net.params["one"][0].diff, solver.net.params["one"][0].diff)


def test_an_update_by_hand_counts(solver_of):
    solver = solver_of("momentum: 0.9")
    by_hand = solver_of("momentum: 0.9")
    solver.step(3)
    for _ in range(3):
        by_hand.net.clear_param_diffs()
        by_hand.net.forward()
        by_hand.net.backward()
        by_hand.apply_update()
    assert solver.iter == by_hand.iter == 3
    np.testing.assert_array_equal(weights(solver.net), weights(by_hand.net))


def test_shared_parameters_learn_at_one_rate(solver_of):
    shared = NET.replace("param { lr_mult: 1 decay_mult: 1 }", 'param { name: "w" lr_mult: 3 }')
    shared = shared.replace("num_output: 6", "num_output: 5").replace(
        'layer { name: "relu"',
        'layer { name: "again" type: "InnerProduct" bottom: "one" top: "again" param { name: "w" } '
        'inner_product_param { num_output: 5 } } layer { name: "relu"',
    )
    shared = shared.replace('type: "ReLU" bottom: "one"', 'type: "ReLU" bottom: "again"')
    shared = shared.replace('bottom: "again" top: "one"', 'bottom: "again" top: "relu"')
    shared = shared.replace(
        'type: "InnerProduct" bottom: "one" top: "two"',
        'type: "InnerProduct" bottom: "relu" top: "two"',
    )
    solver = solver_of("", shared)
    before, bias = solver.net.params["one"][0].data.copy(), solver.net.params["again"][0]
    solver.step(1)
    np.testing.assert_allclose(before - bias.data, bias.diff, rtol=0, atol=1e-6)
    other = shared.replace('param { name: "w" }', 'param { name: "w" lr_mult: 2 }')
    with pytest.raises(ValueError, match=r'layer "again": parameter "w" has lr_mult 2, and 3 in'):
        solver_of("", other)
