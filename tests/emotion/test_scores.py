"""Scores: by hand, as scikit-learn gives them, and how sure they are."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from lbpmap.emotion.scores import bootstrap, log_loss, score

LABELS = ["sad", "happy", "calm"]


def test_by_hand():
    p = np.array(
        [
            [0.7, 0.2, 0.1],  # sad, rightly
            [0.1, 0.6, 0.3],  # sad, taken for happy
            [0.2, 0.5, 0.3],  # happy, rightly
            [0.1, 0.8, 0.1],  # happy, rightly
            [0.4, 0.35, 0.25],  # happy, taken for sad
        ]
    )
    got = score(p, np.array([0, 0, 1, 1, 1]), LABELS)
    assert got.pictures == 5
    assert got.confusion == ((1, 1, 0), (1, 2, 0), (0, 0, 0))
    assert got.accuracy == 3 / 5
    assert got.mean_class_accuracy == pytest.approx((1 / 2 + 2 / 3) / 2)
    sad, happy, calm = got.per_class
    assert (sad.precision, sad.recall, sad.f1, sad.support) == (0.5, 0.5, 0.5, 2)
    assert (happy.precision, happy.recall, happy.support) == (2 / 3, 2 / 3, 3)
    assert happy.f1 == pytest.approx(2 / 3)
    assert (calm.precision, calm.recall, calm.f1, calm.support) == (0, 0, 0, 0)
    assert got.macro_f1 == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert got.log_loss == pytest.approx(-np.log([0.7, 0.1, 0.5, 0.8, 0.35]).mean())
    assert got.accuracy_interval.low <= 0.6 <= got.accuracy_interval.high
    said = json.loads(json.dumps(got.to_json(), allow_nan=False))
    assert said["per_class"][1]["label"] == "happy"
    assert said["accuracy_interval"]["level"] == 0.95


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(2, 7))
def test_as_scikit_learn_has_them(seed, n, k):
    rng = np.random.default_rng(seed)
    raised = np.exp(2 * rng.standard_normal((n, k)))
    p = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
    truth = rng.integers(0, k, n)
    got = score(p, truth, [str(i) for i in range(k)], resamples=0)
    predicted = p.argmax(axis=1)
    assert got.accuracy == metrics.accuracy_score(truth, predicted)
    with warnings.catch_warnings():  # it warns of labels that only the predictions have
        warnings.simplefilter("ignore")
        balanced = metrics.balanced_accuracy_score(truth, predicted)
    assert got.mean_class_accuracy == pytest.approx(balanced)
    assert got.macro_f1 == pytest.approx(
        metrics.f1_score(truth, predicted, average="macro", zero_division=0)
    )
    exact = p.astype(np.float64) / p.sum(axis=1, keepdims=True, dtype=np.float64)
    assert got.log_loss == pytest.approx(
        metrics.log_loss(truth, exact, labels=list(range(k))), rel=1e-5, abs=1e-6
    )
    every = metrics.confusion_matrix(truth, predicted, labels=list(range(k)))
    np.testing.assert_array_equal(got.confusion, every)
    assert sum(c.support for c in got.per_class) == n
    assert got.accuracy_interval is None


def test_a_log_loss_has_a_bound():
    assert log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-15))
    assert log_loss(np.array([[1.0, 0.0]]), np.array([0])) == 0


def naive(hits, truth, groups, resamples, rng):
    """Draw groups one by one: the readable twin of what `bootstrap` counts."""
    members = {}
    for k, group in enumerate(groups):
        members.setdefault(k if group is None else group, []).append(k)
    members = list(members.values())
    figures = []
    for _ in range(resamples):
        drawn = rng.integers(0, len(members), len(members))
        rows = np.concatenate([members[g] for g in drawn])
        there = np.unique(truth[rows])
        recalls = [hits[rows][truth[rows] == label].mean() for label in there]
        figures.append((hits[rows].mean(), np.mean(recalls)))
    return np.percentile(figures, [2.5, 97.5], axis=0)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_bootstrap_is_the_naive_one(grouped):
    rng = np.random.default_rng(4)
    truth = rng.choice(3, 150, p=[0.7, 0.2, 0.1])
    hits = rng.random(150) < np.array([0.8, 0.5, 0.3])[truth]
    groups = [f"p{k // 5}" if k % 10 else None for k in range(150)] if grouped else [None] * 150
    want = naive(hits, truth, groups, 3000, rng)
    got = bootstrap(hits, truth, groups=groups if grouped else None, resamples=20000, seed=1)
    for k, interval in enumerate(got):
        np.testing.assert_allclose([interval.low, interval.high], want[:, k], atol=0.02)


def test_a_seed_says_it_all():
    rng = np.random.default_rng(0)
    hits, truth = rng.random(80) < 0.6, rng.integers(0, 7, 80)
    groups = [str(k % 30) for k in range(80)]
    one = bootstrap(hits, truth, groups=groups, seed=5)
    assert one == bootstrap(hits, truth, groups=groups, seed=5)
    assert one != bootstrap(hits, truth, groups=groups, seed=6)


def test_intervals_cover_what_they_should():
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(300):
        hits = rng.random(120) < 0.7
        interval, _ = bootstrap(hits, np.zeros(120, int), resamples=400)
        covered += interval.low <= 0.7 <= interval.high
    assert 0.90 <= covered / 300 <= 0.99


def test_people_count_once():
    rng = np.random.default_rng(2)
    hits = np.repeat(rng.random(40) < 0.5, 9)  # nine pictures of each of forty, all alike
    truth = np.zeros(360, int)
    alone, _ = bootstrap(hits, truth)
    people, _ = bootstrap(hits, truth, groups=[str(k // 9) for k in range(360)])
    assert (people.high - people.low) / (alone.high - alone.low) == pytest.approx(3, rel=0.15)


def test_groups_in_small_steps(monkeypatch):
    rng = np.random.default_rng(2)
    hits, truth = rng.random(60) < 0.5, rng.integers(0, 3, 60)
    groups = [str(k % 17) for k in range(60)]
    whole = bootstrap(hits, truth, groups=groups, resamples=101, seed=3)
    monkeypatch.setattr("lbpmap.emotion.scores._DRAWN", 40)
    assert bootstrap(hits, truth, groups=groups, resamples=101, seed=3) == whole


def test_the_sure_and_the_single():
    interval, by_class = bootstrap(np.ones(9, bool), np.arange(9) % 2)
    assert (interval.low, interval.high, by_class.low, by_class.high) == (1, 1, 1, 1)
    interval, _ = bootstrap(np.array([True, False]), np.array([0, 1]), groups=["a", "a"])
    assert (interval.low, interval.high) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": np.ones((2, 2)) / 2}, "score: probabilities must be N x 3"),
        ({"p": np.empty((0, 3))}, "N at least 1"),
        ({"p": np.ones((2, 3))}, "sum to 1 in every row"),
        ({"p": np.full((2, 3), np.nan)}, "sum to 1 in every row"),
        ({"truth": np.array([0, 3])}, "truth must be 0 to 2, got 0 to 3"),
        ({"truth": np.array([0.0, 1.0])}, "truth must be 2 integers, got float64"),
        ({"truth": np.array([0])}, "truth must be 2 integers"),
        ({"resamples": -1}, "resamples must be a positive integer"),
        ({"level": 1.0}, "level must be between 0 and 1"),
        ({"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_what_is_refused(change, message):
    p, truth = change.pop("p", np.ones((2, 3)) / 3), change.pop("truth", np.array([0, 1]))
    with pytest.raises(ValueError, match=message):
        score(p, truth, LABELS, **change)
