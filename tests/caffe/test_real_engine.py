"""The engine "real" with a stand-in for Caffe: arrays, files, callbacks, and how things end."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from lbpmap import caffe

if os.name != "posix":
    pytest.skip("the engine needs Unix sockets", allow_module_level=True)

from lbpmap.caffe.real import link, worker

from .conftest import until


def maps(process):
    """Count the pieces of shared memory that a process maps."""
    try:
        text = Path(f"/proc/{process}/maps").read_text()
    except OSError:
        pytest.skip("no /proc to see maps in")
    return text.count("lbpmap-caffe")


def test_a_net_is_one_of_this_package_and_says_what_it_is_of(net_of):
    net = net_of()
    assert isinstance(net, caffe.Net)
    assert list(net.blobs) == net._blob_names == ["data", "data_split", "out"]
    assert net._layer_names == list(net.layer_dict) == ["input", "split", "double"]
    assert [layer.type for layer in net.layers] == ["Input", "Split", "Double"]
    assert list(net.params) == ["double"]
    assert (net.inputs, net.outputs) == (["data"], ["out"])
    assert net.top_names["double"] == ["out"]
    assert net.bottom_names["double"] == ["data_split"]
    assert net.blob_loss_weights["out"] == 0
    blob = net.blobs["data"]
    assert (blob.shape, blob.count, blob.num, blob.channels, blob.height) == ((4, 5), 20, 4, 5, 1)
    assert caffe.layer_type_list() == ["Double", "Input"]


def test_values_go_both_ways_with_every_call(net_of):
    net = net_of()
    rng = np.random.default_rng(1)
    scale = net.params["double"][0].data
    for _ in range(3):
        data = rng.normal(size=(4, 5)).astype(np.float32)
        scale[...] = rng.normal()
        out = net.forward(data=data)["out"]
        np.testing.assert_array_equal(out, 2 * scale * data)
        np.testing.assert_array_equal(net.blobs["out"].data, out)
    net.blobs["data"].data[...] = 1
    net.blobs["data"].data[2, 3] = 7  # nobody holds either view: both count all the same
    net.forward()
    assert out[2, 3] == np.float32(14) * scale[0]  # a view held from before shows the new values
    assert out[0, 0] == np.float32(2) * scale[0]
    again = net.forward_all(data=np.ones((9, 5)))["out"]
    assert again.shape == (9, 5)


def test_a_view_lives_as_long_as_any_view_of_it(net_of):
    net = net_of()
    row = net.blobs["data"].data[1]
    net.forward(data=np.full((4, 5), 3))
    np.testing.assert_array_equal(row, np.full(5, 3))
    row[...] = 5
    np.testing.assert_array_equal(net.forward()["out"][1], np.full(5, 10))


def test_gradients(net_of):
    net = net_of()
    found = net.backward(out=np.full((4, 5), 3))
    np.testing.assert_array_equal(found["data"], np.full((4, 5), 6))
    diff = net.params["double"][0].diff
    assert diff[0] == 1
    net.clear_param_diffs()
    assert diff[0] == 0


@pytest.mark.parametrize("name", ["data", "data_split"])
def test_blobs_that_come_to_share_memory(net_of, name):
    """Before the first pass they do not; whichever is written after it counts."""
    net = net_of()
    views = {each: net.blobs[each].data for each in ("data", "data_split")}
    net.forward()
    for value in (3, 4):
        views[name][...] = value
        np.testing.assert_array_equal(
            net.forward(start="double")["out"], np.full((4, 5), 2 * value)
        )
        for view in views.values():
            np.testing.assert_array_equal(view, np.full((4, 5), value))
    # Asked for now, both are the same memory at once.
    del views, view
    first, second = net.blobs["data"].data, net.blobs["data_split"].data
    first[...] = 9
    np.testing.assert_array_equal(second, first)


def test_a_net_that_shares_parameters(net_of):
    one, two = net_of(), net_of()
    two.share_with(one)
    one.params["double"][0].data[...] = 6
    assert two.params["double"][0].data[0] == 6
    assert two.forward(data=np.ones((4, 5)))["out"][0, 0] == 12
    other = object.__new__(caffe.Net)
    with pytest.raises(TypeError, match="must be a Net of the real Caffe too"):
        two.share_with(other)


def test_shapes_change(net_of):
    net = net_of()
    old = net.blobs["data"].data
    for rows in (2, 9, 400_000, 3):
        net.blobs["data"].reshape(rows, 5)
        net.reshape()
        assert net.blobs["out"].shape == (rows, 5)
        data = np.random.default_rng(rows).normal(size=(rows, 5)).astype(np.float32)
        np.testing.assert_array_equal(net.forward(data=data)["out"], 2 * data)
    assert old.shape == (4, 5)


def test_memory_is_given_back(net_of, stand_in):
    def mapped():
        """Count pieces on both sides, after a call in which they are given back."""
        caffe.set_random_seed(1)
        there, here = maps(stand_in.hello["pid"]), maps(os.getpid())
        assert there == here
        return there

    net = net_of("size 300000")
    net.blobs["data"].data[...] = 1
    assert mapped() == 0
    view = net.forward(data=np.ones((4, 300000)))["out"]
    assert mapped() == 1
    half = view[:2]
    del view
    assert mapped() == 1
    del half
    assert mapped() == 0
    kept = net.forward()["out"]
    net.blobs["data"].data[...] = 1
    del net  # at once, without another call
    assert maps(stand_in.hello["pid"]) == 1
    assert kept[0, 0] == 2  # what somebody holds stays
    del kept
    assert mapped() == 0


def test_many_arrays_take_few_descriptors(net_of):
    net = net_of("many")
    before = len(os.listdir("/dev/fd"))
    views = [blob.data for blob in net.blobs.values()]
    views += [blob.diff for blob in net.blobs.values()]
    assert len(views) > 3000
    assert len(os.listdir("/dev/fd")) - before <= 2
    for i, view in enumerate(views):
        view[...] = i
    net.forward()
    assert [view.flat[0] for view in views[3:1503]] == list(range(3, 1503))


def test_a_failed_check_is_an_error_and_the_next_net_works(net_of, tmp_path):
    with pytest.raises(link.CheckFailed) as e:
        net_of("abort-at-once")
    assert isinstance(e.value, ValueError)
    path = tmp_path / "net.prototxt"
    line = f"F1127 12:00:00.000001 1234 net.cpp:42] Check failed: {path} is bad"
    assert str(e.value) == f"{path}: Caffe ended: {line}"

    one, two = net_of("abort"), net_of()
    held = two.blobs["data"].data
    with pytest.raises(ValueError, match=r"net\.prototxt: Net\.forward: Caffe ended: F1127 .*1 vs"):
        one.forward()
    for net in (one, two):
        with pytest.raises(RuntimeError, match=r"has ended \(a check failed\); make nets"):
            net.forward()
    held[...] = 1  # still memory of this process
    assert net_of().forward(data=held)["out"][0, 0] == 2


def test_exceptions_keep_their_type(net_of, tmp_path):
    net = net_of()
    path = tmp_path / "weights.h5"
    path.write_text("")
    with pytest.raises(IndexError) as e:
        net.load_hdf5(path)
    assert str(e.value) == f"{net._source}: load_hdf5 {path}: {path} has no index"
    path.write_text("no number")
    with pytest.raises(ValueError, match=r"copy_from .*could not convert") as e:
        net.copy_from(path)
    assert "\n" not in str(e.value)
    assert net.forward(data=np.ones((4, 5)))["out"][0, 0] == 2


def test_what_caffe_logs_is_told(net_of, caplog):
    with caplog.at_level(logging.INFO, "lbpmap.caffe"):
        net_of("log")
        until(lambda: len(caplog.records) >= 3)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("INFO", "told"),
        ("WARNING", "warned"),
        ("ERROR", "wrong"),
    ]


def test_files_are_read_and_written(net_of, tmp_path):
    net = net_of()
    path = tmp_path / "weights.caffemodel"
    net.params["double"][0].data[...] = 3.5
    net.save(path)
    assert path.read_text() == "00003.500 "
    net.params["double"][0].data[...] = 0
    net.copy_from(path)
    assert net.params["double"][0].data[0] == 3.5
    with pytest.raises(ValueError, match="takes no write_diff"):
        net.save(path, write_diff=True)
    with pytest.raises(FileNotFoundError, match="no such file; expected a caffemodel"):
        net.copy_from(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="folder does not exist"):
        net.save(tmp_path / "none" / "there")
    with pytest.raises(OSError, match=r"save .*weights\.caffemodel: the disk is full"):
        net_of("unwell").save(path)
    assert path.read_text() == "00003.500 "
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.prototxt", "weights.caffemodel"]


@pytest.mark.parametrize("linking", [True, False])
def test_files_get_a_name_in_another_root(tmp_path, monkeypatch, linking):
    """By a link where /proc is there, else by a copy: as in a bare chroot."""
    if not linking:
        monkeypatch.setattr(os, "symlink", lambda *args: os.open("/none/there", os.O_RDONLY))
    there = worker.Worker(None, None, str(tmp_path / "folder"))
    with open(tmp_path / "file", "wb") as file:
        file.write(b"content")
    with open(tmp_path / "file", "rb") as file:
        file.read()  # wherever it stands
        with there._named("1/name.h5", file.fileno()) as path:
            assert Path(path).read_bytes() == b"content"
        assert not Path(path).exists()
    with open(tmp_path / "file", "wb") as file:
        with there._named("2/name", file.fileno(), writing=True) as path:
            Path(path).write_bytes(b"new")
        assert not Path(path).exists()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_hooks(net_of):
    net = net_of()
    seen = []
    net.before_forward(seen.append)
    # A hook may look and write, in the midst of the pass.
    net.before_forward(lambda layer: net.blobs["data_split"].data.fill(5) if layer == 2 else None)
    assert net.forward(data=np.ones((4, 5)))["out"][3, 4] == 10
    assert seen == [0, 1, 2]

    def fail(layer):
        raise LookupError("mine")

    net.before_forward(fail)
    with pytest.raises(LookupError, match="mine"):
        net.forward()
    assert net.blobs["data"].data[0, 0] == 5  # one memory with the split; the worker lives


def test_arrays_of_a_memory_data_layer_stay_the_users(net_of):
    net = net_of()
    data = np.full((4, 5, 1, 1), 2, np.float32)
    net.set_input_arrays(data, np.zeros(4, np.float32))
    assert net.forward()["out"][0, 0] == 4
    data[0] = 8
    assert net.forward()["out"][0, 0] == 16
    with pytest.raises(TypeError, match="data must be a float32 array, got float64"):
        net.set_input_arrays(np.zeros((4, 5, 1, 1)), np.zeros(4, np.float32))


def test_solvers(stand_in, text_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text_file("")
    (tmp_path / "out").mkdir()
    text = 'net: "net.prototxt" base_lr: 1 lr_policy: "fixed" max_iter: 5 snapshot: 2'
    path = text_file(text + ' snapshot_prefix: "out/snap"', "solver.prototxt")
    solver = caffe.SGDSolver(path)
    assert isinstance(solver, caffe.SGDSolver)
    scale = solver.net.params["double"][0].data
    scale[...] = 10
    events = []
    solver.add_callback(
        lambda: events.append(("start", scale[0])), lambda: events.append(solver.iter)
    )
    solver.step(3)
    assert scale[0] == 7
    assert events == [("start", 10), 0, ("start", 9), 1, ("start", 8), 2]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "snap_iter_2.caffemodel",
        "snap_iter_2.solverstate",
    ]
    assert (tmp_path / "out" / "snap_iter_2.caffemodel").read_text() == "00008.000 "
    solver.solve()
    assert (solver.iter, solver.lr, scale[0]) == (5, 1.0, 5)
    names = [p.name for p in (tmp_path / "out").iterdir()]
    assert {"snap_iter_4.solverstate", "snap_iter_5.solverstate"} <= set(names)

    again = caffe.get_solver(path)
    again.restore("out/snap_iter_4.solverstate")
    assert (again.iter, again.net.params["double"][0].data[0]) == (4, 6)
    (tmp_path / "out").rename(tmp_path / "moved")
    with pytest.raises(ValueError, match="there is no folder out"):
        caffe.get_solver(path)
    again.restore("moved/snap_iter_2.solverstate")  # its weights are found beside it
    assert again.iter == 2


def test_seeds_reach_caffe(stand_in):
    caffe.set_random_seed(5)
    with pytest.raises(AttributeError, match=r"caffe\.set_mode_gpu: .*set_mode_gpu"):
        caffe.set_mode_gpu()  # which the stand-in has not
