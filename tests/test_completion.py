"""``lbpmap completion``, in the shells themselves."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lbpmap.cli import _COMMANDS, _parser, completion, inputs, main
from lbpmap.transform import build_info

pytest.importorskip("shtab")

NET = """
representation = "rgb"
labels = ["Glad", "Sad"]
[input]
size = 32
crop = 28
[files]
deploy = "deploy.prototxt"
weights = "w.caffemodel"
mean = "mean.binaryproto"
"""


@pytest.fixture
def script(tmp_path, monkeypatch, capsys):
    """Give a function that writes the script of a shell; a net of one's own is among those found.

    Another net's folder has a name that a shell would run.
    """
    for name in ("my_net", "$(touch run); touch run;'"):
        folder = tmp_path / "nets" / name
        folder.mkdir(parents=True)
        (folder / "model.toml").write_text(NET)
    monkeypatch.setenv("LBPMAP_MODELS", str(tmp_path / "nets"))

    def write(shell):
        assert main(["completion", shell]) == 0
        path = tmp_path / f"lbpmap.{shell}"
        path.write_text(capsys.readouterr().out)
        return path

    return write


def shell(name, text, *arguments, cwd=None):
    if shutil.which(name) is None:
        pytest.skip(f"no {name} here")
    quiet = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "tcsh": ["-f"]}[name]
    done = subprocess.run(
        [name, *quiet, "-c", text, *arguments], capture_output=True, text=True, cwd=cwd
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


# Calls what `complete` was given, as Tab does.
TAB = """
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
[[ $(complete -p lbpmap) =~ -F\\ ([^ ]+) ]]
"${BASH_REMATCH[1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def test_completing_in_bash(script, tmp_path):
    path = script("bash")
    assert shell("bash", 'bash -n "$1"', "bash", str(path)) == ""
    here = tmp_path / "here"
    (here / "faces").mkdir(parents=True)
    (here / "face.png").touch()
    (here / "my_folder").mkdir()
    (here / "lbp.table").touch()

    def tab(*words):
        said = shell("bash", TAB, "bash", str(path), "lbpmap", *words, cwd=here)
        return set(said.split())

    assert tab("") >= set(_COMMANDS)
    assert tab("e") == {name for name in _COMMANDS if name.startswith("e")}
    assert tab("table", "") == {"list", "show", "make"}
    assert tab("explain", "--m") == {"--models", "--method"}
    assert tab("explain", "fa") == {"faces", "face.png"}
    assert tab("explain", "face.png", "-o", "fa") == {"faces", "face.png"}
    assert tab("explain", "face.png", "--models", "fa") == {"faces"}
    assert tab("explain", "face.png", "--method", "") == {"occlusion", "gradcam"}
    assert tab("explain", "face.png", "--net", "my") == {"my_net", "my_folder"}
    assert tab("explain", "face.png", "--label", "") >= {"Glad", "Sad", "Surprise"}
    assert tab("explain", "face.png", "--net", "VGG_S_c") == {
        f"VGG_S_cyclic_lbp{radius}" for radius in ("", "_5", "_10")
    }
    assert "VGG_M_2048" in tab("finetune", "faces", "--from", "VGG")
    assert tab("evaluate", "my") == {"my_net", "my_folder"}
    assert tab("evaluate", "my_net", "fa") == {"faces", "face.png"}
    assert tab("map", "face.png", "-r", "lbp") == {"lbp", "lbp.table"}
    assert tab("table", "show", "lb") == {"lbp", "lbp.table"}
    assert tab("table", "make", "cy") == {"cyclic_lbp"}
    assert tab("bench", "--isa", "") == set(build_info()["available"])
    assert tab("completion", "") == set(completion.SHELLS)
    assert not any(tmp_path.rglob("run"))


def test_zsh_reads_its_script(script):
    path = script("zsh")
    assert shell("zsh", 'zsh -n "$1"', "zsh", str(path)) == ""
    text = 'autoload -Uz compinit; compinit -D -u; eval "$(cat "$1")"; echo $_comps[lbpmap]'
    assert shell("zsh", text, "zsh", str(path)).strip() == "_shtab_lbpmap"
    assert "_lbpmap_dir_or_nets() { _alternative 'nets:nets:(VGG_S_cyclic_lbp " in path.read_text()


def test_tcsh_reads_its_script(script):
    path = script("tcsh")
    rules = shell("tcsh", f"source {path}; complete lbpmap")
    for rule in ("n/--models/d/", "n/--method/(occlusion gradcam)/", "n/map/f/", "n/evaluate/f/"):
        assert f"'{rule}'" in rules
    assert re.search(r"'n/--net/\([^)]*my_net[^)]*\)/'", rules)


@pytest.mark.parametrize("name", completion.SHELLS)
def test_no_name_of_a_folder_is_run(script, name):
    text = script(name).read_text()
    assert "touch" not in text
    assert "my_net" in text


def test_every_path_and_every_named_thing_is_completed():
    """An argument that a command gets later is completed, or this says that it is not."""
    words = {name: ["word"] for name in completion._NAMED}
    done = {
        (action.dest, bool(completion._completion(action, words, {"bash": "f"}, {"bash": "d"})))
        for action in completion.arguments(_parser())
        if action.type in (Path, inputs.some_path, inputs.png_path)
        or action.dest in completion._DESTINATIONS
    }
    assert {completed for _, completed in done} == {True}, done
    assert {dest for dest, _ in done} >= set(completion._DESTINATIONS)


def test_without_shtab_it_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    said = capsys.readouterr().err
    assert said == 'lbpmap completion: completion needs shtab: pip install "lbpmap[completion]"\n'
