from __future__ import annotations

import json

import numpy as np
import pytest

import lbpmap
from lbpmap import caffe, pictures
from lbpmap.cli import main
from lbpmap.emotion import ensemble
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
    assert "no net 'three'; known ones are" in capsys.readouterr().err


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
    assert "no weights in" in capsys.readouterr().err
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


def test_demo_predicts_where_there_are_nets(make_net, tmp_path, capsys):
    make_net("mine")
    assert main(["demo", "-o", str(tmp_path / "sheet.png")]) == 0
    said = capsys.readouterr().out
    assert "mine: apparent expression " in said
    assert "no released weights" not in said
