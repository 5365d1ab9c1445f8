"""Nets drawn at random, those that real Caffe is held against, in ONNX Runtime.

LBPMAP_DRAWS tells how many are drawn, ``--hypothesis-seed`` which.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from lbpmap import caffe
from lbpmap.caffe.export import export, onnx_net

DRAWS = int(os.environ.get("LBPMAP_DRAWS", "40"))
# They make large numbers all but equal, so that rounding says which is the largest.
LEVELLING = {"LRN", "MVN", "Sigmoid", "Softmax", "TanH"}
FOLDER = Path(__file__).parents[1] / "real_caffe"


@pytest.fixture(scope="module")
def random_nets():
    """Give the module that draws nets, which stands in a folder that is no package."""
    for name in ("random_layers", "random_sketch", "random_nets"):
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
            sys.modules[name] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
    return sys.modules["random_nets"]


@settings(
    max_examples=DRAWS,
    deadline=None,
    phases=[Phase.generate],  # a net that fails is told in full
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_what_runs_here_runs_there(onnx, random_nets, tmp_path_factory, data):
    drawn = data.draw(random_nets.nets())
    assume(not drawn.refused)
    folder = tmp_path_factory.mktemp("net")
    (folder / "net.prototxt").write_text(drawn.text)
    caffe.set_random_seed(drawn.seed)
    net = caffe.Net(folder / "net.prototxt", caffe.TEST)
    assume(not any(onnx_net.no_form(layer) for layer in net.layers))
    assume(not any(has_statistics_of_its_own(layer.param) for layer in net.layers))
    types = {layer.type for layer in net.layers}
    assume("ArgMax" not in types or not types & LEVELLING)
    assume(set(net.outputs) - set(net.inputs))
    made = export(net, folder / "net.onnx")
    assert set(made.differences) == set(net.outputs) - set(net.inputs)
    assert max(made.differences.values()) <= 1e-4


def has_statistics_of_its_own(layer):
    p = layer.batch_norm_param
    return layer.type == "BatchNorm" and p.HasField("use_global_stats") and not p.use_global_stats
