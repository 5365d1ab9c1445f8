"""Layers that join, cut, copy, choose and add up, against real Caffe: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

X = {"x": (3, 4, 5, 2)}
# Small whole numbers, so that there are many ties.
TIES = {"x": np.random.RandomState(0).randint(0, 3, (2, 4, 3, 2)).astype(float)}
WORDS = {"x": np.array([[2, 0, 2], [1, 2, 4.0]])}

CASES = {
    "tile": ('type: "Tile" tile_param { tiles: 3 }', X),
    "tile along axis 0": ('type: "Tile" tile_param { axis: 0 tiles: 2 }', X),
    "tile along the last axis": ('type: "Tile" tile_param { axis: -1 tiles: 2 }', X),
    "embed": (
        'type: "Embed" embed_param { num_output: 3 input_dim: 5 }',
        WORDS,
    ),
    "embed without bias": (
        'type: "Embed" embed_param { num_output: 3 input_dim: 5 bias_term: false }',
        WORDS,
    ),
    "flatten": ('type: "Flatten"', X),
    "flatten some axes": ('type: "Flatten" flatten_param { axis: 0 end_axis: -2 }', X),
    "flatten from the end": ('type: "Flatten" flatten_param { axis: -3 end_axis: 2 }', X),
    "reshape": ('type: "Reshape" reshape_param { shape { dim: 0 dim: -1 dim: 10 } }', X),
    "reshape one axis": (
        'type: "Reshape" reshape_param { axis: 1 num_axes: 1 shape { dim: 2 dim: 2 } }',
        X,
    ),
    "reshape with a new axis": (
        'type: "Reshape" reshape_param { axis: -1 num_axes: 0 shape { dim: 1 } }',
        X,
    ),
    "reshape the last axes": (
        'type: "Reshape" reshape_param { axis: -3 shape { dim: -1 } }',
        X,
    ),
    "argmax": ('type: "ArgMax"', TIES),
    "argmax of three": ('type: "ArgMax" argmax_param { top_k: 3 }', TIES),
    "argmax with values": ('type: "ArgMax" argmax_param { top_k: 2 out_max_val: true }', TIES),
    "argmax along axis 1": ('type: "ArgMax" argmax_param { axis: 1 }', TIES),
    "argmax along axis 1 of two": (
        'type: "ArgMax" argmax_param { axis: 1 top_k: 2 }',
        TIES,
    ),
    "values of argmax along the last axis but one": (
        'type: "ArgMax" argmax_param { axis: -2 top_k: 2 out_max_val: true }',
        TIES,
    ),
    "argmax of rows": ('type: "ArgMax" argmax_param { top_k: 2 }', {"x": (4, 6)}),
    "inner product along axis 2": (
        'type: "InnerProduct" inner_product_param { num_output: 3 axis: 2 }',
        X,
    ),
    "inner product, transposed": (
        'type: "InnerProduct" inner_product_param { num_output: 3 transpose: true axis: -1 }',
        X,
    ),
    "slice": ('top: "z" type: "Slice"', X),
    "slice at points": (
        'top: "z" top: "u" type: "Slice" slice_param { axis: 2 slice_point: 1 slice_point: 4 }',
        X,
    ),
    "slice along the last axis": ('top: "z" type: "Slice" slice_param { axis: -1 }', X),
    "slice, old style": ('top: "z" type: "Slice" slice_param { slice_dim: 1 }', X),
    "slice in one": ('type: "Slice"', X),
    "concat of one": ('type: "Concat"', X),
    "split by hand": ('top: "z" type: "Split"', X),
}
# Neither has a backward pass: in Caffe these are not run, or abort.
NO_BACKWARD = ("argmax", "embed")


@pytest.mark.parametrize("case", CASES)
def test_arranging_layer(compare_net, engine, case):
    text, inputs = CASES[case]
    backward = not any(name in case for name in NO_BACKWARD)
    compare_net(
        f'layer {{ name: "l" bottom: "x" top: "y" {text} }}', inputs, passes=2, backward=backward
    )


# Where gradients cannot be forced, as real Caffe aborts at that of an index, they come from a loss.
LEARNS = 'layer { name: "bias" type: "Bias" bottom: "x" top: "w" }'
LOSS = (
    'layer { name: "loss" type: "Reduction" bottom: "y" top: "loss" loss_weight: 0.5 '
    "reduction_param { operation: SUMSQ } }"
)


@pytest.mark.parametrize("bias", ["true", "false"])
def test_embed_learns(compare_net, engine, bias):
    """A word that comes twice gets both gradients; the words themselves get none."""
    body = (
        'layer { name: "l" type: "Embed" bottom: "x" top: "y" '
        f"embed_param {{ num_output: 3 input_dim: 5 bias_term: {bias} }} }}"
    )
    compare_net(body + LOSS, WORDS, passes=2, force_backward=False)


@pytest.mark.parametrize("operation", ["SUM", "ASUM", "SUMSQ", "MEAN"])
@pytest.mark.parametrize("settings", ["", "axis: 1", "axis: -1 coeff: -1.5", "axis: 2 coeff: 0"])
def test_reduction(compare_net, engine, operation, settings):
    body = (
        'layer { name: "l" type: "Reduction" bottom: "x" top: "y" '
        f"reduction_param {{ operation: {operation} {settings} }} }}"
    )
    compare_net(body, X, passes=2)


def test_reduction_of_zeros(compare_net, engine):
    body = (
        'layer { name: "l" type: "Reduction" bottom: "x" top: "y" '
        "reduction_param { operation: ASUM } }"
    )
    compare_net(body, {"x": np.array([[-1.0, 0, 2]])})


@pytest.mark.parametrize(
    ("settings", "shapes"),
    [
        ("", [(2, 3, 4), (2, 1, 4), (2, 2, 4)]),
        ("concat_param { axis: 0 }", [(2, 3), (4, 3)]),
        ("concat_param { axis: -1 }", [(2, 3), (2, 1)]),
        ("concat_param { concat_dim: 2 }", [(2, 3, 1, 2), (2, 3, 2, 2)]),
    ],
)
def test_concat(compare_net, engine, settings, shapes):
    inputs = {f"x{i}": shape for i, shape in enumerate(shapes)}
    bottoms = " ".join(f'bottom: "{name}"' for name in inputs)
    compare_net(f'layer {{ name: "l" type: "Concat" {bottoms} top: "y" {settings} }}', inputs)


@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        ("", (9, 9, 4, 3)),
        ("offset: 1", (9, 9, 4, 3)),
        ("offset: 1 offset: 2", (9, 9, 4, 3)),
        ("axis: 1 offset: 0 offset: 1 offset: 2", (9, 2, 4, 3)),
        ("axis: -1 offset: 2", (9, 9, 9, 3)),
        ("axis: 0", (1, 2, 3, 4)),
    ],
)
def test_crop(compare_net, engine, settings, reference):
    body = (
        'layer { name: "l" type: "Crop" bottom: "x" bottom: "r" top: "y" '
        f"crop_param {{ {settings} }} propagate_down: true propagate_down: false }}"
    )
    compare_net(body, {"x": (2, 3, 6, 5), "r": reference}, passes=2)


def test_batch_reindex(compare_net, engine):
    body = 'layer { name: "l" type: "BatchReindex" bottom: "w" bottom: "i" top: "y" }'
    inputs = {"x": (4, 3, 2), "i": np.array([3, 0, 3, 3, 1.0])}
    compare_net(LEARNS + body + LOSS, inputs, passes=2, force_backward=False)


@pytest.mark.parametrize("selected", [[1, 0, 0, 1], [1, 1, 1, 1], [0, 0, 1, 0]])
def test_filter(compare_net, engine, selected):
    body = (
        'layer { name: "l" type: "Filter" bottom: "w" bottom: "v" bottom: "s" top: "y" top: "z" }'
    )
    inputs = {"x": (4, 3, 2), "v": (4,), "s": np.array(selected, float)}
    compare_net(LEARNS + body + LOSS, inputs, passes=2, force_backward=False)


def test_filter_of_nothing(compare_net, engine):
    body = 'layer { name: "l" type: "Filter" bottom: "x" bottom: "s" top: "y" }'
    compare_net(body, {"x": (4, 3), "s": np.zeros(4)}, force_backward=False, backward=False)


def test_parameter(compare_net, engine):
    """One pass: a second one overwrites its gradient in real Caffe, and adds to it here."""
    body = (
        'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 3 dim: 4 } } }'
        'layer { name: "l" type: "Eltwise" bottom: "x" bottom: "p" top: "y" '
        "eltwise_param { operation: PROD } }"
    )
    compare_net(body, {"x": (3, 4)})


def test_silence(compare_net, engine):
    body = (
        'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" '
        "inner_product_param { num_output: 2 } }"
        'layer { name: "s" type: "Silence" bottom: "y" }'
    )
    compare_net(body, {"x": (3, 4)}, passes=2)
