"""Layers that move numbers, against loops; no recorded values of real Caffe exist for these types.

They are Tile, Embed, Parameter, BatchReindex and Filter. `test_layers` has those with records.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbpmap import caffe
from lbpmap.caffe.blob import Blob
from lbpmap.caffe.layers import on_host

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def values(*shape, seed=5):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(shape=SHAPES, axis=st.integers(-4, 3), tiles=st.integers(1, 4))
def test_tile_repeats_along_an_axis(one_layer, shape, axis, tiles):
    text = f'type: "Tile" tile_param {{ axis: {axis} tiles: {tiles} }}'
    if not -len(shape) <= axis < len(shape):
        with pytest.raises(ValueError, match=f"axis is {axis}, the input of shape"):
            one_layer(text, shape)
        return
    layer, x = one_layer(text, shape), values(*shape)
    expected = np.zeros(layer.plan.tops[0], np.float32)
    assert expected.shape[axis] == tiles * shape[axis]
    for place in np.ndindex(*expected.shape):
        source = list(place)
        source[axis] %= shape[axis]
        expected[place] = x[tuple(source)]
    for (y,) in layer.on_both(x):
        np.testing.assert_array_equal(y, expected)


def test_gradients_of_copies_add_up(one_layer, check_near):
    layer, x = one_layer('type: "Tile" tile_param { tiles: 3 }', (2, 3, 2)), values(2, 3, 2)
    diff = values(2, 9, 2, seed=6)
    (gradient,) = layer.gradients(x, tops=[diff])
    np.testing.assert_allclose(gradient, diff[:, :3] + diff[:, 3:6] + diff[:, 6:], rtol=1e-6)
    check_near([gradient], layer.differences(x, tops=[diff]))
    assert layer.passes_gradcheck(x)


@pytest.mark.parametrize("bias", [True, False])
def test_embed_looks_rows_up(one_layer, check_near, bias):
    text = (
        f'type: "Embed" embed_param {{ num_output: 3 input_dim: 5 bias_term: {str(bias).lower()} }}'
    )
    # As in Caffe a fraction is cut off.
    x = np.array([[0, 4], [2, 2.9]], np.float32)
    layer = one_layer(text, x.shape)
    assert [param.shape for param in layer.params] == [(5, 3), (3,)][: 1 + bias]
    assert layer.plan.tops == ((2, 2, 3),)
    weight, *rest = layer.params
    expected = np.zeros((2, 2, 3), np.float32)
    for place, number in np.ndenumerate(x):
        expected[place] = weight[int(number)] + (rest[0] if bias else 0)
    for (y,) in layer.on_both(x):
        np.testing.assert_array_equal(y, expected)
    diff = values(2, 2, 3, seed=6)
    first, *gradients = layer.gradients(x, tops=[diff])
    assert first is None
    summed = np.zeros((5, 3))
    for place, number in np.ndenumerate(x):
        summed[int(number)] += diff[place]
    np.testing.assert_allclose(gradients[0], summed, rtol=1e-6)
    check_near(gradients, layer.differences(x, tops=[diff])[1:])
    assert layer.passes_gradcheck(x, of=())


def test_a_parameter_is_its_top(one_layer):
    layer = one_layer('type: "Parameter" parameter_param { shape { dim: 2 dim: 3 } }')
    for (y,) in layer.on_both():
        np.testing.assert_array_equal(y, layer.params[0])
    np.testing.assert_array_equal(*layer.gradients(tops=[values(2, 3)]), values(2, 3))
    scalar = one_layer('type: "Parameter" parameter_param { shape { } }')
    assert scalar.plan.tops == ((),)


def test_a_parameter_in_a_net_is_learnt_from_zero(text_file):
    net = caffe.Net(
        text_file(
            'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 } } }'
            'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }'
            'layer { name: "y" type: "Eltwise" bottom: "p" bottom: "x" top: "y" }'
        ),
        caffe.TEST,
    )
    assert net.forward(x=[1, 2])["y"].tolist() == [1, 2]
    net.params["p"][0].data[...] = [10, 20]
    assert net.forward(x=[1, 2])["y"].tolist() == [11, 22]
    assert net.blobs["p"].data.tolist() == [10, 20]


@settings(max_examples=30, deadline=None)
@given(
    shape=SHAPES,
    indices=st.lists(st.integers(0, 3), min_size=0, max_size=6),
)
def test_items_are_chosen_again_or_never(one_layer, shape, indices):
    indices = [index % shape[0] for index in indices]
    layer = one_layer('type: "BatchReindex"', shape, (len(indices),))
    x = values(*shape)
    expected = np.zeros((len(indices), *shape[1:]), np.float32)
    for i, index in enumerate(indices):
        expected[i] = x[index]
    for (y,) in layer.on_both(x, indices):
        np.testing.assert_array_equal(y, expected)


def test_gradients_of_items_add_up(one_layer, check_near):
    x, indices = values(3, 2, 2), np.array([2, 0, 2, 2], np.float32)
    layer = one_layer('type: "BatchReindex"', x.shape, indices.shape)
    diff = values(4, 2, 2, seed=6)
    first, second = layer.gradients(x, indices, tops=[diff])
    np.testing.assert_allclose(
        first, [diff[1], diff[1] * 0, diff[0] + diff[2] + diff[3]], rtol=1e-6
    )
    assert second is None
    check_near([first], layer.differences(x, indices, tops=[diff])[:1])
    assert layer.passes_gradcheck(x, indices, of=(0,))


@pytest.mark.parametrize(("index", "shown"), [(5, "5"), (-1, "-1"), (2**31, "2.14748e")])
def test_an_index_out_of_range_is_an_error(one_layer, index, shown):
    embed = one_layer('type: "Embed" embed_param { num_output: 3 input_dim: 5 }', (2,))
    reindex = one_layer('type: "BatchReindex"', (5, 2), (2,))
    pattern = rf"index {shown}.* is not from 0 to 4"
    for way in ("on_numpy", "on_torch"):
        with pytest.raises(ValueError, match=pattern):
            getattr(embed, way)([1, index])
        with pytest.raises(ValueError, match=pattern):
            getattr(reindex, way)(values(5, 2), [1, index])


def filtered(one_layer, arrays, selector):
    """Run a Filter layer; return it with its bottoms and tops."""
    bottoms = [Blob(np.shape(array)) for array in (*arrays, selector)]
    for blob, array in zip(bottoms, (*arrays, selector)):
        blob.data[...] = array
    layer = one_layer('type: "Filter"', *(blob.shape for blob in bottoms), tops=len(arrays))
    # At first all items are planned for: the selector's numbers are not known yet.
    tops = [Blob(shape) for shape in layer.plan.tops]
    assert [top.shape for top in tops] == [blob.shape for blob in bottoms[:-1]]
    on_host.FORWARD["Filter"](layer.layer, bottoms, tops)
    return layer.layer, bottoms, tops


@pytest.mark.parametrize("chosen", [[0, 3], [1], [0, 1, 2, 3], []])
def test_filter_keeps_what_is_selected(one_layer, chosen):
    arrays = values(4, 2, 3), values(4, seed=6)
    selector = np.zeros((4, 1, 1, 1))
    selector[chosen] = np.resize([0.5, -1], (len(chosen), 1, 1, 1))
    layer, bottoms, tops = filtered(one_layer, arrays, selector)
    for array, top in zip(arrays, tops):
        assert top.shape == (len(chosen), *array.shape[1:])
        for i, item in enumerate(chosen):
            np.testing.assert_array_equal(top.data[i], array[item])
    for blob in bottoms:
        blob.diff[...] = 7
    diffs = [values(*top.shape, seed=8) for top in tops]
    for top, diff in zip(tops, diffs):
        top.diff[...] = diff
    on_host.BACKWARD["Filter"](layer, tops, [True, True, False], bottoms)
    for blob, diff in zip(bottoms, diffs):
        expected = np.zeros(blob.shape, np.float32)
        for i, item in enumerate(chosen):
            expected[item] = diff[i]
        np.testing.assert_array_equal(blob.diff, expected)
    assert (bottoms[-1].diff == 7).all()
    on_host.BACKWARD["Filter"](layer, tops, [False, False, False], bottoms)
    np.testing.assert_array_equal(bottoms[0].diff[chosen], diffs[0])


def test_filter_follows_its_selector_from_pass_to_pass(one_layer):
    layer, bottoms, tops = filtered(one_layer, [values(3, 2)], [1, 0, 1])
    assert tops[0].shape == (2, 2)
    bottoms[-1].data[...] = 1
    on_host.FORWARD["Filter"](layer, bottoms, tops)
    np.testing.assert_array_equal(tops[0].data, bottoms[0].data)


def test_a_net_with_a_filter_learns_from_what_it_keeps(text_file):
    pytest.importorskip("torch", reason="backward passes are PyTorch's")
    text = """
    layer { name: "in" type: "Input" top: "x" top: "keep"
      input_param { shape { dim: 4 dim: 3 } shape { dim: 4 } } }
    layer { name: "one" type: "InnerProduct" bottom: "x" top: "one"
      inner_product_param { num_output: 3 weight_filler { type: "gaussian" } } }
    layer { name: "kept" type: "Filter" bottom: "one" bottom: "keep" top: "kept" }
    layer { name: "two" type: "InnerProduct" bottom: "kept" top: "two"
      inner_product_param { num_output: 2 weight_filler { type: "gaussian" } } }
    layer { name: "sum" type: "Reduction" bottom: "two" top: "sum" loss_weight: 1 }"""
    net = caffe.Net(text_file(text), caffe.TRAIN)
    one, two = (net.params[name][0].data for name in ("one", "two"))
    for keep in ([1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 1]):
        x, chosen = values(4, 3), np.flatnonzero(keep)
        net.forward(x=x, keep=keep)
        np.testing.assert_allclose(net.blobs["two"].data, x[chosen] @ one.T @ two.T, atol=1e-5)
        net.clear_param_diffs()
        net.backward()
        expected = np.zeros((4, 3), np.float32)
        expected[chosen] = two.sum(0)
        np.testing.assert_allclose(net.blobs["one"].diff, expected, atol=1e-6)
        np.testing.assert_allclose(net.params["one"][0].diff, expected.T @ x, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "shapes", "tops", "message"),
    [
        ('type: "Tile"', [(2, 3)], 1, "tiles is 0, it must be given and at least 1"),
        ('type: "Embed"', [(2,)], 1, "num_output is 0, input_dim is 0; both must be at least 1"),
        ('type: "Parameter" parameter_param { shape { dim: -1 } }', [], 1, "negative dimension"),
        ('type: "BatchReindex"', [(2, 3), (2, 1)], 1, r"second input has shape \(2, 1\)"),
        ('type: "BatchReindex"', [(), (2,)], 1, "the first input has no axes"),
        ('type: "BatchReindex"', [(2,)], 1, r"has 1 bottom blob\(s\), needs 2"),
        ('type: "Filter"', [(4, 2), (4, 2), (4,)], 1, "has 1 tops for 2 bottoms before"),
        ('type: "Filter"', [(4, 2), (4, 2)], 1, "a number an item, its shape is"),
        ('type: "Filter"', [(4, 2), ()], 1, "a number an item, its shape is"),
        ('type: "Filter"', [(3, 2), (4,)], 1, r"shape \(3, 2\) has not as many items"),
        ('type: "Filter" top: "b0"', [(4, 2), (4,)], 0, "cannot filter in place"),
    ],
)
def test_what_does_not_fit_is_refused(one_layer, text, shapes, tops, message):
    with pytest.raises(ValueError, match=message):
        one_layer(text, *shapes, tops=tops)
