"""Layer functions on PyTorch, where nothing of real Caffe is recorded: against NumPy and formulas.

No backward values of real Caffe exist here for pooling's slow path, LRN within a channel, BatchNorm
and Dropout in TRAIN, PReLU, Scale, the maximum of Eltwise and the squared hinge. Their values are
held against the NumPy engine, and their gradients against finite differences of it.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lbpmap import caffe
from lbpmap.caffe.blob import Blob
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import LayerParameter
from lbpmap.caffe.layers import on_numpy, shapes
from lbpmap.caffe.layers.plan import Layer, Workspace

torch = pytest.importorskip("torch", reason="these are PyTorch's functions")

from lbpmap.caffe.layers import on_torch  # noqa: E402  (it imports torch)


def make(text, bottoms, *, phase=caffe.TEST, params=(), seed=0):
    """Plan one layer for arrays; return it and the shapes of its tops."""
    param = prototxt.parse(f'name: "l" {text}', LayerParameter())
    param.phase = phase
    if not param.top:
        param.top.append("y")
    plan = shapes.plan(param, [bottom.shape for bottom in bottoms])
    blobs = [Blob(each.shape) for each in plan.params]
    for blob, values in zip(blobs, params):
        blob.data[...] = values
    return Layer(param, blobs, Workspace(), np.random.default_rng(seed)), plan.tops


def on_both(text, bottoms, **options):
    """Run one layer on each engine; return the tops of NumPy and those of PyTorch."""
    layer, tops = make(text, bottoms, **options)
    arrays = [np.empty(shape, np.float32) for shape in tops]
    with np.errstate(all="ignore"):
        on_numpy.FORWARD[layer.type](layer, bottoms, arrays)
    layer, _ = make(text, bottoms, **options)
    inputs = [torch.from_numpy(bottom) for bottom in bottoms]
    params = [torch.from_numpy(blob.data) for blob in layer.blobs]
    return arrays, on_torch.FORWARD[layer.type](layer, inputs, params)


def learns(layer):
    """Whether a layer's parameters have gradients: those of BatchNorm are statistics."""
    return layer.type != "BatchNorm"


def gradients(text, bottoms, gout, *, wanted=(0,), **options):
    """Return autograd's gradients of sum(gout * top) for some bottoms, then for the parameters."""
    layer, _ = make(text, bottoms, **options)
    inputs = [torch.tensor(bottom, requires_grad=i in wanted) for i, bottom in enumerate(bottoms)]
    params = [torch.tensor(blob.data, requires_grad=learns(layer)) for blob in layer.blobs]
    (top, *_) = on_torch.FORWARD[layer.type](layer, inputs, params)
    leaves = [x for x in inputs + params if x.requires_grad]
    return torch.autograd.grad(top, leaves, torch.as_tensor(gout, dtype=top.dtype))


def differences(text, bottoms, gout, *, wanted=(0,), **options):
    """Return what `gradients` does, from the values of the NumPy engine.

    Five points 0.05 apart leave an error of h^4 / 30 times the fifth derivative, and float32 one of
    1e-7 / h: together 1e-4 for what is tested here.
    """
    step = 0.05
    layer, tops = make(text, bottoms, **options)
    bottoms = [bottom.copy() for bottom in bottoms]

    def value():
        for blob, before in zip(layer.blobs, held):
            blob.data[...] = before
        arrays = [np.empty(shape, np.float32) for shape in tops]
        on_numpy.FORWARD[layer.type](layer, bottoms, arrays)
        return float((arrays[0].astype(np.float64) * gout).sum())

    held = [blob.data.copy() for blob in layer.blobs]
    found = []
    for array in [bottoms[i] for i in wanted] + (held if learns(layer) else []):
        slopes = np.empty(array.shape)
        for place in np.ndindex(*array.shape):
            middle = array[place]
            moved = {}
            for steps in (-2, -1, 1, 2):
                array[place] = middle + np.float32(steps * step)
                moved[steps] = value()
            array[place] = middle
            slopes[place] = (8 * (moved[1] - moved[-1]) - (moved[2] - moved[-2])) / (12 * step)
        found.append(slopes)
    return found


