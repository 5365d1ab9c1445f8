"""Exported files: what safetensors and PyTorch get, what each says of itself, what is refused."""

from __future__ import annotations

import contextlib
import json
import sys
import zipfile

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe.export import FORMS, export, export_files, read_about


def test_parameters_in_pycaffes_order(tmp_path, text_file, in_place):
    numpy = pytest.importorskip("safetensors.numpy")
    net = caffe.Net(text_file(in_place), caffe.TEST)
    made = export(net, tmp_path / "net.safetensors", arrays={"mean": np.ones((3, 2))})
    held = numpy.load_file(made.path)
    assert set(held) == {"conv.1.0", "conv.1.1", "bn.0", "bn.1", "bn.2", "mean"}
    assert set(made.differences) == set(held)
    for name, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            np.testing.assert_array_equal(held[f"{name}.{i}"], blob.data)
    with pytest.raises(ValueError, match=r"a parameter and an array are both named 'bn\.0'"):
        export(net, made.path, arrays={"bn.0": np.ones(3)})


def test_any_net_has_weights_to_store(tmp_path, text_file):
    pytest.importorskip("safetensors")
    text = """
    layer { name: "in" type: "Input" top: "x" top: "c" input_param {
      shape { dim: 3 dim: 2 dim: 4 } shape { dim: 3 dim: 2 } } }
    layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "c" top: "h"
      recurrent_param { num_output: 5 weight_filler { type: "xavier" } } }"""
    net = caffe.Net(text_file(text), caffe.TEST)
    assert len(export(net, tmp_path / "net.safetensors").differences) == 3
    with pytest.raises(
        ValueError, match=r'layer "lstm" \(LSTM\): keeps its state .* export \.safe'
    ):
        export(net, tmp_path / "net.onnx")


@pytest.mark.parametrize("name", ["pool_mask_top", "pool_stride_gt_kernel", "pool_floor", "lrn_n5"])
def test_windows_in_pytorch_are_caffes(fixtures, tmp_path, check_equal, name):
    torch = pytest.importorskip("torch")
    folder = fixtures / "layers"
    expected = np.load(folder / f"{name}.npz")
    made = export(caffe.Net(folder / f"{name}.prototxt", caffe.TEST), tmp_path / "layer.pt2")
    got = torch.export.load(made.path).module()(torch.from_numpy(expected["in/data"]))
    assert set(got) == set(made.differences)
    for top, tensor in got.items():
        check_equal(tensor.numpy(), expected[f"out/{top}"], top)


def test_a_program_of_a_whole_net(fixtures, tmp_path, check_equal):
    torch = pytest.importorskip("torch")
    folder = fixtures / "nets"
    expected = np.load(folder / "mini_emotiw.npz")
    files = folder / "mini_emotiw_v1.prototxt", folder / "mini_emotiw_v2.caffemodel"
    made = export_files(*files, tmp_path / "net.pt2")
    program = torch.export.load(made.path)
    assert "layers.conv1.0" in program.state_dict
    got = program.module()(torch.from_numpy(expected["in/data"]))
    check_equal(got["prob"].numpy(), expected["out/prob"])
    for items in (1, 5):
        assert program.module()(torch.zeros(items, 3, 56, 56))["prob"].shape[0] == items


LOSS = """
layer { name: "in" type: "Input" top: "x" top: "t" input_param {
  shape { dim: 1 dim: 3 } shape { dim: 1 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "t" top: "l" }
"""


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_what_has_no_form_is_one_line(text_file, in_place, tmp_path, suffix):
    for package in ("onnxruntime", "onnx", "torch"):
        pytest.importorskip(package)
    path = tmp_path / f"net{suffix}"
    with pytest.raises(ValueError, match=r'layer "loss" \(SoftmaxWithLoss\): is for training'):
        export(caffe.Net(text_file(LOSS), caffe.TEST), path)
    data = 'layer { name: "d" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 } } }'
    with pytest.raises(ValueError, match=r"DummyData\): reads data of its own; export the deploy"):
        export(caffe.Net(text_file(data), caffe.TEST), path)
    with pytest.raises(ValueError, match="is in the TRAIN phase"):
        export(caffe.Net(text_file(in_place), caffe.TRAIN), path)
    assert [each.name for each in tmp_path.iterdir()] == ["net.prototxt"]


