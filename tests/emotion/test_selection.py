"""Which nets folders and names mean."""

from __future__ import annotations

import shutil

import pytest

from lbpmap.emotion.selection import net_at, select_nets


def names(nets):
    return [files.name for files in nets]


def test_folders_names_and_folders_of_folders(make_net, tmp_path):
    for name in ("b", "a"):
        make_net(name)
    root = tmp_path / "nets"
    assert names(select_nets([root / "b", "a"])) == ["b", "a"]
    assert names(select_nets([root])) == ["a", "b"]
    assert names(select_nets(["b"], models=root)) == ["b"]
    assert names(select_nets([root / "b", root, "a"])) == ["b", "a"]
    (root / "a" / "small.caffemodel").unlink()
    assert names(select_nets([root])) == ["b"]


def test_released_nets_are_described_in_the_package(tmp_path):
    folder = tmp_path / "VGG_S_lbp"
    folder.mkdir()
    (folder / "EmotiW_VGG_S.caffemodel").write_bytes(b"")
    (found,) = select_nets([tmp_path])
    assert found.weights == folder / "EmotiW_VGG_S.caffemodel"
    assert (found.name, found.architecture) == ("VGG_S_lbp", "VGG_S")
    assert net_at(folder) == found


def test_folders_of_one_name_are_told_apart(make_net, tmp_path):
    made = make_net("run")
    for above in ("x/p", "y/p", "z"):
        shutil.copytree(made, tmp_path / above / "run")
    runs = [tmp_path / above / "run" for above in ("x/p", "y/p", "z")]
    assert names(select_nets(runs)) == ["x_p_run", "y_p_run", "z_run"]


def test_an_architecture_may_be_named(make_net):
    made = make_net("mine_lbp", "lbp")
    assert net_at(made).architecture == "mine"
    path = made / "model.toml"
    path.write_text('architecture = "VGG_M"\n' + path.read_text())
    assert net_at(made).architecture == "VGG_M"
    path.write_text("architecture = 3\n" + path.read_text().split("\n", 1)[1])
    with pytest.raises(ValueError, match=r"model\.toml: field architecture must be a str, got 3"):
        net_at(made)


def test_what_means_nothing(tmp_path, make_net):
    make_net("a")
    with pytest.raises(ValueError, match=r"nothing: neither a folder nor the name of a net; known"):
        select_nets(["nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: no net: expected a folder with"):
        select_nets([tmp_path / "empty"])
    with pytest.raises(FileNotFoundError, match=r"empty: no net: expected a folder with"):
        net_at(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="absent: no net"):
        net_at(tmp_path / "absent")
