"""Many pictures, read ahead on threads: order, errors, bounds, and the blobs made of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lbpmap import _loader, caffe_blob, pictures

RNG = np.random.default_rng(8)
THREADS = [1, 2, 5]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder of 23 pictures, of which 4 and 11 are damaged and 17 has one pixel."""
    for k in range(23):
        size = (1, 1) if k == 17 else tuple(RNG.integers(20, 60, 2))
        pictures.write_png(
            tmp_path / f"{k:02}.png", RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
        )
    for k in (4, 11):
        path = tmp_path / f"{k:02}.png"
        path.write_bytes(path.read_bytes()[:60])
    return tmp_path


def good(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.stem not in ("04", "11", "17")]


@pytest.mark.parametrize("threads", THREADS)
def test_pictures_come_in_order(folder: Path, threads: int) -> None:
    paths = good(folder)
    got = list(pictures.read_all(iter(paths), threads=threads))
    assert len(got) == len(paths)
    for path, picture in zip(paths, got):
        np.testing.assert_array_equal(picture, pictures.read(path))
    assert list(pictures.read_all([], threads=threads)) == []


@pytest.mark.parametrize("threads", THREADS)
def test_an_error_comes_in_its_place(folder: Path, threads: int) -> None:
    paths = sorted(folder.iterdir())
    reading = pictures.read_all(paths, threads=threads)
    assert len(list(itertools.islice(reading, 4))) == 4
    with pytest.raises(ValueError, match=r"04\.png: damaged"):
        next(reading)
    assert list(reading) == []


@pytest.mark.parametrize("threads", THREADS)
def test_errors_are_kept_where_asked_for(folder: Path, threads: int) -> None:
    paths = [*sorted(folder.iterdir()), folder / "absent.png", folder]
    got = list(pictures.read_all(paths, errors="keep", threads=threads))
    assert len(got) == len(paths)
    failed = {k: item for k, item in enumerate(got) if isinstance(item, pictures.Unread)}
    assert sorted(failed) == [4, 11, 23, 24]
    assert all(item.path == paths[k] for k, item in failed.items())
    assert all(str(item.error).startswith(str(item.path)) for item in failed.values())
    assert isinstance(failed[23].error, FileNotFoundError)


@pytest.mark.parametrize("threads", THREADS)
def test_only_a_few_pictures_are_read_ahead(folder: Path, threads: int) -> None:
    taken = []

    def endless() -> Iterator[Path]:
        for path in itertools.cycle(good(folder)):
            taken.append(path)
            yield path

    before = threading.active_count()
    reading = pictures.read_all(endless(), threads=threads)
    assert taken == []
    for k in range(1, 40):
        next(reading)
        ahead = 0 if threads == 1 else _loader._AHEAD * threads
        assert len(taken) == k + ahead
    reading.close()
    assert threading.active_count() == before


def test_threads_work_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(3)

    def slow(path: str) -> str:
        together.wait(timeout=30)  # breaks, and raises, unless three are here at once
        return path

    monkeypatch.setattr(_loader, "read", slow)
    paths = [str(k) for k in range(12)]
    assert list(pictures.read_all(paths, threads=3)) == paths


def test_a_slow_picture_changes_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(path: int) -> int:
        time.sleep(0.02 if path % 5 == 0 else 0)
        return path

    monkeypatch.setattr(_loader, "read", slow)
    assert list(pictures.read_all(range(20), threads=4)) == list(range(20))


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(("batch", "crops"), [(1, 1), (7, 10), (20, 1), (32, 1)])
def test_blobs_are_those_of_caffe_blob(folder: Path, threads: int, batch: int, crops: int) -> None:
    paths = good(folder)
    options = {"mean": (1, 2, 3), "size": 48, "crop": 40, "crops": crops}
    groups = list(
        pictures.blobs(iter(paths), "cyclic_lbp", batch=batch, threads=threads, **options)
    )
    sizes = [min(batch, len(paths) - k) for k in range(0, len(paths), batch)]
    assert [len(group.paths) for group in groups] == sizes
    assert list(itertools.chain(*(group.paths for group in groups))) == paths
    assert all(not group.failed for group in groups)
    for group in groups:
        want = caffe_blob([pictures.read(path) for path in group.paths], "cyclic_lbp", **options)
        np.testing.assert_array_equal(group.blob, want)


