"""Solvers as pycaffe shows them: a net that learns, nets that test it, snapshots and resumes."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from lbpmap.caffe import engine, flow, policies, updates
from lbpmap.caffe.formats import prototxt, solverstate
from lbpmap.caffe.formats.messages import MESSAGES
from lbpmap.caffe.located import located
from lbpmap.caffe.net import Net
from lbpmap.caffe.parameters import PathLike, check_path
from lbpmap.caffe.seed import set_random_seed
from lbpmap.caffe.solver_nets import read_nets

if TYPE_CHECKING:
    import torch

_log = logging.getLogger("lbpmap.caffe")

_HDF5: int = MESSAGES["SolverParameter"].HDF5


class Solver:
    """A net that learns as a solver prototxt says; `get_solver` makes one of the type it names.

    Parameters
    ----------
    param_file : str or path
        The solver prototxt. Names of files in it are relative to the working directory, as in
        Caffe.

    Attributes
    ----------
    net : Net
        What learns, in the TRAIN phase.
    test_nets : list of Net
        They share the weights of `net` while they test.
    iter : int
        How many iterations are done.
    param : SolverParameter
        The settings.

    Raises
    ------
    OSError
        When a file cannot be read.
    RuntimeError
        When PyTorch, which computes the gradients, is not installed.
    ValueError
        One line: file, field or layer, what was wrong and what was expected.

    Notes
    -----
    Losses and scores of the tests are written to the logger ``lbpmap.caffe``, at level INFO.
    """

    type = ""  # that the class fixes; where empty, what the file names

    def __new__(cls, *args: Any, **settings: Any) -> Any:
        """Make a solver, or with the engine "real" one of the real Caffe."""
        if engine.resolve(None) != "real":
            return super().__new__(cls)
        from lbpmap.caffe.real.solver import RealSolver

        return super().__new__(engine.made_real(cls, RealSolver))

    def __init__(self, param_file: PathLike) -> None:
        check_path(f"{type(self).__name__}: param_file", param_file, "a solver prototxt")
        engine.torch_device(type(self).__name__)
        self._source = os.fspath(param_file)
        self.param = prototxt.read_solver(param_file)
        self.param.type = self.type or self.param.type
        with located(self._source):
            updates.check(self.param)
            policies.check(self.param)
        if self.param.random_seed >= 0:
            set_random_seed(self.param.random_seed)
        self.net, self._tests = read_nets(self.param, self._source)
        self.test_nets = [test.net for test in self._tests]
        self.iter = 0
        self._learnable = flow.learnable(self.net.layers)
        self._history: list[list[torch.Tensor]] = []
        self._callbacks: list[tuple[Callable[[], object], Callable[[], object]]] = []
        self._losses: deque[float] = deque(maxlen=self.param.average_loss)
        for files in self.param.weights:
            self.net.copy_from(files)

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        return policies.learning_rate(self.param, self.iter)

    def step(self, iterations: int) -> None:
        """Do some iterations: passes, an update, and tests and snapshots where they are due.

        Parameters
        ----------
        iterations : int
        """
        p = self.param
        self._losses.clear()
        for _ in range(int(iterations)):
            self.net.clear_param_diffs()
            if self._test_is_due() and (self.iter > 0 or p.test_initialization):
                self._test_all()
            for on_start, _on_gradients in self._callbacks:
                on_start()
            self._losses.append(self._gradients())
            if p.display and self.iter % p.display == 0:
                loss = sum(self._losses) / len(self._losses)
                _log.info("Iteration %d, lr = %g, loss = %g", self.iter, self.lr, loss)
            for _on_start, on_gradients in self._callbacks:
                on_gradients()
            self.apply_update()
            if p.snapshot and self.iter % p.snapshot == 0:
                self.snapshot()

    def solve(self, resume_file: PathLike | None = None) -> None:
        """Iterate until `max_iter`, from a solverstate if there is one, and snapshot at the end."""
        p = self.param
        if resume_file is not None:
            self.restore(resume_file)
        self.step(p.max_iter - self.iter)
        if p.snapshot_after_train and not (p.snapshot and self.iter % p.snapshot == 0):
            self.snapshot()
        if self._test_is_due():
            self._test_all()

    def apply_update(self) -> None:
        """Change the parameters by their gradients, which become what was taken off; count it.

        Gradients are clipped together, divided by `iter_size`, regularised, and given to the
        solver's rule, in Caffe's order.
        """
        p = self.param
        device = engine.torch_device("apply_update")
        rule = updates.RULES[p.type]
        rate = self.lr
        pairs = [
            (
                blob.values.writable_tensor(blob.count, device),
                blob.gradients.writable_tensor(blob.count, device),
            )
            for blob, _, _ in self._learnable
        ]
        updates.clip(p, [gradient for _, gradient in pairs])
        histories = self._histories(device)
        for (_, lr_mult, decay_mult), (values, gradient), history in zip(
            self._learnable, pairs, histories
        ):
            if p.iter_size > 1:
                gradient.div_(p.iter_size)
            updates.regularise(p, gradient, values, p.weight_decay * decay_mult)
            rule.update(p, gradient, history, rate * lr_mult, self.iter)
            values.sub_(gradient)
        self.iter += 1

    def snapshot(self) -> None:
        """Write ``PREFIX_iter_N.caffemodel`` and ``.solverstate``, in HDF5 if the solver says so.

        Raises
        ------
        OSError
            When a file cannot be written.
        """
        hdf5 = self.param.snapshot_format == _HDF5
        end = ".h5" if hdf5 else ""
        stem = f"{self.param.snapshot_prefix}_iter_{self.iter}"
        weights, state = f"{stem}.caffemodel{end}", f"{stem}.solverstate{end}"
        if hdf5:
            self.net.save_hdf5(weights, self.param.snapshot_diff)
        else:
            self.net.save(weights, self.param.snapshot_diff)
        histories = self._histories(engine.torch_device("snapshot"))
        # First all of the first history, then all of the second.
        arrays = [
            history[k].view(blob.shape).cpu().numpy()
            for k in range(updates.RULES[self.param.type].histories)
            for (blob, _, _), history in zip(self._learnable, histories)
        ]
        step = policies.current_step(self.param, self.iter)
        solverstate.write(
            state, solverstate.SolverState(self.iter, weights, step, arrays), hdf5=hdf5
        )
        _log.info("Snapshot %s, %s", weights, state)

    def restore(self, state_file: PathLike) -> None:
        """Go on from a solverstate, and from the weights that it names.

        Parameters
        ----------
        state_file : str or path
            Binary or HDF5. The caffemodel is looked for where the state says, relative to the
            working directory, and then beside the state.

        Raises
        ------
        OSError, ValueError
            When a file cannot be read, or is of another net or type of solver.
        """
        check_path("restore: state_file", state_file, "a solverstate")
        state = solverstate.read(state_file)
        shapes = [blob.shape for blob, _, _ in self._learnable]
        wanted = shapes * updates.RULES[self.param.type].histories
        found = [array.shape for array in state.history]
        if [int(np.prod(s)) for s in found] != [int(np.prod(s)) for s in wanted]:
            raise ValueError(
                f"{state_file}: {len(found)} histories of shapes {_some(found)}; a solver of type "
                f"{self.param.type} of this net has {len(wanted)} of {_some(wanted)}"
            )
        if state.learned_net:
            self.net.copy_from(beside(state.learned_net, state_file))
        self.iter = state.iter
        histories = self._histories(engine.torch_device("restore"))
        for i, array in enumerate(state.history):
            kept = histories[i % len(shapes)][i // len(shapes)]
            kept.copy_(kept.new_tensor(array.reshape(-1)))

    def add_callback(
        self, on_start: Callable[[], object], on_gradients_ready: Callable[[], object]
    ) -> None:
        """Call functions at the start of every iteration, and before every update."""
        self._callbacks.append((on_start, on_gradients_ready))

    def share_weights(self, net: Net) -> None:
        """Let another net use the weights of the one that learns."""
        net.share_with(self.net)

    def _gradients(self) -> float:
        """Pass forward and backward `iter_size` times; gradients add up. Return the mean loss."""
        loss = 0.0
        for _ in range(self.param.iter_size):
            self.net.forward()
            loss += self.net.loss()
            self.net.backward()
        return loss / int(self.param.iter_size)

    def _histories(self, device: torch.device) -> list[list[torch.Tensor]]:
        import torch

        if not self._history:
            count = updates.RULES[self.param.type].histories
            self._history = [
                [torch.zeros(blob.count, device=device) for _ in range(count)]
                for blob, _, _ in self._learnable
            ]
        elif self._history[0] and self._history[0][0].device != device:
            self._history = [[each.to(device) for each in kept] for kept in self._history]
        return self._history

    def _test_is_due(self) -> bool:
        return bool(self.param.test_interval) and self.iter % self.param.test_interval == 0

    def _test_all(self) -> None:
        for number, test in enumerate(self._tests):
            test.net.share_with(self.net)
            for name, score in test.scores().items():
                _log.info(
                    "Iteration %d, test net %d: %s = %s",
                    self.iter,
                    number,
                    name,
                    np.array2string(score, precision=6),
                )


def _some(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes[:3])) + (", ..." if len(shapes) > 3 else "")


def beside(name: str, state_file: PathLike) -> str:
    """Return `name`, or a file of that name in the folder of the state where there is none."""
    beside = os.path.join(os.path.dirname(os.fspath(state_file)), os.path.basename(name))
    return name if os.path.exists(name) or not os.path.exists(beside) else beside


class SGDSolver(Solver):
    """Stochastic gradient descent with momentum."""

    type = "SGD"


class NesterovSolver(Solver):
    """Nesterov's accelerated gradient."""

    type = "Nesterov"


