"""The scikit-learn transformers: what they give, what they refuse, scikit-learn's own checks."""

from __future__ import annotations

import importlib.util
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

import lbpmap
from lbpmap import _reference
from lbpmap._bins import BINS, bin_labels, bin_table
from lbpmap.estimators import LBPHistogram, MappedLBP

RNG = np.random.default_rng(6)
GRAY = RNG.integers(0, 256, (4, 12, 15), np.uint8)
COLOUR = RNG.integers(0, 256, (4, 12, 15, 3), np.uint8)
MIXED = [GRAY[0], COLOUR[1], GRAY[2, :9, ::-2]]


def changes(code, points):
    bits = [code >> i & 1 for i in range(points)]
    return sum(bits[i] != bits[i - 1] for i in range(points))


def rotations(code, points):
    word = f"{code:0{points}b}"
    return [int(word[i:] + word[:i], 2) for i in range(points)]


@pytest.mark.parametrize("points", range(1, 13))
def test_bins_are_those_of_the_papers(points):
    codes = range(2**points)
    uniform = [code for code in codes if changes(code, points) <= 2]
    classes = sorted({min(rotations(code, points)) for code in codes})
    want = {
        "all": list(codes),
        "uniform": [uniform.index(c) if c in uniform else points * (points - 1) + 2 for c in codes],
        "rotation": [classes.index(min(rotations(c, points))) for c in codes],
        "uniform_rotation": [f"{c:b}".count("1") if c in uniform else points + 1 for c in codes],
    }
    for bins in BINS:
        table, count = bin_table(bins, points)
        assert table[: 2**points].tolist() == want[bins], bins
        assert len(table) >= 256
        assert table.max() < count == len(bin_labels(bins, points))
    assert bin_table("uniform", points)[1] == points * (points - 1) + 3
    assert bin_table("rotation", points)[1] == len(classes)
    assert bin_table("uniform_rotation", points)[1] == points + 2


def test_bins_of_eight_points():
    assert [bin_table(bins, 8)[1] for bins in BINS] == [256, 59, 36, 10]
    assert bin_labels("rotation", 8)[:4] == ["class_0", "class_1", "class_3", "class_5"]
    assert bin_labels("uniform", 8)[-2:] == ["code_255", "other"]
    assert bin_labels("uniform_rotation", 8)[-2:] == ["ones_8", "other"]


@settings(max_examples=100, deadline=None)
@given(
    bins=st.sampled_from(BINS),
    points=st.sampled_from([4, 8, 10]),
    radius=st.integers(1, 3),
    grid=st.tuples(st.integers(1, 6), st.integers(1, 9)),
    normalize=st.sampled_from(["l1", "sqrt", None]),
    arithmetic=st.sampled_from(["exact", "released"]),
    threads=st.integers(1, 3),
)
def test_histograms_equal_bincount(bins, points, radius, grid, normalize, arithmetic, threads):
    transformer = LBPHistogram(
        radius,
        points,
        arithmetic=arithmetic,
        bins=bins,
        grid=grid,
        normalize=normalize,
        threads=threads,
    )
    table, count = bin_table(bins, points)
    for pictures in (GRAY, COLOUR, GRAY[:, ::-1, ::2].repeat(2, axis=2)):
        want = []
        for codes in lbpmap.lbp_codes(pictures, radius, points=points, arithmetic=arithmetic):
            cells = _reference.histogram(codes, table, count, grid).astype(float)
            if normalize is not None:
                cells /= cells.sum(-1, keepdims=True)
            want.append((np.sqrt(cells) if normalize == "sqrt" else cells).ravel())
        got = transformer.fit_transform(pictures)
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got, want)


def test_the_square_neighbourhood_is_counted_too():
    codes = lbpmap.lbp_codes(GRAY, 2, neighborhood="square")
    got = LBPHistogram(2, neighborhood="square", normalize=None).transform(GRAY)
    np.testing.assert_array_equal(got, [np.bincount(c.ravel(), minlength=256) for c in codes])


def test_histograms_of_pictures_of_different_sizes():
    got = LBPHistogram(grid=(2, 2)).fit_transform(MIXED)
    for row, picture in zip(got, MIXED):
        np.testing.assert_array_equal(LBPHistogram(grid=(2, 2)).transform([picture])[0], row)


