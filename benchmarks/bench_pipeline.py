"""JPEG files of 143 x 181 to blobs of 3 x 224 x 224: the whole way into a net, by picture.

    python -m pytest benchmarks/bench_pipeline.py -s                      small: as CI runs it
    LBPMAP_BENCH=full python -m pytest benchmarks/bench_pipeline.py -s    960 files, longer turns

`pictures.blobs` reads and maps batch after batch; beside it, in turns, a call of `caffe_blob` for
each picture, the same with OpenCV alone (which has no interpolated codes: its eight comparisons are
on the square grid), with Pillow, scikit-image and NumPy, and what no way avoids, decoding the file.
On one thread it is also said how much of the way the kernels take.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import lbpmap
from lbpmap import pictures
from lbpmap.speed import cases, peers
from lbpmap.speed.timing import in_turns

FULL = os.environ.get("LBPMAP_BENCH") == "full"
SECONDS, PICTURES = (40.0, 960) if FULL else (1.0, 32)
PLACES, BATCH = 32, 8
MEAN = cases.MEAN
TABLE = lbpmap.load_table("cyclic_lbp").lookup()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write crops of the photo, each from another place."""
    folder = tmp_path_factory.mktemp("faces")
    photo = cases.photo(256, 256)
    paths = [folder / f"{i}.jpg" for i in range(PLACES)]
    for i, path in enumerate(paths):
        at = 2 * i
        Image.fromarray(photo[at : at + 181, at : at + 143]).save(path, quality=90)
    return paths * (PICTURES // PLACES)


def one_by_one(path):
    return lbpmap.caffe_blob(pictures.read(path), "cyclic_lbp", mean=MEAN)


def in_batches(paths, threads):
    """Give the last blob: each takes the place of the one before, as before a net."""
    for batch in pictures.blobs(paths, "cyclic_lbp", mean=MEAN, batch=BATCH, threads=threads):
        last = batch.blob
    return last


def kernels(paths):
    """Give a call of each kernel on these pictures, in memory of their own."""
    rgb = [pictures.read(path) for path in paths]
    calls = {}
    for name, case in (("grey", cases.GRAY), ("LBP + map", cases.MAPPED["cyclic_lbp"])):
        each = [case.prepare(picture).kernel for picture in rgb]
        calls[f"kernel: {name}"] = lambda each=each: [kernel() for kernel in each]
    return calls


def with_opencv():
    import cv2

    cv2.setNumThreads(1)

    def blob(path):
        gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        codes = peers.of_square(gray, 1)["OpenCV compare"]()
        mapped = cv2.applyColorMap(codes, TABLE.reshape(256, 1, 3))
        window = cv2.resize(mapped, (256, 256))[16:240, 16:240]
        return cv2.dnn.blobFromImage(window, 1.0, mean=tuple(map(float, MEAN[::-1])), swapRB=True)

    return blob


def with_pillow():
    from skimage.feature import local_binary_pattern

    def blob(path):
        gray = np.asarray(Image.open(path).convert("L"))
        codes = local_binary_pattern(gray, 8, 1)[1:-1, 1:-1].astype(np.uint8)
        mapped = Image.fromarray(TABLE[codes]).resize((256, 256), Image.BILINEAR)
        window = np.asarray(mapped)[16:240, 16:240].astype(np.float32)
        return window.transpose(2, 0, 1)[None, ::-1] - MEAN[:, None, None]

    return blob


OTHERS = {
    "OpenCV (square codes)": ("OpenCV", with_opencv),
    "Pillow, scikit-image, NumPy": ("scikit-image", with_pillow),
}


@pytest.mark.parametrize("threads", [1, 2])
def test_files_to_blobs(files, threads, benchmark):
    others = {name: make() for name, (library, make) in OTHERS.items() if peers.has(library)}
    ways = {"lbpmap, a call a picture": one_by_one, "decoding alone": pictures.read, **others}
    own = "lbpmap, pictures.blobs"
    with ThreadPoolExecutor(threads) as pool:
        every = {own: lambda: in_batches(files, threads)}
        over = pool.map if threads > 1 else map
        for name, way in ways.items():
            every[name] = lambda way=way: deque(over(way, files), maxlen=1)
        medians = in_turns({**every, **(kernels(files) if threads == 1 else {})}, SECONDS)
        last = benchmark(every[own])
    print(f"\nJPEG 143x181 to blob, {threads} threads, us a picture:")
    for name, seconds in medians.items():
        print(f"  {name:<28}{seconds / PICTURES * 1e6:9.0f}{seconds / medians[own]:8.2f} x")
        benchmark.extra_info[name] = round(seconds / medians[own], 2)
    for path, blob in zip(files[-BATCH:], last):
        want = cases.BLOB.prepare(pictures.read(path)).reference()[0]
        np.testing.assert_allclose(blob, want, rtol=0, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("name", OTHERS)
def test_peers_make_blobs_alike(name, files):
    """Their codes, grey and rounding are others; the pictures are the same."""
    library, make = OTHERS[name]
    if not peers.has(library):
        pytest.skip(f"{library} is not installed: pip install 'lbpmap[bench]'")
    blob, want = make()(files[0]), one_by_one(files[0])
    assert (blob.shape, blob.dtype) == (want.shape, want.dtype)
    assert np.corrcoef(blob.ravel(), want.ravel())[0, 1] > 0.5
