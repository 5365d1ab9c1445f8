"""Weights in HDF5: read as Caffe writes them, written as Caffe reads them, hostile ones refused."""

from __future__ import annotations

import base64
import builtins
import zlib

import numpy as np
import pytest

from lbpmap.caffe.formats import hdf5

h5py = pytest.importorskip("h5py", reason="HDF5 files need h5py")

# What Caffe 1.0 wrote, with snapshot_diff, after two steps of a net of the layers d (DummyData),
# ip (InnerProduct, 2 -> 3) and loss; zlib, base 85.
BY_CAFFE = (
    "c-rlmzfZzI6vwYE)nckChNP9nYSds@aFWR%i71oSAA=(#hF~<21P3-(ob=CdGL9}TPK^8sjt&kkCT?oEccym*iYO"
    "S;_f49YcYXG1`{8@X<1)9gIX;#cBd#=!M2JDW`T*5ae9q42AxaQy5N~8QE;Y|tFdl>Ji**Nk*{oarA&AZMq|(UW9"
    "V#r!W!D`y9zxD|s>^)cQQ^GMjK{^Im&>&t=WWMtPN8{8?T+6Yoxg8XxcRl2U#bGX5Rc0=o}N`IUXC+AoOgeFXG0<"
    "~(b&8S@7E&7%wLnEe4PV%IU3IQ*UksT=Mv-tcLw?Z`hedDuA}|+fp+{FbmvFXx|d(lmR}U|>*bfND~>Mm2IGG;FI"
    "~r!@A;mi{5&GZY#n=#@pbkj><8n#59b#6x-#U~$#AS=)&%&9fj)rh-3Jbh!TP}KI6sfbF}t1nIA8Y!IWc)3&=&c+"
    "G~`Yy96liWW6*xKW?^3jeZb$B$;bJ+G{hyr7yi00BYv&}`--#3FY@c>*Eajj?+Cqy#B#dPlw>*pZ5hJaoBrHt{%O"
    "pfCK321X==p0fb;6t3hADgWqLsk{xd~tOttDjOu~xl7B5ezCxny+`X0nSRn_cV|J|pWLx#P2+0CrBI<6ky9$Fo@T"
    "ZI*Nc*pTcqEILl3N=jM>;G$C`8*W+%EnB0`^wBbvecO?`kp0;=SulCM<hWj^Z<^kA$cD9kUWpp{TT6g6#QKQ^^<-"
    "K^X<E&$QzZ@XMV;0Kk|#}h2L_jzx;jz-ry$("
)


@pytest.fixture
def by_caffe(tmp_path):
    path = tmp_path / "mini_iter_2.caffemodel.h5"
    path.write_bytes(zlib.decompress(base64.b85decode(BY_CAFFE)))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.caffemodel.h5"


def read_all(path):
    """Index a file and read all that it holds."""
    held = hdf5.index_net(path)
    arrays = {
        name: {i: np.full(shape, np.nan, np.float32) for i, shape in blobs.items()}
        for name, blobs in held.items()
    }
    hdf5.read_net(path, [(name, i, out) for name in arrays for i, out in arrays[name].items()])
    return arrays


def contents(path):
    """Return everything in a file by the name it has there, None for groups: h5py's own view."""
    found = {}

    def visit(name, item):
        dataset = isinstance(item, h5py.Dataset)
        found[name] = (item.dtype, item.shape, item[()].tolist()) if dataset else None

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


def test_a_file_of_caffe_is_read(by_caffe):
    assert hdf5.index_net(by_caffe) == {"d": {}, "ip": {0: (3, 2), 1: (3,)}, "loss": {}}
    arrays = read_all(by_caffe)
    np.testing.assert_array_equal(arrays["ip"][0], np.full((3, 2), 0.72, np.float32))
    np.testing.assert_allclose(arrays["ip"][1], np.full(3, 0.22), rtol=1e-6)


def test_a_file_is_written_as_caffe_writes_it(by_caffe, path):
    """Real Caffe 1.0 loaded such files, and h5diff found no difference."""
    ip = list(read_all(by_caffe)["ip"].values())
    diff = [np.full_like(array, -0.12) for array in ip]
    with h5py.File(by_caffe, "r") as file:
        for array, dataset in zip(diff, file["diff/ip"].values()):
            array[...] = dataset[()]
    hdf5.write_net(path, [("d", []), ("ip", ip), ("loss", [])], {"ip": diff})
    assert contents(path) == contents(by_caffe)


def test_blobs_of_other_layers_are_left_out(path):
    one, two = np.zeros((2, 3), np.float32), np.ones((), np.float32)
    hdf5.write_net(path, [("a", [one, two]), ("b", [None, two])], {"b": [one, two]})
    assert hdf5.index_net(path) == {"a": {0: (2, 3), 1: ()}, "b": {1: ()}}
    assert {name for name, item in contents(path).items() if item} == {
        "data/a/0",
        "data/a/1",
        "data/b/1",
        "diff/b/0",
        "diff/b/1",
    }
    assert read_all(path)["b"][1] == 1


