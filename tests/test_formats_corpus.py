"""What long runs of `fuzz/fuzz_formats.py` kept, replayed; and that it sees what is wrong."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from lbpmap.caffe.formats import wire

FUZZ = Path(__file__).parent / "fuzz"
SCRIPT = FUZZ / "fuzz_formats.py"

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is watched through /proc"
)


def run(*arguments):
    """Run the script, or Python with it at hand, where a crash ends another process."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_every_file_of_the_corpus():
    done = run(SCRIPT, "--replay")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.startswith(f"{len(lines())} files, ")


def lines():
    """Give target and packed file of every line that can be read here."""
    found = [json.loads(line) for line in (FUZZ / "formats.jsonl").read_text().splitlines()]
    if importlib.util.find_spec("h5py"):
        return found
    return [(name, packed) for name, packed in found if not name.startswith("hdf5")]


def test_the_corpus_is_sorted_and_small():
    text = (FUZZ / "formats.jsonl").read_text(encoding="ascii")
    assert text.splitlines() == sorted(set(text.splitlines()))
    assert len(text) < 600_000


WRONG = """
import json, os, socket, subprocess, sys, tempfile, warnings
from dataclasses import replace
from pathlib import Path
sys.path[:0] = [{folder!r}]
import attempts as fuzz
sys.addaudithook(fuzz.hook)
import numpy as np

def fails(error):
    def read(path):
        raise error(path)
    return read

def imports(path):
    import colorsys

def imports_and_hides_it(path):
    try:
        import colorsys
    except PermissionError:
        raise ValueError(f"{{path}}: no") from None

def keeps(path):
    kept.append(np.ones(2**22))
    return 0

kept = []
readers = {{
    "good": lambda path: 3,
    "refused": fails(lambda path: ValueError(f"{{path}}: byte 3: no number")),
    "another exception": fails(lambda path: KeyError(str(path))),
    "no file": fails(lambda path: ValueError("byte 3")),
    "two lines": fails(lambda path: ValueError(f"{{path}}:\\nno")),
    "control": fails(lambda path: OSError(f"{{path}}: \\x1b[2J")),
    "long": fails(lambda path: ValueError(f"{{path}}: {{'x' * 5000}}")),
    "memory": lambda path: np.empty(2**22, np.uint8).size * 0,
    "resident": keeps,
    "import": imports,
    "hidden import": imports_and_hides_it,
    "write": lambda path: open(path, "ab"),
    "low write": lambda path: os.open(path, os.O_RDWR),
    "process": lambda path: subprocess.run(["true"]),
    "system": lambda path: os.system("true"),
    "socket": lambda path: socket.socket(),
    "code": lambda path: eval("1 + 1"),
    "remove": lambda path: os.remove(path),
}}
with tempfile.TemporaryDirectory() as folder:
    attempt = fuzz.Attempt("table", Path(folder))
    fuzz.warm_up(attempt)
    said = {{}}
    for name, read in readers.items():
        attempt.target = replace(attempt.target, read=read)
        said[name] = attempt(b"file", traced=name != "resident")[1]
    print(json.dumps(said))
"""


def test_what_is_wrong_is_seen():
    done = run("-c", WRONG.format(folder=str(FUZZ)))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.pop("good") == said.pop("refused") == ""
    begins = {
        "another exception": "KeyError",
        "no file": "names no file",
        "two lines": "not one printable line",
        "control": "not one printable line",
        "long": "an error of ",
        "memory": "4194",
        "resident": "33",
        "import": "does import ('colorsys'",
        "hidden import": "does import ('colorsys'",
        "write": "does open",
        "low write": "does open",
        "process": "does subprocess.Popen",
        "system": "does os.system",
        "socket": "does socket.",
        "code": "does compile",
        "remove": "does os.remove",
    }
    assert {name: text[: len(begins[name])] for name, text in said.items()} == begins


def test_a_python_layer_that_would_run_is_seen():
    script = f"""
import sys, tempfile
from pathlib import Path
sys.path[:0] = [{str(FUZZ)!r}]
import attempts as fuzz
import format_targets
fuzz.quiet_python_layers()
with tempfile.TemporaryDirectory() as folder:
    attempt = fuzz.Attempt("text", Path(folder))
    text = 'layer {{ name: "x" type: "Python" top: "y" python_param {{ module: "os" }} }}'.encode()
    print(attempt(text)[1] == "")
    format_targets.graph.python_layers = lambda net: []
    print(attempt(text)[1])
"""
    done = run("-c", script)
    assert done.stdout.splitlines() == ["True", "AssertionError: a Python layer would run"]


@pytest.mark.parametrize("target", ["blob", "text"])
def test_a_campaign_without_atheris(tmp_path, target):
    """It is reproducible, adds up over calls, and keeps files of outcomes."""
    script = f"""
import runpy, sys
sys.modules["atheris"] = None
sys.path[:0] = [{str(FUZZ)!r}]
sys.argv = ["fuzz", {target!r}, "--runs", "150", "--seed", "5", "--folder", sys.argv[1], "--worker"]
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""
    states = []
    for folder in ("a", "b", "a"):
        done = run("-c", script, tmp_path / folder)
        assert done.returncode == 0, done.stderr
        states.append(json.loads((tmp_path / folder / f"{target}.json").read_text()))
    first, again, more = states
    assert first["kept"] == again["kept"]
    assert first["executions"] == 150
    assert more["executions"] == 300
    assert len(first["kept"]) > 5
    assert set(first["kept"]) <= set(more["kept"])
    assert not more["findings"]


@pytest.fixture
def mutations(monkeypatch):
    monkeypatch.syspath_prepend(str(FUZZ))
    return pytest.importorskip("mutations")


def test_changed_messages_mostly_stay_messages(mutations):
    raw = b"\x0a\x02ab" + b"\x12\x06\x08\x07\x12\x02cd" + b"\x1d\x00\x00\x80\x3f\x20\x05"
    rng, good, changed = Random(1), 0, set()
    for _ in range(500):
        out = mutations.binary(raw, rng)
        changed.add(out)
        try:
            good += len(list(wire.fields(out, 0, len(out)))) >= 0
        except wire.WireError:
            continue
    assert good > 250
    assert good < 500
    assert len(changed) > 200


def test_changed_texts_keep_their_tokens(mutations):
    raw = b'layer { name: "conv" kernel_size: 3 } # a \xff comment'
    rng = Random(1)
    changed = {mutations.text(raw, rng) for _ in range(500)}
    assert len(changed) > 400
    assert sum(b"layer" in out for out in changed) > 250
    assert any(b"\xff" in out for out in changed)
    assert any(str(2**31).encode() in out for out in changed)
    assert isinstance(mutations.text(b"", rng), bytes)
    assert isinstance(mutations.numbers(b"", rng), bytes)
    assert isinstance(mutations.binary(b"", rng), bytes)
