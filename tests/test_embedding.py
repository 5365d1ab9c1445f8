from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from sklearn.isotonic import isotonic_regression

import lbpmap
from lbpmap import Table, _mds, embed_codes, load_table
from lbpmap.embedding import Embedding, code_distance, embed

PUBLISHED = {"lbp": (60, 0.0226354), "cyclic_lbp": (41, 0.0851643)}


def cloud(n, dims, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dims))


def between(points):
    return squareform(pdist(points))


@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_tables_from_first_principles(kind):
    iterations, stress = PUBLISHED[kind]
    found = embed(code_distance(kind))
    table = Table.from_embedding(found, kind)
    np.testing.assert_array_equal(table.values, load_table(kind).values)
    assert table.published
    assert (found.iterations, found.converged) == (iterations, True)
    assert found.stress == pytest.approx(stress, abs=5e-8)


def test_both_published_tables_in_twenty_seconds():
    start = time.perf_counter()
    tables = {kind: embed_codes(kind) for kind in PUBLISHED}
    assert time.perf_counter() - start < 20
    for kind, table in tables.items():
        assert (table.values != load_table(kind).values).sum() == 0
        assert (table.name, table.radius, table.arithmetic) == (kind, 1, "released")
        iterations, stress = PUBLISHED[kind]
        assert f"{iterations} iterations from a classical start" in table.provenance
        assert f"stress {stress}" in table.provenance
    assert embed_codes().sha256 == load_table("cyclic_lbp").sha256


@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_tables_do_not_hang_on_rounding(kind):
    distances = code_distance(kind)
    start = embed(distances, criterion="classical").coordinates
    for seed in range(3):
        found = embed(distances, init=start + 1e-8 * cloud(256, 3, seed))
        assert Table.from_embedding(found, kind).published


def test_neither_criterion_nor_start_may_be_another():
    distances = code_distance("lbp")
    want = load_table("lbp").values
    for options in ({"criterion": "metric"}, {"criterion": "classical"}, {"init": "random"}):
        found = Table.from_embedding(embed(distances, seed=1, **options), "other")
        assert (found.values != want).sum() > 100


def test_complementary_codes_tie_in_the_start_and_the_odd_one_is_positive():
    start = _mds.classical(code_distance("lbp"), 3)
    for axis, code in enumerate((255, 3, 241)):
        assert start[code, axis] == pytest.approx(np.abs(start[:, axis]).max())
        assert start[255 - code, axis] == pytest.approx(-start[code, axis])


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 70))
def test_disparities_are_the_isotonic_regression_of_sorted_pairs(seed, pairs, levels):
    rng = np.random.default_rng(seed)
    wanted = rng.integers(0, levels, pairs).astype(float)
    distances = wanted + rng.normal(0, levels / 3, pairs).round(1)
    order = np.lexsort((distances, wanted))
    want = np.empty(pairs)
    want[order] = isotonic_regression(distances[order])
    np.testing.assert_allclose(_mds.Monotone(wanted)(distances), want, rtol=1e-12, atol=1e-12)


def test_gradient_is_that_of_stress():
    points, disparities = cloud(7, 2), np.abs(cloud(21, 1, 1))[:, 0]

    def stress(moved):
        return _mds.stress_1(pdist(moved), disparities)

    slope = _mds._gradient(points, pdist(points), disparities, stress(points))
    for place in np.ndindex(points.shape):
        step = np.zeros_like(points)
        step[place] = 1e-6
        want = (stress(points + step) - stress(points - step)) / 2e-6
        assert slope[place] == pytest.approx(want, abs=1e-8)


def test_a_step_too_long_is_halved_and_an_uphill_one_not_taken(monkeypatch):
    points = cloud(9, 2)
    disparities = 1.3 * pdist(points) + 0.2
    stress = _mds.stress_1(pdist(points), disparities)
    slope = _mds._gradient(points, pdist(points), disparities, stress)

    def after(length):
        return _mds.stress_1(pdist(points + length * slope), disparities)

    length, holds = _mds._line_search(points, -slope, disparities, stress, 1e-3)
    assert holds
    assert after(-length) < stress
    length, holds = _mds._line_search(points, slope, disparities, stress, 1e-3)
    assert not holds
    assert length < 1e-9

    monkeypatch.setattr(_mds, "fminbound", lambda *_, **__: (-3e4, 9.0, 0, 1))
    length, holds = _mds._line_search(points, slope, disparities, stress, 1e-3)
    assert not holds
    assert after(length) < stress <= after(2 * length)


def test_many_points_have_their_eigenvectors_by_lanczos(monkeypatch):
    distances = code_distance("cyclic_lbp", 6)
    dense = _mds.classical(distances, 3)
    monkeypatch.setattr(_mds, "_DENSE", 10)
    np.testing.assert_allclose(_mds.classical(distances, 3), dense, atol=1e-9)


