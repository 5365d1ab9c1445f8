"""Sizes that no machine has are refused before memory is taken, and the error says where."""

from __future__ import annotations

import contextlib
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe.formats import hdf5, solverstate, weights, wire
from lbpmap.caffe.formats.messages import BlobProto, NetParameter, SolverState

SIDE = 2**31
CLAIM = f"dim: {SIDE} dim: {SIDE}"


def resident():
    """Give the most memory that the process had, counted anew from now on."""
    with contextlib.suppress(OSError):  # not on Linux, or not allowed: then it only ever grows
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1])


@pytest.fixture
def refused(tmp_path):
    """Give a function that writes a file, reads it, and returns the error, its path cut off."""

    def check(raw, read, name="hostile"):
        path = tmp_path / name
        path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
        before = resident()
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match="hostile") as caught:
                read(path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2**20
        assert resident() - before < 2**24
        text = str(caught.value)
        assert text.startswith(str(path))
        assert text.isprintable()
        return text[len(str(path)) :]

    return check


def layer(kind, settings, bottoms=("d",), shapes=("dim: 2 dim: 3", "dim: 2")):
    """Give a net of inputs and one layer."""
    inputs = "".join(
        f'layer {{ name: "{n}" type: "Input" top: "{n}" input_param {{ shape {{ {shape} }} }} }}\n'
        for n, shape in zip("dl", shapes)
    )
    read = " ".join(f'bottom: "{name}"' for name in bottoms)
    return f'{inputs}layer {{ name: "x" type: "{kind}" {read} top: "y" {settings} }}'


FOUR = "dim: 2 dim: 3 dim: 6 dim: 6"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f'input: "a" input_shape {{ {CLAIM} }}',
            r'layer "input" \(Input\): .* 2\^31 - 1 elements',
        ),
        (
            f'input: "a" input_dim: {SIDE} input_dim: {SIDE} input_dim: 1 input_dim: 1',
            r":1:\d+: .*2147483648",
        ),
        (
            'input: "a" ' + "input_dim: 2147483647 " * 4,
            r'layer "input" \(Input\): .* 2\^31 - 1 elements',
        ),
        (
            layer("Input", f"input_param {{ shape {{ {CLAIM} }} }}", ()),
            r'layer "x" \(Input\): .* 2\^31 - 1 elements',
        ),
        (
            layer("DummyData", f"dummy_data_param {{ shape {{ {CLAIM} }} }}", ()),
            r'layer "x" \(DummyData\): .* 2\^31 - 1 elements',
        ),
        (
            layer(
                "DummyData",
                f"dummy_data_param {{ num: {SIDE} channels: {SIDE} height: 1 width: 1 }}",
                (),
            ),
            r'layer "x" \(DummyData\): .* 2\^31 - 1 elements',
        ),
        (
            layer(
                "MemoryData",
                f'top: "z" memory_data_param {{ batch_size: {SIDE} channels: {SIDE} height: 1 '
                f"width: 1 }}",
                (),
            ),
            r'layer "x" \(MemoryData\): .* 2\^31 - 1 elements',
        ),
        (
            layer("Parameter", f"parameter_param {{ shape {{ {CLAIM} }} }}", ()),
            r'layer "x" \(Parameter\): .* 2\^31 - 1 elements',
        ),
        (
            layer("Reshape", f"reshape_param {{ shape {{ {CLAIM} }} }}"),
            r'layer "x" \(Reshape\): .*2147483648, 2147483648',
        ),
        (
            layer("InnerProduct", f"inner_product_param {{ num_output: {SIDE} }}"),
            r'layer "x" \(InnerProduct\): .* 2\^31 - 1 elements',
        ),
        (
            layer("Embed", f"embed_param {{ num_output: {SIDE} input_dim: {SIDE} }}"),
            r'layer "x" \(Embed\): .* 2\^31 - 1 elements',
        ),
        (
            layer(
                "Convolution",
                f"convolution_param {{ num_output: {SIDE} kernel_size: 1 }}",
                shapes=(FOUR,),
            ),
            r'layer "x" \(Convolution\): .* 2\^31 - 1 elements',
        ),
        (
            layer(
                "Convolution",
                f"convolution_param {{ num_output: 1 kernel_size: {SIDE} pad: {SIDE} }}",
                shapes=(FOUR,),
            ),
            r'layer "x" \(Convolution\): ',
        ),
        (
            layer(
                "Deconvolution",
                f"convolution_param {{ num_output: 1 kernel_size: {SIDE} }}",
                shapes=(FOUR,),
            ),
            r'layer "x" \(Deconvolution\): ',
        ),
        (
            layer(
                "Deconvolution",
                f"convolution_param {{ num_output: 1 kernel_size: 1 stride: {SIDE} }}",
                shapes=(FOUR,),
            ),
            r'layer "x" \(Deconvolution\): ',
        ),
        (
            layer(
                "Im2col", f"convolution_param {{ kernel_size: 1 pad: {SIDE} }}", shapes=(FOUR,)
            ),
            r'layer "x" \(Im2col\): ',
        ),
        (
            layer(
                "LSTM", f"recurrent_param {{ num_output: {SIDE} }}", "dl", (FOUR, "dim: 2 dim: 3")
            ),
            r'layer "x" \(LSTM\): .* 2\^31 - 1 elements',
        ),
        (
            layer("SPP", "spp_param { pyramid_height: 31 }", shapes=(FOUR,)),
            r'layer "x" \(SPP\): pyramid_height',
        ),
        (layer("Tile", "tile_param { tiles: 2147483647 }"), r'layer "x" \(Tile\): .* elements'),
    ],
)  # fmt: skip
def test_a_net(refused, text, said):
    assert re.match(rf":? ?{said}", refused(text, lambda path: caffe.Net(path, caffe.TEST)))


