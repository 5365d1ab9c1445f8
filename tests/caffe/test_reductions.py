"""Reduction, InfogainLoss and ContrastiveLoss, against loops: no recorded values of Caffe exist."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbpmap import caffe

OPERATIONS = {
    "SUM": lambda numbers: sum(numbers),
    "ASUM": lambda numbers: sum(abs(n) for n in numbers),
    "SUMSQ": lambda numbers: sum(n * n for n in numbers),
    "MEAN": lambda numbers: sum(numbers) / len(numbers),
}


def values(*shape, seed=5):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple),
    axis=st.integers(-4, 3),
    operation=st.sampled_from(list(OPERATIONS)),
    coeff=st.sampled_from([1, -0.5, 3]),
)
def test_reduction_sums_up_what_lies_behind_an_axis(one_layer, shape, axis, operation, coeff):
    text = (
        f'type: "Reduction" reduction_param {{ axis: {axis} operation: {operation} '
        f"coeff: {coeff} }}"
    )
    if not -len(shape) <= axis < len(shape):
        with pytest.raises(ValueError, match=f"axis is {axis}, the input of shape"):
            one_layer(text, shape)
        return
    layer, x = one_layer(text, shape), values(*shape)
    kept = shape[: axis % len(shape)]
    assert layer.plan.tops == (kept,)
    expected = np.zeros(kept)
    for place in np.ndindex(*kept):
        expected[place] = coeff * OPERATIONS[operation](x[place].astype(float).ravel().tolist())
    scale = np.abs(x).sum() + (x**2).sum()
    for (y,) in layer.on_both(x):
        assert y.shape == kept
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6 * abs(coeff) * scale)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_gradients_of_reductions(one_layer, check_near, operation):
    text = f'type: "Reduction" reduction_param {{ axis: 1 coeff: -2 operation: {operation} }}'
    layer, x = one_layer(text, (2, 3, 2)), values(2, 3, 2)
    assert np.abs(x).min() > 0.02  # differences step over no kink of ASUM
    check_near(layer.gradients(x), layer.differences(x))
    assert layer.passes_gradcheck(x)


def test_absolute_values_have_no_slope_at_zero(one_layer):
    layer = one_layer('type: "Reduction" reduction_param { operation: ASUM }', (3,))
    (gradient,) = layer.gradients(np.array([-2.0, 0, 3]), tops=[np.array(1.0)])
    assert gradient.tolist() == [-1, 0, 1]


def naive_infogain(x, labels, matrix, *, axis, ignore=None, mode="VALID"):
    """Return loss, gradient and probabilities, label by label in double precision."""
    x = np.moveaxis(x.astype(float), axis, -1)
    outer, labels = x.shape[:-1], labels.reshape(x.shape[:-1])
    loss, valid, probabilities, gradient = 0.0, 0, np.zeros(x.shape), np.zeros(x.shape)
    for place in np.ndindex(*outer):
        exponentials = [math.exp(n - x[place].max()) for n in x[place]]
        probabilities[place] = [e / sum(exponentials) for e in exponentials]
        label = int(labels[place])
        if label == ignore:
            continue
        valid += 1
        for k, p in enumerate(probabilities[place]):
            loss -= matrix[label, k] * math.log(max(p, 1e-20))
            gradient[place][k] = p * matrix[label].sum() - matrix[label, k]
    sizes = {"VALID": valid, "FULL": math.prod(outer), "NONE": 1}
    sizes["BATCH_SIZE"] = math.prod(outer[:axis])
    divisor = max(1, sizes[mode])
    back = (np.moveaxis(each, -1, axis) for each in (gradient / divisor, probabilities))
    return loss / divisor, *back


@pytest.mark.parametrize("mode", ["VALID", "FULL", "BATCH_SIZE", "NONE"])
@pytest.mark.parametrize("ignore", [None, 2, -1])
@pytest.mark.parametrize("axis", [1, -1])
def test_infogain_weighs_classes(one_layer, check_equal, mode, ignore, axis):
    x, matrix = 3 * values(2, 3, 4, 3), values(3, 3, seed=6)
    labels = np.random.default_rng(0).integers(0, 3, (2, 3, 4)).astype(np.float32)
    labels = labels.reshape(2, 4, 3) if axis == 1 else labels
    if ignore == -1:
        labels.flat[::3] = -1
    leave_out = "" if ignore is None else f"ignore_label: {ignore}"
    text = (
        f'type: "InfogainLoss" infogain_loss_param {{ axis: {axis} }} '
        f"loss_param {{ normalization: {mode} {leave_out} }}"
    )
    layer = one_layer(text, x.shape, labels.shape, matrix.shape, tops=2)
    loss, gradient, probabilities = naive_infogain(
        x, labels, matrix, axis=axis % 4, ignore=ignore, mode=mode
    )
    for tops in layer.on_both(x, labels, matrix):
        check_equal(tops[0], loss)
        check_equal(tops[1], probabilities)
    # The second top's gradient is taken for nothing, as in Caffe.
    tops = [np.array(2.5), values(*x.shape)]
    got, *others = layer.gradients(x, labels, matrix, tops=tops)
    check_equal(got, 2.5 * gradient)
    assert others == [None, None]


def test_infogain_with_the_unit_matrix_is_softmax_loss(one_layer):
    x, labels = values(4, 5), np.array([0, 4, 2, 2], np.float32)
    infogain = one_layer('type: "InfogainLoss"', (4, 5), (4,), (1, 1, 5, 5))
    softmax = one_layer('type: "SoftmaxWithLoss"', (4, 5), (4,))
    expected = softmax.on_numpy(x, labels)[0]
    for (loss,) in infogain.on_both(x, labels, np.eye(5).reshape(1, 1, 5, 5)):
        np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_infogain_stops_a_logarithm_but_not_its_gradient(one_layer):
    layer = one_layer('type: "InfogainLoss"', (1, 2), (1,), (2, 2))
    x, labels = np.array([[0, 100]], np.float32), [0]
    for (loss,) in layer.on_both(x, labels, np.eye(2)):
        np.testing.assert_allclose(loss, -math.log(1e-20), rtol=1e-6)
    gradient = layer.gradients(x, np.array([0.0]), np.eye(2), tops=[np.array(1.0)])[0]
    np.testing.assert_allclose(gradient, [[-1, 1]], atol=1e-12)


def test_infogain_differences(one_layer, check_near):
    x, labels, matrix = values(3, 4), np.array([3, 0, 1], np.float32), values(4, 4, seed=6)
    layer = one_layer('type: "InfogainLoss"', x.shape, labels.shape, matrix.shape)
    check_near(layer.gradients(x, labels, matrix)[:1], layer.differences(x, labels, matrix)[:1])
    assert layer.passes_gradcheck(x, labels, matrix, of=(0,))


def test_the_infogain_matrix_comes_from_a_file(one_layer, check_equal, tmp_path):
    matrix, path = values(3, 3, seed=6), tmp_path / "matrix.binaryproto"
    proto = caffe.io.array_to_blobproto(matrix.reshape(1, 1, 3, 3))
    path.write_bytes(proto.SerializeToString())
    text = f'type: "InfogainLoss" infogain_loss_param {{ source: "{path}" }}'
    x, labels = values(4, 3), np.array([0, 2, 2, 1], np.float32)
    layer = one_layer(text, x.shape, labels.shape)
    expected, gradient, _ = naive_infogain(x, labels, matrix, axis=1)
    for (loss,) in layer.on_both(x, labels):
        check_equal(loss, expected)
    check_equal(layer.gradients(x, labels, tops=[np.array(1.0)])[0], gradient)
    with pytest.raises(ValueError, match=r"matrix has shape \(1, 1, 3, 3\), 4 classes need 4 x 4"):
        one_layer(text, (2, 4), (2,))
    with pytest.raises(FileNotFoundError, match="no such file; expected a binaryproto"):
        one_layer(text.replace("matrix.", "other."), (2, 3), (2,))


def naive_contrastive(one, other, alike, margin, legacy):
    """Return the loss and the gradient of the first bottom; the second's is its negative."""
    loss, gradient = 0.0, np.zeros(one.shape)
    for n in range(len(one)):
        difference = [float(a) - float(b) for a, b in zip(one[n].ravel(), other[n].ravel())]
        square = sum(d * d for d in difference)
        distance = math.sqrt(square)
        if int(alike[n]):
            loss, slope = loss + square, 1.0
        elif legacy:
            loss, slope = loss + max(margin - square, 0), -1.0 if margin > square else 0.0
        else:
            lacking = max(margin - distance, 0)
            # Caffe keeps the divisor from zero by this.
            loss, slope = loss + lacking**2, -lacking / (distance + 1e-4)
        gradient[n] = np.reshape(difference, one[n].shape) * slope
    return loss / len(one) / 2, gradient / len(one)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("margin", [0.5, 3.0])
