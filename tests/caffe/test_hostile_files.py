"""Files that once were answered badly: each was found by fuzzing or by measuring what it takes."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe.data import hdf5_source
from lbpmap.caffe.formats import blobs, hdf5, prototxt, solverstate, weights, wire
from lbpmap.caffe.formats.messages import BlobProto, NetParameter

# A line end, a control sequence that clears a terminal, a line separator, no character.
ODD = "a\nb\x1b[2J\u2028\0"
SHOWN = r"a b\x1b[2J \x00"


def said(call, *arguments, kind=ValueError):
    with pytest.raises(kind) as caught:
        call(*arguments)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 2000
    return text


@pytest.mark.parametrize("layer", ['type: "Nothing"', 'type: "ReLU" bottom: "absent"'])
def test_the_name_of_a_layer_is_shown_in_one_printable_line(text_file, layer):
    path = text_file(r'layer { name: "a\nb\033[2J\342\200\250\000" ' + layer + " }")
    assert f'layer "{SHOWN}"' in said(caffe.Net, path, caffe.TEST)


def test_the_name_in_a_caffemodel_is_shown_in_one_printable_line(tmp_path):
    net = NetParameter()
    net.layer.add(name=ODD).blobs.add(data=[1], num=7, channels=1, height=1, width=1)
    path = tmp_path / "odd.caffemodel"
    path.write_bytes(net.SerializeToString())
    assert f'layer "{SHOWN}"' in said(weights.index, path)


def test_a_long_name_is_cut(tmp_path):
    net = NetParameter()
    net.layer.add(name="x" * 4000).blobs.add(data=[1], num=7, channels=1, height=1, width=1)
    path = tmp_path / "long.caffemodel"
    path.write_bytes(net.SerializeToString())
    assert "xxx..." in said(weights.index, path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("layer { \0", r"1:9: expected identifier or number, got \x00"),
        ('layer { name: "\x1b[2J\n', "1:15: "),
        ("layer { loss_weight: 0777\0 }", "1:22: "),
    ],
)
def test_control_characters_of_a_text(text_file, text, reason):
    assert reason in said(prototxt.read_net, text_file(text))


@pytest.mark.parametrize(
    "settings",
    [
        'type: "HDF5Data" hdf5_data_param { source: "absent" batch_size: 1 }',
        'type: "Data" data_param { source: "absent" batch_size: 1 backend: LMDB }',
        'type: "ImageData" top: "l" image_data_param { source: "absent" batch_size: 1 }',
    ],
)
def test_a_missing_source_names_the_net_and_the_layer(text_file, settings):
    path = text_file(f'layer {{ name: "rows" top: "y" {settings} }}')
    text = said(caffe.Net, path, caffe.TEST, kind=FileNotFoundError)
    assert re.match(rf'{re.escape(str(path))}: layer "rows" \(\w+\): absent: no such f', text)


@pytest.mark.parametrize(
    ("part", "count", "what"),
    [
        ("layer{}", prototxt.MAX_MESSAGES, "messages"),
        ("layer<>", prototxt.MAX_MESSAGES, "messages"),
        ('layer{bottom:""', prototxt.MAX_MARKS // 3, "messages"),
        ('input:""', prototxt.MAX_MARKS // 3, "marks"),
        ("input_dim:1 ", prototxt.MAX_MARKS, "marks"),
        ("1,", prototxt.MAX_MARKS, "marks"),
    ],
)
def test_a_text_of_countless_parts(text_file, part, count, what):
    """Of layer{}, 7 bytes, a net once took 290 times its text, and 7 s a MB."""
    path = text_file(part * (count + 1))
    assert re.search(rf": \d+ {what}.* \(at most \d+\); is this one\?$", said(caffe.Net, path, 1))


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is in KB on Linux only")
def test_the_most_messages_take_bounded_memory(text_file):
    path = text_file("layer{}" * prototxt.MAX_MESSAGES)
    script = f"""
import resource
from lbpmap.caffe.formats import prototxt
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
prototxt.read_net({str(path)!r})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert int(done.stdout) < 2**17  # KB


def test_as_many_parts_as_allowed_are_read(text_file):
    text = "layer {}\n" * 1000
    assert len(prototxt.read_net(text_file(text)).layer) == 1000


@pytest.mark.parametrize(
    ("read", "part"),
    [
        (weights.index, wire.key_and_length(100, 0)),
        (weights.index, wire.key_and_length(2, 0)),
        (weights.read_blob, wire.key_and_length(5, 0)),
        (solverstate.read, wire.key_and_length(3, 5) + b"\x2d\0\0\0\0"),
    ],
)
def test_a_binary_file_of_countless_parts(tmp_path, read, part):
    path = tmp_path / "many"
    path.write_bytes(part * (blobs.MAX_ENTRIES + 1))
    assert str(path) in said(read, path)


def test_an_empty_field_of_doubles_hides_no_floats(tmp_path):
    """Of an empty `double_data` beside `data`, a mean picture once had no numbers, or none fit."""
    path = tmp_path / "mean.binaryproto"
    raw = BlobProto(data=[5, 6], shape={"dim": [2]}).SerializeToString()
    path.write_bytes(wire.key_and_length(8, 0) + raw + wire.key_and_length(9, 0))
    assert weights.read_blob(path).tolist() == [5, 6]


