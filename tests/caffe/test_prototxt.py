"""Text: old forms brought to the newest, and errors that say where."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import NetParameter

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 3 } } }\n'


def test_v1_layers_become_new_ones(text_file):
    net = prototxt.read_net(
        text_file(
            """
            layers {
              name: "conv" type: CONVOLUTION bottom: "data" top: "conv"
              blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0 param: "w" param: "b"
              blob_share_mode: PERMISSIVE
              convolution_param { num_output: 2 kernel_size: 3 }
              include { phase: TRAIN min_level: 2 }
            }
            layers {
              name: "loss" type: SOFTMAX_LOSS bottom: "conv" bottom: "label" loss_weight: 0.5
            }
            """
        )
    )
    assert prototxt.format_text(net) == (
        'layer {\n  name: "conv"\n  type: "Convolution"\n  bottom: "data"\n  top: "conv"\n'
        '  param {\n    name: "w"\n    share_mode: PERMISSIVE\n    lr_mult: 1.0\n'
        '    decay_mult: 1.0\n  }\n  param {\n    name: "b"\n    lr_mult: 2.0\n'
        "    decay_mult: 0.0\n"
        "  }\n  include {\n    phase: TRAIN\n    min_level: 2\n  }\n"
        "  convolution_param {\n    num_output: 2\n    kernel_size: 3\n  }\n}\n"
        'layer {\n  name: "loss"\n  type: "SoftmaxWithLoss"\n  bottom: "conv"\n  bottom: "label"\n'
        "  loss_weight: 0.5\n}\n"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ABSVAL", "AbsVal"),
        ("BNLL", "BNLL"),
        ("CONTRASTIVE_LOSS", "ContrastiveLoss"),
        ("HDF5_DATA", "HDF5Data"),
        ("IM2COL", "Im2col"),
        ("INNER_PRODUCT", "InnerProduct"),
        ("LRN", "LRN"),
        ("MVN", "MVN"),
        ("RELU", "ReLU"),
        ("SIGMOID_CROSS_ENTROPY_LOSS", "SigmoidCrossEntropyLoss"),
        ("TANH", "TanH"),
    ],
)
def test_names_of_v1_types(text_file, old, new):
    assert prototxt.read_net(text_file(f"layers {{ type: {old} }}")).layer[0].type == new


@pytest.mark.parametrize(
    "shape",
    ["input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 5", "input_shape { dim: [2, 3, 4, 5] }"],
)
def test_inputs_become_a_first_layer(text_file, shape):
    path = text_file(
        f'input: "data" {shape} layer {{ name: "s" type: "Softmax" bottom: "data" top: "p" }}'
    )
    net = prototxt.read_net(path)
    assert [(layer.name, layer.type) for layer in net.layer] == [
        ("input", "Input"),
        ("s", "Softmax"),
    ]
    assert not net.input
    assert not net.input_dim
    assert not net.input_shape
    assert caffe.Net(path, caffe.TEST).blobs["data"].shape == (2, 3, 4, 5)


def test_text_survives_a_round_trip(text_file, tiny):
    net = prototxt.read_net(tiny)
    again = prototxt.read_net(text_file(prototxt.format_text(net), "again.prototxt"))
    assert again == net


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            INPUT + 'layer {\n  type: "Convolution"\n  convolution_param {\n    kernal_size: 3 } }',
            r'net\.prototxt:5:5: message type "caffe\.ConvolutionParameter" has no field named '
            r'"kernal_size"; did you mean "kernel_size"\?$',
        ),
        ("layers { type: CONVOLUTIO }", r'1:16: enum type .* CONVOLUTIO; .* "CONVOLUTION"\?$'),
        ("layer { name: 3 }", r"net\.prototxt:1:15: expected string but found: '3'$"),
        ("layer {", r'net\.prototxt:1:7: expected "}"$'),
        ("layer { convolution_param { num_output: -1 } }", r"1:41: value out of range: -1$"),
        ("layer {" * 5000, r'1:8: message type "caffe.LayerParameter" has no field named "layer"'),
        ("[" * 5000, r"1:2: expected identifier"),
        ("name: " + "-" * 5000 + "1", r"1:7: expected string"),
        ('layer { type: "Clip" clip_param { min: 0 } }', r"layer\[0\]\.clip_param\.max is missing"),
        ('input: "data"', r'input "data" has no shape'),
        ('input: "data" input_dim: 3', r"1 input\(s\) need 4 input_dim, got 1"),
        ('input: "a" input: "b" input_shape { dim: 3 }', r"2 input\(s\) but 1 input_shape"),
        ("input_dim: 1 input_shape { dim: 3 }", r"both input_shape and input_dim"),
        ("layer { } layers { }", r'both "layers" \(old\) and "layer" \(new\)'),
        (
            'base_lr: 0.1 max_iter: 3',
            r"""no field named "base_lr"; a net's prototxt is expected, this is a solver's$""",
        ),
        ('type: "Data"', r'has no field named "type"$'),
        ("x" * 3000 + ": 1", r'has no field named "x{40,60}\.\.\.$'),
        (r'layers { layer { name: "a\nb" type: "c\nd" } }', r'layer "a b" \(c d\): no such type'),
        ('name: "a" name: "b"', r'1:17: message type .* should not have multiple "name" fields$'),
        ('name: "a', r"""1:7: string missing ending quote: '"a'$"""),
        ("[a.b]: 3", r'1:4: message type "caffe.NetParameter" does not have extensions$'),
    ],
)  # fmt: skip
def test_errors_say_where(text_file, text, error):
    with pytest.raises(ValueError, match=error) as caught:
        prototxt.read_net(text_file(text))
    assert "\n" not in str(caught.value)
    assert str(caught.value).count("net.prototxt") == 1


def test_a_caffemodel_in_place_of_text(tiny_weights):
    with pytest.raises(ValueError, match="is no text; a prototxt is expected here"):
        caffe.Net(tiny_weights, caffe.TEST)


def test_a_huge_text_is_refused_unread(tmp_path):
    path = tmp_path / "huge.prototxt"
    with open(path, "wb") as file:
        file.truncate(prototxt.MAX_TEXT_BYTES + 1)
    with pytest.raises(ValueError, match="4194305 bytes are too many for a prototxt"):
        prototxt.read_net(path)


def test_parse_tells_what_it_reads():
    with pytest.raises(ValueError, match=r"^solver\.prototxt:2:1: "):
        prototxt.parse('name: "a"\nnmae: "b"', NetParameter(), "solver.prototxt")


def test_every_way_of_writing_text(text_file):
    """Comments, separators, brackets and literals that protobuf's text format allows."""
    solver = prototxt.read_solver(
        text_file(
            "\ufeff# a comment: { \" '\n"
            r"""
            net: "a\"\x41\101\n" 'b' # strings side by side
              "c",
            test_state < stage: "x"; level: -0x10 > test_state: { phase: 1 };
            test_iter: [1, 2, 03] stepvalue: 7
            base_lr: .5f momentum: 1. weight_decay: 5E-4 gamma: -inf
            solver_mode: CPU debug_info: t snapshot_after_train: False
            """
        )
    )
    assert solver.net == 'a"AA\nbc'
    assert [(s.phase, s.level, list(s.stage)) for s in solver.test_state] == [
        (caffe.TEST, -16, ["x"]),
        (caffe.TEST, 0, []),
    ]
    assert list(solver.test_iter) == [1, 2, 3]
    assert list(solver.stepvalue) == [7]
    assert (solver.base_lr, solver.momentum, solver.gamma) == (0.5, 1, -np.inf)
    assert solver.weight_decay == np.float32(5e-4)
    assert (solver.solver_mode, solver.debug_info, solver.snapshot_after_train) == (0, True, False)


