"""Binary files: read as protobuf reads them, written as Caffe reads them, hostile ones refused."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe.formats import blobs, weights
from lbpmap.caffe.formats.messages import BlobProto, LayerParameter, NetParameter

FILES = [
    "caffe_fixtures/nets/mini_emotiw_v1.caffemodel",
    "caffe_fixtures/nets/mini_emotiw_v2.caffemodel",
    "caffe_fixtures/nets/mini_caffenet_v1.caffemodel",
    "caffe_fixtures/layers/misc_batchnorm_global.caffemodel",
    "caffe_fixtures/solver/init.caffemodel",
    "models/lenet/lenet_iter_10000_v1.caffemodel",
    "models/mtcnn/det3.caffemodel",
]


def arrays(path):
    """Read all layers with our reader: (name, arrays) in order."""
    with open(path, "rb") as file:
        result = []
        for layer in weights.index(path):
            outs = [np.empty(blob.shape, np.float32) for blob in layer.blobs]
            for blob, out in zip(layer.blobs, outs):
                weights.read_into(file, blob, out)
            result.append((layer.name, outs))
    return result


@pytest.mark.parametrize("name", FILES)
def test_reads_what_protobuf_reads(shared, name):
    path = shared / name
    net = NetParameter.FromString(path.read_bytes())
    layers = list(net.layer) or list(net.layers)
    got = arrays(path)
    assert [name for name, _ in got] == [layer.name for layer in layers]
    for (_, values), layer in zip(got, layers):
        assert len(values) == len(layer.blobs)
        for array, blob in zip(values, layer.blobs):
            np.testing.assert_array_equal(array.ravel(), np.array(blob.data, np.float32))


def test_types_are_named_in_the_newest_form(shared):
    nets = shared / "caffe_fixtures" / "nets"
    old, new = (weights.index(nets / f"mini_emotiw_v{v}.caffemodel") for v in (1, 2))
    trained = {layer.name: layer.type for layer in old if layer.blobs}
    assert trained == {layer.name: layer.type for layer in new if layer.blobs}
    assert trained["fc8_cat"] == "InnerProduct"


FLOATS = b"".join(b"\x2d" + struct.pack("<f", i) for i in range(6))
DOUBLES = b"".join(b"\x41" + struct.pack("<d", i) for i in range(6))


@pytest.mark.parametrize(
    "data",
    [
        BlobProto(data=range(6)).SerializeToString(),
        BlobProto(double_data=range(6)).SerializeToString(),
        FLOATS,
        DOUBLES,
        FLOATS[:10] + BlobProto(data=range(2, 6)).SerializeToString(),
        BlobProto(data=range(2)).SerializeToString() + FLOATS[10:],
        FLOATS[:10] + b"\x32\x18" + bytes(24) + FLOATS[10:],
        FLOATS[:20] + DOUBLES,
    ],
    ids=["packed", "double", "single", "single double", "mixed", "mixed back", "diff", "both"],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_every_way_of_storing_numbers(tmp_path, data, legacy):
    path = tmp_path / "blob.binaryproto"
    head = BlobProto(num=1, channels=1, height=2, width=3) if legacy else BlobProto()
    if not legacy:
        head.shape.dim.extend([2, 3])
    path.write_bytes(head.SerializeToString() + data)
    blob = weights.read_blob(path)
    assert blob.dtype == np.float32
    assert blob.shape == ((1, 1, 2, 3) if legacy else (2, 3))
    assert blob.ravel().tolist() == [0, 1, 2, 3, 4, 5]


def test_long_runs_are_converted_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(blobs, "_CHUNK", 7)
    values = np.arange(100, dtype=np.float32)
    path = tmp_path / "blob.binaryproto"
    head = BlobProto()
    head.shape.dim.append(100)
    single = b"".join(b"\x2d" + value.tobytes() for value in values)
    for data in (single, BlobProto(double_data=values).SerializeToString()):
        path.write_bytes(head.SerializeToString() + data)
        assert weights.read_blob(path).tolist() == values.tolist()


def test_mean_pictures_in_both_layouts(fixtures):
    expected = np.load(fixtures / "io" / "io.npz")["mean_array"]
    for name in ("mean_legacy", "mean_shape"):
        mean = weights.read_blob(fixtures / "io" / f"{name}.binaryproto")
        np.testing.assert_array_equal(mean, expected)


def test_layers_of_2013_are_read(tmp_path):
    net = NetParameter()
    old = net.layers.add().layer
    old.name, old.type = "conv", "conv"
    old.blobs.add(num=1, channels=1, height=1, width=2, data=[3, 4])
    path = tmp_path / "v0.caffemodel"
    path.write_bytes(net.SerializeToString())
    [(name, [array])] = arrays(path)
    assert name == "conv"
    assert array.ravel().tolist() == [3, 4]


@pytest.mark.parametrize("name", ["agenet", "caffenet", "emotiw", "vgg16", "vgg_cnn_s"])
def test_a_net_is_written_byte_for_byte_as_caffe_writes_it(fixtures, tmp_path, name):
    stem = fixtures / "nets" / f"mini_{name}_v2"
    net = caffe.Net(stem.with_suffix(".prototxt"), stem.with_suffix(".caffemodel"), caffe.TEST)
    net.save(tmp_path / "ours.caffemodel")
    written = (tmp_path / "ours.caffemodel").read_bytes()
    assert written == stem.with_suffix(".caffemodel").read_bytes()


def test_gradients_are_written_and_read(tmp_path):
    path = tmp_path / "diff.caffemodel"
    rng = np.random.default_rng(0)
    pairs = [
        [rng.standard_normal((3, 4)).astype(np.float32), np.float32(7).reshape(())],
        [rng.standard_normal((3, 4)).astype(np.float32), np.float32(8).reshape(())],
    ]
    layers = [
        (LayerParameter(name="relu", type="ReLU"), []),
        (LayerParameter(name="ip", type="InnerProduct", phase=1), pairs[0]),
    ]
    weights.write(path, "net", layers, [[], pairs[1]])
    layer = NetParameter.FromString(path.read_bytes()).layer[1]
    assert layer.phase == 1
    for blob, data, diff in zip(layer.blobs, *pairs):
        assert tuple(blob.shape.dim) == data.shape
        np.testing.assert_array_equal(np.array(blob.data, np.float32), data.ravel())
        np.testing.assert_array_equal(np.array(blob.diff, np.float32), diff.ravel())
    assert layer.SerializeToString() in path.read_bytes()
    with open(path, "rb") as file:
        for entry, diff in zip(weights.index(path)[1].blobs, pairs[1]):
            out = np.empty(entry.shape, np.float32)
            weights.read_into(file, entry, out, diff=True)
            np.testing.assert_array_equal(out, diff)
    with pytest.raises(ValueError, match=r'layer "ip": not written, its gradients have the shapes'):
        weights.write(path, "net", layers, [[], pairs[1][:1]])


def test_double_gradients_are_read(tmp_path):
    blob = BlobProto(double_data=[1, 2], double_diff=[3, 4], diff=[5, 6])
    blob.shape.dim.append(2)
    path = file_of(tmp_path, model_of(blob))
    [layer] = weights.index(path)
    out = np.empty(2, np.float32)
    with open(path, "rb") as file:
        weights.read_into(file, layer.blobs[0], out, diff=True)
    assert out.tolist() == [3, 4]
    del blob.double_diff[1:]
    with pytest.raises(ValueError, match="shape 2 needs 2 gradients, the file holds 1"):
        weights.index(file_of(tmp_path, model_of(blob)))


def test_a_written_mean_picture_comes_back(tmp_path):
    mean = np.random.default_rng(3).random((1, 3, 4, 5)).astype(np.float32)
    path = tmp_path / "mean.binaryproto"
    weights.write_blob(path, mean)
    np.testing.assert_array_equal(weights.read_blob(path), mean)
    assert path.read_bytes() == caffe.io.array_to_blobproto(mean).SerializeToString()


def test_an_hdf5_file_is_told_apart(tmp_path):
    path = file_of(tmp_path, b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(ValueError, match=r"an HDF5 file, .* give it a name that ends in \.h5$"):
        weights.index(path)


def test_a_saved_net_comes_back_and_protobuf_reads_it(tiny, tiny_weights):
    net = caffe.Net(tiny, tiny_weights, caffe.TEST)
    message = NetParameter.FromString(tiny_weights.read_bytes())
    assert message.name == "tiny"
    assert [layer.name for layer in message.layer] == net._layer_names
    assert message.layer[1].convolution_param.num_output == 4
    assert message.layer[1].phase == caffe.TEST
    for layer in message.layer:
        for blob, param in zip(layer.blobs, net.params.get(layer.name, [])):
            assert tuple(blob.shape.dim) == param.shape
            np.testing.assert_array_equal(np.array(blob.data, np.float32), param.data.ravel())
    again = tiny_weights.with_name("again.caffemodel")
    net.save(again)
    assert again.read_bytes() == tiny_weights.read_bytes()


def test_nothing_half_written_stays(tiny_weights):
    before = tiny_weights.read_bytes()

    def layers():
        yield caffe.io.caffe_pb2.LayerParameter(name="a"), [np.zeros(9, np.float32)]
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        weights.write(tiny_weights, "net", layers())
    assert tiny_weights.read_bytes() == before
    assert sorted(p.name for p in tiny_weights.parent.iterdir()) == [
        "tiny.caffemodel",
        "tiny.prototxt",
    ]


def blob_of(dims, numbers=0):
    blob = BlobProto(data=[0] * numbers)
    blob.shape.dim.extend(dims)
    return blob


def file_of(tmp_path, raw, name="bad.caffemodel"):
    path = tmp_path / name
    path.write_bytes(raw)
    return path


def model_of(blob):
    net = NetParameter()
    net.layer.add(name="fc6", type="InnerProduct").blobs.append(blob)
    return net.SerializeToString()


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", "the file is empty, a caffemodel was expected"),
        (b"name: 'text'", r"byte 0: field 13 is of kind 6|byte \d+: "),
        (NetParameter(name="n").SerializeToString(), "no layers in 3 bytes; this is not a"),
        (model_of(blob_of([2**31] * 2)), r'layer "fc6": .* needs 4611686018427387904 numbers'),
        (model_of(blob_of([2, 3], 5)), r'layer "fc6": .* 2 x 3 needs 6 numbers, the file holds 5'),
        (model_of(blob_of([-1, 3], 3)), r'layer "fc6": .* a dimension of -1'),
        (model_of(blob_of([1] * 33, 1)), r'layer "fc6": .* more than 32 dimensions'),
        (model_of(blob_of([4], 4))[:-3], r"byte 0: field 100 claims \d+ bytes, only \d+ are left"),
        (b"\xff" * 20, "byte 0: a number longer than ten bytes"),
        (b"\x00\x00", "byte 0: field number 0 does not exist"),
        (b"\xa3\x06", "byte 0: field 100 is of kind 3"),
        (b"\xa2\x06\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "field 100 claims 9223372036854775807"),
        (b"\xa2\x06\x06\x0a\x03a\nb\x3a", 'layer "a b": byte 9: a number was expected, but'),
        (b"\xa2\x06\x04\x0a\x02\xff\xfe", "a name was expected, the bytes are no text"),
    ],
)  # fmt: skip
def test_hostile_files_are_refused(tmp_path, raw, error):
    path = file_of(tmp_path, raw)
    with pytest.raises(ValueError, match=error) as caught:
        weights.index(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_too_many_layers_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(blobs, "MAX_ENTRIES", 10)
    path = file_of(tmp_path, b"\xa2\x06\x00" * 11)
    with pytest.raises(ValueError, match="byte 30: more than 10 layers and blobs"):
        weights.index(path)


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", r"a blob of shape \(\) needs 1 numbers, the file holds 0; is this a binaryproto"),
        (blob_of([0]).SerializeToString(), "no numbers in .* this is not a binaryproto"),
        (
            blob_of([3, 2**40], 3).SerializeToString(),
            "3 x 1099511627776 needs 3298534883328 numbers",
        ),
        (b"\x2a\x03abc", "3 bytes are no array of 4 each"),
        (b"\x28\x03", "numbers of 4 bytes were expected, got kind 0"),
    ],
)
def test_hostile_blobs_are_refused(tmp_path, raw, error):
    with pytest.raises(ValueError, match=error):
        weights.read_blob(file_of(tmp_path, raw, "bad.binaryproto"))


def test_a_file_that_shrinks_is_seen(tiny_weights):
    entry = weights.index(tiny_weights)[1].blobs[0]
    tiny_weights.write_bytes(tiny_weights.read_bytes()[: entry.runs[0].offset + 8])
    with (
        open(tiny_weights, "rb") as file,
        pytest.raises(ValueError, match="432 bytes expected, 8 read; the file was changed"),
    ):
        weights.read_into(file, entry, np.empty(entry.shape, np.float32))


@pytest.mark.parametrize(
    "raw",
    [model_of(blob_of([4], 4))[:-3], b"\x00" * 500, model_of(blob_of([2, 3], 5))],
    ids=["cut", "zeros", "numbers missing"],
)
def test_damaged_files_say_what_to_do(tmp_path, raw):
    path = file_of(tmp_path, raw)
    with pytest.raises(
        ValueError, match=r"; cut short or not a caffemodel: download or copy it again$"
    ):
        weights.index(path)


@pytest.mark.parametrize(
    "raw", [b"<!DOCTYPE html>\n<html>", b"\xef\xbb\xbf \r\n<HTML>", b"\n\n<?xml version='1.0'?>"]
)
def test_web_pages_are_told_apart(tmp_path, raw):
    path = file_of(tmp_path, raw)
    with pytest.raises(
        ValueError, match=r"bad\.caffemodel: a web page, not a caffemodel: "
    ) as caught:
        weights.index(path)
    assert "\n" not in str(caught.value)


def test_a_name_of_sixty_letters_is_no_web_page(tmp_path):
    net = NetParameter(name="html" * 15)
    net.layer.add(name="a")
    raw = net.SerializeToString()
    assert raw.startswith(b"\n<html")
    path = file_of(tmp_path, raw)
    assert [layer.name for layer in weights.index(path)] == ["a"]


READERS = {
    "a prototxt": lambda path: caffe.Net(path, caffe.TEST),
    "a caffemodel": weights.index,
    "a binaryproto": weights.read_blob,
}


@pytest.mark.parametrize("expected", READERS)
def test_devices_pipes_and_folders_are_refused(tmp_path, expected):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in ("/dev/zero", pipe):
        with pytest.raises(OSError, match=f"{path}: a pipe or a device; expected {expected}"):
            READERS[expected](path)
    with pytest.raises(IsADirectoryError, match=f"a folder; expected {expected}"):
        READERS[expected](tmp_path)


def test_a_binaryproto_of_gigabytes_is_refused_unread(tmp_path):
    path = tmp_path / "mean.binaryproto"
    with open(path, "wb") as file:
        file.truncate(blobs.MAX_BLOB_BYTES + 1)
    with pytest.raises(ValueError, match="1073741825 bytes are too many for a binaryproto"):
        weights.read_blob(path)
