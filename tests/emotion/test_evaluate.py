"""Nets over a data set: answers as picture by picture, in order, and what fails is named."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from lbpmap import _loader, pictures
from lbpmap.emotion import ensemble, evaluate
from lbpmap.emotion.dataset import Dataset, Sample, read_dataset
from lbpmap.emotion.registry import find_nets

RNG = np.random.default_rng(3)
SHUFFLED = ["Sad", "Happy", "Surprise", "Angry", "Fear", "Neutral", "Disgust"]


@pytest.fixture
def data(tmp_path):
    """Give pictures of three of the seven labels."""
    for label, count in (("Sad", 9), ("Angry", 5), ("Happy", 6)):
        folder = tmp_path / "faces" / label
        folder.mkdir(parents=True)
        for k in range(count):
            size = tuple(RNG.integers(30, 60, 2))
            pictures.write_png(folder / f"{k}.png", RNG.integers(0, 256, (*size, 3), np.uint8))
    return tmp_path / "faces"


@pytest.fixture
def nets(make_net):
    """Load four nets: two share their input, two a representation, one has its own order."""
    make_net("one", "lbp", seed=1)
    folder = make_net("two", "lbp", seed=2)
    (folder / "mean.binaryproto").write_bytes(
        (folder.parent / "one" / "mean.binaryproto").read_bytes()
    )
    make_net("three", "lbp", seed=3)
    make_net("four", "rgb", seed=4, labels=SHUFFLED)
    found = find_nets()
    loaded = [ensemble.load_net(found[name]) for name in ("one", "two", "three", "four")]
    for net in loaded:  # scores of some hundreds would make of every rounding a difference
        net.net.params["fc8_cat"][0].data[...] *= np.float32(0.02)
    return loaded


@pytest.mark.parametrize("crops", [1, 10])
@pytest.mark.parametrize(("batch", "threads"), [(None, 2), (7, 1), (1, 3)])
def test_as_picture_by_picture(nets, data, crops, batch, threads):
    dataset = read_dataset(data)
    seen = []
    got = evaluate.ask(
        nets, dataset, crops=crops, batch=batch, threads=threads, progress=seen.append
    )
    assert got.labels == nets[0].files.labels
    assert got.samples == dataset.samples
    assert sum(seen) == 20
    assert [got.labels[k] for k in got.truth] == [s.path.parent.name for s in dataset.samples]
    for loaded in nets:
        said = got.by_net[loaded.files.name]
        assert said.dtype == np.float32
        for k, sample in enumerate(dataset.samples):
            want = ensemble.predict([loaded], pictures.read(sample.path), crops=crops)
            named = dict(zip(want.labels, want.probabilities))
            np.testing.assert_allclose(said[k], [named[x] for x in got.labels], atol=1e-6)


def test_a_picture_is_read_once_and_mapped_once_an_input(nets, data, monkeypatch):
    reads, fills = [], []
    filler, read = _loader.filler, _loader.read
    monkeypatch.setattr(_loader, "read", lambda path: reads.append(path) or read(path))

    def counted(chosen, spec, name):
        fill = filler(chosen, spec, name)
        return lambda *args: fills.append(chosen.name) or fill(*args)

    monkeypatch.setattr(_loader, "filler", counted)
    dataset = read_dataset(data)
    evaluate.ask(nets, dataset)
    assert reads == [sample.path for sample in dataset.samples]
    # "one" and "two" take the same; "three" has another mean.
    assert (fills.count("lbp"), fills.count("rgb")) == (40, 20)


def test_what_cannot_be_read_is_named_and_left_out(nets, data):
    (data / "Sad" / "3.png").write_bytes(b"no picture")
    pictures.write_png(data / "Happy" / "0.png", np.zeros((2, 2), np.uint8))  # too small for lbp
    dataset = read_dataset(data)
    got = evaluate.ask(nets, dataset, batch=4, threads=2)
    assert [Path(item.path) for item in got.failed] == [
        data / "Happy" / "0.png",
        data / "Sad" / "3.png",
    ]
    assert "0.png: " in str(got.failed[0].error)
    left = [s for s in dataset.samples if s.path not in {Path(f.path) for f in got.failed}]
    assert list(got.samples) == left
    assert len(got.truth) == 18
    alone = evaluate.ask(nets, dataset, left)
    for name, said in got.by_net.items():
        np.testing.assert_allclose(said, alone.by_net[name], atol=1e-6)


def test_memory_does_not_grow_with_the_pictures(nets, data):
    few = read_dataset(data)
    many = Dataset(few.source, few.labels, few.samples * 10)
    peaks = []
    for dataset in (few, many):
        tracemalloc.start()
        evaluate.ask(nets, dataset, batch=5, threads=2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The blobs of the 180 more pictures would take 5 MB, what is said of them takes 20 kB.
    assert peaks[1] - peaks[0] < 1e6


def test_where_nothing_can_be_read(nets, data):
    for path in data.rglob("*.png"):
        path.write_bytes(b"")
    got = evaluate.ask(nets, read_dataset(data))
    assert len(got.failed) == 20
    assert got.samples == ()
    assert all(said.shape == (0, 7) for said in got.by_net.values())


def test_labels_are_met_by_name(data):
    dataset = read_dataset(data)
    assert list(evaluate.match_labels(dataset, SHUFFLED)) == [3, 1, 0]
    with pytest.raises(ValueError, match=r"faces: label 'Sad' is none of the nets': Angry, Happy$"):
        evaluate.match_labels(dataset, ["Angry", "Happy"])


def test_nets_that_do_not_go_together(nets, data, make_net):
    dataset = read_dataset(data)
    make_net("other", outputs=2, labels=["Sad", "Happy"])
    other = ensemble.load_net(find_nets()["other"])
    with pytest.raises(ValueError, match="other and one have different labels"):
        evaluate.ask([nets[0], other], dataset)
    with pytest.raises(ValueError, match="names of nets must differ, got one, one"):
        evaluate.ask([nets[0], nets[0]], dataset)
    with pytest.raises(ValueError, match="crops must be one of 1, 10"):
        evaluate.ask(nets, dataset, crops=5)


def test_parts():
    def dataset(*parts):
        samples = tuple(Sample(Path(f"{k}.png"), 0, part) for k, part in enumerate(parts))
        return Dataset(Path("faces"), ("x", "y"), samples)

    full = dataset("train", "validation", "test")
    assert evaluate.part_to_score(full) == "test"
    assert evaluate.part_to_score(dataset("train", "validation")) == "validation"
    assert evaluate.part_to_score(dataset("train")) == "all"
    assert evaluate.part_to_score(dataset(None, None)) == "all"
    assert [s.part for s in evaluate.samples_of(full, "train")] == ["train"]
    assert len(evaluate.samples_of(full, "all")) == 3
    with pytest.raises(ValueError, match="faces: no test part; it has train, validation"):
        evaluate.part_to_score(dataset("train", "validation"), "test")
    with pytest.raises(ValueError, match="faces: no train part; it has no parts"):
        evaluate.part_to_score(dataset(None), "train")
    with pytest.raises(ValueError, match="part must be one of 'train', 'validation', 'test', "):
        evaluate.part_to_score(full, "dev")
