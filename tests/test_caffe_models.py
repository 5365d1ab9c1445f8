"""The folders of the released nets: complete, consistent, and of the published shape."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import lbpmap

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Folder -> representation, radius, table, as published.
NETS = {
    "VGG_S_rgb": ("rgb", None, None),
    "VGG_S_lbp": ("lbp", 1, "lbp"),
    "VGG_S_cyclic_lbp": ("cyclic_lbp", 1, "cyclic_lbp"),
    "VGG_S_cyclic_lbp_5": ("cyclic_lbp_5", 5, "cyclic_lbp"),
    "VGG_S_cyclic_lbp_10": ("cyclic_lbp_10", 10, "cyclic_lbp"),
}
LABELS = ["Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"]
LAYERS = (
    "conv1 relu1 norm1 pool1 conv2 relu2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5 "
    "fc6 relu6 drop6 fc7 relu7 drop7 fc8_cat prob"
)
# The blobs that are no ReLU or dropout in place, with channels and side.
BLOBS = {
    "data": (3, 224),
    "conv1": (96, 109),
    "norm1": (96, 109),
    "pool1": (96, 37),
    "conv2": (256, 37),
    "pool2": (256, 19),
    "conv3": (512, 19),
    "conv4": (512, 19),
    "conv5": (512, 19),
    "pool5": (512, 7),
    "fc6": (4048, 0),
    "fc7": (4048, 0),
    "fc8": (7, 0),
    "prob": (7, 0),
}
PARAMETERS = 124_507_607

every_net = pytest.mark.parametrize("net", NETS)


def _models() -> Path:
    """Return the folder of the nets: inside an installed package, at the top of a checkout."""
    installed = Path(lbpmap.__file__).parent / "caffe_models"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[1] / "caffe_models"


def _text(net: str, name: str) -> str:
    return (_models() / net / name).read_text(encoding="utf-8")


def _toml(net: str) -> dict[str, Any]:
    return tomllib.loads(_text(net, "model.toml"))


def _layers(net: str) -> list[dict[str, str]]:
    """Read the fields of every layer of a deploy text that is written as ours are."""
    return [
        dict(re.findall(r'(\w+): "?(\w[\w.]*)"?', block))
        for block in _text(net, "deploy.prototxt").split("layers {")[1:]
    ]


def test_there_are_the_five_folders_and_the_architectures() -> None:
    folders = {path.name for path in _models().iterdir() if path.is_dir()}
    found = {name for name in folders if not name.startswith("_")}
    assert found == {*NETS, "architectures"}
    assert not (_models() / "architectures" / "model.toml").exists()


@every_net
def test_a_folder_is_complete(net: str) -> None:
    for name in (
        "deploy.prototxt",
        "train_val.prototxt",
        "solver.prototxt",
        "labels.txt",
        "model.toml",
        "MODEL_CARD.md",
    ):
        assert _text(net, name).strip()


@every_net
def test_model_toml_says_what_was_published(net: str) -> None:
    model = _toml(net)
    assert model["name"] == net
    assert (model["representation"], model.get("radius"), model.get("table")) == NETS[net]
    assert model["labels"] == LABELS
    assert model["input"] == {"size": 256, "crop": 224, "channel_order": "BGR", "raw_scale": 255}
    assert model["files"] == {
        "deploy": "deploy.prototxt",
        "labels": "labels.txt",
        "weights": "EmotiW_VGG_S.caffemodel",
        "mean": "mean.binaryproto",
    }


@every_net
def test_representations_of_the_package_are_those_of_the_nets(net: str) -> None:
    name, radius, table = NETS[net]
    representation = lbpmap.REPRESENTATIONS[name]
    assert representation.name == name
    if radius is None:
        assert representation.table is None
    else:
        assert representation.radius == radius
        assert representation.table is not None
        assert representation.table.name == table


@every_net
def test_labels_stand_in_the_order_of_the_outputs(net: str) -> None:
    assert _text(net, "labels.txt") == "\n".join(LABELS) + "\n"


@every_net
def test_the_texts_differ_in_the_name_alone(net: str) -> None:
    first = next(iter(NETS))
    text = _text(net, "deploy.prototxt")
    assert text.count(net + '"') == 1
    assert text.replace(f'name: "{net}"', "") == _text(first, "deploy.prototxt").replace(
        f'name: "{first}"', ""
    )


@every_net
def test_the_card_names_net_limits_and_licence(net: str) -> None:
    card = " ".join(_text(net, "MODEL_CARD.md").split())
    for fact in (net, f"{PARAMETERS:,}", "498,032,193", "CASIA WebFace", "SFEW", "non-commercial"):
        assert fact in card
    link = re.search(r"\]\(\.\./README\.md#([\w-]+)\)", card)
    assert link is not None
    headings = re.findall(
        r"^## (.+)$", (_models() / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert link[1] in {heading.lower().replace(" ", "-") for heading in headings}


def test_the_layers_are_named_as_published() -> None:
    layers = _layers("VGG_S_rgb")
    assert [layer["name"] for layer in layers] == LAYERS.split()
    tops = {layer["name"]: layer["top"] for layer in layers}
    assert tops["fc8_cat"] == "fc8"
    assert all(tops[f"relu{k}"] == tops[f"{'conv' if k < 6 else 'fc'}{k}"] for k in range(1, 8))


def test_shapes_and_parameters_follow_from_the_text() -> None:
    # Caffe's arithmetic: convolution rounds down, pooling up.
    shapes = {"data": (3, 224)}
    parameters = 0
    for layer in _layers("VGG_S_rgb"):
        channels, side = shapes[layer["bottom"]]
        kernel, stride, pad = (
            int(layer.get(key, default))
            for key, default in (("kernel_size", "0"), ("stride", "1"), ("pad", "0"))
        )
        outputs = int(layer.get("num_output", channels))
        if layer["type"] == "CONVOLUTION":
            parameters += outputs * (channels * kernel**2 + 1)
            side = (side + 2 * pad - kernel) // stride + 1
        elif layer["type"] == "POOLING":
            side = math.ceil((side - kernel) / stride) + 1
        elif layer["type"] == "INNER_PRODUCT":
            parameters += outputs * (channels * max(side, 1) ** 2 + 1)
            side = 0
        shapes[layer["top"]] = (outputs, side)
    assert shapes == BLOBS
    assert parameters == PARAMETERS


def test_caffe_reads_the_text_and_makes_the_net() -> None:
    from lbpmap.caffe import TEST, Net

    net = Net(str(_models() / "VGG_S_rgb" / "deploy.prototxt"), TEST)
    assert {name: blob.data.shape for name, blob in net.blobs.items()} == {
        name: (1, channels, side, side) if side else (1, channels)
        for name, (channels, side) in BLOBS.items()
    }
    assert sum(blob.data.size for blobs in net.params.values() for blob in blobs) == PARAMETERS
    assert list(net.params) == [name for name in LAYERS.split() if name[:2] in ("co", "fc")]
