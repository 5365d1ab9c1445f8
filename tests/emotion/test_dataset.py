"""Labelled pictures: folders, CSV files, parts, groups, and the choice of a validation part."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbpmap.emotion.dataset import Dataset, Sample, _choose, read_dataset, split, write_dataset


@pytest.fixture
def folder(tmp_path):
    """Make files; `read_dataset` does not open pictures."""

    def make(*names):
        for name in names:
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "data"

    return make


@pytest.fixture
def table(tmp_path):
    def make(text, encoding="utf-8"):
        path = tmp_path / "faces.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return make


def rows(dataset):
    return [
        (s.path.relative_to(dataset.source.parent).as_posix(), dataset.labels[s.label], s.part)
        for s in dataset.samples
    ]


def test_a_folder_a_label(folder):
    got = read_dataset(folder("sad/b.png", "sad/a.JPG", "happy/x/c.png", "happy/notes.txt"))
    assert got.labels == ("happy", "sad")
    assert rows(got) == [
        ("data/happy/x/c.png", "happy", None),
        ("data/sad/a.JPG", "sad", None),
        ("data/sad/b.png", "sad", None),
    ]
    assert got.counts() == {"happy": 1, "sad": 2}
    assert got.part("train") == ()


def test_folders_of_parts(folder):
    got = read_dataset(
        folder("Train/sad/1.png", "VAL/sad/2.png", "Train/happy/3.png", "testing/happy/4.png")
    )
    assert [(name, part) for name, _, part in rows(got)] == [
        ("data/Train/happy/3.png", "train"),
        ("data/Train/sad/1.png", "train"),
        ("data/VAL/sad/2.png", "validation"),
        ("data/testing/happy/4.png", "test"),
    ]
    assert got.counts(got.part("train")) == {"happy": 1, "sad": 1}


def test_labels_may_be_called_as_parts_are(folder):
    got = read_dataset(folder("valid/1.png", "invalid/2.png"))
    assert got.labels == ("invalid", "valid")
    assert {s.part for s in got.samples} == {None}


def test_a_csv_file(table):
    path = table("split,path,label,who\nTrain,sub/a.png,sad,1\nval,/abs/b.png,happy,2\n")
    got = read_dataset(path)
    assert got.labels == ("happy", "sad")
    assert got.samples == (
        Sample(path.parent / "sub/a.png", 1, "train", None),
        Sample(Path("/abs/b.png"), 0, "validation", None),
    )
    assert [s.group for s in read_dataset(path, group_by="who").samples] == ["1", "2"]


def test_a_csv_file_as_spreadsheets_write_it(table):
    got = read_dataset(table('\ufeffpath,label\r\n"a,1\n.png","very, ""sad"""\r\nb.png,frōh\r\n'))
    assert got.labels == ("frōh", 'very, "sad"')
    assert got.samples[0].path.name == "a,1\n.png"


def test_an_order_of_labels_is_kept_where_it_fits(table):
    path = table("path,label\na,sad\nb,calm\n")
    assert read_dataset(path, labels=["sad", "calm"]).labels == ("sad", "calm")
    assert read_dataset(path, labels=["sad", "calm", "happy"]).labels == ("calm", "sad")
    assert read_dataset(path, labels=["sad", "calm", "sad"]).labels == ("calm", "sad")


def test_groups(folder, table):
    data = folder("sad/ann_1.png", "sad/bob_1.png", "happy/ann_2.png")
    assert [s.group for s in read_dataset(data, group_by=r"([a-z]+)_\d").samples] == [
        *("ann", "ann", "bob")
    ]
    assert [s.group for s in read_dataset(data, group_by=r"ann|bob").samples] == [
        *("ann", "ann", "bob")
    ]
    got = read_dataset(table("path,label,group\na,x,p\nb,y,\n"))
    assert [s.group for s in got.samples] == ["p", None]


