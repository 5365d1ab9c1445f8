"""What nets learn from: the same pictures for the same seed, cut as the twin cuts them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbpmap import REPRESENTATIONS, caffe_blob, pictures
from lbpmap._blob import Cut, cutter
from lbpmap.emotion import feed
from lbpmap.emotion.dataset import Sample
from lbpmap.resize import resize_image

RGB = REPRESENTATIONS["rgb"]


def twin(picture, size, crop, mean, where):
    """Cut and mirror a stretched picture from which the mean, if as large, is subtracted."""
    stretched = resize_image((picture / 255).astype(np.float32), (size, size))
    planes = stretched.transpose(2, 0, 1)[::-1] * np.float32(255)
    follows = np.ndim(mean) == 3 and mean.shape[1] == size
    if follows:
        planes = planes - mean
    cut = planes[:, where.row : where.row + crop, where.column : where.column + crop]
    cut = cut[:, :, ::-1] if where.mirrored else cut
    return cut if follows else cut - (mean if np.ndim(mean) == 3 else mean[:, None, None])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_cut_is_its_twin(data):
    height, width = data.draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    size = data.draw(st.integers(1, 80))
    crop = data.draw(st.integers(1, size))
    place = st.integers(0, size - crop)
    where = Cut(data.draw(place), data.draw(place), data.draw(st.booleans()))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mean = rng.uniform(0, 255, data.draw(st.sampled_from([(3,), (3, size, size), (3, crop, crop)])))
    mean = mean.astype(np.float32)
    blob = np.empty((3, crop, crop), np.float32)
    cutter(RGB, size, crop, mean, "test")(picture, blob, where, "the picture")
    np.testing.assert_allclose(blob, twin(picture, size, crop, mean, where), rtol=0, atol=2e-4)


@pytest.fixture
def samples(tmp_path):
    """Give eleven small pictures of two labels."""
    rng = np.random.default_rng(0)
    found = []
    for k in range(11):
        path = tmp_path / f"{k:02d}.png"
        pictures.write_png(path, rng.integers(0, 256, (30 + k, 24, 3), dtype=np.uint8))
        found.append(Sample(path, k % 2))
    return found


def view(**more):
    return feed.View("lbp", 16, 12, np.full((3, 16, 16), 100, np.float32), **more)


def taken(samples, number, **options):
    return list(islice(feed.steps(samples, view(), **options), number))


def test_any_number_of_threads_gives_the_same(samples):
    options = {"count": 5, "seed": 3}
    one, three = (taken(samples, 7, threads=n, **options) for n in (1, 3))
    for a, b in zip(one, three):
        np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(a.labels, b.labels)
    other = taken(samples, 1, count=5, seed=4)
    assert not np.array_equal(one[0].data, other[0].data)


def test_a_start_leaves_out_what_came_before(samples):
    whole = taken(samples, 6, count=5, seed=1)
    late = taken(samples, 2, count=5, seed=1, start=4)
    for a, b in zip(whole[4:], late):
        np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_an_epoch_shows_every_picture_once():
    for epoch in range(3):
        assert sorted(feed.order(7, epoch, 40)) == list(range(40))
    assert list(feed.order(7, 0, 40)) != list(feed.order(7, 1, 40))


def test_cuts_reach_every_place_and_mirror_half():
    cuts = [feed.cut_of(0, k, view()) for k in range(2000)]
    assert {(c.row, c.column) for c in cuts} == {(r, c) for r in range(5) for c in range(5)}
    assert 900 < sum(c.mirrored for c in cuts) < 1100
    assert not any(feed.cut_of(0, k, view(mirror=False)).mirrored for k in range(50))


def test_a_step_holds_the_pictures_that_it_says(samples):
    (step,) = taken(samples, 1, count=4, seed=5)
    for row, k in enumerate(feed.order(5, 0, len(samples))[:4]):
        where = feed.cut_of(5, row, view())
        assert step.labels[row] == samples[k].label
        blob = np.empty((3, 12, 12), np.float32)
        picture = pictures.read(samples[k].path)
        cutter(REPRESENTATIONS["lbp"], 16, 12, view().mean, "t")(picture, blob, where, "it")
        np.testing.assert_array_equal(step.data[row], blob)
    assert step.busy > 0


def test_centres_are_what_the_nets_are_shown(samples):
    batches = list(feed.centres(samples, view(), count=4))
    assert [len(labels) for _, labels in batches] == [4, 4, 3]
    shown = np.concatenate([data[: len(labels)] for data, labels in batches])
    whole = [pictures.read(sample.path) for sample in samples]
    wanted = caffe_blob(whole, "lbp", mean=view().mean, size=16, crop=12, mean_mode="crop")
    np.testing.assert_array_equal(shown, wanted)
    np.testing.assert_array_equal(batches[-1][0][3], batches[-1][0][2])  # the filling


def test_the_survey_gives_the_mean_and_names_what_cannot_be_read(samples, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(samples[0].path.read_bytes()[:60])
    tiny = tmp_path / "tiny.png"
    pictures.write_png(tiny, np.zeros((2, 2), np.uint8))
    given_too = [*samples, Sample(bad, 0), Sample(tiny, 1)]
    found = [feed.survey(given_too, "lbp", 16, threads=n) for n in (1, 3)]
    for mean, unread in found:
        assert [item.path for item in unread] == [bad, tiny]
        np.testing.assert_array_equal(mean, found[0][0])
    whole = [pictures.read(sample.path) for sample in samples]
    blobs = caffe_blob(whole, REPRESENTATIONS["lbp"], mean=0, size=16, crop=16)
    np.testing.assert_allclose(found[0][0], blobs.mean(axis=0), rtol=0, atol=1e-4)


def test_a_picture_that_has_gone_is_named(samples, tmp_path):
    gone = [*samples[:3], Sample(Path(tmp_path, "gone.png"), 0)]
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        taken(gone, 1, count=4, seed=0)
    pictures.write_png(tmp_path / "gone.png", np.zeros((2, 9), np.uint8))
    with pytest.raises(ValueError, match=r"gone\.png: .*2 x 9"):
        taken(gone, 1, count=4, seed=0)