def test_every_type_on_numpy_is_on_pytorch():
    assert set(on_numpy.FORWARD) - set(on_torch.FORWARD) == {"Input"}


rng = np.random.default_rng(7)
image = rng.standard_normal((2, 3, 4, 3)).astype(np.float32)
# Nothing here is within the reach of `differences` of a kink at 0.
clear = (np.sign(image) * (np.abs(image) + 0.15)).astype(np.float32)
# Three arrays that are at least 0.3 apart from one another everywhere, in any order.
apart = np.stack([rng.permutation(3) for _ in range(24)], 1).reshape(3, 2, 3, 4).astype(np.float32)
apart = apart * np.float32(0.8) + rng.uniform(-0.2, 0.2, apart.shape).astype(np.float32)
TRAIN = {"phase": caffe.TRAIN}
UNRECORDED = {
    # x * (1 + alpha * mean of squares in the window) ^ -beta
    "LRN within": (
        'type: "LRN" lrn_param { local_size: 3 alpha: 2 beta: 0.75 norm_region: WITHIN_CHANNEL }',
        [image],
        {},
    ),
    # x * (k + alpha / n * sum of squares over n channels) ^ -beta, off the power that has roots
    "LRN across": (
        'type: "LRN" lrn_param { local_size: 3 alpha: 2 beta: 0.6 k: 2 }',
        [image],
        {},
    ),
    # (x - mean) / sqrt(variance + eps) of the batch
    "BatchNorm": ('type: "BatchNorm" batch_norm_param { eps: 0.5 }', [image], TRAIN),
    # max(x, 0) + slope * min(x, 0)
    "PReLU": ('type: "PReLU"', [clear], {"params": [[0.3, -0.4, 2]]}),
    "PReLU shared": (
        'type: "PReLU" prelu_param { channel_shared: true }',
        [clear],
        {"params": [0.3]},
    ),
    # x * factor + bias along axes 1 and 2
    "Scale": (
        'type: "Scale" scale_param { axis: 1 num_axes: 2 bias_term: true }',
        [image],
        {"params": [image[0, :, :, 0], image[1, :, :, 0]]},
    ),
    "Scale by a blob": (
        'type: "Scale" scale_param { axis: 0 }',
        [image, image[:, :, 0, 1].copy()],
        {"wanted": (0, 1)},
    ),
    "Bias by a blob": ('type: "Bias"', [image, image[0, :, :, 1].copy()], {"wanted": (0, 1)}),
    # the largest of three
    "Eltwise MAX": (
        'type: "Eltwise" eltwise_param { operation: MAX }',
        list(apart),
        {"wanted": (0, 1, 2)},
    ),
    # sum over classes of max(0, 1 + x) ^ 2, x negated for the true one, over the batch
    "hinge L2": (
        'type: "HingeLoss" hinge_loss_param { norm: L2 }',
        [clear.reshape(6, 12) * 4, np.arange(6, dtype=np.float32)],
        {},
    ),
    # (x - mean) / (root of variance + eps) of an image, all channels
    "MVN across": ('type: "MVN" mvn_param { across_channels: true }', [image], {}),
    "MVN mean only": ('type: "MVN" mvn_param { normalize_variance: false }', [image], {}),
    "Power": ('type: "Power" power_param { power: 1.5 scale: 0.3 shift: 3 }', [image], {}),
    "Exp": ('type: "Exp" exp_param { base: 3 scale: 0.4 shift: 0.5 }', [image], {}),
    "Log": ('type: "Log" log_param { base: 3 scale: 0.3 shift: 5 }', [image], {}),
    # windows of which the last lie in the padding or behind the image
    "AVE with wide padding": (
        'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 2 }',
        [image],
        {},
    ),
    "convolution over four axes": (
        'type: "Convolution" convolution_param { num_output: 2 kernel_size: 2 group: 2 stride: 2 }',
        [rng.standard_normal((1, 2, 2, 3, 2, 2)).astype(np.float32)],
        {"params": [rng.standard_normal((2, 1, 2, 2, 2, 2)), [0.5, -1]]},
    ),
}