@pytest.mark.parametrize(
    ("names", "group_by", "message"),
    [
        (["sad/1.png"], None, "one label ('sad'); expected two or more"),
        (["sad/1.png", "2.png"], None, "2.png: is in no label's folder; expected DATA/LABEL/PIC"),
        (["train/1.png", "test/2.png"], None, "no label's folder; expected DATA/PART/LABEL/PIC"),
        (["train/sad/1.png", "other/2.png"], None, "holds train, a part's folder, and other, whi"),
        (["sad/1.png", "happy/b.png"], r"(\d)", "group_by '(\\\\d)' is not found in happy/b.png"),
        (["sad/1.png", "happy/b.png"], r"(\d)?", "finds an empty name in "),
        (["train/sad/ann.png", "val/happy/ann.png"], "ann", "group 'ann' is in train and in vali"),
        (["sad/notes.txt"], None, "a folder without pictures"),
    ],
)
def test_a_folder_that_is_refused(folder, names, group_by, message):
    with pytest.raises(ValueError, match="data") as caught:
        read_dataset(folder(*names), group_by=group_by)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_expression_is_refused(folder):
    with pytest.raises(ValueError, match=r"group_by: '\(' is no regular expression"):
        read_dataset(folder("sad/1.png", "happy/b.png"), group_by="(")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path;label\na;b\n", "no column path, label; its first line names path;label"),
        ("", "no column path, label; its first line names none"),
        ("path,label\n", "no row but the first"),
        ("path,label\na.png\n", "line 2: label is empty"),
        ("path,label\n,sad\n", "line 2: path is empty"),
        ("path,label,split\na,x,train\nb,y,dev\n", "line 3: split is 'dev'; expected one of"),
        ("path,label,split\na,x,train\nb,y,\n", "split is empty in some rows"),
        ("path,label\na,x\n./a,y\n", "a is listed twice"),
        ('path,label\n"a,x\n', "line 2: "),
        ("path,label\n" + "a" * 200_000 + ",x\n", "line 2: field larger than"),
        ("path,label\na,x\nb,x\n", "one label ('x')"),
        ("path,label,group,split\na,x,p,test\nb,y,p,train\n", "group 'p' is in test and in train"),
    ],
)
def test_a_csv_file_that_is_refused(table, text, message):
    with pytest.raises(ValueError, match=r"faces\.csv: ") as caught:
        read_dataset(table(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_csv_files_that_are_refused(table, tmp_path):
    with pytest.raises(ValueError, match="not UTF-8 at byte 11; save it as UTF-8"):
        read_dataset(table("path,label\n\xe4,x\n", "latin-1"))
    with pytest.raises(ValueError, match="no column who"):
        read_dataset(table("path,label\na,x\nb,y\n"), group_by="who")
    with pytest.raises(ValueError, match="line 2: who is empty"):
        read_dataset(table("path,label,who\na,x,\nb,y,2\n"), group_by="who")
    with pytest.raises(ValueError, match="line 2: "):
        read_dataset(table("path,label\na\0,x\nb,y\n"))
    with pytest.raises(FileNotFoundError, match="expected a CSV file or a folder of labelled"):
        read_dataset(tmp_path / "absent")


@pytest.mark.parametrize("label", ["C\nD", "B\x85x", "\x1b[2J"])
def test_a_label_that_cannot_be_shown(table, label):
    with pytest.raises(ValueError, match="has characters that cannot be shown; rename it"):
        read_dataset(table(f'path,label\na,"{label}"\nb,y\n'))


# Everything but what a path cannot hold, and surrogates, which UTF-8 cannot.
_NAME = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0/"), min_size=1
).filter(lambda name: name not in (".", ".."))


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(st.tuples(_NAME, _NAME.filter(str.isprintable)), min_size=2, max_size=6),
    st.booleans(),
)
def test_what_is_written_is_read(tmp_path, pairs, parted):
    names = sorted({label for _, label in pairs})
    if len(names) < 2:
        names, pairs = ["a", "b"], [("1", "a"), ("2", "b")]
    samples = tuple(
        Sample(
            Path("/data", str(k), name),
            names.index(label),
            ("train", "test")[k % 2] if parted else None,
            None if k % 3 else f"{label}{k}",
        )
        for k, (name, label) in enumerate(pairs)
    )
    path = tmp_path / "data.csv"
    write_dataset(Dataset(Path("x"), tuple(names), samples), path)
    got = read_dataset(path)
    assert got.labels == tuple(names)
    assert got.samples == samples


