"""What reads each kind of file, and good files of that kind to begin with.

A target reads a file as the package's users do and gives the bytes that the content takes once it
is decoded. It may raise what its documentation says, in one line that names the file.
"""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from lbpmap import tables
from lbpmap.caffe import graph, solver_nets
from lbpmap.caffe.data import hdf5_source
from lbpmap.caffe.formats import database, hdf5, prototxt, solverstate, weights
from lbpmap.caffe.formats.messages import TEST, BlobProto, Datum, Message, NetParameter
from lbpmap.caffe.io import blobproto_to_array
from lbpmap.caffe.net import Net
from lbpmap.emotion import registry

DATA = (
    'layer { name: "i" type: "Input" top: "d" top: "l" top: "s" input_param { '
    "shape { dim: 2 dim: 4 dim: 6 dim: 6 } shape { dim: 2 } shape { dim: 2 dim: 4 } } }\n"
)
# A layer of each type that is not a mere function, and its settings.
LAYERS = {
    "ArgMax": "argmax_param { out_max_val: true top_k: 3 }",
    "BatchNorm": "batch_norm_param { eps: 1e-4 }",
    "Bias": "bias_param { axis: 1 filler { value: 2 } }",
    "Concat": 'bottom: "d" concat_param { axis: 1 }',
    "Convolution": "convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 group: 2 "
    'weight_filler { type: "xavier" } bias_filler { type: "gaussian" std: 0.1 sparse: 2 } }',
    "Crop": 'bottom: "d" crop_param { axis: 2 offset: 0 }',
    "Data": 'data_param { source: "absent" batch_size: 2 backend: LMDB }',
    "Deconvolution": "convolution_param { num_output: 4 kernel_h: 3 kernel_w: 3 dilation: 2 "
    'weight_filler { type: "bilinear" } }',
    "DummyData": "dummy_data_param { shape { dim: 2 dim: 3 } data_filler { min: 0 max: 1 } }",
    "Eltwise": 'bottom: "d" eltwise_param { operation: SUM coeff: 1 coeff: -1 }',
    "Embed": "embed_param { num_output: 3 input_dim: 5 }",
    "Exp": "exp_param { base: 2 scale: 3 shift: 1 }",
    "Filter": 'bottom: "l"',
    "Flatten": "flatten_param { axis: 1 end_axis: -1 }",
    "HDF5Data": 'hdf5_data_param { source: "absent" batch_size: 2 }',
    "Im2col": "convolution_param { kernel_size: 3 stride: 2 }",
    "ImageData": 'top: "m" image_data_param { source: "absent" batch_size: 2 is_color: false }',
    "InfogainLoss": 'bottom: "l" infogain_loss_param { axis: -3 source: "absent" }',
    "InnerProduct": "inner_product_param { num_output: 5 transpose: true } param { name: 'w' }",
    "LRN": "lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }",
    "LSTM": 'bottom: "s" recurrent_param { num_output: 2 }',
    "MemoryData": 'top: "m" memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }',
    "MVN": "mvn_param { across_channels: true }",
    "PReLU": "prelu_param { channel_shared: true }",
    "Parameter": "parameter_param { shape { dim: 2 dim: 3 } }",
    "Pooling": "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 round_mode: FLOOR }",
    "Power": "power_param { power: 2 }",
    "Python": 'python_param { module: "this" layer: "Zen" param_str: "1" }',
    "Reduction": "reduction_param { operation: MEAN axis: 1 }",
    "Reshape": "reshape_param { shape { dim: 0 dim: -1 } axis: 1 num_axes: 2 }",
    "Scale": "scale_param { axis: 1 bias_term: true } param { lr_mult: 0 }",
    "Slice": 'top: "z" slice_param { axis: 1 slice_point: 1 }',
    "SoftmaxWithLoss": 'bottom: "l" softmax_param { axis: -3 } loss_weight: 2 '
    'include { phase: TEST not_stage: "x" }',
    "SPP": "spp_param { pyramid_height: 2 }",
    "Tile": "tile_param { axis: 1 tiles: 2 }",
}
_SOURCES = ("Data", "DummyData", "HDF5Data", "ImageData", "MemoryData", "Parameter")
V0_TEXT = """name: "old" input: "d" input_dim: 2 input_dim: 2 input_dim: 7 input_dim: 7
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "d" top: "pad1" }
layers { layer { name: "conv1" type: "conv" num_output: 4 kernelsize: 3 weight_filler { std: 0.1 }
  blobs_lr: 1. blobs_lr: 2. } bottom: "pad1" top: "conv1" # a comment
}
layers { layer { name: "loss" type: "softmax" } bottom: "conv1" top: "p" }
"""
V1_TEXT = """input: "d" input_shape { dim: 1 dim: 2 dim: 3 dim: 3 }
layers { name: "ip" type: INNER_PRODUCT bottom: "d" top: "ip" blobs_lr: 1 weight_decay: 0
  inner_product_param { num_output: 2 } param: "w" }
layers { name: "data" type: DATA top: "x" data_param { source: "a" batch_size: 3 scale: 2 } include
  { phase: TRAIN } }
"""
SOLVER_TEXT = """net_param { layer { name: "i" type: "Input" top: "d"
  input_param { shape { dim: 3 } } } }
test_iter: 2 test_interval: 5 base_lr: 0.1 lr_policy: "multistep" stepvalue: 2 stepvalue: 4
gamma: 0.5 momentum: 0.9 solver_type: NESTEROV snapshot_prefix: "p" solver_mode: CPU random_seed: 7
"""
TOML = """labels = ["a", "b"]
representation = "lbp"
[input]
size = 256
crop = 224
channel_order = "BGR"
[files]
deploy = "deploy.prototxt"
weights = "net.caffemodel"
mean = "mean.binaryproto"
"""


