"""``lbpmap table``, and the sheet that it draws."""

from __future__ import annotations

import numpy as np
import pytest

import lbpmap
from lbpmap import Table, _mds, load_table, pictures
from lbpmap import embedding as embedding_module
from lbpmap.cli import main
from lbpmap.cli import table as command
from lbpmap.table_report import draw, known_kind, rotation_classes


def files(folder):
    return sorted(p.name for p in folder.iterdir())


def own_table(points, name="mine"):
    rng = np.random.default_rng(points)
    return Table(rng.integers(0, 256, (2**points, 3), np.uint8), name, points=points)


def test_list_names_tables_and_what_they_are_for(tmp_path, capsys):
    own_table(5).save(tmp_path / "my.table")
    assert main(["table", "list", str(tmp_path / "my.table")]) == 0
    said = capsys.readouterr().out
    assert "cyclic_lbp: 8 points, radius 1, arithmetic released, sha256 142dfd88edff0d99" in said
    assert "my.table: 5 points" in said
    assert "cyclic_lbp_10 (cyclic_lbp)" in said
    assert main(["table", "list", str(tmp_path / "no.table")]) == 2
    assert "no such file; expected a table" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["lbp", "cyclic_lbp"])
def test_show_draws_every_code_by_number_and_by_class(tmp_path, name):
    out = tmp_path / "table.png"
    assert main(["table", "show", name, "-o", str(out)]) == 0
    assert files(tmp_path) == ["table.png"]
    sheet, values = pictures.read(out), load_table(name).values
    assert sheet.shape == (1432, 1400, 3)
    by_code = sheet[154 + 14 : 154 + 448 : 28, 74 + 14 : 74 + 448 : 28]
    np.testing.assert_array_equal(by_code.reshape(256, 3), values)
    right = {tuple(pixel) for pixel in sheet[150:620, 560:].reshape(-1, 3).tolist()}
    assert right >= {tuple(row) for row in values.tolist()}


def test_the_shepard_diagram_needs_a_distance(tmp_path):
    own_table(4).save(tmp_path / "my.table")
    shown = {}
    for options in ([], ["--kind", "hamming"]):
        out = tmp_path / f"{len(options)}.png"
        assert main(["table", "show", str(tmp_path / "my.table"), "-o", str(out), *options]) == 0
        shown[len(options)] = pictures.read(out)
    assert shown[2].shape[0] > shown[0].shape[0] + 260
    np.testing.assert_array_equal(shown[0][:900], shown[2][:900])


@pytest.mark.parametrize("points", [1, 2, 3, 7, 10, 13])
def test_tables_of_any_points_are_drawn(points):
    sheet = draw(own_table(points, "hamming_p" if points < 10 else "mine"))
    assert sheet.shape[1] == 1400
    assert sheet.shape[0] == (1432 if points < 10 else 1056)


def test_the_distance_is_told_by_the_name():
    named = {"cyclic_lbp": "cyclic_lbp", "lbp_p10_2": "lbp", "lbpx": None, "mine": None}
    for name, kind in named.items():
        assert known_kind(own_table(3, name)) == kind
    assert known_kind(own_table(13, "lbp")) is None
    with pytest.raises(ValueError, match="points must be an integer from 1 to 12, got 13"):
        draw(own_table(13), "lbp")


@pytest.mark.parametrize("points", [1, 5, 8, 10])
def test_classes_have_every_code_once(points):
    uniform, others = rotation_classes(points)
    assert sorted(code for row in uniform + others for code in row) == list(range(2**points))
    assert [len(row) for row in uniform] == [1, *[points] * (points - 1), 1]
    for row in uniform + others:
        bits = [f"{code:0{points}b}" for code in row]
        assert all(a in 2 * bits[0] for a in bits)
    if points == 8:
        assert (len(uniform) + len(others), sum(map(len, uniform))) == (36, 58)


