"""Jobs that real Caffe and lbpmap.caffe both do, so that what they find can be compared.

LBPMAP_CAFFE_PYTHON holds a command that runs a Python with real Caffe, such as
``chroot FOLDER python3`` with a folder of `prepare.sh`. Without it, everything here is skipped.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lbpmap import caffe

SCRIPT = Path(__file__).with_name("in_real_caffe.py")
ENGINES = ("numpy", "torch")
BOTH_WAYS = "def job(caffe, live, given):\n    return live.both_ways(caffe, given)\n"


def load(name: str) -> Any:
    """Import a module of this folder, which is no package, so that its tests can import it too."""
    spec = importlib.util.spec_from_file_location(name, SCRIPT.with_name(f"{name}.py"))
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


live = load("in_real_caffe")
load("random_layers")
load("random_sketch")
load("random_nets")


class Refused(Exception):
    """What real Caffe said when it gave up, by an exception or by aborting its process."""


class RealCaffe:
    """A process that has real Caffe and does jobs, each in a child of its own that may abort."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        changes_root = Path(command[0]).name == "chroot" and len(command) > 1
        self._root = Path(command[1] if changes_root else "/").resolve()
        self._process: subprocess.Popen[str] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="lbpmap-live-", dir=self._root / "tmp"))
        shutil.copy(SCRIPT, self.folder)

    def do(self, folder: Path) -> dict[str, Any]:
        """Do the job of a folder inside `self.folder`.

        Raises
        ------
        Refused
            When it ends in an exception or an abort.
        """
        result = folder / "result.npz"
        process = self._process = self._process or self._start()
        print(self._inside(folder), self._inside(result), file=process.stdin, flush=True)
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:])
        if answer == "aborted\n":
            raise Refused((self.folder / "log").read_text(errors="replace")[-2000:])
        if answer != "done\n":
            raise Refused(json.loads(answer))
        with np.load(result) as found:
            return dict(found)

    def close(self) -> None:
        """End the process and remove the jobs."""
        if self._process is not None:
            self._process.communicate()
        shutil.rmtree(self.folder)

    def _inside(self, path: Path) -> str:
        return "/" + str(path.relative_to(self._root))

    def _start(self) -> subprocess.Popen[str]:
        with open(self.folder / "log", "a") as log:
            return subprocess.Popen(
                [*self._command, self._inside(self.folder / SCRIPT.name)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "GLOG_minloglevel": "2"},
            )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if SCRIPT.parent in item.path.parents:
            item.add_marker(pytest.mark.real_caffe)


@pytest.fixture(scope="session")
def real() -> Iterator[RealCaffe]:
    """Give the process that has real Caffe; skip the test where there is none."""
    command = os.environ.get("LBPMAP_CAFFE_PYTHON")
    if not command:
        pytest.skip("no real Caffe to compare with (set LBPMAP_CAFFE_PYTHON to its Python)")
    process = RealCaffe(shlex.split(command))
    yield process
    process.close()


@pytest.fixture
def refused() -> type[Exception]:
    """Give what a job raises at which real Caffe gives up."""
    return Refused


@pytest.fixture
def job_folder(real) -> Callable[..., Path]:
    """Give a function that writes a job and returns its folder."""

    def write(job: Any, files: Mapping[str, Any], given: Mapping[str, Any]) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=real.folder))
        source = job if isinstance(job, str) else _source(job)
        (folder / "job.py").write_text(source)
        for name, content in files.items():
            path = folder / name
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        arrays = {k: v for k, v in given.items() if isinstance(v, np.ndarray)}
        np.savez(folder / "given.npz", **arrays)
        rest = {k: v for k, v in given.items() if k not in arrays}
        (folder / "given.json").write_text(json.dumps(rest))
        return folder

    return write


@pytest.fixture
def in_real(real, job_folder) -> Callable[..., dict[str, Any]]:
    """Give a function that does a job in real Caffe and returns what it found."""

    def do(job: Any = BOTH_WAYS, files: Mapping[str, Any] | None = None, **given: Any) -> Any:
        folder = job_folder(job, files or {}, given)
        try:
            return real.do(folder)
        finally:
            shutil.rmtree(folder)

    return do


