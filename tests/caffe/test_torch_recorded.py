"""Layer functions on PyTorch, as one graph a net: values and gradients that real Caffe gave."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe

torch = pytest.importorskip("torch", reason="these are PyTorch's functions")

from lbpmap.caffe.layers import on_torch  # noqa: E402  (it imports torch)


def run_net(net, inputs):
    """Run a net's functions one after another as one graph; return its blobs and parameters."""
    values = {name: torch.tensor(array, requires_grad=True) for name, array in inputs.items()}
    leaves = dict(values)
    for layer in net.layers:
        if layer.type == "Input":
            continue
        params = [torch.tensor(blob.data, requires_grad=True) for blob in layer.blobs]
        leaves.update({f"{layer.name}/{i}": param for i, param in enumerate(params)})
        bottoms = [values[name] for name in layer.param.bottom]
        tops = on_torch.FORWARD[layer.type](layer, bottoms, params)
        values.update(zip(layer.param.top, tops))
    return values, leaves


def recorded(folder):
    """Give each recorded net, what Caffe gave, and what the functions give."""
    for path in sorted((folder / "layers").glob("*.npz")):
        weights = path.with_suffix(".caffemodel")
        net = caffe.Net(path.with_suffix(".prototxt"), caffe.TEST, engine="numpy")
        if weights.exists():
            net.copy_from(weights)
        expected = dict(np.load(path))
        inputs = {key[3:]: array for key, array in expected.items() if key.startswith("in/")}
        yield path.stem, expected, *run_net(net, inputs)


def test_forward_is_caffes(fixtures, check_equal):
    compared = 0
    for case, expected, values, _ in recorded(fixtures):
        for key, array in expected.items():
            if key.startswith("out/"):
                check_equal(values[key[4:]].detach(), array, f"{case} {key}")
                compared += 1
    assert compared > 200


def test_gradients_are_caffes(fixtures, check_equal):
    compared = 0
    for case, expected, values, leaves in recorded(fixtures):
        tops = [key[5:] for key in expected if key.startswith("gout/")]
        together = any(key.startswith("gin/") for key in expected)
        for suffix, chosen in [("", tops)] if together else [(f"@{top}", [top]) for top in tops]:
            found = torch.autograd.grad(
                [values[top] for top in chosen],
                list(leaves.values()),
                [torch.from_numpy(expected[f"gout/{top}"]) for top in chosen],
                retain_graph=True,
                allow_unused=True,
            )
            for (name, leaf), gradient in zip(leaves.items(), found):
                for kind in ("gin", "gpar"):
                    array = expected.get(f"{kind}{suffix}/{name}")
                    if array is not None:
                        got = torch.zeros_like(leaf) if gradient is None else gradient
                        check_equal(got, array, f"{case} {kind}{suffix}/{name}")
                        compared += 1
    assert compared > 200
