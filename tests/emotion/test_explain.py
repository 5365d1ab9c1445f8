"""What a net makes of a face, on nets whose reasons are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lbpmap import caffe, pictures
from lbpmap._page import PAPER
from lbpmap.caffe import engine
from lbpmap.cli import main
from lbpmap.emotion import evidence, explain_sheet
from lbpmap.emotion.anatomy import Anatomy, anatomy
from lbpmap.emotion.ensemble import load_net, predict
from lbpmap.emotion.explain import explain
from lbpmap.emotion.registry import net_in
from lbpmap.transform import caffe_blob, lbp_codes, mapped_lbp

SIDE = 16
INPUT = f"""name: "known" input: "data"
input_dim: 1 input_dim: 3 input_dim: {SIDE} input_dim: {SIDE}
"""
# Two maps, of red and of blue; the labels are sums over them.
COLOURS = """
layer { name: "seeing" type: "Convolution" bottom: "data" top: "seen"
  convolution_param { num_output: 2 kernel_size: 3 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "seen" top: "seen" }
layer { name: "pool" type: "Pooling" bottom: "seen" top: "pool"
  pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "score" type: "InnerProduct" bottom: "pool" top: "score"
  inner_product_param { num_output: 2 } }
layer { name: "said" type: "Softmax" bottom: "score" top: "said" }
"""
RED, BLUE = (slice(0, 5), slice(10, 16)), (slice(11, 16), slice(2, 6))


@pytest.fixture
def make(tmp_path):
    """Give a function that makes a net's folder: layers, weights, what it looks at."""

    def build(layers, weights, representation="rgb", *, name="known", size=SIDE, labels=2):
        folder = tmp_path / "nets" / name
        folder.mkdir(parents=True)
        (folder / "deploy.prototxt").write_text(INPUT + layers)
        (folder / "model.toml").write_text(
            f'representation = "{representation}"\n'
            f"labels = {['Red', 'Blue', 'Grey', 'Plain'][:labels]}\n"
            f"[input]\nsize = {size}\ncrop = {SIDE}\n"
            '[files]\ndeploy = "deploy.prototxt"\nweights = "w.caffemodel"\nmean = "m.binaryproto"'
        )
        net = caffe.Net(str(folder / "deploy.prototxt"), caffe.TEST)
        for layer, values in weights.items():
            net.params[layer][0].data[...] = values
        net.save(str(folder / "w.caffemodel"))
        blob = caffe.io.array_to_blobproto(np.full((1, 3, SIDE, SIDE), 128.0))
        (folder / "m.binaryproto").write_bytes(blob.SerializeToString())
        return folder

    return build


@pytest.fixture
def colours(make):
    """Give the net that tells red from blue; channels are BGR."""
    seeing = np.zeros((2, 3, 3, 3))
    seeing[0, 2, 1, 1] = seeing[1, 0, 1, 1] = 1 / 128
    score = np.zeros((2, 2, 64))
    score[0, 0] = score[1, 1] = 0.5
    return make(COLOURS, {"seeing": seeing, "score": score.reshape(2, 128)})


@pytest.fixture
def spots():
    """Give a black picture with a red and a blue spot."""
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[(*RED, 0)] = picture[(*BLUE, 2)] = 255
    return picture


@pytest.mark.parametrize("method", evidence.METHODS)
@pytest.mark.parametrize(("label", "place"), [("Red", RED), ("Blue", BLUE)])
def test_it_points_to_what_speaks_for_the_label(colours, spots, method, label, place):
    if method == "gradcam":
        pytest.importorskip("torch")
    told = explain(load_net(net_in(colours)), spots, label=label, method=method)
    heat = told.upon_face
    assert heat.shape == (SIDE, SIDE)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[place] = True
    assert inside[np.unravel_index(heat.argmax(), heat.shape)]
    assert heat[inside].mean() > 10 * max(0, heat[~inside].mean())
    assert told.files.labels[told.label] == label
    other = BLUE if place is RED else RED
    sign = -1 if method == "occlusion" else 0  # Grad-CAM leaves out what speaks against it
    np.testing.assert_array_equal(np.sign(heat[other]), sign)


def test_occlusion_where_the_place_alone_counts(make):
    """One weight is not zero; of a picture that is white all over, its place is found."""
    score = np.zeros((2, 2, 8, 8))
    score[0, :, 6, 1] = 1
    folder = make(COLOURS, {"seeing": np.full((2, 3, 3, 3), 1e-3), "score": score.reshape(2, 128)})
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)
    heat = explain(load_net(net_in(folder)), white, patch=3, stride=1).evidence
    rows, columns = np.nonzero(heat > 0.5 * heat.max())
    assert rows.min() >= 11
    assert rows.max() <= 14
    assert columns.min() >= 1
    assert columns.max() <= 4
    # Far away nothing changes, to the rounding of another batch.
    assert np.abs(heat[:8]).max() < 1e-6 < heat.max()


