from __future__ import annotations

import json

import numpy as np
import pytest

import lbpmap
from lbpmap import caffe, pictures
from lbpmap.caffe.formats import prototxt
from lbpmap.cli import main
from lbpmap.emotion import ensemble
from lbpmap.emotion.fusion import Fusion, uniform
from lbpmap.emotion.registry import find_nets

RNG = np.random.default_rng(11)


@pytest.fixture
def face(tmp_path):
    path = tmp_path / "faces" / "face.png"
    path.parent.mkdir()
    pictures.write_png(path, RNG.integers(0, 256, (50, 44, 3), np.uint8))
    return path


def by_hand(folder, representation, picture, crops=1):
    """Run a net as a pycaffe script would."""
    blob = caffe.io.caffe_pb2.BlobProto.FromString((folder / "mean.binaryproto").read_bytes())
    net = caffe.Classifier(
        str(folder / "deploy.prototxt"),
        str(folder / "small.caffemodel"),
        mean=caffe.io.blobproto_to_array(blob)[0],
        channel_swap=(2, 1, 0),
        raw_scale=255,
        image_dims=(32, 32),
    )
    mapped = lbpmap.mapped_lbp(picture, representation)
    return net.predict([(mapped / 255).astype(np.float32)], oversample=crops == 10)[0]


@pytest.mark.parametrize("crops", [1, 10])
@pytest.mark.parametrize("representation", ["rgb", "cyclic_lbp_5"])
def test_it_is_what_pycaffes_classifier_gives(make_net, face, representation, crops):
    folder = make_net("mine", representation)
    picture = pictures.read(face)
    loaded = ensemble.load_net(find_nets()["mine"])
    got = ensemble.predict([loaded], picture, crops=crops).probabilities
    np.testing.assert_allclose(got, by_hand(folder, representation, picture, crops), atol=1e-6)


def test_one_line_a_face(make_net, face, capsys):
    make_net("one", "lbp", seed=1)
    make_net("two", "cyclic_lbp_10", seed=2)
    assert main(["predict", str(face)]) == 0
    line = capsys.readouterr().out.rstrip("\n")
    path, label, shares = line.split("\t")
    assert path == str(face)
    values = {pair.split()[0]: float(pair.split()[1]) for pair in shares.split("  ")}
    assert max(values, key=values.get) == label
    assert sum(values.values()) == pytest.approx(1, abs=0.004)


