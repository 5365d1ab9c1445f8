"""Fine-tuning: a net learns from labelled pictures, through pycaffe's own interface.

A solver is driven an iteration at a time: passes forward and backward over what `feed` has made
ready, then its update. It can be stopped at any moment, and goes on as if it had not been: whatever
chance decides is a function of the seed and the iteration, or stands in the snapshots.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lbpmap import _toml, caffe
from lbpmap._arrays import F32
from lbpmap._errors import one_line
from lbpmap._files import PathLike, regular_size, sha256
from lbpmap.caffe import seed as chance
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.weights import read_blob
from lbpmap.caffe.layers.plan import Layer
from lbpmap.emotion import feed, runs
from lbpmap.emotion.dataset import TRAIN, VALIDATION, read_dataset
from lbpmap.emotion.devices import learning
from lbpmap.emotion.runs import Best, Resume, Settings

COLUMNS = (
    "iteration",
    "epoch",
    "learning_rate",
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
    "pictures_per_second",
    "loader_pictures_per_second",
    "seconds_waited",
)


class Diverged(ValueError):
    """The loss is no number any more."""


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes
    ----------
    reason : str
        "max_iter", "patience", or "interrupted".
    iteration : int
        Iterations that are done.
    best : Best or None
        The best validation, whose weights are in ``best.caffemodel``.
    loader_pictures_per_second : float
        What the loader's threads can do, measured while the net worked.
    net_pictures_per_second : float
        What the net takes.
    share_waited : float
        Of the time of learning, what the net waited for pictures.
    """

    reason: str
    iteration: int
    best: Best | None
    loader_pictures_per_second: float
    net_pictures_per_second: float
    share_waited: float


@dataclass
class _Clock:
    """How long things took, and how many pictures they were."""

    pictures: int = 0
    busy: float = 0.0
    waited: float = 0.0
    net: float = 0.0

    def add(self, pictures: int, step: feed.Step, net: float) -> None:
        self.pictures += pictures
        self.busy += step.busy
        self.waited += step.waited
        self.net += net

    def rates(self, threads: int) -> tuple[float, float, float]:
        """Pictures a second of the loader and of the net, and the share of time waited."""
        together = self.waited + self.net
        return (
            threads * self.pictures / self.busy if self.busy else 0.0,
            self.pictures / self.net if self.net else 0.0,
            self.waited / together if together else 0.0,
        )


