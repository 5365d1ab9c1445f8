"""Losses and scores, against real Caffe: values, gradients, what divides them."""

from __future__ import annotations

import numpy as np
import pytest

rng = np.random.RandomState(6)
SCORES = rng.uniform(-2, 2, (4, 3, 2, 3))
MAP = rng.randint(0, 3, (4, 1, 2, 3)).astype(float)
ROWS = rng.uniform(-2, 2, (6, 4))
CLASSES = np.array([0, 3, 1, 1, 2, 3.0])
GIVEN = {"ip[0]": rng.uniform(-1, 1, (4, 4)), "ip[1]": rng.uniform(-1, 1, 4)}
NORMALISATIONS = ["VALID", "BATCH_SIZE", "FULL", "NONE"]
# Predictions come from weights, so that gradients are wanted although nothing is forced.
IP = (
    'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" '
    "inner_product_param { num_output: 4 } }"
)


def loss(kind, settings="", bottoms=("x", "l"), tops=("loss",)):
    names = "".join(f'bottom: "{name}" ' for name in bottoms)
    names += "".join(f'top: "{name}" ' for name in tops)
    return f'layer {{ name: "loss" type: "{kind}" {names} {settings} }}'


ONLY_FIRST = "propagate_down: true propagate_down: false"


@pytest.mark.parametrize(
    "normalisation",
    [f"normalization: {n}" for n in NORMALISATIONS] + ["", "normalize: true", "normalize: false"],
)
@pytest.mark.parametrize("ignore", ["", "ignore_label: 1"])
def test_softmax_loss(compare_net, engine, normalisation, ignore):
    settings = f"loss_param {{ {normalisation} {ignore} }} loss_weight: 2 {ONLY_FIRST}"
    compare_net(loss("SoftmaxWithLoss", settings), {"x": SCORES, "l": MAP}, passes=2)


def test_softmax_loss_along_the_last_axis(compare_net, engine):
    body = loss("SoftmaxWithLoss", "softmax_param { axis: -1 }" + ONLY_FIRST)
    compare_net(body, {"x": SCORES, "l": MAP[:, 0, :, :1] + np.zeros((4, 2, 3))})


def test_softmax_loss_of_hopeless_predictions(compare_net, engine):
    """The value stops at -log(FLT_MIN), the gradient does not."""
    body = loss("SoftmaxWithLoss", ONLY_FIRST)
    compare_net(body, {"x": np.array([[300.0, -300, 0], [1, 2, 3]]), "l": np.array([1.0, 0])})


def test_everything_ignored(compare_net, engine):
    body = loss("SoftmaxWithLoss", "loss_param { ignore_label: 1 }" + ONLY_FIRST)
    compare_net(body, {"x": SCORES, "l": np.ones_like(MAP)})


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("ignore", ["", "ignore_label: 1"])
def test_sigmoid_cross_entropy(compare_net, engine, normalisation, ignore):
    settings = f"loss_param {{ normalization: {normalisation} {ignore} }} {ONLY_FIRST}"
    targets = np.random.RandomState(1).randint(0, 2, (6, 4)).astype(float)
    compare_net(loss("SigmoidCrossEntropyLoss", settings), {"x": ROWS * 10, "l": targets})


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_hinge(compare_net, engine, norm):
    settings = f"hinge_loss_param {{ norm: {norm} }} loss_weight: 0.5 {ONLY_FIRST}"
    rows = ROWS.copy()
    rows[0] = -1, 1, 0, 2  # margins that are just met
    compare_net(loss("HingeLoss", settings), {"x": rows, "l": CLASSES}, passes=2)


def test_multinomial_logistic(compare_net, engine):
    rows = np.abs(ROWS)
    rows[1, 3] = 0
    compare_net(loss("MultinomialLogisticLoss", ONLY_FIRST), {"x": rows, "l": CLASSES})


@pytest.mark.parametrize("settings", ["", "loss_weight: -0.5"])
def test_euclidean(compare_net, engine, settings):
    compare_net(loss("EuclideanLoss", settings), {"x": ROWS, "l": ROWS[::-1].copy()}, passes=2)


# Gradients cannot be forced here: real Caffe aborts at the gradient of the matrix.
LEARNS = 'layer { name: "bias" type: "Bias" bottom: "x" top: "y" bias_param { num_axes: -1 } }'


@pytest.mark.parametrize("normalisation", [f"normalization: {n}" for n in NORMALISATIONS] + [""])
@pytest.mark.parametrize("ignore", ["", "ignore_label: 1"])
def test_infogain(compare_net, engine, normalisation, ignore):
    settings = f"loss_param {{ {normalisation} {ignore} }} loss_weight: 0.5"
    matrix = np.random.RandomState(3).uniform(-0.2, 1, (1, 1, 3, 3))
    body = LEARNS + loss("InfogainLoss", settings, ("y", "l", "m"))
    inputs = {"x": SCORES, "l": MAP, "m": matrix}
    compare_net(body, inputs, passes=2, force_backward=False)


