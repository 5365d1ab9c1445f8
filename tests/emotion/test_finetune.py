"""Runs: repeatable, resumable, stopped in good order; what goes wrong is said and costs little."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lbpmap import REPRESENTATIONS, caffe, caffe_blob, pictures
from lbpmap.caffe.formats.messages import NetParameter
from lbpmap.cli import main
from lbpmap.emotion import finetune, preparing, runs, sources
from lbpmap.emotion.preparing import Options
from lbpmap.emotion.registry import net_in

torch = pytest.importorskip("torch", reason="training needs PyTorch")

NET = """
name: "tiny"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 12 dim: 12 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 3 stride: 2 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 3 } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""
MODEL = """
name = "tiny"
representation = "rgb"
labels = ["steep", "flat", "both"]
[input]
size = 16
crop = 12
[files]
deploy = "deploy.prototxt"
weights = "tiny.caffemodel"
mean = "mean.binaryproto"
"""
SOLVER = """
net: "train_val.prototxt" type: "Adam" base_lr: 0.002 lr_policy: "step" gamma: 0.5 stepsize: 8
momentum: 0.9 momentum2: 0.999 weight_decay: 0.001 max_iter: 20
"""


STEADY = 'base_lr: 0.003 lr_policy: "fixed"'


@pytest.fixture(autouse=True)
def _one_thread():
    """Let nets this small run on one thread: two would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def source(tmp_path):
    """Give the folder of a tiny net without weights."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "deploy.prototxt").write_text(NET)
    (folder / "solver.prototxt").write_text(SOLVER)
    (folder / "model.toml").write_text(MODEL)
    return folder


@pytest.fixture
def faces(tmp_path):
    """Give a folder of pictures whose stripes tell their label."""
    rng = np.random.default_rng(5)
    rows, columns = np.indices((20, 18))
    for label, along in (("flat", rows), ("steep", columns), ("both", rows + columns)):
        folder = tmp_path / "faces" / label
        folder.mkdir(parents=True)
        for k in range(10):
            stripes = (along + rng.integers(5)) // 2 % 2 * 150
            noise = rng.integers(0, 60, stripes.shape)
            pictures.write_png(folder / f"{label}{k}.png", (stripes + noise).astype(np.uint8))
    return tmp_path / "faces"


@pytest.fixture
def new_run(tmp_path, source, faces):
    """Give a function that prepares a run from scratch."""

    def make(name="run", **options):
        chosen = {"scratch": True, "batch": 6, "validate_every": 4, "seed": 2, **options}
        data = chosen.pop("data", faces)
        return preparing.prepare_run(
            tmp_path / name, data, sources.find_source(source), Options(**chosen)
        )

    return make


def weights(run, name="best.caffemodel"):
    return (run.folder / name).read_bytes()


def last_weights(folder, iteration=20):
    return runs.snapshot_files(folder, iteration)[0].read_bytes()


def log(folder):
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def what_was_learned(folder):
    """Give a log's columns that do not depend on the clock."""
    timed = ("pictures_per_second", "loader_pictures_per_second", "seconds_waited")
    return [{k: v for k, v in row.items() if k not in timed} for row in log(folder)]


def test_the_same_seed_gives_the_same_weights(new_run):
    one, two, other = new_run("one"), new_run("two"), new_run("other", seed=3)
    for run, threads in ((one, 1), (two, 3), (other, 2)):
        finetune.train(run.folder, threads=threads)
    assert last_weights(one.folder) == last_weights(two.folder)
    assert what_was_learned(one.folder) == what_was_learned(two.folder)
    assert last_weights(one.folder) != last_weights(other.folder)


def test_it_learns(new_run):
    run = new_run(max_iter=60, patience=0, solver_text=STEADY)
    result = finetune.train(run.folder)
    assert result.best.accuracy > 0.8
    rows = log(run.folder)
    assert [int(row["iteration"]) for row in rows] == list(range(61))
    assert float(rows[-1]["loss"]) < float(rows[1]["loss"])
    assert [r["iteration"] for r in rows if r["validation_loss"]] == [str(4 * k) for k in range(16)]


def test_the_rate_follows_the_solvers_policy(new_run):
    run = new_run(max_iter=20)
    finetune.train(run.folder)
    rates = [float(row["learning_rate"]) for row in log(run.folder)[1:]]
    assert rates == [0.002] * 8 + [0.001] * 8 + [0.0005] * 4


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