def test_signalling_nans_are_no_warning(tmp_path):
    """A double that signals, turned into a float, once made NumPy warn."""
    nan = b"\x01\0\0\0\0\0\xf0\x7f"
    path = tmp_path / "nan.binaryproto"
    path.write_bytes(b"\x42" + bytes([len(nan)]) + nan + b"\x3a\x03\x0a\x01\x01")
    single = BlobProto.FromString(b"\x2a\x04\x01\0\x80\x7f" + b"\x3a\x03\x0a\x01\x01")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(weights.read_blob(path)).all()
        assert np.isnan(caffe.io.blobproto_to_array(single)).all()


@pytest.fixture
def hdf5_file(tmp_path):
    """Give a function that makes an HDF5 file of dataset "d" by calling what it is given."""
    h5py = pytest.importorskip("h5py", reason="HDF5 files need h5py")

    def make(fill):
        path = tmp_path / "hostile.h5"
        with h5py.File(path, "w") as file:
            fill(file, h5py)
        return str(path)

    return make


def linked(file, h5py):
    file["d"] = h5py.ExternalLink("/etc/passwd", "/")


def soft(file, h5py):
    file["x"] = np.ones(3)
    file["d"] = h5py.SoftLink("/x")


def outside(file, h5py):
    file.create_dataset("d", (9,), "u1", external=[("/etc/passwd", 0, 9)])


def virtual(file, h5py):
    layout = h5py.VirtualLayout((9,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (9,))
    file.create_virtual_dataset("d", layout)


@pytest.mark.parametrize(
    ("fill", "reason"),
    [
        (linked, "a link to somewhere else"),
        (soft, "a link to somewhere else"),
        (outside, "keeps its numbers in other files"),
        (virtual, "keeps its numbers in other files"),
    ],
)
def test_rows_of_other_files_are_not_read(hdf5_file, fill, reason):
    path = hdf5_file(fill)
    text = said(hdf5_source.read, path, ["d"])
    assert text.startswith(f"{path}: ")
    assert reason in text


def packed(file, h5py, chunk, *, again=False):
    """Make a dataset of one chunk of 4,096 bytes, whose packed bytes are given."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((1024,))
    settings.set_deflate(9)
    if again:
        settings.set_deflate(9)
    space = h5py.h5s.create_simple((1024,))
    made = h5py.h5d.create(file.id, b"d", h5py.h5t.IEEE_F32LE, space, dcpl=settings)
    made.write_direct_chunk((0,), chunk)


@pytest.mark.parametrize(
    "chunk",
    [zlib.compress(bytes(2**26)), zlib.compress(bytes(4096))[:-6], b"no stream of deflate's"],
    ids=["a bomb", "cut short", "no stream"],
)
def test_a_packed_chunk_that_is_no_chunk(hdf5_file, chunk):
    """HDF5 would unpack all of it, 64 MB of 65 KB, and use 4 KB."""
    path = hdf5_file(lambda file, h5py: packed(file, h5py, chunk))
    text = said(hdf5_source.read, path, ["d"])
    assert text.startswith(f"{path}: ")


def test_a_packed_chunk_is_read(hdf5_file):
    values = np.arange(1024, dtype="<f4")
    path = hdf5_file(lambda file, h5py: packed(file, h5py, zlib.compress(values.tobytes())))
    np.testing.assert_array_equal(hdf5_source.read(path, ["d"])[0], values)


def test_chunks_that_were_never_written_take_no_room(hdf5_file):
    """Unpacked, they were taken for a thousand times the file: 3 MB of zeros of 3 KB."""
    path = hdf5_file(lambda file, h5py: file.create_dataset("d", (9000,), "f4", chunks=(90,)))
    assert "claims 9000 of float32, more than the" in said(hdf5_source.read, path, ["d"])


def test_filters_that_unpack_twice_or_load_libraries(hdf5_file):
    path = hdf5_file(lambda file, h5py: packed(file, h5py, b"x", again=True))
    assert "packed by the filters gzip, gzip; expected none" in said(hdf5_source.read, path, ["d"])
    path = hdf5_file(
        lambda file, h5py: file.create_dataset("d", data=np.ones(9, np.float32), compression="lzf")
    )
    assert "packed by the filters 32000; expected none" in said(hdf5_source.read, path, ["d"])


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "gzip", "fletcher32": True},
        {"shuffle": True},
        {"fletcher32": True},
    ],
)
def test_what_h5py_packs_is_read(hdf5_file, options):
    values = np.random.default_rng(1).random((50, 7)).astype(np.float32)
    path = hdf5_file(
        lambda file, h5py: file.create_dataset("d", data=values, chunks=(8, 7), **options)
    )
    np.testing.assert_array_equal(hdf5_source.read(path, ["d"])[0], values)
    with hdf5.opened(path, "rows") as file:
        hdf5.check_chunks(file["d"])