@pytest.mark.parametrize(("patch", "stride"), [(5, 4), (16, 16), (1, 1), (3, 2)])
def test_occlusion_is_the_mean_of_single_passes(colours, spots, patch, stride):
    loaded = load_net(net_in(colours))
    blob, done = _blob(spots), []
    heat = evidence.occlusion(loaded, blob, 0, patch=patch, stride=stride, progress=done.append)
    starts = sorted({*range(0, SIDE - patch, stride), SIDE - patch})
    falls = [[[] for _ in range(SIDE)] for _ in range(SIDE)]
    whole = _said(loaded, blob)[0]
    for y in starts:
        for x in starts:
            hidden = blob.copy()
            hidden[0, :, y : y + patch, x : x + patch] = 0
            fall = whole - _said(loaded, hidden)[0]
            for i in range(y, y + patch):
                for j in range(x, x + patch):
                    falls[i][j].append(fall)
    want = [[np.mean(each) for each in row] for row in falls]
    np.testing.assert_allclose(heat, want, atol=1e-6)
    assert sum(done) == len(starts) ** 2 == evidence.positions(SIDE, patch, stride)


def _blob(picture):
    return caffe_blob(picture, "rgb", mean=(128, 128, 128), size=SIDE, crop=SIDE)


def _said(loaded, blob):
    net = loaded.net
    net.blobs["data"].reshape(*blob.shape)
    net.blobs["data"].data[...] = blob
    return net.forward()["said"][0].copy()


def test_grad_cam_is_its_formula(make, spots):
    """The gradient of a sum of products is its weights, spread by the pooling."""
    pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    weights = {
        "seeing": rng.normal(0, 0.01, (2, 3, 3, 3)),
        "score": rng.normal(0, 1, (2, 128)),
    }
    loaded = load_net(net_in(make(COLOURS, weights)))
    blob = _blob(spots)
    _said(loaded, blob)
    maps = loaded.net.blobs["seen"].data[0].copy()
    for label in (0, 1):
        slopes = weights["score"][label].reshape(2, 64).mean(axis=1) / 4
        want = np.maximum(np.tensordot(slopes, maps, axes=1), 0)
        got = evidence.grad_cam(loaded, blob, label)
        np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(maps).max())
    np.testing.assert_allclose(loaded.net.blobs["seen"].data[0], maps)  # the net's own are left


def test_evidence_lies_where_the_net_saw_it():
    """Of a smooth picture the net's own input, laid over the face, is the face again."""
    across, down = np.meshgrid(np.arange(90), np.arange(70))
    face = np.uint8(120 + 60 * np.sin(across / 11) + 50 * np.cos(down / 9))
    seen = caffe_blob(face, "rgb", mean=0, size=64, crop=40)[0, 0]
    got = evidence.upon(seen, face.shape, radius=0, size=64, crop=40)
    inside = ~np.isnan(got)
    assert np.abs(got[inside] - face[inside]).max() < 4
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (13, 56, 17, 72)
    rim = evidence.upon(seen, face.shape, radius=10, size=40, crop=40)
    inside = np.zeros(face.shape, bool)
    inside[10:-10, 10:-10] = True
    np.testing.assert_array_equal(~np.isnan(rim), inside)


@pytest.mark.parametrize("representation", ["cyclic_lbp", "rgb"])
def test_what_is_shown_is_what_the_net_got(make, representation):
    radius = 0 if representation == "rgb" else 1
    rng = np.random.default_rng(8)
    face = rng.integers(0, 256, (SIDE + 2 * radius, SIDE + 2 * radius, 3), np.uint8)
    folder = make(COLOURS, {"seeing": rng.normal(0, 0.01, (2, 3, 3, 3))}, representation)
    loaded = load_net(net_in(folder))
    told = explain(loaded, face)
    np.testing.assert_array_equal(told.seen, mapped_lbp(face, representation))
    if representation == "rgb":
        assert told.codes is None
        assert "codes" not in explain_sheet.parts(told)
    else:
        np.testing.assert_array_equal(told.codes, lbp_codes(face, arithmetic="released"))
    said = predict([loaded], face)
    np.testing.assert_allclose(told.probabilities, said.probabilities, atol=1e-6)
    assert told.files.labels[told.label] == said.label
    np.testing.assert_array_equal(told.responses, loaded.net.blobs["seen"].data[0])


