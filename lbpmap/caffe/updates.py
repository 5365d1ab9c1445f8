"""From gradients to updates: the rules of Caffe's six solvers, on PyTorch.

Every rule replaces a gradient by what is to be taken off the parameter, in place, and keeps its
history. With g the gradient, r the rate of the parameter (rate x lr_mult) and m the momentum:

- SGD: v = m v + r g; update v. The rate is inside the momentum, unlike in `torch.optim.SGD`: after
  the rate has changed, old steps count with the rate that they were made at.
- Nesterov: v as in SGD; update (1 + m) v - m v_before.
- AdaGrad: s += g^2; update r g / (sqrt(s) + delta).
- RMSProp: s = rms_decay s + (1 - rms_decay) g^2; update r g / (sqrt(s) + delta).
- AdaDelta: s = m s + (1 - m) g^2; u = g sqrt((delta + t) / (delta + s)); t = m t + (1 - m) u^2;
  update r u.
- Adam: a = m a + (1 - m) g; b = momentum2 b + (1 - momentum2) g^2;
  update r sqrt(1 - momentum2^n) / (1 - m^n) a / (sqrt(b) + delta), n from 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lbpmap.caffe.formats.messages import Message

if TYPE_CHECKING:
    import torch

# (solver's settings, gradient, its histories, rate of this parameter, iteration from 0)
_Update = Callable[[Message, "torch.Tensor", "list[torch.Tensor]", float, int], None]


@dataclass(frozen=True)
class Rule:
    """A solver's rule, and how many histories it keeps a parameter."""

    update: _Update
    histories: int = 1


def _sgd(
    p: Message, g: torch.Tensor, history: list[torch.Tensor], rate: float, iteration: int
) -> None:
    history[0].mul_(p.momentum).add_(g, alpha=rate)
    g.copy_(history[0])


def _nesterov(
    p: Message, g: torch.Tensor, history: list[torch.Tensor], rate: float, iteration: int
) -> None:
    before = history[0].clone()
    history[0].mul_(p.momentum).add_(g, alpha=rate)
    g.copy_(history[0]).mul_(1 + p.momentum).sub_(before, alpha=p.momentum)


def _adagrad(
    p: Message, g: torch.Tensor, history: list[torch.Tensor], rate: float, iteration: int
) -> None:
    history[0].addcmul_(g, g)
    g.div_(history[0].sqrt().add_(p.delta)).mul_(rate)


def _rmsprop(
    p: Message, g: torch.Tensor, history: list[torch.Tensor], rate: float, iteration: int
) -> None:
    history[0].mul_(p.rms_decay).addcmul_(g, g, value=1 - p.rms_decay)
    g.div_(history[0].sqrt().add_(p.delta)).mul_(rate)


def _adadelta(
    p: Message, g: torch.Tensor, history: list[torch.Tensor], rate: float, iteration: int
) -> None:
    squares, updates = history
    squares.mul_(p.momentum).addcmul_(g, g, value=1 - p.momentum)
    g.mul_(((updates + p.delta) / (squares + p.delta)).sqrt_())
    updates.mul_(p.momentum).addcmul_(g, g, value=1 - p.momentum)
    g.mul_(rate)


def _adam(
    p: Message, g: torch.Tensor, history: list[torch.Tensor], rate: float, iteration: int
) -> None:
    mean, square = history
    mean.mul_(p.momentum).add_(g, alpha=1 - p.momentum)
    square.mul_(p.momentum2).addcmul_(g, g, value=1 - p.momentum2)
    n = iteration + 1
    correction = math.sqrt(1 - p.momentum2**n) / (1 - p.momentum**n)
    g.copy_(mean).div_(square.sqrt().add_(p.delta)).mul_(rate * correction)


RULES: dict[str, Rule] = {
    "SGD": Rule(_sgd),
    "Nesterov": Rule(_nesterov),
    "AdaGrad": Rule(_adagrad),
    "RMSProp": Rule(_rmsprop),
    "AdaDelta": Rule(_adadelta, histories=2),
    "Adam": Rule(_adam, histories=2),
}


def check(p: Message) -> None:
    """Raise ValueError where a SolverParameter's type is unknown or its numbers contradict it."""
    if p.type not in RULES:
        raise ValueError(f'type is "{p.type}", it must be one of {", ".join(RULES)}')
    if p.type in ("AdaGrad", "RMSProp") and p.momentum:
        raise ValueError(f"momentum is {p.momentum:g}, a solver of type {p.type} takes none")
    if p.type == "RMSProp" and not 0 <= p.rms_decay < 1:
        raise ValueError(f"rms_decay is {p.rms_decay:g}, it must be from 0 to below 1")
    if p.type == "Adam" and not (0 <= p.momentum < 1 and 0 <= p.momentum2 < 1):
        raise ValueError(
            f"momentum {p.momentum:g} and momentum2 {p.momentum2:g} must be from 0 to below 1"
        )
    for name in ("iter_size", "average_loss"):
        if getattr(p, name) < 1:
            raise ValueError(f"{name} is {getattr(p, name)}, it must be at least 1")
    if p.weight_decay and p.regularization_type not in ("L1", "L2"):
        raise ValueError(f'regularization_type is "{p.regularization_type}", it must be L1 or L2')


def regularise(p: Message, g: torch.Tensor, w: torch.Tensor, decay: float) -> None:
    """Add to a gradient what keeps its parameter small: decay x w, or x its sign."""
    if decay:
        g.add_(w if p.regularization_type == "L2" else w.sign(), alpha=decay)


def clip(p: Message, gradients: list[torch.Tensor]) -> None:
    """Scale all gradients down together where their length exceeds `clip_gradients`."""
    if p.clip_gradients < 0:
        return
    length = math.sqrt(sum(float(g.double().pow(2).sum()) for g in gradients))
    if length > p.clip_gradients:
        for g in gradients:
            g.mul_(p.clip_gradients / length)
