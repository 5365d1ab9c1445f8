"""The registry: the package's own, and others that are not well-formed."""

from __future__ import annotations

import re

import pytest

from lbpmap.emotion import registry as nets
from lbpmap.models import known, places

RELEASED = [f"VGG_S_{name}" for name in nets.REPRESENTATIONS]


@pytest.fixture
def packaged(monkeypatch):
    monkeypatch.delenv("LBPMAP_REGISTRY", raising=False)
    return known.load()


def test_the_released_nets_and_mtcnn(packaged):
    assert list(packaged) == [*RELEASED, "mtcnn"]
    for name in RELEASED:
        published = packaged[name]
        net = nets.net_in(places.packaged_folder() / name)
        assert [file.name for file in published.required] == [
            "EmotiW_VGG_S.caffemodel",
            "mean.binaryproto",
        ]
        assert net.weights_bytes == published.file("EmotiW_VGG_S.caffemodel").bytes == 498_032_193
        assert published.publication.non_commercial
        assert net.licence == published.publication.licence
        assert "none stated" in published.publication.licence
    mtcnn = packaged["mtcnn"]
    assert mtcnn.publication.licence == "MIT"
    assert not mtcnn.publication.non_commercial
    assert all(file.sha256 and file.bytes and file.url for file in mtcnn.files)


def test_each_published_file_has_an_id_of_its_own(packaged):
    single = {
        name: [file.drive for file in packaged[name].files]
        for name in RELEASED
        if any(file.drive for file in packaged[name].files)
    }
    assert list(single) == ["VGG_S_rgb", "VGG_S_lbp", "VGG_S_cyclic_lbp"]
    ids = [each for drives in single.values() for each in drives]
    assert len(set(ids)) == 9
    assert all(re.fullmatch(r"0BydFau0VP3XS\w{15}", each) for each in ids)
    assert "0BydFau0VP3XSYk9ZVnVNd0ZvVk0" in packaged["VGG_S_rgb"].publication.by_hand


def test_nothing_is_said_twice():
    """The registry has sources and sizes, a description what the net wants to see."""
    for name in RELEASED:
        text = (places.packaged_folder() / name / "model.toml").read_text()
        assert not re.search(r"licence|bytes|drive|gist|https?:", text)
    text = (places.packaged_folder() / known.FILE).read_text()
    assert not re.search(r"Angry|radius|crop", text)


def test_a_run_may_bear_the_name_of_a_released_net(tmp_path, packaged):
    folder = tmp_path / "VGG_S_lbp"
    folder.mkdir()
    text = (places.packaged_folder() / "VGG_S_lbp" / "model.toml").read_text()
    (folder / "model.toml").write_text(text.replace("EmotiW_VGG_S.caffemodel", "best.caffemodel"))
    net = nets.net_in(folder)
    assert (net.weights_bytes, net.licence) == (None, "")


GOOD = """
format = 1
[publications.p]
title = "t"
licence = "l"
page = "https://example.org"
[sets.s]
publication = "p"
about = "a"
[sets.s.files]
"f.bin" = {bytes = 3}
"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("format = 1", "format = 2"), "format must be 1, got 2"),
        (("format = 1", "format = [1"), "not a TOML file"),
        (("[publications.p]", "[x]"), "publications must be a table"),
        (('licence = "l"', ""), "publications.p.licence must be a line of text"),
        (('licence = "l"', 'licence = "\\u001b"'), "publications.p.licence must be printable"),
        (('"l"', '"l"\nnon_commercial = 1'), "publications.p.non_commercial must be a bool"),
        (('publication = "p"', 'publication = "q"'), "sets.s.publication: no publication 'q'"),
        (("[sets.s.files]", "[sets.s.fles]"), "sets.s.files must be a table"),
        (('"f.bin"', '"../f"'), "sets.s.files: '../f' is no name for a file or folder"),
        (('"f.bin"', '"a/b"'), "sets.s.files: 'a/b' is no name for a file or folder"),
        (('"f.bin"', '".lock"'), "sets.s.files: '.lock' is no name for a file or folder"),
        (("sets.s", 'sets.".."'), "'..' is no name for a file or folder"),
        (("{bytes = 3}", "3"), "sets.s.files.f.bin must be a table"),
        (("bytes = 3", "bytes = 0"), "sets.s.files.f.bin.bytes must be 1 to 67108864"),
        (("bytes = 3", "bytes = 99999999999"), "f.bin.bytes must be 1 to 67108864"),
        (("bytes = 3", "bytes = true"), "f.bin.bytes must be a int"),
        (("bytes = 3", 'sha256 = "0"'), "f.bin.sha256 must be 64 hexadecimal digits"),
        (("bytes = 3", 'url = "file:///x"'), "f.bin.url must be an http or https address"),
        (("format = 1", "format = 1\n#" + "x" * 40_000), "too many for a registry of models"),
    ],
)
def test_a_registry_that_is_wrong_says_where(tmp_path, monkeypatch, change, message):
    path = tmp_path / "registry.toml"
    path.write_text(GOOD)
    assert known.load(path)["s"].files[0].bytes == 3
    path.write_text(GOOD.replace(*change))
    monkeypatch.setenv("LBPMAP_REGISTRY", str(path))
    with pytest.raises(ValueError, match=r"registry\.toml: ") as caught:
        known.load()
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