def test_mapped_pictures_are_those_of_the_front_door():
    want = lbpmap.mapped_lbp(COLOUR, "lbp", code_255="own")
    mapper = MappedLBP("lbp", code_255="own", threads=2)
    np.testing.assert_array_equal(mapper.fit_transform(COLOUR), want)
    flat = mapper.set_params(flatten=True).fit_transform(COLOUR)
    assert flat.dtype == np.float64
    np.testing.assert_array_equal(flat, want.reshape(4, -1))
    for got, picture in zip(MappedLBP("lbp").fit_transform(MIXED), MIXED):
        np.testing.assert_array_equal(got, lbpmap.mapped_lbp(picture, "lbp"))


@pytest.mark.parametrize("transformer", [LBPHistogram(), MappedLBP(), MappedLBP(flatten=True)])
def test_rows_are_pictures(transformer):
    want = transformer.fit_transform(GRAY)
    for dtype in (np.uint8, np.int64, np.float32, np.float64, object):
        rows = clone(transformer).set_params(image_shape=(12, 15))
        got = rows.fit_transform(GRAY.reshape(4, -1).astype(dtype))
        np.testing.assert_array_equal(got, want)
        assert rows.n_features_in_ == 180
    square = GRAY[:, :, :12].copy()
    got = clone(transformer).fit_transform(square.reshape(4, -1).tolist())
    np.testing.assert_array_equal(got, transformer.fit_transform(square))
    colour = clone(transformer).set_params(image_shape=(12, 15, 3))
    got = colour.fit_transform(COLOUR.reshape(4, -1))
    np.testing.assert_array_equal(got, clone(transformer).fit_transform(COLOUR))


def test_a_second_fit_forgets_the_first():
    both = LBPHistogram(image_shape=(12, 15)).fit(GRAY.reshape(4, -1))
    with pytest.raises(ValueError, match="expecting 180 features"):
        both.transform(np.zeros((1, 9)))
    assert not hasattr(both.fit(GRAY), "n_features_in_")
    mapper = MappedLBP(flatten=True).fit(GRAY)
    assert mapper.mapped_shape_ == (10, 13, 3)
    assert not hasattr(mapper.set_params(flatten=False).fit(GRAY), "mapped_shape_")


def test_names_of_the_columns():
    histogram = LBPHistogram(points=4, grid=(2, 3), bins="uniform", normalize=None).fit(GRAY)
    names = histogram.get_feature_names_out().tolist()
    assert len(set(names)) == len(names) == histogram.transform(GRAY).shape[1] == 90
    assert names[:2] == ["cell_0_0_code_0", "cell_0_0_code_1"]
    assert names[-1] == "cell_1_2_other"
    column = names.index("cell_1_2_code_15")
    codes = lbpmap.lbp_codes(GRAY, points=4)[:, 5:, 8:]
    want = (codes == 15).sum(axis=(1, 2))
    np.testing.assert_array_equal(histogram.transform(GRAY)[:, column], want)

    mapper = MappedLBP(flatten=True).fit(GRAY)
    names = mapper.get_feature_names_out().tolist()
    column = names.index("dim2_4_11")
    want = lbpmap.mapped_lbp(GRAY)[:, 4, 11, 1]
    np.testing.assert_array_equal(mapper.transform(GRAY)[:, column], want)
    assert len(set(names)) == len(names) == 10 * 13 * 3
    with pytest.raises(ValueError, match="call fit first"):
        MappedLBP(flatten=True).get_feature_names_out()
    assert not hasattr(MappedLBP(), "get_feature_names_out")


