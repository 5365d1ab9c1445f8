"""This package under the name `caffe`: for scripts and Python layers as they are."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types

import pytest

from lbpmap import caffe as ours

SCRIPT = """
import sys
import caffe, caffe.io, caffe.draw
import caffe._caffe
import caffe.proto.caffe_pb2 as pb
from caffe import layers as L, params as P
from caffe.coord_map import crop
from caffe.net_spec import to_proto
from caffe.proto import caffe_pb2
import sibling

assert pb is caffe_pb2 and caffe._caffe.Blob is not None
assert sys.argv == [__file__, "--flag", "value"], sys.argv
n = caffe.NetSpec()
n.data = L.Input(shape=dict(dim=[1, 2]))
n.twice = L.Python(n.data, module="sibling", layer="Twice")
with open(sys.argv[0] + ".prototxt", "w") as file:
    file.write(str(n.to_proto()))
net = caffe.Net(file.name, caffe.TEST)
net.blobs["data"].data[...] = [[1, 2]]
print(net.forward()["twice"].tolist())
"""
SIBLING = """
import caffe

class Twice(caffe.Layer):
    def setup(self, bottom, top):
        pass
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)
    def forward(self, bottom, top):
        top[0].data[...] = 2 * bottom[0].data
"""


@pytest.fixture
def modules(monkeypatch):
    """Give sys.modules without any `caffe`, and put it back afterwards."""
    names = [name for name in sys.modules if name.split(".")[0] == "caffe"]
    kept = {name: sys.modules.pop(name) for name in names}
    yield sys.modules
    for name in [name for name in sys.modules if name.split(".")[0] == "caffe"]:
        del sys.modules[name]
    sys.modules.update(kept)


def a_real_caffe():
    there = types.ModuleType("caffe")
    there.Net = object
    return there


def test_every_name_is_our_own_module(modules):
    ours.install()
    assert modules["caffe"] is ours
    for name in ("io", "layers", "params", "net_spec", "coord_map", "draw", "detector", "proto"):
        found = importlib.import_module(f"caffe.{name}")
        assert found is importlib.import_module(f"lbpmap.caffe.{name}")
        assert getattr(ours, name) is found
    assert importlib.import_module("caffe.pycaffe").Net is ours.Net
    assert importlib.import_module("caffe._caffe") is ours._caffe
    assert importlib.import_module("caffe.classifier").Classifier is ours.Classifier
    assert importlib.import_module("caffe.proto.caffe_pb2").NetParameter is not None


def test_installing_again_changes_nothing(modules):
    ours.install()
    before = dict(modules)
    ours.install()
    assert modules == before


def test_a_real_caffe_that_is_imported_stays(modules):
    modules["caffe"] = there = a_real_caffe()
    with pytest.raises(
        RuntimeError, match=r"a real Caffe .* is imported already; call install bef"
    ):
        ours.install()
    assert modules["caffe"] is there
    assert "caffe.io" not in modules


def test_force_puts_it_aside_whole(modules):
    modules["caffe"] = a_real_caffe()
    modules["caffe.test_of_its_own"] = types.ModuleType("caffe.test_of_its_own")
    ours.install(force=True)
    assert modules["caffe"] is ours
    assert "caffe.test_of_its_own" not in modules


def test_an_empty_package_of_that_name_does_not_count(modules):
    modules["caffe"] = types.ModuleType("caffe")
    ours.install()
    assert modules["caffe"] is ours


def run(*args):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "lbpmap.caffe", *args],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_script_and_its_python_layers_run_as_they_are(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    (tmp_path / "sibling.py").write_text(SIBLING)
    done = run(str(script), "--flag", "value")
    assert done.stdout == "[[2.0, 4.0]]\n", done.stderr


def test_a_script_that_is_not_there(tmp_path):
    done = run(str(tmp_path / "no.py"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no.py: no such file" in done.stderr
    assert run().returncode == 2
    assert run("--help").returncode == 0


def test_this_package_is_not_the_real_caffe(modules, monkeypatch):
    monkeypatch.delenv("LBPMAP_CAFFE_PYTHON", raising=False)
    ours.install()
    with pytest.raises(RuntimeError, match="no Caffe with a Net can be imported"):
        ours.set_engine("real")
