"""The tables of layer types against one another: nothing is planned that no engine runs."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbpmap import caffe
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import LayerParameter
from lbpmap.caffe.layers import on_host, on_numpy
from lbpmap.caffe.layers.shapes import LAYER_TYPES, plan

# Layers of Caffe 1.0, and two of its master branch, that compute what stands in their text.
COMPUTING = """
AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution Crop
Deconvolution Dropout ELU Eltwise Embed EuclideanLoss Exp Filter Flatten HingeLoss Im2col
InfogainLoss InnerProduct LRN LSTM Log MVN MultinomialLogisticLoss PReLU Parameter Pooling Power RNN
ReLU Reduction Reshape SPP Scale Sigmoid SigmoidCrossEntropyLoss Silence Slice Softmax
SoftmaxWithLoss Split Swish TanH Threshold Tile
"""


def test_the_types_of_caffe_are_planned():
    assert set(COMPUTING.split()) <= set(LAYER_TYPES)
    assert caffe.layer_type_list() == sorted(LAYER_TYPES)


@pytest.mark.parametrize("kind", sorted(LAYER_TYPES))
def test_what_is_planned_runs(kind):
    assert (kind in on_host.FORWARD) != (kind in on_numpy.FORWARD)


@pytest.mark.parametrize("kind", sorted(set(LAYER_TYPES) - set(on_host.FORWARD) - {"Input"}))
def test_what_runs_on_numpy_learns_on_pytorch(kind):
    pytest.importorskip("torch", reason="the second engine needs PyTorch")
    from lbpmap.caffe.layers import on_torch

    assert kind in on_torch.FORWARD


def test_nothing_runs_that_is_not_planned():
    tables = [on_host.FORWARD, on_numpy.FORWARD]
    assert set().union(*tables) == set(LAYER_TYPES)
    assert set(on_host.BACKWARD) <= set(on_host.FORWARD)


def test_pytorch_runs_nothing_else():
    pytest.importorskip("torch", reason="the second engine needs PyTorch")
    from lbpmap.caffe.layers import on_torch

    assert set(on_torch.FORWARD) <= set(on_numpy.FORWARD)


WINDOWS = "kernel_size: 2 stride: 2 pad: 1 dilation: 1"
TEXTS = {
    f'type: "Deconvolution" convolution_param {{ num_output: 4 group: 2 {WINDOWS} }}': [
        (1, 4, 3, 3)
    ],
    'type: "Embed" embed_param { num_output: 2 input_dim: 5 }': [(3,)],
    'type: "LSTM" recurrent_param { num_output: 2 }': [(2, 3, 4), (2, 3), (3, 1)],
    'type: "Parameter" parameter_param { shape { dim: 2 dim: 3 } }': [],
    'type: "RNN" recurrent_param { num_output: 2 }': [(2, 3, 4), (2, 3)],
    'type: "Reduction" reduction_param { axis: 1 operation: 2 }': [(2, 3)],
    'type: "Tile" tile_param { axis: 1 tiles: 2 }': [(2, 3)],
}
NUMBERS = re.compile(r"(?<=: )-?\d+")
HOSTILE = ("0", "-1", "1", "65536", "2147483647", "4294967295", "-2147483648", str(2**63 - 1))


@settings(max_examples=200, deadline=None)
@given(
    text=st.sampled_from(list(TEXTS)),
    places=st.lists(st.tuples(st.integers(0), st.sampled_from(HOSTILE)), min_size=1, max_size=3),
)
def test_hostile_numbers_are_planned_or_refused(text, places):
    shapes, hostile = TEXTS[text], text
    for at, number in places:
        found = list(NUMBERS.finditer(hostile))
        match = found[at % len(found)]
        hostile = hostile[: match.start()] + number + hostile[match.end() :]
    try:
        layer = prototxt.parse('name: "l" top: "t" ' + hostile, LayerParameter())
        made = plan(layer, shapes)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017  (a plan is as good as an error)
    else:
        assert all(math.prod(shape) < 2**31 for shape in made.tops)


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ('type: "BatchReindex"', [(0, 3), (0,)]),
        ('type: "ContrastiveLoss"', [(0, 3), (0, 3), (0,)]),
        (
            'type: "Deconvolution" convolution_param { num_output: 2 kernel_size: 2 }',
            [(0, 3, 4, 4)],
        ),
        ('type: "Embed" embed_param { num_output: 2 input_dim: 2 }', [(0,)]),
        ('type: "InfogainLoss"', [(0, 3), (0,), (3, 3)]),
        ('type: "LSTM" recurrent_param { num_output: 2 }', [(2, 0, 3), (2, 0), (0, 1)]),
        ('type: "RNN" recurrent_param { num_output: 2 }', [(2, 0, 3), (2, 0), (0, 1)]),
        ('type: "Reduction" reduction_param { axis: 1 }', [(0, 3)]),
        ('type: "Tile" tile_param { tiles: 2 }', [(0, 3)]),
    ],
)
def test_a_batch_of_nothing_passes(one_layer, text, shapes):
    # A Filter that chooses nothing makes one.
    layer = one_layer(text, *shapes)
    for tops in layer.on_both(*(np.ones(shape) for shape in shapes)):
        assert tuple(top.shape for top in tops) == layer.plan.tops
