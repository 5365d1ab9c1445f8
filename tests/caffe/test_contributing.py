"""The layer type that CONTRIBUTING.md adds, added."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe.layers import on_numpy
from lbpmap.caffe.layers.shapes import LAYER_TYPES

GUIDE = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"

pytestmark = [
    pytest.mark.checkout,
    pytest.mark.skipif(not GUIDE.is_file(), reason="the guide is in the checkout"),
]


def test_the_example_of_a_layer_type(monkeypatch, request, text_file):
    pytest.importorskip("torch", reason="the example has a function for PyTorch")
    from lbpmap.caffe.layers import on_torch

    text = GUIDE.read_text(encoding="utf-8")
    layer, test = re.findall(r"<!-- layer(?: test)? -->\n```python\n(.*?)```", text, re.S)
    for table in (LAYER_TYPES, on_numpy.FORWARD, on_torch.FORWARD):
        monkeypatch.setitem(table, "HSwish", None)  # what the example writes is taken back
    names: dict[str, object] = {}
    exec(compile(layer + test, str(GUIDE), "exec"), names)
    fixtures = ("one_layer", "check_equal", "check_near")
    names["test_hswish"](*map(request.getfixturevalue, fixtures))

    net = caffe.Net(
        text_file(
            'force_backward: true layer { name: "a" type: "Input" top: "a" '
            'input_param { shape { dim: 3 } } } layer { name: "h" type: "HSwish" bottom: "a" '
            'top: "a" }'
        ),
        caffe.TRAIN,
        engine="torch",
    )
    np.testing.assert_allclose(net.forward(a=[-4, 0, 4])["a"], [0, 0, 4])
    net.blobs["a"].diff[...] = 1
    np.testing.assert_allclose(net.backward()["a"], [0, 0.5, 1])
