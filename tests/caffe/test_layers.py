"""Single layers: against real Caffe where there is a fixture, else against the formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbpmap import caffe
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import NetParameter
from lbpmap.caffe.layers.shapes import LAYER_TYPES

RECORDED = [
    "accuracy",
    "concat_axis1",
    "conv_1x1_nobias",
    "conv_basic",
    "conv_dilation2",
    "conv_group2",
    "conv_pad_stride",
    "conv_rect_hw",
    "dropout_test",
    "eltwise_PROD",
    "eltwise_SUM",
    "euclidean",
    "hinge_L1",
    "ip_flatten",
    "ip_transpose_nobias",
    "lrn_default",
    "lrn_n5",
    "lrn_n5_big",
    "misc_absval",
    "misc_argmax",
    "misc_batchnorm_global",
    "misc_bias",
    "misc_bnll",
    "misc_clip",
    "misc_crop",
    "misc_elu",
    "misc_exp",
    "misc_flatten",
    "misc_im2col",
    "misc_log",
    "misc_mvn",
    "misc_power",
    "misc_reshape",
    "misc_sigmoid",
    "misc_spp",
    "misc_swish",
    "misc_tanh",
    "misc_threshold",
    "multinomial_logistic",
    "pool_5x5",
    "pool_6x6",
    "pool_7x7",
    "pool_8x9",
    "pool_floor",
    "pool_global",
    "pool_mask_top",
    "pool_stride_gt_kernel",
    "pool_ties_relu",
    "relu_inplace",
    "relu_leaky",
    "sigmoid_ce",
    "slice",
    "softmax_axis1_4d",
    "softmaxloss_2d",
    "softmaxloss_4d_ignore_BATCH_SIZE",
    "softmaxloss_4d_ignore_NONE",
    "softmaxloss_4d_ignore_VALID",
    "softmaxloss_normalize_false",
    "split_residual",
]
UNSUPPORTED: set[str] = set()


def test_recorded_types_that_do_not_run_are_known(fixtures):
    unsupported, names = set(), set()
    for path in (fixtures / "layers").glob("*.prototxt"):
        names.add(path.stem)
        types = {layer.type for layer in prototxt.read_text(path, NetParameter()).layer}
        unsupported |= types - set(LAYER_TYPES)
    assert names == set(RECORDED)
    assert unsupported == UNSUPPORTED


def test_types_are_listed():
    assert caffe.layer_type_list() == sorted(LAYER_TYPES)


@pytest.mark.parametrize("name", RECORDED)
def test_forward_is_caffes(fixtures, check_equal, name):
    folder = fixtures / "layers"
    expected = np.load(folder / f"{name}.npz")
    weights = folder / f"{name}.caffemodel"
    net = caffe.Net(
        folder / f"{name}.prototxt", caffe.TEST, weights=weights if weights.exists() else None
    )
    assert net._layer_names == expected["layer_names"].tolist()
    assert [layer.type for layer in net.layers] == expected["layer_types"].tolist()
    assert net._blob_names == expected["blob_names"].tolist()
    assert net.outputs == expected["outputs"].tolist()
    for key in expected.files:
        if key.startswith("in/"):
            net.blobs[key[3:]].data[...] = expected[key]
    net.forward()
    tops = [key[4:] for key in expected.files if key.startswith("out/")]
    assert tops
    for top in tops:
        check_equal(net.blobs[top].data, expected[f"out/{top}"], top)


def run(text_file, shape, layer, *, phase=caffe.TEST, params=None, x=None, more=()):
    """Run one layer on random input and return the net, the input and the output."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32) if x is None else x
    bottoms, text = "", ""
    for i, array in enumerate((x, *more)):
        dims = " ".join(f"dim: {n}" for n in array.shape)
        shape = f"input_param {{ shape {{ {dims} }} }}"
        text += f'layer {{ name: "b{i}" type: "Input" top: "b{i}" {shape} }}\n'
        bottoms += f'bottom: "b{i}" '
    net = caffe.Net(text_file(f'{text}layer {{ name: "l" {bottoms} top: "y" {layer} }}'), phase)
    for blob, values in zip(net.params.get("l", []), params or []):
        blob.data[...] = values
    for i, array in enumerate((x, *more)):
        net.blobs[f"b{i}"].data[...] = array
    return net, x, net.forward()["y"]


