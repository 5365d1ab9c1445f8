"""The texts to train from: the released nets' and the four architectures'."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe.formats import prototxt
from lbpmap.emotion.architectures import ARCHITECTURES, architecture_files
from lbpmap.emotion.registry import find_nets, packaged_folder

RELEASED = ("VGG_S_rgb", "VGG_S_lbp", "VGG_S_cyclic_lbp", "VGG_S_cyclic_lbp_5")
RELEASED += ("VGG_S_cyclic_lbp_10",)
FOLDERS = (*RELEASED, *(f"architectures/{name}" for name in ARCHITECTURES))
VGG = FOLDERS[:-1]
# Weights and biases of conv1 to conv5, which all VGG share, and of the layers above, 7 outputs.
CONVOLUTIONS = 96 * (3 * 49 + 1) + 256 * (96 * 25 + 1) + 512 * (256 * 9 + 1) + 1024 * (512 * 9 + 1)


def dense(inputs, *outputs):
    sizes = (inputs, *outputs)
    return sum(b * (a + 1) for a, b in zip(sizes, sizes[1:]))


# GoogLeNet has 6,998,552 with 1000 outputs and no auxiliary classifiers, 13,378,280 with both.
PARAMETERS = {
    **dict.fromkeys(RELEASED, 124_507_607),
    "architectures/VGG_S": CONVOLUTIONS + dense(512 * 36, 4096, 4096, 7),
    "architectures/VGG_M_2048": CONVOLUTIONS + dense(512 * 36, 4096, 2048, 7),
    "architectures/VGG_M_4096": CONVOLUTIONS + dense(512 * 36, 4096, 4096, 7),
    "architectures/GoogLeNet": 6_998_552 - 993 * 1025,
}
WITH_AUXILIARY = 13_378_280 - 3 * 993 * 1025

each = pytest.mark.parametrize("folder", FOLDERS)


def text(folder, name="train_val"):
    return packaged_folder() / folder / f"{name}.prototxt"


def shapes(net):
    return {name: [b.shape for b in blobs] for name, blobs in net.params.items()}


def total(net):
    return sum(math.prod(shape) for found in shapes(net).values() for shape in found)


@pytest.fixture
def small(tmp_path):
    """Give a function that copies a training text with batches of 2."""

    def write(folder):
        described = prototxt.read_net(text(folder))
        for layer in described.layer:
            if layer.type == "MemoryData":
                layer.memory_data_param.batch_size = 2
        path = tmp_path / "train_val.prototxt"
        path.write_text(prototxt.format_text(described))
        return path

    return write


def test_an_unknown_architecture_is_refused():
    with pytest.raises(ValueError, match="no architecture 'VGG_F'; there are VGG_S, VGG_M_2048"):
        architecture_files("VGG_F")


def test_the_architectures_are_no_nets(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("LBPMAP_MODELS", raising=False)
    assert set(find_nets()) == set(RELEASED)


@each
def test_training_and_deploy_have_the_same_parameters(folder, small):
    deploy = caffe.Net(text(folder, "deploy"), caffe.TEST)
    path = small(folder)
    train, test = caffe.Net(path, caffe.TRAIN), caffe.Net(path, caffe.TEST)
    assert total(deploy) == PARAMETERS[folder]
    assert shapes(test) == shapes(deploy)
    extra = {name for name in shapes(train) if name[:5] in ("loss1", "loss2")}
    assert {n: s for n, s in shapes(train).items() if n not in extra} == shapes(deploy)
    googlenet = folder.endswith("GoogLeNet")
    assert total(train) == (WITH_AUXILIARY if googlenet else PARAMETERS[folder])
    assert {"prob", "accuracy"} <= set(test.outputs)
    assert not {"prob", "accuracy"} & set(train.blobs)


@each
def test_data_come_from_memory(folder):
    data = [la for la in prototxt.read_net(text(folder)).layer if la.type == "MemoryData"]
    assert [la.memory_data_param.batch_size for la in data] == [30, 10]
    assert [la.include[0].phase for la in data] == [caffe.TRAIN, caffe.TEST]
    for layer in data:
        p = layer.memory_data_param
        assert (p.channels, p.height, p.width) == (3, 224, 224)
        assert list(layer.top) == ["data", "label"]


@each
def test_the_solver_is_the_sister_releases(folder):
    p = prototxt.read_solver(text(folder, "solver"))
    assert (p.type, p.lr_policy, p.net) == ("SGD", "step", "train_val.prototxt")
    assert (p.stepsize, p.max_iter) == (10_000, 50_000)
    found = (p.base_lr, p.gamma, p.momentum, p.weight_decay)
    assert found == pytest.approx((0.001, 0.1, 0.9, 0.0005))
    assert p.snapshot > 0
    assert p.display > 0
    assert not p.test_iter


@pytest.mark.parametrize("folder", VGG)
def test_rates_fillers_and_dropout_are_the_released_ones(folder):
    layers = {la.name: la for la in prototxt.read_net(text(folder)).layer}
    rates = {"fc7": [9, 18], "fc8_cat": [12, 24]}
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8_cat"):
        layer = layers[name]
        assert [p.lr_mult for p in layer.param] == rates.get(name, [1, 2])
        assert [p.decay_mult for p in layer.param] == [1, 0]
        p = layer.convolution_param if name[0] == "c" else layer.inner_product_param
        assert p.weight_filler.type == "gaussian"
        assert p.weight_filler.std == pytest.approx(0.01 if name[0] == "c" else 0.005)
        assert p.bias_filler.type == "constant"
        assert p.bias_filler.value == (name in ("conv2", "conv4", "conv5", "fc6", "fc7"))
    for name in ("drop6", "drop7"):
        assert layers[name].dropout_param.dropout_ratio == pytest.approx(0.7)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_random_weights_give_probabilities(name):
    net = caffe.Net(architecture_files(name).deploy, caffe.TEST, engine="numpy")
    rng = np.random.default_rng(0)
    for weights, _ in net.params.values():
        values = weights.data
        rng.standard_normal(out=values, dtype=np.float32)
        values *= np.float32(math.sqrt(2 / (values.size // len(values))))
    net.blobs["data"].data[...] = rng.normal(0, 1, (1, 3, 224, 224))
    found = net.forward()["prob"]
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert np.ptp(found) > 0.01


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("VGG_S", {"conv1": 109, "pool1": 37, "conv2": 33, "pool2": 17, "conv5": 17, "pool5": 6}),
        ("VGG_M_2048", {"conv1": 109, "pool1": 54, "conv2": 26, "pool2": 13, "pool5": 6}),
        ("VGG_M_4096", {"conv1": 109, "pool1": 54, "conv2": 26, "pool2": 13, "pool5": 6}),
        (
            "GoogLeNet",
            {
                "conv1/7x7_s2": 112,
                "pool1/3x3_s2": 56,
                "pool2/3x3_s2": 28,
                "pool3/3x3_s2": 14,
                "pool4/3x3_s2": 7,
                "pool5/7x7_s1": 1,
            },
        ),
    ],
)
def test_maps_have_the_published_sides(name, sides):
    net = caffe.Net(architecture_files(name).deploy, caffe.TEST)
    assert {blob: net.blobs[blob].shape[2] for blob in sides} == sides
    assert {blob: net.blobs[blob].shape[3] for blob in sides} == sides


def test_inceptions_have_the_published_depths():
    net = caffe.Net(architecture_files("GoogLeNet").deploy, caffe.TEST)
    depths = [256, 480, 512, 512, 512, 528, 832, 832, 1024]
    names = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    assert [net.blobs[f"inception_{name}/output"].shape[1] for name in names] == depths


def test_googlenet_has_three_losses(small):
    path = small("architectures/GoogLeNet")
    weights = caffe.Net(path, caffe.TRAIN).blob_loss_weights
    assert {name: w for name, w in weights.items() if w} == pytest.approx(
        {"loss1/loss1": 0.3, "loss2/loss2": 0.3, "loss3/loss3": 1}
    )
    layers = [la for la in prototxt.read_net(path).layer if len(la.param)]
    for layer in layers:
        p = layer.inner_product_param if "/conv" not in layer.name else layer.convolution_param
        p = p if p.num_output else layer.convolution_param
        assert p.weight_filler.type == "xavier"
        assert [x.lr_mult for x in layer.param] == [1, 2]
        assert [x.decay_mult for x in layer.param] == [1, 0]
        bias = 0 if layer.name.endswith("classifier") else 0.2
        assert p.bias_filler.value == pytest.approx(bias)
    assert len(layers) == 58 + 6


def test_googlenet_takes_a_step(small, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="solvers compute gradients with PyTorch")
    small("architectures/GoogLeNet")
    monkeypatch.chdir(tmp_path)
    solver_text = architecture_files("GoogLeNet").solver.read_text()
    (tmp_path / "solver.prototxt").write_text(solver_text + "random_seed: 1\n")
    solver = caffe.SGDSolver("solver.prototxt")
    rng = np.random.default_rng(0)
    pictures = rng.normal(0, 1, (2, 3, 224, 224)).astype(np.float32)
    solver.net.set_input_arrays(pictures, np.array([1, 4], np.float32))
    before = solver.net.params["conv1/7x7_s2"][0].data.copy()
    solver.step(1)
    losses = [float(solver.net.blobs[f"loss{n}/loss{n}"].data) for n in (1, 2, 3)]
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    whole = 0.3 * losses[0] + 0.3 * losses[1] + losses[2]
    assert solver.net.loss() == pytest.approx(whole, rel=1e-5)
    assert np.any(solver.net.params["conv1/7x7_s2"][0].data != before)
