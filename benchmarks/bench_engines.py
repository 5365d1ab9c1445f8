"""Both engines beside straight functional PyTorch on the released nets' layout, values checked.

    python -m pytest benchmarks/bench_engines.py -s                      one turn: as CI runs it
    LBPMAP_BENCH=full python -m pytest benchmarks/bench_engines.py -s    more turns; batches of 10

The nets take turns, and medians are compared: on a shared machine only ratios within one run mean
anything. Training is a forward pass, a backward pass and a step of SGD with momentum and decay; the
functional code does the same with `torch.optim.SGD`.
"""

from __future__ import annotations

import os
import statistics
import time

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.emotion.registry import packaged_folder

torch = pytest.importorskip("torch", reason="compares with PyTorch")
F = torch.nn.functional
FULL = os.environ.get("LBPMAP_BENCH") == "full"
# As the fixture `training_files` says.
RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4


@pytest.fixture(scope="module")
def deploy():
    return packaged_folder() / "VGG_S_rgb" / "deploy.prototxt"


@pytest.fixture(scope="module")
def weights(deploy):
    """Give the parameters of one net, which all others share."""
    net = caffe.Net(deploy, caffe.TEST)
    rng = np.random.default_rng(0)
    for blobs in net.params.values():
        values = blobs[0].data
        rng.standard_normal(out=values, dtype=np.float32)
        values *= np.float32(np.sqrt(2 / (values.size // len(values))))
    return net


def new_net(model, weights, batch, phase=caffe.TEST, engine=None):
    net = caffe.Net(model, phase, engine=engine)
    net.share_with(weights)
    net.blobs["data"].reshape(batch, 3, 224, 224)
    return net


def straight(params, x):
    """The released layout up to fc8, as one writes it in PyTorch."""
    (w1, b1), (w2, b2), (w3, b3), (w4, b4), (w5, b5), (w6, b6), (w7, b7), (w8, b8) = params
    x = F.relu(F.conv2d(x, w1, b1, stride=2))
    x = F.max_pool2d(F.local_response_norm(x, 5, 5e-4, 0.75, 1.0), 3, 3, ceil_mode=True)
    x = F.max_pool2d(F.relu(F.conv2d(x, w2, b2, padding=2)), 2, 2, ceil_mode=True)
    x = F.relu(F.conv2d(x, w3, b3, padding=1))
    x = F.relu(F.conv2d(x, w4, b4, padding=1))
    x = F.max_pool2d(F.relu(F.conv2d(x, w5, b5, padding=1)), 3, 3, ceil_mode=True)
    x = F.relu(F.linear(x.flatten(1), w6, b6))
    x = F.relu(F.linear(x, w7, b7))
    return F.linear(x, w8, b8)


def tensors(net):
    return [[torch.from_numpy(blob.data) for blob in blobs] for blobs in net.params.values()]


def in_turns(runs, rounds):
    """Give the median seconds of each, measured in turns."""
    times = {name: [] for name in runs}
    for turn in range(rounds + FULL):
        for name, run in runs.items():
            time.sleep(0.2)  # threads of the library before may spin a while for more work
            start = time.perf_counter()
            run()
            if turn >= FULL:  # the first warms up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def report(benchmark, found, batch):
    ratios = {name: round(each / found["straight"], 3) for name, each in found.items()}
    benchmark.extra_info.update(seconds=found, times_straight_pytorch=ratios, batch=batch)
    print(
        f"\nbatch {batch}: straight PyTorch {found['straight']:.3f} s, "
        + ", ".join(f"{name} {ratio:.2f} x" for name, ratio in ratios.items() if name != "straight")
    )


@pytest.mark.parametrize("batch", [1] + FULL * [10])
def test_forward(benchmark, deploy, weights, batch):
    nets = {name: new_net(deploy, weights, batch, engine=name) for name in ("numpy", "torch")}
    params = tensors(weights)
    x = np.random.default_rng(0).uniform(-128, 128, (batch, 3, 224, 224)).astype(np.float32)
    for net in nets.values():
        net.blobs["data"].data[...] = x
    tensor = torch.from_numpy(x)

    @torch.no_grad()
    def functional():
        return F.softmax(straight(params, tensor), 1)

    runs = {"straight": functional, **{name: net.forward for name, net in nets.items()}}
    found = in_turns(runs, max(3, 15 // batch) if FULL else 1)
    with torch.no_grad():
        expected = straight(params, tensor).numpy()
    for net in nets.values():
        assert np.abs(net.blobs["fc8"].data - expected).max() <= 1e-5 * np.abs(expected).max()
    report(benchmark, found, batch)
    benchmark.pedantic(nets["numpy"].forward, rounds=1)


@pytest.mark.parametrize("batch", [2] + FULL * [10])
def test_training_step(benchmark, deploy, weights, training_files, tmp_path, batch):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (batch, 3, 224, 224)).astype(np.float32)
    labels = rng.integers(0, 7, batch)
    solver = caffe.SGDSolver(training_files(deploy, tmp_path, batch, dropout=False))
    for mine, given in zip(solver.net.params.values(), weights.params.values()):
        for blob, source in zip(mine, given):
            blob.data[...] = source.data
    solver.net.blobs["data"].data[...] = x
    solver.net.blobs["label"].data[...] = labels

    params = [[p.clone().requires_grad_() for p in layer] for layer in tensors(weights)]
    leaves = [p for layer in params for p in layer]
    sgd = torch.optim.SGD(leaves, RATE, MOMENTUM, weight_decay=DECAY)
    tensor, target = torch.from_numpy(x), torch.from_numpy(labels)

    def functional():
        sgd.zero_grad()
        F.cross_entropy(straight(params, tensor), target).backward()
        sgd.step()

    # One step, and what it has taken off. Below the pooling rounding decides near ties, and a
    # gradient then goes to another pixel: the layers above it are compared.
    functional()
    solver.step(1)
    for name, theirs in list(zip(solver.net.params, params))[-3:]:
        for blob, p, start in zip(solver.net.params[name], theirs, weights.params[name]):
            expected = start.data - p.detach().numpy()
            apart = np.abs((start.data - blob.data) - expected).max()
            assert apart <= 1e-3 * np.abs(expected).max() + 1e-7, name
    found = in_turns({"straight": functional, "solver": lambda: solver.step(1)}, 3 if FULL else 1)
    report(benchmark, found, batch)
    benchmark.pedantic(lambda: solver.step(1), rounds=1)
