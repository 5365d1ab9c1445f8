"""Solverstates of both forms: those of Caffe are read, what is written is what Caffe writes."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest

from lbpmap.caffe.formats import blobs, solverstate
from lbpmap.caffe.formats.messages import SolverState as Protobuf
from lbpmap.caffe.formats.solverstate import SolverState

BINARY = ["adam", "nesterov", "poly", "step"]

# What Caffe 1.0 wrote after two steps (SGD, momentum) of a net with parameters (3, 2) and (3,);
# zlib, base 85.
HDF5_BY_CAFFE = (
    "c-rgqaB<`1lHy_j0S*oZ76t(ZWbhvf7{t){P>=wn8KHCslwQFE6K4d=NkGK~q2{Bj3kh;{1*!gz24MCWus~>3*Nu"
    "Xa0z6zD13+{Hly3p0PcWgX%PdJP0?|3CiA8y-De-x!C1CO7(xRf&yps6hlGFkaKO?iaB)_N<o^BOz*vrVk22sNZ<"
    "3mz1BO@b9x`)xsz!VB%3ve(nuppVt%D@2@XJTRkE9HQi!^{X|f&mMPy+Tl7kYaN_)@%lbhCvYz!G8WOj6k=-!mEP"
    "~zj^~GJ%b%JoM0JQK?p)~z~X@!zj?6yU%@)G(=%qe;y_DBkn|!9#8P<E4+}KtqzI&+8AB{QsGZN`hEzVoRd1r_8%"
    "hDF_{`1B%ZvvVobg6_$%$!csk!+nsX2NXreGEQhraG5gh%VAQ7{Td!6+C7qhKfjLjCR)!lV7}(SA3g-wkVzItXF!"
    "=NY24(;cYRAJBl%kY+stGgA8%J6{5<RZu}5-aioMU=Xi|%H!@QC~=_r6jwhXV*vWyOz?j43?btB$sa^U(=aLhOlG"
    "w7M1DH5f<_e&fpk<cpy2@k2B(AU"
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net_iter_7.solverstate"


@pytest.fixture
def by_caffe(path):
    path.write_bytes(zlib.decompress(base64.b85decode(HDF5_BY_CAFFE)))
    return path


def check_same(got, expected):
    assert (got.iter, got.learned_net) == (expected.iter, expected.learned_net)
    assert got.current_step == expected.current_step
    assert [array.shape for array in got.history] == [array.shape for array in expected.history]
    for mine, theirs in zip(got.history, expected.history):
        assert mine.dtype == np.float32
        np.testing.assert_array_equal(mine, theirs)


def example():
    rng = np.random.default_rng(4)
    shapes = [(3, 2, 1), (4,), (), (0, 2)]
    history = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    return SolverState(7, "net_iter_7.caffemodel", 2, history)


@pytest.mark.parametrize("case", BINARY)
def test_a_state_of_caffe_is_read_and_written_byte_for_byte(fixtures, path, case):
    source = fixtures / "solver" / f"snap_{case}_iter_10.solverstate"
    state = solverstate.read(source)
    message = Protobuf.FromString(source.read_bytes())
    history = [np.reshape(b.data, tuple(b.shape.dim)).astype(np.float32) for b in message.history]
    net = f"snap_{case}_iter_10.caffemodel"
    assert len(history) == (16 if case == "adam" else 8)
    check_same(state, SolverState(10, net, int(case == "step"), history))
    solverstate.write(path, state)
    assert path.read_bytes() == source.read_bytes()


def test_an_hdf5_state_of_caffe_is_read(by_caffe):
    history = [np.full((3, 2), -0.12, np.float32), np.full(3, -0.12, np.float32)]
    assert solverstate.read(by_caffe).iter == 2
    got = solverstate.read(by_caffe)
    np.testing.assert_allclose(got.history[0], history[0], rtol=1e-6)
    check_same(got, SolverState(2, "mini_iter_2.caffemodel.h5", 0, got.history))
    assert [array.shape for array in got.history] == [array.shape for array in history]


def test_an_hdf5_state_is_written_as_caffe_writes_it(by_caffe):
    h5py = pytest.importorskip("h5py")

    def contents():
        with h5py.File(by_caffe, "r") as file:
            sets = ["iter", "current_step", "learned_net", "history/0", "history/1"]
            assert list(file) == ["current_step", "history", "iter", "learned_net"]
            # The low-level type tells how a text ends, which NumPy's does not.
            return [
                (file[name].id.get_type().encode(), file[name].shape, file[name][()].tolist())
                for name in sets
            ]

    expected = contents()
    solverstate.write(by_caffe, solverstate.read(by_caffe), hdf5=True)
    assert contents() == expected


@pytest.mark.parametrize("hdf5", [False, True])
def test_a_state_comes_back(path, hdf5):
    if hdf5:
        pytest.importorskip("h5py")
    solverstate.write(path, example(), hdf5=hdf5)
    check_same(solverstate.read(path), example())
    nothing = SolverState(0, "\udcff/a", 0, [])
    solverstate.write(path, nothing, hdf5=hdf5)
    check_same(solverstate.read(path), nothing)


def test_protobuf_reads_what_is_written(path):
    solverstate.write(path, example())
    message = Protobuf.FromString(path.read_bytes())
    assert (message.iter, message.current_step) == (7, 2)
    assert message.learned_net == "net_iter_7.caffemodel"
    for blob, array in zip(message.history, example().history):
        assert tuple(blob.shape.dim) == array.shape
        np.testing.assert_array_equal(np.array(blob.data, np.float32), array.ravel())


def test_a_state_of_old_blobs_and_doubles(path):
    message = Protobuf(iter=3, learned_net="n")
    message.history.add(num=1, channels=1, height=1, width=2, data=[1, 2])
    message.history.add(double_data=[5]).shape.dim.append(1)
    path.write_bytes(message.SerializeToString())
    state = solverstate.read(path)
    assert [array.tolist() for array in state.history] == [[[[[1, 2]]]], [5]]


def test_nothing_half_written_stays(path):
    path.write_bytes(b"old")
    state = example()
    state.history.append("no array")
    with pytest.raises(AttributeError):
        solverstate.write(path, state)
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def raw(**fields):
    return Protobuf(**fields).SerializeToString()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "the file is empty, a solverstate was expected"),
        (b"\x0a\x03net", "byte 0: iter is of kind 2, expected 0; cut short or not a solverstate"),
        (raw(iter=-1), "byte 0: iter is not from 0 to 2147483647"),
        (raw(iter=3), "neither history nor learned_net; this is not a solverstate"),
        (raw(learned_net="n" * 5000), "byte 0: a path of 5000 bytes"),
        (raw(learned_net="net")[:-1], "field 2 claims 3 bytes, only 2 are left"),
        (
            raw(history=[{"shape": {"dim": [2**40, 2**20]}, "data": [1]}]),
            "a blob of shape 1099511627776 x 1048576 needs 1152921504606846976 numbers, the file",
        ),
    ],
)  # fmt: skip
def test_hostile_files_are_refused(path, content, error):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=error) as caught:
        solverstate.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_too_many_histories_are_refused(path, monkeypatch):
    monkeypatch.setattr(blobs, "MAX_ENTRIES", 10)
    path.write_bytes(raw(history=[{"num": 0}] * 11))
    with pytest.raises(ValueError, match="more than 10 layers and blobs"):
        solverstate.read(path)


def spoiled(name, value):
    """Give a function that puts another dataset into an HDF5 state; None takes it out."""

    def spoil(file):
        del file[name]
        if value is not None:
            file[name] = value

    return spoil


def many_names(file):
    for i in range(2, 200):
        file[f"history/{i}"] = file["history/0"]


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (spoiled("iter", None), 'dataset "/iter" is not there$'),
        (spoiled("iter", 1.5), r'dataset "/iter" is \(\) of float64; expected one whole number$'),
        (spoiled("iter", [1, 2]), r'"/iter" is \(2,\) of int64; expected one whole number$'),
        (spoiled("current_step", -3), 'dataset "/current_step" is -3; expected 0 to 2147483647$'),
        (spoiled("learned_net", 3), '"/learned_net" is .* expected a text of fixed length$'),
        (spoiled("learned_net", "vary"), "/learned_net.* expected a text of fixed length$"),
        (spoiled("history", None), 'no such thing where the group "history" was expected'),
        (spoiled("history/0", None), '"/history" holds other things than 0, 1, ... without a gap$'),
        (spoiled("history/0", b"text"), 'dataset "/history/0" is of type .*; expected numbers$'),
        (many_names, '200 datasets of "/history" claim more than the file can hold$'),
    ],
)  # fmt: skip
def test_hostile_hdf5_states_are_refused(by_caffe, spoil, error):
    h5py = pytest.importorskip("h5py")
    state = solverstate.read(by_caffe)
    state.history = [np.zeros(2000, np.float32)] * 2
    solverstate.write(by_caffe, state, hdf5=True)
    with h5py.File(by_caffe, "r+") as file:
        spoil(file)
    with pytest.raises(ValueError, match=error) as caught:
        solverstate.read(by_caffe)
    assert str(caught.value).startswith(f"{by_caffe}: ")
    assert "\n" not in str(caught.value)


def test_a_state_without_a_net_is_read(by_caffe):
    h5py = pytest.importorskip("h5py")
    with h5py.File(by_caffe, "r+") as file:
        spoiled("learned_net", None)(file)
    assert solverstate.read(by_caffe).learned_net == ""