@pytest.mark.parametrize("transformer", [LBPHistogram(grid=(2, 2)), MappedLBP(flatten=True)])
def test_clone_pickle_and_pipeline(transformer):
    fitted = transformer.fit(GRAY)
    want = fitted.transform(GRAY)
    assert clone(fitted).get_params() == fitted.get_params()
    for other in (clone(fitted), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(other.transform(GRAY), want)
    y = [0, 1, 0, 1]
    pipeline = Pipeline([("lbp", clone(fitted)), ("svm", LinearSVC(random_state=0))])
    pipeline.set_params(lbp__threads=2).fit(GRAY, y)
    np.testing.assert_array_equal(pipeline[:-1].transform(GRAY), want)
    assert pipeline.predict(GRAY).tolist() == y


@pytest.mark.parametrize("transformer", [LBPHistogram(grid=(2, 2)), MappedLBP(flatten=True)])
def test_data_frames(transformer):
    pandas = pytest.importorskip("pandas", reason="data frames need pandas")
    if not hasattr(transformer, "set_output"):
        pytest.skip("set_output came with scikit-learn 1.2")
    transformer = clone(transformer).set_params(image_shape=(12, 15))
    rows = pandas.DataFrame(
        GRAY.reshape(4, -1), columns=[f"p{i}" for i in range(180)], index=list("abcd")
    )
    want = transformer.fit_transform(rows)
    framed = transformer.set_output(transform="pandas").fit_transform(rows)
    assert framed.index.tolist() == list("abcd")
    assert framed.columns.tolist() == transformer.get_feature_names_out().tolist()
    np.testing.assert_array_equal(framed.to_numpy(), want)
    assert transformer.feature_names_in_.tolist() == rows.columns.tolist()
    np.testing.assert_array_equal(transformer.fit_transform(GRAY).to_numpy(), want)
    assert not hasattr(MappedLBP(), "set_output")


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"radius": 0}, ValueError, "radius must be a positive integer, got 0"),
        ({"points": 8.0}, TypeError, "points must be a positive integer, got float"),
        ({"points": 17}, ValueError, "points must be 1 to 16, got 17"),
        ({"threads": None}, TypeError, "threads must be a positive integer"),
        ({"bins": "u2"}, ValueError, "bins must be one of 'all', .* got 'u2'"),
        ({"normalize": "max"}, ValueError, "normalize must be one of 'l1', 'sqrt', None"),
        ({"grid": 3}, ValueError, r"grid must be \(rows, columns\), got 3"),
        ({"grid": (1, 0)}, ValueError, "each number in grid must be a positive integer"),
        ({"grid": (11, 1)}, ValueError, "has 10 x 13 codes .* grid of 11 x 1 cells"),
        ({"radius": 6}, ValueError, "is 12 x 15 .* radius 6 needs at least 13 x 13"),
        ({"neighborhood": "diamond"}, ValueError, "neighborhood must be one of"),
        ({"neighborhood": "square", "points": 4}, ValueError, '"square" has 8 points'),
        ({"arithmetic": "fast"}, ValueError, "arithmetic must be one of"),
    ],
)
def test_wrong_parameters_of_histograms(parameters, error, message):
    transformer = LBPHistogram().set_params(**parameters)
    with pytest.raises(error, match=message):
        transformer.fit(GRAY)
    with pytest.raises(error, match=message):
        transformer.transform(GRAY)


@pytest.mark.parametrize(
    ("parameters", "X", "error", "message"),
    [
        ({"representation": "lpb"}, GRAY, ValueError, "no representation 'lpb'"),
        ({"code_255": "other"}, GRAY, ValueError, "code_255 must be one of"),
        ({"threads": 0}, GRAY, ValueError, "threads must be a positive integer"),
        ({"flatten": True}, MIXED, ValueError, r"one size, got \(12, 15\) and \(9, 8\)"),
        ({"representation": "cyclic_lbp_10"}, GRAY, ValueError, "needs at least 21 x 21"),
    ],
)
def test_wrong_parameters_of_mapping(parameters, X, error, message):
    with pytest.raises(error, match=message):
        MappedLBP().set_params(**parameters).fit(X)


@pytest.mark.parametrize("transformer", [LBPHistogram(), MappedLBP()])
@pytest.mark.parametrize(
    ("image_shape", "X", "error", "message"),
    [
        (None, GRAY[0, :, :3], ValueError, "rows of 3 columns are no square pictures"),
        ((12, 16), GRAY.reshape(4, -1), ValueError, r"180 columns, but image_shape \(12, 16\) has"),
        ((12, 15, 1), GRAY.reshape(4, -1), ValueError, r"must be \(H, W\) or \(H, W, 3\)"),
        ((180,), GRAY.reshape(4, -1), ValueError, r"must be \(H, W\) or \(H, W, 3\)"),
        (180, GRAY.reshape(4, -1), TypeError, r"must be \(H, W\) or \(H, W, 3\), got 180"),
        ((12.0, 15), GRAY.reshape(4, -1), TypeError, "must be a positive integer, got float"),
        (None, np.full((2, 9), 0.5), ValueError, "whole numbers .* got 0.5 in row 0, column 0"),
        (None, np.eye(9) * 256, ValueError, "whole numbers 0 to 255, got 256.0 in row 0"),
        (None, -np.eye(9, dtype=int), ValueError, "whole numbers 0 to 255, got -1 in row 0"),
        (None, np.full((2, 9), np.nan), ValueError, "NaN"),
        (None, np.zeros(9), ValueError, "Expected 2D array, got 1D"),
        (None, COLOUR[0], ValueError, r"a batch of pictures, got one, .* use image\[None\]"),
        (None, GRAY[:0], ValueError, "0 pictures"),
        (None, GRAY.astype(float), TypeError, "must be uint8 .* got float64"),
        (None, [GRAY[0].astype(float)], TypeError, "must be uint8 .* got float64"),
        (None, COLOUR[..., :1], ValueError, "must be .H, W. grey or .H, W, 3. RGB"),
    ],
)
def test_wrong_pictures(transformer, image_shape, X, error, message):
    transformer = clone(transformer).set_params(image_shape=image_shape)
    with pytest.raises(error, match=message):
        transformer.fit(X)
    with pytest.raises(error, match=message):
        transformer.transform(X)


