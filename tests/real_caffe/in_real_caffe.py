"""Do jobs in a Python that has a Caffe: real Caffe's, or the one that runs the tests.

A job is a folder: `job.py` with a function `job(caffe, live, given)`, where `live` is this module;
`given.json` and `given.npz` with what the function is given; prototxts and other files. The
function runs with the folder as its working directory and returns a dict of arrays, numbers and
lists of names, which go to a file.

Run as a script, this file reads lines "FOLDER RESULT" and answers each with a line when the job is
done: in a child, so that a job at which Caffe aborts costs no start of another. It is written for
Python 3.9 and NumPy 1.19, which Debian 11 has beside Caffe 1.0.
"""

import json
import os
import sys
import traceback

import numpy as np


def run(caffe, folder):
    """Do the job of a folder and return what it found."""
    live = sys.modules.get(__name__) or sys.modules["in_real_caffe"]
    scope = {"np": np, "os": os}
    with open(os.path.join(folder, "job.py")) as file:
        exec(compile(file.read(), os.path.join(folder, "job.py"), "exec"), scope)
    with open(os.path.join(folder, "given.json")) as file:
        given = json.load(file)
    with np.load(os.path.join(folder, "given.npz")) as arrays:
        given.update((name, arrays[name]) for name in arrays.files)
    before = os.getcwd()
    os.chdir(folder)
    try:
        found = scope["job"](caffe, live, given)
    finally:
        os.chdir(before)
    return {name: np.array(value) for name, value in found.items()}


def fill(net, given, seed=0):
    """Give parameters and inputs their values: those that are given, others at random.

    The generator is NumPy's old one, whose numbers are the same in all versions.
    """
    rng = np.random.RandomState(seed)
    if given.get("fill_params", True):
        for name, blobs in net.params.items():
            for i, blob in enumerate(blobs):
                drawn = rng.uniform(-1, 1, blob.data.shape)
                blob.data[...] = given.get(f"{name}[{i}]", drawn)
    for name in net.inputs:
        drawn = rng.uniform(-1, 1, net.blobs[name].data.shape)
        net.blobs[name].data[...] = given.get(name, drawn)


def fill_top_diffs(net, seed=1):
    """Give outputs that are no losses a gradient to begin with."""
    rng = np.random.RandomState(seed)
    for name in net.outputs:
        if not net.blob_loss_weights[name]:
            net.blobs[name].diff[...] = rng.uniform(-1, 1, net.blobs[name].diff.shape)


def everything(net, diffs=True, prefix=""):
    """Copy all blobs and parameters of a net, with their gradients."""
    found = {}
    for name, blob in net.blobs.items():
        found[f"{prefix}data {name}"] = blob.data.copy()
        if diffs:
            found[f"{prefix}diff {name}"] = blob.diff.copy()
    found.update(parameters(net, diffs, prefix))
    return found


def parameters(net, diffs=True, prefix=""):
    """Copy all parameters of a net, with their gradients."""
    found = {}
    for name, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            found[f"{prefix}param {name} {i}"] = blob.data.copy()
            if diffs:
                found[f"{prefix}param diff {name} {i}"] = blob.diff.copy()
    return found


def structure(net):
    """Copy the names of a net: blobs, layers, what is read and made, shapes, loss weights."""
    return {
        "blobs": list(net.blobs),
        "layers": list(net._layer_names),
        "types": [layer.type for layer in net.layers],
        "inputs": list(net.inputs),
        "outputs": list(net.outputs),
        "params": list(net.params),
        "param shapes": [str(tuple(b.shape)) for bs in net.params.values() for b in bs],
        "blob shapes": [str(tuple(blob.shape)) for blob in net.blobs.values()],
        "loss weights": ["{} {:g}".format(*pair) for pair in net.blob_loss_weights.items()],
        "tops": ["{}: {}".format(k, " ".join(v)) for k, v in net.top_names.items()],
        "bottoms": ["{}: {}".format(k, " ".join(v)) for k, v in net.bottom_names.items()],
    }


