"""What is said of the models that are there: list, verify, card, info."""

from __future__ import annotations

import json
import os
import time

import pytest

from lbpmap.cli import main
from lbpmap.models import records

from .test_import import DESCRIPTION, write


@pytest.fixture
def one(run, root, files, tmp_path):
    """Import the net `one`, and give its folder."""
    assert run("import", write(tmp_path / "one", files))[0] == 0
    return root / "one"


def states(out):
    return [line.split()[0] for line in out]


def test_nothing_here_is_nothing_wrong(run, root):
    code, out, err = run("verify")
    assert (code, err) == (0, [])
    assert out == ["no models here; 'lbpmap models fetch' and 'lbpmap models import' bring some"]


def test_what_is_as_it_was(run, one):
    code, out, err = run("verify", "one")
    assert (code, err) == (0, [])
    assert states(out) == ["ok"] * 3
    assert f"{one}/tiny.caffemodel: as recorded 20" in out[0]


@pytest.mark.parametrize(
    ("damage", "state", "said"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-1] + b"\2"), "changed", "was recorded 20"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "changed", "bytes, but a complete"),
        (lambda p: p.write_bytes(b""), "changed", "0 bytes, but a complete"),
        (lambda p: p.unlink(), "missing", "not there, recorded 20"),
        (lambda p: (p.unlink(), p.mkdir()), "missing", "cannot be read: Is a directory"),
    ],
)
def test_what_is_not(run, one, damage, state, said):
    damage(one / "tiny.caffemodel")
    code, out, err = run("verify")
    assert code == 1
    assert states(out) == [state, "ok", "ok"]
    assert said in out[0]
    assert err == ["1 of 3 files are not as they should be"]


def test_a_file_that_nobody_recorded_is_unknown(run, one, root):
    (root / records.FILE).unlink()
    code, out, _ = run("verify")
    assert code == 0
    assert states(out) == ["unknown"] * 3


def test_a_published_checksum_needs_no_record(run, one, root, registry, files):
    from .conftest import sha256

    registry(sha256=sha256(files["tiny.caffemodel"]))
    (root / records.FILE).unlink()
    assert run("verify")[1][0].endswith("tiny.caffemodel: as published")
    registry(sha256="0" * 64)
    code, out, _ = run("verify")
    assert code == 1
    assert states(out) == ["changed", "unknown", "unknown"]


def test_what_is_asked_for_and_not_here_is_missing(run, one):
    code, out, _ = run("verify", "one", "two")
    assert code == 1
    assert states(out) == ["ok"] * 3 + ["missing"] * 2
    assert out[-1] == "missing  two/mean.binaryproto: not here"


def test_an_unknown_name_is_one_line(run, one):
    code, _, err = run("verify", "three")
    assert code == 2
    assert err == ["lbpmap models: no model 'three' here, and none is known by that name"]


def test_an_optional_file_counts_once_it_was_there(run, one, root):
    (one / "deploy.prototxt").unlink()
    assert run("verify")[0] == 1
    records.write(root, {k: v for k, v in records.read(root).items() if "deploy" not in k})
    code, out, _ = run("verify")
    assert code == 0
    assert states(out) == ["ok"] * 2


def test_two_nets_with_the_same_weights(run, one, root, files):
    write(root / "two", files)
    code, out, err = run("verify")
    assert code == 1
    assert states(out) == ["ok"] * 3 + ["unknown"] * 3
    assert err == ["one and two have the same weights: all but one are in the wrong folder"]


def test_a_copy_of_ones_own_is_no_confusion(run, one, root, files):
    (write(root / "mine", files) / "model.toml").write_text(DESCRIPTION)
    assert run("verify")[0] == 0


def test_every_folder_of_the_search_path_is_looked_at(run, one, root, files, tmp_path):
    other = tmp_path / "other"
    write(other / "one", files, "tiny.caffemodel")
    code, out, _ = run("verify", "--models", other)
    assert code == 1
    assert states(out) == ["unknown", "missing", "ok", "ok", "ok"]


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff",
        b"format = 2",
        b"format = 1\nfiles = 3",
        b'format = 1\n[files]\n"one/x" = 3',
        b'format = 1\n[files."one/x"]\nbytes = 1\nsha256 = "z"\nwhen = ""\nsource = ""',
        b'format = 1\n[files."one/\\u001b"]\nbytes = "1"',
        b"#" * (2 << 20),
    ],
)
def test_records_that_cannot_be_read_are_one_line(run, one, root, raw):
    (root / records.FILE).write_bytes(raw)
    for arguments in (["verify"], ["list"], ["import", root]):
        code, _, err = run(*arguments)
        assert code == 2
        assert len(err) == 1
        assert f"{root / records.FILE}: " in err[0]
        assert err[0].isprintable()


