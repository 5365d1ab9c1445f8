"""Text: old forms brought to the newest, and errors that say where."""

from __future__ import annotations

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


def test_old_transformations_move(text_file):
    net = prototxt.read_net(
        text_file(
            'layers { type: DATA data_param { source: "db" scale: 0.5 mean_file: "m" '
            "crop_size: 7 mirror: true } }"
        )
    )
    transform = net.layer[0].transform_param
    assert (transform.scale, transform.mean_file) == (0.5, "m")
    assert (transform.crop_size, transform.mirror) == (7, True)
    assert not net.layer[0].data_param.HasField("scale")


def test_three_params_of_batch_norm_are_dropped(text_file):
    text = (
        'layer { type: "BatchNorm" param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 } }'
    )
    assert not prototxt.read_net(text_file(text)).layer[0].param


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
        ('layers { layer { name: "c" type: "conv" } }', r'layer "c": the form of 2013'),
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
    with pytest.raises(ValueError, match="67108865 bytes are too many for a prototxt"):
        prototxt.read_net(path)


def test_parse_tells_what_it_reads():
    with pytest.raises(ValueError, match=r"^solver\.prototxt:2:1: "):
        prototxt.parse('name: "a"\nnmae: "b"', NetParameter(), "solver.prototxt")
