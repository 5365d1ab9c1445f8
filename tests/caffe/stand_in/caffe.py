"""A stand-in for pycaffe, as small as the worker can do with: out = 2 * scale * data.

Words in a net's text make it misbehave: see `Net`.
"""

import os
import re
import sys
import time

import numpy as np

__version__ = "0.stand-in"
seeds = []


def layer_type_list():
    return ["Double", "Input"]


def set_random_seed(seed):
    seeds.append(seed)


def abort(message):
    """Do what glog does when a check fails."""
    print("WARNING: Logging before InitGoogleLogging() is written to STDERR", file=sys.stderr)
    print(f"F1127 12:00:00.000001  1234 net.cpp:42] Check failed: {message}", file=sys.stderr)
    print("*** Check failure stack trace: ***", file=sys.stderr, flush=True)
    os.abort()


class Blob:
    def __init__(self, *shape):
        self.reshape(*shape)

    def reshape(self, *shape):
        """As Caffe, get new memory only where there is not enough."""
        self.shape = shape
        count = int(np.prod(shape))
        if not hasattr(self, "_data") or count > self._data.size:
            self._data, self._diff = np.zeros((2, count), np.float32)

    @property
    def data(self):
        return self._data[: int(np.prod(self.shape))].reshape(self.shape)

    @property
    def diff(self):
        return self._diff[: int(np.prod(self.shape))].reshape(self.shape)

    def share(self, other):
        self._data = other._data


class Layer:
    def __init__(self, kind, *blobs):
        self.type = kind
        self.blobs = list(blobs)


class Net:
    """Made from a text of words: `size N` (4 of 3 x N numbers), `abort`, `sleep`, `many`."""

    def __init__(self, path, phase, level=0, stages=None):
        with open(path) as file:
            self.words = file.read()
        self.settings = (phase, level, list(stages or ()))
        if "log" in self.words:
            for letter, text in zip("IWE", ("told", "warned", "wrong")):
                print(f"{letter}1127 12:00:00.1  9 net.cpp:1] {text}", file=sys.stderr, flush=True)
        if "abort-at-once" in self.words:
            abort(f"{path} is bad")
        size = re.search(r"size (\d+)", self.words)
        size = int(size[1]) if size else 5
        self.scale = Blob(1)
        self.scale.data[...] = 1
        self._blobs = [Blob(4, size), Blob(4, size), Blob(4, size)]
        if "many" in self.words:
            self._blobs += [Blob(3) for _ in range(1500)]
        self._blob_names = ["data", "data_split", "out"]
        self._blob_names += [f"extra{i}" for i in range(len(self._blobs) - 3)]
        self.blob_loss_weights = dict.fromkeys(self._blob_names, 0.0)
        self._layer_names = ["input", "split", "double"]
        self.layers = [Layer("Input"), Layer("Split"), Layer("Double", self.scale)]
        self.inputs, self.outputs = ["data"], ["out"]
        self.top_names = {"input": ["data"], "split": ["data_split"], "double": ["out"]}
        self.bottom_names = {"input": [], "split": ["data"], "double": ["data_split"]}
        self._hooks = []
        self._given = None

    def before_forward(self, hook):
        self._hooks.append(hook)

    def _forward(self, first, last):
        if "sleep" in self.words:
            time.sleep(60)
        if "abort" in self.words:
            abort("it is not well (1 vs. 2)")
        data, split, out = self._blobs[:3]
        for i in range(first, last + 1):
            for hook in self._hooks:
                hook(i)
            if i == 0 and self._given is not None:
                data.data[...] = self._given[0].reshape(data.shape)
            if i == 1:
                split.reshape(*data.shape)
                split.share(data)
            if i == 2:
                out.reshape(*data.shape)
                out.data[...] = 2 * self.scale.data * split.data

    def _backward(self, first, last):
        data, _, out = self._blobs[:3]
        data.diff[...] = 2 * self.scale.data * out.diff
        self.scale.diff[...] += 1

    def reshape(self):
        self._blobs[2].reshape(*self._blobs[0].shape)

    def clear_param_diffs(self):
        self.scale.diff[...] = 0

    def share_with(self, other):
        self.scale.share(other.scale)

    def copy_from(self, path):
        with open(path, "rb") as file:
            self.scale.data[...] = float(file.read())

    def load_hdf5(self, path):
        raise IndexError(f"{path} has no index")

    def save(self, path):
        with open(path, "w") as file:
            file.write("half of it")
            if "unwell" in self.words:
                raise OSError("the disk is full")
            file.seek(0)
            file.write(f"{float(self.scale.data[0]):09.3f} ")

    def set_input_arrays(self, data, labels):
        self._given = (data, labels)


class SGDSolver:
    """Takes 1 from the scale in every step; writes states as Caffe's binary form has them."""

    def __init__(self, path):
        with open(path) as file:
            text = file.read()
        self._prefix = re.search(r'snapshot_prefix: "([^"]*)"', text)[1]
        every = re.search(r"snapshot: (\d+)", text)
        self._every = int(every[1]) if every else 0
        self.net = Net(re.search(r'\bnet: "([^"]*)"', text)[1], 0)
        self.test_nets = [Net(name, 1) for name in re.findall(r'test_net: "([^"]*)"', text)]
        self.iter = 0
        self.lr = 1.0
        self._callbacks = []

    def add_callback(self, *functions):
        self._callbacks.append(functions)

    def step(self, count):
        for _ in range(count):
            for on_start, _ in self._callbacks:
                on_start()
            for _, on_gradients_ready in self._callbacks:
                on_gradients_ready()
            self.net.scale.data[...] -= 1
            self.iter += 1
            if self._every and self.iter % self._every == 0:
                self.snapshot()

    def solve(self):
        self.snapshot()

    def apply_update(self):
        self.iter += 1

    def snapshot(self):
        name = f"{self._prefix}_iter_{self.iter}"
        self.net.save(f"{name}.caffemodel")
        weights = f"{name}.caffemodel".encode()
        with open(f"{name}.solverstate", "wb") as file:
            file.write(bytes([8, self.iter, 18, len(weights)]) + weights)

    def restore(self, path):
        with open(path, "rb") as file:
            state = file.read()
        self.iter = state[1]
        self.net.copy_from(state[4 : 4 + state[3]].decode())


get_solver = SGDSolver