def test_comments_may_be_in_any_encoding(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_bytes(b'# \xd6\xd0 "\nname: "a # \\" b" # \xce\nname_: 1')
    with pytest.raises(ValueError, match=r'net\.prototxt:3:1: .* no field named "name_"'):
        prototxt.read_net(path)
    path.write_bytes(b'# \xd6\xd0 "\nname: "a # \\" b" # \xce')
    assert prototxt.read_net(path).name == 'a # " b'
    path.write_bytes(b'name: "\xd6"')
    with pytest.raises(ValueError, match="byte 7 is no text"):
        prototxt.read_net(path)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('name: "x"', r"""1:1: .* "name"; a solver's prototxt is expected, this is a net's$"""),
        ("layers { }", r"""1:1: .* "layers"; a solver's prototxt is expected, this is a net's$"""),
        ("lr_polcy: 3", r'1:1: .* no field named "lr_polcy"; did you mean "lr_policy"\?$'),
        ("solver_mode: GPUS", r'1:14: .* no value named GPUS; did you mean "GPU"\?$'),
        ("\n  max_iter: 1e3", r"2:13: couldn't parse integer: 1e3$"),
        ("base_lr: one", r"1:10: couldn't parse float: one$"),
        ("test_iter: 3000000000", r"1:12: value out of range: 3000000000$"),
        ("test_state <phase: TEST}", r"1:24: expected identifier or number, got }$"),
    ],
)
def test_errors_of_solvers_say_where(text_file, text, error):
    with pytest.raises(ValueError, match=error) as caught:
        prototxt.read_solver(text_file(text, "solver.prototxt"))
    assert "\n" not in str(caught.value)
    assert "solver.prototxt:" in str(caught.value)


def test_solvers_of_real_caffe_are_read(fixtures):
    paths = sorted((fixtures / "solver").glob("*.solver.prototxt"))
    solvers = {path.name.split(".")[0]: prototxt.read_solver(path) for path in paths}
    assert len(solvers) == 12
    assert solvers["adam"].type == "Adam"
    assert solvers["multistep"].stepvalue
    again = {name: prototxt.format_text(solver) for name, solver in solvers.items()}
    for name, text in again.items():
        assert prototxt.parse(text, type(solvers[name])()) == solvers[name]
