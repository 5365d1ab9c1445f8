"""How good a net is: from true labels and probabilities to figures, with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lbpmap import _checks
from lbpmap._arrays import F64, I64, Array

# Probabilities count as no less than this in a log loss; that of a softmax may round to 0.
LEAST = 1e-15

# Entries of the counts that are drawn at a time: 32 MB.
_DRAWN = 1 << 22


@dataclass(frozen=True)
class ClassScore:
    """How well one label is told apart; 0 where a ratio has nothing below its line."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int  # pictures that have it


@dataclass(frozen=True)
class Interval:
    """Where a figure would lie in so many of the samples that could have been drawn instead."""

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Scores:
    """How good probabilities are.

    Attributes
    ----------
    labels : tuple of str
        Names of the labels, in order.
    pictures : int
    accuracy : float
        Share of pictures whose most probable label is the true one.
    mean_class_accuracy : float
        Mean recall of the labels that some picture has ("balanced accuracy").
    macro_f1 : float
        Mean F1 of the labels that some picture has, or is given.
    log_loss : float
        Mean of -log of the probability of the true label, nats.
    per_class : tuple of ClassScore
    confusion : tuple of tuples of int
        Pictures by true label (rows) and predicted label (columns).
    accuracy_interval, mean_class_accuracy_interval : Interval or None
        None where none was asked for.
    """

    labels: tuple[str, ...]
    pictures: int
    accuracy: float
    mean_class_accuracy: float
    macro_f1: float
    log_loss: float
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    accuracy_interval: Interval | None
    mean_class_accuracy_interval: Interval | None

    def to_json(self) -> dict[str, Any]:
        """Give what `json.dumps` takes."""
        return asdict(self)


def score(
    probabilities: Array,
    truth: Array,
    labels: Sequence[str],
    *,
    groups: Sequence[str | None] | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Scores:
    """Compare probabilities with true labels.

    Parameters
    ----------
    probabilities : array (N, labels)
        Of every picture, summing to 1.
    truth : integer array (N,)
        Numbers of the true labels.
    labels : sequence of str
    groups : sequence of str or None, optional
        Whose picture each is, as for `bootstrap`.
    resamples : int, default 2000
        Of the bootstrap; 0 for no intervals.
    level : float, default 0.95
        Share of the resamples within an interval.
    seed : int, default 0

    Returns
    -------
    Scores
        As scikit-learn's metrics give them, which are used.

    Raises
    ------
    ValueError
        When there is no picture, or shapes, labels or values are not as described.

    Examples
    --------
    >>> found = score(np.eye(2)[[0, 1, 1, 1]], np.array([0, 1, 1, 0]), ["sad", "happy"])
    >>> found.accuracy, found.mean_class_accuracy, found.confusion
    (0.75, 0.75, ((1, 1), (0, 2)))
    """
    from sklearn import metrics  # type: ignore[import-untyped]

    p, true = checked(probabilities, truth, len(labels), "score")
    predicted = p.argmax(axis=1)
    every = np.arange(len(labels))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        true, predicted, labels=every, zero_division=0
    )
    intervals: list[Interval | None] = [None, None]
    if resamples:
        intervals = list(
            bootstrap(
                true == predicted, true, groups=groups, resamples=resamples, level=level, seed=seed
            )
        )
    return Scores(
        labels=tuple(labels),
        pictures=len(true),
        accuracy=float(metrics.accuracy_score(true, predicted)),
        mean_class_accuracy=float(recall[support > 0].mean()),
        macro_f1=float(metrics.f1_score(true, predicted, average="macro", zero_division=0)),
        log_loss=log_loss(p, true),
        per_class=tuple(
            ClassScore(label, float(precision[k]), float(recall[k]), float(f1[k]), int(support[k]))
            for k, label in enumerate(labels)
        ),
        confusion=tuple(
            tuple(map(int, row)) for row in metrics.confusion_matrix(true, predicted, labels=every)
        ),
        accuracy_interval=intervals[0],
        mean_class_accuracy_interval=intervals[1],
    )


def log_loss(probabilities: Array, truth: Array) -> float:
    """Give the mean of -log of the probability of the true label.

    Parameters
    ----------
    probabilities : array (N, labels)
        Those below 1e-15 count as 1e-15.
    truth : integer array (N,)

    Returns
    -------
    float
        Nats a picture: 0 for certainty, log(labels) for probabilities that are all the same.

    Examples
    --------
    >>> round(log_loss(np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([1, 0])), 4)
    0.1438
    """
    of_truth = np.asarray(probabilities, np.float64)[np.arange(len(truth)), truth]
    return max(0.0, float(-np.log(np.maximum(of_truth, LEAST)).mean()))