def test_the_list(run, one, root, files):
    (write(root / "mine", files) / "model.toml").write_text(DESCRIPTION)
    write(root / "two", files, "mean.binaryproto")
    code, out, err = run("list")
    assert (code, err) == (0, [])
    head, first, second, mine = out[0].split(), *(line.split("  ") for line in out[1:])
    assert head == ["NAME", "WHAT", "WHERE", "SIZE", "CHECKED", "LICENCE"]
    assert [each.strip() for each in first if each] == [
        "one",
        "faces",
        str(one),
        f"{sum(map(len, files.values())) / 1e6:.1f} MB",
        records.now()[:10],
        "none stated, non-commercial",
    ]
    assert any(f"{root}/two (without tiny.caffemodel)" in each for each in second)
    assert [each.strip() for each in mine if each][1::4] == ["representation lbp", "your own"]


def test_ones_own_net_of_any_name(run, root, files):
    folder = write(root / "my net", files)
    (folder / "mean.binaryproto").rename(folder / "my mean")
    text = DESCRIPTION.replace("mean.binaryproto", "my mean").replace("deploy.pro", "../deploy.pro")
    (folder / "model.toml").write_text(text)
    code, out, _ = run("verify", "my net")
    assert code == 0
    assert [line.split(f"{folder}/")[1].split(":")[0] for line in out] == [
        "tiny.caffemodel",
        "my mean",
    ]


def test_the_list_for_programs(run, one, files):
    said = json.loads("\n".join(run("list", "--json")[1]))
    assert [each["name"] for each in said] == ["one", "two"]
    assert said[0]["folder"] == str(one)
    assert said[0]["size"] == sum(map(len, files.values()))
    assert said[0]["recorded"] is not None
    assert said[1]["folder"] is None
    assert said[1]["size"] == len(files["tiny.caffemodel"])


def test_the_list_notices_a_change_by_size_or_date(run, one, files):
    def recorded():
        return json.loads("\n".join(run("list", "--json")[1]))[0]["recorded"]

    assert recorded()
    later = time.time() + 100
    os.utime(one / "mean.binaryproto", (later, later))
    assert recorded() is None
    os.utime(one / "mean.binaryproto", (1, 1))
    assert recorded()
    (one / "mean.binaryproto").write_bytes(b"short")
    assert recorded() is None


def test_the_card_of_a_published_net(run, root, monkeypatch):
    monkeypatch.delenv("LBPMAP_REGISTRY")
    text = "\n".join(run("card", "VGG_S_lbp")[1])
    assert text.startswith("# VGG_S_lbp\n\nOne of the five nets")
    assert "- licence: none stated" in text
    assert "- files: not here; get it with 'lbpmap models fetch VGG_S_lbp' or" in text
    text = "\n".join(run("card", "mtcnn")[1])
    assert text.startswith("# mtcnn\n\n## Here\n\n- what: faces")
    assert text.startswith("# mtcnn\n")
    assert "- input: RGB, (x - 127.5) / 128, height and width swapped" in text
    assert "- licence: MIT" in text


def test_the_card_of_ones_own(run, root, files):
    folder = write(root / "mine", files)
    (folder / "model.toml").write_text(f'licence = "free"\n{DESCRIPTION}')
    text = "\n".join(run("card", "mine")[1])
    assert "- labels: a, b" in text
    assert "- licence: free" in text
    assert f"- files: deploy.prototxt, tiny.caffemodel, mean.binaryproto in {folder}" in text
    (folder / "MODEL_CARD.md").write_text("# Mine\n\nIt says \x1b[2J nothing.\n")
    text = "\n".join(run("card", "mine")[1])
    assert text.startswith("# Mine\n\nIt says \\x1b[2J nothing.\n")
    assert "\x1b" not in text


def test_the_card_of_nobody(run, root):
    code, _, err = run("card", "three")
    assert code == 2
    assert "no model 'three': expected one of one, two, VGG_S_" in err[0]


def test_info_and_predict_name_the_commands(root, monkeypatch, capsys, tmp_path):
    import numpy as np

    from lbpmap import pictures

    monkeypatch.delenv("LBPMAP_REGISTRY")
    assert main(["info"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "'lbpmap models fetch NAME' and 'lbpmap models import ZIP' bring weights"
    pictures.write_png(tmp_path / "face.png", np.zeros((40, 40, 3), np.uint8))
    assert main(["predict", str(tmp_path / "face.png"), "--net", "VGG_S_lbp"]) == 2
    assert "get it with 'lbpmap models fetch VGG_S_lbp' or 'lbpmap" in capsys.readouterr().err


@pytest.mark.parametrize("action", [[], ["list"], ["fetch"], ["import"], ["verify"], ["card"]])
def test_help_shows_examples(action, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["models", *action, "--help"])
    assert ended.value.code == 0
    assert "lbpmap models import ~/EmotiW.zip" in capsys.readouterr().out
