"""The nets of a solver: which one learns, which ones test it, and how a test is counted."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from lbpmap._arrays import Array
from lbpmap.caffe import graph
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import TEST, TRAIN, Message
from lbpmap.caffe.formats.upgrade import upgrade
from lbpmap.caffe.located import located
from lbpmap.caffe.net import Net


@dataclass(frozen=True)
class TestNet:
    """A net of the TEST phase, and how many passes make a test."""

    __test__ = False  # no test of pytest's

    net: Net
    passes: int

    def scores(self) -> dict[str, Array]:
        """Return the mean of every output over a test."""
        sums: dict[str, Array] = {}
        for _ in range(self.passes):
            for name, values in self.net.forward().items():
                sums[name] = sums.get(name, 0) + values.astype(np.float64)
        return {name: total / self.passes for name, total in sums.items()}


# A net's text, and the name that errors begin with.
_Text = tuple[Message, str]


def read_nets(p: Message, source: str) -> tuple[Net, list[TestNet]]:
    """Build the nets that a SolverParameter names.

    Parameters
    ----------
    p : SolverParameter
    source : str
        The solver's own file, which errors begin with.

    Returns
    -------
    net : Net
        In the TRAIN phase.
    tests : list of TestNet
        In Caffe's order: of `test_net_param`, of `test_net`, and of the net that learns, as often
        as `test_iter` asks for more.

    Raises
    ------
    OSError, ValueError
        When none or several are named, or counts do not agree.
    """
    learning = [
        *_files([p.net] if p.HasField("net") else [], source),
        *_inline([p.net_param] if p.HasField("net_param") else [], f"{source}: net_param"),
    ]
    training = [
        *_files([p.train_net] if p.HasField("train_net") else [], source),
        *_inline([p.train_net_param] if p.HasField("train_net_param") else [], source),
    ]
    if len(learning) + len(training) != 1:
        raise ValueError(
            f"{source}: {len(learning) + len(training)} nets to train; give one of net, net_param, "
            f"train_net, train_net_param"
        )
    description, name = (training or learning)[0]
    net = Net.of_message(description, name, _state(description, TRAIN, p.train_state))
    testing = [
        *_inline(list(p.test_net_param), f"{source}: test_net_param"),
        *_files(list(p.test_net), source),
    ]
    more = len(p.test_iter) - len(testing)
    if more < 0 or (more and not learning):
        raise ValueError(
            f"{source}: {len(p.test_iter)} test_iter for {len(testing)} test nets; give one each"
        )
    testing += learning[:1] * more
    if testing and p.test_interval < 1:
        raise ValueError(f"{source}: test_iter is given, but no test_interval")
    if len(p.test_state) not in (0, len(testing)):
        raise ValueError(
            f"{source}: {len(p.test_state)} test_state for {len(testing)} test nets; give one each "
            f"or none"
        )
    states = list(p.test_state) or [None] * len(testing)
    return net, [
        TestNet(Net.of_message(text, name, _state(text, TEST, state)), passes)
        for (text, name), state, passes in zip(testing, states, p.test_iter)
    ]


def _state(description: Message, phase: int, extra: Message | None) -> Message:
    """Return phase, level and stages: the net's own, and what the solver adds."""
    state = graph.NetState(phase=phase)
    for more in (description.state, extra):
        if more is not None:
            state.level = more.level if more.HasField("level") else state.level
            state.stage.extend(more.stage)
    return state


def _files(names: list[str], source: str) -> list[_Text]:
    found = []
    for name in names:
        try:
            found.append((prototxt.read_net(name), name))
        except FileNotFoundError:
            beside = os.path.join(os.path.dirname(source), name)
            hint = f"; run it from {os.path.dirname(source)}" if os.path.exists(beside) else ""
            raise FileNotFoundError(
                f"{source}: no net {name} in {os.getcwd()}: names in a solver are relative to the "
                f"working directory{hint}"
            ) from None
    return found


def _inline(descriptions: list[Message], source: str) -> list[_Text]:
    for description in descriptions:
        with located(source):
            upgrade(description)
    return [(description, source) for description in descriptions]
