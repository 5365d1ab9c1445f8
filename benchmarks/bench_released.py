"""The released nets at full size: our engines beside OpenCV's and real Caffe, values checked.

    python -m pytest benchmarks/bench_released.py -s                      batch 1, once: CI's
    LBPMAP_BENCH=full python -m pytest benchmarks/bench_released.py -s    1, 10, 32; training at 8

Weights are random. The engines take turns, and medians are compared: on a shared machine only
ratios within one run mean anything. Real Caffe takes part where LBPMAP_CAFFE_PYTHON is a command
that runs a Python with it, such as ``chroot /srv/bullseye python3``; OpenCV where it is older than
5, which dropped its importer of Caffe's nets. OpenBLAS of some ages is slow where
OPENBLAS_CORETYPE is set.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe.engine import has_torch
from lbpmap.emotion.registry import packaged_folder
from lbpmap.emotion.synthetic import write_random_weights

FULL = os.environ.get("LBPMAP_BENCH") == "full"
BATCHES = [1] + FULL * [10, 32]
REAL = os.environ.get("LBPMAP_CAFFE_PYTHON", "")
OURS = "lbpmap"


def relative(found, expected):
    return float(np.abs(found - expected).max() / np.abs(expected).max())


class RealCaffe:
    """A process of real Caffe, which times itself."""

    def __init__(self, files):
        script = (Path(__file__).parent / "real_caffe.py").read_text()
        self._process = subprocess.Popen(
            [*shlex.split(REAL), "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for path in files:
            self.send(path.read_bytes(), do="file", name=path.name)

    def send(self, payload=b"", **command):
        """Give the answer to a command: its seconds, and what bytes it brings."""
        pipe = self._process
        pipe.stdin.write(json.dumps({**command, "bytes": len(payload)}).encode() + b"\n")
        pipe.stdin.write(payload)
        pipe.stdin.flush()
        line = pipe.stdout.readline()
        assert line, f"{REAL}: ended with {pipe.wait()} at {command}"
        answer = json.loads(line)
        return answer.get("seconds"), pipe.stdout.read(answer["bytes"])

    def close(self):
        self._process.communicate()


@pytest.fixture(scope="module")
def model():
    return packaged_folder() / "VGG_S_rgb" / "deploy.prototxt"


@pytest.fixture(scope="module")
def weights(model, tmp_path_factory):
    """Give random weights whose scores are some units apart, as those of a trained net are."""
    path = tmp_path_factory.mktemp("released") / "full.caffemodel"
    write_random_weights(model, path)
    net = caffe.Net(model, path, caffe.TEST)
    net.params["fc8_cat"][0].data[...] *= np.float32(0.01)
    net.save(path)
    yield path
    path.unlink()


def absences():
    """Say why an engine takes no part."""
    reasons = {}
    if not has_torch():
        reasons["lbpmap, torch"] = "PyTorch is not installed"
    if not REAL:
        reasons["real Caffe"] = "LBPMAP_CAFFE_PYTHON is not set"
    cv2 = importlib.import_module("cv2") if importlib.util.find_spec("cv2") else None
    if cv2 is None or int(cv2.__version__.split(".")[0]) > 4:
        has = f"OpenCV {cv2.__version__} is here" if cv2 else "it is not installed"
        reasons["OpenCV"] = f"{has}; it takes opencv-python-headless<5"
    return reasons


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turns(runs, rounds):
    """Give the median seconds of each, in turns; each `run()` gives its own seconds.

    A turn is two calls, and the second counts: the first one finds cores that have slept, and
    caches full of another one's weights.
    """
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(0.3)  # threads of the library before may spin a while for more work
            run()
            times[name].append(run())
    return {name: statistics.median(each) for name, each in times.items()}


def report(benchmark, what, found, apart, absent):
    own = found[OURS]
    benchmark.extra_info.update(
        seconds=found, times_ours={name: each / own for name, each in found.items()}, apart=apart
    )
    print(f"\n{what}")
    for name, each in found.items():
        values = ", ".join(f"{blob} {error:.1e}" for blob, error in apart.get(name, {}).items())
        print(f"  {name:14} {each:8.4f} s   {each / own:5.2f} x ours   {values}")
    for name, reason in absent.items():
        print(f"  {name:14} not run: {reason}")


def opencv(model, weights, x):
    """Give a run, and a look-up of blobs."""
    import cv2

    net = cv2.dnn.readNetFromCaffe(str(model), str(weights))

    def run():
        net.setInput(x)
        return seconds(lambda: net.forward("prob"))

    def blob(name):
        net.setInput(x)
        # OpenCV fuses a layer with what follows in place: that one's output is the blob.
        return net.forward({"fc7": "drop7"}.get(name, name))

    return run, blob


def ours(model, weights, x, engine):
    net = caffe.Net(model, weights, caffe.TEST, engine=engine)
    net.blobs["data"].reshape(*x.shape)
    net.blobs["data"].data[...] = x
    return (lambda: seconds(net.forward)), (lambda name: net.blobs[name].data.copy())


def real(worker, x):
    worker.send(x.tobytes(), do="fill", shape=x.shape)

    def blob(name):
        return np.frombuffer(worker.send(do="blob", name=name)[1], np.float32).reshape(len(x), -1)

    return (lambda: worker.send(do="forward")[0]), blob


@pytest.mark.parametrize("batch", BATCHES)
def test_forward(benchmark, model, weights, batch):
    x = np.random.default_rng(0).uniform(-128, 128, (batch, 3, 224, 224)).astype(np.float32)
    absent = absences()
    peers = {OURS: ours(model, weights, x, "auto")}
    if "lbpmap, torch" not in absent:
        peers["lbpmap, torch"] = ours(model, weights, x, "torch")
    if "OpenCV" not in absent:
        peers["OpenCV"] = opencv(model, weights, x)
    worker = None
    if "real Caffe" not in absent:
        worker = RealCaffe([model, weights])
        worker.send(do="net", model=model.name, weights=weights.name, shape=x.shape)
        peers["real Caffe"] = real(worker, x)
    found = in_turns(
        {name: run for name, (run, _) in peers.items()}, max(5, 15 // batch) if FULL else 1
    )
    reference = next(
        name for name in ("real Caffe", "OpenCV", "lbpmap, torch", OURS) if name in peers
    )
    expected = {name: peers[reference][1](name) for name in ("fc7", "prob")}
    apart = {
        name: {
            "fc7": relative(blob("fc7"), expected["fc7"]),
            "prob": float(np.abs(blob("prob") - expected["prob"]).max()),
        }
        for name, (_, blob) in peers.items()
        if name != reference
    }
    if worker is not None:
        worker.close()
    report(benchmark, f"forward, batch {batch}; apart from {reference}:", found, apart, absent)
    for name, each in apart.items():
        assert each["fc7"] <= 1e-5, name
        assert each["prob"] <= 1e-6, name
    benchmark.pedantic(peers[OURS][0], rounds=1)


@pytest.mark.skipif(not FULL, reason="set LBPMAP_BENCH=full: takes minutes and 4 GB")
@pytest.mark.skipif(not has_torch(), reason="training needs PyTorch")
def test_fine_tuning_step(benchmark, model, weights, training_files, tmp_path):
    batch = 8
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (batch, 3, 224, 224)).astype(np.float32)
    labels = rng.integers(0, 7, batch)
    solver_text = training_files(model, tmp_path, batch, dropout=True)
    solver = caffe.get_solver(solver_text)
    solver.net.copy_from(weights)
    solver.net.blobs["data"].data[...] = x
    solver.net.blobs["label"].data[...] = labels
    runs = {OURS: lambda: seconds(lambda: solver.step(1))}
    absent = {name: why for name, why in absences().items() if name == "real Caffe"}
    worker = None
    if not absent:
        net = tmp_path / "train.prototxt"
        there = tmp_path / "there.prototxt"  # where the folder has another name
        there.write_text(solver_text.read_text().replace(str(net), net.name))
        worker = RealCaffe([net, there, weights])
        worker.send(do="solver", model=there.name, weights=weights.name)
        worker.send(
            x.tobytes(), do="fill solver", shape=x.shape, labels=[float(each) for each in labels]
        )
        runs["real Caffe"] = lambda: worker.send(do="step")[0]
    found = in_turns(runs, 5)
    if worker is not None:
        worker.close()
    report(benchmark, f"fine-tuning iteration, batch {batch}:", found, {}, absent)
    assert all(
        np.isfinite(blob.data).all() for blobs in solver.net.params.values() for blob in blobs
    )
    benchmark.pedantic(lambda: solver.step(1), rounds=1)
