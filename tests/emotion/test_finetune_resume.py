"""Runs that end early, by request, by a kill, by a full disk, and go on as if unbroken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from lbpmap.cli import main
from lbpmap.emotion import finetune, preparing, runs, sources
from lbpmap.emotion.preparing import Options

from .conftest import last_weights, log, what_was_learned

torch = pytest.importorskip("torch", reason="training needs PyTorch")

pytestmark = pytest.mark.usefixtures("one_thread")


def weights(run, name="best.caffemodel"):
    return (run.folder / name).read_bytes()


@pytest.mark.parametrize("kind", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_a_stopped_run_ends_as_an_unbroken_one(new_run, kind):
    text = f'type: "{kind}" momentum: {0.0 if kind in ("AdaGrad", "RMSProp") else 0.9} delta: 1e-8'
    whole, broken = (new_run(name, solver_text=text, iter_size=2) for name in ("a", "b"))
    finetune.train(whole.folder)
    stops = []
    for after in (3, 9, 10):
        count = iter(range(1, 99))
        result = finetune.train(broken.folder, stop=lambda n=after, c=count: next(c) >= n)
        stops.append((result.reason, result.iteration))
    result = finetune.train(broken.folder)
    assert stops == [("interrupted", 3), ("interrupted", 12), ("max_iter", 20)]
    assert result.reason == "max_iter"
    assert last_weights(whole.folder) == last_weights(broken.folder)
    states = [runs.snapshot_files(r.folder, 20)[1].read_bytes() for r in (whole, broken)]
    assert states[0].replace(b"/a/", b"/b/") == states[1]
    assert weights(whole) == weights(broken)
    assert what_was_learned(whole.folder) == what_was_learned(broken.folder)


def test_a_moved_run_goes_on(new_run, tmp_path):
    run = new_run(max_iter=8)
    finetune.train(run.folder, stop=lambda: True)
    moved = tmp_path / "elsewhere"
    os.rename(run.folder, moved)
    assert finetune.train(moved).iteration == 8


def test_more_iterations_than_at_first(new_run):
    run, longer = new_run("a", max_iter=8, patience=0), new_run("b", max_iter=14, patience=0)
    finetune.train(run.folder)
    finetune.train(longer.folder)
    assert finetune.train(run.folder, max_iter=14).iteration == 14
    assert last_weights(run.folder, 14) == last_weights(longer.folder, 14)


def test_two_processes_do_not_let_one_run_learn(new_run):
    pytest.importorskip("fcntl")
    folder = new_run().folder
    half = folder / ".log.csv.abc.part"  # of the other one, at work
    half.touch()
    with runs.alone(folder), pytest.raises(OSError, match="another process is at work on it"):
        finetune.train(folder)
    assert half.exists()


@pytest.mark.parametrize("more", [["--batch", "3"], ["--freeze", "conv"], ["--device", "gpu"]])
def test_a_run_that_goes_on_is_told_nothing_new(new_run, capsys, more):
    run = new_run(max_iter=2)
    assert main(["finetune", "--resume", str(run.folder), *more]) == 2
    assert f"--resume RUN takes no {more[0]}: the run knows it" in capsys.readouterr().err


def test_a_finished_run_keeps_its_result(new_run):
    run = new_run(max_iter=2)
    finetune.train(run.folder)
    before = (run.folder / "result.toml").read_bytes()
    finetune.train(run.folder)
    assert (run.folder / "result.toml").read_bytes() == before


SCRIPT = textwrap.dedent("""
    import os, resource, sys
    import torch
    from lbpmap.cli import main

    # A process a line, forked when PyTorch is loaded: "LIMIT ARGUMENTS..."
    for line in sys.stdin:
        limit, *args = line.split()
        child = os.fork()
        if child == 0:
            if int(limit):
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit),) * 2)
            os._exit(main(args))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
