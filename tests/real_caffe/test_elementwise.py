"""Layers that work number by number, or normalise, against real Caffe: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

X = {"x": (3, 4, 5, 2)}
POSITIVE = {"x": np.random.RandomState(2).uniform(0.1, 2, (3, 4, 5))}
KINKS = {"x": np.array([[-1.5, -1, -0.0, 0, 0.5, 1, 2]])}
LARGE = {"x": np.array([[-200, -90, -20, -5, 5, 20, 90, 200.0]])}

CASES = {
    "prelu": ('type: "PReLU"', X),
    "prelu, shared": ('type: "PReLU" prelu_param { channel_shared: true }', X),
    "prelu at kinks": ('type: "PReLU"', {"x": KINKS["x"].reshape(1, 1, 7)}),
    "relu at kinks": ('type: "ReLU"', KINKS),
    "leaky relu at kinks": ('type: "ReLU" relu_param { negative_slope: 0.3 }', KINKS),
    "elu": ('type: "ELU" elu_param { alpha: 0.7 }', X),
    "elu at kinks": ('type: "ELU"', KINKS),
    "sigmoid, saturated": ('type: "Sigmoid"', LARGE),
    "tanh": ('type: "TanH"', X),
    "bnll, saturated": ('type: "BNLL"', LARGE),
    "swish": ('type: "Swish" swish_param { beta: 1.5 }', X),
    "clip at its bounds": ('type: "Clip" clip_param { min: -1 max: 1 }', KINKS),
    "absval at zero": ('type: "AbsVal"', KINKS),
    "power 2": ('type: "Power" power_param { power: 2 scale: 0.5 shift: 1 }', X),
    "power 0": ('type: "Power" power_param { power: 0 shift: 3 }', X),
    "power 0.5": ('type: "Power" power_param { power: 0.5 scale: 2 }', POSITIVE),
    "power 3": ('type: "Power" power_param { power: 3 scale: -1 shift: 0.5 }', X),
    "power -1": ('type: "Power" power_param { power: -1 }', POSITIVE),
    "power, scale 0": ('type: "Power" power_param { power: 1.5 scale: 0 shift: 2 }', X),
    "power 2 at zero": ('type: "Power" power_param { power: 2 }', KINKS),
    "exp": ('type: "Exp"', X),
    "exp of base 2": ('type: "Exp" exp_param { base: 2 scale: 0.5 shift: -1 }', X),
    "exp of base 0.3": ('type: "Exp" exp_param { base: 0.3 }', X),
    "exp, shifted": ('type: "Exp" exp_param { scale: -2 shift: 0.5 }', X),
    "log": ('type: "Log"', POSITIVE),
    "log of base 2": ('type: "Log" log_param { base: 2 scale: 3 shift: 0.5 }', POSITIVE),
    "log of base 0.5": ('type: "Log" log_param { base: 0.5 }', POSITIVE),
    "log of zero and below": ('type: "Log"', {"x": KINKS["x"][:, [0, 1, 3, 4, 5]]}),
    "mvn": ('type: "MVN"', X),
    "mvn across channels": ('type: "MVN" mvn_param { across_channels: true }', X),
    "mvn without variance": ('type: "MVN" mvn_param { normalize_variance: false }', X),
    "mvn across channels without variance": (
        'type: "MVN" mvn_param { across_channels: true normalize_variance: false }',
        X,
    ),
    "mvn with a large eps": ('type: "MVN" mvn_param { eps: 0.5 }', X),
    "mvn of rows": ('type: "MVN"', {"x": (4, 3)}),
    "mvn of rows across channels": (
        'type: "MVN" mvn_param { across_channels: true }',
        {"x": (4, 3)},
    ),
    "dropout of nothing": ('type: "Dropout" dropout_param { dropout_ratio: 0 }', X),
    "scale": ('type: "Scale"', X),
    "scale with bias": ('type: "Scale" scale_param { bias_term: true }', X),
    "scale along two axes": (
        'type: "Scale" scale_param { axis: 1 num_axes: 2 bias_term: true }',
        X,
    ),
    "scale by one number": ('type: "Scale" scale_param { num_axes: 0 bias_term: true }', X),
    "scale along the last axis": ('type: "Scale" scale_param { axis: -1 }', X),
    "bias": ('type: "Bias"', X),
    "bias along two axes": ('type: "Bias" bias_param { axis: -2 num_axes: 2 }', X),
    "bias of one number": ('type: "Bias" bias_param { num_axes: 0 }', X),
    "softmax": ('type: "Softmax"', X),
    "softmax along axis 0": ('type: "Softmax" softmax_param { axis: 0 }', X),
    "softmax along the last axis": ('type: "Softmax" softmax_param { axis: -1 }', X),
    "threshold": ('type: "Threshold" threshold_param { threshold: 0.25 }', X),
}
# Threshold has no backward pass, in Caffe an abort.
NO_BACKWARD = ("threshold",)

TWO = {
    "scale": ('type: "Scale" scale_param { axis: 1 }', (4, 5)),
    "scale with bias": ('type: "Scale" scale_param { axis: 0 bias_term: true }', (3,)),
    "scale by one number": ('type: "Scale" scale_param { axis: 0 }', ()),
    "scale of everything": ('type: "Scale" scale_param { axis: 0 }', (3, 4, 5, 2)),
    "bias": ('type: "Bias" bias_param { axis: 1 }', (4, 5)),
    "bias of the last axis": ('type: "Bias" bias_param { axis: -1 }', (2,)),
}

INPLACE = {
    "relu": 'type: "ReLU"',
    "leaky relu": 'type: "ReLU" relu_param { negative_slope: 0.2 }',
    "elu": 'type: "ELU"',
    "sigmoid": 'type: "Sigmoid"',
    "tanh": 'type: "TanH"',
    "exp": 'type: "Exp" exp_param { base: 2 }',
    "dropout of the test phase": 'type: "Dropout"',
    "scale": 'type: "Scale" scale_param { bias_term: true }',
    "bias": 'type: "Bias"',
    "prelu": 'type: "PReLU"',
    "softmax": 'type: "Softmax"',
}


def one(text, bottom='bottom: "x"', top="y"):
    return f'layer {{ name: "l" {bottom} top: "{top}" {text} }}'


@pytest.mark.parametrize("case", CASES)
def test_elementwise_layer(compare_net, engine, case):
    text, inputs = CASES[case]
    compare_net(one(text), inputs, passes=2, backward=case not in NO_BACKWARD)


@pytest.mark.parametrize("case", TWO)
def test_second_bottom_instead_of_a_parameter(compare_net, engine, case):
    text, shape = TWO[case]
    compare_net(one(text, 'bottom: "x" bottom: "f"'), {**X, "f": shape}, passes=2)


@pytest.mark.parametrize("case", INPLACE)
def test_in_place(compare_net, engine, case):
    """The gradient is of what went in, though the blob holds what came out."""
    body = (
        'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" '
        "inner_product_param { num_output: 6 } }"
    )
    body += one(INPLACE[case], 'bottom: "y"')
    phases = (1,) if "dropout" in case else (0, 1)
    compare_net(body, {"x": (3, 4)}, phases=phases, passes=2)


def test_chain_in_place(compare_net, engine):
    # Without a bias, which BatchNorm would leave a gradient of rounding errors only.
    body = (
        'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" '
        "inner_product_param { num_output: 6 bias_term: false } }"
        'layer { name: "bn" type: "BatchNorm" bottom: "y" top: "y" }'
        'layer { name: "scale" type: "Scale" bottom: "y" top: "y" scale_param { bias_term: true } }'
        'layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }'
        'layer { name: "tanh" type: "TanH" bottom: "y" top: "y" }'
        'layer { name: "ip2" type: "InnerProduct" bottom: "y" top: "z" '
        "inner_product_param { num_output: 2 } }"
    )
    sums = {"bn[0]": np.zeros(6), "bn[1]": np.ones(6), "bn[2]": np.ones(1)}
    compare_net(body, {"x": (5, 4)}, passes=2, **sums)


@pytest.mark.parametrize("shape", [(5, 3, 2, 4), (6, 4)])
@pytest.mark.parametrize(
    "settings", ["", "moving_average_fraction: 0.6 eps: 0.01", "use_global_stats: true"]
)
def test_batch_norm(compare_net, engine, shape, settings):
    rng = np.random.RandomState(4)
    sums = {
        "l[0]": rng.uniform(-2, 2, shape[1]),
        "l[1]": rng.uniform(1, 3, shape[1]),
        "l[2]": np.array([1.7]),
    }
    text = f'type: "BatchNorm" batch_norm_param {{ {settings} }}'
    compare_net(one(text), {"x": shape}, passes=3, **sums)


def test_batch_norm_before_its_first_pass(compare_net, engine):
    """Sums of weight 0 stand for a mean and a variance of 0."""
    sums = {"l[0]": np.zeros(4), "l[1]": np.zeros(4), "l[2]": np.zeros(1)}
    compare_net(one('type: "BatchNorm"'), X, passes=2, **sums)


@pytest.mark.parametrize("operation", ["SUM", "PROD", "MAX"])
def test_eltwise(compare_net, engine, operation):
    text = f'type: "Eltwise" eltwise_param {{ operation: {operation} }}'
    body = one(text, 'bottom: "a" bottom: "b" bottom: "c"')
    compare_net(body, dict.fromkeys("abc", (2, 3, 4)), passes=2)


@pytest.mark.parametrize(
    "settings",
    [
        "coeff: 1 coeff: -1 coeff: 0.5",
        "operation: PROD stable_prod_grad: false",
    ],
)
def test_eltwise_settings(compare_net, engine, settings):
    body = one(
        f'type: "Eltwise" eltwise_param {{ {settings} }}',
        "".join(f'bottom: "{name}" ' for name in "abc"),
    )
    compare_net(body, dict.fromkeys("abc", (2, 3, 4)))


def test_eltwise_max_of_equals(compare_net, engine):
    """Among equals it is the second of two, and the first after it, that gets the gradient."""
    values = np.array(np.meshgrid([0.0, 1, 2], [0.0, 1, 2], [0.0, 1, 2])).reshape(3, 1, 27)
    body = one(
        'type: "Eltwise" eltwise_param { operation: MAX }',
        "".join(f'bottom: "{name}" ' for name in "abc"),
    )
    compare_net(body, dict(zip("abc", values)))


def test_eltwise_product_with_zeros(compare_net, engine):
    values = {"a": np.array([[0.0, 0, 2, 3]]), "b": np.array([[0.0, 1, 0, -1]])}
    text = 'type: "Eltwise" eltwise_param { operation: PROD }'
    compare_net(one(text, 'bottom: "a" bottom: "b"'), values)


# What real Caffe gets wrong, with what is wrong there; lbpmap.caffe gives the true gradient.
NOT_AS_CAFFE = {
    "power at zero": (
        'top: "y" type: "Power" power_param { power: 3 }',
        [[0.0, 1, 2]],
        "nan, as it divides the top by the bottom",
        lambda diff, x: 3 * x**2 * diff,
    ),
    "product of a zero, not stable": (
        'bottom: "one" top: "y" type: "Eltwise" '
        "eltwise_param { operation: PROD stable_prod_grad: false }",
        [[0.0, 1, 2]],
        "nan, as it divides the top by the bottom",
        lambda diff, x: diff,
    ),
    "clip in place": (
        'top: "x" type: "Clip" clip_param { min: -1 max: 1 }',
        [[-2.0, 0, 3]],
        "passes on what was cut off, as it looks at what was cut",
        lambda diff, x: diff * (np.abs(x) <= 1),
    ),
    "power in place": (
        'top: "x" type: "Power" power_param { scale: 3 }',
        [[0.0, 1, 2]],
        "9, as it overwrites the gradient that it is to multiply",
        lambda diff, x: 3 * diff,
    ),
}


def gradient_of_input(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TRAIN)
    first = net.inputs[0]
    net.blobs[first].data[...] = given["values"]
    if "one" in net.inputs:
        net.blobs["one"].data[...] = 1
    net.forward()
    net.blobs[net.outputs[0]].diff[...] = given["diffs"]
    net.backward()
    return {"diff": net.blobs[first].diff.copy()}


@pytest.mark.parametrize("case", NOT_AS_CAFFE)
def test_gradients_that_differ_on_purpose(in_real, in_ours, engine, check_same, case):
    text, values, _, true_gradient = NOT_AS_CAFFE[case]
    values, diffs = np.array(values), np.array([[0.5, -2, 1]])
    files = {"net.prototxt": net_of(f'layer {{ name: "l" bottom: "x" {text} }}', "one" in text)}
    real = in_real(gradient_of_input, files, values=values, diffs=diffs)["diff"]
    ours = in_ours(gradient_of_input, files, values=values, diffs=diffs)["diff"]
    true = true_gradient(diffs, values)
    check_same("diff", ours, true.astype(np.float32))
    assert not np.allclose(real, true)


def net_of(layer, one):
    text = "force_backward: true\n"
    for name in ["x"] + ["one"] * one:
        text += f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ '
        text += "shape { dim: 1 dim: 3 } } }\n"
    return text + layer


def sums_of_passes(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TRAIN)
    live.fill(net, given)
    found = {}
    for i in range(2):
        net.forward()
        live.fill_top_diffs(net)
        net.backward()
        found[str(i)] = net.params["l"][0].diff.copy()
    return found


def test_scale_of_every_number_adds_up(in_real, in_ours, engine, check_same):
    """Real Caffe overwrites the gradient of a Scale whose parameter has the shape of its bottom."""
    layer = one('type: "Scale" scale_param { axis: 0 num_axes: -1 }')
    files = {"net.prototxt": net_of(layer, False)}
    real, ours = in_real(sums_of_passes, files), in_ours(sums_of_passes, files)
    check_same("first", ours["0"], real["0"])
    check_same("second", ours["1"], 2 * real["0"])
    assert (real["1"] == real["0"]).all()


def test_dropout_is_the_identity_without_training(compare_net, engine):
    compare_net(one('type: "Dropout" dropout_param { dropout_ratio: 0.7 }'), X, phases=(1,))


def dropout_job(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TRAIN)
    net.blobs["x"].data[...] = 1
    net.forward()
    net.blobs["y"].diff[...] = 1
    net.backward()
    kept = net.blobs["y"].data
    return {
        "kept": float((kept != 0).mean()),
        "values": np.unique(kept),
        "backward has the mask": bool((net.blobs["x"].diff == kept).all()),
    }


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7])
def test_dropout_while_training(in_real, in_ours, engine, ratio, check_same):
    text = one(f'type: "Dropout" dropout_param {{ dropout_ratio: {ratio} }}')
    files = {"net.prototxt": INPUT + text}
    expected, got = in_real(dropout_job, files), in_ours(dropout_job, files)
    check_same("values", got["values"], expected["values"])
    for found in (expected, got):
        assert found["backward has the mask"]
        # 40,000 draws: a deviation of 0.0025 at most, six of them.
        assert abs(found["kept"] - (1 - ratio)) < 0.015


INPUT = (
    "force_backward: true\n"
    'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 200 dim: 200 } } }'
)
