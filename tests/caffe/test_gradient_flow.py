"""Where gradients flow, and how live blobs behave while they do."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe import engine

pytest.importorskip("torch", reason="backward passes are PyTorch's")

RNG = np.random.default_rng(3)
HEAD = """
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}
layer {{ name: "label" type: "Input" top: "label" input_param {{ shape {{ dim: 4 }} }} }}
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "%s" bottom: "label" top: "loss" }'
IP = (
    'layer {{ name: "{0}" type: "InnerProduct" bottom: "{1}" top: "{0}" {2} inner_product_param '
    '{{ num_output: 3 weight_filler {{ type: "xavier" }} bias_filler {{ type: "xavier" }} }} }}'
)


def head(*dims):
    return HEAD.format(dims=" ".join(f"dim: {dim}" for dim in dims))


def filled(text_file, text, phase=caffe.TRAIN, **options):
    caffe.set_random_seed(1)
    net = caffe.Net(text_file(text), phase, **options)
    rng = np.random.default_rng(0)
    for name in net.inputs:
        shape = net.blobs[name].shape
        net.blobs[name].data[...] = (
            rng.integers(0, 3, shape) if name == "label" else rng.normal(0.4, 1, shape)
        )
    return net


IN_PLACE = {
    "ReLU": "",
    "ReLU leaky": "relu_param { negative_slope: 0.2 }",
    "Sigmoid": "",
    "TanH": "",
    "ELU": "",
    "PReLU": "",
    "AbsVal": "",
    "BNLL": "",
    "Swish": "",
    "Exp": "exp_param { scale: 0.5 }",
    "Power": "power_param { power: 2 scale: 0.5 shift: 1 }",
    "Clip": "clip_param { min: -0.5 max: 0.5 }",
    "Scale": 'scale_param { bias_term: true filler { type: "xavier" } }',
    "Bias": "",
    "BatchNorm": "",
    "MVN": "mvn_param { across_channels: true }",
    "Softmax": "",
    "LRN": "",
    "Dropout": "",
}


@pytest.mark.parametrize("held", [False, True], ids=["", "held"])
@pytest.mark.parametrize(
    "how", [("numpy", caffe.TEST), ("torch", caffe.TEST), ("torch", caffe.TRAIN)]
)
@pytest.mark.parametrize("kind", IN_PLACE)
def test_in_place_layers_have_the_gradients_of_others(text_file, check_equal, kind, how, held):
    engine_name, phase = how
    found = []
    for top in ("conv", "other"):
        text = head(4, 3, 3, 2) + (
            'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" '
            "convolution_param { num_output: 5 kernel_size: 1 "
            'weight_filler { type: "xavier" } } }'
            f'layer {{ name: "l" type: "{kind.split()[0]}" bottom: "conv" top: "{top}" '
            f"{IN_PLACE[kind]} }}"
        )
        text += IP.format("ip", top, "") + LOSS % "ip" + "force_backward: true"
        net = filled(text_file, text, phase, engine=engine_name)
        views = [blob.data for blob in net.blobs.values()] if held else []
        net.forward()
        net.backward()
        assert np.abs(net.params["conv"][0].diff).max() > 0
        if held:
            assert views[0] is not None
            np.testing.assert_array_equal(views[-1], net.blobs["loss"].data)
        found.append(
            [net.blobs["data"].diff.copy()]
            + [blob.diff.copy() for blobs in net.params.values() for blob in blobs]
        )
    for own, other in zip(*found):
        check_equal(own, other, kind)


def test_gradients_of_parameters_add_up_until_cleared(text_file, check_equal):
    net = filled(text_file, head(4, 6) + IP.format("ip", "data", "") + LOSS % "ip")
    net.forward()
    net.backward()
    once = [blob.diff.copy() for blob in net.params["ip"]]
    for _ in range(2):
        net.forward()
        net.backward()
    for blob, first in zip(net.params["ip"], once):
        check_equal(blob.diff, 3 * first)
    view = net.params["ip"][0].diff
    net.clear_param_diffs()
    assert not view.any()