@dataclass(frozen=True)
class Target:
    """A kind of file: the name its readers want, what reads it, good ones, and how they change."""

    file: str
    read: Callable[[Path], int]
    seeds: Callable[[], list[bytes]]
    mutator: str


def _texts() -> list[bytes]:
    nets = [DATA + f'layer {{ name: "x" type: "{kind}" top: "y" '
            + ("" if kind in _SOURCES else 'bottom: "d" ') + settings + " }"
            for kind, settings in LAYERS.items()]  # fmt: skip
    return [text.encode() for text in (V0_TEXT, V1_TEXT, *nets)]


def net_of_text(path: Path) -> int:
    """Open a net as the commands do, which run no layers of the file's own code."""
    description = prototxt.read_net(path)
    if named := graph.python_layers(description):
        raise ValueError(f"{path}: {len(named)} layers run code of their own")
    net = Net.of_message(description, str(path), graph.NetState(phase=TEST))
    assert all(blob.values.untouched or len(la.blobs) for la in net.layers for blob in la.blobs)
    return int(description.ByteSize())


def solver_of_text(path: Path) -> int:
    """Read a solver and plan the nets that stand in it."""
    described = prototxt.read_solver(path)
    whole = [described.net_param, described.train_net_param, *described.test_net_param]
    if any(graph.python_layers(net) for net in whole):
        raise ValueError(f"{path}: a layer runs code of its own")
    solver_nets.read_nets(described, str(path))
    return int(described.ByteSize())


def blob(*shape: int) -> Message:
    """Give a BlobProto of this shape."""
    message = BlobProto(data=np.arange(int(np.prod(shape))))
    message.shape.dim.extend(shape)
    return message


def _weights() -> list[bytes]:
    new = NetParameter(name="n")
    new.layer.add(name="ip", type="InnerProduct").blobs.extend([blob(2, 3), blob(2)])
    new.layer.add(name="scale", type="Scale").blobs.add(double_data=[1], diff=[2])
    v1 = NetParameter(name="n")
    v1.layers.add(name="ip", type=14).blobs.add(num=1, channels=1, height=2, width=3, data=range(6))
    v1.layers[0].blobs.add(num=1, channels=1, height=1, width=2, data=range(2))
    v0 = NetParameter()
    v0.layers.add().layer.name = "ip"
    v0.layers[0].layer.type = "innerproduct"
    v0.layers[0].layer.blobs.extend(v1.layers[0].blobs)
    single = BlobProto(num=1, channels=1, height=1, width=2).SerializeToString()
    single += b"".join(b"\x2d" + struct.pack("<f", x) for x in (1, 2))
    loose = b"\x0a\x02ip" + b"".join(bytes([0x3A, len(single)]) + single for _ in range(2))
    nets = [net.SerializeToString() for net in (new, v1, v0)]
    return [*nets, b"\xa2\x06" + bytes([len(loose)]) + loose]


