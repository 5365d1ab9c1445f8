"""Nets of the paper in other stacks' files: the pictures they take, what they say, what is said."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

import lbpmap
from lbpmap import caffe, pictures
from lbpmap._files import sha256
from lbpmap.caffe.export import read_about
from lbpmap.cli import main
from lbpmap.emotion import ensemble, exporting, picture_nodes, registry, synthetic
from lbpmap.representations import REPRESENTATIONS

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def onnx():
    pytest.importorskip("onnxruntime")
    return pytest.importorskip("onnx")


def opened(path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def soften(folder):
    """Make weights small, so that no probability is near 0 or 1 and every pixel counts."""
    net = caffe.Net(folder / "deploy.prototxt", caffe.TEST, weights=folder / "small.caffemodel")
    net.params["fc8_cat"][0].data[...] *= 0.005
    net.save(folder / "small.caffemodel")


def showing(onnx, path, *names):
    """Open a file with tensors from within its graph among the outputs."""
    model = onnx.load(path)
    kinds = {"codes": onnx.TensorProto.INT64, "mapped": onnx.TensorProto.UINT8}
    for name in names:
        kind = kinds.get(name, onnx.TensorProto.FLOAT)
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    inside = path.with_name("inside.onnx")
    onnx.save(model, inside)
    return opened(inside)


def some_pictures(shared, radius):
    """Give noise, one grey, ramps, edges and a photo, of several sizes; ties are what they have."""
    least = 2 * radius + 1
    noise = [RNG.integers(0, 256, (*shape, 3)) for shape in ((least, least), (50, 44), (37, 91))]
    flat = [np.full((least + 5, least + 9, 3), level) for level in (0, 97, 128, 255)]
    slope = np.add.outer(np.arange(60), 2 * np.arange(70))[..., None].repeat(3, 2)
    steps = [slope // 3, slope % 256, 255 - slope // 2 % 256, (slope // 7 % 2) * 200]
    few = [RNG.integers(0, 3, (64, 80, 1)).repeat(3, 2) + 100]
    photo = pictures.read(shared / "example" / "example_image.png")
    return [p.astype(np.uint8) for p in (*noise, *flat, *steps, *few)] + [photo]


@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_a_picture_goes_in_and_every_step_is_lbpmaps(
    onnx, shared, make_net, tmp_path, capsys, representation
):
    folder = make_net("mine", representation)
    soften(folder)
    path = tmp_path / "face.onnx"
    assert main(["export", "mine", "-o", str(path), "--input", "picture"]) == 0
    assert "face.onnx: " in capsys.readouterr().out
    shown = REPRESENTATIONS[representation]
    within = ("codes", "mapped") if shown.table else ()
    session = showing(onnx, path, *within, "data")
    loaded = ensemble.load_net(registry.find_nets()["mine"])
    answers = []
    for picture in some_pictures(shared, shown.radius):
        said, *inner, blob = session.run(["prob", *within, "data"], {"picture": picture})
        if shown.table:
            codes = lbpmap.lbp_codes(picture, shown.radius, arithmetic=shown.arithmetic)
            np.testing.assert_array_equal(inner[0], codes)
            np.testing.assert_array_equal(inner[1], lbpmap.mapped_lbp(picture, representation))
        wanted = lbpmap.caffe_blob(picture, representation, mean=loaded.mean, size=32, crop=28)
        np.testing.assert_allclose(blob, wanted, atol=1e-4)
        wanted = ensemble.predict([loaded], picture).probabilities
        np.testing.assert_allclose(said[0], wanted, atol=1e-5)
        answers.append(said[0])
    assert 0.05 < np.max(answers) < 0.95
    assert np.ptp(answers, axis=0).max() > 0.01


def test_a_table_of_ones_own_in_the_exact_arithmetic(onnx, make_net, tmp_path):
    folder = make_net("own", "own.table")
    values = RNG.integers(0, 256, (64, 3), np.uint8)
    table = lbpmap.Table(values, "own", radius=2, points=6, arithmetic="exact")
    table.save(folder / "own.table")
    path = tmp_path / "own.onnx"
    assert main(["export", str(folder), "-o", str(path), "--input", "picture"]) == 0
    session = showing(onnx, path, "codes", "mapped")
    slope = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)[..., None].repeat(3, 2)
    for picture in (slope, RNG.integers(0, 256, (33, 31, 3), np.uint8)):
        codes, mapped = session.run(["codes", "mapped"], {"picture": picture})
        wanted = lbpmap.lbp_codes(picture, 2, points=6, arithmetic="exact")
        np.testing.assert_array_equal(codes, wanted)
        np.testing.assert_array_equal(mapped, values[wanted])
    about = read_about(path)
    assert about["representation"]["table"]["code_255"] == "own"
    table = folder / "own.table"
    assert about["sources"]["table"] == {"name": "own.table", "sha256": sha256(table)}


@pytest.mark.parametrize("mode", ["resize", "crop"])
def test_both_ways_of_the_mean(onnx, make_net, tmp_path, mode):
    make_net("mine", "rgb")
    path = tmp_path / "net.onnx"
    command = ["export", "mine", "-o", str(path), "--input", "picture", "--mean-mode", mode]
    assert main(command) == 0
    loaded = ensemble.load_net(registry.find_nets()["mine"], mean_mode=mode)
    picture = RNG.integers(0, 256, (50, 44, 3), np.uint8)
    (blob,) = showing(onnx, path, "data").run(["data"], {"picture": picture})
    wanted = lbpmap.caffe_blob(picture, "rgb", mean=loaded.mean, size=32, crop=28, mean_mode="crop")
    np.testing.assert_allclose(blob, wanted, atol=1e-4)


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors", ".pt2"])
def test_a_file_says_what_its_net_wants_to_see(make_net, tmp_path, suffix):
    for package in ("onnxruntime", "onnx", "safetensors"):
        pytest.importorskip(package)
    if suffix == ".pt2":
        pytest.importorskip("torch")
    folder = make_net("mine", "cyclic_lbp_5")
    toml = folder / "model.toml"
    toml.write_text('licence = "for tests\\nonly"\n' + toml.read_text())
    path = tmp_path / f"net{suffix}"
    assert main(["export", "mine", "-o", str(path)]) == 0
    about = read_about(path)
    table = REPRESENTATIONS["cyclic_lbp_5"].table
    assert about == {
        "format": 1,
        "lbpmap": lbpmap.__version__,
        "net": "small",
        "inputs": {"data": ["N", 3, 28, 28]},
        "outputs": {"prob": ["N", 7]},
        "sources": {
            kind: {"name": name, "sha256": sha256(folder / name)}
            for kind, name in (
                ("deploy", "deploy.prototxt"),
                ("weights", "small.caffemodel"),
                ("mean", "mean.binaryproto"),
            )
        },
        "name": "mine",
        "labels": ["Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"],
        "representation": {
            "name": "cyclic_lbp_5",
            "radius": 5,
            "points": 8,
            "arithmetic": "released",
            "table": {"name": "cyclic_lbp", "sha256": table.sha256, "code_255": "released"},
        },
        "takes": "blob",
        "input": {
            "size": 32,
            "crop": 28,
            "channel_order": "BGR",
            "raw_scale": 255,
            "mean": "inside",
        },
        "licence": "for tests only",
    }
    mean = ensemble.load_net(registry.find_nets()["mine"]).mean
    held = arrays_in(path)
    np.testing.assert_array_equal(held["mean"], mean)
    np.testing.assert_array_equal(held["table"], table.lookup("released"))


def arrays_in(path):
    """Read mean and table as their own libraries do."""
    if path.suffix == ".onnx":
        import onnx

        arrays = onnx.load(path).graph.initializer
        return {each.name: onnx.numpy_helper.to_array(each) for each in arrays}
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(path)
    import torch

    return {name: each.numpy() for name, each in torch.export.load(path).state_dict.items()}


def test_a_mean_of_three_values_is_said(onnx, make_net, tmp_path):
    folder = make_net("mine", "lbp")
    values = np.array([104, 117, 123.5]).reshape(1, 3, 1, 1) * np.ones((1, 3, 32, 32))
    blob = caffe.io.array_to_blobproto(values)
    (folder / "mean.binaryproto").write_bytes(blob.SerializeToString())
    path = tmp_path / "net.onnx"
    for takes in exporting.TAKES:
        assert main(["export", "mine", "-o", str(path), "--input", takes]) == 0
        assert read_about(path)["input"]["mean"] == [104, 117, 123.5]
        assert read_about(path)["takes"] == takes
        np.testing.assert_array_equal(arrays_in(path)["mean"].ravel(), [104, 117, 123.5])
    assert read_about(path)["inputs"] == {"picture": ["H", "W", 3]}
    assert read_about(path)["outputs"] == {"prob": [1, 7]}


PLAIN = """
import json, sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["lbpmap"])
picture = np.random.default_rng(1).integers(0, 256, (40, 52, 3), np.uint8)
(probabilities,) = session.run(None, {"picture": picture})
assert "lbpmap" not in sys.modules
print(json.dumps(dict(zip(about["labels"], probabilities[0].tolist()))))
"""


def test_somebody_without_lbpmap_runs_it(onnx, make_net, tmp_path):
    soften(make_net("mine", "cyclic_lbp"))
    path = tmp_path / "face.onnx"
    assert main(["export", "mine", "-o", str(path), "--input", "picture"]) == 0
    command = [sys.executable, "-W", "error", "-c", PLAIN, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    picture = np.random.default_rng(1).integers(0, 256, (40, 52, 3), np.uint8)
    loaded = ensemble.load_net(registry.find_nets()["mine"])
    wanted = ensemble.predict([loaded], picture)
    said = json.loads(done.stdout)
    assert list(said) == list(wanted.labels)
    np.testing.assert_allclose(list(said.values()), wanted.probabilities, atol=1e-5)


def test_the_command_says_how_far_each_output_is_off(onnx, make_net, tmp_path, capsys):
    make_net("mine")
    path = tmp_path / "net.onnx"
    assert main(["export", "mine", "-o", str(path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{path}: {path.stat().st_size} bytes, data N x 3 x 28 x 28"
    assert second.startswith("  prob: off by at most ")
    assert float(second.split()[-1]) <= 1e-6


def test_the_graph_means_the_same_to_others(onnx, make_net, tmp_path):
    reference = pytest.importorskip("onnx.reference")
    soften(make_net("mine", "cyclic_lbp_10"))
    path = tmp_path / "face.onnx"
    assert main(["export", "mine", "-o", str(path), "--input", "picture"]) == 0
    picture = (np.add.outer(np.arange(60), 2 * np.arange(70)) % 256)[..., None].repeat(3, 2)
    picture = picture.astype(np.uint8)
    (wanted,) = opened(path).run(None, {"picture": picture})
    (got,) = reference.ReferenceEvaluator(str(path)).run(None, {"picture": picture})
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_opencv_reads_it(onnx, make_net, tmp_path):
    cv2 = pytest.importorskip("cv2")
    soften(make_net("mine", "lbp"))
    path = tmp_path / "net.onnx"
    assert main(["export", "mine", "-o", str(path)]) == 0
    blob = RNG.uniform(-128, 128, (1, 3, 28, 28)).astype(np.float32)
    net = cv2.dnn.readNetFromONNX(str(path))
    net.setInput(blob)
    (wanted,) = opened(path).run(None, {"data": blob})
    np.testing.assert_allclose(net.forward("prob"), wanted, atol=1e-5)


def test_a_wrong_picture_graph_is_not_left(onnx, make_net, tmp_path, monkeypatch, capsys):
    make_net("mine", "lbp")
    monkeypatch.setattr(picture_nodes, "_GRAY", (1253830, 2462235, 478238 * 2))
    path = tmp_path / "face.onnx"
    assert main(["export", "mine", "-o", str(path), "--input", "picture"]) == 2
    assert "output 'data' differs by " in capsys.readouterr().err
    assert not path.exists()


def test_so_many_items_and_no_more(onnx, make_net, tmp_path):
    make_net("mine")
    path = tmp_path / "net.onnx"
    assert main(["export", "mine", "-o", str(path), "--batch", "4"]) == 0
    assert opened(path).get_inputs()[0].shape == [4, 3, 28, 28]


def test_any_caffe_net_by_its_files(onnx, make_net, tmp_path, capsys):
    folder = make_net("mine")
    files = ["--deploy", str(folder / "deploy.prototxt")]
    files += ["--weights", str(folder / "small.caffemodel")]
    path = tmp_path / "net.onnx"
    assert main(["export", *files, "-o", str(path), "--batch", "2"]) == 0
    assert "data 2 x 3 x 28 x 28" in capsys.readouterr().out
    about = read_about(path)
    assert sorted(about["sources"]) == ["deploy", "weights"]
    assert "labels" not in about


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine", "-o", "net.tflite"], "net.tflite: expected a name that ends in .onnx"),
        (["mine", "-o", "nowhere/net.onnx"], "its folder does not exist"),
        (["yours", "-o", "net.onnx"], "yours: neither a folder nor the name of a net; known "),
        (["-o", "net.onnx"], "give a NET, or both --deploy and --weights"),
        (["--deploy", "d", "-o", "net.onnx"], "give a NET, or both --deploy and --weights"),
        (["mine", "--deploy", "d", "--weights", "w", "-o", "a.onnx"], "give a NET, or both"),
        (["mine", "-o", "net.pt2", "--input", "picture"], "--input picture goes with .onnx"),
        (["mine", "-o", "net.onnx", "--input", "picture", "--batch", "2"], "leave batch"),
        (
            ["--deploy", "d", "--weights", "w", "-o", "a.onnx", "--input", "picture"],
            "are for a NET, whose model.toml says",
        ),
        (["VGG_S_rgb", "-o", "net.onnx"], "VGG_S_rgb: no weights in "),
    ],
)
def test_what_is_refused(make_net, tmp_path, monkeypatch, capsys, arguments, message):
    make_net("mine")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["export", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("lbpmap export: ")
    assert message in said
    assert len(said.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_python_layers_are_refused_unread(make_net, tmp_path, capsys):
    folder = make_net("mine")
    text = 'layer { name: "p" type: "Python" top: "data" python_param { module: "this" } }'
    (folder / "deploy.prototxt").write_text(text)
    assert main(["export", "mine", "-o", str(tmp_path / "net.onnx")]) == 2
    assert 'layer "p" runs Python code of its own' in capsys.readouterr().err


def test_a_missing_package_is_named(make_net, tmp_path, monkeypatch, capsys):
    make_net("mine")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    path = tmp_path / "net.onnx"
    assert main(["export", "mine", "-o", str(path)]) == 2
    assert "pip install 'lbpmap[export]'" in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.slow
def test_the_released_layout_at_full_size(onnx, tmp_path, monkeypatch):
    root = registry.packaged_folder() / "VGG_S_cyclic_lbp"
    folder = tmp_path / "nets" / "full_size"  # random weights are not the released ones
    folder.mkdir(parents=True)
    for name in ("deploy.prototxt", "model.toml"):
        (folder / name).write_bytes((root / name).read_bytes())
    synthetic.write_random_weights(
        folder / "deploy.prototxt", folder / "EmotiW_VGG_S.caffemodel", 0
    )
    mean = caffe.io.array_to_blobproto(RNG.uniform(90, 130, (1, 3, 256, 256)))
    (folder / "mean.binaryproto").write_bytes(mean.SerializeToString())
    files = registry.net_in(folder)
    made = exporting.export_net(files, tmp_path / "face.onnx", takes="picture")
    assert max(made.differences.values()) <= 1e-4
    assert 0 < made.size - 4 * 124_507_607 < 2**20
    picture = RNG.integers(0, 256, (181, 143, 3), np.uint8)
    (said,) = opened(made.path).run(None, {"picture": picture})
    wanted = ensemble.predict([ensemble.load_net(files)], picture).probabilities
    np.testing.assert_allclose(said[0], wanted, atol=1e-4)
