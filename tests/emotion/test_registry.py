from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lbpmap
from lbpmap.emotion.registry import find_nets, packaged_folder, require_weights, search_path

RELEASED = [
    "VGG_S_rgb",
    "VGG_S_lbp",
    "VGG_S_cyclic_lbp",
    "VGG_S_cyclic_lbp_5",
    "VGG_S_cyclic_lbp_10",
]


def test_the_released_nets_are_known_without_their_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("LBPMAP_MODELS", raising=False)
    nets = find_nets()
    assert set(RELEASED) <= set(nets)
    for name in RELEASED:
        net = nets[name]
        assert name == f"VGG_S_{net.representation}"
        assert (net.size, net.crop) == (256, 224)
        assert net.labels == ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
        assert net.deploy.is_file()
        assert net.weights_bytes == 498_032_193


def test_places_are_searched_in_order(tmp_path, monkeypatch):
    for name in ("given", "environment"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("LBPMAP_MODELS", str(tmp_path / "environment"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    places = search_path(tmp_path / "given")
    assert places[:2] == [tmp_path / "given", tmp_path / "environment"]
    assert places[2].name == "models"
    assert places[3] == packaged_folder()


def test_weights_and_mean_come_from_the_first_folder_that_has_weights(tmp_path, monkeypatch):
    monkeypatch.delenv("LBPMAP_MODELS", raising=False)
    folder = tmp_path / "VGG_S_lbp"
    folder.mkdir()
    (folder / "EmotiW_VGG_S.caffemodel").write_bytes(b"short")
    net = find_nets(tmp_path)["VGG_S_lbp"]
    assert net.weights == folder / "EmotiW_VGG_S.caffemodel"
    assert net.mean is None
    assert net.deploy == packaged_folder() / "VGG_S_lbp" / "deploy.prototxt"
    with pytest.raises(
        FileNotFoundError,
        match=r"VGG_S_lbp: no mean beside .* one class; get it with 'lbp",
    ):
        require_weights(net)
    (folder / "mean.binaryproto").write_bytes(b"")
    (folder / "deploy.prototxt").write_text("")
    net = find_nets(tmp_path)["VGG_S_lbp"]
    assert net.deploy == folder / "deploy.prototxt"
    with pytest.raises(ValueError, match="5 bytes, but VGG_S_lbp's weights have 498032193"):
        require_weights(net)


def test_missing_weights_say_where_they_were_looked_for(tmp_path):
    net = find_nets(tmp_path)["VGG_S_rgb"]
    with pytest.raises(FileNotFoundError, match="VGG_S_rgb: no weights in ") as caught:
        require_weights(net)
    assert str(tmp_path / "VGG_S_rgb") in str(caught.value)
    assert str(packaged_folder() / "README.md") in str(caught.value)
    assert "'lbpmap models fetch VGG_S_rgb' or 'lbpmap models import " in str(caught.value)


def test_a_table_beside_the_description_is_a_representation(make_net):
    folder = make_net("mine")
    lbpmap.Table(np.zeros((256, 3), np.uint8), "black").save(folder / "my.table")
    path = folder / "model.toml"
    path.write_text(path.read_text().replace('"cyclic_lbp"', '"my.table"'))
    assert find_nets()["mine"].representation == str(folder / "my.table")


def test_a_folder_that_may_not_be_opened_holds_nothing(make_net, monkeypatch, tmp_path):
    make_net("mine")
    iterdir = Path.iterdir

    def refused(self):
        if self.name == "nets":
            raise PermissionError(13, "Permission denied")
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", refused)
    assert "mine" not in find_nets()


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"gone: no such folder \(--models\)"):
        find_nets(tmp_path / "gone")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("size = 32", "size = '32'"), "field input.size must be a int, got '32'"),
        (("crop = 28", ""), "field input.crop must be a int, got nothing"),
        (('"small.caffemodel"', '"../../etc/passwd"'), "must be a bare file name"),
        (("[input]", "[input"), "not a TOML file"),
        (("labels = ", "lapels = "), "field labels must be a list"),
        (("'Sad'", "'Fear'"), "labels must differ from each other"),
        (("'Sad'", "7"), "labels must be a list of names"),
        (("size = 32", "size = 1000000000"), "input.crop and input.size must be 1 to 4096"),
        (("size = 32", "size = 27"), "the crop no larger, got 28 and 27"),
        (("size = 32", 'size = 32\nchannel_order = "RGB"'), "only 'BGR' is supported"),
        (("size = 32", "size = 32\nraw_scale = 1"), "input.raw_scale is 1, and only 255"),
        (("[input]", "radius = 5\n[input]"), "radius is 5, but that of cyclic_lbp is 1"),
        (("[input]", 'table = "lbp"\n[input]'), "table is 'lbp', but that of cyclic_lbp"),
        (('"cyclic_lbp"', '"lpb"'), "or a table file beside it, got 'lpb'"),
        (("'Sad'", r"'Sa\u001bd'".replace("'", '"')), "each of printable characters"),
        (("size = 32", "size = " + "9" * 5000), "model.toml: "),
        (("size = 32", "size = 0x" + "f" * 5000), "got 28 and an integer beyond 64 bits"),
        (("size = 32", "size = [0x" + "f" * 5000 + "]"), "must be a int, got a list"),
        (("size = 32", "size = '" + "x" * 5000 + "'"), "must be a int, got 'xxxx"),
        (("size = 32", "size = " + "[" * 5000), "not a TOML file: "),
        (("size = 32", "a." * 20000 + "a = 32"), "bytes are too many for the description of a net"),
        (('"cyclic_lbp"', '"' + "x" * 300 + '"'), "field representation is no name of a file: 'xx"),
        (('"cyclic_lbp"', r'"a\u0000"'), "field representation is no name of a file: 'a"),
        (('"small.caffemodel"', '"' + "x" * 300 + '"'), "field files.weights is no name of a file"),
    ],
)
def test_a_wrong_description_says_which_field(make_net, change, message):
    path = make_net("mine") / "model.toml"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ValueError, match=r"model\.toml: ") as caught:
        find_nets()
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