@pytest.mark.parametrize("name", ["conv/3x3", "", ".", "a\0b"])
def test_names_that_hdf5_cannot_hold(path, name):
    """Caffe aborts there: "Error saving weights"."""
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="HDF5 cannot hold a layer of the name"):
        hdf5.write_net(path, [("a", []), (name, [])])
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_two_layers_of_one_name(path):
    with pytest.raises(ValueError, match='two layers have the name "a"; rename one'):
        hdf5.write_net(path, [("a", []), ("a", [])])


def test_numbers_of_other_types_and_compressed(path):
    values = np.arange(6).reshape(2, 3)
    with h5py.File(path, "w") as file:
        layer = file.create_group("data/ip")
        layer.create_dataset("0", data=values.astype(np.float64) * 1e39, compression="gzip")
        layer.create_dataset("1", data=values.astype(np.int16), chunks=(1, 2))
        layer.create_dataset("2", data=np.zeros((0, 3)))
        layer["3"] = layer["1"]
        layer.attrs["note"] = "of no matter"
        layer["other"] = values
    arrays = read_all(path)["ip"]
    assert arrays[0].ravel().tolist() == [0, *[np.inf] * 5]
    np.testing.assert_array_equal(arrays[1], values)
    np.testing.assert_array_equal(arrays[3], values)
    assert arrays[2].shape == (0, 3)


def hostile_missing(file):
    file["weights"] = 3


def hostile_dataset(file):
    file["data"] = np.zeros(4)


def hostile_layer(file):
    file.create_group("data")["ip"] = np.zeros(4)


def hostile_text(file):
    file.create_group("data/ip")["0"] = b"text"


def hostile_group(file):
    file.create_group("data/ip/0")


def hostile_external(file):
    file.create_group("data/ip")["0"] = h5py.ExternalLink("/etc/passwd", "/")


def hostile_soft(file):
    file.create_group("data")["ip"] = h5py.SoftLink("/data")


def hostile_raw(file):
    file.create_dataset("data/ip/0", (9,), "u1", external=[("/etc/passwd", 0, 9)])


def hostile_virtual(file):
    layout = h5py.VirtualLayout((9,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (9,))
    file.create_virtual_dataset("data/ip/0", layout)


def hostile_size(file):
    file.create_dataset("data/ip/0", (2**31, 2**20), "f4")


def hostile_chunk(file):
    file.create_dataset("data/ip/0", (1, 1), "f4", chunks=(2**14, 2**14), maxshape=(None, None))


def hostile_name(file):
    file.create_group("data")["a\nb"] = 3


def hostile_null(file):
    file["data/ip/0"] = h5py.Empty("f4")


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (hostile_missing, r"""no such thing where the group "data" was .* holds 'weights'$"""),
        (hostile_dataset, 'a dataset where the group "data" was expected'),
        (hostile_layer, 'a dataset where the group "ip" was expected'),
        (hostile_text, 'dataset "/data/ip/0" is of type .*; expected numbers$'),
        (hostile_group, 'dataset "/data/ip/0" is a group$'),
        (hostile_external, '"/data/ip/0" is a link to somewhere else, which is not followed'),
        (hostile_soft, '"/data/ip" is a link to somewhere else, which is not followed'),
        (hostile_raw, 'dataset "/data/ip/0" keeps its numbers in other files'),
        (hostile_virtual, 'dataset "/data/ip/0" keeps its numbers in other files'),
        (hostile_size, "claims 2147483648 x 1048576 of float32, more than the file can hold$"),
        (hostile_chunk, "claims 1 x 1 of float32, more than the file can hold$"),
        (hostile_name, 'a dataset where the group "a b" was expected'),
        (hostile_null, 'dataset "/data/ip/0" has no shape'),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_hostile_files_are_refused(path, make, error):
    with h5py.File(path, "w") as file:
        make(file)
    with pytest.raises(ValueError, match=error) as caught:
        hdf5.index_net(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_what_is_no_hdf5_file(path):
    path.write_bytes(b"name: 'net'")
    with pytest.raises(ValueError, match=r"h5: not an HDF5 file, or a damaged one .*; copy or"):
        hdf5.index_net(path)
    with pytest.raises(FileNotFoundError, match="no such file; expected a caffemodel in HDF5"):
        hdf5.index_net(path.with_name("absent.h5"))


def test_a_wrong_shape_or_a_missing_blob(by_caffe):
    with pytest.raises(ValueError, match=r'"ip": blob 1 has shape \(3,\), expected \(4,\)$'):
        hdf5.read_net(by_caffe, [("ip", 1, np.zeros(4, np.float32))])
    with pytest.raises(ValueError, match=r'dataset "/data/ip/2" is not there$'):
        hdf5.read_net(by_caffe, [("ip", 2, np.zeros(3, np.float32))])


def test_without_h5py_one_line_names_the_extra(path, monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == "h5py":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    for call in (lambda: hdf5.write_net(path, []), lambda: hdf5.index_net(path)):
        with pytest.raises(RuntimeError, match=r'pip install "lbpmap\[data\]"$'):
            call()
    assert not path.exists()
