"""Faces of inputs: found, cut out, shown to the nets in batches, and cut out once more."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lbpmap import caffe_blob, faces, pictures
from lbpmap.cli import main
from lbpmap.emotion import ensemble
from lbpmap.emotion.fusion import uniform
from lbpmap.emotion.registry import find_nets
from lbpmap.predict import html, pipeline
from lbpmap.predict.pipeline import Looks, look
from lbpmap.predict.sources import Item

from .conftest import picture

RNG = np.random.default_rng(5)


# The small nets' random weights give scores of some hundreds; float32 rounds them, and differently
# in another batch, by as much as this is in the probabilities.
ROUNDED = 1e-4


@pytest.fixture
def loaded(make_net):
    for name, representation, seed in [
        ("one", "lbp", 1),
        ("two", "lbp", 2),
        ("three", "rgb", 3),
        ("four", "cyclic_lbp_5", 4),
    ]:
        make_net(name, representation, seed=seed)
    return [ensemble.load_net(files) for files in find_nets().values() if files.weights]


def looks(loaded, **more):
    names = [net.files.name for net in loaded]
    fusion = uniform(names, loaded[0].files.labels)
    return Looks(loaded, fusion, more.pop("detector", faces.load("none")), **more)


@pytest.mark.parametrize("crops", [1, 10])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_face_is_what_its_nets_say_of_its_crops(loaded, crops, threads):
    shown = [RNG.integers(0, 256, (30 + i, 50 - i, 3), np.uint8) for i in range(9)]
    items = [Item(f"{i}", pixels=pixels) for i, pixels in enumerate(shown)]
    groups = list(look(items, looks(loaded, crops=crops, threads=threads, batch=4)))
    assert [len(group) for group in groups] == [4, 4, 1]
    assert [record.path for group in groups for record in group] == [item.path for item in items]
    for start, group in zip((0, 4, 8), groups):
        for net in loaded:
            blob = caffe_blob(
                shown[start : start + 4],
                net.files.representation,
                mean=net.mean,
                size=32,
                crop=28,
                crops=crops,
            )
            want = ensemble.probabilities(net, blob).reshape(len(group), crops, -1).mean(axis=1)
            got = [record.faces[0].by_net[net.files.name] for record in group]
            np.testing.assert_allclose(got, want, atol=1e-7)
        for face in (record.faces[0] for record in group):
            mean = np.mean(list(face.by_net.values()), axis=0)
            np.testing.assert_allclose(face.probabilities, mean, atol=2e-7)


def test_a_face_that_cannot_be_cut_out_fails_its_input_alone(loaded):
    class Beyond(Halves):
        """Finds a face of 9,000 pixels in high pictures."""

        def detect(self, image):
            found = super().detect(image)
            return found._replace(boxes=found.boxes * (9000 / 40 if len(image) == 60 else 1))

    items = [Item(str(n), pixels=np.zeros((n, 30, 3), np.uint8)) for n in (40, 60, 50)]
    (group,) = look(items, looks(loaded, detector=Beyond()))
    assert [record.error is None for record in group] == [True, False, True]
    assert "larger than 8192" in group[1].error


def test_each_representation_is_mapped_once_and_nets_see_batches(loaded, monkeypatch):
    mapped, seen = Counter(), []
    real_map, real_run = pipeline.mapped_lbp, pipeline.probabilities

    def count_map(image, representation):
        mapped[representation.name] += 1
        return real_map(image, representation)

    def count_run(net, blob):
        seen.append((net.files.name, len(blob)))
        return real_run(net, blob)

    monkeypatch.setattr(pipeline, "mapped_lbp", count_map)
    monkeypatch.setattr(pipeline, "probabilities", count_run)
    items = [Item(str(i), pixels=picture(RNG)) for i in range(20)]
    items[3] = Item("3", error="broken")
    list(look(items, looks(loaded, batch=8)))
    assert mapped == {"lbp": 19, "rgb": 19, "cyclic_lbp_5": 19}
    assert Counter(seen) == {(net.files.name, n): 1 for net in loaded for n in (7, 8, 4)}


class Halves:
    """A detector of two faces in wide pictures, one in high ones, none in squares."""

    name = "halves"

    def detect(self, image):
        height, width = image.shape[:2]
        if height == 13:
            raise ValueError("thirteen")
        n = 0 if height == width else 1 + (width > height)
        boxes = np.array([[0, 0, width / (1 + k), height] for k in range(n)], float).reshape(n, 4)
        return faces.Detected(boxes, np.linspace(1, 0.5, n), np.full((n, 5, 2), np.nan))

    def detect_all(self, images):
        return [self.detect(image) for image in images]

    def made_with(self):
        return {"detector": self.name}


def test_a_row_a_face_and_one_for_none(loaded):
    shapes = [(40, 60), (60, 40), (50, 50), (13, 60), (70, 90), (20, 30)] * 3
    items = [
        Item(str(i), pixels=RNG.integers(0, 256, (*s, 3), np.uint8)) for i, s in enumerate(shapes)
    ]
    for batch in (1, 2, 5, 32):
        got = [r for g in look(items, looks(loaded, detector=Halves(), batch=batch)) for r in g]
        assert [record.path for record in got] == [item.path for item in items]
        assert [len(record.faces) for record in got] == [2, 1, 0, 0, 2, 2] * 3
        assert [record.error for record in got] == [None, None, None, "thirteen", None, None] * 3
        assert got[0].faces[1].box == (0, 0, 30, 40)
        assert got[0].faces[0].landmarks is None
        for record, item in zip(got, items):
            for face in record.faces:
                cut = faces.align(item.pixels, face.box)
                if len(cut) < 48:
                    cut = faces.align(item.pixels, face.box, size=48)
                want = ensemble.predict(loaded, cut).probabilities
                np.testing.assert_allclose(face.probabilities, want, atol=ROUNDED)
    largest = [r for g in look(items, looks(loaded, detector=Halves(), largest=True)) for r in g]
    assert [len(record.faces) for record in largest] == [1, 1, 0, 0, 1, 1] * 3


def test_faces_are_cut_out_again_for_a_report(loaded, tmp_path):
    """A table has no pictures; from boxes of whole pixels they are the same again."""
    shapes = [(60, 90), (90, 60), (50, 50), (100, 120)]
    names = [str(tmp_path / f"{i}.png") for i in range(len(shapes))]
    for name, shape in zip(names, shapes):
        pictures.write_png(name, RNG.integers(0, 256, (*shape, 3), np.uint8))
    for detector in (Halves(), faces.load("none")):
        shows = looks(loaded, detector=detector, pictures=html.thumbnails)
        (group,) = look(map(Item, names), shows)
        for record in group:
            bare = replace(record, faces=tuple(replace(f, pictures={}) for f in record.faces))
            assert pipeline.with_pictures(bare, shows) == record
            assert pipeline.with_pictures(record, shows) is record
            gone = replace(bare, path=str(tmp_path / "gone.png"))
            assert pipeline.with_pictures(gone, shows) is gone
        assert sum(len(record.faces) for record in group) >= 4
        assert all(face.pictures for record in group for face in record.faces)


def test_faces_of_a_picture_are_found_and_named(make_net, shared, tmp_path, monkeypatch, capsys):
    """MTCNN's own files, on a picture of two faces, one upside down; and on one of none."""
    astronaut = pytest.importorskip("skimage.data").astronaut()[:256, 100:356]
    make_net("mine", "lbp")
    (tmp_path / "nets" / "mtcnn").symlink_to(shared / "models" / "mtcnn")
    both = np.zeros((300, 600, 3), np.uint8)
    both[20:276, 20:276], both[150:278, 400:528] = astronaut, astronaut[::2, ::2]
    pictures.write_png(tmp_path / "both.png", both)
    pictures.write_png(tmp_path / "none.png", np.full((200, 300, 3), 90, np.uint8))
    ask = ["predict", str(tmp_path / "both.png"), str(tmp_path / "none.png"), "--faces", "mtcnn"]
    assert main([*ask, "--json"]) == 0
    large, small, none = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (large["face"], small["face"], none["face"]) == (1, 2, None)
    boxes = sorted([large["box"], small["box"]], key=lambda box: box[0])
    assert 90 < boxes[0][0] < 180 < boxes[0][2] < 250
    assert 430 < boxes[1][0] < 500 > boxes[1][2] - 60
    for row in (large, small):
        (x0, y0, x1, y1), marks = row["box"], np.array(row["landmarks"])
        assert ((marks > (x0, y0)) & (marks < (x1, y1))).all()
        assert row["score"] > 0.7
    assert none["error"] is none["label"] is None
    assert main([*ask, "--largest"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1] == f"{tmp_path / 'none.png'}\tno face"
    monkeypatch.setenv("LBPMAP_MODELS", str(tmp_path))
    assert main(["predict", ask[1], "--faces", "mtcnn", "--models", str(tmp_path / "nets")]) == 0
