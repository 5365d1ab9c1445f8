"""Fine-tuning on real Caffe and on our engine: the same weights, and runs handed over both ways."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe, pictures
from lbpmap.emotion import finetune, preparing, runs, sources, synthetic

pytestmark = pytest.mark.real_caffe
pytest.importorskip("torch", reason="training needs PyTorch")

# Nothing random, and nothing that rounding could decide.
NET = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 12 dim: 12 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 5 kernel_size: 3 stride: 2 } }
layer { name: "tanh" type: "TanH" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 2 } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""
MODEL = """
name = "tiny"
representation = "rgb"
labels = ["a", "b"]
[input]
size = 16
crop = 12
[files]
deploy = "deploy.prototxt"
weights = "w.caffemodel"
mean = "mean.binaryproto"
"""
SOLVER = 'base_lr: 1e-4 lr_policy: "step" gamma: 0.5 stepsize: 6 momentum: 0.9 weight_decay: 0.01'


@pytest.fixture
def new_run(tmp_path):
    """Give a function that prepares a run on pictures of two labels, always the same one."""
    net = tmp_path / "tiny"
    net.mkdir()
    (net / "deploy.prototxt").write_text(NET)
    (net / "model.toml").write_text(MODEL)
    synthetic.write_random_weights(net / "deploy.prototxt", net / "w.caffemodel")
    rng = np.random.default_rng(0)
    for label, step in (("a", 40), ("b", 4)):
        folder = tmp_path / "faces" / label
        folder.mkdir(parents=True)
        for k in range(12):
            ramp = np.arange(20)[:, None] * step + rng.integers(0, 30, (20, 18))
            pictures.write_png(folder / f"{k}.png", (ramp % 256).astype(np.uint8))

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