@pytest.mark.parametrize(("n", "dims"), [(2, 1), (5, 2), (40, 3), (30, 7)])
def test_classical_scaling_recovers_points(n, dims):
    distances = between(cloud(n, dims))
    found = embed(distances, dims, criterion="classical")
    assert found.coordinates.shape == (n, dims)
    np.testing.assert_allclose(between(found.coordinates), distances, atol=1e-8)
    np.testing.assert_allclose(found.coordinates.mean(axis=0), 0, atol=1e-12)
    spread = found.coordinates.std(axis=0)
    assert (spread[:-1] >= spread[1:]).all()
    assert (found.iterations, found.converged, found.criterion) == (0, True, "classical")
    assert found.stress < 1e-8


def test_metric_scaling_recovers_points_and_their_size_from_elsewhere():
    distances = between(cloud(25, 3))
    found = embed(distances, criterion="metric", init=cloud(25, 3) + 0.4 * cloud(25, 3, 1))
    assert found.stress < 1e-3
    np.testing.assert_allclose(between(found.coordinates), distances, atol=0.02)


def test_nonmetric_scaling_needs_only_the_order():
    points = cloud(60, 2)
    found = embed(between(points) ** 3, 2)
    assert found.stress < 0.005
    ratio = pdist(found.coordinates) / pdist(points)
    assert ratio.std() / ratio.mean() < 0.03
    assert pdist(found.coordinates).max() == pytest.approx((pdist(points) ** 3).max())


@pytest.mark.parametrize("criterion", ["metric", "nonmetric"])
def test_every_step_lowers_the_stress(criterion):
    distances = code_distance("cyclic_lbp", 5)
    stress = [
        embed(distances, criterion=criterion, max_iterations=n).stress for n in (0, 1, 2, 5, 20)
    ]
    assert stress == sorted(stress, reverse=True)
    assert stress[-1] < stress[0]
    if criterion == "metric":
        found = embed(distances, criterion="classical")
        assert stress[-1] < found.stress


def test_stress_is_that_of_the_coordinates():
    distances = code_distance("cyclic_lbp", 5)
    pairs = squareform(distances)
    for criterion in ("metric", "classical", "nonmetric"):
        found = embed(distances, criterion=criterion)
        embedded = pdist(found.coordinates)
        wanted = _mds.Monotone(pairs)(embedded) if criterion == "nonmetric" else pairs
        misfit = np.sqrt(((embedded - wanted) ** 2).sum() / (embedded**2).sum())
        assert found.stress == pytest.approx(misfit, rel=1e-9)


def test_iterations_are_bounded_and_said():
    distances = code_distance("lbp", 5)
    found = embed(distances, max_iterations=3)
    assert (found.iterations, found.converged) == (3, False)
    start = embed(distances, max_iterations=0)
    np.testing.assert_allclose(
        start.coordinates / np.ptp(start.coordinates),
        (c := embed(distances, criterion="classical").coordinates) / np.ptp(c),
        atol=1e-9,
    )


def test_a_perfect_fit_is_an_end():
    found = embed(between(cloud(3, 2)), 2)
    assert found.stress < 1e-12
    assert found.converged


def test_things_at_distance_zero_may_lie_in_one_place():
    points = np.repeat(cloud(10, 3), 2, axis=0)
    found = embed(between(points), init=points)
    assert np.isfinite(found.coordinates).all()
    np.testing.assert_allclose(found.coordinates[::2], found.coordinates[1::2], atol=1e-9)


