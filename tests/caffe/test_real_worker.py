"""The process behind the engine "real", with a stand-in for Caffe: how it starts and ends."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest

from lbpmap import caffe

if os.name != "posix":
    pytest.skip("the engine needs Unix sockets", allow_module_level=True)

from lbpmap.caffe.real import link, worker

from .conftest import STAND_IN, until


def runs(process):
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_is_killed(net_of, stand_in):
    net = net_of()
    os.kill(stand_in.hello["pid"], signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"Net\.forward: the process that ran Caffe has ended"):
        net.forward()
    until(lambda: not Path(stand_in.hello["folder"]).exists())
    assert net_of().forward(data=np.ones((4, 5)))["out"][0, 0] == 2


def test_an_interrupt_in_the_midst_of_a_call(net_of, stand_in):
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
    assert not runs(stand_in.hello["pid"])
    with pytest.raises(RuntimeError, match="it was interrupted"):
        net.forward()
    assert net_of().forward(data=np.ones((4, 5)))["out"][0, 0] == 2


def test_another_process_cannot_use_a_net(net_of, stand_in, monkeypatch):
    net = net_of()
    monkeypatch.setattr(stand_in, "_owner", 0)
    with pytest.raises(RuntimeError, match="cannot be used in a forked process"):
        net.forward()


@pytest.mark.parametrize("how", ["killed in a call", "ended well"])
def test_no_worker_outlives_its_parent(net_of, stand_in, text_file, how):
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
