"""A job: run a net of `random_nets`, both ways, and hand its weights over."""

import os

import numpy as np


def passes(live, net, given):
    """Run the net there and back as often as given, and copy all of it."""
    found = {}
    for i in range(given["passes"]):
        for name, value in net.forward().items():
            found[f"{i} returned {name}"] = value.copy()
        rng = np.random.RandomState(given["seed"] ^ 1)
        for name in net.outputs:
            diff = net.blobs[name].diff
            if not net.blob_loss_weights[name]:
                drawn = rng.uniform(-1, 1, diff.shape)
                diff[...] = np.round(2 * drawn) if given["exact"] else drawn
        if given["backward"]:
            net.backward()
        found.update(live.everything(net, given["backward"], f"{i} "))
    return found


def made(caffe, live, given):
    net = caffe.Net("net.prototxt", given["phase"])
    live.set_values(net, given)
    return net


def job(caffe, live, given):
    """With `shaken`, tell also how far noise moves it; with a file that is given, read it."""
    net = made(caffe, live, given)
    structure = live.structure(net)
    found = passes(live, net, given)
    shaken = []
    for seed in range(given["shaken"]):
        other = made(caffe, live, given)
        live.shake(other, given, seed)
        shaken.append(passes(live, other, given))
    parts = live.moved(found, shaken) if shaken else {}
    files = {}
    if given["file"]:
        written = "weights.caffemodel" + given["file"]
        (net.save_hdf5 if given["file"] == ".h5" else net.save)(written)
        files["weights"] = np.fromfile(written, np.uint8)
    if os.path.exists("given.caffemodel" + given["file"]):
        other = caffe.Net("net.prototxt", given["phase"])
        other.copy_from("given.caffemodel" + given["file"])
        files.update(live.parameters(other, False, "read "))
    return {**structure, **found, **parts, **files}