@pytest.mark.parametrize("more", [(), (1, 1)])
def test_contrastive_loss_draws_together_and_apart(
    one_layer, check_equal, check_near, legacy, margin, more
):
    one, other = values(6, 3, *more), values(6, 3, *more, seed=6)
    alike = np.array([1, 0, 0.9, 2, 0, 0], np.float32)  # a fraction is cut off, as in Caffe
    text = (
        f'type: "ContrastiveLoss" contrastive_loss_param {{ margin: {margin} '
        f"legacy_version: {str(legacy).lower()} }}"
    )
    layer = one_layer(text, one.shape, other.shape, (6, *(1 for _ in more)))
    bottoms = one, other, alike.reshape(6, *(1 for _ in more))
    expected, gradient = naive_contrastive(one, other, alike, margin, legacy)
    for (loss,) in layer.on_both(*bottoms):
        check_equal(loss, expected)
    first, second, third = layer.gradients(*bottoms, tops=[np.array(1.5)])
    check_equal(first, 1.5 * gradient)
    check_equal(second, -1.5 * gradient)
    assert third is None
    check_near(layer.gradients(*bottoms)[:2], layer.differences(*bottoms)[:2])
    if legacy:  # else Caffe's gradient is off by 1e-4 of a distance of 1
        assert layer.passes_gradcheck(*bottoms, of=(0, 1))


