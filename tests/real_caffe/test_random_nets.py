"""Nets and solvers drawn at random: what real Caffe finds, and what it refuses, so do we.

LBPMAP_DRAWS tells how many of each are drawn, ``--hypothesis-seed`` which; the run ends with a line
that says both. Every array must be real Caffe's to 1e-5 of its largest number, but those that
rounding decides: where noise of half a millionth in every value moves real Caffe's own array by
more than that, it has no value to be held against. How many these were, the last line says too.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from random_nets import nets, solvers

from lbpmap import caffe

pytest.importorskip("torch", reason="gradients need PyTorch")
pytest.importorskip("h5py", reason="half of the files are HDF5")

FOLDER = Path(__file__).parent
NET_JOB = (FOLDER / "random_net_job.py").read_text()
SOLVER_JOB = (FOLDER / "random_solver_job.py").read_text()
DRAWS = int(os.environ.get("LBPMAP_DRAWS", "50"))
ENGINES = ("numpy", "torch")
SHAKEN = 3
MOST_MOVED = 1e-5
# Beyond these, a float32 may overflow on the way, or a whole number be rounded.
LARGEST = 1e15
LARGEST_EXACT = 2**18


class Comparison:
    """What is drawn of one kind, done in both and compared."""

    def __init__(self, in_real, in_ours, difference, refused) -> None:
        self.in_real, self.in_ours = in_real, in_ours
        self.difference, self.refused = difference, refused
        self.seen = Counter()

    def tried(self, do, errors, *args, **kwargs):
        try:
            return do(*args, **kwargs)
        except errors as error:
            return str(error)

    def run(self, job, files, **values):
        """Do a job in both: real Caffe's findings and our NumPy engine's, None if all refuse."""
        expected = self.tried(self.in_real, self.refused, job, files, shaken=SHAKEN, **values)
        results = {}
        for engine in ENGINES:
            caffe.set_engine(engine)
            try:
                got = self.tried(
                    self.in_ours, (ValueError, OSError), job, files, shaken=0, **values
                )
            finally:
                caffe.set_engine("auto")
            results[engine] = got
            if isinstance(expected, str):
                assert isinstance(got, str), f"{engine}: real Caffe refuses: {expected[-500:]}"
                assert "\n" not in got
            else:
                assert not isinstance(got, str), f"{engine}: real Caffe does not refuse: {got}"
                self.compare(engine, got, expected, values["exact"])
        if isinstance(expected, str):
            self.seen["refused by both"] += 1
            return None
        self.seen["compared"] += 1
        return expected, results["numpy"]

    def compare(self, engine, got, expected, exact):
        """Hold all arrays that are not files against real Caffe's."""
        names = compared(expected)
        assert compared(got) == names
        wrong = []
        if exact and largest(expected) > LARGEST_EXACT:
            self.seen["whole nets too large"] += 1
            return
        for name in names:
            steady = exact or expected.get(f"moved {name}", 0) <= MOST_MOVED
            shapes = got[name].shape, expected[name].shape
            if not steady or not sane(expected[name]):
                self.seen["arrays that rounding decides"] += 1
                assert shapes[0] == shapes[1], name
            else:
                self.seen["arrays"] += 1
                wrong.append(self.difference(name, got[name], expected[name]))
        if any(wrong):
            pytest.fail(f"{engine}: " + "\n".join(filter(None, wrong)))


def compared(found):
    return sorted(name for name in found if not name.startswith(("moved", "file", "weights")))


def largest(found):
    arrays = [v for v in found.values() if v.dtype.kind == "f" and v.size]
    return max(np.nanmax(np.abs(v)) for v in arrays)


def sane(array):
    return array.dtype.kind != "f" or bool((np.abs(array) < LARGEST).all())


def check_read(written, found):
    """Weights that were read are the written ones, bit for bit."""
    read = {k[5:]: v for k, v in found.items() if k.startswith("read ")}
    last = max(int(k.split()[0]) for k in written if k[0].isdigit())
    assert read
    for name, value in read.items():
        assert np.array_equal(value, written[f"{last} {name}"], equal_nan=True), name


@pytest.fixture
def comparison(in_real, in_ours, difference_of, refused):
    return Comparison(in_real, in_ours, difference_of, refused)


@pytest.fixture
def draw_all(request, summary_line):
    """Give a function that runs a check on as many draws as wanted, and tells what it has seen."""

    def run(strategy, check, comparison):
        number = request.config.getoption("--hypothesis-seed", None)
        number = random.getrandbits(32) if number in (None, "random") else int(number)
        drawn = []

        @seed(number)
        @settings(
            max_examples=DRAWS,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def every(one):
            drawn.append(repr(one))
            check(one)

        try:
            every()
        finally:
            seen = ", ".join(f"{n} {what}" for what, n in comparison.seen.items())
            name = request.node.name
            different = f"{len(drawn)} draws, {len(set(drawn))} of them different"
            summary_line(f"{name}: {different}, of --hypothesis-seed={number}: {seen}")
        decided, held = (comparison.seen[k] for k in ("arrays that rounding decides", "arrays"))
        assert decided <= 0.1 * held

    return run


SUFFIX = {"": "", "binary": ".binary", "HDF5": ".h5"}


def test_random_nets(comparison, draw_all):
    def check(net):
        values = {
            "phase": net.phase,
            "seed": net.seed,
            "exact": net.exact,
            "passes": net.passes,
            "file": SUFFIX[net.file],
            "classes": net.classes,
            "backward": True,
        }
        files = {"net.prototxt": net.text}
        results = comparison.run(NET_JOB, files, **values)
        if results is None or not net.file:
            return
        if not any(name.startswith("0 param") for name in results[0]):
            return
        name = "given.caffemodel" + SUFFIX[net.file]
        for written, do in zip(results, (comparison.in_ours, comparison.in_real)):
            again = {**files, name: written["weights"].tobytes()}
            check_read(written, do(NET_JOB, again, shaken=0, **values))
        comparison.seen["files both ways"] += 1

    draw_all(nets(), check, comparison)


def test_random_solvers(comparison, draw_all):
    def check(solver):
        values = {
            "seed": solver.net.seed,
            "exact": False,
            "classes": solver.net.classes,
            "steps": solver.steps,
            "snapshot": solver.snapshot,
        }
        files = {"net.prototxt": solver.net.text, "solver.prototxt": solver.text}
        results = comparison.run(SOLVER_JOB, files, write=True, **values)
        if results is None:
            return
        expected = results[0]
        for written, do in zip(results, (comparison.in_ours, comparison.in_real)):
            snapshot = {k[5:]: v.tobytes() for k, v in written.items() if k.startswith("file ")}
            found = do(SOLVER_JOB, {**files, **snapshot}, write=False, shaken=0, **values)
            assert found["restored iter"] == solver.snapshot
            wanted = {k: v for k, v in expected.items() if k in found or k[:5] == "moved"}
            resumed = {k: v for k, v in found.items() if not k.startswith("restored")}
            comparison.compare("resumed", resumed, wanted, False)
        comparison.seen["snapshots both ways"] += 1

    draw_all(solvers(), check, comparison)