def _small_net() -> Net:
    text = """
    layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 3 } } }
    layer { name: "ip" type: "InnerProduct" bottom: "d" top: "y" inner_product_param {
      num_output: 2 } }"""
    description = prototxt.parse(text, NetParameter())
    return Net.of_message(description, "small", graph.NetState(phase=TEST))


def weights_of_net(net: Net) -> Callable[[Path], int]:
    """Give what takes a file's weights into a net, and reads those that the net lacks."""

    def read(path: Path) -> int:
        found = weights.index(path)
        taken = 0
        with open(path, "rb") as file:
            for entry in (entry for layer in found for entry in layer.blobs):
                out = np.empty(entry.shape, np.float32)
                weights.read_into(file, entry, out)
                taken = max(taken, out.nbytes)
        if any(layer.name in net.layer_dict for layer in found):
            net.copy_from(path)
        return taken

    return read


def array_of_blob(path: Path) -> int:
    """Read a binaryproto, and as pycaffe scripts do."""
    array = weights.read_blob(path)
    try:
        message = BlobProto.FromString(path.read_bytes())
    except DecodeError:  # of fields that Caffe does not have, which are passed over here
        return array.nbytes
    again = blobproto_to_array(message)
    assert again.size == array.size
    return array.nbytes + again.nbytes


def _states() -> list[bytes]:
    history = [np.ones((2, 3), np.float32), np.ones(4, np.float32)]
    return [
        _written(partial(solverstate.write, state=solverstate.SolverState(*fields)))
        for fields in ((7, "net.caffemodel", 1, history), (0, "", 0, history[:1]))
    ]


def state(path: Path) -> int:
    """Read a solverstate of either form."""
    return sum(array.nbytes for array in solverstate.read(path).history)