def test_tiles_are_the_weights(make, spots):
    weights = np.random.default_rng(5).normal(0, 0.01, (2, 3, 3, 3)).astype(np.float32)
    told = explain(load_net(net_in(make(COLOURS, {"seeing": weights}))), spots)
    drawn = explain_sheet.parts(told)["filters"]
    assert drawn.shape == (3, 7, 3)
    np.testing.assert_array_equal(drawn[:, 3], np.broadcast_to(PAPER, (3, 3)))
    low, high = weights.min(), weights.max()
    for i, left in enumerate((0, 4)):
        rgb = weights[i, ::-1].transpose(1, 2, 0)
        want = 255 * (rgb - low) / (high - low)
        assert np.abs(drawn[:, left : left + 3] - want).max() <= 0.51


def test_a_flat_net_and_filters_of_other_channels_are_drawn():
    assert explain_sheet.tiles(np.ones((3, 2, 2), np.float32)).shape == (5, 5, 3)
    filters = np.arange(2 * 4 * 3 * 3, dtype=np.float32).reshape(2, 4, 3, 3)
    np.testing.assert_array_equal(explain_sheet.colours(filters), filters.mean(axis=1))


def test_colours_of_the_overlay():
    heat = np.array([[2.0, -2.0, 0.0, np.nan]])
    red, blue, gray, faded = explain_sheet.overlay(np.full((1, 4), 100, np.uint8), heat)[0]
    assert red[0] > 120 > red[2]
    assert blue[2] > 100 > blue[0]
    assert gray.tolist() == [100, 100, 100]
    assert (faded > 180).all()
    flat = explain_sheet.overlay(np.full((1, 4), 100, np.uint8), np.zeros((1, 4)))
    np.testing.assert_array_equal(flat, 100)


BRANCHES = """
layer { name: "a" type: "Convolution" bottom: "data" top: "a"
  convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu_a" type: "ReLU" bottom: "a" top: "a2" }
layer { name: "b" type: "Convolution" bottom: "a2" top: "b"
  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "c" type: "Convolution" bottom: "a2" top: "c"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "both" type: "Concat" bottom: "b" bottom: "c" top: "both" }
layer { name: "pool" type: "Pooling" bottom: "both" top: "pool"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "hidden" type: "InnerProduct" bottom: "pool" top: "hidden"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "score" type: "InnerProduct" bottom: "hidden" top: "score"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "said" type: "Softmax" bottom: "score" top: "said" }
"""
CONVOLUTIONAL = """
layer { name: "a" type: "Convolution" bottom: "data" top: "a"
  convolution_param { num_output: 3 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "pool" type: "Pooling" bottom: "a" top: "pool"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "said" type: "Softmax" bottom: "pool" top: "said" }
"""
DENSE = """
layer { name: "score" type: "InnerProduct" bottom: "data" top: "score"
  inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 0.001 } } }
layer { name: "said" type: "Softmax" bottom: "score" top: "said" }
"""


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        (BRANCHES, Anatomy("a", "a", "both", "both", "hidden", "score")),
        (CONVOLUTIONAL, Anatomy("a", "a", "a", None, None, "pool")),
        (DENSE, Anatomy(None, None, None, None, None, "score")),
    ],
    ids=["branches", "convolutional", "dense"],
)
def test_nets_of_other_architectures(make, spots, tmp_path, layers, found):
    caffe.set_random_seed(1)
    folder = make(layers, {}, labels=3)
    loaded = load_net(net_in(folder))
    assert anatomy(loaded.net) == found
    out, parts = tmp_path / "sheet.png", tmp_path / "parts"
    pictures.write_png(tmp_path / "face.png", spots)
    arguments = ["explain", str(tmp_path / "face.png"), "--net", str(folder), "-o", str(out)]
    assert main([*arguments, "--parts", str(parts), "--patch", "8"]) == 0
    with_maps = {"filters", "responses"} if found.maps else set()
    with_maps |= {"pooled"} if found.pooled else set()
    names = {path.stem for path in parts.iterdir()}
    assert names == {"face", "input", "evidence"} | with_maps
    assert pictures.read(out).shape[1] == 1200
    pytest.importorskip("torch")
    if found.maps:
        heat = explain(loaded, spots, method="gradcam").evidence
        assert heat.shape == tuple(loaded.net.blobs[found.maps].shape)[2:]
        assert heat.min() >= 0
    else:
        assert main([*arguments, "--method", "gradcam"]) == 2