def test_gradients_add_up_to_those_of_a_larger_batch(new_run):
    text = 'type: "SGD" base_lr: 0.01 lr_policy: "fixed"'
    split_up = new_run("a", batch=3, iter_size=4, solver_text=text, max_iter=5)
    at_once = new_run("b", batch=12, iter_size=1, solver_text=text, max_iter=5)
    for run in (split_up, at_once):
        path = run.folder / "train_val.prototxt"
        path.write_text(path.read_text().replace('"Dropout"', '"AbsVal"'))
        finetune.train(run.folder)
    nets = [
        caffe.Net(run.folder / "deploy.prototxt", run.folder / "snapshots/net_iter_5.caffemodel",
                  caffe.TEST)
        for run in (split_up, at_once)
    ]  # fmt: skip
    for name, blobs in nets[0].params.items():
        for a, b in zip(blobs, nets[1].params[name]):
            np.testing.assert_allclose(a.data, b.data, rtol=0, atol=1e-5 * np.abs(b.data).max())


def test_frozen_layers_stay(new_run):
    run = new_run(frozen=["conv"], max_iter=6)
    before = {}

    def keep(row):
        if row["iteration"] == 0:
            net = caffe.Net(run.folder / "deploy.prototxt", run.folder / "best.caffemodel", 1)
            before.update({k: v[0].data.copy() for k, v in net.params.items()})

    finetune.train(run.folder, on_row=keep)
    after = caffe.Net(
        run.folder / "deploy.prototxt", run.folder / "snapshots/net_iter_6.caffemodel", caffe.TEST
    )
    assert (after.params["conv"][0].data == before["conv"]).all()
    assert (after.params["ip"][0].data != before["ip"]).any()


def test_it_stops_when_nothing_gets_better_and_keeps_the_best(new_run):
    run = new_run(solver_text="base_lr: 1e-12", max_iter=500, patience=3, validate_every=2)
    result = finetune.train(run.folder)
    assert result.reason == "patience"
    assert result.iteration == result.best.iteration + 6
    assert runs.read_toml(run.folder / "result.toml")["best"]["accuracy"] == result.best.accuracy


def test_only_the_newest_snapshots_are_kept(new_run):
    run = new_run(max_iter=20, snapshot_every=3, keep=3)
    finetune.train(run.folder)
    assert runs.snapshots(run.folder) == [15, 18, 20]
    assert len(list((run.folder / "snapshots").iterdir())) == 9


def test_a_run_is_a_net(new_run, faces):
    from lbpmap.emotion import ensemble

    run = new_run(max_iter=40)
    result = finetune.train(run.folder)
    net = ensemble.load_net(net_in(run.folder))
    held_out = run.dataset.part("validation")
    right = sum(
        ensemble.predict([net], pictures.read(s.path)).label == run.dataset.labels[s.label]
        for s in held_out
    )
    assert right / len(held_out) == result.best.accuracy


def test_other_labels_get_a_new_last_layer(new_run, source, tmp_path, faces):
    first = new_run("first", max_iter=40, solver_text=STEADY)
    finetune.train(first.folder)
    kept = preparing.prepare_run(
        tmp_path / "kept", faces, sources.find_source(first.folder), Options(max_iter=1, seed=2)
    )
    assert kept.weights == first.folder / "best.caffemodel"
    finetune.train(kept.folder, weights=kept.weights)
    assert float(log(kept.folder)[0]["validation_accuracy"]) > 0.8  # it knows them
    os.rename(faces / "both", faces / "other")
    fresh = preparing.prepare_run(
        tmp_path / "fresh", faces, sources.find_source(first.folder), Options(max_iter=1, seed=2)
    )
    finetune.train(fresh.folder, weights=fresh.weights)
    old, new = (
        caffe.Net(r.folder / "deploy.prototxt", r.folder / "best.caffemodel", caffe.TEST)
        for r in (first, fresh)
    )
    assert list(new.params) == ["conv", "ip_ft1"]
    np.testing.assert_allclose(
        new.params["conv"][0].data, old.params["conv"][0].data, rtol=0, atol=0.01
    )


def mean_of(run):
    stored = (run.folder / "mean.binaryproto").read_bytes()
    blob = caffe.io.caffe_pb2.BlobProto.FromString(stored)
    return caffe.io.blobproto_to_array(blob)


def test_the_mean_is_computed_or_taken(new_run, tmp_path, faces):
    first = new_run("first", max_iter=4)
    finetune.train(first.folder)
    learned_from = [pictures.read(s.path) for s in first.dataset.part("train")]
    wanted = caffe_blob(learned_from, REPRESENTATIONS["rgb"], mean=0, size=16, crop=16).mean(axis=0)
    np.testing.assert_allclose(mean_of(first)[0], wanted, rtol=0, atol=1e-4)
    source = sources.find_source(first.folder)
    other = preparing.Options(seed=9, mean="pretrained")
    taken = preparing.prepare_run(tmp_path / "taken", faces, source, other)
    np.testing.assert_array_equal(mean_of(taken), mean_of(first))
    own = replace(other, mean=str(first.folder / "mean.binaryproto"))
    np.testing.assert_array_equal(
        mean_of(preparing.prepare_run(tmp_path / "own", faces, source, own)), mean_of(first)
    )
    with pytest.raises(FileNotFoundError, match="tiny: has no mean of its own"):
        new_run("none", mean="pretrained")


