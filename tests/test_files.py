"""Files read only when they are files, and written whole or not at all."""

from __future__ import annotations

import errno
import os
from contextlib import nullcontext

import pytest

from lbpmap import _files
from lbpmap._files import atomic_path, atomic_write, read_bytes
from lbpmap.tables import load_table


def test_written_whole_with_the_usual_rights(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    other = tmp_path / "other"
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def half_way():
        with atomic_write(path) as file:
            file.write(b"ne")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        half_way()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_is_followed_not_replaced(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    with atomic_write(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    with atomic_path(link) as path:
        path.write_text("newer")
    assert link.is_symlink()
    assert target.read_text() == "newer"


def test_a_library_writes_by_name(tmp_path):
    path = tmp_path / "net.onnx"
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".onnx"
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()

    def half_way():
        with atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        half_way()
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["net.onnx"]


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_devices_are_neither_read_nor_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/zero"):
        with pytest.raises(OSError, match="a pipe or a device; expected a thing: copy it"):
            read_bytes(path, 100, "a thing")
        for write in (atomic_write, atomic_path):
            with pytest.raises(OSError, match="a pipe or a device"), write(path):
                pass
        with pytest.raises(OSError, match="a pipe or a device; expected a table"):
            load_table(path)
    assert os.listdir(tmp_path) == ["pipe"]


def test_what_cannot_be_read_or_written_says_so(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(101))
    assert read_bytes(path, 101, "a thing") == bytes(101)
    with pytest.raises(ValueError, match=r"101 bytes are too many for a thing \(at most 100\)"):
        read_bytes(path, 100, "a thing")
    with pytest.raises(FileNotFoundError, match="none: no such file; expected a thing"):
        read_bytes(tmp_path / "none", 100, "a thing")
    with pytest.raises(IsADirectoryError, match="a folder; expected a thing"):
        read_bytes(tmp_path, 100, "a thing")
    with pytest.raises(NotADirectoryError, match="a part of this path is no folder"):
        read_bytes(path / "under", 100, "a thing")
    missing = pytest.raises(FileNotFoundError, match="under: its folder does not exist")
    with missing, atomic_write(tmp_path / "none" / "under"):
        pass
    for name in (tmp_path, "", "."):
        folder = pytest.raises(IsADirectoryError, match="expected the name of a file to write")
        with folder, atomic_write(name):
            pass


@pytest.mark.parametrize(("number", "refused"), [(errno.ENOLCK, False), (errno.EIO, True)])
def test_without_locks_it_does_without(tmp_path, monkeypatch, number, refused):
    fcntl = pytest.importorskip("fcntl")

    def flock(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        open(tmp_path / "a", "w+b") as file,
        pytest.raises(OSError, match="Input/output") if refused else nullcontext(),
    ):
        _files.lock(file, "a")


def test_what_is_locked_is_open_for_writing(tmp_path, monkeypatch):
    """NFS takes an exclusive lock of nothing else."""
    from lbpmap.emotion import runs

    (tmp_path / "run.toml").touch()
    locked = []
    monkeypatch.setattr(runs, "lock", lambda file, path: locked.append(file.writable()))
    with runs.alone(tmp_path):
        assert locked == [True]
