"""Old nets and solvers: what is read is what Caffe 1.0 itself makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe.formats import prototxt, weights
from lbpmap.caffe.formats.messages import NetParameter

# A layer of 2013, and what Caffe 1.0's upgrade_net_proto_text made of it.
V0_LAYERS = [
    (
        'type: "conv" num_output: 96 kernelsize: 3 stride: 4 group: 1 biasterm: false '
        'weight_filler { type: "gaussian" std: 0.01 } bias_filler { type: "constant" value: 0. } '
        "blobs_lr: 1. blobs_lr: 2. weight_decay: 1. weight_decay: 0.",
        'type: "Convolution" param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 } '
        "convolution_param { num_output: 96 bias_term: false kernel_size: 3 group: 1 stride: 4 "
        'weight_filler { type: "gaussian" std: 0.01 } bias_filler { type: "constant" value: 0 } }',
    ),
    ('type: "conv" pad: 2', 'type: "Convolution" convolution_param { pad: 2 }'),
    (
        'type: "pool" pool: AVE kernelsize: 3 stride: 2 pad: 1',
        'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }',
    ),
    (
        'type: "lrn" local_size: 5 alpha: 0.0001 beta: 0.75 k: 2',
        'type: "LRN" lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 k: 2 }',
    ),
    ('type: "dropout" dropout_ratio: 0.6', 'type: "Dropout" dropout_param { dropout_ratio: 0.6 }'),
    ('type: "concat" concat_dim: 0', 'type: "Concat" concat_param { concat_dim: 0 }'),
    (
        'type: "innerproduct" num_output: 9 biasterm: true weight_filler { type: "xavier" } '
        "bias_filler { }",
        'type: "InnerProduct" inner_product_param { num_output: 9 bias_term: true '
        'weight_filler { type: "xavier" } bias_filler { } }',
    ),
    (
        'type: "images" source: "list" batchsize: 5 rand_skip: 2 shuffle_images: true '
        'new_height: 3 new_width: 4 cropsize: 6 mirror: true meanfile: "mm" scale: 0.5',
        'type: "ImageData" transform_param { scale: 0.5 mirror: true crop_size: 6 mean_file: "mm" '
        '} image_data_param { source: "list" batch_size: 5 rand_skip: 2 shuffle: true '
        "new_height: 3 new_width: 4 }",
    ),
    (
        'type: "data" source: "db" batchsize: 5 rand_skip: 2 cropsize: 6 mirror: true '
        'meanfile: "mm" scale: 0.5',
        'type: "Data" transform_param { scale: 0.5 mirror: true crop_size: 6 mean_file: "mm" } '
        'data_param { source: "db" batch_size: 5 rand_skip: 2 }',
    ),
    (
        'type: "hdf5_data" source: "list" batchsize: 5',
        'type: "HDF5Data" hdf5_data_param { source: "list" batch_size: 5 }',
    ),
    (
        'type: "window_data" source: "list" batchsize: 5 det_fg_threshold: 0.1 '
        "det_bg_threshold: 0.2 det_fg_fraction: 0.3 det_context_pad: 4 "
        'det_crop_mode: "square" cropsize: 227 mirror: true meanfile: "mm"',
        'type: "WindowData" transform_param { mirror: true crop_size: 227 mean_file: "mm" } '
        'window_data_param { source: "list" batch_size: 5 fg_threshold: 0.1 bg_threshold: 0.2 '
        'fg_fraction: 0.3 context_pad: 4 crop_mode: "square" }',
    ),
    (
        'type: "infogain_loss" source: "H"',
        'type: "InfogainLoss" infogain_loss_param { source: "H" }',
    ),
    (
        'type: "hdf5_output" hdf5_output_param { file_name: "o.h5" }',
        'type: "HDF5Output" hdf5_output_param { file_name: "o.h5" }',
    ),
    ('type: "softmax_loss"', 'type: "SoftmaxWithLoss"'),
    ('type: "accuracy"', 'type: "Accuracy"'),
    ('type: "bnll"', 'type: "BNLL"'),
    ('type: "euclidean_loss"', 'type: "EuclideanLoss"'),
    ('type: "flatten"', 'type: "Flatten"'),
    ('type: "im2col"', 'type: "Im2col"'),
    ('type: "multinomial_logistic_loss"', 'type: "MultinomialLogisticLoss"'),
    ('type: "relu"', 'type: "ReLU"'),
    ('type: "sigmoid"', 'type: "Sigmoid"'),
    ('type: "softmax"', 'type: "Softmax"'),
    ('type: "split"', 'type: "Split"'),
    ('type: "tanh"', 'type: "TanH"'),
]


@pytest.mark.parametrize(("old", "new"), V0_LAYERS, ids=lambda text: text.split('"')[1])
def test_layers_of_2013_become_what_caffe_makes_of_them(text_file, old, new):
    around = 'bottom: "data" bottom: "label" top: "x"'
    net = prototxt.read_net(text_file(f'layers {{ layer {{ name: "x" {old} }} {around} }}'))
    expected = prototxt.parse(f'layer {{ name: "x" {around} {new} }}', NetParameter())
    assert net == expected


def test_settings_of_im2col_are_carried_over(text_file):
    """Caffe drops them with a message in the log, and the layer then lacks its kernel."""
    net = prototxt.read_net(text_file('layers { layer { type: "im2col" kernelsize: 3 pad: 1 } }'))
    param = net.layer[0].convolution_param
    assert (list(param.kernel_size), list(param.pad)) == ([3], [1])


V0_NET = """
name: "old" input: "data" input_dim: 2 input_dim: 2 input_dim: 7 input_dim: 7
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
layers {
  layer { name: "conv1" type: "conv" num_output: 4 kernelsize: 3 stride: 2 group: 2 }
  bottom: "pad1" top: "conv1"
}
layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
layers { layer { name: "pad2" type: "padding" pad: 1 } bottom: "conv1" top: "pad2" }
layers {
  layer { name: "pool1" type: "pool" pool: MAX kernelsize: 3 stride: 2 } bottom: "pad2" top: "pool1"
}
layers { layer { name: "fc" type: "innerproduct" num_output: 5 } bottom: "pool1" top: "fc" }
layers { layer { name: "prob" type: "softmax" } bottom: "fc" top: "prob" }
"""
NEWEST_NET = """
layer {
  name: "input" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 2 dim: 7 dim: 7 } }
}
layer {
  name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 stride: 2 group: 2 pad: 2 }
}
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer {
  name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 }
}
layer {
  name: "fc" type: "InnerProduct" bottom: "pool1" top: "fc" inner_product_param { num_output: 5 }
}
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


