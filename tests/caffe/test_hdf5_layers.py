"""HDF5Data and HDF5Output: rows over batches and files, shuffled or not; hostile files."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe

h5py = pytest.importorskip("h5py")


def rows_of(first, count):
    """Make rows that say which they are."""
    x = np.arange(first, first + count, dtype=np.float32)
    return {"x": x[:, None] + np.arange(3, dtype=np.float32) / 10, "y": x.astype(np.int64)}


@pytest.fixture
def net_of(text_file, tmp_path):
    """Give a function that writes HDF5 files and builds a net that reads them."""

    def build(files, text="batch_size: 4", tops=("x", "y")):
        for name, datasets in files.items():
            with h5py.File(tmp_path / name, "w") as file:
                for key, values in datasets.items():
                    file[key] = values
        if files:
            (tmp_path / "list.txt").write_text("\n".join(str(tmp_path / name) for name in files))
        named = " ".join(f'top: "{top}"' for top in tops)
        source = f'hdf5_data_param {{ source: "{tmp_path / "list.txt"}" {text} }}'
        return caffe.Net(text_file(f'layer {{ name: "d" type: "HDF5Data" {named} {source} }}'), 0)

    return build


def test_rows_of_the_recorded_file_come_round(fixtures, monkeypatch):
    monkeypatch.chdir(fixtures / "solver")  # the list names its file from there
    recorded = np.load("train.npz")
    net = caffe.Net("tiny.prototxt", caffe.TEST)
    for k in range(6):
        net.forward()
        rows = np.arange(5 * k, 5 * k + 5) % 14
        np.testing.assert_array_equal(net.blobs["data"].data, recorded["data"][rows])
        np.testing.assert_array_equal(net.blobs["label"].data, recorded["label"][rows])


def test_rows_go_on_over_files_and_a_batch_may_span_several(net_of):
    files = {f"{first}.h5": rows_of(first, count) for first, count in ((0, 3), (3, 1), (4, 2))}
    net = net_of(files, "batch_size: 5")
    assert [blob.shape for blob in net.blobs.values()] == [(5, 3), (5,)]
    for k in range(7):
        net.forward()
        rows = np.arange(5 * k, 5 * k + 5) % 6
        np.testing.assert_array_equal(net.blobs["y"].data, rows)
        np.testing.assert_array_equal(net.blobs["x"].data, rows_of(0, 6)["x"][rows])


def test_shuffled_rows_keep_together_and_each_comes_once_a_round(net_of):
    caffe.set_random_seed(4)
    files = {"a.h5": rows_of(0, 4), "b.h5": rows_of(10, 2)}
    net = net_of(files, "batch_size: 6 shuffle: true")
    seen = set()
    for _ in range(12):
        net.forward()
        labels = net.blobs["y"].data.astype(int)
        np.testing.assert_array_equal(net.blobs["x"].data[:, 0], labels)
        assert sorted(labels) == [0, 1, 2, 3, 10, 11]
        # The rows of a file stay side by side.
        assert np.abs(np.diff(labels >= 10)).sum() == 1
        seen.add(tuple(labels))
    assert len(seen) > 6


def test_one_top_and_numbers_of_other_kinds(net_of):
    values = np.array([[1.5], [2**24 + 1]], np.float64)
    net = net_of({"a.h5": {"x": values}}, "batch_size: 2", ["x"])
    net.forward()
    np.testing.assert_array_equal(net.blobs["x"].data, values.astype(np.float32))


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"x": np.zeros((2, 3))}, "a.h5: no dataset \"y\", after the top; it holds 'x'"),
        ({"x": np.zeros((2, 3)), "y": np.zeros(3)}, "a.h5: rows of its datasets: x 2, y 3"),
        ({"x": np.zeros((0, 3)), "y": np.zeros(0)}, "a.h5: rows of its datasets: x 0, y 0"),
        ({"x": np.zeros(2), "y": np.float32(1)}, r'dataset "y" is of float32 with 0 axes'),
        ({"x": np.zeros(2), "y": np.array([b"a", b"b"])}, r'dataset "y" is of \|S1 with 1 axes'),
    ],
)
def test_what_does_not_fit_is_one_line(net_of, datasets, message):
    with pytest.raises(ValueError, match=message):
        net_of({"a.h5": datasets})


def test_files_must_agree(net_of):
    net = net_of({"a.h5": rows_of(0, 4), "b.h5": {"x": np.zeros((4, 2)), "y": np.zeros(4)}})
    with pytest.raises(ValueError, match=r"b\.h5: its rows make tops of \(\(4, 2\), \(4,\)\)"):
        net.forward()


def test_a_dataset_that_claims_more_than_its_file_holds_is_refused(net_of, tmp_path):
    net_of({"a.h5": rows_of(0, 4)})
    with h5py.File(tmp_path / "b.h5", "w") as file:
        # Chunks that were never written take no room.
        file.create_dataset("x", (1000000, 300), np.float32, chunks=(1000, 300))
    (tmp_path / "list.txt").write_text(str(tmp_path / "b.h5"))
    with pytest.raises(ValueError, match=r'dataset "/x" claims 1000000 x 300 of float32, more'):
        net_of({})


def test_other_files_are_refused(net_of, tmp_path, text_file):
    net_of({"a.h5": rows_of(0, 2)})
    (tmp_path / "a.h5").write_bytes(b"nothing of the kind")
    layer = (
        'layer { name: "d" type: "HDF5Data" top: "x" '
        f'hdf5_data_param {{ source: "{tmp_path / "list.txt"}" batch_size: 1 }} MORE }}'
    )
    with pytest.raises(ValueError, match=r"\(HDF5Data\): .*a\.h5: not an HDF5 file, or a damaged"):
        caffe.Net(text_file(layer.replace("MORE", "")), caffe.TEST)
    with pytest.raises(ValueError, match="transform_param has no effect on HDF5Data"):
        caffe.Net(text_file(layer.replace("MORE", "transform_param { }")), caffe.TEST)
    (tmp_path / "a.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.h5: no such file; expected an HDF5 file"):
        caffe.Net(text_file(layer.replace("MORE", "")), caffe.TEST)
    (tmp_path / "list.txt").write_text(" \n")
    with pytest.raises(ValueError, match=r"list\.txt: lists no HDF5 file"):
        caffe.Net(text_file(layer.replace("MORE", "")), caffe.TEST)


OUTPUT = """
layer {{ name: "a" type: "Input" top: "a" top: "b"
  input_param {{ shape {{ dim: 2 dim: 3 }} shape {{ dim: {labels} }} }} }}