@pytest.fixture
def in_ours(job_folder, monkeypatch) -> Callable[..., dict[str, Any]]:
    """Give a function that does the same job in lbpmap.caffe, on the engine that is set."""

    def do(job: Any = BOTH_WAYS, files: Mapping[str, Any] | None = None, **given: Any) -> Any:
        folder = job_folder(job, files or {}, given)
        try:
            return live.run(caffe, str(folder))
        finally:
            shutil.rmtree(folder)

    return do


@pytest.fixture(params=ENGINES)
def engine(request) -> Iterator[str]:
    """Let the nets of a test run on one engine after the other."""
    pytest.importorskip("torch", reason="gradients need PyTorch")
    caffe.set_engine(request.param)
    yield request.param
    caffe.set_engine("auto")


@pytest.fixture
def compare(in_real, in_ours) -> Callable[..., dict[str, Any]]:
    """Give a function that does a job in both and returns what real Caffe found.

    What they find must have the same names, and be the same: texts and whole numbers exactly,
    others to 1e-5 of the largest of their array. `but` names what is left out.
    """

    def do(
        job: Any = BOTH_WAYS,
        files: Mapping[str, Any] | None = None,
        but: tuple[str, ...] = (),
        **given: Any,
    ) -> dict[str, Any]:
        expected = in_real(job, files, **given)
        got = in_ours(job, files, **given)
        assert sorted(got) == sorted(expected)
        wrong = [
            difference(name, got[name], expected[name]) for name in expected if name not in but
        ]
        if any(wrong):
            pytest.fail("\n".join(filter(None, wrong)))
        return expected

    return do


@pytest.fixture
def difference_of() -> Callable[[str, Any, Any], str | None]:
    """Give the measure of how an array is not real Caffe's."""
    return difference


_summary: list[str] = []


@pytest.fixture
def summary_line() -> Callable[[str], None]:
    """Give a function that adds a line to what the run says at its end."""
    return _summary.append


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many draws there were, of which seed, and how many arrays were compared."""
    for line in _summary:
        terminalreporter.write_line(line)


@pytest.fixture
def check_same() -> Callable[[str, Any, Any], None]:
    """Give the comparison of two arrays, in which the second is real Caffe's."""

    def check(what: str, got: Any, expected: Any) -> None:
        wrong = difference(what, got, expected)
        assert wrong is None, wrong

    return check


def difference(name: str, got: Any, expected: Any) -> str | None:
    """Describe how an array is not real Caffe's, if it is not."""
    if got.shape != expected.shape:
        return f"{name}: shape {got.shape}, real Caffe has {expected.shape}"
    if expected.dtype.kind != "f":
        return None if (got == expected).all() else f"{name}: {got}, real Caffe has {expected}"
    if not expected.size:
        return None
    finite = np.isfinite(expected)
    odd = ~finite & ~((got == expected) | (np.isnan(got) & np.isnan(expected)))
    error = np.abs(np.where(finite, got, 0.0) - np.where(finite, expected, 0.0))
    largest = np.abs(expected[finite]).max() if finite.any() else 0.0
    where = np.flatnonzero(odd | ~(error <= 1e-5 * largest))[:6]
    if where.size:
        values, wanted = np.ravel(got)[where], np.ravel(expected)[where]
        return f"{name}: {values} at {where}, real Caffe has {wanted}, the largest is {largest:.3g}"
    return None


def _source(job: Callable[..., Any]) -> str:
    return textwrap.dedent(inspect.getsource(job)) + f"\njob = {job.__name__}\n"


def net_text(body: str, inputs: Mapping[str, Any], force_backward: bool = True) -> str:
    """Describe a net of Input layers, of the shapes of arrays or as given, and `body`."""
    text = "force_backward: true\n" if force_backward else ""
    for name, value in inputs.items():
        dims = " ".join(f"dim: {n}" for n in getattr(value, "shape", value))
        text += f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        text += f"input_param {{ shape {{ {dims} }} }} }}\n"
    return text + body


@pytest.fixture
def compare_net(compare) -> Callable[..., None]:
    """Give a function that compares a net in both phases: names, values and gradients.

    `inputs` are shapes, to be filled at random, or arrays; every blob gets a gradient.
    """

    def do(body: str, inputs: Mapping[str, Any], phases: Any = (0, 1), **given: Any) -> None:
        force = given.pop("force_backward", True)
        given.update({k: v for k, v in inputs.items() if isinstance(v, np.ndarray)})
        for phase in phases:
            files = {"net.prototxt": net_text(body, inputs, force)}
            compare(files=files, phase=phase, **given)

    return do