class AdaGradSolver(Solver):
    """AdaGrad (Duchi et al. 2011)."""

    type = "AdaGrad"


class RMSPropSolver(Solver):
    """RMSProp (Tieleman and Hinton 2012)."""

    type = "RMSProp"


class AdaDeltaSolver(Solver):
    """AdaDelta (Zeiler 2012)."""

    type = "AdaDelta"


class AdamSolver(Solver):
    """Adam (Kingma and Ba 2015)."""

    type = "Adam"


_TYPES = {
    solver.type: solver
    for solver in (
        SGDSolver,
        NesterovSolver,
        AdaGradSolver,
        RMSPropSolver,
        AdaDeltaSolver,
        AdamSolver,
    )
}


def get_solver(param_file: PathLike) -> Any:
    """Make a solver of the type that its prototxt names.

    Parameters
    ----------
    param_file : str or path
        The solver prototxt; ``type: "Adam"``, or the old ``solver_type: ADAM``.

    Returns
    -------
    Solver

    Raises
    ------
    OSError, RuntimeError, ValueError
        As for `Solver`.
    """
    check_path("get_solver: param_file", param_file, "a solver prototxt")
    name = prototxt.read_solver(param_file).type
    if name not in _TYPES:
        raise ValueError(
            f'{os.fspath(param_file)}: type is "{name}", it must be one of {", ".join(_TYPES)}'
        )
    return _TYPES[name](param_file)