def test_padding_goes_into_the_layer_behind_it(text_file):
    expected = prototxt.parse('name: "old"' + NEWEST_NET, NetParameter())
    assert prototxt.read_net(text_file(V0_NET)) == expected


def test_a_net_of_2013_runs_with_weights_of_2013(text_file, tmp_path):
    old = prototxt.parse(V0_NET, NetParameter())
    new = caffe.Net(text_file(NEWEST_NET, "new.prototxt"), caffe.TEST)
    rng = np.random.default_rng(2)
    for layer in old.layers:
        for blob in new.params.get(layer.layer.name, []):
            blob.data[...] = rng.standard_normal(blob.shape)
            dims = (1, 1, 1, 1)[len(blob.shape) :] + blob.shape
            stored = layer.layer.blobs.add(
                **dict(zip(("num", "channels", "height", "width"), dims))
            )
            stored.data.extend(blob.data.ravel())
    path = tmp_path / "old.caffemodel"
    path.write_bytes(old.SerializeToString())
    types = {entry.name: entry.type for entry in weights.index(path)}
    assert types == {
        "pad1": "",
        "conv1": "Convolution",
        "relu1": "ReLU",
        "pad2": "",
        "pool1": "Pooling",
        "fc": "InnerProduct",
        "prob": "Softmax",
    }
    net = caffe.Net(text_file(V0_NET), path, caffe.TEST)
    assert not net.unfilled_layers()
    picture = rng.standard_normal((2, 2, 7, 7)).astype(np.float32)
    got, expected = (each.forward(data=picture)["prob"] for each in (net, new))
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('layer { name: "c" type: "convo" }', r'layer "c" \(convo\): no such type .* conv, data,'),
        ('layer { name: "c" }', r'layer "c" \(no type\): no such type among those of 2013'),
        (
            'layer { name: "r" type: "relu" kernelsize: 3 }',
            r'layer "r" \(relu\): kernelsize is no setting of this type, which has none; remove it',
        ),
        (
            'layer { name: "d" type: "data" new_height: 3 }',
            r'layer "d" \(data\): new_height .* which has source, batchsize, rand_skip; remove',
        ),
        (
            'layer { name: "r" type: "relu" } include { phase: TRAIN }',
            r'layer "r" \(relu\): include stands beside layer \{ \} of 2013',
        ),
        (
            'layer { name: "r" type: "relu" } } layers { name: "n" type: RELU',
            'layer "n" is of V1, others are of V0',
        ),
        (
            'layer { name: "p" type: "padding" } bottom: "a" top: "p" } '
            'layers { layer { name: "r" type: "relu" } bottom: "p" top: "r"',
            r'layer "r" \(relu\): its bottom is made by the padding layer "p"; only conv and pool',
        ),
        (
            'layer { name: "p" type: "padding" } bottom: "a" bottom: "b" top: "p" } '
            'layers { layer { name: "c" type: "conv" } bottom: "p" top: "c"',
            r'layer "c" \(conv\): it and the padding layer "p" .* one bottom and one top each',
        ),
    ],
)  # fmt: skip
def test_what_2013_cannot_hand_on_is_one_line(text_file, text, error):
    with pytest.raises(ValueError, match=error) as caught:
        prototxt.read_net(text_file(f"layers {{ {text} }}"))
    assert "\n" not in str(caught.value)
    assert "net.prototxt: " in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "param"),
    [
        ("DATA", "data_param"),
        ("IMAGE_DATA", "image_data_param"),
        ("WINDOW_DATA", "window_data_param"),
    ],
)
def test_transformations_of_v1_move(text_file, kind, param):
    settings = 'source: "db" scale: 0.5 mean_file: "m" crop_size: 7 mirror: true'
    text = f"layers {{ type: {kind} {param} {{ {settings} }} transform_param {{ mean_value: 3 }} }}"
    layer = prototxt.read_net(text_file(text)).layer[0]
    transform = layer.transform_param
    assert (transform.scale, transform.mean_file) == (0.5, "m")
    assert (transform.crop_size, transform.mirror) == (7, True)
    assert list(transform.mean_value) == [3]
    assert prototxt.format_text(getattr(layer, param)) == 'source: "db"\n'