def test_shared_parameters_share_their_gradient(text_file, check_equal):
    names = 'param { name: "w" } param { name: "b" }'
    text = head(4, 3) + IP.format("a", "data", names) + IP.format("b", "a", names) + LOSS % "b"
    net = filled(text_file, text)
    net.forward()
    net.backward()
    apart = filled(text_file, text.replace('"w"', '""').replace('"b" }', '"" }'))
    for mine, theirs in zip(apart.params["a"] + apart.params["b"], net.params["a"] * 2):
        mine.data[...] = theirs.data
    apart.forward()
    apart.backward()
    for i in range(2):
        total = apart.params["a"][i].diff + apart.params["b"][i].diff
        check_equal(net.params["a"][i].diff, total)
        assert np.shares_memory(net.params["a"][i].diff, net.params["b"][i].diff)


def test_a_pass_may_start_and_end_anywhere(text_file, check_equal):
    text = head(4, 6) + IP.format("one", "data", "") + IP.format("two", "one", "") + LOSS % "two"
    net = filled(text_file, text + "force_backward: true")
    net.forward()
    whole = net.backward(diffs=["one"])
    wanted = {name: diff.copy() for name, diff in whole.items()}
    assert set(wanted) == {"data", "label", "one"}
    net.forward()
    for blob in net.blobs.values():
        blob.diff[...] = 0
    net.blobs["loss"].diff[...] = 1
    assert list(net.backward(end="two")) == ["one"]
    assert not net.blobs["data"].diff.any()
    # What a user writes between two layers is what the next one begins with.
    net.blobs["one"].diff[...] *= 2
    check_equal(net.backward(start="one")["data"], 2 * wanted["data"])


def test_a_gradient_of_an_output_is_written_first(text_file, check_equal):
    net = filled(text_file, head(4, 6) + IP.format("ip", "data", "") + "force_backward: true")
    net.forward()
    given = RNG.normal(size=(4, 3)).astype(np.float32)
    label = np.zeros(4, np.float32)
    got = net.backward(ip=given, label=label)["data"]
    check_equal(got, given @ net.params["ip"][0].data)
    with pytest.raises(ValueError, match="backward got ip, the net's outputs are ip, label"):
        net.backward(ip=given)
    with pytest.raises(ValueError, match=r'output blob "ip" has shape \(4, 3\), got .* \(2, 3\)'):
        net.backward(ip=given[:2], label=label)
    with pytest.raises(ValueError, match='no layer "typo"'):
        net.backward(start="typo")


def test_what_learns_nothing_gets_no_gradient(text_file):
    frozen = "param { lr_mult: 0 } param { lr_mult: 0 }"
    text = head(4, 6) + IP.format("one", "data", frozen) + IP.format("two", "one", "")
    net = filled(text_file, text + IP.format("three", "two", frozen) + LOSS % "three")
    net.forward()
    net.backward()
    touched = {name for name in net.params if net.params[name][0].diff.any()}
    assert touched == {"two"}
    assert [layer.flow.any for layer in net.layers] == [False, False, False, True, True, True]
    # Without a loss there is no gradient, unless it is forced.
    for force, any_flow in (("", False), ("force_backward: true", True)):
        net = filled(text_file, head(4, 6) + IP.format("one", "data", "") + force)
        assert net.layer_dict["one"].flow.any is any_flow


def test_propagate_down_cuts(text_file):
    text = (
        head(4, 6) + IP.format("one", "data", "") + IP.format("two", "one", "propagate_down: false")
    )
    net = filled(text_file, text + LOSS % "two")
    net.forward()
    net.backward()
    assert not net.params["one"][0].diff.any()
    assert net.params["two"][0].diff.any()


