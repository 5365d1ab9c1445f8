"""Where pixels of one blob lie on another: the numbers that pycaffe gives for the same layers."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe import coord_map
from lbpmap.caffe import layers as L
from lbpmap.caffe.coord_map import coord_map_from_to, crop


def convolution(bottom, **settings):
    return L.Convolution(bottom, num_output=2, **settings)


def deconvolution(bottom, **settings):
    return L.Deconvolution(bottom, convolution_param=dict(num_output=2, **settings))


def assert_map(found, axis, scale, shift):
    assert found[0] == axis
    assert np.atleast_1d(found[1]).tolist() == scale
    assert np.atleast_1d(found[2]).tolist() == shift


# Settings, then scale and shift as the real Caffe 1.0 computes them.
WINDOWS = [
    ({"kernel_size": 3}, [1], [1]),
    ({"kernel_size": 3, "pad": 1}, [1], [0]),
    ({"kernel_size": 4, "stride": 2, "pad": 1}, [2], [0.5]),
    ({"kernel_size": 3, "dilation": 2}, [1], [2]),
    ({"kernel_size": 3, "dilation": [2, 3]}, [1], [2, 3]),
    ({"kernel_size": [3, 5], "pad": [1, 2], "stride": [1, 2]}, [1, 2], [0, 0]),
]


@pytest.mark.parametrize(("settings", "scale", "shift"), WINDOWS)
def test_windows(settings, scale, shift):
    data = L.Input()
    top = convolution(data, **settings)
    assert_map(coord_map_from_to(top, data), 1, scale, shift)
    back = [-b / a for a, b in zip(scale * len(shift), shift)]
    inverse = [1 / a for a in scale]
    assert_map(coord_map_from_to(data, top), 1, inverse, back)
    assert_map(coord_map_from_to(deconvolution(data, **settings), data), 1, inverse, back)


# pycaffe refuses these forms; the numbers are those of the same windows written as lists.
@pytest.mark.parametrize(
    ("by_name", "as_lists"),
    [
        ({"kernel_h": 3, "kernel_w": 5}, {"kernel_size": [3, 5]}),
        ({"kernel_size": 3, "stride_h": 2, "stride_w": 1}, {"kernel_size": 3, "stride": [2, 1]}),
        ({"kernel_size": 3, "pad_h": 2, "pad_w": 0}, {"kernel_size": 3, "pad": [2, 0]}),
    ],
)
def test_sizes_by_name(by_name, as_lists):
    data = L.Input()
    _, scale, shift = coord_map_from_to(convolution(data, **as_lists), data)
    found = coord_map_from_to(convolution(data, **by_name), data)
    assert_map(found, 1, scale.tolist(), shift.tolist())


def test_the_map_tells_where_a_pixel_comes_from(text_file):
    """A net of strides and pads, run: the middle of all inputs that a top depends on."""
    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [1, 1, 23, 23]})
    ones = {"weight_filler": {"type": "constant", "value": 1}}
    n.a = L.Convolution(n.data, num_output=1, kernel_size=3, stride=2, pad=1, **ones)
    n.b = L.Convolution(n.a, num_output=1, kernel_size=5, stride=1, dilation=2, pad=3, **ones)
    _, (scale,), (shift,) = coord_map_from_to(n.b, n.data)
    net = caffe.Net(text_file(str(n.to_proto())), caffe.TEST)
    lit = []
    for column in range(23):
        net.blobs["data"].data[...] = 0
        net.blobs["data"].data[..., column] = 1
        lit.append(net.forward()["b"][0, 0].any(0))
    for x in (4, 5):  # what these depend on lies within the picture
        columns = np.flatnonzero([each[x] for each in lit])
        assert (columns.min() + columns.max()) / 2 == scale * x + shift


def test_paths():
    data, other = L.Input(), L.Input()
    three, five = convolution(data, kernel_size=3), convolution(data, kernel_size=5)
    assert_map(coord_map_from_to(data, data), None, [1], [0])
    assert_map(coord_map_from_to(L.ReLU(data), data), None, [1], [0])
    assert_map(coord_map_from_to(L.Eltwise(three, L.ReLU(three)), data), 1, [1], [1])
    assert_map(coord_map_from_to(L.Eltwise(three, five), data), 1, [1], [2])
    assert_map(coord_map_from_to(convolution(three, kernel_size=3), three), 1, [1], [1])
    assert_map(coord_map_from_to(three, five), 1, [1], [-1])
    strided = convolution(data, kernel_size=3, stride=2)
    chain = convolution(strided, kernel_size=5, stride=2, pad=2)
    assert_map(coord_map_from_to(chain, data), 1, [4], [1])
    mixed = L.Eltwise(data, convolution(other, kernel_size=3))
    assert_map(coord_map_from_to(mixed, other), 1, [1], [1])
    assert_map(coord_map_from_to(L.Pooling(data, kernel_size=2, stride=2), data), 1, [2], [0.5])


def test_crop_layers_shift_by_their_offset():
    data = L.Input()
    smaller = convolution(data, kernel_size=3)
    for offset, shift in ((5, [5]), ([5, 6], [5, 6]), ([], [0])):
        cropped = L.Crop(data, smaller, offset=offset)
        assert_map(coord_map_from_to(cropped, data), 1, [1], shift)
    with pytest.raises(RuntimeError, match="no blob that both were made from"):
        coord_map_from_to(L.Crop(L.Input(), smaller), data)


def test_crop_makes_the_layer_that_fcn_needs():
    data = L.Input()
    padded = convolution(data, kernel_size=3, pad=10)
    pooled = L.Pooling(padded, kernel_size=2, stride=2)
    score = crop(deconvolution(pooled, kernel_size=4, stride=2), data)
    assert score.fn.type_name == "Crop"
    assert score.fn.params == {"crop_param": {"axis": 2, "offset": [10]}}
    assert score.fn.inputs[1] is data
    two = crop(convolution(data, kernel_size=[3, 5], pad=[4, 7]), data)
    assert two.fn.params == {"crop_param": {"axis": 2, "offset": [3, 5]}}
    assert crop(data, data).fn.params == {"crop_param": {"axis": 2, "offset": [0]}}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda data: L.Pooling(data, kernel_size=2, stride=2), r"scales differ by \[2.0\]"),
        (lambda data: convolution(data, kernel_size=3), r"offset is \[-1.0\], it must not be neg"),
        (
            lambda data: convolution(data, kernel_size=2, pad=2),
            r"offset is \[1.5\], it must be who",
        ),
        (lambda data: convolution(data, kernel_h=3, kernel_w=3, stride_h=2), "_h and _w forms go"),
    ],
)
def test_crop_refuses_what_no_offset_mends(make, message):
    data = L.Input()
    with pytest.raises(ValueError, match=message):
        crop(make(data), data)


@pytest.mark.parametrize(
    "make",
    [
        lambda data: L.InnerProduct(data, num_output=3),
        lambda data: L.Concat(data, data),
        lambda data: L.Pooling(data, global_pooling=True),
        lambda data: L.Convolution(data, num_output=3),
        lambda data: convolution(L.Input(), kernel_size=3),
    ],
)
def test_blobs_without_a_common_place(make):
    data = L.Input()
    with pytest.raises(RuntimeError, match="no blob that both were made from"):
        coord_map_from_to(make(data), data)


def test_axes_must_agree():
    data = L.Input()
    mixed = convolution(convolution(data, kernel_size=3), kernel_size=3, axis=2)
    with pytest.raises(coord_map.AxisMismatchException, match="axes behind 2 and behind 1"):
        coord_map_from_to(mixed, data)
