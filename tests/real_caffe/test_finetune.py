"""Fine-tuning on real Caffe and on our engine: the same weights, and runs handed over both ways."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.emotion import finetune, preparing, runs, sources, synthetic

pytestmark = pytest.mark.real_caffe
pytest.importorskip("torch", reason="training needs PyTorch")

# Nothing random, and nothing that rounding could decide.
SMOOTH = 'layer { name: "tanh" type: "TanH" bottom: "conv" top: "conv" }'
SOLVER = 'base_lr: 1e-4 lr_policy: "step" gamma: 0.5 stepsize: 6 momentum: 0.9 weight_decay: 0.01'


@pytest.fixture
def new_run(tmp_path, write_learner, write_ramps):
    """Give a function that prepares a run on pictures of two labels, always the same one."""
    net = write_learner(tmp_path / "tiny", ["a", "b"], width=5, between=SMOOTH)
    synthetic.write_random_weights(net / "deploy.prototxt", net / "w.caffemodel")
    write_ramps(tmp_path / "faces", 12, np.random.default_rng(0))

    def make(name):
        options = preparing.Options(
            batch=4, iter_size=2, max_iter=12, validate_every=4, solver_text=SOLVER
        )
        source = sources.find_source(net)
        return preparing.prepare_run(tmp_path / name, tmp_path / "faces", source, options)

    return make


def learn(run, engine, until=None):
    """Train on an engine, up to an iteration, and give the weights of the newest snapshot."""
    caffe.set_engine(engine)
    try:
        finetune.train(run.folder, weights=run.weights, max_iter=until)
    finally:
        caffe.set_engine("auto")
    newest = runs.snapshot_files(run.folder, runs.snapshots(run.folder)[-1])[0]
    net = caffe.Net(run.folder / "deploy.prototxt", newest, caffe.TEST)
    return {f"{n} {i}": b.data.copy() for n, bs in net.params.items() for i, b in enumerate(bs)}


def validations(run):
    rows = runs.read_rows(run.folder / "log.csv", 99)
    return [
        (row["iteration"], row["validation_accuracy"]) for row in rows if row["validation_loss"]
    ]


def check_equal(got, expected):
    assert got.keys() == expected.keys()
    for name, values in expected.items():
        assert np.abs(got[name] - values).max() <= 1e-5 * np.abs(values).max(), name


def test_both_learn_the_same(real, new_run):
    ours, theirs = new_run("ours"), new_run("theirs")
    expected = learn(theirs, "real")
    check_equal(learn(ours, "torch"), expected)
    assert validations(ours) == validations(theirs)


@pytest.mark.parametrize(("first", "second"), [("real", "torch"), ("torch", "real")])
def test_a_run_is_handed_over(real, new_run, first, second):
    whole, handed = new_run("whole"), new_run("handed")
    expected = learn(whole, "torch")
    learn(handed, first, until=6)
    check_equal(learn(handed, second, until=12), expected)
