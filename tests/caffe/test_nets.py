"""Whole nets against what real Caffe computed, and two LeNets that others trained."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe

NETS = ["mini_emotiw", "mini_vgg_cnn_s", "mini_agenet", "mini_caffenet", "mini_vgg16"]


@pytest.mark.parametrize("weights", ["v1", "v2"])
@pytest.mark.parametrize("text", ["v1", "v2"])
@pytest.mark.parametrize("name", NETS)
def test_every_blob_is_caffes(fixtures, check_equal, name, text, weights):
    folder = fixtures / "nets"
    expected = np.load(folder / f"{name}.npz")
    net = caffe.Net(
        folder / f"{name}_{text}.prototxt", folder / f"{name}_{weights}.caffemodel", caffe.TEST
    )
    assert net.name == name
    assert net._layer_names == expected["layer_names"].tolist()
    assert [layer.type for layer in net.layers] == expected["layer_types"].tolist()
    assert net._blob_names == expected["blob_names"].tolist()
    out = net.forward(data=expected["in/data"])
    blobs = [key[4:] for key in expected.files if key.startswith("out/")]
    assert len(blobs) >= 10
    for blob in blobs:
        check_equal(net.blobs[blob].data, expected[f"out/{blob}"], blob)
    assert np.abs(out["prob"] - expected["out/prob"]).max() <= 1e-6


@pytest.mark.parametrize("weights", ["lenet_iter_10000", "lenet_iter_10000_v1"])
def test_lenet_reads_digits(shared, weights):
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    pictures = np.zeros((500, 1, 28, 28), np.float32)
    for picture, digit in zip(pictures, digits.images):
        unit = (digit[:, :, np.newaxis] / 16).astype(np.float32)
        picture[0, 4:24, 4:24] = caffe.io.resize_image(unit, (20, 20))[:, :, 0]
    folder = shared / "models" / "lenet"
    net = caffe.Net(folder / "lenet.prototxt", folder / f"{weights}.caffemodel", caffe.TEST)
    scores = net.forward_all(data=pictures)["prob"]
    assert scores.shape == (500, 10)
    assert (scores.argmax(1) == digits.target[:500]).mean() >= 0.8


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("det1", {"conv4-2": (1, 4, 1, 1), "prob1": (1, 2, 1, 1)}),
        ("det2", {"conv5-2": (1, 4), "prob1": (1, 2)}),
        ("det3", {"conv6-2": (1, 4), "conv6-3": (1, 10), "prob1": (1, 2)}),
    ],
)
def test_mtcnn_loads_and_runs(shared, name, outputs):
    folder = shared / "models" / "mtcnn"
    net = caffe.Net(folder / f"{name}.prototxt", folder / f"{name}.caffemodel", caffe.TEST)
    net.blobs["data"].data[...] = np.random.default_rng(0).uniform(-1, 1, net.blobs["data"].shape)
    out = net.forward()
    assert {blob: array.shape for blob, array in out.items()} == outputs
    np.testing.assert_allclose(out["prob1"].sum(1), 1, rtol=1e-6)


def test_a_fully_convolutional_net_takes_any_size(shared):
    folder = shared / "models" / "mtcnn"
    net = caffe.Net(folder / "det1.prototxt", folder / "det1.caffemodel", caffe.TEST)
    picture = np.random.default_rng(1).uniform(-1, 1, (1, 3, 30, 40)).astype(np.float32)
    net.blobs["data"].reshape(1, 3, 30, 40)
    whole = net.forward(data=picture)["prob1"].copy()
    assert whole.shape == (1, 2, 10, 15)
    net.blobs["data"].reshape(1, 3, 12, 12)
    part = net.forward(data=picture[:, :, 4:16, 6:18])["prob1"]
    np.testing.assert_allclose(part[..., 0, 0], whole[..., 2, 3], rtol=1e-5)


def test_old_text_of_the_age_net_builds(shared):
    net = caffe.Net(shared / "models" / "agegender" / "deploy.prototxt", caffe.TEST)
    assert net.inputs == ["data"]
    assert net.outputs == ["prob"]
    assert net.params["fc6"][0].shape == (512, 18816)
