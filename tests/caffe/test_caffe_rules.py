"""Rules of real Caffe that no fixture holds; numbers are what it gave in the live comparison."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe.formats.messages import FillerParameter
from lbpmap.caffe.layers import fillers

X = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "l" type: "Input" top: "l" input_param { shape { dim: 2 } } }
"""
IP = (
    'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" %s '
    "inner_product_param { num_output: 3 } }"
)
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "l" top: "loss" %s }'


def one(kind, settings, bottom="x"):
    return f'layer {{ name: "{kind}" type: "{kind}" bottom: "{bottom}" top: "out" {settings} }}'


@pytest.fixture
def net_of(text_file):
    def make(text, phase=caffe.TEST):
        return caffe.Net(text_file(X + text), phase)

    return make


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (IP % "" + LOSS % 'top: "prob"', "loss_weight for 2 top .*give one each, such as 1 and 0"),
        (IP % "" + LOSS % 'top: "prob" loss_weight: 1', "1 loss_weight for 2 top"),
        (IP % "param { } param { } param { }", "3 param for 2 parameter"),
        (one("ReLU", "param { }"), "1 param for 0 parameter"),
        (one("ReLU", "propagate_down: true propagate_down: true"), "2 propagate_down for 1"),
        (one("Eltwise", 'bottom: "x" propagate_down: true'), "1 propagate_down for 2"),
        (one("BatchNorm", "", "l"), r"must have channels, got shape \(2,\)"),
    ],
)
def test_where_caffe_aborts(net_of, text, error):
    with pytest.raises(ValueError, match=error):
        net_of(text)


def test_a_loss_that_is_read_counts_once_more(net_of):
    net = net_of(IP % "" + LOSS % "loss_weight: 0.5" + one("Power", "", "loss"))
    weights = {name: weight for name, weight in net.blob_loss_weights.items() if weight}
    assert weights == {"loss": 1, "loss_loss_0_split_0": 0.5}


def test_forcing_overrules_propagate_down(net_of):
    pytest.importorskip("torch", reason="gradients are PyTorch's")
    net = net_of("force_backward: true\n" + IP % "propagate_down: false")
    net.params["ip"][0].data[...] = np.arange(9).reshape(3, 3)
    net.forward()
    net.blobs["y"].diff[...] = 1
    assert net.backward()["x"].tolist() == [[9, 12, 15]] * 2


def test_no_dropout_at_all(net_of):
    net = net_of(one("Dropout", "dropout_param { dropout_ratio: 0 }"), caffe.TRAIN)
    net.blobs["x"].data[...] = 2
    assert (net.forward()["out"] == 2).all()


def test_mvn_gives_four_axes(net_of):
    net = net_of(one("MVN", "mvn_param { across_channels: true }"))
    net.blobs["x"].data[...] = [[1, 2, 3], [0, 0, 6]]
    out = net.forward()["out"]
    assert out.shape == (2, 3, 1, 1)
    root = 1.2247449  # the root of 3 / 2
    expected = [[-root, 0, root], [-root / 3**0.5, -root / 3**0.5, 2 * root / 3**0.5]]
    np.testing.assert_allclose(out[:, :, 0, 0], expected, atol=1e-6)
    with pytest.raises(ValueError, match="at most four axes"):
        net_of(
            one("Reshape", "reshape_param { shape { dim: [1, 1, 1, 2, 3] } }")
            + one("MVN", "", "out").replace('top: "out"', 'top: "z"')
        )


@pytest.mark.parametrize(
    ("size", "line"),
    [(1, [1]), (2, [0.5, 0.5]), (3, [0.5, 1, 0.5]), (5, [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])],
)
def test_bilinear_weights(size, line):
    values = fillers.fill((2, 1, size, size), FillerParameter(type="bilinear"), np.random)
    np.testing.assert_allclose(values, np.broadcast_to(np.outer(line, line), values.shape), 1e-6)