def test_json_has_every_net_and_their_mean(make_net, face, capsys):
    folders = {name: make_net(name, name, seed=i) for i, name in enumerate(["lbp", "rgb"])}
    assert main(["predict", str(face.parent), "--json", "--crops", "10"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["path"] == str(face)
    assert list(said["nets"]) == ["lbp", "rgb"]
    picture = pictures.read(face)
    for name, folder in folders.items():
        want = by_hand(folder, name, picture, 10)
        np.testing.assert_allclose(list(said["nets"][name].values()), want, atol=1e-6)
    mean = np.mean([list(net.values()) for net in said["nets"].values()], axis=0)
    np.testing.assert_allclose(list(said["probabilities"].values()), mean, atol=1e-6)
    assert said["label"] == max(said["probabilities"], key=said["probabilities"].get)


def test_a_net_by_its_name(make_net, face, capsys):
    make_net("one")
    make_net("two")
    assert main(["predict", str(face), "--net", "two", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["nets"]) == ["two"]
    assert main(["predict", str(face), "--net", "three"]) == 2
    assert (
        "three: neither a folder nor the name of a net; known ones are" in capsys.readouterr().err
    )


def test_a_bad_face_is_named_and_the_rest_goes_on(make_net, face, capsys):
    make_net("mine")
    (face.parent / "bad.png").write_bytes(face.read_bytes()[:200])
    pictures.write_png(face.parent / "tiny.png", np.zeros((2, 2, 3), np.uint8))
    assert main(["predict", str(face.parent)]) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 1
    assert "bad.png: damaged or cut short" in said.err
    assert "tiny.png: " in said.err
    assert "2 of 3 failed" in said.err


def test_no_weights_no_mean_no_prediction(make_net, face, capsys, tmp_path):
    assert main(["predict", str(face)]) == 2
    said = capsys.readouterr().err
    assert "no weights in" in said
    assert "for any of" in said
    make_net("mine", mean=False)
    assert main(["predict", str(face)]) == 2
    said = capsys.readouterr()
    assert "no mean beside" in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop": 32}, "input 'data' is 3 x 32 x 32, but mine takes 3 x 28 x 28: it would run and"),
        ({"outputs": 5}, "5 outputs, but mine has 7 labels"),
    ],
)
def test_a_net_of_another_shape_is_refused(make_net, face, capsys, fields, message):
    make_net("mine", **fields)
    assert main(["predict", str(face)]) == 2
    assert message in capsys.readouterr().err


def test_a_blob_of_another_shape_is_refused(make_net):
    make_net("mine")
    loaded = ensemble.load_net(find_nets()["mine"])
    with pytest.raises(ValueError, match="takes blobs of N x 3 x 28 x 28, got 1 x 3 x 32 x 32"):
        ensemble.probabilities(loaded, np.zeros((1, 3, 32, 32), np.float32))


def test_a_damaged_mean_or_caffemodel_is_named(make_net, face, capsys):
    folder = make_net("mine")
    whole = (folder / "mean.binaryproto").read_bytes()
    (folder / "mean.binaryproto").write_bytes(whole[:-7])
    assert main(["predict", str(face)]) == 2
    assert "mean.binaryproto" in capsys.readouterr().err
    (folder / "mean.binaryproto").write_bytes(whole)
    weights = (folder / "small.caffemodel").read_bytes()
    (folder / "small.caffemodel").write_bytes(weights[: len(weights) // 2])
    assert main(["predict", str(face)]) == 2
    assert "small.caffemodel" in capsys.readouterr().err


def test_weights_of_another_net_are_refused(make_net, face, capsys):
    folder = make_net("mine")
    other = (folder / "deploy.prototxt").read_text().replace("conv1", "conv9")
    (folder / "deploy.prototxt").write_text(other)
    assert main(["predict", str(face)]) == 2
    said = capsys.readouterr()
    assert "has no weights for conv9 of" in said.err
    assert said.out == ""


def test_what_is_no_probability_is_refused(make_net, face, capsys):
    folder = make_net("mine")
    text = (folder / "deploy.prototxt").read_text()
    (folder / "deploy.prototxt").write_text(text[: text.index('layers { name: "prob"')])
    assert main(["predict", str(face)]) == 2
    assert "mine: its output 'fc8' is no probabilities" in capsys.readouterr().err
    (folder / "deploy.prototxt").write_text(text)
    net = caffe.Net(folder / "deploy.prototxt", folder / "small.caffemodel", caffe.TEST)
    net.params["fc8_cat"][0].data[0, 0] = np.nan
    net.save(folder / "small.caffemodel")
    assert main(["predict", str(face)]) == 2
    said = capsys.readouterr()
    assert "mine: its output 'prob' is no probabilities" in said.err
    assert said.out == ""


@pytest.mark.parametrize("mode", ["resize", "crop"])
def test_a_bad_mean_is_named_once(make_net, face, capsys, mode):
    folder = make_net("mine")
    pictures.write_png(face.parent / "other.png", pictures.read(face))
    values = np.full((1, 3, 30, 32), np.nan if mode == "resize" else 100)
    blob = caffe.io.array_to_blobproto(values)
    (folder / "mean.binaryproto").write_bytes(blob.SerializeToString())
    assert main(["predict", str(face.parent), "--mean-mode", mode]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "mean.binaryproto: " in said
    assert ("finite" if mode == "resize" else "3 x 32 x 32") in said


def test_both_modes_of_the_mean(make_net, face):
    stored = (make_net("mine") / "mean.binaryproto").read_bytes()
    whole = caffe.io.blobproto_to_array(caffe.io.caffe_pb2.BlobProto.FromString(stored))[0]
    picture, files = pictures.read(face), find_nets()["mine"]
    for mode, side in (("resize", 28), ("crop", 32)):
        loaded = ensemble.load_net(files, mean_mode=mode)
        assert loaded.mean.shape == (3, side, side)
        blob = lbpmap.caffe_blob(
            picture, "cyclic_lbp", mean=whole, size=32, crop=28, crops=10, mean_mode=mode
        )
        want = ensemble.probabilities(loaded, blob).mean(axis=0)
        got = ensemble.predict([loaded], picture, crops=10).probabilities
        np.testing.assert_allclose(got, want, atol=1e-6)
    with pytest.raises(ValueError, match="mean_mode must be one of 'resize', 'crop'"):
        ensemble.load_net(files, mean_mode="none")


def test_nets_of_different_labels_are_refused_at_once(make_net, face, capsys):
    make_net("one")
    path = make_net("two") / "model.toml"
    path.write_text(path.read_text().replace("Angry", "Cross"))
    assert main(["predict", str(face)]) == 2
    said = capsys.readouterr().err
    assert "two and one have different labels and cannot be averaged" in said
    assert said.count("\n") == 1


def test_nets_are_weighed_by_name_and_label(make_net, face):
    make_net("one", seed=1)
    path = make_net("two", seed=2) / "model.toml"
    path.write_text(path.read_text().replace("'Angry', 'Disgust'", "'Disgust', 'Angry'"))
    nets = find_nets()
    loaded = [ensemble.load_net(nets[name]) for name in ("one", "two")]
    picture = pictures.read(face)
    labels = nets["one"].labels[::-1]
    weighed = Fusion("weighted", ("two", "one"), labels, np.array([0.75, 0.25]))
    got = ensemble.predict(loaded, picture, fusion=weighed)
    alone = [ensemble.predict([net], picture) for net in loaded]
    one, two = (dict(zip(said.labels, said.probabilities)) for said in alone)
    assert got.labels == labels
    want = [0.25 * one[label] + 0.75 * two[label] for label in labels]
    np.testing.assert_allclose(got.probabilities, want, atol=1e-6)
    mean = ensemble.predict(loaded, picture)
    assert mean.labels == nets["one"].labels
    np.testing.assert_allclose(
        mean.probabilities, [(one[x] + two[x]) / 2 for x in mean.labels], atol=1e-6
    )
    with pytest.raises(ValueError, match="no probabilities of three"):
        ensemble.predict(loaded, picture, fusion=uniform(["one", "three"], labels))
    with pytest.raises(ValueError, match="the fusion is of sad, glad, but the nets' labels are"):
        ensemble.predict(loaded, picture, fusion=uniform(["one"], ["sad", "glad"]))


def test_demo_predicts_where_there_are_nets(make_net, tmp_path, capsys):
    make_net("mine")
    assert main(["demo", "-o", str(tmp_path / "sheet.png")]) == 0
    said = capsys.readouterr().out
    assert "mine: apparent expression " in said
    assert "no released weights" not in said


def test_python_layers_run_only_when_allowed(make_net, face, capsys, monkeypatch, tmp_path):
    """A prototxt from elsewhere names a module, and importing it would already run it."""
    (tmp_path / "hostile_layers.py").write_text(
        """
import pathlib
from lbpmap.caffe import Layer

pathlib.Path(__file__).with_name("was_imported").touch()

class Same(Layer):
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data
"""
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    deploy = make_net("mine") / "deploy.prototxt"
    python = """layer { name: "spy" type: "Python" bottom: "data" top: "seen"
      python_param { module: "hostile_layers" layer: "Same" } }"""
    text = prototxt.format_text(prototxt.read_net(deploy))
    head, first, rest = text.partition('layer {\n  name: "conv1"')
    assert first
    deploy.write_text(head + python + first + rest.replace('"data"', '"seen"', 1))
    assert main(["predict", str(face)]) == 2
    said = capsys.readouterr()
    assert f'{deploy}: layer "spy" runs Python code of its own' in said.err
    assert said.out == ""
    assert not (tmp_path / "was_imported").exists()
    assert main(["predict", str(face), "--allow-python-layers"]) == 0
    assert (tmp_path / "was_imported").exists()
    assert len(capsys.readouterr().out.splitlines()) == 1
