"""Data layers in a net: against real Caffe where there is a fixture, else against the formula."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe import io
from lbpmap.caffe.data import memory, write_lmdb
from lbpmap.pictures import write_png


@pytest.fixture
def net_of(text_file):
    """Give a function that builds a net of one data layer "d" from its text."""

    def build(kind, text, tops=("data", "label"), phase=caffe.TEST):
        named = " ".join(f'top: "{top}"' for top in tops)
        return caffe.Net(text_file(f'layer {{ name: "d" type: "{kind}" {named} {text} }}'), phase)

    return build


def passes(net, count, name="data"):
    """Run the net some times and return copies of a blob."""
    got = []
    for _ in range(count):
        net.forward()
        got.append(net.blobs[name].data.copy())
    return got


@pytest.mark.parametrize("name", ["lmdb_plain", "lmdb_crop_mean_scale", "lmdb_mean_value"])
def test_data_is_caffes(fixtures, check_equal, monkeypatch, name):
    monkeypatch.chdir(fixtures / "io")  # the prototxts name their files from there
    recorded = np.load("io.npz")
    net = caffe.Net(f"{name}.prototxt", caffe.TEST)
    assert net.blobs["data"].shape == recorded[f"{name}/data"].shape[1:]
    assert net.blobs["label"].shape == (3,)
    for data, label in zip(recorded[f"{name}/data"], recorded[f"{name}/label"]):
        net.forward()
        check_equal(net.blobs["data"].data, data)
        check_equal(net.blobs["label"].data, label)


def lmdb(tmp_path, pictures, name="db"):
    pytest.importorskip("lmdb")
    write_lmdb(tmp_path / name, (io.array_to_datum(p, i) for i, p in enumerate(pictures)))
    return f'data_param {{ source: "{tmp_path / name}" backend: LMDB '


def test_pictures_of_other_sizes_reshape_batches_of_one(net_of, tmp_path):
    pictures = [np.full((3, n, n + 1), n, np.uint8) for n in (4, 6, 5)]
    net = net_of("Data", lmdb(tmp_path, pictures) + "batch_size: 1 }")
    assert net.blobs["data"].shape == (1, 3, 4, 5)
    for picture in pictures * 2:
        (got,) = passes(net, 1)
        np.testing.assert_array_equal(got[0], picture)
    net = net_of("Data", lmdb(tmp_path, pictures, "two") + "batch_size: 2 }")
    with pytest.raises(
        ValueError, match=r"record 00000001: 6 x 7 pixels, 3 channel\(s\) in a batch"
    ):
        net.forward()


def test_force_color_and_gray_are_of_encoded_datums(net_of, tmp_path):
    pytest.importorskip("lmdb")
    rgb = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    write_png(tmp_path / "p.png", rgb)
    datum = io.caffe_pb2.Datum(data=(tmp_path / "p.png").read_bytes(), encoded=True, label=3)
    write_lmdb(tmp_path / "db", [datum])
    text = f'data_param {{ source: "{tmp_path / "db"}" backend: LMDB batch_size: 1 }}'
    (got,) = passes(net_of("Data", text), 1)
    np.testing.assert_array_equal(got[0], rgb[:, :, ::-1].transpose(2, 0, 1))
    grey = net_of("Data", text + "transform_param { force_gray: true }")
    assert grey.blobs["data"].shape == (1, 1, 4, 5)
    with pytest.raises(ValueError, match=r'layer "d" \(Data\): force_color and force_gray'):
        net_of("Data", text + "transform_param { force_gray: true force_color: true }")


def test_data_without_labels_and_in_training(net_of, tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 1, 6, 6)).astype(np.uint8)
    text = (
        lmdb(tmp_path, pictures) + "batch_size: 5 } transform_param { crop_size: 3 mirror: true }"
    )
    caffe.set_random_seed(1)
    first = passes(net_of("Data", text, ["data"], caffe.TRAIN), 2)
    caffe.set_random_seed(1)
    again = passes(net_of("Data", text, ["data"], caffe.TRAIN), 2)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    for picture, got in zip(pictures, first[0]):
        windows = [picture[0, y : y + 3, x : x + 3] for y in range(4) for x in range(4)]
        assert any(np.array_equal(got[0], w) or np.array_equal(got[0], w[:, ::-1]) for w in windows)


def test_what_data_refuses(net_of, tmp_path):
    text = lmdb(tmp_path, np.zeros((1, 3, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r'net.prototxt: layer "d" \(Data\): batch_size must be'):
        net_of("Data", text + "}")
    with pytest.raises(ValueError, match="is an LMDB, but the backend is LEVELDB"):
        net_of("Data", text.replace("backend: LMDB", "") + "batch_size: 1 }")
    with pytest.raises(ValueError, match="backend LEVELDB is not read here; convert it to LMDB"):
        net_of("Data", 'data_param { source: "elsewhere" batch_size: 1 }')
    with pytest.raises(ValueError, match="more than 2\\^31 - 1 values; make batch_size smaller"):
        net_of("Data", text + "batch_size: 4000000000 }")
    with pytest.raises(ValueError, match="WindowData is not supported; cut the windows out"):
        net_of("WindowData", "")
    torn = io.caffe_pb2.Datum(channels=3, height=2, width=2, data=b"12")
    write_lmdb(tmp_path / "torn", [torn])
    with pytest.raises(
        ValueError, match=r"record 00000000: 2 values do not fill its shape \(3, 2, 2"
    ):
        net_of(
            "Data", f'data_param {{ source: "{tmp_path / "torn"}" backend: LMDB batch_size: 1 }}'
        )


@pytest.fixture
def listed(tmp_path):
    """Give five pictures, B, G, R and (C, H, W), and a list that names them."""
    pictures = np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3)).astype(np.uint8)
    lines = []
    for i, picture in enumerate(pictures):
        write_png(tmp_path / f"no {i}.png", picture)
        lines.append(f"no {i}.png {i + 10}\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    text = f'image_data_param {{ source: "{tmp_path / "list.txt"}" root_folder: "{tmp_path}/" '
    return pictures[:, :, :, ::-1].transpose(0, 3, 1, 2), text


def test_image_data_goes_round_in_order(net_of, listed):
    pictures, text = listed
    net = net_of(
        "ImageData", text + "batch_size: 3 } transform_param { mean_value: 100 scale: 0.5 }"
    )
    assert net.blobs["data"].shape == (3, 3, 6, 8)
    for k in range(4):
        (got,) = passes(net, 1)
        rows = np.arange(3 * k, 3 * k + 3) % 5
        expected = (pictures[rows].astype(np.float32) - np.float32(100)) * np.float32(0.5)
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(net.blobs["label"].data, rows + 10)


def test_image_data_resizes_and_turns_to_grey(net_of, listed):
    pictures, text = listed
    net = net_of("ImageData", text + "new_height: 3 new_width: 4 is_color: false }")
    (got,) = passes(net, 1)
    luma = np.tensordot([0.114, 0.587, 0.299], pictures[0], 1)
    halved = luma.reshape(3, 2, 4, 2).mean((1, 3))
    assert got.shape == (1, 1, 3, 4)
    assert np.abs(got[0, 0] - halved).max() <= 1.01


def test_image_data_shuffles_each_round_anew(net_of, listed):
    caffe.set_random_seed(2)
    net = net_of("ImageData", listed[1] + "batch_size: 5 shuffle: true }")
    rounds = passes(net, 6, "label")
    assert all(sorted(labels) == [10, 11, 12, 13, 14] for labels in rounds)
    assert len({tuple(labels) for labels in rounds}) > 3


def test_rand_skip_begins_anywhere_before_it(net_of, listed):
    caffe.set_random_seed(3)
    starts = set()
    for _ in range(40):
        labels = passes(net_of("ImageData", listed[1] + "rand_skip: 3 }"), 2, "label")
        assert labels[1] == labels[0] + 1
        starts.add(int(labels[0][0]))
    assert starts == {10, 11, 12}
    with pytest.raises(ValueError, match=r"rand_skip is 6, but .*list.txt lists 5 picture"):
        net_of("ImageData", listed[1] + "rand_skip: 6 }")


def test_what_image_data_refuses(net_of, listed, tmp_path):
    text = listed[1]
    with pytest.raises(ValueError, match="new_height and new_width must be given both"):
        net_of("ImageData", text + "new_height: 3 }")
    with pytest.raises(ValueError, match="more than 134217728 pixels"):
        net_of("ImageData", text + "new_height: 4000000000 new_width: 4000000000 }")
    (tmp_path / "list.txt").write_text("no 0.png 1\n\nno 1.png\tone\n")
    with pytest.raises(
        ValueError, match=r"list.txt: line 3: expected \"picture label\", got 'no 1"
    ):
        net_of("ImageData", text + "}")
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"list\.txt: no pictures listed"):
        net_of("ImageData", text + "}")
    (tmp_path / "list.txt").write_text("list.txt 1\nabsent.png 2")
    with pytest.raises(ValueError, match=r"list.txt: not a picture that can be read"):
        net_of("ImageData", text + "}")
    (tmp_path / "list.txt").write_text("no 0.png 1\nabsent.png 2")
    net = net_of("ImageData", text + "}")
    net.forward()
    with pytest.raises(FileNotFoundError, match=r"absent.png: no such file; expected a picture"):
        net.forward()


MEMORY = "memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }"


def test_memory_data_goes_round(net_of):
    net = net_of("MemoryData", MEMORY)
    assert net.blobs["data"].shape == (2, 3, 4, 5)
    with pytest.raises(
        ValueError, match=r'layer "d" \(MemoryData\): has no data yet; call net.set_'
    ):
        net.forward()
    data = np.random.default_rng(0).standard_normal((4, 3, 4, 5)).astype(np.float32)
    labels = np.arange(4, dtype=np.float32)
    memory.set_arrays(net.layers[0], data, labels.reshape(4, 1, 1, 1))
    got = passes(net, 3)
    np.testing.assert_array_equal(got, [data[:2], data[2:], data[:2]])
    # Real Caffe plans labels with one axis and hands them out with four.
    np.testing.assert_array_equal(net.blobs["label"].data, np.reshape([0, 1], (2, 1, 1, 1)))
    memory.set_arrays(net.layers[0], data[2:], labels[2:])
    np.testing.assert_array_equal(passes(net, 1)[0], data[2:])


@pytest.mark.parametrize(
    ("data", "labels", "error", "message"),
    [
        (np.zeros((2, 3, 4, 5)), np.zeros(2, np.float32), TypeError, "data must be a float32"),
        (
            np.zeros((2, 3, 4, 5), np.float32),
            [0, 1],
            TypeError,
            "labels must be a float32 array, got",
        ),
        (np.zeros((2, 3, 5, 4), np.float32), np.zeros(2, np.float32), ValueError, "data must be"),
        (np.zeros((2, 3, 4, 5), np.float32), np.zeros(3, np.float32), ValueError, "labels must be"),
        (np.zeros((3, 3, 4, 5), np.float32), np.zeros(3, np.float32), ValueError, "no multiple of"),
        (np.zeros((0, 3, 4, 5), np.float32), np.zeros(0, np.float32), ValueError, "no multiple of"),
    ],
)
def test_what_set_arrays_refuses(net_of, data, labels, error, message):
    net = net_of("MemoryData", MEMORY)
    with pytest.raises(error, match=f"set_input_arrays: .*{message}"):
        memory.set_arrays(net.layers[0], data, labels)


def test_set_arrays_says_what_it_does_not_do(net_of):
    data, labels = np.ones((2, 3, 4, 5), np.float32), np.zeros(2, np.float32)
    net = net_of("MemoryData", MEMORY + "transform_param { scale: 2 }")
    with pytest.warns(UserWarning, match="its transform_param has no effect on arrays"):
        memory.set_arrays(net.layers[0], data, labels)
    np.testing.assert_array_equal(passes(net, 1)[0], data)
    other = net_of("DummyData", "dummy_data_param { shape { dim: 1 } }", ["data"])
    with pytest.raises(ValueError, match='layer "d" is of type DummyData; expected MemoryData'):
        memory.set_arrays(other.layers[0], data, labels)


def test_dummy_data_fills_constants_once_and_others_each_time(net_of):
    shapes = "shape { dim: 2 dim: 3 } shape { dim: 4 }"
    fillers = 'data_filler { value: 7 } data_filler { type: "uniform" min: 1 max: 2 }'
    net = net_of("DummyData", f"dummy_data_param {{ {shapes} {fillers} }}", ["a", "b"])
    assert [blob.shape for blob in net.blobs.values()] == [(2, 3), (4,)]
    first = passes(net, 1, "b")[0]
    assert (net.blobs["a"].data == 7).all()
    assert first.min() >= 1
    net.blobs["a"].data[...] = 5
    second = passes(net, 1, "b")[0]
    assert (net.blobs["a"].data == 5).all()
    assert not np.array_equal(first, second)


def test_dummy_data_of_the_old_style(net_of):
    text = "num: 1 channels: 2 channels: 3 height: 4 width: 5"
    net = net_of("DummyData", f"dummy_data_param {{ {text} }}", ["a", "b"])
    assert [blob.shape for blob in net.blobs.values()] == [(1, 2, 4, 5), (1, 3, 4, 5)]
    net.forward()
    assert not net.blobs["a"].data.any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"gives 0 shape\(s\) for 2 top"),
        ("num: 1 channels: 1 height: 1", r"gives 0 or 1 shape\(s\) for 2 top"),
        ("num: 1 shape { dim: 1 }", "has shape and num, channels"),
        ("shape { dim: 1 } shape { dim: 1 } shape { dim: 1 }", r"gives 3 shape\(s\)"),
        ("shape { dim: 1 } " + "data_filler { } " * 3, r"3 data_filler for 2 top\(s\)"),
        ("shape { dim: 2 dim: -1 }", r"shape \(2, -1\) has no elements"),
        ('shape { dim: 1 } data_filler { type: "x" }', 'unknown filler "x"'),
    ],
)
def test_what_dummy_data_refuses(net_of, text, message):
    with pytest.raises(ValueError, match=message):
        net_of("DummyData", f"dummy_data_param {{ {text} }}", ["a", "b"])