def test_flattened_pictures_keep_the_size_of_fit():
    with pytest.raises(ValueError, match=r"become \(10, 12, 3\), but fit saw \(10, 13, 3\)"):
        MappedLBP(flatten=True).fit(GRAY).transform(GRAY[:, :, 1:])


def test_scikit_learn_is_imported_with_this_module_alone():
    code = (
        "import sys, lbpmap; assert 'sklearn' not in sys.modules; "
        "import lbpmap.estimators; assert 'sklearn' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def with_checks(*estimators):
    """Parametrize with scikit-learn's checks: in a list, where its own are a generator's."""
    mark = parametrize_with_checks(list(estimators)).mark
    return pytest.mark.parametrize(mark.args[0], list(mark.args[1]), **mark.kwargs)


class OfDeviates:
    """Make any numbers pictures of 5 x 5: scaled, rounded, a row repeated until it fills one."""

    def _of_rows(self, rows):
        levels = np.clip(np.rint(40 * rows.astype(np.float64) + 100), 0, 255)
        return super()._of_rows(levels[:, np.arange(25) % levels.shape[1]])


class HistogramOfDeviates(OfDeviates, LBPHistogram):
    pass


class MappedDeviates(OfDeviates, MappedLBP):
    pass


@pytest.mark.filterwarnings("ignore")
@with_checks(HistogramOfDeviates(bins="uniform", grid=(2, 3)), MappedDeviates(flatten=True))
def test_scikit_learns_checks(estimator, check):
    check(estimator)


OUR_REFUSALS = "are no square pictures|must hold whole numbers 0 to 255|needs at least 3 x 3"


@pytest.mark.filterwarnings("ignore")
@with_checks(LBPHistogram(), MappedLBP(flatten=True))
def test_scikit_learns_checks_on_numbers_that_are_no_pictures(estimator, check):
    """Each passes, or ends in a refusal of its normal deviates, and in nothing else."""
    try:
        check(estimator)
    except (ValueError, AssertionError) as error:
        causes = [error]
        while causes[-1].__context__ is not None:
            causes.append(causes[-1].__context__)
        if not any(re.search(OUR_REFUSALS, str(cause)) for cause in causes):
            raise


def test_faces_among_other_pictures():
    """Ahonen's description on 25 x 25 pixels; measured 0.995 to 1.0 over ten shuffles."""
    data = pytest.importorskip("skimage.data", reason="the faces come with scikit-image")
    pictures = np.rint(255 * data.lfw_subset()).astype(np.uint8)
    is_face = np.arange(200) < 100
    model = make_pipeline(
        LBPHistogram(bins="uniform", grid=(5, 5), normalize="sqrt"), LinearSVC(random_state=0)
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    for X in (pictures, pictures.reshape(200, -1)):
        assert cross_val_score(model, X, is_face, cv=folds).mean() >= 0.98


@pytest.mark.checkout
def test_the_lighting_experiment_at_small_size():
    data = pytest.importorskip("skimage.data", reason="the faces come with scikit-image")
    pytest.importorskip("PIL", minversion="10.1", reason="the figure needs letters of any size")
    script = Path(__file__).resolve().parents[1] / "benchmarks" / "lighting.py"
    if not script.is_file():
        pytest.skip("not a checkout")
    spec = importlib.util.spec_from_file_location("lighting", script)
    lighting = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lighting)

    pictures = data.lfw_subset()[80:120]
    found = lighting.measure(pictures, np.arange(40) < 20, side=30, folds=2)
    moved = {(m.representation, m.light): m.moved for m in found}
    assert len(moved) == len(lighting.LIGHTS) * len(lighting.REPRESENTATIONS)
    assert all((m.moved, m.found) == (0, 1) for m in found if m.light == "neutral")
    for radius, mapped in ((1, "cyclic_lbp"), (5, "cyclic_lbp_5"), (10, "cyclic_lbp_10")):
        for light in ("gamma 0.5", "gamma 2", "gain 0.5"):
            assert moved[f"codes, R={radius}", light] < moved[mapped, light]
            assert moved[mapped, light] < moved["grey", light] / 2
    assert lighting.figure(lighting.example(), found, side=30).width > 8 * 30
    assert lighting.report(found, 40).count("| cyclic_lbp_10 |") == 3
