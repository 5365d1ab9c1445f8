"""Rules of real Caffe that no fixture holds; numbers are what it gave in the live comparison."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe import policies
from lbpmap.caffe.formats.messages import FillerParameter, SolverParameter
from lbpmap.caffe.layers import fillers

X = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "l" type: "Input" top: "l" input_param { shape { dim: 2 } } }
"""
V = """
layer { name: "v" type: "Input" top: "v" input_param { shape {
  dim: 2 dim: 1 dim: 1 dim: 1 dim: 2 } } }
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
        (V + one("PReLU", "", "v"), r"at most 4 axes, got \(2, 1, 1, 1, 2\)"),
        (V + one("HingeLoss", 'bottom: "l"', "v"), "must have at most four axes"),
        (V + one("EuclideanLoss", 'bottom: "v"', "v"), "must have at most four axes"),
        (
            one("Flatten", "flatten_param { axis: 0 }").replace("out", "f")
            + one("SigmoidCrossEntropyLoss", 'bottom: "f"'),
            "have not as many items; their first dimensions must be the same",
        ),
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


def learnt(net_of, first, bottom="m"):
    """Make a net that learns, with weights of 1, and pass there and back."""
    net = net_of(first + IP.replace('"x"', f'"{bottom}"') % "" + LOSS % "", caffe.TRAIN)
    net.params["ip"][0].data[...] = [[1, 2, 3], [0, 0, 0], [0, 1, 0]]
    net.blobs["x"].data[...] = [[1, 0, 0], [0, 2, 1]]
    net.forward()
    net.backward()
    return net


@pytest.mark.parametrize(
    ("settings", "any_gradient"), [("", True), ("param { lr_mult: 0 } " * 3, False)]
)
def test_an_input_below_statistics_has_a_gradient(net_of, settings, any_gradient):
    """Caffe's net takes them for something that learns, unless their `param` says otherwise."""
    pytest.importorskip("torch", reason="gradients are PyTorch's")
    text = one("BatchNorm", settings + " batch_norm_param { use_global_stats: true eps: 1 }")
    net = learnt(net_of, text.replace("out", "m"))
    assert net.blobs["x"].diff.any() == any_gradient


@pytest.mark.parametrize(
    ("kind", "settings"), [("MVN", "mvn_param { across_channels: true }"), ("Softmax", "")]
)
def test_they_pass_down_without_being_asked(net_of, kind, settings):
    pytest.importorskip("torch", reason="gradients are PyTorch's")
    bias = one("Bias", "").replace("out", "w")
    text = bias + one(kind, f"{settings} propagate_down: false", "w").replace("out", "m")
    net = learnt(net_of, text)
    assert net.blobs["w"].diff.any()
    assert not net.params["Bias"][0].diff.any()


def test_a_layer_cut_off_below_has_a_gradient_above(net_of):
    pytest.importorskip("torch", reason="gradients are PyTorch's")
    bias = one("Bias", "").replace("out", "w")
    text = bias + one("TanH", "propagate_down: false", "w").replace("out", "m")
    net = learnt(net_of, text)
    assert net.blobs["m"].diff.any()
    assert not net.blobs["w"].diff.any()


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@pytest.mark.parametrize("engine", ["numpy", "torch"])
@pytest.mark.parametrize(
    ("slope", "above", "expected"),
    [
        (-1, "", [[1, 1, 1], [1, 1, 1]]),
        (0.5, one("Scale", "scale_param { axis: 0 }", "out"), [[-0.5, -1, -0.5], [-1, -0.5, -1]]),
    ],
    ids=["with a negative slope", "below another layer in place"],
)
def test_a_relu_in_place_looks_at_what_has_overwritten_its_input(
    text_file, slope, above, expected, engine, phase
):
    pytest.importorskip("torch", reason="gradients are PyTorch's")
    text = (
        one("Power", "") + one("ReLU", f"relu_param {{ negative_slope: {slope} }}", "out") + above
    )
    net = caffe.Net(text_file("force_backward: true\n" + X + text), phase, engine=engine)
    for blobs in net.params.values():
        blobs[0].data[...] = -1
    for _ in range(2):
        net.blobs["x"].data[...] = [[1, -2, 3], [-4, 5, -6]]
        net.forward()
        net.blobs["out"].diff[...] = 1
        net.backward()
        assert net.blobs["x"].diff.tolist() == expected


@pytest.mark.parametrize(
    "view",
    [one("Reshape", "reshape_param { shape { dim: -1 } }"), one("Concat", ""), one("Slice", "")],
)
def test_what_only_shows_a_blob_shows_its_gradient(net_of, view):
    net = net_of(view)
    net.blobs["out"].diff[...] = 3
    net.blobs["out"].data[...] = 2
    assert (net.blobs["x"].diff == 3).all()
    assert (net.blobs["x"].data == 2).all()


@pytest.mark.parametrize(
    ("values", "rates"),
    [
        ([2, 4], [1, 1, 0.5, 0.5, 0.25]),
        ([1, 1], [1, 0.5, 0.25, 0.25, 0.25]),  # one step an iteration
        ([3, 1], [1, 1, 1, 0.5, 0.25]),  # in the order that they are given
        ([0, 0, 0], [0.5, 0.25, 0.125, 0.125, 0.125]),
    ],
)
def test_rates_of_multistep(values, rates):
    p = SolverParameter(base_lr=1, lr_policy="multistep", gamma=0.5, stepvalue=values)
    assert [policies.learning_rate(p, i) for i in range(5)] == rates
    assert [0.5 ** policies.current_step(p, i) for i in range(5)] == rates


@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_small_sigmoids_have_all_their_digits(text_file, engine):
    if engine == "torch":
        pytest.importorskip("torch", reason="an engine of its own")
    text = X + one("Sigmoid", "") + one("Swish", "").replace('top: "out"', 'top: "swish"')
    net = caffe.Net(text_file(text), caffe.TEST, engine=engine)
    net.blobs["x"].data[...] = x = np.float32([[-200, -20, -8.591658], [-3, 0, 200]])
    net.forward()
    expected = 1 / (1 + np.exp(-x.astype(float)))
    np.testing.assert_allclose(net.blobs["out"].data, expected, 1e-6, 1e-38)
    np.testing.assert_allclose(net.blobs["swish"].data, x * expected, 1e-6, 1e-36)


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