def test_paths_are_written_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_dataset(
        Dataset(Path("."), ("x", "y"), (Sample(Path("a"), 0), Sample(Path("b"), 1))), "data.csv"
    )
    assert read_dataset("data.csv").samples[0].path == Path(os.path.abspath("a"))


_SAMPLES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=12, max_size=80)


def dataset(pairs, grouped):
    samples = (
        Sample(Path(f"{k}.png"), label, None, f"p{group}" if grouped else None)
        for k, (label, group) in enumerate(pairs)
    )
    return Dataset(Path("d"), ("a", "b", "c", "d"), tuple(samples))


@given(_SAMPLES, st.integers(0, 99), st.sampled_from([0.1, 0.2, 0.25, 0.5]))
def test_every_label_gives_its_share(pairs, seed, share):
    data = dataset(pairs, grouped=False)
    if all(share * count <= 0.5 for count in data.counts().values()):
        with pytest.raises(ValueError, match="leave none in the validation part"):
            split(data, validation=share, seed=seed)
        return
    got = split(data, validation=share, seed=seed)
    assert [s.path for s in got.samples] == [s.path for s in data.samples]
    taken, every = got.counts(got.part("validation")), data.counts()
    for label in data.labels:
        assert abs(taken[label] - share * every[label]) <= 0.5 + 1e-9
        assert taken[label] < max(every[label], 1)
    assert len(got.part("train")) + len(got.part("validation")) == len(pairs)
    assert split(data, validation=share, seed=seed) == got


@given(_SAMPLES, st.integers(0, 99))
def test_a_group_stays_together(pairs, seed):
    samples = dataset(pairs, grouped=True).samples
    taken = _choose(samples, 4, 0.3, seed)
    chosen = {samples[k].group for k in taken}
    assert taken == {k for k, sample in enumerate(samples) if sample.group in chosen}
    assert len(taken) <= 0.6 * len(pairs)


def test_many_groups_come_near_to_the_share():
    pairs = [(k % 4, k // 4) for k in range(400)]  # a hundred people, one picture a label
    got = split(dataset(pairs, grouped=True), validation=0.2)
    assert got.counts(got.part("validation")) == dict.fromkeys("abcd", 20)


def test_a_seed_decides():
    data = dataset([(k % 4, 0) for k in range(80)], grouped=False)
    assert split(data, seed=1) == split(data, seed=1)
    assert split(data, seed=1) != split(data, seed=2)


def test_parts_that_are_there_are_kept(table):
    text = "path,label,split\n" + "".join(f"{k},{k % 2},train\n" for k in range(20))
    got = split(read_dataset(table(text + "20,1,test\n")), validation=0.2)
    assert got.samples[20].part == "test"
    assert got.counts(got.part("validation")) == {"0": 2, "1": 2}
    whole = read_dataset(table(text + "20,1,val\n"))
    assert split(whole) is whole
    with pytest.raises(ValueError, match="has a validation part, but no train part"):
        split(read_dataset(table("path,label,split\na,x,val\nb,y,val\n")))
    with pytest.raises(ValueError, match="leave none in the train part"):
        split(read_dataset(table("path,label,split\na,x,test\nb,y,test\n")))


@pytest.mark.parametrize("share", [0, -0.1, 0.6, float("nan")])
def test_a_share_out_of_range(share):
    with pytest.raises(ValueError, match="validation must be above 0 and at most"):
        split(dataset([(0, 0), (1, 0)] * 6, grouped=False), validation=share)
