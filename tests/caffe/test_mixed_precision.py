"""Products in bfloat16: nearly the same, in float32 blobs, and only when asked for."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe

pytest.importorskip("torch", reason="NumPy multiplies in float32 only")

NET = """
force_backward: true
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 9 } } }
layer { name: "l" type: "Input" top: "l" input_param { shape { dim: 2 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param { num_output: 6 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "tanh" type: "TanH" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "l" top: "loss" }
"""


@pytest.fixture
def passed(text_file):
    """Give a function that passes a net forward and backward and copies all of it."""
    path = text_file(NET, "net.prototxt")

    def run(mixed):
        caffe.set_random_seed(3)
        caffe.set_mixed_precision(mixed)
        try:
            net = caffe.Net(path, caffe.TRAIN, engine="torch")
            net.blobs["x"].data[...] = np.random.default_rng(0).normal(0, 1, (2, 3, 9, 9))
            net.blobs["l"].data[...] = [1, 3]
            net.forward()
            net.backward()
        finally:
            caffe.set_mixed_precision(False)
        found = {name: blob.data.copy() for name, blob in net.blobs.items()}
        for name, blobs in net.params.items():
            found.update({f"{name} {i}": blob.diff.copy() for i, blob in enumerate(blobs)})
        return found

    return run


def test_it_is_near_and_only_when_asked_for(passed):
    exact, mixed, again = passed(False), passed(True), passed(False)
    for name, values in exact.items():
        assert mixed[name].dtype == np.float32
        assert np.abs(mixed[name] - values).max() <= 0.05 * np.abs(values).max(), name
        np.testing.assert_array_equal(again[name], values)
    assert (mixed["conv"] != exact["conv"]).any()
    assert (mixed["ip 0"] != exact["ip 0"]).any()