def test_two_processes_do_not_let_one_run_learn(new_run):
    pytest.importorskip("fcntl")
    folder = new_run().folder
    half = folder / ".log.csv.abc.part"  # of the other one, at work
    half.touch()
    with runs.alone(folder), pytest.raises(OSError, match="another process is at work on it"):
        finetune.train(folder)
    assert half.exists()


def test_a_device_that_is_not_there(new_run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for options, message in (
        ({"device": "gpu"}, "finds no GPU"),
        ({"device": "tpu"}, "device must be cpu, gpu or gpu:N, got 'tpu'"),
        ({"mixed_precision": True}, "mixed precision is for a GPU"),
    ):
        run = new_run(str(options), **options)
        with pytest.raises((ValueError, RuntimeError), match=message):
            finetune.train(run.folder)


def test_a_table_of_ones_own_goes_along(new_run, tmp_path):
    import lbpmap

    table = replace(lbpmap.load_table("cyclic_lbp"), name="mine")
    table.save(tmp_path / "mine.table")
    run = new_run(representation=str(tmp_path / "mine.table"), max_iter=2)
    (tmp_path / "mine.table").unlink()
    finetune.train(run.folder)
    assert net_in(run.folder).representation == str(run.folder / "representation.table")


def test_what_cannot_be_read_is_left_out(faces, source, tmp_path, capsys):
    (faces / "flat" / "flat3.png").write_bytes(b"no picture")
    asked = ["finetune", str(faces), "--from", str(source), "--scratch", "-o", str(tmp_path / "r")]
    code = main([*asked, "--max-iter", "2", "-q"])
    said = capsys.readouterr()
    assert code == 1
    assert "flat3.png: not a picture" in said.err
    assert "3 labels, 24 pictures in train" in said.out or "23 pictures in train" in said.out
    assert "flat3.png" not in (tmp_path / "r" / "data.csv").read_text()
    assert "the loader makes" in said.out


def test_a_label_with_one_picture(faces, source, tmp_path, capsys):
    for k in range(1, 10):
        (faces / "both" / f"both{k}.png").unlink()
    asked = ["finetune", str(faces), "--from", str(source), "--scratch", "-o", str(tmp_path / "r")]
    assert main([*asked, "--max-iter", "2", "-q"]) == 0
    assert "both has 1 picture, none of them to validate on" in capsys.readouterr().err


def test_a_loss_that_is_no_number_stops_it(new_run):
    run = new_run(max_iter=300, snapshot_every=2, patience=0)
    finetune.train(run.folder, max_iter=4)
    text = runs.read_toml(run.folder / "run.toml")
    path = run.folder / "solver.prototxt"
    path.write_text(path.read_text().replace("base_lr: 0.002", "base_lr: 1e30"))
    with pytest.raises(finetune.Diverged, match=r"iteration \d+; stopped.*net_iter_4\.caffemodel"):
        finetune.train(run.folder)
    assert runs.read_toml(run.folder / "run.toml") == text
    assert runs.snapshots(run.folder) == [2, 4]
    net = caffe.Net(
        run.folder / "deploy.prototxt", str(runs.snapshot_files(run.folder, 4)[0]), caffe.TEST
    )
    assert all(np.isfinite(b.data).all() for blobs in net.params.values() for b in blobs)


def weights_of(layer, outputs):
    """Give a caffemodel that holds one convolution."""
    net = NetParameter(name="n")
    kept = net.layer.add(name=layer, type="Convolution")
    for shape in ((outputs, 3, 3, 3), (outputs,)):
        blob = kept.blobs.add(data=np.zeros(int(np.prod(shape))))
        blob.shape.dim.extend(shape)
    return net.SerializeToString()


def test_nothing_is_left_of_a_run_that_could_not_be_prepared(faces, source, tmp_path, capsys):
    asked = ["finetune", str(faces), "--from", str(source), "--scratch", "-o", str(tmp_path / "r")]
    assert main([*asked, "--freeze", "nothing"]) == 2
    assert "no layer nothing with weights" in capsys.readouterr().err
    assert main([*asked[:4], "-o", str(tmp_path / "r")]) == 2
    assert "no weights to start from" in capsys.readouterr().err
    assert main([*asked, "--solver-text", "base_rl: 1"]) == 2
    assert "base_lr" in capsys.readouterr().err
    given = [name for name in asked if name != "--scratch"]
    for content, message in (
        (b"no weights", "not a caffemodel"),
        (weights_of("other", 6), "has none of the layers conv, ip_ft1"),
        (weights_of("conv", 7), "conv"),
    ):
        (tmp_path / "tiny" / "bad.caffemodel").write_bytes(content)
        wrong = ["--weights", str(tmp_path / "tiny" / "bad.caffemodel"), "--last-layer", "new"]
        assert main([*given, *wrong]) == 2
        assert message in capsys.readouterr().err
    assert not [p for p in tmp_path.iterdir() if p.name not in ("faces", "tiny")]
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "mine.txt").write_text("keep")
    assert main(asked) == 2
    assert "exists; choose another folder" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["mine.txt"]


