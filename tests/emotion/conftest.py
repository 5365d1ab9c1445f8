"""A small net in a folder of its own, laid out as the released ones are."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.emotion import synthetic

LABELS = ["Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"]

DEPLOY = """
name: "small"
input: "data" input_dim: 1 input_dim: 3 input_dim: {crop} input_dim: {crop}
layers {{ name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1"
         convolution_param {{ num_output: 6 kernel_size: 5 stride: 2 }} }}
layers {{ name: "relu1" type: RELU bottom: "conv1" top: "conv1" }}
layers {{ name: "pool1" type: POOLING bottom: "conv1" top: "pool1"
         pooling_param {{ pool: MAX kernel_size: 3 stride: 2 }} }}
layers {{ name: "fc8_cat" type: INNER_PRODUCT bottom: "pool1" top: "fc8"
         inner_product_param {{ num_output: {outputs} }} }}
layers {{ name: "prob" type: SOFTMAX bottom: "fc8" top: "prob" }}
"""

DESCRIPTION = """
name = "{name}"
representation = "{representation}"
labels = {labels}
[input]
size = 32
crop = 28
[files]
deploy = "deploy.prototxt"
weights = "small.caffemodel"
mean = "mean.binaryproto"
"""


@pytest.fixture
def make_net(tmp_path, monkeypatch):
    """Make nets below `tmp_path / "nets"`, where LBPMAP_MODELS then points."""
    root = tmp_path / "nets"
    root.mkdir()
    monkeypatch.setenv("LBPMAP_MODELS", str(root))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))

    def make(
        name, representation="cyclic_lbp", *, crop=28, outputs=7, mean=True, seed=0, labels=LABELS
    ):
        folder = root / name
        folder.mkdir()
        (folder / "deploy.prototxt").write_text(DEPLOY.format(crop=crop, outputs=outputs))
        (folder / "model.toml").write_text(
            DESCRIPTION.format(name=name, representation=representation, labels=labels)
        )
        synthetic.write_random_weights(
            folder / "deploy.prototxt", folder / "small.caffemodel", seed
        )
        if mean:
            values = np.random.default_rng(seed).uniform(90, 130, (1, 3, 32, 32))
            blob = caffe.io.array_to_blobproto(values)
            (folder / "mean.binaryproto").write_bytes(blob.SerializeToString())
        return folder

    return make