@pytest.mark.parametrize("case", UNRECORDED)
def test_what_is_not_recorded_agrees_with_numpy(case, check_equal):
    text, bottoms, options = UNRECORDED[case]
    settings_ = {key: value for key, value in options.items() if key != "wanted"}
    (expected,), (got,) = on_both(text, bottoms, **settings_)
    check_equal(got, expected)
    gout = np.random.default_rng(1).uniform(0.5, 1.5, expected.shape)
    found = gradients(text, bottoms, gout, **options)
    slow = differences(text, bottoms, gout, **options)
    assert len(found) == len(slow)
    for gradient, slope in zip(found, slow):
        np.testing.assert_allclose(gradient, slope, rtol=0, atol=1e-4 * np.abs(slope).max())


@pytest.mark.parametrize("case", [*UNRECORDED, "LRN of roots", "softmax loss", "cross entropy"])
def test_gradients_are_exact_in_double_precision(case):
    more = {
        "LRN of roots": (
            'type: "LRN" lrn_param { local_size: 5 alpha: 2 beta: 0.75 }',
            [image],
            {},
        ),
        "softmax loss": (
            'type: "SoftmaxWithLoss" loss_param { ignore_label: 1 }',
            [image, np.float32([[[0, 1, 2], [2, 1, 0], [1, 1, 1], [0, 0, 2]]] * 2)],
            {},
        ),
        "cross entropy": (
            'type: "SigmoidCrossEntropyLoss" loss_param { ignore_label: 1 normalization: VALID }',
            [image, np.abs(image)],
            {},
        ),
    }
    text, bottoms, options = {**UNRECORDED, **more}[case]
    options = {key: value for key, value in options.items() if key != "wanted"}
    layer, _ = make(text, bottoms, **options)
    layer.replay = True  # statistics stay as they are
    inputs = [torch.tensor(bottom, dtype=torch.float64) for bottom in bottoms]
    for x in inputs[: 1 if "Loss" in layer.type else None]:
        x.requires_grad_()
    params = [torch.tensor(blob.data, dtype=torch.float64) for blob in layer.blobs]
    for param in params:
        param.requires_grad_(learns(layer))

    def function(*tensors):
        return on_torch.FORWARD[layer.type](
            layer, list(tensors[: len(inputs)]), list(tensors[len(inputs) :])
        )[0]

    assert torch.autograd.gradcheck(function, (*inputs, *params))


@pytest.mark.parametrize(
    ("text", "x", "slope"),
    [
        ('type: "ReLU"', [-1, 0, 1], [0, 0, 1]),
        ('type: "ReLU" relu_param { negative_slope: 0.5 }', [-1, 0, 1], [0.5, 0.5, 1]),
        ('type: "PReLU"', [-1, 0, 1], [0.25, 0.25, 1]),
        ('type: "ELU" elu_param { alpha: 2 }', [0, 1], [2, 1]),
        ('type: "AbsVal"', [-1, 0, 1], [-1, 0, 1]),
        ('type: "Clip" clip_param { min: -1 max: 1 }', [-2, -1, 0, 1, 2], [0, 1, 1, 1, 0]),
        ('type: "BNLL"', [-200, 0, 200], [0, 0.5, 1]),
        ('type: "Power" power_param { power: 0 }', [-1, 0, 1], [0, 0, 0]),
        ('type: "MVN"', [3, 3, 3], [0, 0, 0]),
    ],
)
def test_gradients_at_kinks_are_caffes(text, x, slope):
    x = np.float32([[x]])
    diff = np.ones((*x.shape, 1) if "MVN" in text else x.shape, np.float32)
    (gradient, *_) = gradients(text, [x], diff, params=[[0.25]])
    np.testing.assert_allclose(gradient[0, 0], slope, atol=1e-7)


