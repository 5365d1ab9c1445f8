"""The fast paths of convolution and pooling on NumPy against slow ones, and their threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lbpmap
from lbpmap.caffe.layers import numpy_windows, numpy_winograd, threads, windows
from lbpmap.caffe.layers.plan import Workspace
from lbpmap.caffe.layers.windows import Windows

AVAILABLE = lbpmap.build_info()["available"]


def slow_convolution(images, filters, bias, fit):
    """Columns times rows, in double."""
    results = []
    for image in images.astype(np.float64):
        columns = np.empty((len(image), np.prod(fit.kernel) * np.prod(fit.out)))
        numpy_windows._fill_columns(image, fit, columns)
        rows = filters.reshape(len(filters), -1).astype(np.float64)
        results.append(rows @ columns.reshape(rows.shape[1], -1) + bias[:, None])
    return np.reshape(results, (len(images), len(filters), *fit.out))


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.integers(3, 5),
    size=st.tuples(st.integers(5, 23), st.integers(5, 23)),
    pad=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    counts=st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)),
    isa=st.sampled_from(AVAILABLE),
    # Many images and filters at a time, or one image and eight filters.
    held=st.sampled_from([2**20, 1]),
    seed=st.integers(0, 99),
)
def test_products_at_points_are_a_convolution(kernel, size, pad, counts, isa, held, seed):
    rng = np.random.default_rng(seed)
    number, channels, outputs = counts
    images = rng.standard_normal((number, channels, *size), dtype=np.float32)
    filters = rng.standard_normal((outputs, channels, kernel, kernel), dtype=np.float32)
    bias = rng.standard_normal(outputs, dtype=np.float32)
    out = tuple(n + 2 * q - kernel + 1 for n, q in zip(size, pad))
    fit = Windows((kernel, kernel), (1, 1), pad, (1, 1), out)
    found = np.full((number, outputs, *out), np.nan, np.float32)
    with pytest.MonkeyPatch.context() as patch, lbpmap.use_isa(isa):
        patch.setattr(numpy_winograd, "_IMAGES", held)
        patch.setattr(numpy_winograd, "_FILTERS", held)
        assert numpy_winograd.convolution(images, filters, bias, fit, found, Workspace())
    expected = slow_convolution(images, filters, bias, fit)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_errors_stay_small_in_deep_sums():
    rng = np.random.default_rng(0)
    for kernel, channels in ((3, 512), (5, 96)):
        images = np.maximum(rng.standard_normal((1, channels, 19, 19), dtype=np.float32), 0)
        filters = rng.standard_normal((64, channels, kernel, kernel), dtype=np.float32)
        fit = Windows((kernel, kernel), (1, 1), (kernel // 2,) * 2, (1, 1), (19, 19))
        found = np.empty((1, 64, 19, 19), np.float32)
        assert numpy_winograd.convolution(images, filters, None, fit, found, Workspace())
        expected = slow_convolution(images, filters, np.zeros(64), fit)
        assert np.abs(found - expected).max() <= 5e-6 * np.abs(expected).max()


CONVOLUTION = (
    'type: "Convolution" convolution_param { num_output: 32 kernel_size: 3 pad: 1 %s '
    'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" } }'
)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_what_is_not_finite_reaches_only_its_own_windows(one_layer, value):
    x = np.random.default_rng(0).standard_normal((1, 32, 28, 28), dtype=np.float32)
    x[0, 5, 9, 9] = value
    layer = one_layer(CONVOLUTION % "", x.shape)
    (top,) = next(iter(layer.on_both(x)))
    touched = np.zeros(top.shape, bool)
    touched[:, :, 8:11, 8:11] = True
    assert np.isfinite(top[~touched]).all()
    if not np.isfinite(value):
        assert not np.isfinite(top[touched]).any()


@pytest.mark.parametrize("more", ["", "bias_term: false", "stride: 2", "dilation: 2", "group: 2"])
def test_wide_convolutions_agree_on_both_engines(one_layer, check_equal, more):
    pytest.importorskip("torch", reason="compares the engines")
    x = np.random.default_rng(0).standard_normal((2, 64, 28, 28), dtype=np.float32)
    layer = one_layer(CONVOLUTION % more, x.shape)
    (first,), (second,) = layer.on_both(x)
    check_equal(first, second)


@settings(max_examples=100, deadline=None)
@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    pad=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    isa=st.sampled_from(AVAILABLE),
    seed=st.integers(0, 99),
)
def test_the_compiled_maximum_is_the_readable_one(size, kernel, stride, pad, isa, seed):
    rng = np.random.default_rng(seed)
    pad = tuple(min(q, k - 1) for q, k in zip(pad, kernel))
    kernel = tuple(min(k, n + 2 * q) for k, n, q in zip(kernel, size, pad))
    pad = tuple(min(q, k - 1) for q, k in zip(pad, kernel))
    fit = windows.pooling_windows(size, kernel, stride, pad, round_up=True)
    bottom = rng.choice(np.float32([-np.inf, -1, 0, 1, np.nan, np.inf]), (2, 3, *size))
    found, expected = np.empty((2, 2, 3, *fit.out), np.float32)
    with lbpmap.use_isa(isa):
        numpy_windows._compiled_max(bottom, found, fit)
    numpy_windows._max(bottom, expected, fit, Workspace())
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 17])
@pytest.mark.parametrize("step", [1, 8])
def test_parts_cover_the_range_once(count, step):
    seen = []
    threads.in_parts(lambda first, last: seen.append((first, last)), count, step)
    seen.sort()
    assert [first for first, _ in seen] == [0] + [last for _, last in seen[:-1]]
    assert seen[-1][1] == count
    assert all(first % step == 0 for first, _ in seen)


def products():
    return [each.num_threads for each in threads._blas().lib_controllers]


@pytest.mark.parametrize("failing", [0, 1])
def test_blas_has_one_thread_in_a_part_and_all_after_it(failing):
    before, seen = products(), []

    def part(first, last):
        seen.append(products())
        if (first > 0) == failing:
            raise ValueError("a part")

    if max(before) == 1:
        pytest.skip("BLAS has one thread here")
    with pytest.raises(ValueError, match="a part"):
        threads.in_parts(part, 8)
    assert {n for each in seen for n in each} == {1}
    assert products() == before


def test_two_callers_at_once_are_both_served():
    before = products()
    x = np.random.default_rng(0).standard_normal((512, 512))
    expected = x @ x

    def multiply(_):
        found = np.empty_like(x)

        def part(first, last):
            found[first:last] = x[first:last] @ x

        threads.in_parts(part, len(x))
        return np.abs(found - expected).max()

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(multiply, range(40))) <= 1e-10
    assert products() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own():
    threads.in_parts(lambda first, last: None, 8)
    pid = os.fork()
    if not pid:
        seen = []
        threads.in_parts(lambda first, last: seen.append((first, last)), 8)
        os._exit(0 if sum(last - first for first, last in seen) == 8 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
