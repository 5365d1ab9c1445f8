"""What a run writes: tables that can be read back, and a journal from which it goes on."""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbpmap import pictures, tables
from lbpmap.cli import main
from lbpmap.predict import html, journal, outputs
from lbpmap.predict.records import Face, Record, Settings, from_json, to_json
from lbpmap.predict.tables import Shape

from .conftest import COMMAND, table

RNG = np.random.default_rng(8)
MADE_WITH = Settings(
    labels=("sad", "glad, or so"),
    nets=({"name": "one"}, {"name": "two"}),
    fusion={"method": "uniform", "weights": {"one": 0.5, "two": 0.5}},
    crops=1,
    faces={"detector": "none", "largest_only": False},
    every=0.5,
    version="1",
)


@pytest.fixture
def faces(tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    for i in range(40):
        pictures.write_png(folder / f"{i:02}.png", RNG.integers(0, 256, (40, 40, 3), np.uint8))
    (folder / "17.png").write_bytes(b"")
    return folder


@pytest.fixture
def nets(make_net):
    make_net("one", "lbp", seed=1)
    make_net("two", "rgb", seed=2)


numbers = st.floats(0, 1).map(lambda x: round(x, 7))
pairs = st.tuples(numbers, numbers)
places = st.floats(-1e4, 1e4).map(lambda x: round(x, 2))
some_faces = st.builds(
    Face,
    st.fixed_dictionaries({"one": pairs, "two": pairs}),
    pairs,
    st.none() | st.tuples(*[places] * 4),
    st.none() | numbers,
    st.none() | st.tuples(*[st.tuples(places, places)] * 5),
)
# Of what is no text only such bytes get into names: one of them is drawn too.
words = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.just("\udce9"),
    min_size=1,
    max_size=20,
) | st.lists(st.sampled_from(["\udce9", r"\udce9", "\\", "a"]), min_size=1).map("".join)
some_records = st.lists(
    st.one_of(
        st.builds(
            Record,
            words,
            st.lists(some_faces, max_size=3).map(tuple),
            st.none() | st.integers(0, 2**40),
            st.none() | places,
        ),
        st.builds(Record, words, st.just(()), error=words),
    ),
    max_size=6,
    unique_by=lambda record: (record.path, record.frame),
)


@settings(max_examples=50, deadline=None)
@given(some_records)
def test_a_record_comes_back_from_its_line(records):
    for record in records:
        line = to_json(record)
        assert line.isprintable()
        assert from_json(line) == record


@pytest.mark.parametrize("line", ["", "{}", "[]", "1", '{"faces": 1}', '{"faces": [{}]}', "nul"])
def test_what_is_no_record_is_refused(line):
    with pytest.raises(ValueError):  # noqa: PT011 - json's own message, or ours
        from_json(line)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet", ".html"])
@settings(max_examples=25, deadline=None)
@given(records=some_records)
def test_records_come_back_from_every_kind_of_file(ending, records, tmp_path_factory):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path_factory.mktemp("out") / f"table{ending}"
    outputs.write(path, MADE_WITH, lambda: iter(records), Shape(top=2, threshold=0.3))
    assert list(outputs.read(path, MADE_WITH)) == records
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_labels_may_be_called_as_columns_are(ending, tmp_path):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"table{ending}"
    made_with = replace(MADE_WITH, labels=("face", "error"))
    face = Face({"one": (0.5, 0.5), "two": (1.0, 0.0)}, (0.75, 0.25))
    records = [Record("a", (face,)), Record("b", error="so")]
    outputs.write(path, made_with, lambda: records, Shape())
    assert list(outputs.read(path, made_with)) == records


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet", ".html"])
def test_a_file_of_other_nets_is_refused(ending, tmp_path):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"table{ending}"
    face = Face({"one": (0.5, 0.5), "two": (1.0, 0.0)}, (0.75, 0.25))
    outputs.write(path, MADE_WITH, lambda: [Record("a", (face,))], Shape())
    others = replace(MADE_WITH, nets=({"name": "one"}, {"name": "three"}))
    with pytest.raises(ValueError, match="name another output"):
        list(outputs.read(path, others))
    path.write_bytes(b"what else\n")
    with pytest.raises(ValueError, match=r"table\."):
        list(outputs.read(path, MADE_WITH))


