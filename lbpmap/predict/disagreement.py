"""How far nets are from saying the same of a face."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lbpmap.predict.records import Face

#: A disagreement from which on nets are said to disagree, and the words for it and below.
DISAGREE = 0.2
_WORDS = ((0.05, "nets agree"), (DISAGREE, "nets differ a little"), (math.inf, "nets disagree"))


def disagreement(face: Face) -> float:
    """Measure how far the nets are apart, from 0 (all the same) to 1 (each sure of another label).

    It is the Jensen-Shannon divergence of all nets with equal weights: the entropy of their mean
    less the mean of their entropies (J. Lin 1991, Divergence measures based on the Shannon entropy,
    IEEE Transactions on Information Theory 37), over the most that it can be, the logarithm of the
    number of nets or of labels, whichever is less.

    Parameters
    ----------
    face : Face

    Returns
    -------
    float
        0 where there are fewer than two nets.

    Examples
    --------
    >>> face = Face({"a": (1.0, 0.0), "b": (0.0, 1.0)}, (0.5, 0.5))
    >>> disagreement(face)
    1.0
    >>> disagreement(Face({"a": (0.5, 0.5), "b": (0.5, 0.5)}, (0.5, 0.5)))
    0.0
    """
    nets = list(face.by_net.values())
    most = min(len(nets), len(face.probabilities))
    if most < 2:
        return 0.0
    mean = [math.fsum(column) / len(nets) for column in zip(*nets)]
    apart = _entropy(mean) - math.fsum(map(_entropy, nets)) / len(nets)
    return min(1.0, max(0.0, apart / math.log(most)))


def _entropy(probabilities: Sequence[float]) -> float:
    return -math.fsum(p * math.log(p) for p in probabilities if p > 0)


def in_words(value: float) -> str:
    """Say what a disagreement means."""
    return next(words for below, words in _WORDS if value < below)


def others(face: Face) -> list[str]:
    """Name the nets whose most probable label is not that of all together."""
    return [name for name, p in face.by_net.items() if p[face.best] < max(p)]
