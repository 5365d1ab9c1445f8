"""Commands that are killed while they write, and done again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile

import pytest

from .conftest import Answer, sha256, tree

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")

# Writes to the disk are slow in it, so that there is a middle to be killed in.
SLOW = """
import sys, time
from lbpmap.cli import main
from lbpmap.models import placing
placing._BLOCK = 1 << 14
write_all = placing.write_all
def slowly(file, block):
    write_all(file, block)
    time.sleep(0.05)
placing.write_all = slowly
sys.exit(main(sys.argv[1:]))
"""


def start(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, "models", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def end(process, number):
    process.send_signal(number)
    said = process.communicate(timeout=30)[1]
    return process.returncode, said


def has(path, size):
    return lambda: path.is_file() and path.stat().st_size >= size


@pytest.fixture
def packed(files, tmp_path):
    path = tmp_path / "one.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, raw in files.items():
            file.writestr(name, raw)
    return path


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_import_that_is_ended_leaves_no_half_file(run, root, files, packed, number):
    process = start(SLOW, "import", packed)
    wait_until(has(root / ".incoming" / "one" / "tiny.caffemodel", 30_000))
    code, _ = end(process, number)
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    assert not (root / "one").exists()
    assert (root / ".incoming").exists() == (number == signal.SIGKILL)
    assert run("import", packed)[0] == 0
    assert not (root / ".incoming").exists()
    assert (root / "one" / "tiny.caffemodel").read_bytes() == files["tiny.caffemodel"]
    assert run("verify")[0] == 0


def test_one_that_waits_for_another_goes_on_when_that_is_killed(root, files, packed):
    # It is still there when the second one has started, however busy the machine is.
    first = start(SLOW.replace("sleep(0.05)", "sleep(3)"), "import", packed)
    wait_until(has(root / ".incoming" / "one" / "tiny.caffemodel", 16_000))
    second = start(SLOW, "import", packed)
    assert "another lbpmap is writing there; waiting for it" in second.stderr.readline()
    end(first, signal.SIGKILL)
    assert second.wait(30) == 0
    second.stderr.close()
    assert sha256((root / "one" / "tiny.caffemodel").read_bytes()) == sha256(
        files["tiny.caffemodel"]
    )


def test_a_fetch_that_is_killed_goes_on_from_there(run, root, site, files, tmp_path):
    part = tmp_path / "cache" / "downloads" / "one" / "tiny.caffemodel.part"
    site.always = Answer(pace=0.05)
    process = start(SLOW, "fetch", "one")
    wait_until(has(part, 30_000))
    end(process, signal.SIGKILL)
    assert tree(root) == []
    there = part.stat().st_size
    assert part.read_bytes() == files["tiny.caffemodel"][:there]
    site.always = Answer()
    assert run("fetch", "one")[0] == 0
    assert f"bytes={there}-" in [asked.range for asked in site.asked]
    assert (root / "one" / "tiny.caffemodel").read_bytes() == files["tiny.caffemodel"]
    assert run("verify")[0] == 0


def test_two_commands_at_once_download_once(root, site, files):
    site.always = Answer(pace=0.02)
    both = [start(SLOW, "fetch", "one") for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in both] == [None, None]
    assert [process.returncode for process in both] == [0, 0]
    paths = [asked.path for asked in site.asked]
    assert len(paths) == len(set(paths)) == 3
    assert os.listdir(root / "one") == [name for name in os.listdir(root / "one") if name in files]
