"""Graphs of nets: what pycaffe draws, and what happens where pydot or Graphviz is missing."""

from __future__ import annotations

import builtins

import pytest

from lbpmap import caffe
from lbpmap.caffe import draw
from lbpmap.caffe import layers as L
from lbpmap.caffe import params as P
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import NetParameter

OLD = """
name: "old" input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c"
  convolution_param { num_output: 2 kernel_size: 3 } }
"""


@pytest.fixture
def net():
    n = caffe.NetSpec()
    n.data, n.label = L.Data(source="x", batch_size=3, ntop=2, include={"phase": caffe.TRAIN})
    n.conv1 = L.Convolution(n.data, kernel_size=5, num_output=20, stride=2, pad=1)
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    n.pool1 = L.Pooling(n.relu1, pool=P.Pooling.AVE, kernel_size=2, stride=2)
    n.ip = L.InnerProduct(n.pool1, num_output=10, param=[{"lr_mult": 0.5}])
    n.loss = L.SoftmaxWithLoss(n.ip, n.label, include={"phase": caffe.TRAIN})
    n.acc = L.Accuracy(n.ip, n.label, exclude={"phase": caffe.TRAIN})
    return n.to_proto()


# pycaffe's own labels, but for the quotes around them.
@pytest.mark.parametrize(
    ("layer", "label"),
    [
        (0, "data\n(Data)"),
        (1, "conv1\n(Convolution)\nkernel size: 5\nstride: 2\npad: 1"),
        (2, "relu1\n(ReLU)"),
        (3, "pool1\n(Pooling AVE)\nkernel size: 2\nstride: 2\npad: 0"),
    ],
)
def test_labels(net, layer, label):
    assert draw.get_layer_label(net.layer[layer], "LR") == label
    assert draw.get_layer_label(net.layer[layer], "TB") == label.replace("\n", " ")


def test_multipliers_are_told_on_demand(net):
    assert draw.get_layer_label(net.layer[4], "TB", True) == "ip (InnerProduct) lr mult: 0.5, 1.0"
    assert draw.get_layer_lr_mult(net.layer[1]) == (1.0, 1.0)
    with pytest.raises(ValueError, match=r'"pool1" \(Pooling\) has no learning-rate'):
        draw.get_layer_lr_mult(net.layer[3])


def test_both_sizes_of_a_window_are_told():
    layer = caffe.to_proto(L.Convolution(kernel_h=5, kernel_w=3, pad=[1, 0])).layer[0]
    assert draw.get_layer_label(layer, "TB").endswith("kernel size: 5 x 3 stride: 1 pad: 1 x 0")


def test_arrows_are_labelled_with_batch_and_outputs(net):
    assert [draw.get_edge_label(net.layer[i]) for i in (0, 1, 2, 4)] == ["Batch 3", "20", "", "10"]
    assert draw.get_pooling_types_dict() == {0: "MAX", 1: "AVE", 2: "STOCHASTIC"}


def edges(graph):
    return {
        (
            edge.get_source().strip('"').split("\\n")[0],
            edge.get_destination().strip('"').split("\\n")[0],
        )
        for edge in graph.get_edges()
    }


def test_the_graph_joins_layers_and_blobs(net):
    pytest.importorskip("pydot")
    graph = draw.get_pydot_graph(net, "LR")
    assert edges(graph) >= {
        ("data", "conv1"),
        ("conv1", "relu1"),
        ("relu1", "conv1"),
        ("ip", "acc"),
    }
    text = graph.to_string()
    assert '"conv1\\n(Convolution)\\nkernel size: 5\\nstride: 2\\npad: 1" -> "conv1"' in text
    assert 'label="Batch 3"' in text
    assert "Batch" not in draw.get_pydot_graph(net, "LR", label_edges=False).to_string()


def test_one_phase(net):
    pytest.importorskip("pydot")
    for phase, there, gone in ((caffe.TRAIN, "loss", "Accuracy"), (caffe.TEST, "acc", "Batch")):
        text = draw.get_pydot_graph(net, "LR", phase=phase).to_string()
        assert there in text
        assert gone not in text


def test_old_nets_and_odd_names():
    pytest.importorskip("pydot")
    graph = draw.get_pydot_graph(prototxt.parse(OLD, NetParameter()), "TB")
    assert ("data", "c (Convolution) kernel size: 3 stride: 1 pad: 0") in edges(graph)
    odd = caffe.NetSpec()
    odd['a"b|{c}'] = L.Input()
    text = draw.get_pydot_graph(odd.to_proto(), "TB").to_string()
    assert r'"a\"b|{c} (Input)" -> "a\"b|{c}"' in text


def test_what_is_missing_is_named(net, monkeypatch, tmp_path):
    pytest.importorskip("pydot")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="Graphviz's program dot is not on the PATH"):
        draw.draw_net_to_file(net, tmp_path / "net.png")
    assert list(tmp_path.iterdir()) == []
    imports = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "pydot":
            raise ImportError(name)
        return imports(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RuntimeError, match=r'needs pydot: pip install "lbpmap\[draw\]"'):
        draw.get_pydot_graph(net, "LR")


def test_the_file_holds_what_graphviz_wrote(net, monkeypatch, tmp_path):
    pydot = pytest.importorskip("pydot")
    monkeypatch.setattr(pydot.Dot, "create", lambda self, format: format.encode())
    draw.draw_net_to_file(net, tmp_path / "net.svg", "TB")
    assert (tmp_path / "net.svg").read_bytes() == b"svg"
    assert draw.draw_net(net, "LR") == b"png"
