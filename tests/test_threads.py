"""Many threads at once, on shared and own arrays: the results are those of one thread.

With the GIL, only the kernels run at the same time, as they release it; on a free-threaded Python
everything does, the choice of the instruction set and the tables kept by `lru_cache` too. `.ci/run`
runs these tests on one where it finds it; they passed on CPython 3.13.15 built with --disable-gil.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import lbpmap
from lbpmap import _isa, _mapping

THREADS = 8
ROUNDS = 12
PICTURE = np.random.default_rng(0).integers(90, 130, (96, 210), np.uint8)
MEAN = (104, 117, 123)
NAMES = ("lbp", "cyclic_lbp", "cyclic_lbp_5", "cyclic_lbp_10")


def together(work):
    """Run `work(i)` on all threads, from one starting line; give the results."""
    line = threading.Barrier(THREADS)

    def runner(i):
        line.wait()
        return work(i)

    with ThreadPoolExecutor(THREADS) as pool:
        return [job.result() for job in [pool.submit(runner, i) for i in range(THREADS)]]


@pytest.fixture(params=lbpmap.build_info()["available"])
def isa(request):
    with lbpmap.use_isa(request.param):
        yield request.param


def test_which_python_this_is(record_property):
    """Importing the compiled part leaves a free-threaded Python free-threaded."""
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    record_property("gil", gil)
    if gil:
        pytest.skip("this Python runs with the GIL: the tests here let only kernels run at once")


CALLS = {
    "codes": lambda picture: lbpmap.lbp_codes(picture, 5, arithmetic="released"),
    "codes16": lambda picture: lbpmap.lbp_codes(picture, 2, points=12),
    "mapped": lambda picture: lbpmap.mapped_lbp(picture, "cyclic_lbp"),
    "planes": lambda picture: lbpmap.mapped_planes(picture, "cyclic_lbp_10", mean=MEAN),
    "lookup": lambda picture: lbpmap.map_codes(picture, "lbp"),
    "gray": lambda picture: lbpmap.to_gray(np.stack([picture, picture // 2, picture], -1)),
    "blob": lambda picture: lbpmap.caffe_blob(picture, "cyclic_lbp", mean=MEAN),
}


@pytest.mark.parametrize("name", CALLS)
def test_one_picture_shared_and_one_of_its_own(isa, name):
    call = CALLS[name]
    own = [np.roll(PICTURE, i, axis=1) for i in range(THREADS)]
    shared_want, own_want = call(PICTURE), [call(picture) for picture in own]

    def work(i):
        for _ in range(3 if name == "blob" else ROUNDS):
            np.testing.assert_array_equal(call(PICTURE), shared_want)
            np.testing.assert_array_equal(call(own[i]), own_want[i])

    together(work)


@pytest.mark.parametrize("name", NAMES)
def test_bands_of_one_output(isa, name):
    """Rows that lie next to each other in memory, each band another thread's, over and over."""
    radius = lbpmap.REPRESENTATIONS[name].radius
    want = lbpmap.mapped_lbp(PICTURE, name)
    codes = lbpmap.lbp_codes(PICTURE, radius, arithmetic="released")
    out, coded, mapped = np.zeros_like(want), np.zeros_like(codes), np.zeros_like(want)
    edges = [len(want) * i // THREADS for i in range(THREADS + 1)]

    def work(i):
        top, end = edges[i : i + 2]
        for _ in range(ROUNDS):
            band = PICTURE[top : end + 2 * radius]
            lbpmap.mapped_lbp(band, name, out=out[top:end])
            lbpmap.lbp_codes(band, radius, arithmetic="released", out=coded[top:end])
            lbpmap.map_codes(
                coded[top:end], lbpmap.REPRESENTATIONS[name].table, out=mapped[top:end]
            )
            # A neighbour that wrote too far would have been seen here.
            np.testing.assert_array_equal(out[top:end], want[top:end])

    together(work)
    np.testing.assert_array_equal(out, want)
    np.testing.assert_array_equal(coded, codes)
    np.testing.assert_array_equal(mapped, want)


def test_threads_within_threads(isa):
    pictures = [PICTURE, PICTURE[::-1], PICTURE[:40]]
    want = [lbpmap.mapped_lbp(picture, "cyclic_lbp_5") for picture in pictures]
    blob = lbpmap.caffe_blob(pictures, "cyclic_lbp_5", mean=MEAN)

    def work(i):
        for threads in (1, 2, 3):
            got = lbpmap.mapped_lbp(pictures, "cyclic_lbp_5", threads=threads)
            for one, other in zip(got, want):
                np.testing.assert_array_equal(one, other)
        again = lbpmap.caffe_blob(pictures, "cyclic_lbp_5", mean=MEAN, threads=2)
        np.testing.assert_array_equal(again, blob)

    together(work)


def test_what_is_made_once_may_be_made_by_all_at_once(monkeypatch):
    """The first calls of a process: neighbourhoods and tables not yet kept, no choice made."""
    want = {name: lbpmap.mapped_lbp(PICTURE, name) for name in NAMES}
    for _ in range(ROUNDS):
        monkeypatch.setattr(_isa, "_chosen", None)
        _mapping.neighborhood.cache_clear()
        _mapping._rows.cache_clear()

        def work(i):
            name = NAMES[i % len(NAMES)]
            np.testing.assert_array_equal(lbpmap.mapped_lbp(PICTURE, name), want[name])

        together(work)
