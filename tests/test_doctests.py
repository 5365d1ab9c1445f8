"""The examples of the docstrings, run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.checkout,
    pytest.mark.skipif(not (ROOT / "lbpmap").is_dir(), reason="not a checkout"),
]


def run_doctests(*arguments):
    options = ["-q", "-p", "no:cacheprovider", "--doctest-modules"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_modules():
    run_doctests("--ignore-glob=*torch*.py", "lbpmap")


def test_modules_on_pytorch():
    pytest.importorskip("torch")
    run_doctests(*sorted((ROOT / "lbpmap").rglob("*torch*.py")))
