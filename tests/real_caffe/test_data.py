"""Data layers that need no database, against real Caffe: what they hand out, batch after batch."""

from __future__ import annotations

import io

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")


def batches(caffe, live, given):
    net = caffe.Net("net.prototxt", given["phase"])
    found = live.structure(net)
    for i in range(given.get("batches", 4)):
        net.forward()
        found.update(live.everything(net, False, f"{i} "))
    return found


def picture(seed, height, width, kind="PNG"):
    """Return a file of a picture; PNG, as decoders of JPEG differ by a level here and there."""
    values = np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind)
    return file.getvalue()


LISTED = {f"p{i}.png": picture(i, 9, 8) for i in range(5)}
LIST = "".join(f"p{i}.png {i * 2}\n" for i in range(5))
IMAGE_DATA = {
    "whole": "",
    "grey": "is_color: false",
    "smaller": "new_height: 5 new_width: 4",
    "larger": "new_height: 13 new_width: 17",
}
TRANSFORMS = {
    "as it is": "",
    "cropped": "crop_size: 4",
    "cropped and scaled": "crop_size: 3 scale: 0.25 mean_value: 100",
}


@pytest.mark.parametrize("settings", IMAGE_DATA)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_image_data(in_real, in_ours, settings, transform):
    text = (
        'layer { name: "d" type: "ImageData" top: "data" top: "label" image_data_param { '
        f'source: "list.txt" batch_size: 3 {IMAGE_DATA[settings]} }} '
        f"transform_param {{ {TRANSFORMS[transform]} }} }}"
    )
    files = {**LISTED, "list.txt": LIST, "net.prototxt": text}
    expected, got = (do(batches, files, phase=1) for do in (in_real, in_ours))
    assert sorted(got) == sorted(expected)
    # Resizing is OpenCV's in fixed point there: whole levels, of which it is off by one at most.
    # Grey likewise is OpenCV's, of weights of 14 bits.
    levels = 1.01 if IMAGE_DATA[settings] else 0
    scale = 0.25 if "scale" in TRANSFORMS[transform] else 1
    for key, value in expected.items():
        if value.dtype.kind != "f":
            assert (got[key] == value).all(), key
        else:
            assert got[key].shape == value.shape
            assert not value.size or np.abs(got[key] - value).max() <= levels * scale, key


def test_image_data_below_a_folder(in_real, in_ours, check_same):
    text = (
        'layer { name: "d" type: "ImageData" top: "data" top: "label" image_data_param { '
        'source: "list.txt" batch_size: 2 root_folder: "./" } }'
    )
    files = {**LISTED, "list.txt": LIST, "net.prototxt": text}
    expected, got = (do(batches, files, phase=1) for do in (in_real, in_ours))
    for key in expected:
        check_same(key, got[key], expected[key])


DUMMY = {
    "constants": "shape { dim: 2 dim: 3 } data_filler { value: 1.5 }",
    "zeros": "shape { dim: 2 }",
    "old": "num: 2 channels: 3 height: 1 width: 4 data_filler { value: -1 }",
}


@pytest.mark.parametrize("case", DUMMY)
def test_dummy_data(compare, case):
    text = 'layer { name: "d" type: "DummyData" top: "a" top: "b" '
    text += f"dummy_data_param {{ {DUMMY[case]} }} }}"
    compare(batches, {"net.prototxt": text}, phase=1)


def test_dummy_data_each_its_own(compare):
    text = (
        'layer { name: "d" type: "DummyData" top: "a" top: "b" dummy_data_param { '
        "shape { dim: 2 } shape { dim: 1 dim: 3 } "
        "data_filler { value: 1 } data_filler { value: 2 } } }"
    )
    compare(batches, {"net.prototxt": text}, phase=0)


def redrawn(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TRAIN)
    seen = []
    for _ in range(3):
        net.forward()
        seen.append([net.blobs[name].data.copy() for name in "ab"])
    return {
        "constant again": [bool((x[0] == seen[0][0]).all()) for x in seen],
        "random again": [bool((x[1] == seen[0][1]).all()) for x in seen],
    }


def test_dummy_data_draws_anew(compare):
    text = (
        'layer { name: "d" type: "DummyData" top: "a" top: "b" dummy_data_param { '
        'shape { dim: 20 } data_filler { value: 1 } data_filler { type: "gaussian" } } }'
    )
    compare(redrawn, {"net.prototxt": text})


def from_memory(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TEST)
    found = live.structure(net)
    rng = np.random.RandomState(0)
    data = rng.uniform(-1, 1, (6, 2, 3, 4)).astype(np.float32)
    labels = np.arange(6, dtype=np.float32)
    net.set_input_arrays(data, labels)
    for i in range(4):
        net.forward()
        found.update(live.everything(net, False, f"{i} "))
    net.set_input_arrays(data[::-1].copy(), labels[::-1].copy())
    net.forward()
    found.update(live.everything(net, False, "other "))
    return found


def test_memory_data(compare):
    text = (
        'layer { name: "d" type: "MemoryData" top: "data" top: "label" '
        "memory_data_param { batch_size: 2 channels: 2 height: 3 width: 4 } }"
    )
    compare(from_memory, {"net.prototxt": text})


def hdf5_files(tmp_path):
    h5py = pytest.importorskip("h5py")
    rng = np.random.RandomState(1)
    files = {"list.txt": "one.h5\ntwo.h5\nthree.h5\n"}
    for name, rows in (("one.h5", 4), ("two.h5", 1), ("three.h5", 5)):
        with h5py.File(tmp_path / name, "w") as file:
            file["data"] = rng.uniform(-1, 1, (rows, 2, 3)).astype(np.float32)
            file["label"] = rng.uniform(-1, 1, rows)
        files[name] = (tmp_path / name).read_bytes()
    return files


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_hdf5_data_of_several_files(compare, tmp_path, batch):
    text = (
        'layer { name: "d" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { '
        f'source: "list.txt" batch_size: {batch} }} }}'
    )
    files = {**hdf5_files(tmp_path), "net.prototxt": text}
    for phase in (0, 1):
        compare(batches, files, phase=phase, batches=6)


def hdf5_written(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TEST)
    net.forward()
    del net  # which closes the file
    return {"bytes": np.fromfile("out.h5", np.uint8)}


def test_hdf5_output(in_real, in_ours, tmp_path):
    """One pass: at a second one real Caffe aborts, as the file has its datasets already."""
    h5py = pytest.importorskip("h5py")
    text = (
        'layer { name: "d" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { '
        'source: "list.txt" batch_size: 3 } }'
        'layer { name: "o" type: "HDF5Output" bottom: "data" bottom: "label" '
        'hdf5_output_param { file_name: "out.h5" } }'
    )
    files = {**hdf5_files(tmp_path), "net.prototxt": text}
    found = []
    for do in (in_real, in_ours):
        with h5py.File(io.BytesIO(do(hdf5_written, files)["bytes"].tobytes()), "r") as file:
            found.append({name: file[name][...] for name in sorted(file)})
    assert list(found[0]) == list(found[1])
    for name in found[0]:
        assert found[1][name].dtype == found[0][name].dtype
        assert np.array_equal(found[1][name], found[0][name])