def test_a_row_an_input_in_every_format(nets, faces, tmp_path, capsys):
    out = [tmp_path / name for name in ("t.csv", "t.jsonl", "t.html")]
    given_outputs = [part for path in out for part in ("-o", str(path))]
    assert main(["predict", str(faces), *given_outputs, "--top", "2", "--threshold", "0.01"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{faces / '17.png'}: " in said.err
    assert "40 inputs, 39 faces, 1 failed" in said.err
    rows = table(out[0])
    assert [row["path"] for row in rows] == [str(faces / f"{i:02}.png") for i in range(40)]
    assert [row["path"] for row in rows if row["error"]] == [str(faces / "17.png")]
    for row, line in zip(rows, out[1].read_text().splitlines()):
        as_json = json.loads(line)
        assert as_json["path"] == row["path"]
        if row["error"]:
            assert (as_json["error"], as_json["label"]) == (row["error"], None)
            continue
        shares = {label: float(row[label]) for label in as_json["probabilities"]}
        assert shares == as_json["probabilities"]
        best, second = sorted(shares, key=lambda label: -shares[label])[:2]
        assert (row["label"], row["probability"]) == (best, repr(shares[best]))
        assert row["label_2"] in (second, "")
        assert as_json["nets"]["one"]["Sad"] == float(row["one:Sad"])
    assert not list(tmp_path.glob("*.part"))
    assert "<html" in out[2].read_text()


def test_what_is_less_probable_than_the_threshold_is_not_named(nets, faces, tmp_path, capsys):
    face = str(faces / "00.png")
    assert main(["predict", face, "--threshold", "1"]) == 0
    assert "\tunsure\t" in capsys.readouterr().out
    assert main(["predict", face, "--top", "3"]) == 0
    _, label, shares = capsys.readouterr().out.rstrip().split("\t")
    named = [pair.split() for pair in shares.split("  ")]
    assert len(named) == 3
    assert named[0][0] == label
    assert [p for _, p in named] == sorted((p for _, p in named), reverse=True)


def test_killed_half_way_and_resumed_it_is_as_if_unbroken(nets, faces, tmp_path):
    whole = tmp_path / "whole.csv"
    options = ["--batch", "4", "-q"]
    assert main(["predict", str(faces), "-o", str(whole), *options]) == 1
    for wanted in (3, 8):
        part = tmp_path / "t.csv.part"
        # Every group is followed by a pause, so that there is time to end it in between.
        slow = COMMAND[:2] + [
            "import sys, time\n"
            "from lbpmap.cli import main\n"
            "from lbpmap.predict.journal import Journal\n"
            "add = Journal.add\n"
            "Journal.add = lambda *args: (add(*args), time.sleep(0.2))\n"
            "sys.exit(main())"
        ]
        process = subprocess.Popen(
            [*slow, "predict", str(faces), "-o", str(tmp_path / "t.csv"), *options],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        deadline = time.monotonic() + 60
        while not (part.exists() and part.read_bytes().count(b"\n") >= wanted):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "t.csv").exists()
        with open(part, "ab") as file:  # a group that was being written
            file.write(b'{"path":"cut')
        assert main(["predict", str(faces), "-o", str(tmp_path / "t.csv"), *options]) == 2
        resume = ["predict", str(faces), "-o", str(tmp_path / "t.csv"), "--resume", *options]
        assert main(resume) == 1
        assert (tmp_path / "t.csv").read_bytes() == whole.read_bytes()
        assert not part.exists()
        (tmp_path / "t.csv").unlink()


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet", ".html"])
def test_a_finished_table_is_added_to(nets, faces, tmp_path, ending, capsys):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"t{ending}"
    firsts = [str(faces / f"{i:02}.png") for i in range(10, 20)]
    assert main(["predict", *firsts, "-o", str(out)]) == 1
    capsys.readouterr()
    assert main(["predict", str(faces), "-o", str(out), "--resume"]) == 1
    said = capsys.readouterr().err
    assert "40 inputs, 39 faces, 1 failed" in said
    assert "17.png" not in said  # it was said the first time
    text = out.read_bytes() if ending != ".parquet" else b"".join(firsts_of(out))
    for i in range(40):
        assert f"{i:02}.png".encode() in text


def test_a_table_that_does_not_fit_is_refused_each_time(nets, faces, tmp_path, capsys):
    out = tmp_path / "t.csv"
    ask = ["predict", str(faces), "-o", str(out), "-q"]
    assert main([*ask, "--net", "one"]) == 1
    before = out.read_bytes()
    for _ in range(2):
        capsys.readouterr()
        assert main([*ask, "--resume"]) == 2
        assert "name another output" in capsys.readouterr().err
        assert [path.name for path in tmp_path.glob("t.csv*")] == ["t.csv"]
    assert out.read_bytes() == before


def test_what_was_taken_in_part_is_taken_again(nets, faces, tmp_path, monkeypatch):
    """A run that adds to a table and is killed while it takes over what is there."""
    out = tmp_path / "t.csv"
    firsts = [str(faces / f"{i:02}.png") for i in range(10)]
    assert main(["predict", *firsts, "-o", str(out), "-q"]) == 0
    head = {}

    def opened(path, settings, before, opened=journal.opened):
        head["line"] = json.dumps({"settings": vars(settings), "adds": True}) + "\n"
        return opened(path, settings, before)

    monkeypatch.setattr(journal, "opened", opened)
    add = ["predict", str(faces / "20.png"), "-o", str(out), "--resume", "-q"]
    assert main(add) == 0
    assert len(table(out)) == 11
    for written in ("", head["line"][:30], head["line"]):
        (tmp_path / "t.csv.part").write_text(written)
        assert main(add) == 0
        assert len(table(out)) == 11


def firsts_of(path):
    from pyarrow import parquet

    return [name.encode() for name in parquet.read_table(path)["path"].to_pylist()]


def test_a_report_beside_a_table_keeps_its_pictures(nets, faces, tmp_path):
    out, page = tmp_path / "t.csv", tmp_path / "t.html"
    ask = ["predict", "-o", str(out), "--html", str(page)]
    assert main([*ask, *(str(faces / f"{i:02}.png") for i in range(8))]) == 0
    first = pictures_of(page)
    assert main([*ask, str(faces), "--resume"]) == 1
    again = pictures_of(page)
    assert len(again) == 39
    assert all(set(shown) == {"face", "codes", "lbp"} for shown in again.values())
    assert first.items() <= again.items()


def test_one_is_counted_as_one(nets, faces, tmp_path, capsys):
    assert main(["predict", str(faces / "00.png"), "-o", str(tmp_path / "t.csv")]) == 0
    assert capsys.readouterr().err.endswith("t.csv: 1 input, 1 face\n")


def pictures_of(page):
    return {record.path: face.pictures for record in html.read(page)[1] for face in record.faces}


def test_a_report_is_made_of_a_finished_table(nets, faces, tmp_path):
    out, page = tmp_path / "t.csv", tmp_path / "t.html"
    assert main(["predict", str(faces), "-o", str(out)]) == 1
    before = out.read_bytes()
    ask = ["predict", str(faces), "-o", str(out), "--html", str(page), "--resume"]
    assert main(ask) == 1
    assert out.read_bytes() == before
    assert main(["predict", str(faces), "--html", str(tmp_path / "anew.html")]) == 1
    pictures_of = [
        re.findall('src="(data:image[^"]+)"', path.read_text())
        for path in (page, tmp_path / "anew.html")
    ]
    assert pictures_of[0] == pictures_of[1]
    assert len(pictures_of[0]) >= 39


def test_other_settings_do_not_go_on(nets, faces, tmp_path, capsys):
    out = tmp_path / "t.csv"
    part = tmp_path / "t.csv.part"
    begun = [Record(str(faces / "00.png"), error="so")]
    with journal.opened(part, replace(MADE_WITH, labels=("x",))) as book:
        book.add(begun)
    assert main(["predict", str(faces), "-o", str(out)]) == 2
    assert "a run was broken off here" in capsys.readouterr().err
    assert main(["predict", str(faces), "-o", str(out), "--resume"]) == 2
    assert 'was begun with other labels than this run has: ["x"], now' in capsys.readouterr().err
    part.write_text("something else\n")
    assert main(["predict", str(faces), "-o", str(out), "--resume"]) == 2
    assert "no journal of a run" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("old", "new"), [("size = 32", "size = 30"), ("'Angry', 'Disgust'", "'Disgust', 'Angry'")]
)
def test_a_net_described_otherwise_does_not_go_on(nets, faces, tmp_path, capsys, old, new):
    out, description = tmp_path / "t.html", tmp_path / "nets" / "two" / "model.toml"
    assert main(["predict", str(faces / "00.png"), "-o", str(out), "-q"]) == 0
    before = description.read_text()
    assert old in before
    description.write_text(before.replace(old, new))
    assert main(["predict", str(faces), "-o", str(out), "--resume"]) == 2
    assert "was made with other nets than this run has" in capsys.readouterr().err


def test_a_table_of_colours_of_ones_own_is_summed_up(make_net, faces, tmp_path, capsys):
    folder = make_net("own", "mine.npz")
    out = tmp_path / "t.html"
    for draw, code in ((1, 0), (2, 2)):
        values = np.random.default_rng(draw).integers(0, 256, (256, 3), np.uint8)
        tables.Table(values, "mine").save(folder / "mine.npz")
        assert main(["predict", str(faces / "00.png"), "-o", str(out), "--resume", "-q"]) == code
    assert "was made with other nets than this run has" in capsys.readouterr().err


def test_a_journal_is_of_one_process(tmp_path):
    pytest.importorskip("fcntl")
    path = tmp_path / "t.part"
    with journal.opened(path, MADE_WITH) as book:
        with pytest.raises(OSError, match="another process is at work on it"):
            journal.check_free(path)
        book.add([Record("a"), Record("b", error="tab\t, line\n")])
        with (
            pytest.raises(OSError, match="another process is at work on it"),
            journal.opened(path, MADE_WITH),
        ):
            pass
    for torn in (b"{", b"x" * 100, b""):
        path.write_bytes(path.read_bytes() + torn)
        with journal.opened(path, MADE_WITH) as book:
            assert [record.path for record in book.records()] == ["a", "b"]
    path.write_bytes(b'{"settings": {')  # not even that was written
    with journal.opened(path, MADE_WITH) as book:
        assert not list(book.records())
    whole = path.read_bytes()
    for bad in HOSTILE:
        path.write_bytes(whole + bad.encode() + b"\n")
        with journal.opened(path, MADE_WITH) as book, pytest.raises(ValueError, match="line 2"):
            list(book.records())


# Records that no run writes.
FACE = to_json(Record("a", (Face({"one": (0.5, 0.5), "two": (1, 0)}, (0.75, 0.25)),)))
HOSTILE = [
    "{}",
    FACE.replace('"a"', "[]"),
    FACE.replace("0.75", "7"),
    FACE.replace("0.75", "NaN"),
    FACE.replace("0.75", "1" + "0" * 400),
    FACE.replace("0.75,", ""),
    FACE.replace('"two"', '"three"'),
    FACE.replace('"landmarks":null', '"landmarks":[[1,2]]'),
    FACE.replace('"frame":null', '"frame":' + "1" + "0" * 400),
    FACE.replace('"time":null', '"time":' + "1" + "0" * 400),
]


@pytest.mark.parametrize(
    ("ending", "data"),
    [
        (".csv", b"x" * 200_000),
        (".csv", b"path,frame\0\n\0\n"),
        (".jsonl", b"[" * 100_000 + b"\n"),
        (".jsonl", b'{"path": [], "frame": 1, "time": 1, "error": "", "face": null}\n'),
        (".jsonl", b'{"path": "a", "frame": 1e999, "time": 1, "error": "", "face": null}\n'),
        (".parquet", b"PAR1" + b"\xff" * 100 + b"\x20\0\0\0PAR1"),
        (".html", b"<!doctype html>"),
    ],
)
def test_a_hostile_table_is_refused_in_one_line(ending, data, tmp_path):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"table{ending}"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"table{ending}: ") as refused:
        list(outputs.read(path, MADE_WITH))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("column", "value"),
    [("sad", "nan"), ("sad", "7"), ("one:sad", ""), ("path", ""), ("time", "inf"), ("nose_x", "3")],
)
def test_a_table_with_damaged_cells_is_refused(column, value, tmp_path):
    path = tmp_path / "t.csv"
    face = Face({"one": (0.5, 0.5), "two": (1.0, 0.0)}, (0.75, 0.25))
    outputs.write(path, MADE_WITH, lambda: [Record("a", (face,))], Shape())
    (row,) = table(path)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow({**row, column: value})
    with pytest.raises(ValueError, match="name another output"):
        list(outputs.read(path, MADE_WITH))