def test_of_equal_bottoms_the_second_then_the_first_gets_the_gradient():
    one = np.ones((1, 2), np.float32)
    text = 'type: "Eltwise" eltwise_param { operation: MAX }'
    assert [g.tolist() for g in gradients(text, [one] * 3, one, wanted=(0, 1, 2))] == [
        [[0, 0]],
        [[1, 1]],
        [[0, 0]],
    ]


def test_a_margin_that_is_just_met_has_no_gradient():
    x, labels = np.float32([[1, -1, -2, 0]]), np.float32([0])
    assert gradients('type: "HingeLoss"', [x, labels], 1)[0].tolist() == [[0, 0, 0, 1]]


@pytest.mark.parametrize("padding", ["", "pad: 2"])
def test_the_first_maximum_gets_the_gradient(padding):
    x = np.zeros((1, 1, 3, 3), np.float32)
    text = f'type: "Pooling" pooling_param {{ kernel_size: 3 {padding} }}'
    _, (shape,) = make(text, [x])
    (gradient,) = gradients(text, [x], np.ones(shape))
    expected = np.zeros((3, 3))
    # The first pixel of a window that starts q before the image is the image's own first.
    for i, j in np.ndindex(*shape[2:]):
        q = 2 if padding else 0
        expected[max(0, i - q), max(0, j - q)] += 1
    np.testing.assert_array_equal(gradient[0, 0], expected)


def test_logarithms_stop_in_the_value_and_not_in_the_gradient(check_equal):
    x, labels = np.float32([[0, 200], [0, 0]]), np.float32([0, 1])
    (loss,), (got,) = on_both('type: "SoftmaxWithLoss"', [x, labels])
    check_equal(got, loss)
    np.testing.assert_allclose(loss, (126 * math.log(2) + math.log(2)) / 2, rtol=1e-6)
    (gradient,) = gradients('type: "SoftmaxWithLoss"', [x, labels], 3)
    check_equal(gradient, np.float32([[-1.5, 1.5], [0.75, -0.75]]))
    x = np.float32([[0, 1], [0.5, 0.25]])
    (gradient,) = gradients('type: "MultinomialLogisticLoss"', [x, labels], 3)
    check_equal(gradient, np.float32([[-1.5e20, 0], [0, -6]]))


def test_dropout_draws_from_its_layer_and_replays():
    x = torch.ones(100, 100)
    text = 'type: "Dropout" dropout_param { dropout_ratio: 0.7 }'
    layer, _ = make(text, [x.numpy()], phase=caffe.TRAIN, seed=3)
    (first,) = on_torch.FORWARD["Dropout"](layer, [x], [])
    assert set(first.unique().tolist()) == {0, float(np.float32(1) / np.float32(1 - 0.7))}
    # 10,000 draws: the standard deviation of the share is 0.0046.
    assert abs((first > 0).float().mean() - 0.3) < 0.025
    layer.replay = True
    assert torch.equal(on_torch.FORWARD["Dropout"](layer, [x], [])[0], first)
    layer.kept["mask"] = np.full(x.shape, 2, np.float32)
    assert torch.equal(on_torch.FORWARD["Dropout"](layer, [x], [])[0], 2 * x)
    layer.replay = False
    (second,) = on_torch.FORWARD["Dropout"](layer, [x], [])
    assert not torch.equal(second, first)
    again, _ = make(text, [x.numpy()], phase=caffe.TRAIN, seed=3)
    assert torch.equal(on_torch.FORWARD["Dropout"](again, [x], [])[0], first)