def test_statistics_of_each_batch_have_no_form(onnx, layer_net, tmp_path):
    net = layer_net('type: "BatchNorm" batch_norm_param { use_global_stats: false }', [(2, 3)])
    with pytest.raises(ValueError, match=r'layer "l" \(BatchNorm\): takes the statistics of each'):
        export(net, tmp_path / "net.onnx")


def test_what_onnx_cannot_hold_is_refused_before_memory_is_taken(onnx, text_file, tmp_path):
    text = """
    layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 30000 } } }
    layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
      inner_product_param { num_output: 20000 } }"""
    net = caffe.Net(text_file(text), caffe.TEST)
    with pytest.raises(
        ValueError, match=r"2400080000 bytes of weights, and an ONNX file holds 2 G"
    ):
        export(net, tmp_path / "net.onnx")


def test_a_blob_may_not_be_called_as_what_the_file_holds(onnx, tiny, tmp_path):
    with pytest.raises(ValueError, match=r"tiny: has a blob 'conv', a name that the file needs"):
        export(caffe.Net(tiny, caffe.TEST), tmp_path / "net.onnx", arrays={"conv": np.ones(3)})


def test_a_net_that_gives_nothing_is_refused(onnx, text_file, tmp_path):
    text = """
    layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } }
    layer { name: "quiet" type: "Silence" bottom: "x" }"""
    with pytest.raises(ValueError, match="the net: has no outputs; nothing is left to export"):
        export(caffe.Net(text_file(text), caffe.TEST), tmp_path / "net.onnx")


def test_weights_of_another_net_and_python_layers_are_refused(
    tmp_path, tiny_weights, text_file, in_place
):
    other = text_file(in_place, "other.prototxt")
    with pytest.raises(ValueError, match=r"has no weights for conv\.1, bn of .*other\.prototxt"):
        export_files(other, tiny_weights, tmp_path / "net.safetensors")
    python = text_file('layer { name: "p" type: "Python" python_param { module: "os" } }', "p.txt")
    with pytest.raises(ValueError, match='layer "p" runs Python code of its own'):
        export_files(python, tiny_weights, tmp_path / "net.safetensors")


def test_a_file_that_differs_is_not_left(onnx, tiny, tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"what was there")
    before = sorted(tmp_path.iterdir())
    monkeypatch.setitem(
        FORMS, "ReLU", lambda at: at.add("Abs", at.bottoms[0].name, top=at.tops[0].name)
    )
    with pytest.raises(RuntimeError, match=r"tiny in ONNX Runtime: output 'prob' differs by "):
        export(caffe.Net(tiny, caffe.TEST), path)
    assert path.read_bytes() == b"what was there"
    assert sorted(tmp_path.iterdir()) == before


