"""What must hold of the files themselves. Only a checkout has all of them."""

from __future__ import annotations

import ast
import re
import subprocess
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


# What each room may import, beside the modules that begin with an underscore: data flow one way.
ROOMS = {
    "tables": set(),
    "resize": set(),
    "video": set(),
    "pictures": set(),
    "representations": {"tables"},
    "_": {"representations", "resize"},
    "blobs": {"representations"},
    "transform": {"blobs", "representations", "tables"},
    "embedding": {"tables"},
    "table_report": {"embedding", "tables"},
    "estimators": {"representations", "tables", "transform"},
    "torch": {"representations"},
    "caffe": {"pictures", "resize"},
    "faces": {"caffe"},
    "models": {"caffe"},
    "emotion": {"caffe", "models", "pictures", "representations", "transform"},
    "predict": {"emotion", "faces", "pictures", "representations", "transform", "video"},
    "speed": {"pictures", "transform"},
}
# These parse and print, and may ask anybody; nobody asks them.
ABOVE = {"cli", "__main__"}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).replace(".__init__", ""): path
    for path in sorted((ROOT / "lbpmap").rglob("*.py"))
}


def imports(module, *, late):
    """Give the package's modules that one imports; `late`: also within functions."""

    def nodes(body):
        for node in body:
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                continue
            yield node
            if late or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield from nodes(ast.iter_child_nodes(node))

    for node in nodes([ast.parse(MODULES[module].read_text())]):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            named = [name if name in MODULES else str(node.module) for name in named]
        else:
            continue
        yield from (name for name in named if name in MODULES and name not in ("lbpmap", module))


def room(module):
    name = module.split(".")[1]
    return "_" if name.startswith("_") and name not in ABOVE else name


@pytest.mark.parametrize("module", [name for name in MODULES if name != "lbpmap"])
def test_imports_go_one_way(module):
    asked = {room(name) for name in imports(module, late=True)}
    if room(module) in ABOVE:
        return
    assert asked <= ROOMS[room(module)] | {room(module), "_"}


def test_no_two_files_import_each_other():
    asks = {module: set(imports(module, late=False)) for module in MODULES}
    assert not {(a, b) for a in asks for b in asks[a] if a < b and a in asks[b]}


def test_the_core_compiles_without_warnings_as_c99():
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
    sources = map(str, sorted((ROOT / "csrc").glob("*.c")))
    done = subprocess.run(
        ["cc", "-std=c99", *warnings, "-fsyntax-only", *sources], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