def test_a_made_table_maps_pictures(tmp_path, capsys):
    made, face, out = tmp_path / "my.table", tmp_path / "a.png", tmp_path / "out"
    arguments = ["table", "make", "circular_emd", "--points", "6", "--radius", "2"]
    assert main([*arguments, "--arithmetic", "exact", "--name", "mine", "-o", str(made)]) == 0
    said = capsys.readouterr()
    table = load_table(made)
    assert table.sha256[:16] in said.out
    assert "stress" in said.out
    assert said.err == ""
    assert (table.points, table.radius, table.arithmetic) == (6, 2, "exact")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 22, 3), np.uint8)
    pictures.write_png(face, pixels)
    assert main(["map", str(face), "-o", str(out), "-r", str(made)]) == 0
    codes = lbpmap.lbp_codes(pixels, 2, points=6)
    np.testing.assert_array_equal(pictures.read(out / "a_mine.png"), table.values[codes])


def test_make_takes_the_options_of_embedding(tmp_path):
    made = tmp_path / "my.table"
    options = ["--criterion", "metric", "--init", "random", "--seed", "3", "--iterations", "9"]
    assert main(["table", "make", "hamming", "--points", "4", "-o", str(made), *options]) == 0
    want = lbpmap.embed_codes(
        "hamming", points=4, criterion="metric", init="random", seed=3, max_iterations=9
    )
    np.testing.assert_array_equal(load_table(made).values, want.values)
    assert load_table(made).provenance == want.provenance


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["show", "lpb", "-o", "a.png"],
            "lpb: no such file; expected a table (lbp, cyclic_lbp,",
        ),
        (["show", "bad.table", "-o", "a.png"], "bad.table: not a table"),
        (["show", "lbp", "-o", "no/a.png"], "no/a.png: its folder does not exist"),
        (["show", "lbp", "-o", "folder.png"], "folder.png: a folder; expected the name of a file"),
        (["make", "lbp", "-o", "no/a.table"], "no/a.table: its folder does not exist"),
        (["make", "lbp", "-o", "a.table", "--points", "13"], "from 1 to 12, got 13"),
        (["make", "lbp", "-o", "a.table", "--points", "1"], "from 2 to 12, got 1"),
        (["make", "lbp", "-o", "a.table", "--radius", "0"], "radius must be at least 1"),
        (["make", "lbp", "-o", "a.table", "--iterations", "-1"], "at least 0, got -1"),
    ],
)
def test_bad_input_leaves_nothing(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "bad.table").write_text("code,dim1\n")
    assert main(["table", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("lbpmap table: ")
    assert said.count("\n") == 1
    assert message in said
    assert files(tmp_path) == ["bad.table", "folder.png"]
    assert files(tmp_path / "folder.png") == []


def test_an_interrupted_table_leaves_the_old_one(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    made = tmp_path / "my.table"
    own_table(4).save(made)
    before = made.read_bytes()
    monkeypatch.setattr(_mds, "fminbound", interrupted)
    assert main(["table", "make", "lbp", "--points", "4", "-o", str(made)]) == 130
    assert capsys.readouterr().err == "lbpmap: interrupted\n"
    assert made.read_bytes() == before
    assert files(tmp_path) == ["my.table"]


def test_verbose_stands_before_or_behind_the_action(capsys):
    for arguments in (["-v", "list", "no.table"], ["list", "no.table", "-v"]):
        assert main(["table", *arguments]) == 2
        assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("action", [[], ["list"], ["show"], ["make"]])
def test_help_teaches_by_examples(action, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["table", *action, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "lbpmap table make cyclic_lbp -o my.table" in said


def test_usage_is_exit_code_two(capsys):
    for arguments in ([], ["draw"], ["show", "lbp"], ["make", "emd", "-o", "a.table"]):
        with pytest.raises(SystemExit) as ended:
            main(["table", *arguments])
        assert ended.value.code == 2
        assert "usage: lbpmap table" in capsys.readouterr().err


def test_choices_are_those_of_the_library():
    assert command._KINDS == embedding_module.KINDS
    assert command._CRITERIA == embedding_module.CRITERIA