def _written(write: Callable[[Path], None]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()


def _hdf5() -> list[bytes]:
    h5py = hdf5.import_h5py()
    ones = np.ones((2, 3), np.float32)
    packed = io.BytesIO()
    with h5py.File(packed, "w", libver="latest") as file:
        group = file.create_group("data/ip")
        group.create_dataset("0", data=ones, chunks=(1, 3), compression="gzip", shuffle=True)
        group.create_dataset("1", data=ones[0, :2].astype(np.float64), fletcher32=True, chunks=(2,))
    layers = [("ip", [ones, ones[0, :2]]), ("b", [])]
    return [_written(lambda path: hdf5.write_net(path, layers)), packed.getvalue()]


def _hdf5_states() -> list[bytes]:
    history = solverstate.SolverState(7, "n", 1, [np.ones((2, 3), np.float32)])
    return [_written(lambda path: solverstate.write(path, history, hdf5=True))]


def _hdf5_rows() -> list[bytes]:
    h5py = hdf5.import_h5py()
    plain, chunked = io.BytesIO(), io.BytesIO()
    with h5py.File(plain, "w") as file:
        file["d"] = np.ones((2, 3), np.float32)
        file["l"] = np.arange(2)
    with h5py.File(chunked, "w", libver="latest") as file:
        file.create_dataset("d", data=np.ones((4, 2)), chunks=(1, 2), compression="gzip")
        file["l"] = np.arange(4, dtype=np.uint8)
    return [plain.getvalue(), chunked.getvalue()]


def weights_in_hdf5(path: Path) -> int:
    """Take the weights of a file in HDF5 into a net."""
    NET.load_hdf5(path)
    return max(blob.data.nbytes for blobs in NET.params.values() for blob in blobs)


def rows(path: Path) -> int:
    """Read the rows of training data, as an HDF5Data layer does."""
    return sum(array.nbytes for array in hdf5_source.read(str(path), ["d", "l"]))


def _lmdb() -> list[bytes]:
    """Databases of pages of 256 bytes: a leaf, and a branch over two of which one overflows."""
    datum = Datum(channels=1, height=1, width=2, data=b"ab", label=1).SerializeToString()
    return [_pages([_leaf([(b"0", datum), (b"1", datum)])], 1), _pages(
        [_node_page(1, [(b"", 3, b""), (b"1", 4, b"")]), _leaf([(b"0", datum)]),
         _node_page(2, [(b"1", 40 | 1 << 32, struct.pack("<Q", 5))]),
         struct.pack("<QHHI", 5, 0, 4, 1) + datum + bytes(40)], 2)]  # fmt: skip


def _leaf(records: list[tuple[bytes, bytes]]) -> bytes:
    return _node_page(2, [(key, len(value), value) for key, value in records])


def _node_page(flags: int, nodes: list[tuple[bytes, int, bytes]]) -> bytes:
    table, body, top = b"", b"", 256
    for key, size, value in nodes:
        node = struct.pack("<IHH", size & 2**32 - 1, size >> 32, len(key)) + key + value
        node += bytes(len(node) % 2)
        top -= len(node)
        table, body = table + struct.pack("<H", top), node + body
    head = struct.pack("<8xHHHH", 0, flags, 16 + len(table), top)
    return (head + table).ljust(top, b"\0") + body


def _pages(tree: list[bytes], depth: int) -> bytes:
    heads = b"".join(
        (struct.pack("<QHHI", i, 0, 8, 0)
         + struct.pack("<IIQQ", 0xBEEFC0DE, 1, 0, 2**20)
         + struct.pack("<IHHQQQQQ", 256, 8, 0, 0, 0, 0, 0, 2**64 - 1)
         + struct.pack("<IHHQQQQQ", 0, 0, depth, 1, len(tree), 0, 2, 2)
         + struct.pack("<QQ", 1 + len(tree), i)).ljust(256, b"\0")
        for i in range(2)
    )  # fmt: skip
    numbered = (
        (struct.pack("<Q", i) + page[8:]).ljust(256, b"\0") for i, page in enumerate(tree, 2)
    )
    return heads + b"".join(numbered)


def records(path: Path) -> int:
    """Read a database to its end."""
    return max((datum.ByteSize() for _, datum in database.read_lmdb(path.parent)), default=0)


def _table(points: int) -> bytes:
    values = np.arange(3 * 2**points, dtype=np.uint8).reshape(-1, 3)
    return _written(tables.Table(values, "t", "made", points=points).save)


def table(path: Path) -> int:
    """Load a table."""
    return tables.load_table(path).values.nbytes


def description(path: Path) -> int:
    """Find the net of a folder by its description."""
    return len(registry.net_in(path.parent).labels)


NET = _small_net()
TARGETS = {
    "text": Target("net.prototxt", net_of_text, _texts, "text"),
    "solver": Target("s.prototxt", solver_of_text, lambda: [SOLVER_TEXT.encode()], "text"),
    "weights": Target("net.caffemodel", weights_of_net(NET), _weights, "binary"),
    "blob": Target(
        "mean.binaryproto",
        array_of_blob,
        lambda: [blob(1, 3, 2, 2).SerializeToString(), BlobProto(
            num=1, channels=3, height=1, width=1, double_data=[1, 2, 3]).SerializeToString()],
        "binary",
    ),
    "state": Target("net.solverstate", state, _states, "binary"),
    "hdf5": Target("net.h5", weights_in_hdf5, _hdf5, "numbers"),
    "hdf5state": Target("net.solverstate.h5", state, _hdf5_states, "numbers"),
    "hdf5rows": Target("rows.h5", rows, _hdf5_rows, "numbers"),
    "lmdb": Target("data.mdb", records, _lmdb, "numbers"),
    "toml": Target("model.toml", description, lambda: [TOML.encode()], "text"),
    "table": Target("t.table", table, lambda: [_table(1), _table(3)], "text"),
}  # fmt: skip
