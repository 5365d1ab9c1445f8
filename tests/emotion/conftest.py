"""A small net in a folder of its own, laid out as the released ones are; runs of a tiny one."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest

from lbpmap import caffe, pictures
from lbpmap.emotion import preparing, runs, sources, synthetic

LABELS = ["Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"]

DEPLOY = """
name: "small"
input: "data" input_dim: 1 input_dim: 3 input_dim: {crop} input_dim: {crop}
layers {{ name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1"
         convolution_param {{ num_output: 6 kernel_size: 5 stride: 2 }} }}
layers {{ name: "relu1" type: RELU bottom: "conv1" top: "conv1" }}
layers {{ name: "pool1" type: POOLING bottom: "conv1" top: "pool1"
         pooling_param {{ pool: MAX kernel_size: 3 stride: 2 }} }}
layers {{ name: "fc8_cat" type: INNER_PRODUCT bottom: "pool1" top: "fc8"
         inner_product_param {{ num_output: {outputs} }} }}
layers {{ name: "prob" type: SOFTMAX bottom: "fc8" top: "prob" }}
"""

DESCRIPTION = """
name = "{name}"
representation = "{representation}"
labels = {labels}
[input]
size = 32
crop = 28
[files]
deploy = "deploy.prototxt"
weights = "small.caffemodel"
mean = "mean.binaryproto"
"""

COMMAND = [sys.executable, "-c", "import sys; from lbpmap.cli import main; sys.exit(main())"]


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def picture(rng):
    return rng.integers(0, 256, (40, 44, 3), np.uint8)


@pytest.fixture
def make_net(tmp_path, monkeypatch):
    """Make nets below `tmp_path / "nets"`, where LBPMAP_MODELS then points."""
    root = tmp_path / "nets"
    root.mkdir()
    monkeypatch.setenv("LBPMAP_MODELS", str(root))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))

    def make(
        name, representation="cyclic_lbp", *, crop=28, outputs=7, mean=True, seed=0, labels=LABELS
    ):
        folder = root / name
        folder.mkdir()
        (folder / "deploy.prototxt").write_text(DEPLOY.format(crop=crop, outputs=outputs))
        (folder / "model.toml").write_text(
            DESCRIPTION.format(name=name, representation=representation, labels=labels)
        )
        synthetic.write_random_weights(
            folder / "deploy.prototxt", folder / "small.caffemodel", seed
        )
        if mean:
            values = np.random.default_rng(seed).uniform(90, 130, (1, 3, 32, 32))
            blob = caffe.io.array_to_blobproto(values)
            (folder / "mean.binaryproto").write_bytes(blob.SerializeToString())
        return folder

    return make


RANDOM = """
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
"""
SOLVER = """
net: "train_val.prototxt" type: "Adam" base_lr: 0.002 lr_policy: "step" gamma: 0.5 stepsize: 8
momentum: 0.9 momentum2: 0.999 weight_decay: 0.001 max_iter: 20
"""


@pytest.fixture
def one_thread():
    """Let nets this small run on one thread: two would mostly wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def source(tmp_path, write_learner):
    """Give the folder of a tiny net without weights."""
    labels = ["steep", "flat", "both"]
    folder = write_learner(tmp_path / "tiny", labels, width=6, between=RANDOM)
    (folder / "solver.prototxt").write_text(SOLVER)
    return folder


@pytest.fixture
def faces(tmp_path):
    """Give a folder of pictures whose stripes tell their label."""
    rng = np.random.default_rng(5)
    rows, columns = np.indices((20, 18))
    for label, along in (("flat", rows), ("steep", columns), ("both", rows + columns)):
        folder = tmp_path / "faces" / label
        folder.mkdir(parents=True)
        for k in range(10):
            stripes = (along + rng.integers(5)) // 2 % 2 * 150
            noise = rng.integers(0, 60, stripes.shape)
            pictures.write_png(folder / f"{label}{k}.png", (stripes + noise).astype(np.uint8))
    return tmp_path / "faces"


@pytest.fixture
def new_run(tmp_path, source, faces):
    """Give a function that prepares a run from scratch."""

    def make(name="run", **options):
        chosen = {"scratch": True, "batch": 6, "validate_every": 4, "seed": 2, **options}
        data = chosen.pop("data", faces)
        return preparing.prepare_run(
            tmp_path / name, data, sources.find_source(source), preparing.Options(**chosen)
        )

    return make


def last_weights(folder, iteration=20):
    return runs.snapshot_files(folder, iteration)[0].read_bytes()


def log(folder):
    return table(folder / "log.csv")


def what_was_learned(folder):
    """Give a log's columns that do not depend on the clock."""
    timed = ("pictures_per_second", "loader_pictures_per_second", "seconds_waited")
    return [{k: v for k, v in row.items() if k not in timed} for row in log(folder)]
