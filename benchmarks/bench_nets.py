"""Nets at full size: how long opening takes beside reading the file once, and a forward pass.

    python -m pytest benchmarks/bench_nets.py                      batch 1: as CI runs it
    LBPMAP_BENCH=full python -m pytest benchmarks/bench_nets.py    1, 10, 32, and more turns

The layout is that of the released nets, the weights are
random: 124,507,607 parameters, 498 MB. `test_opening_beside_reading` measures both in turns and
records their ratio; the others time one thing each.
"""

from __future__ import annotations

import os
import platform
import statistics
import time

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.emotion.registry import packaged_folder
from lbpmap.emotion.synthetic import write_random_weights

FULL = os.environ.get("LBPMAP_BENCH") == "full"
BATCHES = [1] + FULL * [10, 32]


@pytest.fixture(scope="module")
def deploy():
    return packaged_folder() / "VGG_S_rgb" / "deploy.prototxt"


@pytest.fixture(scope="module")
def weights(deploy, tmp_path_factory):
    path = tmp_path_factory.mktemp("nets") / "full.caffemodel"
    write_random_weights(deploy, path)
    yield path
    path.unlink()


@pytest.fixture(autouse=True)
def machine(benchmark):
    benchmark.extra_info.update(machine=platform.processor(), cores=os.cpu_count())


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def test_opening_beside_reading(benchmark, deploy, weights):
    def read():
        return len(weights.read_bytes())

    def open_net():
        return caffe.Net(deploy, weights, caffe.TEST)

    read()
    times = [(seconds(read), seconds(open_net)) for _ in range(9 if FULL else 1)]
    reading, opening = (statistics.median(column) for column in zip(*times))
    benchmark.extra_info.update(read_seconds=reading, ratio=opening / reading)
    benchmark.pedantic(open_net, rounds=3 if FULL else 1)
    print(
        f"\nread {reading:.3f} s, open {opening:.3f} s: {opening / reading:.2f} times reading once"
    )


def test_reading_the_file_once(benchmark, weights):
    benchmark.pedantic(weights.read_bytes, rounds=5 if FULL else 1, warmup_rounds=1)


@pytest.mark.parametrize("batch", BATCHES)
def test_forward(benchmark, deploy, weights, batch):
    net = caffe.Net(deploy, weights, caffe.TEST)
    net.blobs["data"].reshape(batch, 3, 224, 224)
    shape = net.blobs["data"].shape
    net.blobs["data"].data[...] = np.random.default_rng(0).uniform(-128, 128, shape)
    benchmark.extra_info["images"] = batch
    benchmark.pedantic(net.forward, rounds=max(3, 15 // batch) if FULL else 1, warmup_rounds=1)
