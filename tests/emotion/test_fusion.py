"""How nets are combined, and how well the weights are found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from lbpmap.emotion.fusion import METHODS, fit, mixture_weights, uniform
from lbpmap.emotion.scores import log_loss

LABELS = ["sad", "happy", "calm"]


def answers(seed, n=150, nets=4, labels=LABELS):
    """Give nets that are right to different degrees, and make some of their mistakes together."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(labels), n)
    shared = rng.standard_normal((n, len(labels)))
    by_net = {}
    for k in range(nets):
        scores = shared + rng.standard_normal((n, len(labels)))
        scores[np.arange(n), truth] += 0.5 + 0.6 * k
        raised = np.exp(scores * rng.uniform(0.5, 2))
        by_net[f"net{k}"] = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
    return by_net, truth


def likelihoods(by_net, truth):
    return np.stack([p[np.arange(len(truth)), truth] for p in by_net.values()]).astype(np.float64)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 120), st.integers(1, 8))
@example(38099, 11, 8)  # two nets of nearly the same worth: 50,000 plain steps do not part them
def test_weights_meet_the_conditions_of_an_optimum(seed, n, nets):
    p = likelihoods(*answers(seed, n, nets))
    weights = mixture_weights(p)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    gradient = (p / (weights @ p)).mean(axis=1)
    # No net is worth more weight, and one that has weight is worth what it has.
    assert gradient.max() <= 1 + 1e-6
    assert (weights * abs(gradient - 1)).max() <= 2e-6


@pytest.mark.parametrize("seed", range(5))
def test_another_way_to_the_optimum_is_no_better(seed):
    p = likelihoods(*answers(seed))

    def loss(w):
        return -np.log(w @ p).mean()

    other = minimize(
        loss,
        np.full(len(p), 1 / len(p)),
        method="SLSQP",
        bounds=[(0, 1)] * len(p),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-12},
    )
    assert loss(mixture_weights(p)) <= other.fun + 1e-6


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 80), st.integers(1, 6))
def test_weighted_is_no_worse_than_uniform_or_any_net(seed, n, nets):
    by_net, truth = answers(seed, n, nets)
    loss = log_loss(fit("weighted", by_net, truth, LABELS).combine(by_net), truth)
    assert loss <= log_loss(uniform(list(by_net), LABELS).combine(by_net), truth) + 1e-5
    for p in by_net.values():
        assert loss <= log_loss(p, truth) + 1e-5


def test_it_is_better_where_nets_differ():
    by_net, truth = answers(3, 200)
    losses = [log_loss(fit(m, by_net, truth, LABELS).combine(by_net), truth) for m in METHODS]
    weighted, plain, stacked = losses
    assert weighted < plain - 0.01
    assert stacked < plain


def test_nets_alike_have_like_weights_and_useless_ones_none():
    by_net, truth = answers(1)
    good = by_net["net3"]
    useless = np.full_like(good, 1 / 3)
    useless[np.arange(len(truth)), truth] = 0
    useless /= useless.sum(axis=1, keepdims=True)
    weights = fit("weighted", {"a": good, "b": good, "c": useless}, truth, LABELS).weights
    np.testing.assert_allclose(weights, [0.5, 0.5, 0], atol=1e-9)


def test_a_probability_of_zero_is_no_end():
    sure = np.eye(3)[[0, 1, 2, 0]]
    other = np.eye(3)[[1, 1, 2, 2]]
    fitted = fit("weighted", {"a": sure, "b": other}, np.array([0, 1, 2, 2]), LABELS)
    # One picture is only a's, one only b's.
    np.testing.assert_allclose(fitted.weights, [0.5, 0.5], atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("labels", [LABELS, LABELS[:2]])
def test_what_is_combined_is_a_probability(method, labels):
    by_net, truth = answers(5, 60, labels=labels)
    fitted = fit(method, by_net, truth, labels)
    assert fitted.method == method
    assert fitted.names == tuple(by_net)
    p = fitted.combine(dict(reversed(list(by_net.items()))))  # by name, whatever the order
    assert p.shape == (60, len(labels))
    assert p.dtype == np.float64
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    one = fitted.combine({name: said[7] for name, said in by_net.items()})
    np.testing.assert_allclose(one, p[7], rtol=1e-12)


@pytest.mark.parametrize("labels", [LABELS, LABELS[:2]])
def test_stacked_is_scikit_learns_regression(labels):
    from sklearn.linear_model import LogisticRegression

    from lbpmap.emotion import fusion

    by_net, truth = answers(6, 60, labels=labels)
    features = np.log(np.maximum(np.concatenate(list(by_net.values()), axis=1), 1e-6))
    fitted = fit("stacked", by_net, truth, labels)
    models = [
        LogisticRegression(C=c, tol=1e-3, max_iter=5000).fit(features.astype(np.float64), truth)
        for c in fusion._STRENGTHS
    ]
    got = fitted.combine(by_net)
    gaps = [abs(m.predict_proba(features.astype(np.float64)) - got).max() for m in models]
    assert min(gaps) < 1e-5


def test_uniform_is_the_mean():
    by_net, truth = answers(0)
    mean = np.mean([p.astype(np.float64) for p in by_net.values()], axis=0)
    np.testing.assert_allclose(fit("uniform", by_net, truth, LABELS).combine(by_net), mean)


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        ("best", {}, "method must be one of 'weighted', 'uniform', 'stacked', got 'best'"),
        ("weighted", {"by_net": {}}, "no net given"),
        ("weighted", {"truth": np.array([0, 1, 7])}, "fit: net0: truth must be"),
        ("stacked", {"truth": np.array([0, 0, 0, 1] * 20)}, "and happy has|and calm has 0"),
    ],
)
def test_what_cannot_be_fitted(method, change, message):
    by_net, truth = answers(0, n=80)
    given_ = {"by_net": by_net, "truth": truth, "labels": LABELS, **change}
    with pytest.raises(ValueError, match=message):
        fit(method, **given_)


def test_what_cannot_be_combined():
    fusion = uniform(["a", "b"], LABELS)
    with pytest.raises(ValueError, match="no probabilities of b"):
        fusion.combine({"a": np.ones(3)})
    with pytest.raises(ValueError, match=r"b has probabilities of shape \(2,\), expected \(3,\)"):
        fusion.combine({"a": np.ones(3), "b": np.ones(2)})
