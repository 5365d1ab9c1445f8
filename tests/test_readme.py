"""What the README says, done."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import lbpmap
from lbpmap import caffe, pictures
from lbpmap.emotion import registry, synthetic

README = Path(__file__).resolve().parents[1] / "README.md"

pytestmark = [
    pytest.mark.checkout,
    pytest.mark.skipif(not README.is_file(), reason="the README is in the checkout"),
]


def write_learning_net(folder):
    """Write the deploy net with labels and a loss, ten pictures at a time."""
    text = (folder / "deploy.prototxt").read_text().replace("input_dim: 1\n", "input_dim: 10\n")
    text = re.sub(r"layers \{\s*name: \"prob\"[^}]*\}", "", text)
    label = 'input: "label" input_dim: 10 input_dim: 1 input_dim: 1 input_dim: 1\n'
    loss = 'layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc8" bottom: "label" top: "loss" }'
    layers = text.index("layers {")
    (folder / "train.prototxt").write_text(f"{text[:layers]}{label}{text[layers:]}\n{loss}\n")


@pytest.mark.parametrize("learning", [False, True], ids=["without PyTorch", "with PyTorch"])
def test_the_python_blocks_run_one_after_another(learning, tmp_path, monkeypatch):
    """On the package's own face, with a net of random weights in the place of the released one."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 5
    if learning:
        pytest.importorskip("torch")
    else:
        blocks = [block for block in blocks if "get_solver" not in block]
    # A thousand codes take long to move: a step shows as well that they do.
    blocks = [block.replace("points=10)", "points=10, max_iterations=1)") for block in blocks]
    monkeypatch.chdir(tmp_path)
    astronaut = Path(lbpmap.__file__).parent / "astronaut.png"
    (tmp_path / "face.jpg").write_bytes(astronaut.read_bytes())
    deploy = registry.packaged_folder() / "VGG_S_cyclic_lbp_5" / "deploy.prototxt"
    small = deploy.read_text().replace("num_output: 4048", "num_output: 8")
    (tmp_path / "deploy.prototxt").write_text(small.replace("num_output: 512", "num_output: 8"))
    synthetic.write_random_weights("deploy.prototxt", "EmotiW_VGG_S.caffemodel")
    write_learning_net(tmp_path)
    (tmp_path / "solver.prototxt").write_text(
        'net: "train.prototxt" base_lr: 1e-6 lr_policy: "fixed" snapshot_prefix: "snap"'
    )
    mean = caffe.io.array_to_blobproto(np.full((1, 3, 256, 256), 120.0))
    (tmp_path / "mean.binaryproto").write_bytes(mean.SerializeToString())

    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert names["mapped"].shape == (246, 246, 3)
    np.testing.assert_array_equal(pictures.read("mapped.png"), names["mapped"])
    assert names["blob"].shape == (10, 3, 224, 224)
    assert names["probabilities"].shape == (7,)
    assert names["histograms"].shape == (1, 1475)
    if learning:
        assert (tmp_path / "snap_iter_2.solverstate").is_file()
        assert names["gradient"].any()
    assert names["face"].shape == (256, 256, 3)
    assert names["ten_bits"][0].shape == (254, 254, 3)
