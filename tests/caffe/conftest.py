"""What the tests of lbpmap.caffe share: reference files, the measure of equality, small nets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lbpmap import caffe

TINY = """
name: "tiny"
layer {
  name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 6 dim: 5 } }
}
layer {
  name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {
    num_output: 4 kernel_size: 3
    weight_filler { type: "gaussian" std: 0.5 }
    bias_filler { type: "uniform" min: -1 max: 1 }
  }
}
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer {
  name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 7 weight_filler { type: "xavier" } }
}
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


@pytest.fixture(scope="session")
def fixtures(shared: Path) -> Path:
    """Give the folder of what real Caffe computed."""
    return shared / "caffe_fixtures"


@pytest.fixture
def text_file(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes a prototxt and returns its path."""

    def write(text: str, name: str = "net.prototxt") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def tiny(text_file: Callable[..., Path]) -> Path:
    """Give the prototxt of a net of 4 x 3 x 3 x 3 and 7 x 48 weights."""
    return text_file(TINY, "tiny.prototxt")


@pytest.fixture
def tiny_weights(tiny: Path, tmp_path: Path) -> Path:
    """Give a caffemodel for `tiny`."""
    caffe.set_random_seed(5)
    path = tmp_path / "tiny.caffemodel"
    caffe.Net(tiny, caffe.TEST).save(path)
    return path


@pytest.fixture(scope="session")
def check_equal() -> Callable[..., None]:
    """Give the project's equality of arrays: max |a - b| <= 1e-5 max |b|."""

    def check(got: Any, expected: Any, what: str = "") -> None:
        got, expected = np.asarray(got), np.asarray(expected)
        assert got.shape == expected.shape, what
        scale = np.abs(expected).max() if expected.size else 0
        assert np.abs(got - expected).max() <= 1e-5 * scale, what

    return check