def both_ways(caffe, given):
    """Make `net.prototxt`, pass forward and backward as often as given, and copy all of it."""
    net = caffe.Net("net.prototxt", given.get("phase", caffe.TEST))
    fill(net, given)
    found = structure(net)
    for i in range(given.get("passes", 1)):
        for name, value in net.forward().items():
            found[f"returned {i} {name}"] = value.copy()
        if given.get("backward", True):
            fill_top_diffs(net)
            net.backward()
        found.update(everything(net, given.get("backward", True), prefix=f"{i} "))
    return found


def set_values(net, given):
    """Give parameters and inputs the random numbers of `seed`: moderate, or whole and small.

    Inputs in `classes` get whole numbers below theirs; statistics of a BatchNorm what they may be.
    """
    rng = np.random.RandomState(given["seed"])
    types = dict(zip(net._layer_names, (layer.type for layer in net.layers)))
    for name, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            shape = blob.data.shape
            if types[name] == "BatchNorm" and i:
                blob.data[...] = rng.uniform(0.5, 2, shape) if i == 1 else rng.randint(0, 3)
            elif given["exact"]:
                blob.data[...] = rng.randint(-1, 2, shape)
            else:
                inputs = max(1, np.prod(shape[1:]))
                blob.data[...] = rng.uniform(-2, 2, shape) / np.sqrt(inputs)
    for name in net.inputs:
        shape = net.blobs[name].data.shape
        if name in given["classes"]:
            net.blobs[name].data[...] = rng.randint(0, given["classes"][name], shape)
        else:
            whole = rng.randint(-3, 4, shape)
            net.blobs[name].data[...] = whole if given["exact"] else rng.uniform(-1, 1, shape)


# Of the deviations that noise has: half a unit in the last place of a float32 is 2^-24.
NOISE = 2.0**-21


def shake(net, given, seed):
    """Let every value that the net computes be off a little, there and back, from now on.

    What noise in the last places moves by much is decided by rounding: the sign of a sum that is
    zero but for rounding, the larger of two equals. Parker (1997), Monte Carlo arithmetic.
    """
    rng = np.random.RandomState(seed)
    types = [layer.type for layer in net.layers]
    names = list(net._layer_names)
    whole = set(given["classes"])

    def off(array):
        array *= 1 + rng.uniform(-NOISE, NOISE, array.shape).astype(np.float32)

    def there(i):
        if types[i] != "Split":
            for name in set(net.top_names[names[i]]) - whole:
                off(net.blobs[name].data)

    def back(i):
        for name in set(net.bottom_names[names[i]]):
            off(net.blobs[name].diff)

    for blobs in net.params.values():
        for blob in blobs:
            off(blob.data)
    net.after_forward(there)
    net.after_backward(back)


def moved(found, shaken):
    """Tell how far noise moves each array, in parts of its largest number."""
    parts = {}
    for name, value in found.items():
        size = np.abs(value).max() if value.size else 0
        apart = max(np.abs(other[name] - value).max() if value.size else 0 for other in shaken)
        parts["moved " + name] = apart / size if size else float(apart > 0)
    return parts


def answer(caffe, folder, result, answers):
    """Do the job of a folder, save what it found, and say so."""
    try:
        np.savez(result, **run(caffe, folder))
        answers.write("done\n")
    except Exception:
        answers.write(json.dumps(traceback.format_exc()) + "\n")
    answers.flush()


def main():
    """Do the jobs that standard input names, until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Caffe and jobs print must not get among the answers
    import caffe

    for line in sys.stdin:
        os.ftruncate(2, 0)  # the log, in which the reason of an abort is to stand last
        child = os.fork()
        if not child:
            answer(caffe, *line.split(), answers)
            os._exit(0)
        if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            answers.write("aborted\n")
            answers.flush()


if __name__ == "__main__":
    main()
