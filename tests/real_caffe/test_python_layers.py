"""Layers written in Python: the same module in real Caffe and here."""

from __future__ import annotations

import os

import pytest

MODULE = '''
import json
import numpy as np
try:
    import caffe
    if not hasattr(caffe, "Net"):
        raise ImportError
except ImportError:
    from lbpmap import caffe

calls = []


class Scaled(caffe.Layer):
    """Multiply by what param_str says, learn a term, and tell what was called."""

    def setup(self, bottom, top):
        calls.append("setup %d %d %s" % (len(bottom), len(top), self.param_str))
        self.factor = json.loads(self.param_str)["factor"]
        self.blobs.add_blob(bottom[0].shape[1])
        self.blobs[0].data[...] = 0.5

    def reshape(self, bottom, top):
        calls.append("reshape %s" % (tuple(bottom[0].shape),))
        top[0].reshape(*bottom[0].shape)
        top[1].reshape(1)

    def forward(self, bottom, top):
        calls.append("forward")
        top[0].data[...] = self.factor * bottom[0].data + self.blobs[0].data
        top[1].data[...] = bottom[0].data.sum()

    def backward(self, top, propagate_down, bottom):
        calls.append("backward %s" % [bool(p) for p in propagate_down])
        if propagate_down[0]:
            bottom[0].diff[...] = self.factor * top[0].diff + top[1].diff
        self.blobs[0].diff[...] += top[0].diff.sum(axis=0)


class Distance(caffe.Layer):
    """Half the mean of squared distances, as in Caffe's own example."""

    def setup(self, bottom, top):
        if len(bottom) != 2:
            raise Exception("Need two inputs")

    def reshape(self, bottom, top):
        self.diff = np.zeros_like(bottom[0].data, dtype=np.float32)
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.diff[...] = bottom[0].data - bottom[1].data
        top[0].data[...] = np.sum(self.diff**2) / bottom[0].num / 2.0

    def backward(self, top, propagate_down, bottom):
        for i in range(2):
            if not propagate_down[i]:
                continue
            sign = 1 if i == 0 else -1
            bottom[i].diff[...] = sign * self.diff / bottom[i].num


class Phase(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(1, 1)

    def forward(self, bottom, top):
        top[0].data[...] = self.phase

    def backward(self, top, propagate_down, bottom):
        pass


class InPlace(Phase):
    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        top[0].data[...] *= 3

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] *= 3
'''
X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 4 } } }\n'
IP = (
    'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" '
    "inner_product_param { num_output: 4 } }\n"
)


def layer(kind, settings="", bottoms=("y",), tops=("z",), param_str=""):
    names = "".join(f'bottom: "{name}" ' for name in bottoms)
    names += "".join(f'top: "{name}" ' for name in tops)
    text = f" param_str: '{param_str}'" if param_str else ""
    return (
        f'layer {{ name: "{kind}" type: "Python" {names} {settings} '
        f'python_param {{ module: "live_layers" layer: "{kind}"{text} }} }}\n'
    )


def with_module(caffe, live, given):
    import sys

    sys.path.insert(0, os.getcwd())
    sys.modules.pop("live_layers", None)
    try:
        import live_layers

        found = live.both_ways(caffe, given)
        found["calls"] = live_layers.calls
    finally:
        sys.path.remove(os.getcwd())
        sys.modules.pop("live_layers", None)
    return found


NETS = {
    "two tops": layer("Scaled", tops=("z", "sum"), param_str='{"factor": 2.5}'),
    "a frozen parameter": layer(
        "Scaled", "param { lr_mult: 0 }", tops=("z", "sum"), param_str='{"factor": -1}'
    ),
    "a loss": layer("Distance", "loss_weight: 2", ("y", "x"), ("loss",)),
    "no loss": layer("Distance", "", ("y", "x"), ("loss",)),
    "propagate_down": layer(
        "Distance", "loss_weight: 1 propagate_down: true propagate_down: false", ("y", "x"), ("l",)
    ),
    "the phase": layer("Phase", bottoms=()),
    "in place": layer("InPlace", tops=("y",)),
}


@pytest.mark.parametrize("case", NETS)
@pytest.mark.parametrize("force", ["", "force_backward: true\n"])
def test_python_layer(compare, engine, case, force):
    files = {"net.prototxt": force + X + IP + NETS[case], "live_layers.py": MODULE}
    # How often a layer is reshaped is not the same: Caffe does it once more at the beginning.
    for phase in (0, 1):
        compare(with_module, files, phase=phase, passes=2, but=("calls",))


def order_of_calls(found):
    return [call for call in found["calls"].tolist() if not call.startswith("reshape")]


def test_what_is_called(in_real, in_ours, engine):
    files = {"net.prototxt": X + IP + NETS["two tops"], "live_layers.py": MODULE}
    real, ours = (do(with_module, files, passes=2) for do in (in_real, in_ours))
    assert order_of_calls(ours) == order_of_calls(real)
    assert len(order_of_calls(real)) >= 3


def failing(caffe, live, given):
    import sys

    sys.path.insert(0, os.getcwd())
    try:
        caffe.Net("net.prototxt", caffe.TEST)
    except Exception as error:
        return {"type": type(error).__name__, "text": str(error)}
    finally:
        sys.path.remove(os.getcwd())
        sys.modules.pop("live_layers", None)
    return {"type": "none"}


def test_an_exception_comes_through(compare):
    files = {"net.prototxt": X + IP + layer("Distance"), "live_layers.py": MODULE}
    found = compare(failing, files)
    assert found["text"] == "Need two inputs"