layer {{ name: "out" type: "HDF5Output" bottom: "a" bottom: "b"
  hdf5_output_param {{ file_name: "{path}" }} }}
"""


def test_output_writes_both_bottoms_once(text_file, tmp_path):
    path = tmp_path / "out.h5"
    net = caffe.Net(text_file(OUTPUT.format(labels=2, path=path)), caffe.TEST)
    x, y = np.random.default_rng(0).standard_normal((2, 3)), [4, 5]
    net.forward(a=x, b=y)
    with h5py.File(path, "r") as file:
        assert sorted(file) == ["data", "label"]
        assert file["data"].dtype == np.float32
        np.testing.assert_array_equal(file["data"], x.astype(np.float32).reshape(2, 3, 1, 1))
        np.testing.assert_array_equal(file["label"], np.reshape(y, (2, 1, 1, 1)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.prototxt", "out.h5"]
    with pytest.raises(
        ValueError, match=r"\(HDF5Output\): .*out\.h5: holds the first pass already"
    ):
        net.forward()


def test_what_output_refuses(text_file, tmp_path):
    with pytest.raises(ValueError, match="its bottoms hold 2 and 3 items"):
        caffe.Net(text_file(OUTPUT.format(labels=3, path=tmp_path / "o.h5")), caffe.TEST)
    with pytest.raises(ValueError, match="hdf5_output_param needs a file_name"):
        caffe.Net(text_file(OUTPUT.format(labels=2, path="")), caffe.TEST)
