"""Fillers against real Caffe: moments and bounds over many draws, the same values where fixed."""

from __future__ import annotations

import numpy as np
import pytest

SHAPES = {"(400, 200)": "dim: 400 dim: 200", "(40, 50, 5, 8)": "dim: 40 dim: 50 dim: 5 dim: 8"}
FILLERS = {
    "xavier": 'type: "xavier"',
    "xavier of outputs": 'type: "xavier" variance_norm: FAN_OUT',
    "xavier of both": 'type: "xavier" variance_norm: AVERAGE',
    "msra": 'type: "msra"',
    "msra of outputs": 'type: "msra" variance_norm: FAN_OUT',
    "msra of both": 'type: "msra" variance_norm: AVERAGE',
    "gaussian": 'type: "gaussian" mean: 0.5 std: 2',
    "gaussian, sparse": 'type: "gaussian" std: 1 sparse: 8',
    "uniform": 'type: "uniform" min: -1 max: 3',
    "positive unitball": 'type: "positive_unitball"',
}


def drawn(caffe, live, given):
    caffe.set_random_seed(7)
    values = caffe.Net("net.prototxt", caffe.TEST)
    values.forward()
    values = values.blobs["a"].data.astype(np.float64)
    rows = values.reshape(len(values), -1)
    some = values[values != 0]
    return {
        "mean": values.mean(),
        "std": values.std(),
        "bounds": np.array([values.min(), values.max()]),
        "not zero": len(some) / values.size,
        "std of these": some.std(),
        "third moment": ((values - values.mean()) ** 3).mean() / values.std() ** 3,
        "fourth moment": ((values - values.mean()) ** 4).mean() / values.std() ** 4,
        "sum of a row": np.array([rows.sum(1).min(), rows.sum(1).max()]),
        "size": values.size,
    }


def net_of(filler, shape):
    return (
        'layer { name: "d" type: "DummyData" top: "a" dummy_data_param { '
        f"shape {{ {shape} }} data_filler {{ {filler} }} }} }}"
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", FILLERS)
def test_distribution(in_real, in_ours, case, shape):
    """80,000 draws each: tolerances are six standard errors of the difference of two samples."""
    files = {"net.prototxt": net_of(FILLERS[case], SHAPES[shape])}
    real, ours = in_real(drawn, files), in_ours(drawn, files)
    assert ours["size"] == real["size"] == 80000
    error = 6 * np.sqrt(2 / 80000)
    assert abs(ours["mean"] - real["mean"]) <= error * real["std"]
    nonzero = 80000 * real["not zero"]
    assert abs(ours["std of these"] / real["std of these"] - 1) <= 6 * np.sqrt(2 / nonzero)
    assert abs(ours["not zero"] - real["not zero"]) <= error * np.sqrt(real["not zero"]) + 1e-4
    if "sparse" not in case:
        assert abs(ours["third moment"] - real["third moment"]) <= 6 * np.sqrt(2 * 15 / 80000)
        assert abs(ours["fourth moment"] - real["fourth moment"]) <= 6 * np.sqrt(2 * 96 / 80000)
    if "xavier" in case or case == "uniform":
        assert np.allclose(ours["bounds"], real["bounds"], rtol=2e-3)
    if case == "positive unitball":
        assert np.allclose(ours["sum of a row"], 1, atol=1e-5)
        assert np.allclose(real["sum of a row"], 1, atol=1e-5)


def values(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TEST)
    net.forward()
    return {"values": net.blobs["a"].data.copy()}


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 8])
def test_bilinear(compare, kernel):
    shape = f"dim: 2 dim: 3 dim: {kernel} dim: {kernel}"
    compare(values, {"net.prototxt": net_of('type: "bilinear"', shape)})


def seeded(caffe, live, given):
    found = []
    for seed in (3, 3, 4):
        caffe.set_random_seed(seed)
        net = caffe.Net("net.prototxt", caffe.TRAIN)
        net.blobs["x"].data[...] = 1
        net.forward()
        found.append(net.blobs["y"].data.copy())
    return {
        "again": bool((found[0] == found[1]).all()),
        "other": bool((found[0] == found[2]).all()),
    }


def test_a_seed_fixes_dropout(compare):
    text = (
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 400 } } }'
        'layer { name: "d" type: "Dropout" bottom: "x" top: "y" }'
    )
    compare(seeded, {"net.prototxt": text})
