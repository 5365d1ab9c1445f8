"""Several nets' probabilities to one: how an ensemble is weighed, and how its weights are found.

Three methods. "uniform" is the mean. "weighted" is a mean with weights that are 0 or more and sum
to 1, as in the paper. "stacked" is a multinomial logistic regression on the logarithms of all nets'
probabilities (Wolpert 1992, Stacked generalization), which can also learn that a net mistakes one
label for another, and needs more pictures for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lbpmap import _checks
from lbpmap._arrays import F64, I64, Array
from lbpmap.emotion.scores import LEAST, checked, log_loss

METHODS = ("weighted", "uniform", "stacked")

# A bound on what better weights could still gain, nats a picture, and on the passes to get there:
# of 1,536 random ensembles of up to 20 nets none took more than 600.
_GAP, _MAX_PASSES = 1e-6, 50_000
# Steps are at most so many times those of expectation-maximisation, and leave a net this weight,
# from which it can still rise.
_LONGEST, _LEAST_WEIGHT = 2.0**20, 1e-12

# Of the regression: the inverse strengths of its penalty that are tried, and in how many folds. The
# logarithms that it sees are not below log(1e-6), so that one net's certainty cannot outweigh all.
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
_TOLERANCE = 1e-3
_FOLDS = 5
_LEAST_SEEN = 1e-6


@dataclass(frozen=True)
class Fusion:
    """How the probabilities of several nets become one.

    Attributes
    ----------
    method : {"weighted", "uniform", "stacked"}
    names : tuple of str
        Of the nets.
    labels : tuple of str
        Their outputs, in the order that `combine` expects.
    weights : float64 array (nets,) or None
        Of the mean; None when stacked.
    coefficients : float64 array (labels, nets * labels) or None
        Of the logarithms of the first net's probabilities, then the second's, ...; only when
        stacked.
    intercepts : float64 array (labels,) or None
        Only when stacked.
    """

    method: str
    names: tuple[str, ...]
    labels: tuple[str, ...]
    weights: F64 | None = None
    coefficients: F64 | None = None
    intercepts: F64 | None = None

    def combine(self, by_net: Mapping[str, Array]) -> F64:
        """Make one of several nets' probabilities.

        Parameters
        ----------
        by_net : dict of arrays (..., labels)
            Probabilities by the nets' names, columns in the order of `labels`.

        Returns
        -------
        float64 array (..., labels)

        Raises
        ------
        ValueError
            When a net is missing, or its array has another shape than expected.

        Examples
        --------
        >>> mean = uniform(["a", "b"], ["sad", "happy"])
        >>> mean.combine({"a": np.array([1.0, 0.0]), "b": np.array([0.5, 0.5])})
        array([0.75, 0.25])
        """
        missing = [name for name in self.names if name not in by_net]
        if missing:
            raise ValueError(f"combine: no probabilities of {', '.join(missing)}")
        stack = [np.asarray(by_net[name], np.float64) for name in self.names]
        shape = stack[0].shape
        for name, p in zip(self.names, stack):
            if p.shape != shape or p.shape[-1:] != (len(self.labels),):
                raise ValueError(
                    f"combine: {name} has probabilities of shape {p.shape}, expected "
                    f"{(*shape[:-1], len(self.labels))}"
                )
        if self.weights is not None:
            mixed: F64 = np.tensordot(self.weights, np.stack(stack), axes=1)
            return mixed
        if self.coefficients is None or self.intercepts is None:
            raise ValueError(f"combine: this {self.method} fusion has neither weights nor more")
        return _softmax(_features(stack) @ self.coefficients.T + self.intercepts)


def uniform(names: Sequence[str], labels: Sequence[str]) -> Fusion:
    """Give the fusion in which every net has the same weight."""
    weights: F64 = np.full(len(names), 1 / len(names))
    return Fusion("uniform", tuple(names), tuple(labels), weights)


def fit(method: str, by_net: Mapping[str, Array], truth: Array, labels: Sequence[str]) -> Fusion:
    """Find how nets are best combined, on pictures that none of them learned from.

    Parameters
    ----------
    method : {"weighted", "uniform", "stacked"}
    by_net : dict of arrays (N, labels)
        Probabilities by the nets' names.
    truth : integer array (N,)
        Numbers of the true labels.
    labels : sequence of str

    Returns
    -------
    Fusion
        "weighted" has the least log loss that any weights have, to 1e-6 nats: see
        `mixture_weights`. The penalty of "stacked" is the one of four that does best in
        cross-validation.

    Raises
    ------
    ValueError
        When arguments do not fit together; for "stacked", when a label has fewer than two pictures.

    Examples
    --------
    >>> good, poor = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.5, 0.5], [0.9, 0.1]])
    >>> fit("weighted", {"a": good, "b": poor}, np.array([0, 1]), ["sad", "happy"]).weights
    array([1., 0.])
    """
    _checks.one_of(method, METHODS, "method", "fit")
    if not by_net:
        raise ValueError("fit: no net given")
    pairs = [checked(p, truth, len(labels), f"fit: {name}") for name, p in by_net.items()]
    stack, true = [p for p, _ in pairs], pairs[0][1]
    names = tuple(by_net)
    if method == "uniform":
        return uniform(names, labels)
    if method == "weighted":
        of_truth = np.stack([p[np.arange(len(true)), true] for p in stack])
        weights = mixture_weights(of_truth)
        weights[weights < _GAP] = 0  # where they were going
        return Fusion(method, names, tuple(labels), weights / weights.sum())
    coefficients, intercepts = _regression(_features(stack), true, labels)
    return Fusion(method, names, tuple(labels), None, coefficients, intercepts)


def mixture_weights(likelihoods: Array) -> F64:
    r"""Find the weights of a mixture of greatest likelihood.

    The mean of log(sum_m w_m p_mn) over pictures n is concave in w, so that what the
    expectation-maximisation step w_m <- w_m g_m, g_m = mean_n(p_mn / sum_j w_j p_jn), climbs is the
    one summit (Dempster, Laird and Rubin 1977). At the summit no g_m exceeds 1, and it equals 1
    where w_m is above 0: the conditions of Karush, Kuhn and Tucker. As the mean lies below its
    tangent plane, no weights gain more than max(g) - 1 over the present ones. It stops when that is
    at most 1e-6 nats, or after 50,000 steps. Near the summit steps of that rule become short, so
    that w_m g_m^s is tried, with s doubled while the likelihood rises, and quartered where not;
    with s = 1 it never falls.

    Parameters
    ----------
    likelihoods : array (nets, N)
        The probability that each net gave to each picture's true label.

    Returns
    -------
    float64 array (nets,)
        0 or more, sum 1. Nets that are alike have like weights.
    """
    p = np.maximum(np.asarray(likelihoods, np.float64), LEAST)
    weights: F64 = np.full(len(p), 1 / len(p))
    mixed, step = weights @ p, 1.0
    for _ in range(_MAX_PASSES):
        gradient = (p / mixed).mean(axis=1)
        if gradient.max() - 1 <= _GAP:
            break
        raised = np.log(weights) + step * np.log(gradient)
        tried = np.maximum(np.exp(raised - raised.max()), _LEAST_WEIGHT)
        tried /= tried.sum()
        tried_mixed = tried @ p
        if step == 1 or np.log(tried_mixed / mixed).sum() >= 0:
            weights, mixed, step = tried, tried_mixed, min(2 * step, _LONGEST)
        else:
            step = max(step / 4, 1.0)
    return weights


def _features(stack: Sequence[F64]) -> F64:
    return np.log(np.maximum(np.concatenate(stack, axis=-1), _LEAST_SEEN))


def _softmax(scores: F64) -> F64:
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def _regression(features: F64, truth: I64, labels: Sequence[str]) -> tuple[F64, F64]:
    """Fit the logistic regression; give coefficients (labels, features) and intercepts."""
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
    from sklearn.model_selection import (  # type: ignore[import-untyped]
        StratifiedKFold,
        cross_val_predict,
    )

    counts = np.bincount(truth, minlength=len(labels))
    few = [f"{label} has {n}" for label, n in zip(labels, counts) if n < 2]
    if few:
        raise ValueError(
            f"fit: stacked needs two or more pictures of every label, and {', '.join(few)}: use "
            f"weighted"
        )
    folds = StratifiedKFold(min(_FOLDS, int(counts.min())), shuffle=True, random_state=0)

    def model(strength: float) -> LogisticRegression:
        return LogisticRegression(C=strength, tol=_TOLERANCE, max_iter=5000)

    def loss(strength: float) -> float:
        said = cross_val_predict(model(strength), features, truth, cv=folds, method="predict_proba")
        return log_loss(said, truth)

    best = model(min(_STRENGTHS, key=loss)).fit(features, truth)
    if len(labels) > 2:
        return best.coef_, best.intercept_
    # Of two labels it gives the scores of the second against the first.
    zero = np.zeros_like(best.coef_)
    return np.concatenate([zero, best.coef_]), np.concatenate([zero[:, 0], best.intercept_])