def test_infogain_with_probabilities(compare_net, engine):
    """For SoftmaxWithLoss no net of Caffe 1.0 can have them: its inner Softmax, of one top, takes
    over the two loss weights and aborts."""
    settings = "loss_weight: 1.5 loss_weight: 0 infogain_loss_param { axis: -2 }"
    body = LEARNS + loss("InfogainLoss", settings, ("y", "l", "m"), ("loss", "prob"))
    inputs = {"x": SCORES.transpose(0, 3, 1, 2).copy(), "m": np.eye(3).reshape(1, 1, 3, 3)}
    inputs["l"] = np.random.RandomState(5).randint(0, 3, (4, 3, 1, 2)).astype(float)
    compare_net(body, inputs, force_backward=False)


@pytest.mark.parametrize("settings", ["", "margin: 2", "legacy_version: true", "margin: 0.5"])
def test_contrastive(compare_net, engine, settings):
    body = loss(
        "ContrastiveLoss",
        f"contrastive_loss_param {{ {settings} }} propagate_down: true {ONLY_FIRST}",
        ("x", "y", "l"),
    )
    other = ROWS + np.random.RandomState(9).uniform(-0.5, 0.5, ROWS.shape)
    alike = np.array([1, 0, 1, 0, 0, 0.0])
    compare_net(body, {"x": ROWS, "y": other, "l": alike}, passes=2)


@pytest.mark.parametrize("legacy", ["true", "false"])
def test_contrastive_of_the_same(compare_net, engine, legacy):
    body = loss(
        "ContrastiveLoss",
        f"contrastive_loss_param {{ legacy_version: {legacy} }} propagate_down: true {ONLY_FIRST}",
        ("x", "y", "l"),
    )
    compare_net(body, {"x": ROWS, "y": ROWS, "l": np.array([1, 0, 1, 0, 0, 0.0])})


@pytest.mark.parametrize(
    "settings", ["", "top_k: 2", "ignore_label: 1", "top_k: 2 ignore_label: 3", "axis: -1"]
)
@pytest.mark.parametrize("tops", [("acc",), ("acc", "per class")])
def test_accuracy(compare_net, engine, settings, tops):
    rows = np.round(ROWS)  # with ties
    body = loss("Accuracy", f"accuracy_param {{ {settings} }}", tops=tops)
    compare_net(body, {"x": rows, "l": CLASSES}, force_backward=False)


def test_accuracy_of_maps(compare_net, engine):
    body = loss("Accuracy", "accuracy_param { axis: 1 }", tops=("acc", "per class"))
    compare_net(body, {"x": np.round(SCORES), "l": MAP}, force_backward=False)


def test_accuracy_with_everything_ignored(compare_net, engine):
    body = loss("Accuracy", "accuracy_param { ignore_label: 1 }", tops=("acc", "per class"))
    compare_net(body, {"x": ROWS, "l": np.ones(6)}, force_backward=False)


def test_several_losses(compare_net, engine):
    """The gradient is that of their weighted sum; a layer that is no loss may count in it too."""
    body = (
        IP
        + loss("SoftmaxWithLoss", "loss_weight: 0.3", ("y", "l"))
        + loss("EuclideanLoss", "loss_weight: 2", ("y", "x"), ("far",)).replace('"loss" t', '"e" t')
        + 'layer { name: "sum" type: "Reduction" bottom: "y" top: "sum" loss_weight: 0.1 '
        "reduction_param { operation: SUMSQ } }"
        'layer { name: "accuracy" type: "Accuracy" bottom: "y" bottom: "l" top: "accuracy" }'
    )
    inputs = {"x": ROWS, "l": CLASSES}
    compare_net(body, inputs, force_backward=False, passes=2, **GIVEN)


def test_loss_without_a_top(compare_net, engine):
    """Caffe makes its top itself and names it "(automatic)"; it is no output."""
    body = IP + loss("SoftmaxWithLoss", bottoms=("y", "l"), tops=())
    compare_net(body, {"x": ROWS, "l": CLASSES}, force_backward=False, **GIVEN)


def test_loss_of_weight_zero(compare_net, engine):
    body = IP + loss("SoftmaxWithLoss", "loss_weight: 0", ("y", "l"))
    compare_net(body, {"x": ROWS, "l": CLASSES}, force_backward=False, **GIVEN)


def test_loss_that_another_layer_reads(compare_net, engine):
    """The loss keeps a weight of 1 besides that of its copy, as Caffe's splits leave it."""
    body = (
        IP
        + loss("SoftmaxWithLoss", "loss_weight: 0.5", ("y", "l"))
        + 'layer { name: "p" type: "Power" bottom: "loss" top: "twice" loss_weight: 3 '
        "power_param { scale: 2 } }"
    )
    inputs = {"x": ROWS, "l": CLASSES}
    compare_net(body, inputs, force_backward=False, passes=2, **GIVEN)