def test_losses_count_by_their_weight(text_file, check_equal):
    text = head(4, 6) + IP.format("ip", "data", "") + LOSS % "ip"
    twice = text.replace('top: "loss"', 'top: "loss" loss_weight: 2.5')
    nets = [filled(text_file, each) for each in (text, twice)]
    for net in nets:
        net.forward()
        net.backward()
    check_equal(nets[1].params["ip"][0].diff, 2.5 * nets[0].params["ip"][0].diff)
    assert nets[1].loss() == pytest.approx(2.5 * float(nets[0].blobs["loss"].data))
    assert nets[1].blob_loss_weights["loss"] == 2.5
    with pytest.raises(ValueError, match=r'layer "ip" .*: 2 loss_weight for 1 top'):
        filled(text_file, text.replace('top: "ip"', 'top: "ip" loss_weight: 1 loss_weight: 2'))


def test_hooks_see_every_layer(text_file):
    net = filled(text_file, head(4, 6) + IP.format("ip", "data", "") + LOSS % "ip")
    seen = []
    net.before_forward(lambda i: seen.append(("before", i)))
    net.after_forward(lambda i: seen.append(("after", i)))
    net.before_backward(lambda i: seen.append(("down", i)))
    net.after_backward(lambda i: seen.append(("done", i)))
    net.forward()
    net.backward()
    forward = [(when, i) for i in range(4) for when in ("before", "after")]
    backward = [(when, i) for i in (3, 2, 1, 0) for when in ("down", "done")]
    assert seen == forward + backward


def test_more_samples_than_a_batch(text_file, check_equal):
    without_label = head(4, 6).strip().splitlines()[0]
    net = filled(text_file, without_label + IP.format("ip", "data", "") + "force_backward: true")
    data = RNG.normal(size=(7, 6))
    diff = RNG.normal(size=(7, 3)).astype(np.float32)
    values, gradients = net.forward_backward_all(data=data, ip=diff)
    assert values["ip"].shape == (7, 3)
    check_equal(gradients["data"], diff @ net.params["ip"][0].data)
    with pytest.raises(ValueError, match="the net has no blob typo"):
        net.forward_all(data=data, typo=data)


def test_without_pytorch_there_is_one_line(text_file, monkeypatch):
    net = filled(text_file, head(4, 6) + IP.format("ip", "data", "") + LOSS % "ip")
    net.forward()
    monkeypatch.setattr(engine, "has_torch", lambda: False)
    for call in (net.backward, lambda: caffe.set_engine("torch"), caffe.set_mode_gpu):
        with pytest.raises(
            RuntimeError, match=r'needs PyTorch: pip install "lbpmap\[torch\]"'
        ) as e:
            call()
        assert "\n" not in str(e.value)


def test_engines_that_are_not_there_are_named(tiny, monkeypatch):
    monkeypatch.setenv("LBPMAP_CAFFE_PYTHON", "nonesuch-python")
    with pytest.raises(
        ValueError, match="engine must be one of auto, numpy, torch, real, got 'gpu'"
    ):
        caffe.set_engine("gpu")
    with pytest.raises(ValueError, match=r"^Net: engine must be one of"):
        caffe.Net(tiny, caffe.TEST, engine="tpu")
    with pytest.raises(RuntimeError, match="no Caffe with a Net can be imported"):
        caffe.Net(tiny, caffe.TEST, engine="real")
    with pytest.raises(ValueError, match="index must be 0 or more"):
        caffe.set_device(-1)


@pytest.mark.parametrize("engine_name", ["numpy", "torch"])
def test_the_top_of_a_parameter_is_the_parameter(text_file, engine_name):
    text = (
        'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 dim: 3 } } }'
        'layer { name: "sum" type: "Reduction" bottom: "p" top: "sum" loss_weight: 1 '
        "reduction_param { operation: SUMSQ } }"
    )
    net = filled(text_file, text, engine=engine_name)
    net.params["p"][0].data[...] = [[1, 2, 3], [4, 5, 6]]
    assert np.shares_memory(net.params["p"][0].data, net.blobs["p"].data)
    for _ in range(2):
        assert float(net.forward()["sum"]) == 91
        net.backward()
    np.testing.assert_array_equal(net.params["p"][0].diff, 4 * net.params["p"][0].data)
