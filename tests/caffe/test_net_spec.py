"""Nets written in Python: the messages that real Caffe makes of the same calls, and the errors."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe import layers as L
from lbpmap.caffe import params as P
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import BlobShape, LayerParameter, NetParameter
from lbpmap.caffe.net_spec import Function, Top

# What the real Caffe 1.0 wrote for `lenet` below.
LENET = """
layer {
  name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param {
    scale: 0.003921568859368563 mirror: true mean_value: 1 mean_value: 2 mean_value: 3
  }
  data_param { source: "x" batch_size: 3 backend: LMDB }
}
layer {
  name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: "xavier" } }
}
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer {
  name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 }
}
layer {
  name: "ip_named" type: "InnerProduct" bottom: "pool1" top: "ip"
  inner_product_param { num_output: 10 }
}
layer {
  name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" loss_weight: 0.5
}
layer {
  name: "acc" type: "Accuracy" bottom: "ip" bottom: "label" top: "acc"
  include { phase: TEST } accuracy_param { top_k: 5 }
}
"""


def lenet():
    n = caffe.NetSpec()
    n.data, n.label = L.Data(
        source="x",
        backend=P.Data.LMDB,
        batch_size=3,
        ntop=2,
        transform_param={"scale": 1.0 / 255, "mirror": True, "mean_value": [1, 2, 3]},
        include={"phase": caffe.TEST},
    )
    n.conv1 = L.Convolution(
        n.data,
        kernel_size=5,
        num_output=20,
        weight_filler={"type": "xavier"},
        param=[{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2}],
    )
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    n.pool1 = L.Pooling(n.relu1, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    n.ip = L.InnerProduct(n.pool1, num_output=10, name="ip_named")
    n.loss = L.SoftmaxWithLoss(n.ip, n.label, loss_weight=0.5)
    n.acc = L.Accuracy(n.ip, n.label, include={"phase": 1}, top_k=5)
    return n


def parsed(text):
    return prototxt.parse(text, NetParameter())


def layers_of(net):
    return [(la.name, list(la.bottom), list(la.top)) for la in net.layer]


def test_a_whole_net_is_what_real_caffe_writes():
    n = lenet()
    assert n.to_proto() == parsed(LENET)
    assert parsed(str(n.to_proto())) == parsed(LENET)
    assert list(n.tops) == ["data", "label", "conv1", "relu1", "pool1", "ip", "loss", "acc"]
    assert n.pool1 is n["pool1"]


def test_the_text_runs(text_file):
    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [1, 3, 6, 6]})
    n.conv = L.Convolution(n.data, kernel_size=3, num_output=2, weight_filler={"type": "xavier"})
    n.prob = L.Softmax(n.conv)
    net = caffe.Net(text_file(str(n.to_proto())), caffe.TEST)
    assert net.forward()["prob"].shape == (1, 2, 4, 4)


# Each with what the real Caffe 1.0 made of it: names, bottoms and tops.
def test_layers_without_a_name_are_numbered_by_type():
    data = L.Input()
    top = L.Eltwise(L.ReLU(L.Convolution(data), in_place=True), data)
    assert layers_of(caffe.to_proto(top)) == [
        ("Input1", [], ["Input1"]),
        ("Convolution1", ["Input1"], ["Convolution1"]),
        ("ReLU1", ["Convolution1"], ["Convolution1"]),
        ("Eltwise1", ["Convolution1", "Input1"], ["Eltwise1"]),
    ]
    assert top.to_proto() == caffe.to_proto(top)


def test_each_top_without_a_name_has_a_number():
    n = caffe.NetSpec()
    n.data = L.Input()
    n.sum = L.Eltwise(*L.Slice(n.data, ntop=2))
    assert layers_of(n.to_proto())[1:] == [
        ("Slice1", ["data"], ["Slice1", "Slice2"]),
        ("sum", ["Slice1", "Slice2"], ["sum"]),
    ]


def test_tops_and_bottoms_given_by_name_come_behind():
    n = caffe.NetSpec()
    n.data, n.label = L.Data(ntop=2, name="input", top=["x", "y"])
    n.out = L.ReLU(n.data, top="q", name="nm")
    assert layers_of(n.to_proto()) == [
        ("input", [], ["data", "label", "x", "y"]),
        ("nm", ["data"], ["out", "q"]),
    ]
    free = caffe.to_proto(L.Eltwise(bottom=["a", "b"]))
    assert layers_of(free) == [("Eltwise1", ["a", "b"], ["Eltwise1"])]


def test_the_last_name_of_a_blob_counts():
    n = caffe.NetSpec()
    n.a = L.Input()
    n.b = n.a
    n.c = L.ReLU(n.a)
    assert layers_of(n.to_proto()) == [("b", [], ["b"]), ("c", ["b"], ["c"])]


def test_a_layer_without_tops_is_assigned_itself():
    n = caffe.NetSpec()
    n.data = L.Input()
    n.s = L.Silence(n.data, ntop=0)
    assert isinstance(n.s, Function)
    assert layers_of(n.to_proto())[1] == ("s", ["data"], [])


def test_names_that_are_no_identifiers_go_in_as_items():
    n = caffe.NetSpec()
    n["in/data"] = L.Input()
    n["in/relu"] = L.ReLU(n["in/data"], in_place=True)
    assert layers_of(n.to_proto())[1] == ("in/relu", ["in/data"], ["in/data"])
    del n["in/relu"]
    assert list(n.tops) == ["in/data"]


def test_an_in_place_layer_reads_what_its_bottom_is_called():
    top = L.ReLU(L.Dropout(L.Input(), in_place=True), in_place=True)
    assert [tops for _, _, tops in layers_of(caffe.to_proto(top))] == [["Input1"]] * 3


def test_no_blobs_make_an_empty_net():
    assert caffe.to_proto() == caffe.NetSpec().to_proto() == NetParameter()


def test_nets_of_many_layers_need_no_deep_stack():
    top = L.Input()
    for _ in range(3000):
        top = L.ReLU(top)
    assert len(caffe.to_proto(top).layer) == 3001


@pytest.mark.parametrize(
    ("top", "text"),
    [
        (
            lambda: L.Convolution(kernel_size=[3, 2]),
            "convolution_param{kernel_size:3 kernel_size:2}",
        ),
        (
            lambda: L.Convolution(kernel_size=(3, 2)),
            "convolution_param{kernel_size:3 kernel_size:2}",
        ),
        (lambda: L.Convolution(pad=np.array([1, 0])), "convolution_param{pad:1 pad:0}"),
        (lambda: L.Convolution(num_output=np.int64(4)), "convolution_param{num_output:4}"),
        (lambda: L.ReLU(param={"lr_mult": 0}), "param{lr_mult:0}"),
        (lambda: L.Input(shape=BlobShape(dim=[2])), "input_param{shape{dim:2}}"),
        (
            lambda: L.Input(shape=[{"dim": [1, 2]}, {"dim": 3}]),
            "input_param{shape{dim:1 dim:2} shape{dim:3}}",
        ),
        (
            lambda: L.ReLU(include=[{"phase": 0}, {"phase": 1, "stage": ["a", "b"]}]),
            'include{phase:TRAIN} include{phase:TEST stage:"a" stage:"b"}',
        ),
        (
            lambda: L.Deconvolution(convolution_param={"num_output": 3, "kernel_size": 4}),
            "convolution_param{num_output:3 kernel_size:4}",
        ),
        (
            lambda: L.Python(module="m", layer="X", param_str="{}"),
            'python_param{module:"m" layer:"X" param_str:"{}"}',
        ),
        (
            lambda: L.SoftmaxWithLoss(loss_param={"ignore_label": 255, "normalize": False}),
            "loss_param{ignore_label:255 normalize:false}",
        ),
        (lambda: L.HingeLoss(norm=P.HingeLoss.L2), "hinge_loss_param{norm:L2}"),
        (lambda: L.LRN(norm_region=P.LRN.WITHIN_CHANNEL), "lrn_param{norm_region:WITHIN_CHANNEL}"),
    ],
)
def test_settings_of_every_kind(top, text):
    layer = caffe.to_proto(top()).layer[0]
    expected = LayerParameter(name=layer.name, type=layer.type, top=layer.top)
    assert layer == prototxt.parse(text, expected)


def test_settings_may_be_changed_until_the_net_is_written():
    top = L.Convolution(num_output=2)
    top.fn.params["num_output"] = 5
    top.fn.params.update(kernel_size=3)
    settings = caffe.to_proto(top).layer[0].convolution_param
    assert (settings.num_output, list(settings.kernel_size)) == (5, [3])


def test_every_layer_type_can_be_written():
    for name in caffe.layer_type_list():
        made = getattr(L, name)()
        assert caffe.to_proto(made).layer[0].type == name
        assert isinstance(made, Top)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: L.Convolutoin, AttributeError, 'no layer type "Convolutoin"; did you mean "Conv'),
        (
            lambda: L.Convolution(kernal_size=3),
            AttributeError,
            'kernal_size"; did you mean "kernel',
        ),
        (
            lambda: L.Convolution(weight_filler={"tipe": "a"}),
            AttributeError,
            'filler: no field "ti',
        ),
        (lambda: L.Convolution(num_output="x"), TypeError, "^L.Convolution: num_output: "),
        (lambda: L.Convolution(num_output=-1), ValueError, "^L.Convolution: num_output: "),
        (
            lambda: L.Convolution(weight_filler="xavier"),
            TypeError,
            "weight_filler must be a dict, g",
        ),
        (
            lambda: L.Deconvolution(num_output=3),
            AttributeError,
            "of that name stand in convolution_",
        ),
        (
            lambda: L.ReLU(3),
            TypeError,
            "L.ReLU: bottom 0 must be what another layer returned, got i",
        ),
        (lambda: L.ReLU(L.Data(ntop=2)), TypeError, "got tuple; a layer with several tops"),
        (lambda: L.ReLU(in_place=True), TypeError, "in_place needs a bottom"),
        (lambda: P.Poling, AttributeError, 'caffe.params: no settings "Poling"'),
        (lambda: P.Pooling.MIN, AttributeError, 'no name "MIN" here; known are AVE, '),
        (lambda: caffe.NetSpec().data, AttributeError, "nothing was assigned to 'data'"),
        (lambda: caffe.NetSpec()["data"], KeyError, "data"),
        (
            lambda: setattr(caffe.NetSpec(), "data", 3),
            TypeError,
            "NetSpec.data must be what a layer",
        ),
        (
            lambda: setattr(caffe.NetSpec(), "d", L.Data(ntop=2)),
            TypeError,
            "got tuple; a layer with",
        ),
    ],
)
def test_errors_are_one_line_that_says_what_was_wrong(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