def test_what_the_runtime_does_not_take_is_not_left(onnx, tiny, tmp_path, monkeypatch):
    class Fail(Exception):
        """As ONNX Runtime's own, which are no RuntimeErrors."""

    def session(*args, **settings):
        raise Fail("no kernel\nfor this")

    monkeypatch.setattr(pytest.importorskip("onnxruntime"), "InferenceSession", session)
    with pytest.raises(RuntimeError, match="ONNX Runtime: no kernel for this; no file is left"):
        export(caffe.Net(tiny, caffe.TEST), tmp_path / "tiny.onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_a_graph_that_is_none_is_not_left(onnx, tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(FORMS, "ReLU", lambda at: at.add("Relu", "nowhere", top=at.tops[0].name))
    with pytest.raises(RuntimeError, match=r"tiny: ONNX's checker refuses what was written"):
        export(caffe.Net(tiny, caffe.TEST), tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors", ".pt2"])
def test_a_file_says_what_it_is(tiny, tmp_path, suffix):
    for package in ("onnxruntime", "onnx", "safetensors", "torch"):
        pytest.importorskip(package)
    net = caffe.Net(tiny, caffe.TEST)
    path = tmp_path / f"net{suffix}"
    export(net, path, more={"labels": ["a", "\u00fc"]}, sources={"deploy": tiny})
    about = read_about(path)
    assert about["labels"] == ["a", "\u00fc"]
    assert about["inputs"] == {"data": ["N", 3, 6, 5]}
    assert about["outputs"] == {"prob": ["N", 7]}
    assert about["sources"]["deploy"]["name"] == "tiny.prototxt"
    assert len(about["sources"]["deploy"]["sha256"]) == 64
    fixed = export(net, path, fixed=True)
    assert read_about(path)["inputs"] == {"data": [2, 3, 6, 5]}
    assert suffix == ".safetensors" or fixed.inputs == {"data": (2, 3, 6, 5)}
    # Cut short or mixed up anywhere, a file is an error that is expected, or says what it can.
    data, rng = path.read_bytes(), np.random.default_rng(0)
    whole = read_about(path)
    for at in [0, 1, 7, 8, 9, *rng.integers(len(data), size=60)]:
        mixed = bytearray(data)
        mixed[at] ^= 1 << rng.integers(8)
        for damaged in (data[:at], mixed):
            path.write_bytes(damaged)
            with contextlib.suppress(ValueError):
                assert isinstance(read_about(path), dict)
    for at in (0, 1, 7, len(data) // 100):
        path.write_bytes(data[:at])
        with pytest.raises(ValueError, match=r"damaged, or no|says nothing under 'lbpmap'"):
            read_about(path)
    path.write_bytes(data)
    assert read_about(path) == whole


@pytest.mark.parametrize("how", ["mixed", "encrypted"])
def test_a_damaged_entry_of_a_pt2_is_one_line(tmp_path, how):
    path = tmp_path / "net.pt2"
    said = json.dumps({"net": list(range(2000))})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/extra/lbpmap.json", said)
        entry = archive.getinfo("net/extra/lbpmap.json")
    data = bytearray(path.read_bytes())
    begin = 30 + len(entry.filename)
    central = data.index(b"PK\1\2")
    if how == "mixed":
        data[begin : begin + 40] = b"\xff" * 40
    else:
        data[6] |= 1
        data[central + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"net\.pt2: damaged, or no \.pt2 file"):
        read_about(path)


def test_claims_of_hostile_files_take_no_memory(tmp_path):
    huge = tmp_path / "net.safetensors"
    huge.write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="its header claims 4611686018427387904 bytes"):
        read_about(huge)
    bomb = tmp_path / "net.pt2"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/extra/lbpmap.json", b" " * 2**25)
    with pytest.raises(ValueError, match=r"lbpmap\.json claims 33554432 bytes"):
        read_about(bomb)
    deep = tmp_path / "deep.safetensors"
    header = json.dumps({"__metadata__": {"lbpmap": "[" * 100_000}}).encode()
    deep.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match=r"damaged, or no \.safetensors file"):
        read_about(deep)
    with pytest.raises(ValueError, match=r"net\.txt: expected a file that lbpmap has exported"):
        read_about(tmp_path / "net.txt")
    with pytest.raises(FileNotFoundError, match="no such file; expected a file that lbpmap"):
        read_about(tmp_path / "none.onnx")


def test_a_missing_package_is_one_line(tiny, tmp_path, monkeypatch):

    for package, suffix in (("onnx", "onnx"), ("safetensors", "safetensors")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=r"needs .* pip install 'lbpmap\[export\]'"):
            export(caffe.Net(tiny, caffe.TEST), tmp_path / f"net.{suffix}")