def test_equal_vectors_that_should_differ_have_a_finite_gradient(one_layer):
    layer = one_layer('type: "ContrastiveLoss"', (1, 3), (1, 3), (1,))
    x = np.ones((1, 3))
    assert layer.on_numpy(x, x, [0])[0] == 0.5
    first, second, _ = layer.gradients(x, x, np.zeros(1), tops=[np.array(1.0)])
    assert first.tolist() == second.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("kind", ["InfogainLoss", "SoftmaxWithLoss"])
def test_a_label_that_is_no_class_is_an_error(one_layer, kind):
    shapes = [(2, 3), (2,), (3, 3)][: 3 if kind == "InfogainLoss" else 2]
    layer = one_layer(f'type: "{kind}"', *shapes)
    more = [np.eye(3)][: len(shapes) - 2]
    for way in (layer.on_numpy, layer.on_torch):
        with pytest.raises(ValueError, match="label 3 is none of the 3 classes"):
            way(values(2, 3), [0, 3], *more)


INFOGAIN = 'type: "InfogainLoss"'
PAIRS = 'type: "ContrastiveLoss"'


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        (INFOGAIN, [(2, 3), (2,)], "needs a third bottom or source: a binaryproto"),
        (INFOGAIN, [(2, 3), (2,), (3,)], r"matrix has shape \(3,\), 3 classes need 3 x 3"),
        (INFOGAIN, [(2, 3), (3,), (3, 3)], r"2 labels are needed, the second input has shape"),
        (INFOGAIN, [(2,), (2,), (3, 3)], "axis is 1, the input of shape"),
        (INFOGAIN + " loss_param { normalize: true }", [(2, 3), (2,), (9,)], "normalize is out of"),
        (PAIRS, [(2, 3), (2, 3)], r"has 2 bottom blob\(s\), needs 3"),
        (PAIRS, [(2, 3, 2), (2, 3, 2), (2,)], r"must be \(N, C\) or \(N, C, 1, 1\)"),
        (PAIRS, [(2, 3), (2, 4), (2,)], "as many numbers in the first as in the second"),
        (PAIRS, [(2, 3), (2, 3), (2, 2)], "one a pair in the third"),
        (PAIRS, [(2, 3), (2, 3), (3,)], "one a pair in the third"),
    ],
)
def test_what_does_not_fit_is_refused(one_layer, text, shapes, message):
    with pytest.raises(ValueError, match=message):
        one_layer(text, *shapes)
