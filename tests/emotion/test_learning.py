"""Real pictures, really learned: digits and faces, from scratch and from other digits."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from lbpmap import caffe, pictures
from lbpmap.cli import main
from lbpmap.emotion import ensemble, runs
from lbpmap.emotion.dataset import read_dataset
from lbpmap.emotion.registry import net_in

torch = pytest.importorskip("torch", reason="training needs PyTorch")

NET = """
name: "small"
layer { name: "train" type: "MemoryData" top: "data" top: "label" include { phase: TRAIN }
  memory_data_param { batch_size: 30 channels: 3 height: 28 width: 28 } }
layer { name: "test" type: "MemoryData" top: "data" top: "label" include { phase: TEST }
  memory_data_param { batch_size: 30 channels: 3 height: 28 width: 28 } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 12 kernel_size: 5 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 32 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "fc3" type: "InnerProduct" bottom: "conv2" top: "fc3"
  param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  inner_product_param { num_output: 64 weight_filler { type: "xavier" } } }
layer { name: "relu3" type: "ReLU" bottom: "fc3" top: "fc3" }
layer { name: "drop3" type: "Dropout" bottom: "fc3" top: "fc3"
  dropout_param { dropout_ratio: 0.3 } }
layer { name: "fc4" type: "InnerProduct" bottom: "fc3" top: "fc4"
  param { lr_mult: 5 } param { lr_mult: 10 decay_mult: 0 }
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc4" bottom: "label" top: "loss" }
"""
SOLVER = """
type: "SGD" base_lr: 0.0005 lr_policy: "step" gamma: 0.3 stepsize: 150 momentum: 0.9
weight_decay: 0.0005 max_iter: 150
"""


@pytest.fixture(autouse=True)
def _one_thread():
    """Let nets this small run on one thread: two would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Give a folder with the digits 0 to 4, and 5 to 9, as pictures, and a net."""
    root = tmp_path_factory.mktemp("learning")
    digits = load_digits()
    for number, (pixels, digit) in enumerate(zip(digits.images, digits.target)):
        folder = root / ("low" if digit < 5 else "high") / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray((pixels * 15.9).astype(np.uint8))
        large = np.asarray(small.resize((32, 32), Image.BILINEAR))
        pictures.write_png(folder / f"{number:04d}.png", large)
    net = root / "net"
    net.mkdir()
    (net / "train_val.prototxt").write_text(NET)
    (net / "solver.prototxt").write_text(SOLVER)
    (net / "model.toml").write_text(
        'name = "net"\nrepresentation = "rgb"\nlabels = ["a", "b"]\n[input]\nsize = 32\ncrop = 28\n'
        '[files]\ndeploy = "train_val.prototxt"\nweights = "none"\nmean = "none"\n'
    )
    return root


def finetune(*args):
    assert main(["finetune", *map(str, args), "--no-mirror", "-q"]) == 0


def a_tenth(root):
    """Write which digits to learn from: a tenth; the others are to choose and to test by."""
    found = read_dataset(root / "high")
    seen = dict.fromkeys(range(5), 0)
    with open(root / "tenth.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split"])
        for sample in found.samples:
            turn = seen[sample.label] % 10
            seen[sample.label] += 1
            part = "train" if turn == 0 else "validation" if turn == 1 else "test"
            rows.writerow([sample.path, found.labels[sample.label], part])
    return root / "tenth.csv"


def accuracy(run, data):
    """Count right answers on the test part, with the net as anyone would run it."""
    net = ensemble.load_net(net_in(run))
    held_out = data.part("test")
    answers = [ensemble.predict([net], pictures.read(s.path)).label for s in held_out]
    return np.mean([a == data.labels[s.label] for a, s in zip(answers, held_out)])


def test_other_digits_help_where_there_are_few(place, capsys):
    low, tuned, alone = (place / name for name in ("low_run", "tuned", "alone"))
    finetune(place / "low", "--from", place / "net", "--scratch", "-o", low)
    assert runs.read_toml(low / "result.toml")["best"]["accuracy"] > 0.95
    table = a_tenth(place)
    same = ("--max-iter", 30, "--validate-every", 10, "--solver-text", "base_lr: 0.001")
    finetune(table, "--from", low, "-o", tuned, *same)
    finetune(table, "--from", low, "--scratch", "-o", alone, *same)
    data = read_dataset(table)
    scores = {run.name: accuracy(run, data) for run in (tuned, alone)}
    assert scores["tuned"] > scores["alone"] + 0.02, scores
    assert scores["tuned"] > 0.8, scores
    said = capsys.readouterr().out
    assert said.count("the loader makes") == 3
    first, second = (
        caffe.Net(run / "deploy.prototxt", run / "best.caffemodel", caffe.TEST)
        for run in (low, tuned)
    )
    assert list(first.params) == ["conv1", "conv2", "fc3", "fc4"]
    assert list(second.params) == ["conv1", "conv2", "fc3", "fc4_ft1"]
    assert (tuned / "curves.png").is_file()


def test_faces_and_other_things(place):
    data = pytest.importorskip("skimage.data", reason="the faces are scikit-image's")
    for number, pixels in enumerate(data.lfw_subset()):  # 100 faces, 100 other things
        folder = place / "faces" / ("face" if number < 100 else "other")
        folder.mkdir(parents=True, exist_ok=True)
        pictures.write_png(folder / f"{number}.png", (pixels * 255).astype(np.uint8))
    run = place / "faces_run"
    finetune(place / "faces", "--from", place / "net", "--scratch", "-r", "cyclic_lbp", "-o", run)
    assert runs.read_toml(run / "result.toml")["best"]["accuracy"] >= 0.9
