"""The command, as someone at a shell sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import lbpmap
from lbpmap import pictures
from lbpmap.cli import _COMMANDS, main

RNG = np.random.default_rng(3)


def photo(path, shape=(30, 26, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, shape, np.uint8)
    pictures.write_png(path, pixels)
    return pixels


def written(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_map_keeps_the_layout_of_folders(tmp_path):
    first = photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "in" / "sub" / "b.png")
    out = tmp_path / "out"
    assert (
        main(["map", str(tmp_path / "in"), "-o", str(out), "-r", "lbp", "-r", "cyclic_lbp_5"]) == 0
    )
    assert written(out) == [
        "a_cyclic_lbp_5.png",
        "a_lbp.png",
        "sub/b_cyclic_lbp_5.png",
        "sub/b_lbp.png",
    ]
    got = pictures.read(out / "a_cyclic_lbp_5.png")
    np.testing.assert_array_equal(got, lbpmap.mapped_lbp(first, "cyclic_lbp_5"))


def test_map_with_a_table_of_ones_own_and_its_own_row_255(tmp_path):
    pixels = photo(tmp_path / "a.png")
    table = lbpmap.Table(RNG.integers(0, 256, (256, 3), np.uint8), "mine", radius=3)
    table.save(tmp_path / "my.table")
    face, out = str(tmp_path / "a.png"), str(tmp_path / "out")
    assert main(["map", face, "-o", out, "-r", str(tmp_path / "my.table")]) == 0
    got = pictures.read(tmp_path / "out" / "a_mine.png")
    np.testing.assert_array_equal(got, lbpmap.mapped_lbp(pixels, table))
    assert main(["map", face, "-o", out, "--code-255", "own"]) == 0
    got = pictures.read(tmp_path / "out" / "a_cyclic_lbp.png")
    np.testing.assert_array_equal(got, lbpmap.mapped_lbp(pixels, code_255="own"))


def test_one_bad_file_among_a_thousand(tmp_path, capsys):
    """It is named, the rest is done, and the exit code says so."""
    folder = tmp_path / "in"
    pixels = photo(folder / "000.png", (12, 12, 3))
    data = (folder / "000.png").read_bytes()
    for i in range(1, 996):
        (folder / f"{i:03}.png").write_bytes(data)
    (folder / "not.png").write_text("not a picture")
    (folder / "cut.png").write_bytes(data[:100])
    (folder / "empty.jpg").touch()
    frames = [Image.new("L", (12, 12), level) for level in (0, 255)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    photo(folder / "tiny.png", (2, 2, 3))
    assert main(["map", str(folder), "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 6
    for name, what in {
        "not.png": "not a picture",
        "cut.png": "damaged or cut short",
        "empty.jpg": "not a picture",
        "moving.gif": "several frames",
        "tiny.png": "at least 3 x 3",
    }.items():
        assert sum(f"{folder / name}: " in line and what in line for line in said) == 1, (
            name,
            said,
        )
    assert said[-1] == "5 of 1001 failed"
    done = written(tmp_path / "out")
    assert len(done) == 996
    got = pictures.read(tmp_path / "out" / "995_cyclic_lbp.png")
    np.testing.assert_array_equal(got, lbpmap.mapped_lbp(pixels))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.png", "-o", "out"], "nothing.png: no such file or folder"),
        (["empty", "-o", "out"], "empty: a folder without pictures"),
        (["a.png", "-o", "out", "-r", "lpb"], "no representation 'lpb': expected one of rgb, lbp"),
        (["a.png", "b/a.png", "-o", "out"], "rename one, or map them into different folders"),
        (["a.png", "a.jpg", "-o", "out"], "would be written to"),
        (["b", "-o", "b"], "is an input and an output"),
        (["a.png", "-o", "out", "-r", "same.table", "-r", "lbp"], "two tables are named 'lbp'"),
        (["a.png", "-o", "a.png"], "a.png: "),
        (["a.png", "-o", "a.png/sub"], "a.png/sub: "),
        (["a.png", "-o", "out", "-r", "empty"], "empty: a folder; expected a table"),
    ],
)
def test_map_refuses_before_it_writes(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    photo(tmp_path / "a.png")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.png").read_bytes())
    photo(tmp_path / "b" / "a.png")
    photo(tmp_path / "b" / "a_cyclic_lbp.png")
    values = RNG.integers(0, 256, (256, 3), np.uint8)
    lbpmap.Table(values, "lbp").save(tmp_path / "same.table")
    before = written(tmp_path)
    assert main(["map", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert "Errno" not in said
    assert written(tmp_path) == before


def test_the_same_input_twice_is_one(tmp_path):
    photo(tmp_path / "a.png")
    face = str(tmp_path / "a.png")
    assert main(["map", face, face, "-o", str(tmp_path / "out")]) == 0
    assert written(tmp_path / "out") == ["a_cyclic_lbp.png"]


def test_an_output_that_cannot_be_written_is_named(tmp_path, capsys):
    photo(tmp_path / "a.png")
    (tmp_path / "out" / "a_cyclic_lbp.png").mkdir(parents=True)
    assert main(["map", str(tmp_path / "a.png"), "-o", str(tmp_path / "out")]) == 1
    assert "a_cyclic_lbp.png: a folder" in capsys.readouterr().err
    assert written(tmp_path / "out") == []


def test_verbose_adds_the_traceback(tmp_path, capsys):
    assert main(["map", str(tmp_path / "no.png"), "-o", str(tmp_path), "-v"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.strip().splitlines()[-1].startswith("lbpmap map: ")


def test_info_says_what_is_here(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LBPMAP_MODELS", str(tmp_path))
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert "VGG_S_cyclic_lbp_10" in text
    assert "serial" in text
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["version"] == lbpmap.__version__
    assert facts["models"][0] == str(tmp_path)
    assert set(facts["nets"]) >= {"VGG_S_rgb", "VGG_S_lbp"}
    monkeypatch.setenv("LBPMAP_MODELS", str(tmp_path / "gone"))
    assert main(["info"]) == 2
    assert "gone: no such folder (LBPMAP_MODELS)" in capsys.readouterr().err


def test_demo_draws_the_sheet(tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert main(["demo", "--no-net", "-o", str(out)]) == 0
    sheet = pictures.read(out)
    assert sheet.shape == (734, 920, 3)
    face = pictures.read(tmp_path / "sheet.png")[14:334:2, 14:302:2]
    whole = pictures.read(os.path.join(os.path.dirname(lbpmap.__file__), "astronaut.png"))
    np.testing.assert_array_equal(face, whole[40:200, 54:198])
    assert "map to cyclic_lbp_10" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], *([name] for name in _COMMANDS)])
def test_help_of_every_command(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "examples:" in said if command else "COMMAND" in said


def test_wrong_usage_is_exit_code_two(capsys):
    wrong = [[], ["mop"], ["map"], ["map", "a.png"], ["info", "--what"]]
    wrong += [["map", "", "-o", "out"], ["map", "a.png", "-o", ""], ["predict", ""]]
    wrong += [["map", "a.png", "-o", "out", "--threads", "0"], ["demo", "-o", "sheet.jpg"]]
    for arguments in wrong:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert "usage: lbpmap" in capsys.readouterr().err


def test_a_folder_of_links_in_a_circle_goes_on(tmp_path, capsys):
    photo(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "self.png").symlink_to(tmp_path / "in" / "self.png")
    assert main(["map", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 1
    assert "self.png: " in capsys.readouterr().err
    assert written(tmp_path / "out") == ["a_cyclic_lbp.png"]


def run(arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "lbpmap", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_an_unknown_instruction_set_is_one_line(tmp_path):
    photo(tmp_path / "a.png")
    for arguments in (["info"], ["map", str(tmp_path / "a.png"), "-o", str(tmp_path / "out")]):
        done = run(arguments, LBPMAP_ISA="mmx")
        assert done.returncode != 0
        assert "LBPMAP_ISA: no instruction set 'mmx' here; available: serial" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX signals")
def test_an_end_by_signal_removes_what_is_half_written(tmp_path):
    """A demo that is ended while it writes 498 MB leaves no temporary file."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "lbpmap", "demo", "-o", str(tmp_path / "sheet.png")]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("lbpmap-demo-*/.*.part")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert written(tmp_path) == ["sheet.png"]