def blob(**fields):
    return BlobProto(data=[1, 2], **fields)


SHAPED = blob(shape={"dim": [SIDE, SIDE]}).SerializeToString()
# Four old fields are int32; a file may say more.
OLD = b"".join(wire.encode_varint(number << 3) + wire.encode_varint(SIDE) for number in (1, 2))
OLD += blob(height=1, width=1).SerializeToString()
CLAIMED = "needs 4611686018427387904 numbers, the file holds 2"


def in_layer(raw):
    net = NetParameter()
    net.layer.add(name="fc6", type="InnerProduct")
    inner = net.layer[0].SerializeToString() + wire.key_and_length(7, len(raw)) + raw
    return wire.key_and_length(100, len(inner)) + inner


def in_state(raw):
    return SolverState(iter=1).SerializeToString() + wire.key_and_length(3, len(raw)) + raw


@pytest.mark.parametrize(
    ("read", "wrap", "said"),
    [
        (weights.index, in_layer, r': layer "fc6": byte \d+: a blob of shape '),
        (weights.read_blob, bytes, r": byte 0: a blob of shape "),
        (solverstate.read, in_state, r": byte \d+: a blob of shape "),
    ],
    ids=["caffemodel", "binaryproto", "solverstate"],
)
@pytest.mark.parametrize("raw", [SHAPED, OLD], ids=["shape", "old dims"])
def test_a_binary_file(refused, read, wrap, said, raw):
    text = refused(wrap(raw), read)
    assert re.match(rf"{said}2147483648 x 2147483648", text)
    assert CLAIMED in text


@pytest.mark.parametrize(
    "dims", [[2**40, 2**40, 0], [0, 2**62, 2**62], [2**32 - 1, 0], [2**31, 0, 1]]
)
def test_no_numbers_in_a_shape_of_no_array(refused, text_file, dims):
    raw = BlobProto(shape={"dim": dims}, data=[]).SerializeToString() + wire.key_and_length(5, 0)
    for read, wrap in ((weights.index, in_layer), (weights.read_blob, bytes)):
        assert "which none can have" in refused(wrap(raw), read)
    assert "which none can have" in refused(in_state(raw), solverstate.read)


def test_a_net_of_no_numbers_in_a_shape_of_no_array(refused):
    text = layer("Input", f"input_param {{ shape {{ dim: 0 {CLAIM} }} }}", ())
    said = refused(text, lambda path: caffe.Net(path, caffe.TEST))
    assert 'layer "x" (Input): a blob of shape (0, 2147483648, 2147483648)' in said


def test_weights_for_a_net(refused, text_file):
    net = caffe.Net(
        text_file(layer("InnerProduct", "inner_product_param { num_output: 2 }")), caffe.TEST
    )
    assert CLAIMED in refused(in_layer(SHAPED), net.copy_from)


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (hdf5.index_net, "data/fc6/0"),
        (solverstate.read, "history/0"),
        (lambda path: caffe.Net(path, caffe.TEST), "y"),
    ],
    ids=["weights", "solverstate", "rows"],
)
@pytest.mark.parametrize("chunks", [None, (2**10, 2**10)])
def test_hdf5(refused, text_file, tmp_path, read, name, chunks):
    h5py = pytest.importorskip("h5py", reason="HDF5 files need h5py")
    path = tmp_path / "made"
    with h5py.File(path, "w") as file:
        # HDF5 itself writes none whose bytes it cannot count.
        file.create_dataset(name, (SIDE, SIDE), "f4" if chunks else "u1", chunks=chunks)
        if "history" in name:
            file["iter"] = file["current_step"] = np.int32(1)
    raw = path.read_bytes()
    if name == "y":
        hostile = tmp_path / "hostile.h5"
        hostile.write_bytes(raw)
        (tmp_path / "list.txt").write_text(str(hostile))
        raw = layer(
            "HDF5Data", f'hdf5_data_param {{ source: "{tmp_path}/list.txt" batch_size: 1 }}', ()
        )
    text = refused(raw, read)
    assert f'dataset "/{name}" claims 2147483648 x 2147483648 of ' in text
