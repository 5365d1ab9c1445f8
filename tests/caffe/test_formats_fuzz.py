"""Damaged files: they are read, or refused in one line, and never take much memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbpmap.caffe.formats import hdf5, prototxt, solverstate, weights, wire
from lbpmap.caffe.formats.messages import BlobProto, NetParameter

V0_TEXT = b"""
name: "old" input: "data" input_dim: 2 input_dim: 2 input_dim: 7 input_dim: 7
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
layers {
  layer { name: "conv1" type: "conv" num_output: 4 kernelsize: 3 weight_filler { std: 0.1 }
    blobs_lr: 1. blobs_lr: 2. } bottom: "pad1" top: "conv1" # a comment
}
layers { layer { name: "loss" type: "softmax_loss" } bottom: "conv1" bottom: "label" }
"""


def blob(*shape):
    message = BlobProto(data=np.arange(int(np.prod(shape))))
    message.shape.dim.extend(shape)
    return message


def old_weights():
    net = prototxt.parse(V0_TEXT.decode(), NetParameter())
    net.layers[1].layer.blobs.add(num=1, channels=1, height=2, width=3, data=range(6))
    return net.SerializeToString()


def new_weights():
    net = NetParameter(name="n")
    net.layer.add(name="a", type="InnerProduct").blobs.extend([blob(2, 3), blob(2)])
    net.layer.add(name="b", type="Scale").blobs.add(double_data=[1], diff=[2])
    return net.SerializeToString()


def read_weights(path):
    with open(path, "rb") as file:
        for layer in weights.index(path):
            for entry in layer.blobs:
                weights.read_into(file, entry, np.empty(entry.shape, np.float32))


def read_hdf5(path):
    held = hdf5.index_net(path)
    targets = [(n, i, np.empty(s, np.float32)) for n, b in held.items() for i, s in b.items()]
    hdf5.read_net(path, targets)


def small_hdf5(path):
    hdf5.write_net(path, [("a", [np.ones((2, 3), np.float32)]), ("b", [])])


def small_state(path):
    history = [np.ones((2, 3), np.float32), np.ones(4, np.float32)]
    state = solverstate.SolverState(7, "net.caffemodel", 1, history)
    solverstate.write(path, state, hdf5=path.suffix == ".h5")


def bytes_of(make, path):
    """Return what a function writes."""
    make(path)
    return path.read_bytes()


# What reads a kind of file, and how to get a good one from the folders of fixtures and of the test.
KINDS = {
    "real caffemodel": (read_weights, lambda f, _: (f / "solver/init.caffemodel").read_bytes()),
    "new caffemodel": (read_weights, lambda *_: new_weights()),
    "V0 caffemodel": (read_weights, lambda *_: old_weights()),
    "mean picture": (weights.read_blob, lambda *_: blob(1, 3, 2, 2).SerializeToString()),
    "real state": (
        solverstate.read,
        lambda f, _: (f / "solver/snap_step_iter_10.solverstate").read_bytes(),
    ),
    "state": (solverstate.read, lambda _, t: bytes_of(small_state, t / "x.state")),
    "HDF5 state": (solverstate.read, lambda _, t: bytes_of(small_state, t / "x.h5")),
    "HDF5 weights": (read_hdf5, lambda _, t: bytes_of(small_hdf5, t / "x.h5")),
    "V0 text": (prototxt.read_net, lambda *_: V0_TEXT),
    "real V1 text": (
        prototxt.read_net,
        lambda f, _: (f / "nets/mini_vgg16_v1.prototxt").read_bytes(),
    ),
    "real solver text": (
        prototxt.read_solver,
        lambda f, _: (f / "solver/adam.solver.prototxt").read_bytes(),
    ),
}  # fmt: skip

# Bytes that mean something: lengths and ends in binary, brackets and quotes in text.
TELLING = b'\x00\x01\x7f\x80\xff{}<>[]"#:,-\n '

edits = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255) | st.sampled_from(TELLING)),
    min_size=1,
    max_size=6,
)
ONCE_PER_EXAMPLE = [HealthCheck.function_scoped_fixture]


def changed(good, changes, cut):
    """Set bytes at fractions of the length, then cut the end off."""
    raw = bytearray(good)
    for at, byte in changes:
        raw[int(at * len(raw))] = byte
    return bytes(raw[: int(cut * len(raw)) + 1])


@pytest.fixture(autouse=True)
def _traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


def accepted(read, path):
    """Read a file; False when it was refused as it should be."""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    refusal = None
    try:
        read(path)
    except (ValueError, OSError) as error:
        refusal = str(error)
    assert tracemalloc.get_traced_memory()[1] - before < 2**21
    assert refusal is None or (str(path) in refusal and "\n" not in refusal)
    return refusal is None


@pytest.mark.parametrize("kind", KINDS)
def test_changed_files(tmp_path, request, kind):
    read, make = KINDS[kind]
    if "HDF5" in kind:
        pytest.importorskip("h5py")
    good = make(request.getfixturevalue("fixtures") if "real" in kind else None, tmp_path)
    path = tmp_path / "changed"

    @settings(max_examples=60, deadline=None, suppress_health_check=ONCE_PER_EXAMPLE)
    @given(edits, st.just(1.0) | st.floats(0, 1))
    def check(changes, cut):
        path.write_bytes(changed(good, changes, cut))
        accepted(read, path)

    path.write_bytes(good)
    assert accepted(read, path)
    check()


@settings(max_examples=80, deadline=None, suppress_health_check=ONCE_PER_EXAMPLE)
@given(st.binary(max_size=200))
def test_random_bytes(tmp_path, raw):
    path = tmp_path / "random"
    path.write_bytes(raw)
    for read in (read_weights, weights.read_blob, solverstate.read, prototxt.read_net):
        accepted(read, path)
    # As a layer: the walk gets further.
    path.write_bytes(wire.key_and_length(100, len(raw)) + raw)
    accepted(read_weights, path)


def test_truncations_are_refused_or_a_shorter_file(fixtures, tmp_path):
    raw = (fixtures / "nets" / "mini_emotiw_v1.caffemodel").read_bytes()
    assert len(raw) > 97 * 100
    path = tmp_path / "cut.caffemodel"

    def read(cut):
        path.write_bytes(raw[:cut])
        return accepted(read_weights, path)

    # A file cut between two layers is a caffemodel of fewer layers; any other cut is seen.
    ends = {part.end for part in wire.fields(raw, 0, len(raw))}
    assert {cut for cut in range(0, len(raw), 397) if read(cut)} <= ends


def test_truncations_of_a_state_are_refused_or_a_shorter_state(fixtures, tmp_path):
    raw = (fixtures / "solver" / "snap_adam_iter_10.solverstate").read_bytes()
    path = tmp_path / "cut.solverstate"
    ends = {part.end for part in wire.fields(raw, 0, len(raw))}
    for cut in range(0, len(raw), 11):
        path.write_bytes(raw[:cut])
        assert not accepted(solverstate.read, path) or cut in ends
