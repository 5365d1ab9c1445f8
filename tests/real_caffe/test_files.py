"""Files of one read by the other: weights, solverstates, pictures, databases, both ways."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest

from lbpmap.caffe.formats import database
from lbpmap.caffe.formats.messages import MESSAGES

pytest.importorskip("h5py", reason="half of the files are HDF5")

Datum = MESSAGES["Datum"]

NET = """
name: "of files"
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 2 dim: 5 dim: 5 } } }
layer { name: "l" type: "Input" top: "l" input_param { shape { dim: 4 } } }
layer {
  name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 group: 2 bias_term: false }
}
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
layer { name: "prelu" type: "PReLU" bottom: "bn" top: "prelu" prelu_param { channel_shared: true } }
layer {
  name: "ip" type: "InnerProduct" bottom: "prelu" top: "ip" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 3 }
}
layer {
  name: "same" type: "InnerProduct" bottom: "prelu" top: "same"
  param { name: "w" } param { name: "b" } inner_product_param { num_output: 3 }
}
layer { name: "sum" type: "Eltwise" bottom: "ip" bottom: "same" top: "sum" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "sum" bottom: "l" top: "loss" }
"""
LABELS = {"l": np.array([0.0, 2, 1, 1])}
SOLVER = (
    'net: "net.prototxt" base_lr: 0.1 lr_policy: "step" gamma: 0.5 stepsize: 2 random_seed: 1 '
    'snapshot_prefix: "snap" snapshot_diff: true %s'
)
FORMATS = {"binary": "", "HDF5": "snapshot_format: HDF5"}
SOLVERS = {
    "SGD": "momentum: 0.9",
    "AdaDelta": 'type: "AdaDelta" momentum: 0.9 delta: 1e-4',
    "Adam": 'type: "Adam" momentum: 0.9 delta: 1e-3',
}


def saved(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TEST)
    live.fill(net, given)
    net.forward()
    net.backward()
    net.save("net.caffemodel")
    net.save_hdf5("net.caffemodel.h5")
    found = live.parameters(net)
    for name in ("net.caffemodel", "net.caffemodel.h5"):
        found["file " + name] = np.fromfile(name, np.uint8)
    return found


def loaded(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TEST)
    net.copy_from(given["name"])
    again = caffe.Net("net.prototxt", given["name"], caffe.TEST)
    found = live.parameters(net, False)
    found.update(live.parameters(again, False, "again "))
    if given["name"].endswith(".h5"):
        net = caffe.Net("net.prototxt", caffe.TEST)
        net.load_hdf5(given["name"])
        found.update(live.parameters(net, False, "hdf5 "))
    return found


def check_weights(found, expected):
    keys = [key for key in expected if key.startswith("param") and "diff" not in key]
    assert len(keys) == 9
    for key in keys:
        for prefix in ("", "again "):
            assert np.array_equal(found[prefix + key], expected[key]), key


@pytest.mark.parametrize("name", ["net.caffemodel", "net.caffemodel.h5"])
def test_weights_of_one_in_the_other(in_real, in_ours, name):
    text = {"net.prototxt": NET}
    for one, other in ((in_real, in_ours), (in_ours, in_real)):
        written = one(saved, text, **LABELS)
        files = {**text, name: written[f"file {name}"].tobytes()}
        check_weights(other(loaded, files, name=name), written)


def first_half(caffe, live, given):
    solver = caffe.get_solver("solver.prototxt")
    live.fill(solver.net, given)
    solver.step(3)
    solver.snapshot()
    found = {"names": sorted(name for name in os.listdir(".") if name.startswith("snap"))}
    for name in list(found["names"]):
        found["file " + name] = np.fromfile(name, np.uint8)
    return found


def second_half(caffe, live, given):
    solver = caffe.get_solver("solver.prototxt")
    live.fill(solver.net, given)
    for blobs in solver.net.params.values():
        for blob in blobs:
            blob.data[...] = 0  # what must come from the files
    solver.restore(next(name for name in os.listdir(".") if "solverstate" in name))
    found = {"iter": solver.iter}
    solver.step(2)
    found.update(live.parameters(solver.net))
    return found


def without_a_break(caffe, live, given):
    solver = caffe.get_solver("solver.prototxt")
    live.fill(solver.net, given)
    solver.step(5)
    return live.parameters(solver.net)


@pytest.mark.parametrize("kind", SOLVERS)
@pytest.mark.parametrize("form", FORMATS)
def test_snapshots_of_one_in_the_other(in_real, in_ours, check_same, kind, form):
    """The other goes on from them as one would that was never interrupted."""
    settings = SOLVER % f"{SOLVERS[kind]} {FORMATS[form]}"
    files = {
        "net.prototxt": NET.replace('name: "w"', "").replace('name: "b"', ""),
        "solver.prototxt": settings,
    }
    whole = in_real(without_a_break, files, **LABELS)
    names = []
    for one, other in ((in_real, in_ours), (in_ours, in_real)):
        written = one(first_half, files, **LABELS)
        names.append(written["names"].tolist())
        snapshot = {name: written[f"file {name}"].tobytes() for name in names[-1]}
        found = other(second_half, {**files, **snapshot}, **LABELS)
        assert found["iter"] == 3
        for key in whole:
            check_same(key, found[key], whole[key])
    assert names[0] == names[1]


def mean_read(caffe, live, given):
    blob = caffe.proto.caffe_pb2.BlobProto() if hasattr(caffe, "proto") else None
    blob = blob or caffe.io.caffe_pb2.BlobProto()
    with open("mean.binaryproto", "rb") as file:
        blob.ParseFromString(file.read())
    return {"mean": caffe.io.blobproto_to_array(blob)}


def mean_written(caffe, live, given):
    with open("mean.binaryproto", "wb") as file:
        file.write(caffe.io.array_to_blobproto(given["mean"]).SerializeToString())
    return {"bytes": np.fromfile("mean.binaryproto", np.uint8)}


def test_binaryproto_of_one_in_the_other(in_real, in_ours):
    mean = np.random.RandomState(0).uniform(0, 255, (1, 3, 4, 5))
    for one, other in ((in_real, in_ours), (in_ours, in_real)):
        written = one(mean_written, mean=mean)["bytes"].tobytes()
        found = other(mean_read, {"mean.binaryproto": written})
        assert np.array_equal(found["mean"], mean.astype(np.float32))


DATA = """
layer {
  name: "data" type: "Data" top: "data" top: "label"
  data_param { source: "db" backend: LMDB batch_size: 3 }
  transform_param { scale: 0.5 crop_size: 3 mean_value: 10 mean_value: 20 }
}
"""


def batches(caffe, live, given):
    os.mkdir("db")
    for name in ("data.mdb", "lock.mdb"):
        if os.path.exists(name):
            os.rename(name, os.path.join("db", name))
    net = caffe.Net("net.prototxt", caffe.TEST)
    found = {}
    for i in range(4):
        net.forward()
        found.update(live.everything(net, False, f"{i} "))
    return found


def database_of(tmp_path, datums):
    """Write a database here, which real Caffe is to read."""
    pytest.importorskip("lmdb", reason="writes the database")
    database.write_lmdb(tmp_path / "db", datums)
    return {"data.mdb": (tmp_path / "db" / "data.mdb").read_bytes()}


@pytest.mark.parametrize("settings", ["", "rand_skip: 5"])
def test_data_of_a_database(compare, tmp_path, settings):
    """Seven pictures in batches of three: the second round begins within the third batch.

    `rand_skip` has no effect on a Data layer of Caffe 1.0.
    """
    pictures = np.random.RandomState(3).randint(0, 256, (7, 2, 5, 4)).astype(np.uint8)
    datums = [
        Datum(channels=2, height=5, width=4, data=picture.tobytes(), label=i)
        for i, picture in enumerate(pictures)
    ]
    text = DATA.replace("batch_size: 3", f"batch_size: 3 {settings}")
    compare(batches, {**database_of(tmp_path, datums), "net.prototxt": text})


def test_data_of_numbers(compare, tmp_path):
    values = np.random.RandomState(3).uniform(-1, 1, (4, 40))
    datums = [Datum(channels=2, height=5, width=4, float_data=row, label=3) for row in values]
    compare(batches, {**database_of(tmp_path, datums), "net.prototxt": DATA})


ENCODED = """
layer {
  name: "data" type: "Data" top: "data" top: "label"
  data_param { source: "db" backend: LMDB batch_size: 3 %s } transform_param { scale: 1 %s }
}
"""


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    "settings", [("", ""), ("", "force_color: true"), ("force_encoded_color: true", "")]
)
def test_encoded_pictures(compare, tmp_path, mode, settings):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.RandomState(3)
    datums = []
    for i in range(4):
        values = rng.randint(0, 256, (5, 4) if mode == "L" else (5, 4, 3)).astype(np.uint8)
        file = io.BytesIO()
        image.fromarray(values).save(file, "PNG")
        datums.append(Datum(data=file.getvalue(), encoded=True, label=i))
    text = ENCODED % settings
    compare(batches, {**database_of(tmp_path, datums), "net.prototxt": text})
