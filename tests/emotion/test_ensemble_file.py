"""An ensemble's file: what is written is read, and a damaged field is named in one line."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from lbpmap.emotion import ensemble_file
from lbpmap.emotion.ensemble_file import Ensemble, Figures, Fitted
from lbpmap.emotion.fusion import Fusion
from lbpmap.emotion.registry import find_nets

LABELS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
NAMES = ("one", "two", "three")
FITTED = Fitted("faces.csv", "validation", 40, 10, Figures(1.5, 0.25), Figures(1.25, 0.5))


@pytest.fixture
def members(make_net):
    for k, name in enumerate(NAMES):
        make_net(name, seed=k)
    nets = find_nets()
    return tuple(ensemble_file.member(nets[name]) for name in NAMES)


def weighted(members):
    fusion = Fusion("weighted", NAMES, LABELS, np.array([0.125, 0.5, 0.375]))
    return Ensemble(fusion, members, FITTED)


def stacked(members):
    rng = np.random.default_rng(0)
    coefficients, intercepts = rng.standard_normal((7, 21)), rng.standard_normal(7)
    fusion = Fusion("stacked", NAMES, LABELS, None, coefficients, intercepts)
    return Ensemble(fusion, members, FITTED)


@pytest.mark.parametrize("make", [weighted, stacked])
@pytest.mark.parametrize("place", ["", "elsewhere"])
def test_what_is_written_is_read(members, tmp_path, make, place):
    (tmp_path / place).mkdir(exist_ok=True)
    path = tmp_path / place / "ensemble.toml"
    written = make(members)
    ensemble_file.save(written, path)
    got = ensemble_file.load(path)
    assert got.members == members
    assert got.fitted == FITTED
    for field in ("method", "names", "labels"):
        assert getattr(got.fusion, field) == getattr(written.fusion, field)
    for field in ("weights", "coefficients", "intercepts"):
        np.testing.assert_array_equal(getattr(got.fusion, field), getattr(written.fusion, field))
    assert [files.name for files in ensemble_file.find_members(got, path)] == list(NAMES)


def test_it_moves_with_its_nets(members, tmp_path):
    ensemble_file.save(weighted(members), tmp_path / "ensemble.toml")
    other = tmp_path / "moved"
    other.mkdir()
    for name in ("nets", "ensemble.toml"):
        shutil.move(str(tmp_path / name), str(other / name))
    (tmp_path / "nets").mkdir()
    got = ensemble_file.load(other / "ensemble.toml")
    found = ensemble_file.find_members(got, other / "ensemble.toml")
    assert [files.weights.parent.parent for files in found] == [other / "nets"] * 3


def test_nets_that_are_missing_are_all_named(members, tmp_path):
    path = tmp_path / "ensemble.toml"
    ensemble_file.save(weighted(members), path)
    for name in ("one", "three"):
        shutil.rmtree(tmp_path / "nets" / name)
    with pytest.raises(FileNotFoundError, match=r"no net at one \(.*\), three \(.*\): put it"):
        ensemble_file.find_members(ensemble_file.load(path), path)
    (tmp_path / "nets" / "two" / "model.toml").unlink()
    shutil.copytree(tmp_path / "nets" / "two", tmp_path / "nets" / "one")
    shutil.copytree(tmp_path / "nets" / "two", tmp_path / "nets" / "three")
    with pytest.raises(FileNotFoundError, match=r"one: no net: expected a folder with model\.toml"):
        ensemble_file.find_members(ensemble_file.load(path), path)


def test_other_weights_or_labels_are_refused(members, tmp_path):
    path = tmp_path / "ensemble.toml"
    ensemble_file.save(weighted(members), path)
    weights = tmp_path / "nets" / "two" / "small.caffemodel"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"small\.caffemodel: not the weights that "):
        ensemble_file.find_members(ensemble_file.load(path), path)
    weights.write_bytes(whole)
    description = tmp_path / "nets" / "two" / "model.toml"
    description.write_text(description.read_text().replace("'Sad'", "'Blue'"))
    with pytest.raises(ValueError, match=r"its labels are Angry, .*, but those of two are Angry"):
        ensemble_file.find_members(ensemble_file.load(path), path)


@pytest.mark.parametrize(
    ("find", "instead", "message"),
    [
        ("format = 1", "format = 2", "field format must be 1, for this version of lbpmap, got 2"),
        ("format = 1", "", "field format must be a whole number of at least 1, got nothing"),
        ('"weighted"', '"best"', "field method must be one of weighted, uniform, stacked"),
        ('"weighted"', "3", "field method must be a line of text, got 3"),
        ('"weighted"', '"stacked"', "field stacked must be a table, got nothing"),
        ('"Sad"', '"Fear"', "field labels must be two or more names that differ"),
        ('"Sad"', "7", "field labels must be a list of names"),
        (r"labels = \[[^]]*\]", 'labels = ["Sad"]', "field labels must be two or more names"),
        ('name = "two"', "name = 2", "field nets[1].name must be a line of text, got 2"),
        ('name = "two"', 'name = "one"', "nets must have names that differ, got one, one, three"),
        ('"nets/two"', '"../two"', "field nets[1].folder must be an absolute path, or one below"),
        ('"nets/two"', r'"a\u0000b"', "field nets[1].folder must be a line of text"),
        ('"nets/two"', "[]", "field nets[1].folder must be a line of text, got []"),
        (r"weights_bytes = \d+", "weights_bytes = 0", "field nets[0].weights_bytes must be a who"),
        (r"weights_bytes = \d+", "weights_bytes = 1.5", "nets[0].weights_bytes must be a whole"),
        (r"sha256 = \"\w+", 'sha256 = "12', "field nets[0].weights_sha256 must be 64 hexadec"),
        ("weight = 0.5", "weight = -0.5", "field nets[1].weight must be a number from 0 to 1"),
        ("weight = 0.5", "weight = nan", "field nets[1].weight must be a number from 0 to 1"),
        ("weight = 0.5", 'weight = "much"', "field nets[1].weight must be a number from 0 to 1"),
        ("weight = 0.5", "weight = true", "field nets[1].weight must be a number from 0 to 1"),
        ("weight = 0.5", "", "field nets[1].weight must be a number from 0 to 1, got nothing"),
        ("weight = 0.5", "weight = 0.25", "nets.weight must sum to 1, got 0.75"),
        (r"(?s)\[\[nets\]\].*(?=\[fitted\])", "", "field nets must be a list of tables, got no"),
        (r"(?s)\[\[nets\]\].*(?=\[fitted\])", "nets = []\n", "field nets must be 1 to 1000 tab"),
        (r"(?s)\[fitted\].*", "", "field fitted must be a table, got nothing"),
        ('data = "faces.csv"', "data = 5", "field fitted.data must be a line of text, got 5"),
        ('part = "validation"', 'part = ""', "field fitted.part must be a line of text"),
        ("pictures = 40", "pictures = 0", "field fitted.pictures must be a whole number of at"),
        ("crops = 10", "crops = 5", "field fitted.crops must be 1 or 10, got 5"),
        ("log_loss = 1.25", "log_loss = inf", "field fitted.chosen.log_loss must be a number"),
        ("accuracy = 0.25", "accuracy = 2", "field fitted.uniform.accuracy must be a number fr"),
        ("accuracy = 0.25", "", "field fitted.uniform.accuracy must be a number from 0 to 1, got "),
        (r"\[fitted\]", "[fitted", "not a TOML file"),
    ],
)
def test_a_damaged_field_is_named(members, tmp_path, find, instead, message):
    path = tmp_path / "ensemble.toml"
    ensemble_file.save(weighted(members), path)
    text, count = re.subn(find, lambda _: instead, path.read_text(), count=1)
    assert count == 1
    path.write_text(text)
    with pytest.raises(ValueError, match=r"ensemble\.toml: ") as caught:
        ensemble_file.load(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("find", "instead", "message"),
    [
        (r"intercepts = \[\s+[-\d.e]+,", "intercepts = [", "stacked.intercepts must be 7 finite"),
        (r"intercepts = \[", "intercepts = [nan, ", "stacked.intercepts must be 7 finite numbers"),
        (r"(?s)intercepts = \[.*?\]", "intercepts = 3", "intercepts must be 7 finite numbers, got"),
        (r"coefficients = \[", "coefficients = [[],", "coefficients must be 7 x 21 finite numbe"),
        (r"(?s)coefficients = .*(?=\[fitted\])", "", "coefficients must be 7 x 21 finite number"),
        (r"(coefficients = \[\s+\[\s+)[-\d.e]+,", "coefficients = [[1e9,", "7 x 21 finite numb"),
        (r"(coefficients = \[\s+\[\s+)[-\d.e]+,", 'coefficients = [["",', "7 x 21 finite numb"),
    ],
)
def test_a_damaged_regression_is_named(members, tmp_path, find, instead, message):
    path = tmp_path / "ensemble.toml"
    ensemble_file.save(stacked(members), path)
    text, count = re.subn(find, lambda _: instead, path.read_text(), count=1)
    assert count == 1
    path.write_text(text)
    with pytest.raises(ValueError, match=r"ensemble\.toml: field stacked\.") as caught:
        ensemble_file.load(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_what_is_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the file of an ensemble"):
        ensemble_file.load(tmp_path / "absent.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"bytes\.toml: not a TOML file"):
        ensemble_file.load(tmp_path / "bytes.toml")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5000)
    with pytest.raises(ValueError, match=r"deep\.toml: not a TOML file"):
        ensemble_file.load(tmp_path / "deep.toml")