def train(
    folder: PathLike,
    *,
    weights: PathLike | None = None,
    max_iter: int | None = None,
    threads: int = 2,
    on_row: Callable[[dict[str, Any]], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Result:
    """Let a run learn, from its newest snapshot where it has one.

    Parameters
    ----------
    folder : str or path
        Of a run, from `lbpmap.emotion.preparing.prepare_run`.
    weights : str or path, optional
        Where the net starts without a snapshot: layers are found by name, others keep what their
        fillers drew.
    max_iter : int, optional
        Iterations, in place of the run's own number.
    threads : int, default 2
        That make pictures ready; how many makes no difference to the result.
    on_row : function of a dict, optional
        Is told every iteration, as the log has it.
    stop : function, optional
        Is asked after every iteration; when it says True, the run takes a snapshot and returns.

    Returns
    -------
    Result

    Raises
    ------
    Diverged
        When the loss is infinite or NaN: the iteration, and the last good snapshot, are named.
    RuntimeError
        When PyTorch, or the GPU, is not there.
    OSError, ValueError
        When a file cannot be read or written, or another process lets the run learn. The last
        snapshot then still is good.
    """
    run = _Run(Path(folder), threads, max_iter)
    with runs.alone(folder), learning(run.settings.device, run.settings.mixed_precision):
        run.start(weights)
        try:
            return run.learn(on_row or (lambda row: None), stop or (lambda: False))
        except Diverged:
            raise
        except (OSError, ValueError) as error:
            kind = OSError if isinstance(error, OSError) else ValueError
            raise kind(
                f"{one_line(error)}; stopped at iteration {run.solver.iter}, the last good "
                f"snapshot is {run.last_good()}: mend that, and go on with --resume {folder}"
            ) from error


def starting_weights(folder: PathLike) -> Path | None:
    """Give the weights that a run started from, as its run.toml has them; None from scratch.

    Raises
    ------
    OSError, ValueError
        When `folder` is not a run's, or the file is not the one that it was.
    """
    runs.read_settings(folder)
    told = runs.read_toml(Path(folder) / "run.toml").get("net", {})
    if not told.get("weights") or runs.snapshots(folder):
        return None
    path = Path(told["weights"])
    regular_size(path, f"the weights that {folder} starts from")
    if sha256(path) != told.get("weights_sha256"):
        raise ValueError(f"{path}: not the weights any more that {folder} was to start from")
    return path


class _Run:
    """A run that is at work."""

    def __init__(self, folder: Path, threads: int, max_iter: int | None) -> None:
        self.folder = folder
        self.settings: Settings = runs.read_settings(folder)
        self.max_iter = max_iter or self.settings.max_iter
        self.threads = threads
        data = read_dataset(folder / "data.csv", labels=read_labels(folder))
        self.learned_from, self.validated_on = data.part(TRAIN), data.part(VALIDATION)
        s = self.settings
        mean = read_blob(folder / "mean.binaryproto")
        representation = s.representation
        if (folder / representation).is_file():
            representation = str(folder / representation)
        self.view = feed.View(
            representation, s.size, s.crop, mean.reshape(mean.shape[-3:]), s.mirror
        )
        self.rows: list[dict[str, Any]] = []
        self.best: Best | None = None
        self.since_best = 0
        self.clock = _Clock()

    def start(self, weights: PathLike | None) -> None:
        """Make the solver, and go to the newest snapshot, or to the weights."""
        runs.sweep(self.folder)
        caffe.set_random_seed(self.settings.seed)
        self.solver = caffe.get_solver(self._solver_file())
        self.net = self.solver.net
        self.test_net = self.solver.test_nets[0]
        self.test_net.share_with(self.net)
        whole = runs.snapshots(self.folder)
        if whole:
            self._restore(whole[-1])
        elif weights is not None:
            self.net.copy_from(weights)

    def _solver_file(self) -> str:
        """Write the solver's text anew, with the paths as they are now."""
        path = self.folder / "solver.prototxt"
        param = prototxt.read_solver(path)
        param.net = str(self.folder / "train_val.prototxt")
        param.snapshot_prefix = runs.snapshot_prefix(self.folder)
        param.max_iter = self.max_iter
        runs.write_message(path, param)
        return str(path)

    def _restore(self, iteration: int) -> None:
        state = runs.read_resume(self.folder, iteration)
        self.solver.restore(runs.snapshot_files(self.folder, iteration)[1])
        if state.random is not None and _draws_here(self.net):
            chance.restore(self.net.layers, state.random)
        self.best, self.since_best = state.best, state.since_best
        self.rows.extend(runs.read_rows(self.folder / "log.csv", iteration))

    def learn(self, on_row: Callable[[dict[str, Any]], None], stop: Callable[[], bool]) -> Result:
        """Iterate until there is a reason to end."""
        s, solver = self.settings, self.solver
        if not self.rows and not solver.iter:
            self._note(self._validated({"iteration": 0, "epoch": 0.0}), on_row)
        steps = feed.steps(
            self.learned_from,
            self.view,
            count=s.pictures,
            seed=s.seed,
            start=solver.iter,
            threads=self.threads,
        )
        reason = self._reason(False)
        with closing(steps):
            while reason is None:
                row = self._iterate(next(steps))
                done = solver.iter
                last = done >= self.max_iter
                if last or done % s.validate_every == 0:
                    row = self._validated(row)
                self._note(row, on_row)
                reason = self._reason(stop())
                if reason is not None or done % s.snapshot_every == 0:
                    self._snapshot()
        self._write_log()
        loader, net, waited = self.clock.rates(self.threads)
        result = Result(reason, solver.iter, self.best, loader, net, waited)
        if reason != "interrupted" and self.clock.pictures:
            _toml.write(self.folder / "result.toml", asdict(result))
        return result

    def _reason(self, asked: bool) -> str | None:
        s = self.settings
        if self.solver.iter >= self.max_iter:
            return "max_iter"
        if s.patience and self.since_best >= s.patience:
            return "patience"
        return "interrupted" if asked else None

    def _iterate(self, step: feed.Step) -> dict[str, Any]:
        """Let the net learn from some pictures, and tell of it."""
        s, solver, net = self.settings, self.solver, self.net
        begun = time.perf_counter()
        rate = solver.lr
        net.set_input_arrays(step.data, step.labels)
        net.clear_param_diffs()
        loss, right = 0.0, 0
        for first in range(0, s.pictures, s.batch):
            net.forward()
            loss += net.loss() / s.iter_size
            self._check(loss, solver.iter, "the loss")
            wanted = step.labels[first : first + s.batch]
            right += int((_scores(net, s.scores).argmax(axis=1) == wanted).sum())
            net.backward()
        solver.apply_update()
        took = time.perf_counter() - begun
        self.clock.add(s.pictures, step, took)
        return {
            "iteration": solver.iter,
            "epoch": round(solver.iter * s.pictures / len(self.learned_from), 4),
            "learning_rate": float(f"{rate:.6g}"),
            "loss": float(f"{loss:.6g}"),
            "accuracy": round(right / s.pictures, 4),
            "pictures_per_second": float(f"{s.pictures / (took + step.waited):.4g}"),
            "loader_pictures_per_second": float(
                f"{self.threads * s.pictures / max(step.busy, 1e-9):.4g}"
            ),
            "seconds_waited": float(f"{step.waited:.3g}"),
        }

    def _validated(self, row: dict[str, Any]) -> dict[str, Any]:
        """Add to a row how the net does on the validation part; keep the weights that do best."""
        loss, right, count = 0.0, 0, 0
        batches = feed.centres(
            self.validated_on,
            self.view,
            count=self.settings.batch,
            threads=self.threads,
        )
        for data, labels in batches:
            # Labels of the filling are not looked at.
            filled = np.zeros(len(data), np.float32)
            filled[: len(labels)] = labels
            self.test_net.set_input_arrays(data, filled)
            self.test_net.forward()
            scores = _scores(self.test_net, self.settings.scores)[: len(labels)]
            right += int((scores.argmax(axis=1) == labels).sum())
            loss += _cross_entropy(scores, labels)
            count += len(labels)
        found = Best(self.solver.iter, right / count, loss / count)
        self._check(found.loss, found.iteration, "the loss of the validation")
        self.since_best += 1
        if found.beats(self.best):
            self.net.save(str(self.folder / "best.caffemodel"))
            self.best, self.since_best = found, 0
        return {
            **row,
            "validation_loss": float(f"{found.loss:.6g}"),
            "validation_accuracy": round(found.accuracy, 4),
        }

    def _check(self, loss: float, iteration: int, what: str) -> None:
        if math.isfinite(loss):
            return
        self._write_log()
        raise Diverged(
            f"{self.folder}: {what} is {loss} at iteration {iteration}; stopped, the last good "
            f"snapshot is {self.last_good()}: start anew with a smaller base_lr, or clip_gradients"
        )

    def last_good(self) -> str:
        whole = runs.snapshots(self.folder)
        return str(runs.snapshot_files(self.folder, whole[-1])[0]) if whole else "none"

    def _note(self, row: dict[str, Any], on_row: Callable[[dict[str, Any]], None]) -> None:
        self.rows.append(row)
        on_row(row)

    def _snapshot(self) -> None:
        """Write a snapshot whose weights are numbers, and the log up to it."""
        for name, blobs in self.net.params.items():
            for blob in blobs:
                if not np.isfinite(blob.data.sum(dtype=np.float64)):
                    self._check(math.nan, self.solver.iter, f'a weight of layer "{name}"')
        self.solver.snapshot()
        random = chance.states(self.net.layers) if _draws_here(self.net) else None
        state = Resume(self.solver.iter, self.best, self.since_best, random)
        self._write_log()
        runs.finish_snapshot(self.folder, state, self.settings.keep)

    def _write_log(self) -> None:
        runs.write_rows(self.folder / "log.csv", self.rows, COLUMNS)


def _draws_here(net: Any) -> bool:
    """Whether random numbers are drawn here, and not by the real Caffe."""
    return all(isinstance(layer, Layer) for layer in net.layers)


def read_labels(folder: Path) -> list[str]:
    """Read the names of a run's labels, one a line."""
    return (folder / "labels.txt").read_text("utf-8").splitlines()


def _scores(net: Any, name: str) -> F32:
    values: F32 = net.blobs[name].data
    return values.reshape(len(values), -1)


def _cross_entropy(scores: F32, labels: F32) -> float:
    """Sum of -log softmax(scores)[label]."""
    wide = scores.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    logs = np.log(np.exp(wide).sum(axis=1)) - wide[np.arange(len(wide)), labels.astype(int)]
    return float(logs.sum())