""")


@pytest.fixture
def forked(tmp_path):
    """Give a function that starts the command in a process of its own: its number, its end."""
    if not hasattr(os, "fork"):
        pytest.skip("processes are killed here, which needs fork")
    with open(tmp_path / "said", "w") as said, subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip

        def start(*args, limit=0):
            print(limit, *args, file=process.stdin, flush=True)
            child = int(process.stdout.readline())

            def end():
                for line in process.stdout:
                    if line.strip().lstrip("-").isdigit():
                        return int(line)
                raise AssertionError("no end")

            return child, end

        yield start
        process.stdin.close()


def test_killed_at_any_moment_it_ends_as_an_unbroken_run(new_run, forked):
    whole, killed = (
        new_run(name, max_iter=120, snapshot_every=3, validate_every=6, patience=0)
        for name in ("whole", "killed")
    )
    begun = time.perf_counter()
    assert forked("finetune", "--resume", str(whole.folder), "-q")[1]() == 0
    took = time.perf_counter() - begun
    rng = np.random.default_rng(0)
    kills = 0
    while kills < 10:
        child, end = forked("finetune", "--resume", str(killed.folder), "-q")
        time.sleep(rng.uniform(0, 0.12 * took))
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        if end() != -signal.SIGKILL:
            break  # it was done already
        kills += 1
    assert kills > 5
    assert forked("finetune", "--resume", str(killed.folder), "-q")[1]() == 0
    assert last_weights(whole.folder, 120) == last_weights(killed.folder, 120)
    assert weights(whole) == weights(killed)
    assert what_was_learned(whole.folder) == what_was_learned(killed.folder)
    left = [p.name for p in killed.folder.rglob("*.part")]
    assert not left


def test_an_interrupted_run_takes_a_snapshot(new_run, forked):
    run = new_run(max_iter=100_000, patience=0, snapshot_every=100_000, validate_every=100_000)
    child, end = forked("finetune", "--resume", str(run.folder), "-q")
    deadline = time.monotonic() + 60
    while not (run.folder / "best.caffemodel").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)  # it is at work: the file is of iteration 0
    os.kill(child, signal.SIGINT)
    assert end() == 130
    (iteration,) = runs.snapshots(run.folder)
    assert iteration > 0
    assert int(log(run.folder)[-1]["iteration"]) == iteration


def test_a_full_disk_costs_one_interval(new_run, forked, tmp_path):
    run = new_run(max_iter=8, snapshot_every=4, patience=0)
    finetune.train(run.folder, max_iter=4)
    before = last_weights(run.folder, 4)
    # No file may grow beyond this: as on a full disk, a write fails in the middle.
    limit = len(before) // 2
    assert forked("finetune", "--resume", str(run.folder), "-q", limit=limit)[1]() == 2
    said = (tmp_path / "said").read_text()
    assert "not written (File too large); stopped at iteration 8, the last good" in said
    assert "net_iter_4.caffemodel: mend that, and go on with --resume" in said
    assert runs.snapshots(run.folder) == [4]
    assert last_weights(run.folder, 4) == before
    assert forked("finetune", "--resume", str(run.folder), "-q")[1]() == 0
    assert runs.snapshots(run.folder) == [4, 8]


def test_resume_starts_from_the_weights_it_was_told_of(new_run, source, tmp_path, faces, capsys):
    first = new_run("first", max_iter=12)
    finetune.train(first.folder)
    made = preparing.prepare_run(
        tmp_path / "second", faces, sources.find_source(first.folder), Options(max_iter=2, seed=2)
    )
    assert main(["finetune", "--resume", str(made.folder), "-q"]) == 0
    assert float(log(made.folder)[0]["validation_loss"]) == pytest.approx(
        float(first_best(first.folder)), rel=0.05
    )
    other = preparing.prepare_run(
        tmp_path / "third", faces, sources.find_source(first.folder), Options(max_iter=2, seed=2)
    )
    Path(first.folder / "best.caffemodel").write_bytes(b"changed")
    assert main(["finetune", "--resume", str(other.folder), "-q"]) == 2
    assert "not the weights any more" in capsys.readouterr().err


def first_best(folder):
    return runs.read_toml(folder / "result.toml")["best"]["loss"]