@pytest.mark.parametrize("room", [3_000, 9_000])
def test_a_full_disk_leaves_what_can_go_on(nets, faces, tmp_path, room):
    """Room for a part of the journal, or for it and a part of the table."""
    out = tmp_path / "t.csv"
    ask = ["predict", str(faces), "-o", str(out), "--batch", "4", "-q"]

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    done = subprocess.run(
        [*COMMAND, *ask], preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "not written" in done.stderr.splitlines()[-1]
    assert not out.exists()
    assert [path.name for path in tmp_path.glob("*.part")] == ["t.csv.part"]
    assert not list(tmp_path.glob(".*.part"))
    assert main([*ask, "--resume"]) == 1
    assert len(table(out)) == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no input: name pictures, folders or videos, --list FILE or --webcam"),
        (["a.png", "--webcam"], "--webcam stands alone"),
        (["a.png", "--resume"], "--resume goes on with an output: name it with -o"),
        (["a.png", "-o", "t.txt"], "t.txt: expected a name that ends in .csv, .jsonl, .parquet"),
        (["a.png", "-o", "gone/t.csv"], "its folder does not exist"),
        (["a.png", "--json", "-o", "t.csv"], "--json prints, and -o writes"),
        (["a.png", "--seconds", "3"], "--seconds is for --webcam"),
        (["--list", "gone.txt"], "gone.txt: no such file; expected a list of inputs"),
    ],
)
def test_what_cannot_be_is_said_at_once(
    make_net, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == ["nets"]