@pytest.mark.parametrize("shape", [(4, 3, 2, 5), (6, 1), (1, 3)])
def test_batch_norm_sums_up_once(check_equal, shape):
    text = 'type: "BatchNorm" batch_norm_param { moving_average_fraction: 0.9 }'
    x = rng.standard_normal(shape).astype(np.float32)
    layer, (top,) = make(text, [x], phase=caffe.TRAIN)
    twin, _ = make(text, [x], phase=caffe.TRAIN)
    params = [torch.tensor(blob.data, requires_grad=True) for blob in layer.blobs]
    for _ in range(2):
        y = np.empty(top, np.float32)
        on_numpy.FORWARD["BatchNorm"](twin, [x], [y])
        layer.replay = False
        (first,) = on_torch.FORWARD["BatchNorm"](layer, [torch.from_numpy(x)], params)
        layer.replay = True
        (second,) = on_torch.FORWARD["BatchNorm"](layer, [torch.from_numpy(x)], params)
        check_equal(first.detach(), y)
        assert torch.equal(first, second)
        for param, blob in zip(params, twin.blobs):
            check_equal(param.detach(), blob.data)
    assert not first.requires_grad


def test_a_label_that_is_no_class_is_an_error():
    x, labels = np.zeros((2, 3), np.float32), np.float32([0, 3])
    for name in ("SoftmaxWithLoss", "MultinomialLogisticLoss", "HingeLoss", "Accuracy"):
        with pytest.raises(ValueError, match="label 3 is none of the 3 classes"):
            gradients(f'type: "{name}"', [x, labels], 1)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_a_huge_kernel_takes_no_time(check_equal, pool):
    text = f"kernel_size: 4000000001 pad: 2000000000 pool: {pool}"
    expected, got = on_both(f'type: "Pooling" pooling_param {{ {text} }}', [image])
    check_equal(got[0], expected[0])


# Kernel and pad, which must be smaller.
window = st.integers(1, 5).flatmap(lambda k: st.tuples(st.just(k), st.integers(0, k - 1)))
pair = st.tuples(st.integers(1, 5), st.integers(1, 5))


