"""Layers written in Python: as pycaffe runs them, and what happens when they fail."""

from __future__ import annotations

import sys
import textwrap
import traceback

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe import python_layer
from lbpmap.caffe.blob import Blob
from lbpmap.caffe.layers import on_host

MODULE = """
import numpy as np
from lbpmap.caffe.python_layer import Layer

calls = []

class Scaled(Layer):
    def setup(self, bottom, top):
        calls.append(("setup", len(bottom), len(top), self.phase))
        self.factor = float(self.param_str)
        assert self.param_str_ == self.param_str
    def reshape(self, bottom, top):
        calls.append("reshape")
        top[0].reshape(*bottom[0].data.shape)
    def forward(self, bottom, top):
        calls.append("forward")
        top[0].data[...] = self.factor * bottom[0].data
    def backward(self, top, propagate_down, bottom):
        calls.append(("backward", list(propagate_down)))
        if propagate_down[0]:
            bottom[0].diff[...] = self.factor * top[0].diff

class Counter(Layer):
    def setup(self, bottom, top):
        self.batch, self.at = eval(self.param_str)["batch"], 0
    def reshape(self, bottom, top):
        top[0].reshape(self.batch + self.at, 2)
        top[1].reshape(1)
    def forward(self, bottom, top):
        top[0].data[...] = self.at
        top[1].data[0] = top[0].num
        self.at += 1

class Weighted(Layer):
    def setup(self, bottom, top):
        self.blobs.add_blob(1, 3)
        self.blobs.add_blob(2)
        self.blobs[0].data[...] = [[1, 2, 3]]
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)
    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data * self.blobs[0].data
    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += (top[0].diff * bottom[0].data).sum(0)
        if propagate_down[0]:
            bottom[0].diff[...] = top[0].diff * self.blobs[0].data

class HalfSquares(Layer):
    def reshape(self, bottom, top):
        if bottom[0].count != bottom[1].count:
            raise Exception("inputs must have the same dimension")
        self.diff = np.zeros_like(bottom[0].data)
        top[0].reshape(1)
    def forward(self, bottom, top):
        self.diff[...] = bottom[0].data - bottom[1].data
        top[0].data[...] = np.sum(self.diff**2) / bottom[0].num / 2
    def backward(self, top, propagate_down, bottom):
        for i, sign in ((0, 1), (1, -1)):
            if propagate_down[i]:
                bottom[i].diff[...] = top[0].diff[0] * sign * self.diff / bottom[i].num

class Failing(Layer):
    def setup(self, bottom, top):
        if self.param_str == "setup":
            raise ValueError("the user's own words in setup")
    def reshape(self, bottom, top):
        top[0].reshape(1)
    def forward(self, bottom, top):
        raise ValueError("the user's own words in forward")

class Stranger:
    pass
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Give a module of layers that can be imported under its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "layers_of_mine.py").write_text(textwrap.dedent(MODULE))
    yield "layers_of_mine"
    sys.modules.pop("layers_of_mine", None)


@pytest.fixture
def net_of(text_file, module):
    """Give a function that builds a net of an input (2, 3) and one Python layer."""

    def build(layer, more="", phase=caffe.TEST, *, name=module, settings="", param_str=""):
        return caffe.Net(
            text_file(
                'force_backward: true layer { name: "x" type: "Input" top: "x" '
                "input_param { shape { dim: 2 dim: 3 } } }"
                f'layer {{ name: "l" type: "Python" {more or BETWEEN} {settings} python_param '
                f'{{ module: "{name}" layer: "{layer}" param_str: "{param_str}" }} }}'
            ),
            phase,
        )

    return build


BETWEEN = 'bottom: "x" top: "y"'
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_a_layer_is_called_as_pycaffe_calls_it(net_of):
    net = net_of("Scaled", param_str="2.5")
    calls = sys.modules["layers_of_mine"].calls
    assert calls == [("setup", 1, 1, caffe.TEST), "reshape"]
    assert net.blobs["y"].shape == (2, 3)
    np.testing.assert_array_equal(net.forward(x=X)["y"], 2.5 * X)
    assert calls[2:] == ["reshape", "forward"]
    assert isinstance(net.layers[1].state.instance, python_layer.Layer)
    assert net_of("Scaled", phase=caffe.TRAIN, param_str="1").layers[1].state.instance.phase == 0


def test_the_net_is_fitted_to_what_a_layer_makes_of_its_input(net_of):
    net = net_of("Scaled", param_str="2")
    net.blobs["x"].reshape(4, 5)
    net.reshape()
    assert net.blobs["y"].shape == (4, 5)
    net.blobs["x"].data[...] = 1
    np.testing.assert_array_equal(net.forward()["y"], np.full((4, 5), 2))


def test_a_layer_may_work_in_place(net_of):
    net = net_of("Scaled", 'bottom: "x" top: "x"', param_str="3")
    np.testing.assert_array_equal(net.forward(x=X)["x"], 3 * X)


def test_a_layer_without_bottoms_makes_data_of_any_shape(text_file, module):
    net = caffe.Net(
        text_file(
            'layer { name: "d" type: "Python" top: "a" top: "n" python_param '
            f"""{{ module: "{module}" layer: "Counter" param_str: "{{'batch': 2}}" }} }}"""
            'layer { name: "p" type: "Power" bottom: "a" top: "b" power_param { shift: 10 } }'
        ),
        caffe.TEST,
    )
    assert net.blobs["b"].shape == (2, 2)
    for k in range(3):
        out = net.forward()
        np.testing.assert_array_equal(out["b"], np.full((2 + k, 2), 10 + k))
        assert out["n"][0] == 2 + k


def set_up(net):
    """Do what is done once when a net is made."""
    for layer in net.layers:
        if layer.type in on_host.SET_UP:
            blobs = [[net.blobs[name] for name in n] for n in (layer.param.bottom, layer.param.top)]
            on_host.SET_UP[layer.type](layer, *blobs)


def test_parameters_are_the_nets(net_of, tmp_path):
    net = net_of("Weighted")
    set_up(net)
    own = net.layers[1].state.instance.blobs
    assert [blob.shape for blob in net.params["l"]] == [(1, 3), (2,)]
    assert list(own) == net.params["l"]
    np.testing.assert_array_equal(net.params["l"][0].data, [[1, 2, 3]])
    np.testing.assert_array_equal(net.forward(x=X)["y"], X * [1, 2, 3])
    net.params["l"][0].data[...] = [[0, 1, 0]]
    np.testing.assert_array_equal(net.forward(x=X)["y"], X * [0, 1, 0])
    net.save(tmp_path / "saved.caffemodel")
    again = net_of("Weighted")
    set_up(again)
    again.copy_from(tmp_path / "saved.caffemodel")
    np.testing.assert_array_equal(again.forward(x=X)["y"], X * [0, 1, 0])


def test_backward_is_the_users(net_of):
    pytest.importorskip("torch")
    net = net_of("Weighted", settings="loss_weight: 1")
    net.forward(x=X)
    net.blobs["y"].diff[...] = [[1, 2, 3], [4, 5, 6]]
    net.backward()
    expected = np.array([[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(net.blobs["x"].diff, expected * [1, 2, 3])
    np.testing.assert_array_equal(net.params["l"][0].diff, (expected * X).sum(0)[None])


def test_a_python_loss_is_the_euclidean_loss(text_file, module, check_equal):
    pytest.importorskip("torch")

    def run(loss):
        caffe.set_random_seed(0)
        net = caffe.Net(
            text_file(
                'layer { name: "in" type: "Input" top: "x" top: "t" '
                "input_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } } }"
                'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param '
                '{ num_output: 2 weight_filler { type: "xavier" } } }'
                f'layer {{ name: "loss" bottom: "ip" bottom: "t" top: "loss" {loss} }}'
            ),
            caffe.TRAIN,
        )
        rng = np.random.default_rng(0)
        net.forward(x=rng.standard_normal((4, 3)), t=rng.standard_normal((4, 2)))
        net.backward()
        return net

    mine = f'python_param {{ module: "{module}" layer: "HalfSquares" }}'
    got, expected = (
        run(f'type: "Python" loss_weight: 2 {mine}'),
        run('type: "EuclideanLoss" loss_weight: 2'),
    )
    check_equal(got.blobs["loss"].data.reshape(()), expected.blobs["loss"].data)
    for a, b in zip(got.params["ip"], expected.params["ip"]):
        check_equal(a.diff, b.diff)
        assert np.abs(b.diff).max() > 0


@pytest.mark.parametrize("where", ["setup", "forward"])
def test_the_users_errors_are_told_from_the_packages(net_of, module, where):
    layer = net_of("Failing").layers[1]
    layer.param.python_param.param_str = where
    call = {
        "setup": lambda: python_layer.plan(layer.param, [(2, 3)], None),
        "forward": lambda: python_layer.forward(layer, [Blob((2, 3))], [Blob((1,))]),
    }[where]
    with pytest.raises(ValueError, match=f"^the user's own words in {where}$") as caught:
        call()
    assert python_layer.raised_by_user(caught.value)
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert last.filename.endswith("layers_of_mine.py")
    layer.param.python_param.layer = "Absent"
    with pytest.raises(ValueError, match="has no class") as caught:
        python_layer.plan(layer.param, [(2, 3)], None)
    assert not python_layer.raised_by_user(caught.value)


def test_what_is_no_layer_is_one_line(net_of, tmp_path):
    with pytest.raises(
        ValueError, match=r'layer "l" \(Python\): no module "absent_of_mine" can be'
    ):
        net_of("Scaled", name="absent_of_mine")
    with pytest.raises(ValueError, match=r'no module "layers_of_mine.deeper" can be imported'):
        net_of("Scaled", name="layers_of_mine.deeper")
    with pytest.raises(ValueError, match=r'"layers_of_mine" \(.*\) has no class "Absent"'):
        net_of("Absent")
    with pytest.raises(
        ValueError, match=r'"Stranger" of module "layers_of_mine" \(.*\) is no subcl'
    ):
        net_of("Stranger")
    with pytest.raises(ValueError, match="python_param needs a module and a layer"):
        net_of("")
    # What the module itself lacks is the user's own error.
    (tmp_path / "lacking_of_mine.py").write_text("import absent_of_mine\n")
    with pytest.raises(ModuleNotFoundError, match="No module named 'absent_of_mine'"):
        net_of("Scaled", name="lacking_of_mine")
