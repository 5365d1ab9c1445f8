"""Where the tests' reference data lie; small nets and pictures that several rooms learn from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lbpmap import pictures

LEARNER = """
name: "{name}"
layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: 1 dim: 3 dim: 12 dim: 12 }} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: {width} kernel_size: 3 stride: 2 }} }}
{between}
layer {{ name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param {{ num_output: {outputs} }} }}
layer {{ name: "prob" type: "Softmax" bottom: "ip" top: "prob" }}
"""
DESCRIPTION = """
name = "{name}"
representation = "{representation}"
labels = {labels}
[input]
size = 16
crop = 12
[files]
deploy = "deploy.prototxt"
weights = "w.caffemodel"
mean = "mean.binaryproto"
"""


def _shared() -> Path:
    """`shared/data` beside the checkout, or where LBPMAP_SHARED says."""
    named = os.environ.get("LBPMAP_SHARED")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Give the folder of reference data; skip the test where it is absent."""
    folder = _shared()
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder} (set LBPMAP_SHARED to their folder)")
    return folder


@pytest.fixture(scope="session")
def write_learner() -> Callable[..., Path]:
    """Give a function that writes the folder of a net which learns in moments, without weights.

    `between` is the text of layers in place, on the blob "conv".
    """

    def write(folder, labels, *, width, between="", representation="rgb"):
        folder.mkdir(parents=True)
        about = {"name": folder.name, "representation": representation}
        (folder / "deploy.prototxt").write_text(
            LEARNER.format(**about, width=width, between=between, outputs=len(labels))
        )
        described = DESCRIPTION.format(**about, labels=json.dumps(labels))
        (folder / "model.toml").write_text(described)
        return folder

    return write


@pytest.fixture(scope="session")
def write_ramps() -> Callable[..., None]:
    """Give a function that writes noisy ramps, steep ones of label "a" and flat ones of "b"."""

    def write(root, count, rng):
        for label, step in (("a", 40), ("b", 4)):
            folder = root / label
            folder.mkdir(parents=True)
            for k in range(count):
                ramp = np.arange(20)[:, None] * step + rng.integers(0, 30, (20, 18))
                pictures.write_png(folder / f"{k}.png", (ramp % 256).astype(np.uint8))

    return write