def naive_convolution(x, weight, bias, *, group, stride, pad, dilation):
    """Convolve pixel by pixel in double precision."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
    outputs, inputs, kh, kw = weight.shape
    rows = (x.shape[2] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    cols = (x.shape[3] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((len(x), outputs, rows, cols))
    for o in range(outputs):
        first = o // (outputs // group) * inputs
        for i in range(rows):
            for j in range(cols):
                top, left = i * stride[0], j * stride[1]
                window = x[
                    :,
                    first : first + inputs,
                    top : top + dilation[0] * (kh - 1) + 1 : dilation[0],
                    left : left + dilation[1] * (kw - 1) + 1 : dilation[1],
                ]
                y[:, o, i, j] = (window * weight[o]).sum((1, 2, 3)) + bias[o]
    return y


pair = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=60, deadline=None)
@given(
    kernel=pair,
    stride=pair,
    dilation=pair,
    pad=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    group=st.sampled_from([1, 2]),
    size=st.tuples(st.integers(7, 10), st.integers(7, 10)),
    seed=st.integers(0, 2**16),
)
def test_convolution_is_its_slow_twin(
    tmp_path_factory, kernel, stride, dilation, pad, group, size, seed
):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("conv")

    def text_file(text):
        (folder / "net.prototxt").write_text(text)
        return folder / "net.prototxt"

    weight = rng.standard_normal((4, 4 // group, *kernel)).astype(np.float32)
    bias = rng.standard_normal(4).astype(np.float32)
    settings_ = (
        f"num_output: 4 group: {group} kernel_h: {kernel[0]} kernel_w: {kernel[1]} "
        f"stride_h: {stride[0]} stride_w: {stride[1]} pad_h: {pad[0]} pad_w: {pad[1]} "
        f"dilation: {dilation[0]} dilation: {dilation[1]}"
    )
    layer = f'type: "Convolution" convolution_param {{ {settings_} }}'
    x = rng.standard_normal((2, 4, *size)).astype(np.float32)
    _, _, y = run(text_file, x.shape, layer, params=[weight, bias], x=x)
    expected = naive_convolution(
        x, weight, bias, group=group, stride=stride, pad=pad, dilation=dilation
    )
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_convolution_in_one_and_three_dimensions(text_file, check_equal):
    layer = (
        'type: "Convolution" convolution_param { num_output: 2 kernel_size: 2 bias_term: false }'
    )
    weight = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    _, x, y = run(text_file, (2, 3, 5), layer, params=[weight])
    for i in range(4):
        check_equal(y[:, :, i], np.einsum("nck,ock->no", x[:, :, i : i + 2], weight))
    weight = np.random.default_rng(1).standard_normal((2, 3, 2, 2, 2)).astype(np.float32)
    _, x, y = run(text_file, (1, 3, 3, 3, 3), layer, params=[weight])
    assert y.shape == (1, 2, 2, 2, 2)
    check_equal(y[0, 1, 0, 1, 0], (x[0, :, 0:2, 1:3, 0:2] * weight[1]).sum())


def test_lrn_within_a_channel_follows_the_formula(text_file, check_equal):
    layer = (
        'type: "LRN" lrn_param { local_size: 3 alpha: 0.4 beta: 0.6 norm_region: WITHIN_CHANNEL }'
    )
    _, x, y = run(text_file, (2, 2, 5, 6), layer)
    squares = np.pad(x.astype(np.float64) ** 2, ((0, 0), (0, 0), (1, 1), (1, 1)))
    total = sum(squares[:, :, i : i + 5, j : j + 6] for i in range(3) for j in range(3))
    check_equal(y, x * (1 + 0.4 / 9 * total) ** -0.6)


@pytest.mark.parametrize(("beta", "k", "channels"), [(0.75, 2, 7), (0.5, 1, 2), (1.3, 0.5, 1)])
def test_lrn_across_channels_follows_the_formula(text_file, check_equal, beta, k, channels):
    layer = f'type: "LRN" lrn_param {{ local_size: 5 alpha: 0.9 beta: {beta} k: {k} }}'
    _, x, y = run(text_file, (2, channels, 4, 3), layer)
    squares = np.pad(x.astype(np.float64) ** 2, ((0, 0), (2, 2), (0, 0), (0, 0)))
    total = sum(squares[:, i : i + channels] for i in range(5))
    check_equal(y, x * (k + 0.9 / 5 * total) ** -beta)


def test_prelu_has_a_slope_a_channel_or_one(text_file, check_equal):
    slopes = np.array([0.1, -0.5, 2], np.float32)
    _, x, y = run(text_file, (2, 3, 4, 5), 'type: "PReLU"', params=[slopes])
    check_equal(y, np.where(x > 0, x, x * slopes[:, None, None]))
    net, x, y = run(text_file, (2, 3), 'type: "PReLU" prelu_param { channel_shared: true }')
    assert net.params["l"][0].shape == ()
    check_equal(y, np.where(x > 0, x, x * np.float32(0.25)))


def test_scale_with_bias_and_by_a_second_blob(text_file, check_equal):
    factor, bias = np.array([2, -1, 0.5], np.float32), np.array([1, 2, 3], np.float32)
    layer = 'type: "Scale" scale_param { bias_term: true }'
    net, x, y = run(text_file, (2, 3, 4), layer, params=[factor, bias])
    check_equal(y, x * factor[:, None] + bias[:, None])
    fresh = caffe.Net(net._source, caffe.TEST)
    assert fresh.params["l"][0].data.tolist() == [1, 1, 1]
    weights = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    layer = 'type: "Scale" scale_param { axis: 0 }'
    _, x, y = run(text_file, (2, 3, 4), layer, more=[weights])
    check_equal(y, x * weights[:, :, None])


def test_eltwise_takes_the_maximum(text_file):
    rng = np.random.default_rng(3)
    more = [rng.standard_normal((2, 3)).astype(np.float32) for _ in range(2)]
    _, x, y = run(text_file, (2, 3), 'type: "Eltwise" eltwise_param { operation: MAX }', more=more)
    np.testing.assert_array_equal(y, np.max([x, *more], 0))


def test_batch_norm_in_training_follows_the_formula(text_file, check_equal):
    layer = 'type: "BatchNorm" batch_norm_param { moving_average_fraction: 0.9 eps: 0.001 }'
    net, x, y = run(text_file, (4, 3, 2, 5), layer, phase=caffe.TRAIN)
    mean, variance = x.mean((0, 2, 3), np.float64), x.var((0, 2, 3), np.float64)
    aligned = (slice(None), None, None)
    check_equal(y, (x - mean[aligned]) / np.sqrt(variance[aligned] + 0.001))
    sums = [blob.data.copy() for blob in net.params["l"]]
    check_equal(sums[0], mean)
    check_equal(sums[1], variance * 40 / 39)
    assert sums[2] == 1
    net.forward()
    check_equal(net.params["l"][0].data, mean * 1.9)
    check_equal(net.params["l"][2].data, [1.9])


def test_dropout_in_training_drops_and_scales(text_file):
    layer = 'type: "Dropout" dropout_param { dropout_ratio: 0.7 }'
    _, _, y = run(text_file, None, layer, phase=caffe.TRAIN, x=np.ones((100, 100), np.float32))
    kept = y > 0
    np.testing.assert_allclose(y[kept], 1 / 0.3, rtol=1e-6)
    # 10,000 draws: the standard deviation of the mean is 0.0046.
    assert abs(kept.mean() - 0.3) < 0.025


def test_hinge_loss_squared(text_file, check_equal):
    labels = np.array([0, 2, 1, 2], np.float32)
    layer = 'type: "HingeLoss" hinge_loss_param { norm: L2 }'
    _, x, y = run(text_file, (4, 3), layer, more=[labels])
    sign = np.where(labels[:, None] == np.arange(3), -1, 1)
    check_equal(y, (np.maximum(0, 1 + sign * x) ** 2).sum() / 4)


def test_argmax_along_an_axis(text_file):
    layer = 'type: "ArgMax" argmax_param { axis: 1 }'
    _, x, y = run(text_file, (2, 5, 3), layer)
    np.testing.assert_array_equal(y[:, 0], x.argmax(1))
    _, x, y = run(text_file, (2, 5, 3), layer.replace("axis", "out_max_val: true axis"))
    np.testing.assert_array_equal(y[:, 0], x.max(1))


def test_bases_of_exp_and_log(text_file, check_equal):
    _, x, y = run(text_file, (2, 3), 'type: "Exp" exp_param { base: 3 scale: 2 shift: 1 }')
    check_equal(y, 3.0 ** (1 + 2 * x.astype(np.float64)))
    x = np.array([[1, 4, 9]], np.float32)
    _, x, y = run(text_file, None, 'type: "Log" log_param { base: 3 scale: 2 shift: 1 }', x=x)
    check_equal(y, np.log(1 + 2 * x.astype(np.float64)) / math.log(3))


def test_infinities_are_values(text_file):
    x = np.array([[0, -1, np.inf]], np.float32)
    _, _, y = run(text_file, None, 'type: "Log"', x=x)
    np.testing.assert_array_equal(y, [[-np.inf, np.nan, np.inf]])


def test_a_huge_kernel_takes_no_time(text_file):
    pooling = "kernel_size: 4000000001 pad: 2000000000 pool: AVE"
    _, _, y = run(text_file, (1, 2, 3, 4), f'type: "Pooling" pooling_param {{ {pooling} }}')
    assert y.shape == (1, 2, 3, 4)
    assert np.abs(y).max() < 1e-15


def test_a_label_that_is_no_class_is_an_error(text_file):
    labels = np.array([0, 3], np.float32)
    with pytest.raises(
        ValueError, match=r'layer "l" \(SoftmaxWithLoss\): label 3 is none of the 3'
    ):
        run(text_file, (2, 3), 'type: "SoftmaxWithLoss"', more=[labels])


def test_a_loss_without_a_top_gets_one(text_file):
    net = caffe.Net(
        text_file(
            'layer { name: "a" type: "Input" top: "a" top: "b" input_param { shape { dim: 2 } } }'
            'layer { name: "loss" type: "EuclideanLoss" bottom: "a" bottom: "b" }'
        ),
        caffe.TEST,
    )
    assert net.outputs == []
    assert net.forward(["(automatic)"], a=[1, 2], b=[3, 4])["(automatic)"] == 2
