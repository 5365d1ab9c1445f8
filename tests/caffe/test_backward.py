"""Backward passes of whole nets: against real Caffe, and against its rules for live blobs."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe import blob as blob_room
from lbpmap.caffe.formats import prototxt

pytest.importorskip("torch", reason="backward passes are PyTorch's")

WAYS = {
    "NumPy forward": (caffe.TEST, "numpy"),
    "PyTorch forward": (caffe.TEST, "torch"),
    "graph kept": (caffe.TRAIN, "torch"),
}
# Layers that do something else in TRAIN than what was recorded in TEST.
OTHER_IN_TRAIN = ("Dropout", "BatchNorm")


def recorded(folder, way):
    """Give each recorded net, with its inputs written, and what Caffe gave."""
    phase, engine = WAYS[way]
    for path in sorted((folder / "layers").glob("*.npz")):
        model = path.with_suffix(".prototxt")
        types = {layer.type for layer in prototxt.read_net(model).layer}
        if phase == caffe.TRAIN and types & set(OTHER_IN_TRAIN):
            continue
        net = caffe.Net(model, phase, engine=engine)
        if path.with_suffix(".caffemodel").exists():
            net.copy_from(path.with_suffix(".caffemodel"))
        values = np.load(path)
        for name in net.inputs:
            net.blobs[name].data[...] = values[f"in/{name}"]
        yield path.stem, net, values


@pytest.mark.parametrize("device", ["host", "apart"])
@pytest.mark.parametrize("way", WAYS)
def test_values_and_gradients_of_every_recorded_net(
    fixtures, check_equal, way, device, monkeypatch
):
    """On the host, and as if PyTorch's memory were a GPU's: apart, to be copied both ways."""
    if device == "apart":
        monkeypatch.setattr(blob_room, "_is_host", lambda device: False)
    gradients = 0
    for case, net, values in recorded(fixtures, way):
        net.forward()
        for key in values.files:
            kind, _, name = key.partition("/")
            if kind == "out":
                check_equal(net.blobs[name].data, values[key], f"{case} {key}")
        tops = [key[5:] for key in values.files if key.startswith("gout/")]
        if any(key.startswith("gin/") for key in values.files):
            for name, blob in net.blobs.items():
                blob.diff[...] = values[f"gout/{name}"] if name in tops else 0
            net.clear_param_diffs()
            net.backward()
            gradients += compare(net, values, "", check_equal, case)
            continue
        # One top at a time: its layer, then the first layers, which add up what the others left.
        beginning = net.layer_dict.keys() - set(tops)
        last = max(net._layer_names.index(name) for name in beginning)
        for blob in net.blobs.values():
            blob.diff[...] = 0
        for top in tops:
            net.blobs[top].diff[...] = values[f"gout/{top}"]
            net.backward(start=top, end=top)
            net.backward(start=net._layer_names[last])
            gradients += compare(net, values, f"@{top}", check_equal, case)
            for bottom in net.bottom_names[top]:
                net.blobs[bottom].diff[...] = 0
    assert gradients > 200


def compare(net, values, suffix, check_equal, case):
    """Hold the gradients against the recorded ones; return how many there were."""
    found = 0
    for key in values.files:
        kind, _, name = key.partition("/")
        if kind == f"gin{suffix}":
            check_equal(net.blobs[name].diff, values[key], f"{case} {key}")
            found += 1
        elif kind == f"gpar{suffix}":
            layer, _, i = name.rpartition("/")
            check_equal(net.params[layer][int(i)].diff, values[key], f"{case} {key}")
            found += 1
    return found