@settings(max_examples=150, deadline=None)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    rows=window,
    cols=window,
    stride=pair,
    pool=st.sampled_from(["MAX", "AVE"]),
    mode=st.sampled_from(["CEIL", "FLOOR"]),
    seed=st.integers(0, 2**16),
)
def test_pooling_is_numpys(size, rows, cols, stride, pool, mode, seed):
    # Few values, so that maxima tie.
    x = np.random.default_rng(seed).integers(-2, 3, (2, 2, *size)).astype(np.float32)
    text = (
        f'type: "Pooling" pooling_param {{ pool: {pool} round_mode: {mode} '
        f"kernel_h: {rows[0]} kernel_w: {cols[0]} stride_h: {stride[0]} "
        f"stride_w: {stride[1]} pad_h: {rows[1]} pad_w: {cols[1]} }}"
    )
    try:
        make(text, [x])
    except ValueError:
        assume(False)  # the kernel is larger than the padded input
    (expected,), (got,) = on_both(text, [x])
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    if pool == "MAX":
        (_, mask), tops = on_both(f'{text} top: "y" top: "mask"', [x])
        np.testing.assert_array_equal(tops[0], expected)
        np.testing.assert_array_equal(tops[1], mask)
        gout = np.random.default_rng(seed).standard_normal(mask.shape)
        down = np.zeros((4, math.prod(size)))
        for plane, places, values in zip(down, mask.reshape(4, -1), gout.reshape(4, -1)):
            np.add.at(plane, places[places >= 0].astype(int), values[places >= 0])
        (gradient,) = gradients(text, [x], gout)
        np.testing.assert_allclose(gradient, down.reshape(x.shape), rtol=0, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    axes=st.integers(1, 4),
    group=st.sampled_from([1, 2]),
    bias=st.booleans(),
    data=st.data(),
    seed=st.integers(0, 2**16),
)
def test_convolution_is_numpys(check_equal, axes, group, bias, data, seed):
    numbers = {
        name: data.draw(st.tuples(*[st.integers(least, most)] * axes), name)
        for name, least, most in (
            ("kernel_size", 1, 3),
            ("stride", 1, 2),
            ("pad", 0, 2),
            ("dilation", 1, 2),
        )
    }
    text = " ".join(f"{name}: {n}" for name, each in numbers.items() for n in each)
    text = f"{text} num_output: 4 group: {group} bias_term: {str(bias).lower()}"
    text = f'type: "Convolution" convolution_param {{ {text} }} top: "y" top: "z"'
    draw = np.random.default_rng(seed).standard_normal
    bottoms = [draw((2, 4, *[5] * axes)).astype(np.float32) for _ in range(2)]
    params = [draw((4, 4 // group, *numbers["kernel_size"])), draw(4)]
    expected, got = on_both(text, bottoms, params=params)
    for a, b in zip(got, expected):
        check_equal(a, b)
    text = text.replace("Convolution", "Im2col").replace(' top: "y" top: "z"', "")
    expected, got = on_both(text, bottoms[:1])
    np.testing.assert_array_equal(got[0], expected[0])


@settings(max_examples=60, deadline=None)
@given(
    channels=st.integers(1, 7),
    reach=st.integers(0, 4),
    beta=st.sampled_from([0.75, 0.5, 1.3]),
    region=st.sampled_from(["ACROSS_CHANNELS", "WITHIN_CHANNEL"]),
    seed=st.integers(0, 2**16),
)
def test_lrn_is_numpys(check_equal, channels, reach, beta, region, seed):
    text = f"local_size: {2 * reach + 1} alpha: 0.9 beta: {beta} k: 1.5 norm_region: {region}"
    x = np.random.default_rng(seed).standard_normal((3, channels, 4, 3)).astype(np.float32)
    expected, got = on_both(f'type: "LRN" lrn_param {{ {text} }}', [x])
    check_equal(got[0], expected[0])


@pytest.mark.parametrize("shape", [(3, 6, 30, 40), (7, 9, 100, 90), (2, 5, 300, 200)])
@pytest.mark.parametrize("beta", [0.75, 0.6])
def test_lrn_piece_by_piece_is_pytorchs_own(check_equal, shape, beta):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    layer, _ = make(
        f'type: "LRN" lrn_param {{ local_size: 5 alpha: 2 beta: {beta} k: 1.5 }}', [x.numpy()]
    )
    settings_ = layer.param.lrn_param  # float32, as the text is read
    slow = x.double().requires_grad_()
    expected = torch.nn.functional.local_response_norm(
        slow, 5, settings_.alpha, settings_.beta, settings_.k
    )
    x.requires_grad_()
    (got,) = on_torch.FORWARD["LRN"](layer, [x], [])
    check_equal(got.detach(), expected.detach())
    # A gradient that is a view of one number.
    gout = torch.ones(()).expand(shape)
    (gradient,) = torch.autograd.grad(got, x, gout)
    (exact,) = torch.autograd.grad(expected, slow, gout.double())
    check_equal(gradient, exact)


@pytest.mark.parametrize(
    "text",
    [
        'type: "Accuracy" accuracy_param { top_k: 2 ignore_label: 1 axis: 1 } top: "a" top: "b"',
        'type: "Accuracy" top: "a"',
    ],
)
def test_accuracy_is_numpys(check_equal, text):
    draw = np.random.default_rng(2).integers
    bottoms = [draw(0, 3, (5, 4, 3)).astype(np.float32), draw(0, 4, (5, 3)).astype(np.float32)]
    for got, expected in zip(*reversed(on_both(text, bottoms))):
        check_equal(got, expected)


@pytest.mark.parametrize("values", ["", "out_max_val: true"])
@pytest.mark.parametrize("along", ["", "axis: 1", "axis: -1"])
def test_argmax_is_numpys(values, along):
    x = np.random.default_rng(2).integers(0, 3, (5, 4, 3)).astype(np.float32)
    text = f'type: "ArgMax" argmax_param {{ top_k: 3 {values} {along} }}'
    (expected,), (got,) = on_both(text, [x])
    np.testing.assert_array_equal(got, expected)