def test_random_starts_are_their_seeds():
    distances = code_distance("hamming", 4)
    first, again, other = (embed(distances, init="random", seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.coordinates, again.coordinates)
    assert abs(first.coordinates - other.coordinates).max() > 0.1
    assert (
        "random start (seed 2)"
        in embed_codes("hamming", points=4, init="random", seed=2).provenance
    )


def test_a_bar_is_shown_when_asked_for(capsys):
    distances = code_distance("lbp", 4)
    embed(distances)
    assert capsys.readouterr().err == ""
    embed(distances, progress=True)
    assert "stress" in capsys.readouterr().err


def test_an_interruption_comes_through(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_mds, "fminbound", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embed(code_distance("lbp", 4))


@pytest.mark.slow
def test_four_thousand_codes():
    distances = code_distance("circular_emd", 12)
    start = embed(distances, criterion="classical")
    found = embed(distances, init=start.coordinates, max_iterations=2)
    assert found.coordinates.shape == (4096, 3)
    assert found.stress < start.stress


def changed(**entries):
    distances = between(cloud(6, 3))
    for place, value in entries.items():
        distances[tuple(map(int, place[1:]))] = value
    return distances


@pytest.mark.parametrize(
    ("distances", "error", "message"),
    [
        (np.zeros((3, 4)), ValueError, r"must be square, .* got shape \(3, 4\)"),
        (pdist(cloud(5, 3)), ValueError, r"got shape \(10,\).*squareform"),
        (np.zeros((1, 1)), ValueError, "at least 2 points, got 1"),
        (np.zeros((0, 0)), ValueError, "at least 2 points, got 0"),
        (changed(_01=9), ValueError, "same in both directions, got 9 at row 0, column 1"),
        (changed(_23=-1, _32=-1), ValueError, "not be negative, got -1 at row 2, column 3"),
        (changed(_45=np.nan), ValueError, "be finite, got nan at row 4, column 5"),
        (changed(_10=np.inf, _01=np.inf), ValueError, "be finite, got inf at row 0, column 1"),
        (changed(_33=1), ValueError, "0 on the diagonal, got 1 at row 3, column 3"),
        (np.zeros((4, 4)), ValueError, "all distances are 0"),
        (changed() + 1j, TypeError, "real numbers, got complex128"),
        ([["a", "b"], ["c", "d"]], TypeError, "real numbers, got <U1"),
    ],
)
def test_distances_are_checked(distances, error, message):
    with pytest.raises(error, match=message) as caught:
        embed(distances)
    assert str(caught.value).startswith("embed: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": 6}, "dims must be an integer from 1 to 5 for 6 points, got 6"),
        ({"dims": 0}, "dims must be"),
        ({"dims": 2.0}, r"got 2\.0"),
        ({"criterion": "sammon"}, "one of nonmetric, metric, classical, got 'sammon'"),
        ({"init": "pca"}, r"classical, random or an array of shape \(6, 3\), got 'pca'"),
        ({"init": np.ones((6, 2))}, r"shape \(6, 3\), got \(6, 2\)"),
        ({"init": np.ones((6, 3))}, "all points in one place"),
        ({"init": np.full((6, 3), np.nan)}, "init must be finite"),
        ({"max_iterations": -1}, "at least 0, got -1"),
        ({"max_iterations": 1.5}, r"got 1\.5"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        embed(changed(), **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: embed_codes("lbp", points=1), "from 2 to 12, got 1"),
        (lambda: embed_codes("lpb"), "kind must be one of"),
        (lambda: embed_codes("lbp", radius=0), "radius must be at least 1"),
        (lambda: embed_codes("lbp", arithmetic="double"), "arithmetic must be one of"),
        (lambda: embed_codes("lbp", points=4, name="two\nlines"), "name must be a single line"),
    ],
)
def test_codes_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_one_affine_map_makes_colours_of_places():
    found = embed(code_distance("hamming", 4))
    table = Table.from_embedding(found, "mine", radius=2, arithmetic="exact", provenance="a test")
    assert (table.points, table.radius, table.arithmetic) == (4, 2, "exact")
    assert (table.name, table.provenance) == ("mine", "a test")
    assert (table.values.min(), table.values.max()) == (0, 255)
    units = np.ptp(found.coordinates) / 255
    back = table.values * units + found.coordinates.min()
    assert np.abs(back - found.coordinates).max() <= units / 2 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("coordinates", "message"),
    [
        (np.zeros((8, 2)), r"coordinates \(2\*\*points, 3\), got \(8, 2\).*three dimensions"),
        (np.zeros(8), r"got \(8,\)"),
        (cloud(7, 3), r"2\*\*points codes, got 7 rows"),
        (cloud(1, 3), "got 1 rows"),
        (np.zeros((8, 3)), "not all equal"),
        (np.full((8, 3), np.nan), "finite"),
    ],
)
def test_an_embedding_that_makes_no_table(coordinates, message):
    with pytest.raises(ValueError, match=message):
        Table.from_embedding(Embedding(coordinates, 0.0, 0, True, "classical"), "mine")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"kind": "circular_emd", "points": 5}, "circular_emd_p5"),
        ({"kind": "lbp", "points": 6, "radius": 2, "arithmetic": "exact"}, "lbp_p6_2"),
        (
            {"kind": "cyclic_lbp", "points": 10, "radius": 3, "max_iterations": 2},
            "cyclic_lbp_p10_3",
        ),
        ({"kind": "hamming", "radius": 5, "max_iterations": 2}, "hamming_5"),
        ({"kind": "hamming", "points": 2, "name": "tiny"}, "tiny"),
    ],
)
def test_made_tables_map_pictures_through_the_same_kernels(tmp_path, options, name):
    table = embed_codes(**options)
    assert table.name == name
    points, radius = options.get("points", 8), options.get("radius", 1)
    assert (table.points, table.radius) == (points, radius)
    image = np.random.default_rng(2).integers(0, 256, (24, 31), np.uint8)
    codes = lbpmap.lbp_codes(image, radius, points=points, arithmetic=table.arithmetic)
    assert len(np.unique(codes)) > 3
    table.save(tmp_path / "my.table")
    for named in (table, tmp_path / "my.table"):
        np.testing.assert_array_equal(lbpmap.mapped_lbp(image, named), table.values[codes])


def test_a_search_cut_short_says_so():
    table = embed_codes("lbp", points=4, max_iterations=1)
    assert "1 iterations from a classical start, where it was stopped" in table.provenance
    assert "iterations" not in embed_codes("lbp", points=4, criterion="classical").provenance


def test_the_package_brings_scipy_only_when_codes_are_embedded():
    code = (
        "import sys, lbpmap; assert 'scipy' not in sys.modules; lbpmap.embed_codes;"
        "print('scipy' in sys.modules, 'embed_codes' in lbpmap.__all__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"
    with pytest.raises(AttributeError, match="no attribute 'embed_code'"):
        lbpmap.embed_code  # noqa: B018
