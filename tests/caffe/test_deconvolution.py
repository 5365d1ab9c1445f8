"""Deconvolution, against loops over its pixels; no recorded values of real Caffe exist for it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbpmap.caffe.formats.messages import FillerParameter
from lbpmap.caffe.layers import fillers


def naive_deconvolution(x, weight, bias, *, group, stride, pad, dilation):
    """Add, pixel by pixel in double precision, each input times a kernel to the output.

    `x` is (N, C, ...), `weight` (C, outputs / group, kernel).
    """
    size, kernel = x.shape[2:], weight.shape[2:]
    out = [
        s * (n - 1) + d * (k - 1) + 1 - 2 * p
        for n, k, s, p, d in zip(size, kernel, stride, pad, dilation)
    ]
    outputs, inputs = weight.shape[1] * group, x.shape[1] // group
    y = np.zeros((len(x), outputs, *out))
    for n, c in itertools.product(range(len(x)), range(x.shape[1])):
        for o in range(weight.shape[1]):
            channel = c // inputs * weight.shape[1] + o
            for pixel in np.ndindex(*size):
                for offset in np.ndindex(*kernel):
                    at = tuple(
                        i * s + k * d - p
                        for i, k, s, p, d in zip(pixel, offset, stride, pad, dilation)
                    )
                    if all(0 <= a < b for a, b in zip(at, out)):
                        y[(n, channel, *at)] += float(x[(n, c, *pixel)]) * weight[(c, o, *offset)]
    return y if bias is None else y + bias.reshape(-1, *(1,) * len(out))


def text(outputs, group, kernel, stride, pad, dilation, bias=True):
    numbers = " ".join(
        f"{name}: {value}"
        for name, values in (
            ("kernel_size", kernel),
            ("stride", stride),
            ("pad", pad),
            ("dilation", dilation),
        )
        for value in values
    )
    return (
        f'type: "Deconvolution" convolution_param {{ num_output: {outputs} group: {group} '
        f"bias_term: {str(bias).lower()} {numbers} }}"
    )


@st.composite
def geometry(draw):
    axes = draw(st.integers(1, 3))

    def numbers(low, high):
        return draw(st.lists(st.integers(low, high), min_size=axes, max_size=axes))

    size, kernel, stride, dilation = numbers(1, 4), numbers(1, 3), numbers(1, 3), numbers(1, 2)
    most = [(s * (n - 1) + d * (k - 1)) // 2 for n, k, s, d in zip(size, kernel, stride, dilation)]
    pad = [draw(st.integers(0, min(m, 3))) for m in most]
    return size, kernel, stride, pad, dilation


@settings(max_examples=60, deadline=None)
@given(
    geometry=geometry(),
    group=st.sampled_from([1, 2]),
    outputs=st.sampled_from([2, 4]),
    bias=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_both_engines_are_the_slow_twin(one_layer, geometry, group, outputs, bias, seed):
    size, kernel, stride, pad, dilation = geometry
    x = np.random.default_rng(seed).standard_normal((2, 4, *size)).astype(np.float32)
    layer = one_layer(text(outputs, group, kernel, stride, pad, dilation, bias), x.shape, seed=seed)
    assert layer.params[0].shape == (4, outputs // group, *kernel)
    expected = naive_deconvolution(
        x,
        layer.params[0],
        layer.params[1] if bias else None,
        group=group,
        stride=stride,
        pad=pad,
        dilation=dilation,
    )
    for (y,) in layer.on_both(x):
        assert y.shape == expected.shape == layer.plan.tops[0]
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("shape", "settings_"),
    [
        ((2, 4, 3), (2, 2, [2], [2], [1], [1])),
        ((2, 4, 2, 3), (6, 2, [3, 2], [2, 1], [1, 0], [1, 2])),
        ((1, 2, 2, 2, 2), (2, 1, [2, 1, 2], [1, 2, 1], [0, 0, 0], [1, 1, 2])),
        ((1, 2, 2, 1, 2, 2), (2, 2, [2, 1, 2, 1], [1, 2, 2, 1], [0, 0, 1, 0], [1] * 4)),
    ],
    ids=["1 axis", "2 axes", "3 axes", "4 axes"],
)
def test_gradients_are_the_forward_pass_differences(one_layer, check_near, shape, settings_):
    layer = one_layer(text(*settings_), shape)
    x = np.random.default_rng(4).standard_normal(shape)
    check_near(layer.gradients(x), layer.differences(x))
    assert layer.passes_gradcheck(x)


def test_four_axes(one_layer):
    shape, group, rest = (2, 2, 2, 1, 2, 2), 2, ([2, 1, 2, 1], [1, 2, 2, 1], [0, 0, 1, 0], [1] * 4)
    layer = one_layer(text(4, group, *rest), shape)
    x = np.random.default_rng(4).standard_normal(shape)
    _, stride, pad, dilation = rest
    expected = naive_deconvolution(
        x, *layer.params, group=group, stride=stride, pad=pad, dilation=dilation
    )
    for (y,) in layer.on_both(x):
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_bilinear_weights_enlarge_a_ramp_as_in_fcn(one_layer):
    # As in FCN: a channel a group, kernel 2 f - f % 2, stride f, pad ceil((f - 1) / 2).
    factor, channels = 4, 3
    kernel, pad = 2 * factor - factor % 2, math.ceil((factor - 1) / 2)
    settings_ = (channels, channels, [kernel], [factor], [pad], [1], False)
    layer = one_layer(text(*settings_), (1, channels, 5, 6))
    assert layer.params[0].shape == (channels, 1, kernel, kernel)
    filler = FillerParameter(type="bilinear")
    layer.params[0][...] = fillers.fill(layer.params[0].shape, filler, np.random.default_rng())
    rows, columns = np.mgrid[:5, :6].astype(np.float32)
    (y,) = layer.on_numpy(np.stack([rows, columns, np.ones_like(rows)])[None])
    assert y.shape == (1, channels, 20, 24)
    # Pixel centres: output i stands at (i + 0.5) / 4 - 0.5 of the input. Borders fade out.
    inner = np.s_[2:-2, 2:-2]
    up, across = np.mgrid[:20, :24]
    np.testing.assert_allclose(y[0, 0][inner], ((up + 0.5) / 4 - 0.5)[inner], atol=1e-5)
    np.testing.assert_allclose(y[0, 1][inner], ((across + 0.5) / 4 - 0.5)[inner], atol=1e-5)
    np.testing.assert_allclose(y[0, 2][inner], 1, atol=1e-6)


def test_several_bottoms_and_axes_before_the_channels(one_layer):
    layer = one_layer(
        text(2, 1, [2, 2], [2, 2], [0, 0], [1, 1]), (1, 3, 2, 2), (1, 3, 2, 2), tops=2
    )
    x = np.random.default_rng(0).standard_normal((2, 1, 3, 2, 2))
    for tops in layer.on_both(*x):
        for bottom, top in zip(x, tops):
            expected = naive_deconvolution(
                bottom, *layer.params, group=1, stride=(2, 2), pad=(0, 0), dilation=(1, 1)
            )
            np.testing.assert_allclose(top, expected, atol=1e-5)
    settings_ = text(2, 1, [2], [2], [0], [1]).replace("num_output", "axis: 2 num_output")
    deep = one_layer(settings_, (2, 3, 3, 4))
    assert deep.plan.tops == ((2, 3, 2, 8),)
    x = np.random.default_rng(1).standard_normal((2, 3, 3, 4))
    expected = naive_deconvolution(
        x.reshape(6, 3, 4), *deep.params, group=1, stride=(2,), pad=(0,), dilation=(1,)
    )
    for (y,) in deep.on_both(x):
        np.testing.assert_allclose(y.reshape(6, 2, 8), expected, atol=1e-5)


def test_a_batch_of_nothing(one_layer):
    layer = one_layer(text(2, 1, [2, 2], [2, 2], [0, 0], [1, 1]), (0, 3, 2, 2))
    for (y,) in layer.on_both(np.zeros((0, 3, 2, 2))):
        assert y.shape == (0, 2, 4, 4)


@pytest.mark.parametrize(
    ("settings_", "shape", "message"),
    [
        ((3, 2, [2], [1], [0], [1]), (1, 4, 3, 3), "group 2 does not divide 4 input and 3 output"),
        ((2, 3, [2], [1], [0], [1]), (1, 4, 3, 3), "group 3 does not divide 4 input and 2 output"),
        ((2, 1, [2], [1], [2], [1]), (1, 4, 3, 3), "pad of 2 x 2 leaves nothing of an output of 4"),
        ((2, 1, [], [1], [0], [1]), (1, 4, 3, 3), "kernel_size is missing"),
        ((2, 1, [2], [0], [0], [1]), (1, 4, 3, 3), "stride is 0 x 0, it must be at least 1"),
        ((0, 1, [2], [1], [0], [1]), (1, 4, 3, 3), "num_output must be at least 1"),
        ((2, 1, [2], [1], [0], [1]), (1, 4, 0, 3), r"the input of shape \(1, 4, 0, 3\) has no pix"),
        ((2, 1, [2], [1], [0], [1]), (1, 4), "has no axes behind its channels"),
        (
            (2, 1, [60000], [1], [29999], [1]),
            (1, 4, 3, 3),
            "windows of 2 x 3600000000 are too many",
        ),
        ((2, 1, [1], [60000], [0], [1]), (1, 4, 3, 3), "the padded input of 2 x .* more than 2"),
    ],
)
def test_what_cannot_be_is_refused(one_layer, settings_, shape, message):
    with pytest.raises(ValueError, match=message):
        one_layer(text(*settings_), shape)
