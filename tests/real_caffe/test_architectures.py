"""The texts to train from, planned by real Caffe and by ours: every blob and parameter as large."""

from __future__ import annotations

import pytest

from lbpmap import caffe
from lbpmap.caffe.formats import prototxt
from lbpmap.emotion.architectures import ARCHITECTURES
from lbpmap.emotion.registry import packaged_folder

pytestmark = pytest.mark.real_caffe
FOLDERS = ("VGG_S_rgb", *(f"architectures/{name}" for name in ARCHITECTURES))


def shapes(net):
    blobs = {name: tuple(blob.shape) for name, blob in net.blobs.items()}
    return blobs, {name: [tuple(b.shape) for b in blobs] for name, blobs in net.params.items()}


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@pytest.mark.parametrize("folder", FOLDERS)
def test_shapes(real, tmp_path, folder, phase):
    text = prototxt.read_net(packaged_folder() / folder / "train_val.prototxt")
    for layer in text.layer:
        if layer.type == "MemoryData":
            layer.memory_data_param.batch_size = 2
    path = tmp_path / "net.prototxt"
    path.write_text(prototxt.format_text(text))
    ours, theirs = (shapes(caffe.Net(path, phase, engine=name)) for name in ("numpy", "real"))
    assert ours == theirs
    assert len(ours[0]) > 14