@pytest.mark.parametrize(
    "text",
    [
        'layer { type: "Data" data_param { scale: 0.5 crop_size: 3 } }',
        "layers { type: RELU image_data_param { scale: 4 } }",
    ],
    ids=["newest form", "other type"],
)
def test_caffe_moves_no_other_transformation(text_file, text):
    assert not prototxt.read_net(text_file(text)).layer[0].HasField("transform_param")


def test_three_params_of_batch_norm_never_learn(text_file):
    text = (
        'layer { type: "BatchNorm" param { name: "shared" lr_mult: 1 } param { lr_mult: 2 } '
        "param { decay_mult: 3 } }"
    )
    params = prototxt.read_net(text_file(text)).layer[0].param
    assert [(p.name, p.lr_mult, p.decay_mult) for p in params] == [
        ("shared", 0, 0),
        ("", 0, 0),
        ("", 0, 0),
    ]


def test_fewer_params_of_batch_norm_stay(text_file):
    text = 'layer { type: "BatchNorm" param { lr_mult: 3 } }'
    assert prototxt.read_net(text_file(text)).layer[0].param[0].lr_mult == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SGD", "SGD"),
        ("NESTEROV", "Nesterov"),
        ("ADAGRAD", "AdaGrad"),
        ("RMSPROP", "RMSProp"),
        ("ADADELTA", "AdaDelta"),
        ("ADAM", "Adam"),
    ],
)
def test_types_of_solvers(text_file, old, new):
    solver = prototxt.read_solver(text_file(f'net: "n.prototxt" solver_type: {old}'))
    assert solver.type == new
    assert not solver.HasField("solver_type")


def test_two_types_of_solver_are_refused(text_file):
    with pytest.raises(
        ValueError, match=r'net\.prototxt: both solver_type \(old\) and type: "SGD"'
    ):
        prototxt.read_solver(text_file('type: "SGD" solver_type: ADAM'))