def test_of_many_labels_the_explained_one_is_shown(colours, spots):
    told = explain(load_net(net_in(colours)), spots, label="Red")
    names = tuple(f"label {i} of a name as long as this\x1b[2J" for i in range(200))
    said = np.linspace(0, 0.01, 200, dtype=np.float32)
    said[7] = 0.2
    many = replace(told, files=replace(told.files, labels=names), probabilities=said, label=7)
    few = replace(many, label=100)
    for each, wide in ((many, 0.2), (few, said[100])):
        sheet = explain_sheet.draw(each, "y" * 300)
        marked = (sheet == explain_sheet._MARK).all(axis=2).any(axis=0).sum()
        assert marked > 0
        assert marked == pytest.approx(wide * 414, abs=1)


def test_the_sheet_and_its_line(colours, spots, tmp_path, capsys):
    face, out = tmp_path / "face.png", tmp_path / "sheet.png"
    pictures.write_png(face, spots)
    asked = ["explain", str(face), "--models", str(colours.parent), "-o", str(out)]
    assert main([*asked, "--label", "blue"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{face}\tknown\tapparent expression Red (")
    assert "explained Blue (" in said
    sheet = pictures.read(out)
    assert sheet.shape[1] == 1200
    # Blue speaks for the label and red against it: both colours are on the sheet's face.
    overlaid = sheet[515:1060, 40:590].reshape(-1, 3).astype(int)
    assert (overlaid[:, 0] - overlaid[:, 2] > 90).any()
    assert (overlaid[:, 2] - overlaid[:, 0] > 90).any()


def test_a_write_that_fails_leaves_what_was_there(colours, spots, tmp_path, monkeypatch, capsys):
    face, out = tmp_path / "face.png", tmp_path / "out" / "sheet.png"
    pictures.write_png(face, spots)
    out.parent.mkdir()
    out.write_bytes(b"old")

    def half(image, file, **settings):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    assert main(["explain", str(face), "--net", str(colours), "-o", str(out)]) == 2
    assert "sheet.png: not written" in capsys.readouterr().err
    assert [path.name for path in out.parent.iterdir()] == ["sheet.png"]
    assert out.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "Angry"], "known: no label 'Angry'; it has Red, Blue"),
        (["--patch", "17"], "patch is 17 pixels, the net's input only 16"),
        (["--patch", "4", "--stride", "5"], "stride 5 leaves gaps between patches of 4: at most 4"),
        (["--method", "gradcam", "--patch", "4"], "patch and stride are occlusion's"),
        (["--net", "nets"], "nets: 2 nets, one is to be chosen: name one of "),
        (["--net", "nowhere"], "nowhere: neither a folder nor the name of a net"),
        (["--parts", "face.png"], "face.png: a file; expected a folder to write to"),
        (["-o", "no/sheet.png"], "no/sheet.png: its folder does not exist"),
        (["--net", "VGG_S_lbp"], "VGG_S_lbp: no weights in "),
    ],
)
def test_errors_are_one_line(
    colours, make, spots, tmp_path, monkeypatch, capsys, arguments, message
):
    if "gradcam" in arguments:
        pytest.importorskip("torch")
    make(DENSE, {}, name="another", labels=3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    pictures.write_png(tmp_path / "face.png", spots)
    given = ["explain", "face.png", "--net", str(colours), "-o", "sheet.png", *arguments]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.startswith("lbpmap explain: ")
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "sheet.png").exists()


def test_without_weights_or_pytorch_it_says_so_first(make, tmp_path, monkeypatch, capsys):
    folder = make(DENSE, {}, labels=3)
    (folder / "w.caffemodel").unlink()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("LBPMAP_MODELS", str(folder.parent))
    given = ["explain", str(tmp_path / "no.png"), "-o", str(tmp_path / "sheet.png")]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert f"no weights in {folder.parent}, " in said
    assert "get one with 'lbpmap models fetch NAME' or 'lbpmap models import ZIP|FOLDER'" in said
    assert said.count("\n") == 1
    monkeypatch.setattr(engine, "has_torch", lambda: False)
    assert main([*given, "--method", "gradcam"]) == 2
    said = capsys.readouterr().err
    assert "gradcam needs PyTorch: pip install" in said
    assert said.count("\n") == 1
