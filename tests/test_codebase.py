"""What must hold of the files themselves. Only a checkout has all of them."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lbpmap

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.checkout,
    pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="not a checkout"),
]

SOURCES = sorted(
    path
    for folder in ("lbpmap", "csrc", "tests", "benchmarks", ".ci", "caffe_models")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".pyx", ".pyi", ".c", ".h", ".toml", ".md", ".prototxt", ""}
    and path.is_file()
    and path.name != "_kernels.c"
)


def test_versions_agree():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## \[(Unreleased|[0-9.]+)\]", changelog, re.M)
    assert newest is not None
    assert newest.group(1) in ("Unreleased", lbpmap.__version__)
    stated = [
        path.name
        for path in (ROOT / "lbpmap").glob("*.py")  # lbpmap.caffe states the Caffe it stands for
        if re.search(r"^__version__ = \"", path.read_text(), re.M)
    ]
    assert stated == ["_version.py"]


def test_ci_runs_the_readmes_commands():
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"<!-- (demo|test) -->\n```sh\n(.+)\n```\n<!-- end -->", readme)
    assert [name for name, _ in commands] == ["demo", "test"]
    assert "pytest" in dict(commands)["test"]
    assert "<!-- test -->" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_sources_are_tidy(path):
    text = path.read_text()
    assert text.endswith("\n") or not text
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text.replace("(TODO|FIXME|XXX)", ""))
    if path.suffix in {".py", ".pyx", ".c", ".h"} and "tests" not in path.parts:
        assert len(text.splitlines()) <= 500


def test_the_core_compiles_without_warnings_as_c99(tmp_path):
    compiler = "cc"
    for source in sorted((ROOT / "csrc").glob("*.c")):
        done = subprocess.run(
            [
                compiler,
                "-std=c99",
                "-Wall",
                "-Wextra",
                "-Wpedantic",
                "-Wconversion",
                "-Werror",
                "-c",
            ]
            + [str(source), "-o", str(tmp_path / "object.o")],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def test_doctests():
    without = [] if importlib.util.find_spec("torch") else ["--ignore-glob=*torch*.py"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--doctest-modules",
            *without,
            "lbpmap",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