def test_python_layers_are_refused(source, faces, tmp_path, capsys):
    path = source / "deploy.prototxt"
    own = 'layer { name: "own" type: "Python" bottom: "conv" top: "own" '
    own += 'python_param { module: "antigravity" layer: "Own" } }\nlayer { name: "drop"'
    path.write_text(path.read_text().replace('layer { name: "drop"', own))
    asked = ["finetune", str(faces), "--from", str(source), "--scratch", "-o", str(tmp_path / "r")]
    assert main(asked) == 2
    assert 'layer "own" runs Python code of its own' in capsys.readouterr().err
    assert "antigravity" not in sys.modules


def test_epochs_and_iterations_are_both_limits(new_run):
    assert runs.read_settings(new_run("a", epochs=2, max_iter=99).folder).max_iter == 8
    assert runs.read_settings(new_run("b", epochs=99, max_iter=5).folder).max_iter == 5


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("random_seed: 3", "--seed"),
        ("snapshot: 5", "--snapshot-every"),
        ('base_lr: 0.1 net: "other.prototxt"', "--from"),
        ("test_iter: 4", "the validation part, whole"),
    ],
)
def test_what_the_run_decides_is_no_solver_text(new_run, tmp_path, text, where):
    with pytest.raises(ValueError, match=rf"--solver-text: \w+ is the run's own \({where}\)"):
        new_run("no", solver_text=text)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("text", ['type: "Foo"', 'lr_policy: "foo"'])
def test_a_solver_that_is_none_leaves_no_run(new_run, tmp_path, text):
    with pytest.raises(ValueError, match="must be one of"):
        new_run("none", solver_text=text)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("more", [["--batch", "3"], ["--freeze", "conv"], ["--device", "gpu"]])
def test_a_run_that_goes_on_is_told_nothing_new(new_run, capsys, more):
    run = new_run(max_iter=2)
    assert main(["finetune", "--resume", str(run.folder), *more]) == 2
    assert f"--resume RUN takes no {more[0]}: the run knows it" in capsys.readouterr().err


def test_a_picture_that_is_spoiled_meanwhile(new_run):
    run = new_run(max_iter=2)
    finetune.train(run.folder)
    for sample in run.dataset.samples:
        sample.path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"not a picture.*last good snapshot is .*net_iter_2"):
        finetune.train(run.folder, max_iter=9)


def test_a_finished_run_keeps_its_result(new_run):
    run = new_run(max_iter=2)
    finetune.train(run.folder)
    before = (run.folder / "result.toml").read_bytes()
    finetune.train(run.folder)
    assert (run.folder / "result.toml").read_bytes() == before


DAMAGE = {
    "settings": ("run.toml", lambda t: t.replace("batch = 6", 'batch = "six"'), "settings.batch"),
    "no settings": ("run.toml", lambda t: "", r"no table \[settings\]"),
    "not TOML": ("run.toml", lambda t: "= 3", "not a TOML file"),
    "negative": ("run.toml", lambda t: t.replace("batch = 6", "batch = -6"), "settings.batch"),
    "labels": ("data.csv", lambda t: t.replace("path", "phat"), "no column path"),
    "third file": (
        "snapshots/net_iter_4.resume.json",
        lambda t: t.replace('"random"', '"dom"'),
        "damaged .*remove it",
    ),
    "random numbers": (
        "snapshots/net_iter_4.resume.json",
        lambda t: json.dumps({**json.loads(t), "random": {}}),
        "no state of its random numbers",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_run_is_refused(new_run, case):
    name, change, message = DAMAGE[case]
    run = new_run(max_iter=4)
    finetune.train(run.folder)
    path = run.folder / name
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=message):
        finetune.train(run.folder, max_iter=5)


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
    time.sleep(1)
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