def bootstrap(
    hits: Array,
    truth: Array,
    *,
    groups: Sequence[str | None] | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Interval, Interval]:
    """Give percentile bootstrap intervals of the accuracy and of the mean class accuracy.

    Pictures are drawn with replacement, as many as there are (Efron and Tibshirani 1993, chapter
    13). Pictures of a group are drawn together, for those of one person are alike: a group counts
    as one draw.

    Parameters
    ----------
    hits : bool array (N,)
        Whether each picture's label was found.
    truth : integer array (N,)
        Numbers of the true labels.
    groups : sequence of str or None, optional
        The group of each picture; one without is a group of its own.
    resamples : int, default 2000
    level : float, default 0.95
        Share of the resamples that lies within.
    seed : int, default 0
        The same seed gives the same intervals.

    Returns
    -------
    accuracy, mean_class_accuracy : Interval
        A label that a resample lacks is left out of its mean.

    Raises
    ------
    ValueError
        When an argument is not as described.
    """
    resamples = _checks.positive(resamples, "resamples", "bootstrap")
    if not 0 < level < 1:
        raise ValueError(f"bootstrap: level must be between 0 and 1, got {level}")
    if isinstance(seed, bool) or seed < 0:
        raise ValueError(f"bootstrap: seed must be 0 or more, got {seed}")
    counts = _counts(np.asarray(hits, bool), np.asarray(truth, np.int64), groups)
    # Groups of the same counts are interchangeable: how often each kind is drawn is multinomial.
    kinds, alike = np.unique(counts, axis=0, return_counts=True)
    share = alike / len(counts)
    rng = np.random.default_rng(seed)
    figures = []
    step = max(1, _DRAWN // len(kinds))
    for first in range(0, resamples, step):
        drawn = rng.multinomial(len(counts), share, size=min(step, resamples - first))
        figures.append(_accuracies(drawn @ kinds))
    tails = [50 * (1 - level), 50 * (1 + level)]
    low, high = np.percentile(np.concatenate(figures), tails, axis=0)
    return tuple(  # type: ignore[return-value]
        Interval(float(low[k]), float(high[k]), level) for k in range(2)
    )


def _counts(hits: Array, truth: I64, groups: Sequence[str | None] | None) -> I64:
    """Give, of every group, its pictures by label, and behind them its hits by label."""
    number = np.arange(len(truth))
    if groups is not None:
        first: dict[str, int] = {}
        number = np.array(
            [k if group is None else first.setdefault(group, k) for k, group in enumerate(groups)]
        )
        number = np.unique(number, return_inverse=True)[1].reshape(-1)
    labels = int(truth.max()) + 1
    counts = np.zeros((int(number.max()) + 1, 2 * labels), np.int64)
    np.add.at(counts, (number, truth), 1)
    np.add.at(counts, (number, labels + truth), hits)
    return counts


def _accuracies(counts: I64) -> F64:
    """Give accuracy and mean class accuracy (resamples, 2) of rows as `_counts` makes them."""
    labels = counts.shape[1] // 2
    support, hits = counts[:, :labels], counts[:, labels:]
    recalls = hits / np.maximum(support, 1)
    there = np.count_nonzero(support, axis=1)
    figures: F64 = np.stack(
        [hits.sum(axis=1) / support.sum(axis=1), recalls.sum(axis=1) / there], axis=1
    )
    return figures


def checked(probabilities: Array, truth: Array, labels: int, function: str) -> tuple[F64, I64]:
    """Check probabilities (N, labels) and true labels (N,), for the function named."""
    p, true = np.asarray(probabilities, np.float64), np.asarray(truth)
    if p.ndim != 2 or p.shape[1] != labels or not len(p):
        raise ValueError(
            f"{function}: probabilities must be N x {labels}, N at least 1, got shape {p.shape}"
        )
    # NaN fails every comparison.
    if not ((p >= 0).all() and (abs(p.sum(axis=1) - 1) < 1e-3).all()):
        raise ValueError(f"{function}: probabilities must be 0 or more and sum to 1 in every row")
    if true.shape != (len(p),) or true.dtype.kind not in "iu":
        raise ValueError(
            f"{function}: truth must be {len(p)} integers, got {true.dtype} of shape {true.shape}"
        )
    if true.min() < 0 or true.max() >= labels:
        raise ValueError(
            f"{function}: truth must be 0 to {labels - 1}, got {true.min()} to {true.max()}"
        )
    return p, true.astype(np.int64)