def test_a_full_output_ends_the_run_in_one_line(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lbpmap", "table", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr


def test_as_a_module_into_a_closed_pipe(tmp_path):
    command = f'"{sys.executable}" -m lbpmap info --json | head -1'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_inputs_stand_on_both_sides_of_options(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "c.png", "-d.png"):
        photo(tmp_path / name)
    assert main(["map", "a.png", "-o", "out", "b.png", "-r", "lbp", "c.png"]) == 0
    assert written(tmp_path / "out") == ["a_lbp.png", "b_lbp.png", "c_lbp.png"]
    assert main(["map", "-o", "more", "--", "-d.png"]) == 0
    assert written(tmp_path / "more") == ["-d_cyclic_lbp.png"]
    with pytest.raises(SystemExit, match="2"):
        main(["map", "-o", "out"])
    assert "the following arguments are required: INPUT" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["map", "a.png", "-o", "out", "--no-such", "b.png"])
    assert "unrecognized arguments: --no-such" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["predict", "face.png"], ["demo", "--no-net"]])
def test_an_engine_that_is_not_there_is_one_line(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LBPMAP_CAFFE_PYTHON", "nonesuch-python")
    monkeypatch.chdir(tmp_path)
    face = np.zeros((40, 40, 3), np.uint8)
    pictures.write_png(tmp_path / "face.png", face)
    assert main([*command, "--engine", "real"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f'lbpmap {command[0]}: engine "real": no Caffe with a Net can be ')


def test_info_says_which_engines_are_here(monkeypatch, capsys):
    monkeypatch.setenv("LBPMAP_CAFFE_PYTHON", "nonesuch-python")
    assert main(["info", "--json"]) == 0
    engines = json.loads(capsys.readouterr().out)["engines"]
    assert engines["numpy"] == f"NumPy {np.__version__}"
    assert engines["real"].startswith("not here: no Caffe with a Net can be imported by")
