"""A solver of the real Caffe, as the other engines' solvers are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from lbpmap._files import atomic_write
from lbpmap.caffe.formats import prototxt, solverstate
from lbpmap.caffe.formats.messages import MESSAGES, Message, SolverParameter
from lbpmap.caffe.net import Net
from lbpmap.caffe.parameters import PathLike, check_path
from lbpmap.caffe.real import link
from lbpmap.caffe.real.handle import Handle, Opened, opened
from lbpmap.caffe.real.net import RealNet
from lbpmap.caffe.solver import Solver, beside

_HDF5: int = MESSAGES["SolverParameter"].HDF5


class RealSolver(Solver):
    """A solver that the real Caffe runs, in the worker's process; `Solver` makes it.

    Snapshots get the names that the solver's file gives them. Caffe writes them into the worker's
    own folder, from where they are taken when their iteration is done.
    """

    net: RealNet
    test_nets: list[RealNet]  # type: ignore[assignment]

    def __init__(self, param_file: PathLike) -> None:
        check_path(f"{type(self).__name__}: param_file", param_file, "a solver prototxt")
        source = os.fspath(param_file)
        self.param = prototxt.read_solver(param_file)
        _check_prefix(self.param, source)
        there = link.current()
        there.work_here()
        place = there.place(source)
        self._snapshots = f"{os.path.dirname(place)}/snapshot"
        given = SolverParameter()
        given.CopyFrom(self.param)
        if given.HasField("snapshot_prefix") or not given.snapshot:
            given.snapshot_prefix = there.inside(self._snapshots)
        with ExitStack() as stack:
            files, names = stack.enter_context(_nets(there, given))
            names[place] = source
            made = there.call(
                "solver",
                source=source,
                files=[*files, (place, stack.enter_context(_text_file(given)))],
                names=names,
                kind=f"{self.type}Solver" if self.type else "get_solver",
            )
        self._handle = Handle(there, made["solver"], source)
        self.net = RealNet.of_handle(Handle(there, made["net"], source))
        self.test_nets = [
            RealNet.of_handle(Handle(there, number, source)) for number in made["test_nets"]
        ]

    @property
    def iter(self) -> int:  # type: ignore[override]
        """How many iterations are done."""
        return int(self._handle.value("iter"))

    @property
    def lr(self) -> float:
        """The learning rate, as pycaffe tells it."""
        return float(self._handle.value("lr"))

    def step(self, iterations: int) -> None:
        """Do some iterations; snapshots that fall due are there when their iteration is done."""
        every, left = self.param.snapshot, int(iterations)
        while left > 0:
            done = min(left, every - self.iter % every) if every else left
            self._handle.method("step", done)
            left -= done
            if every and self.iter % every == 0:
                self._take_snapshot()

    def solve(self, resume_file: PathLike | None = None) -> None:
        """Iterate until `max_iter`, from a solverstate if there is one, and snapshot at the end."""
        p = self.param
        if resume_file is not None:
            self.restore(resume_file)
        self.step(p.max_iter - self.iter)
        # Nothing is left to iterate: Caffe does what comes behind the last iteration.
        self._handle.method("solve")
        if p.snapshot_after_train and not (p.snapshot and self.iter % p.snapshot == 0):
            self._take_snapshot()

    def apply_update(self) -> None:
        """Change the parameters by their gradients, as pycaffe does."""
        self._handle.method("apply_update")

    def snapshot(self) -> None:
        """Write ``PREFIX_iter_N.caffemodel`` and ``.solverstate``, in HDF5 if the solver says so.

        Raises
        ------
        OSError
            When a file cannot be written.
        """
        self._handle.method("snapshot")
        self._take_snapshot()

    def restore(self, state_file: PathLike) -> None:
        """Go on from a solverstate, and from the weights that it names; see `Solver.restore`."""
        check_path("restore: state_file", state_file, "a solverstate")
        there, handle = self._handle.link, self._handle
        state = solverstate.read(state_file)
        weights = [beside(state.learned_net, state_file)] if state.learned_net else []
        with ExitStack() as stack:
            files, names = stack.enter_context(opened(there, weights, "the weights of a state"))
            learned = there.inside(files[0][0]) if files else ""
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lbpmap-")))
            # Caffe tells the forms by the name, as `solverstate` does by the content.
            hdf5 = os.fspath(state_file).endswith(".h5")
            copy = folder / os.path.basename(state_file)
            solverstate.write(copy, replace(state, learned_net=learned), hdf5=hdf5)
            place = there.place(state_file)
            names[place] = os.fspath(state_file)
            there.call(
                "read",
                source=f"{handle.source}: restore {os.fspath(state_file)}",
                files=[*files, (place, stack.enter_context(open(copy, "rb")))],
                names=names,
                thing=handle.number,
                name="restore",
            )

    def add_callback(
        self, on_start: Callable[[], object], on_gradients_ready: Callable[[], object]
    ) -> None:
        """Call functions at the start of every iteration, and before every update."""
        called, handle = self._handle.called, self._handle
        if not called:
            handle.link.call("callbacks", source=handle.source, solver=handle.number)
        called.setdefault("on_start", []).append(on_start)
        called.setdefault("on_gradients_ready", []).append(on_gradients_ready)

    def share_weights(self, net: Net) -> None:
        """Let another net of the real Caffe use the weights of the one that learns."""
        net.share_with(self.net)

    def _take_snapshot(self) -> None:
        """Take both files of a snapshot from the worker's folder, and name the weights in one."""
        hdf5 = self.param.snapshot_format == _HDF5
        end = ".h5" if hdf5 else ""
        done = f"_iter_{self.iter}"
        stem = f"{self.param.snapshot_prefix}{done}"
        weights = f"{stem}.caffemodel{end}"
        with atomic_write(weights) as file:
            self._fetch(f"{self._snapshots}{done}.caffemodel{end}", file)
        with tempfile.TemporaryDirectory(prefix="lbpmap-") as folder:
            copy = Path(folder) / "state"
            with open(copy, "wb") as file:
                self._fetch(f"{self._snapshots}{done}.solverstate{end}", file)
            state = replace(solverstate.read(copy), learned_net=weights)
        solverstate.write(f"{stem}.solverstate{end}", state, hdf5=hdf5)

    def _fetch(self, name: str, file: BinaryIO) -> None:
        handle = self._handle
        handle.link.call("fetch", source=f"{handle.source}: snapshot", files=[(name, file)])


def _check_prefix(param: Message, source: str) -> None:
    """Refuse, as Caffe does at once, snapshots that have no place to go."""
    folder = os.path.dirname(param.snapshot_prefix)
    if param.snapshot and folder and not os.path.isdir(folder):
        raise ValueError(
            f"{source}: snapshot_prefix is {param.snapshot_prefix}, but there is no folder "
            f"{folder}; make it first"
        )


@contextmanager
def _nets(there: link.Link, given: Message) -> Iterator[Opened]:
    """Open the nets that a solver names, and put the worker's names in their place."""
    fields = [name for name in ("net", "train_net") if given.HasField(name)]
    paths = [*(getattr(given, name) for name in fields), *given.test_net]
    with opened(there, paths, "a prototxt") as (files, names):
        places = [there.inside(place) for place, _ in files]
        for name in fields:
            setattr(given, name, places.pop(0))
        given.test_net[:] = places
        yield files, names


@contextmanager
def _text_file(message: Message) -> Iterator[BinaryIO]:
    """Give a file without a name that holds a message as text."""
    with tempfile.TemporaryFile() as file:
        file.write(prototxt.format_text(message).encode())
        file.flush()
        yield file
