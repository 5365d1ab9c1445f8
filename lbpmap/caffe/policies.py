"""Learning rates: how `lr_policy` of a solver makes them of the iteration, counted from 0."""

from __future__ import annotations

import math
from collections.abc import Callable

from lbpmap.caffe.formats.messages import Message


def _fixed(p: Message, iteration: int) -> float:
    return 1.0


def _step(p: Message, iteration: int) -> float:
    return float(p.gamma ** (iteration // p.stepsize))


def _exp(p: Message, iteration: int) -> float:
    return float(p.gamma**iteration)


def _inv(p: Message, iteration: int) -> float:
    return float((1 + p.gamma * iteration) ** -p.power)


def _multistep(p: Message, iteration: int) -> float:
    return float(p.gamma ** _steps_taken(p, iteration))


def _steps_taken(p: Message, iteration: int) -> int:
    """Count the `stepvalue` that are behind; of several at once, each iteration takes one."""
    taken, reached = 0, -1
    for value in p.stepvalue:
        reached = max(value, reached + 1)
        if reached > iteration:
            break
        taken += 1
    return taken


def _poly(p: Message, iteration: int) -> float:
    # Beyond max_iter Caffe takes the power of a negative number, mostly NaN.
    return float(max(0.0, 1 - iteration / p.max_iter) ** p.power)


def _sigmoid(p: Message, iteration: int) -> float:
    return 1 / (1 + math.exp(-p.gamma * (iteration - p.stepsize)))


POLICIES: dict[str, Callable[[Message, int], float]] = {
    "fixed": _fixed,
    "step": _step,
    "exp": _exp,
    "inv": _inv,
    "multistep": _multistep,
    "poly": _poly,
    "sigmoid": _sigmoid,
}


def check(p: Message) -> None:
    """Raise ValueError where a SolverParameter's policy is unknown or lacks a number."""
    if p.lr_policy not in POLICIES:
        raise ValueError(
            f'lr_policy is "{p.lr_policy}", it must be one of {", ".join(sorted(POLICIES))}'
        )
    if p.lr_policy in ("step", "sigmoid") and p.stepsize < 1:
        raise ValueError(f'lr_policy "{p.lr_policy}" needs a stepsize of at least 1')
    if p.lr_policy not in ("fixed", "poly") and p.gamma < 0:
        raise ValueError(f'lr_policy "{p.lr_policy}" needs a gamma of at least 0, got {p.gamma:g}')
    if p.lr_policy == "poly" and p.max_iter < 1:
        raise ValueError('lr_policy "poly" needs a max_iter of at least 1')


def learning_rate(p: Message, iteration: int) -> float:
    """Return the learning rate of an iteration.

    Parameters
    ----------
    p : SolverParameter
        `check` has passed it.
    iteration : int
        From 0.

    Examples
    --------
    >>> from lbpmap.caffe.formats.messages import SolverParameter
    >>> solver = SolverParameter(base_lr=0.5, lr_policy="step", gamma=0.5, stepsize=10)
    >>> [learning_rate(solver, i) for i in (0, 9, 10, 25)]
    [0.5, 0.5, 0.25, 0.125]
    """
    return float(p.base_lr) * POLICIES[p.lr_policy](p, iteration)


def current_step(p: Message, iteration: int) -> int:
    """Return how many steps the rate has gone down, which a solverstate records."""
    if p.lr_policy == "step":
        return iteration // int(p.stepsize)
    if p.lr_policy == "multistep":
        return _steps_taken(p, iteration)
    return 0
