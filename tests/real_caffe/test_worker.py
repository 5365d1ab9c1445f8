"""The engine "real" with real Caffe: what it recorded before, its refusals, its files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe import engine
from lbpmap.caffe.formats import solverstate

pytestmark = pytest.mark.real_caffe

NETS = ("mini_agenet", "mini_caffenet", "mini_emotiw", "mini_vgg16", "mini_vgg_cnn_s")
SOLVERS = ("adam", "nesterov", "step", "inv")
FLAT = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 6 } } }
layer {
  name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: %d weight_filler { type: "xavier" } }
}
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


@pytest.fixture(scope="module", autouse=True)
def real():
    """Let nets be made by real Caffe; skip where there is none."""
    if os.name != "posix":
        pytest.skip("real Caffe needs Linux or macOS")
    from lbpmap.caffe.real import link

    if not os.environ.get(link.VARIABLE):
        pytest.skip(f"no real Caffe to compare with (set {link.VARIABLE})")
    try:
        there = link.current()
    except RuntimeError as error:
        pytest.skip(str(error))
    with engine.using("real"):
        yield there


@pytest.fixture(scope="module")
def fixtures(shared):
    """Give the folder of what real Caffe computed."""
    return shared / "caffe_fixtures"


@pytest.fixture
def flat(tmp_path):
    """Give a function that writes the text of a small net."""

    def write(units=3, name="flat.prototxt"):
        path = tmp_path / name
        path.write_text(FLAT % units)
        return path

    return write


def parameters(net):
    """Join all parameters of a net."""
    return np.concatenate([blob.data.ravel() for blobs in net.params.values() for blob in blobs])


@pytest.mark.parametrize("form", ["v1", "v2"])
@pytest.mark.parametrize("name", NETS)
def test_every_blob_is_what_was_recorded(fixtures, name, form):
    stem = str(fixtures / "nets" / f"{name}_{form}")
    recorded = np.load(fixtures / "nets" / f"{name}.npz")
    files = (f"{stem}.prototxt", f"{stem}.caffemodel", caffe.TEST)
    real, ours = caffe.Net(*files), caffe.Net(*files, engine="numpy")
    (name,) = real.inputs
    for net in (real, ours):
        net.forward(**{name: recorded[f"in/{name}"]})
    assert real.unfilled_layers() == []
    assert real._layer_names == ours._layer_names
    assert list(real.blobs) == list(ours.blobs)
    compared = 0
    for name, blob in real.blobs.items():
        values, mine = blob.data, ours.blobs[name].data
        assert np.abs(values - mine).max() <= 1e-5 * np.abs(values).max(), name
        if f"out/{name}" in recorded:
            compared += 1
            expected = recorded[f"out/{name}"]
            assert np.abs(values - expected).max() <= 1e-5 * np.abs(expected).max(), name
    assert compared > 10
    for name, attribute in (("top_names", dict), ("bottom_names", dict), ("outputs", list)):
        assert attribute(getattr(real, name)) == attribute(getattr(ours, name))
    assert dict(real.blob_loss_weights) == dict(ours.blob_loss_weights)


@pytest.fixture
def fed(fixtures, tmp_path, monkeypatch):
    """Work where the recorded solvers lie, their data layer replaced: no root need have its file.

    Gives a function that feeds a net the rows of an iteration.
    """
    folder = fixtures / "solver"
    for path in (*folder.glob("*.prototxt"), folder / "init.caffemodel"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    rows = np.load(folder / "train.npz")
    data, label = rows["data"], rows["label"].reshape(-1)
    dims = " ".join(f"dim: {n}" for n in (5, *data.shape[1:]))
    shapes = f"shape {{ {dims} }} shape {{ dim: 5 }}"
    layer = 'layer { name: "data" type: "Input" top: "data" top: "label" input_param { %s } }'
    lines = Path("tiny.prototxt").read_text().splitlines()
    (at,) = (i for i, line in enumerate(lines) if "HDF5Data" in line)
    lines[at] = layer % shapes
    Path("tiny.prototxt").write_text("\n".join(lines))

    def feed(net, iteration):
        chosen = (np.arange(5) + 5 * iteration) % len(data)
        net.blobs["data"].data[...] = data[chosen]
        net.blobs["label"].data[...] = label[chosen]

    return feed


@pytest.mark.parametrize("case", SOLVERS)
def test_weights_after_each_iteration(fixtures, fed, case):
    recorded = np.load(fixtures / "solver" / f"{case}.npz")
    solver = caffe.get_solver(f"{case}.solver.prototxt")
    assert isinstance(solver, caffe.SGDSolver if case in ("step", "inv") else object)
    solver.net.copy_from("init.caffemodel")
    for i in range(25):
        fed(solver.net, i)
        solver.step(1)
        assert solver.iter == i + 1
        assert np.abs(parameters(solver.net) - recorded["weights"][i + 1]).max() <= 1e-6
        assert abs(float(solver.net.blobs["loss"].data) - recorded["loss"][i]) <= 1e-6
    assert {net.outputs[0] for net in solver.test_nets} == {"accuracy"}

    solver.snapshot()
    (state,) = Path().glob("*_iter_25.solverstate")
    (weights,) = Path().glob("*_iter_25.caffemodel")
    read = solverstate.read(state)
    assert (read.iter, read.learned_net) == (25, str(weights))
    resumed = caffe.get_solver(f"{case}.solver.prototxt")
    resumed.restore(state)
    with engine.using("torch"):
        ours = caffe.get_solver(f"{case}.solver.prototxt")
        ours.restore(state)
    for i in range(25, 28):
        for each in (solver, resumed, ours):
            fed(each.net, i)
            each.step(1)
        np.testing.assert_array_equal(parameters(resumed.net), parameters(solver.net))
        assert np.abs(parameters(ours.net) - parameters(solver.net)).max() <= 1e-5


def test_callbacks_and_hooks(fed):
    solver = caffe.get_solver("adam.solver.prototxt")
    events, layers = [], []
    solver.add_callback(lambda: events.append("start"), lambda: events.append(solver.iter))
    solver.net.before_forward(layers.append)
    fed(solver.net, 0)
    solver.step(2)
    assert events == ["start", 0, "start", 1]
    assert layers == 2 * list(range(len(solver.net.layers)))

    def fail(layer):
        raise LookupError("mine")

    solver.net.after_backward(fail)
    with pytest.raises(LookupError, match="mine"):
        solver.step(1)
    assert solver.iter == 2


def test_a_failed_check_says_caffes_own_line(real, flat, tmp_path):
    one, two = caffe.Net(flat(), caffe.TEST), caffe.Net(flat(4, "four.prototxt"), caffe.TEST)
    path = tmp_path / "four.caffemodel"
    two.save(path)
    with pytest.raises(ValueError, match=r"F\d{4} .*net\.cpp:\d+\].*shape mismatch") as e:
        one.copy_from(path)
    assert str(e.value).startswith(f"{flat()}: copy_from {path}: Caffe ended: F")
    assert "\n" not in str(e.value)
    with pytest.raises(RuntimeError, match=r"has ended \(a check failed\)"):
        two.forward()
    wrong = tmp_path / "wrong.prototxt"
    wrong.write_text('layer { name: "a" tpe: "Input" }')
    with pytest.raises(ValueError, match="tpe") as e:
        caffe.Net(wrong, caffe.TEST)
    assert f"Failed to parse NetParameter file: {wrong}" in str(e.value)
    database = tmp_path / "database.prototxt"
    database.write_text(
        'layer { name: "a" type: "Data" top: "a" data_param { source: "none" backend: LMDB } }'
    )
    with pytest.raises(ValueError, match=r"Caffe ended: F.*"):
        caffe.Net(database, caffe.TEST)
    assert caffe.Net(flat(), caffe.TEST).forward()["prob"].shape == (2, 3)


def test_files_go_both_ways(flat, tmp_path):
    """Binary and HDF5, from real Caffe to our own engine and back."""
    caffe.set_random_seed(3)
    real = caffe.Net(flat(), caffe.TEST)
    expected = parameters(real)
    assert expected.any()
    real.save(tmp_path / "real.caffemodel")
    real.save_hdf5(tmp_path / "real.caffemodel.h5")
    ours = caffe.Net(flat(), caffe.TEST, engine="numpy")
    for name in ("real.caffemodel", "real.caffemodel.h5"):
        ours.copy_from(tmp_path / name)
        np.testing.assert_array_equal(parameters(ours), expected)
        for blobs in ours.params.values():
            blobs[0].data[...] += 1
    ours.save(tmp_path / "ours.caffemodel")
    ours.save_hdf5(tmp_path / "ours.caffemodel.h5")
    for name in ("ours.caffemodel", "ours.caffemodel.h5"):
        real.params["ip"][0].data[...] = 0
        real.copy_from(tmp_path / name)
        np.testing.assert_array_equal(parameters(real), parameters(ours))
    real.load_hdf5(tmp_path / "real.caffemodel.h5")
    np.testing.assert_array_equal(parameters(real), expected)
    assert real.unfilled_layers() == []


def test_seeds_layers_and_shared_weights(flat):
    caffe.set_random_seed(3)
    first = parameters(caffe.Net(flat(), caffe.TEST))
    caffe.set_random_seed(3)
    net, other = caffe.Net(flat(), caffe.TEST), caffe.Net(flat(), caffe.TEST)
    np.testing.assert_array_equal(parameters(net), first)
    assert {"Convolution", "Python", "LRN"} <= set(caffe.layer_type_list())
    other.share_with(net)
    view = net.params["ip"][0].data
    view[...] = 5
    np.testing.assert_array_equal(other.params["ip"][0].data, view)


def test_pictures_are_read_in_the_worker_too(real, tmp_path):
    """Debian's pycaffe cannot, without what the worker mends."""
    from lbpmap.caffe.real import worker

    job = (
        "import io, sys, types, numpy as np, caffe\n"
        "source = sys.stdin.read()\n"
        "worker = types.ModuleType('worker'); exec(source, worker.__dict__)\n"
        "import skimage.io, tempfile\n"
        "picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)\n"
        "file = tempfile.NamedTemporaryFile(suffix='.png')\n"
        "skimage.io.imsave(file.name, picture, check_contrast=False)\n"
        "worker.mend(caffe)\n"
        "read = caffe.io.load_image(file.name)\n"
        "print(read.dtype, float(abs(read * 255 - picture).max()) < 1e-4)\n"
    )
    done = subprocess.run(
        [*real.command, "-c", job],
        input=Path(worker.__file__).read_text(),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "float32 True\n", done.stderr
