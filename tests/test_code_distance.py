from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import squareform

from lbpmap.embedding import KINDS, code_distance


def turned(points):
    """All codes with their bits rotated by one place, and with their bits reversed."""
    codes = np.arange(2**points)
    rotated = (codes << 1 | codes >> (points - 1)) & (2**points - 1)
    mirrored = sum((codes >> i & 1) << (points - 1 - i) for i in range(points))
    return rotated, mirrored


def ones(points):
    return np.array([bin(code).count("1") for code in range(2**points)])


@pytest.mark.parametrize("points", [1, 2, 5, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_distances_are_symmetric_whole_numbers(kind, points):
    distances = code_distance(kind, points)
    assert distances.shape == (2**points, 2**points)
    assert distances.dtype == np.float64
    np.testing.assert_array_equal(distances, distances.T)
    np.testing.assert_array_equal(distances, np.rint(distances))
    assert not np.diagonal(distances).any()
    largest = points if kind == "hamming" else points * (points + 1) / 2
    assert (distances.min(), distances.max()) == (0, largest)
    assert distances[0, -1] == largest


def test_distinct_codes_at_distance_zero():
    pairs = {kind: int((squareform(code_distance(kind)) == 0).sum()) for kind in KINDS}
    assert pairs == {"lbp": 0, "cyclic_lbp": 56, "circular_emd": 0, "hamming": 0}


def slowly(kind, points):
    """The definitions, a pair of codes at a time."""

    def emd(p, q):
        return sum(abs(sum(p[: i + 1]) - sum(q[: i + 1])) for i in range(len(p)))

    def distance(p, q):
        x, y = [0, *p], [0, *q]
        if kind == "lbp":
            return emd(p, q)
        if kind == "cyclic_lbp":
            return min(emd(x, y), emd(x[::-1], y), emd(x, y[::-1]))
        if kind == "hamming":
            return sum(a != b for a, b in zip(p, q))
        cuts = [(v[i:] + v[:i], w[i:] + w[:i]) for v, w in ((p, q),) for i in range(points)]
        return min(emd(v[::s], w[::s]) for v, w in cuts for s in (1, -1))

    bits = [[code >> i & 1 for i in range(points)] for code in range(2**points)]
    return [[distance(p, q) for q in bits] for p in bits]


@pytest.mark.parametrize("points", [3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_distances_are_what_they_are_said_to_be(kind, points):
    np.testing.assert_array_equal(code_distance(kind, points), slowly(kind, points))


@pytest.mark.parametrize("points", [5, 8])
def test_circular_emd_is_invariant_to_turning_and_mirroring_both(points):
    distances = code_distance("circular_emd", points)
    for moved in turned(points):
        np.testing.assert_array_equal(distances[np.ix_(moved, moved)], distances)
    rotated, _ = turned(points)
    assert (distances[rotated] != distances).any()
    released = code_distance("cyclic_lbp", points)
    assert (released[np.ix_(rotated, rotated)] != released).any()


def test_circular_emd_of_as_many_ones_is_the_least_transport_on_the_circle():
    points = 6
    distances, count = code_distance("circular_emd", points), ones(points)
    places = [[i for i in range(points) if code >> i & 1] for code in range(2**points)]
    for a, b in itertools.combinations(range(1, 2**points), 2):
        if count[a] == count[b]:
            apart = np.abs(np.subtract.outer(places[a], places[b]))
            cost = np.minimum(apart, points - apart)
            assert distances[a, b] == cost[linear_sum_assignment(cost)].sum()


def longest_detour(distances):
    return max(float((distances - row[:, None] - row).max()) for row in distances)


def test_triangle_inequality_where_it_holds():
    assert longest_detour(code_distance("lbp")) == 0
    assert longest_detour(code_distance("hamming")) == 0
    circular, count = code_distance("circular_emd"), ones(8)
    for number in range(9):
        alike = np.flatnonzero(count == number)
        assert longest_detour(circular[np.ix_(alike, alike)]) == 0
    assert longest_detour(circular) > 0
    assert longest_detour(code_distance("cyclic_lbp")) > 0


def test_hamming_does_not_know_the_order_of_bits():
    distances, order = code_distance("hamming", 5), [3, 0, 4, 1, 2]
    moved = sum((np.arange(32) >> i & 1) << to for i, to in enumerate(order))
    np.testing.assert_array_equal(distances[np.ix_(moved, moved)], distances)


@pytest.mark.slow
def test_four_thousand_codes_turned_and_mirrored():
    distances = code_distance("circular_emd", 12)
    for moved in turned(12):
        assert (distances[moved][:, moved] == distances).all()


@pytest.mark.parametrize(
    ("kind", "points", "message"),
    [
        ("emd", 8, "one of lbp, cyclic_lbp, circular_emd, hamming, got 'emd'"),
        ("lbp", 0, "from 1 to 12, got 0"),
        ("lbp", 13, "from 1 to 12, got 13"),
        ("lbp", 8.0, r"an integer from 1 to 12, got 8\.0"),
        ("lbp", True, "an integer from 1 to 12, got True"),
    ],
)
def test_wrong_arguments_are_told(kind, points, message):
    with pytest.raises(ValueError, match=message):
        code_distance(kind, points)
