"""Writing and finding picture files; every file is made here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from PIL import Image

from lbpmap import _decode, pictures

RNG = np.random.default_rng(5)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = COLOUR[:, :, 0].copy()

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a,
        lambda a: a[:, :, 0],
        lambda a: a[::-1, ::-1],
        lambda a: a[:, :, ::-1],
        lambda a: a[1:4, ::2],
        lambda a: a[:1, :1],
    ],
)
def test_what_is_written_is_read_back(
    tmp_path: Path, view: Callable[[np.ndarray], np.ndarray]
) -> None:
    array = view(COLOUR)
    pictures.write_png(tmp_path / "out.png", array)
    got = pictures.read(tmp_path / "out.png")
    expected = array if array.ndim == 3 else np.repeat(array[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(got, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_writing_replaces_and_keeps_the_usual_permissions(tmp_path: Path) -> None:
    path, plain = tmp_path / "out.png", tmp_path / "plain"
    path.write_bytes(b"old")
    plain.touch()
    pictures.write_png(os.fspath(path), GREY)
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "L")
    assert path.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (COLOUR.astype(np.float32), TypeError),
        (COLOUR.tolist(), TypeError),
        (COLOUR[:, :, :2], ValueError),
        (COLOUR[None], ValueError),
        (COLOUR[0, :, 0], ValueError),
        (COLOUR[:0], ValueError),
    ],
)
def test_other_arrays_are_refused_and_nothing_is_written(
    tmp_path: Path, array: Any, kind: type[Exception]
) -> None:
    path = tmp_path / "out.png"
    with pytest.raises(kind, match="write_png got") as caught:
        pictures.write_png(path, array)
    assert str(caught.value).startswith(str(path))
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_writing_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.png"
    pictures.write_png(path, GREY)
    before = path.read_bytes()

    def full(self: Image.Image, file: Any, **options: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left") as caught:
        pictures.write_png(path, COLOUR)
    assert str(caught.value) == f"{path}: not written (No space left on device)"
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.png"]


def test_a_missing_or_impossible_target_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="create the folder"):
        pictures.write_png(tmp_path / "absent" / "out.png", GREY)
    with pytest.raises(IsADirectoryError, match="a folder"):
        pictures.write_png(tmp_path, GREY)


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _relative(found: list[tuple[Path, Path]]) -> list[str]:
    return [relative.as_posix() for _, relative in found]


def test_a_folder_gives_its_pictures_sorted_and_relative(tmp_path: Path) -> None:
    _touch(tmp_path, "b/2.JPG", "b/10.jpg", "a.png", "b.tif", "b-c/x.webp", "notes.txt", "noext")
    _touch(tmp_path, ".hidden.png", ".git/x.png", "b/.x/y.png", "b/c/d/e.gif")
    found = pictures.find([tmp_path])
    expected = ["a.png", "b/10.jpg", "b/2.JPG", "b/c/d/e.gif", "b-c/x.webp", "b.tif"]
    assert _relative(found) == expected
    assert [path for path, _ in found] == [tmp_path / name for name in expected]


def test_a_file_is_listed_whatever_its_name(tmp_path: Path) -> None:
    _touch(tmp_path, "in/face.data", "in/.hidden", "in/z.png")
    inputs = [tmp_path / "in/z.png", os.fspath(tmp_path / "in/face.data"), tmp_path / "in/.hidden"]
    assert pictures.find(inputs) == [
        (Path(name), Path(os.path.basename(name))) for name in map(os.fspath, inputs)
    ]
    assert pictures.find(tmp_path / "in/z.png") == pictures.find([tmp_path / "in/z.png"])


def test_inputs_keep_their_order(tmp_path: Path) -> None:
    _touch(tmp_path, "b/1.png", "a/1.png", "c.png")
    found = pictures.find(iter([tmp_path / "b", tmp_path / "c.png", tmp_path / "a"]))
    assert _relative(found) == ["1.png", "c.png", "1.png"]
    assert found[0][0] == tmp_path / "b" / "1.png"


def test_the_current_folder_may_be_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _touch(tmp_path, ".cache/faces/1.png")
    monkeypatch.chdir(tmp_path / ".cache")
    assert pictures.find(".") == [(Path("faces/1.png"), Path("faces/1.png"))]
    assert _relative(pictures.find(tmp_path / ".cache")) == ["faces/1.png"]


def test_missing_inputs_and_empty_folders_are_errors_that_name_them(tmp_path: Path) -> None:
    _touch(tmp_path, "full/1.png", "empty/notes.txt")
    with pytest.raises(ValueError, match="without pictures") as caught:
        pictures.find([tmp_path / "full", tmp_path / "empty"])
    assert str(caught.value).startswith(str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match="no such file or folder") as missing:
        pictures.find([tmp_path / "absent"])
    assert str(missing.value).startswith(str(tmp_path / "absent"))
    assert pictures.find([]) == []


@posix
def test_links_are_followed_once_and_circles_end(tmp_path: Path) -> None:
    _touch(tmp_path, "set/a/1.png", "elsewhere/2.png")
    (tmp_path / "set/a/up").symlink_to(tmp_path / "set")
    (tmp_path / "set/b").symlink_to(tmp_path / "set/a")
    (tmp_path / "set/c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/self").symlink_to(tmp_path / "set/self")
    (tmp_path / "set/lost.png").symlink_to(tmp_path / "gone.png")
    assert _relative(pictures.find(tmp_path / "set")) == ["a/1.png", "c/2.png", "lost.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that takes any bytes")
def test_undecodable_names_are_found_and_named(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    _touch(tmp_path, name)
    ((path, relative),) = pictures.find(tmp_path)
    assert relative.name == name
    with pytest.raises(ValueError, match=r"caf\\udce9\.png"):
        pictures.read(path)


def test_every_suffix_belongs_to_a_format_that_is_read() -> None:
    Image.init()
    known = Image.registered_extensions()
    assert all(known.get(suffix, "MPO") in _decode._FORMATS for suffix in pictures.SUFFIXES)


def test_a_folder_that_may_not_be_opened_is_named_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "closed").mkdir()
    pictures.write_png(tmp_path / "open.png", GREY)
    scandir = os.scandir

    def refused(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert [relative.name for _, relative in pictures.find(tmp_path)] == ["closed", "open.png"]
    with pytest.raises(PermissionError, match="closed: a folder that may not be opened"):
        pictures.read(tmp_path / "closed")
