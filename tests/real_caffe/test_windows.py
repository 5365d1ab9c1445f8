"""Layers that look at windows, against real Caffe: values, gradients, shapes."""

from __future__ import annotations

import pytest

X = {"x": (2, 4, 7, 6)}

CASES = {
    "lrn within": (
        'type: "LRN" lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 alpha: 2 beta: 0.75 }',
        X,
    ),
    "lrn within, k has no effect": (
        'type: "LRN" lrn_param { norm_region: WITHIN_CHANNEL local_size: 5 alpha: 0.5 k: 3 }',
        X,
    ),
    "lrn across": ('type: "LRN" lrn_param { local_size: 3 alpha: 2 beta: 0.6 k: 1.5 }', X),
    "lrn wider than the channels": ('type: "LRN" lrn_param { local_size: 9 alpha: 1 }', X),
    "deconvolution": (
        'type: "Deconvolution" convolution_param { num_output: 3 kernel_size: 3 stride: 2 pad: 1 }',
        X,
    ),
    "deconvolution in groups": (
        'type: "Deconvolution" convolution_param { num_output: 6 group: 2 kernel_h: 2 kernel_w: 3 '
        "stride_h: 1 stride_w: 2 bias_term: false }",
        X,
    ),
    "deconvolution, dilated": (
        'type: "Deconvolution" convolution_param { num_output: 2 kernel_size: 3 dilation: 2 '
        "pad: 1 }",
        X,
    ),
    "convolution, dilated": (
        'type: "Convolution" convolution_param { num_output: 6 group: 2 kernel_size: 3 '
        "dilation: 2 pad: 2 }",
        X,
    ),
    "convolution by h and w": (
        'type: "Convolution" convolution_param { num_output: 2 kernel_h: 3 kernel_w: 1 stride_h: 2 '
        "stride_w: 1 pad_h: 1 pad_w: 0 bias_term: false }",
        X,
    ),
    "convolution by repeated sizes": (
        'type: "Convolution" convolution_param { num_output: 2 kernel_size: 3 kernel_size: 2 '
        "pad: 1 pad: 0 stride: 2 stride: 1 }",
        X,
    ),
    "convolution over three axes": (
        'type: "Convolution" convolution_param { num_output: 2 kernel_size: 2 }',
        {"x": (2, 3, 4, 3, 5)},
    ),
    "convolution over one axis": (
        'type: "Convolution" convolution_param { num_output: 2 kernel_size: 2 axis: 1 }',
        {"x": (2, 3, 9)},
    ),
    "convolution from axis 2": (
        'type: "Convolution" convolution_param { num_output: 2 kernel_size: 2 axis: 2 }',
        {"x": (2, 3, 2, 4, 5)},
    ),
    "im2col": ('type: "Im2col" convolution_param { kernel_size: 3 stride: 2 pad: 1 }', X),
    "im2col, dilated": (
        'type: "Im2col" convolution_param { kernel_h: 3 kernel_w: 2 dilation: 2 pad: 1 }',
        X,
    ),
    "im2col over three axes": (
        'type: "Im2col" convolution_param { kernel_size: 2 dilation: 2 }',
        {"x": (2, 2, 4, 3, 5)},
    ),
    "spp, one level": ('type: "SPP" spp_param { pyramid_height: 1 pool: MAX }', X),
    "spp of maxima": ('type: "SPP" spp_param { pyramid_height: 3 pool: MAX }', X),
    "spp of means": (
        'type: "SPP" spp_param { pyramid_height: 2 pool: AVE }',
        {"x": (2, 3, 8, 8)},
    ),
    "pooling, padded mean": (
        'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }',
        X,
    ),
    "pooling, overhanging maximum": (
        'type: "Pooling" pooling_param { pool: MAX kernel_h: 2 kernel_w: 3 stride: 2 pad_h: 1 '
        "pad_w: 0 }",
        X,
    ),
    "pooling, global": ('type: "Pooling" pooling_param { pool: AVE global_pooling: true }', X),
    "pooling, rounded down": (
        'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 round_mode: FLOOR }',
        X,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_window_layer(compare_net, engine, case):
    text, inputs = CASES[case]
    compare_net(f'layer {{ name: "l" bottom: "x" top: "y" {text} }}', inputs, passes=2)


def test_pooling_with_its_mask(compare_net, engine):
    compare_net(
        'layer { name: "l" type: "Pooling" bottom: "x" top: "y" top: "mask" '
        "pooling_param { kernel_size: 3 stride: 2 } }",
        X,
    )


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_several_bottoms_have_one_kernel(compare_net, engine, kind):
    compare_net(
        f'layer {{ name: "l" type: "{kind}" bottom: "a" bottom: "b" top: "c" top: "d" '
        "convolution_param { num_output: 2 kernel_size: 3 } }",
        {"a": (2, 3, 5, 4), "b": (2, 3, 5, 4)},
    )
