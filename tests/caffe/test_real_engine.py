"""The engine "real" with a stand-in for Caffe: arrays, files, callbacks, and how things end."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path

import numpy as np
import pytest

from lbpmap import caffe

if os.name != "posix":
    pytest.skip("the engine needs Unix sockets", allow_module_level=True)

from lbpmap.caffe.real import link, worker

STAND_IN = Path(__file__).with_name("stand_in")


def close_worker():
    """End the worker that makes nets now."""
    while link._current:
        link._current.pop().close()


@pytest.fixture
def engine(monkeypatch):
    """Let nets be made by the stand-in."""
    monkeypatch.setenv("PYTHONPATH", str(STAND_IN))
    monkeypatch.setenv(link.VARIABLE, shlex.quote(sys.executable))
    close_worker()
    caffe.set_engine("real")
    yield link._current[0]
    caffe.set_engine("auto")
    close_worker()


@pytest.fixture
def net_of(engine, text_file):
    """Give a function that makes a net of a text of words."""
    return lambda words="": caffe.Net(text_file(words), caffe.TEST)


def maps(process):
    """Count the pieces of shared memory that a process maps."""
    try:
        text = Path(f"/proc/{process}/maps").read_text()
    except OSError:
        pytest.skip("no /proc to see maps in")
    return text.count("lbpmap-caffe")


def until(condition, seconds=10):
    """Wait for something that happens in another process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def runs(process):
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


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


def test_memory_is_given_back(net_of, engine):
    def mapped():
        """Count pieces on both sides, after a call in which they are given back."""
        caffe.set_random_seed(1)
        there, here = maps(engine.hello["pid"]), maps(os.getpid())
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
    assert maps(engine.hello["pid"]) == 1
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


def test_solvers(engine, text_file, tmp_path, monkeypatch):
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


def test_seeds_reach_caffe(engine):
    caffe.set_random_seed(5)
    with pytest.raises(AttributeError, match=r"caffe\.set_mode_gpu: .*set_mode_gpu"):
        caffe.set_mode_gpu()  # which the stand-in has not


def test_a_worker_that_is_killed(net_of, engine):
    net = net_of()
    os.kill(engine.hello["pid"], signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"Net\.forward: the process that ran Caffe has ended"):
        net.forward()
    until(lambda: not Path(engine.hello["folder"]).exists())
    assert net_of().forward(data=np.ones((4, 5)))["out"][0, 0] == 2


def test_an_interrupt_in_the_midst_of_a_call(net_of, engine):
    net = net_of("sleep")

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            net.forward()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not runs(engine.hello["pid"])
    with pytest.raises(RuntimeError, match="it was interrupted"):
        net.forward()
    assert net_of().forward(data=np.ones((4, 5)))["out"][0, 0] == 2


def test_another_process_cannot_use_a_net(net_of, engine, monkeypatch):
    net = net_of()
    monkeypatch.setattr(engine, "_owner", 0)
    with pytest.raises(RuntimeError, match="cannot be used in a forked process"):
        net.forward()


@pytest.mark.parametrize("how", ["killed in a call", "ended well"])
def test_no_worker_outlives_its_parent(net_of, engine, text_file, how):
    script = f"""
    import sys
    from lbpmap import caffe
    net = caffe.Net({str(text_file("sleep"))!r}, caffe.TEST, engine="real")
    about = net.handle.link.hello
    print(about["pid"], about["folder"], flush=True)
    if {how == "killed in a call"}:
        net.forward()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    path = os.pathsep.join([*filter(None, sys.path), str(STAND_IN)])
    env = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as parent:
        process, folder = parent.stdout.readline().split()
        if how == "killed in a call":
            assert runs(process) or not Path("/proc").is_dir()
            parent.kill()
    until(lambda: not runs(process) and not Path(folder).exists())


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("nonesuch-python", "No such file or directory"),
        ("false", "it ended without a word"),
        (f"{shlex.quote(sys.executable)} -S -c 'raise SystemExit(chr(33))' --", "!"),
    ],
)
def test_a_command_that_cannot_be_used(monkeypatch, command, why):
    monkeypatch.setenv(link.VARIABLE, command)
    with pytest.raises(RuntimeError, match="no Caffe with a Net can be imported by") as e:
        caffe.set_engine("real")
    assert why in str(e.value)
    assert "\n" not in str(e.value)


def test_an_empty_package_of_that_name_does_not_count(monkeypatch, tmp_path):
    (tmp_path / "caffe").mkdir()
    (tmp_path / "caffe" / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv(link.VARIABLE, raising=False)
    with pytest.raises(RuntimeError, match="has no Net: it is an empty package of that name"):
        caffe.set_engine("real")


def test_warnings_of_its_imports_do_not_matter(monkeypatch, tmp_path):
    source = (STAND_IN / "caffe.py").read_text()
    (tmp_path / "caffe.py").write_text(f"import warnings\nwarnings.warn('old')\n{source}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv(link.VARIABLE, shlex.quote(sys.executable))
    there = link.Link(link.command())
    assert there.hello["version"] == "0.stand-in"
    there.close()


def test_the_worker_runs_by_its_path_too(tmp_path):
    ours, theirs = socket.socketpair()
    command = [sys.executable, worker.__file__]
    env = {**os.environ, "PYTHONPATH": str(STAND_IN)}
    with ours, theirs, subprocess.Popen(command, stdin=theirs.fileno(), env=env) as process:
        theirs.close()
        hello, _ = worker.receive(ours)
        assert hello["layer_types"] == ["Double", "Input"]
        ours.close()
        assert process.wait(10) in (0, 128 + signal.SIGKILL)


def test_messages_that_are_none_are_refused():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker.send(ours, {"a": 1})
        assert worker.receive(theirs) == ({"a": 1}, [])
        ours.sendall(worker.HEADER.pack(10, 3))
        with pytest.raises(ValueError, match="3 file descriptors and 10 bytes announced, 0 came"):
            worker.receive(theirs)
        ours.sendall(worker.HEADER.pack(2**31, 0))
        with pytest.raises(ValueError, match="bytes announced"):
            worker.receive(theirs)
        ours.sendall(worker.HEADER.pack(10, 0) + b"half")
        ours.close()
        with pytest.raises(EOFError):
            worker.receive(theirs)


def test_load_image_is_mended_from_outside():
    def imread(name, as_gray=False):
        return name, as_gray

    skimage = types.SimpleNamespace(io=types.SimpleNamespace(imread=imread), img_as_float=4)
    real = types.SimpleNamespace(io=types.SimpleNamespace(skimage=skimage))
    worker.mend(real)
    assert real.io.skimage.io.imread("a.png", as_grey=True) == ("a.png", True)
    assert real.io.skimage.io.imread("a.png", as_gray=True) == ("a.png", True)
    assert real.io.skimage.img_as_float == 4
    assert skimage.io.imread is imread  # the installed package is as it was
    worker.mend(types.SimpleNamespace())