@pytest.mark.parametrize("threads", THREADS)
def test_failed_pictures_leave_no_gap(folder: Path, threads: int) -> None:
    paths = sorted(folder.iterdir())
    options = {"mean": 0, "size": 48, "crop": 40, "crops": 10}
    groups = list(pictures.blobs(paths, "lbp", batch=6, errors="keep", threads=threads, **options))
    assert [len(group.paths) for group in groups] == [5, 5, 5, 5]
    assert [[item.path.name for item in group.failed] for group in groups] == [
        ["04.png"],
        ["11.png"],
        ["17.png"],
        [],
    ]
    for group in groups:
        want = caffe_blob([pictures.read(path) for path in group.paths], "lbp", **options)
        np.testing.assert_array_equal(group.blob, want)
    assert "17.png: blobs: the picture is 1 x 1" in str(groups[2].failed[0].error)
    (none,) = pictures.blobs(paths[4:5], "lbp", mean=0, errors="keep", threads=threads)
    assert none.blob.shape == (0, 3, 224, 224)


@pytest.mark.parametrize("threads", THREADS)
def test_a_failed_picture_ends_the_blobs(folder: Path, threads: int) -> None:
    loading = pictures.blobs(sorted(folder.iterdir()), "lbp", mean=0, batch=2, threads=threads)
    assert [len(next(loading).paths) for _ in range(2)] == [2, 2]
    with pytest.raises(ValueError, match=r"04\.png: damaged"):
        next(loading)
    small = pictures.blobs([folder / "17.png"], "lbp", mean=0, threads=threads)
    with pytest.raises(ValueError, match=r"17\.png: blobs: the picture is 1 x 1 .* at least 3 x 3"):
        next(small)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: pictures.read_all([], errors="skip"), "read_all: errors must be one of 'raise'"),
        (lambda: pictures.read_all([], threads=0), "read_all: threads must be a positive integer"),
        (lambda: pictures.blobs([], "lbp", mean=None), "blobs: mean is missing"),
        (lambda: pictures.blobs([], "lbp", mean=0, batch=0), "blobs: batch must be a positive"),
        (lambda: pictures.blobs([], "lbp", mean=0, crop=256), "blobs: the released nets take 224"),
        (lambda: pictures.blobs([], "lbp", mean=0, errors=""), "blobs: errors must be one of"),
    ],
)
def test_arguments_are_checked_at_the_call(call: object, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        call()


@pytest.mark.parametrize("threads", THREADS)
def test_views_are_the_blobs_of_each_input(folder: Path, threads: int) -> None:
    paths = sorted(folder.iterdir())
    inputs = [
        _loader.NetInput("rgb", (1, 2, 3), size=40, crop=30, crops=10),
        _loader.NetInput("lbp", 0),
        _loader.NetInput("cyclic_lbp", np.full((3, 64, 64), 7), 64, 50, mean_mode="crop"),
    ]
    groups = list(_loader.views(paths, inputs, batch=6, errors="keep", threads=threads))
    assert [path for group in groups for path in group.paths] == good(folder)
    failed = [Path(unread.path).stem for group in groups for unread in group.failed]
    assert failed == ["04", "11", "17"]  # one pixel would do for "rgb", but not for the others
    for k, one in enumerate(inputs):
        options = {"mean": one.mean, "size": one.size, "crop": one.crop, "crops": one.crops}
        for group in groups:
            read = [pictures.read(path) for path in group.paths]
            want = caffe_blob(read, one.representation, mean_mode=one.mean_mode, **options)
            np.testing.assert_array_equal(group.blobs[k], want)


def test_views_check_before_they_read() -> None:
    with pytest.raises(ValueError, match="views: mean is missing"):
        _loader.views([], [_loader.NetInput("lbp", None)])
    with pytest.raises(ValueError, match="views: the released nets take 224"):
        _loader.views([], [_loader.NetInput("lbp", 0, crop=256)])
