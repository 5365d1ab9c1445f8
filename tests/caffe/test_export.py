"""Nets in other stacks' files: what their runtimes compute, what the files say, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbpmap import caffe
from lbpmap.caffe.export import FORMS, checking, export, export_files, onnx_net
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import LayerParameter
from lbpmap.caffe.layers.plan import Layer, Workspace
from lbpmap.caffe.layers.shapes import LAYER_TYPES
from lbpmap.emotion.registry import packaged_folder

NETS = ["mini_emotiw", "mini_vgg_cnn_s", "mini_agenet", "mini_caffenet", "mini_vgg16"]
# Fixtures of layers that are for training and testing.
WITHOUT_FORM = {
    "accuracy",
    "euclidean",
    "hinge_L1",
    "multinomial_logistic",
    "sigmoid_ce",
    "softmaxloss_2d",
    "softmaxloss_4d_ignore_BATCH_SIZE",
    "softmaxloss_4d_ignore_NONE",
    "softmaxloss_4d_ignore_VALID",
    "softmaxloss_normalize_false",
}


def session(path):
    """Open a file as somebody without lbpmap does; warnings are errors."""
    ort = pytest.importorskip("onnxruntime")
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(path, inputs):
    opened = session(path)
    names = [output.name for output in opened.get_outputs()]
    known = {each.name for each in opened.get_inputs()}
    fed = {name: np.asarray(x, np.float32) for name, x in inputs.items() if name in known}
    return dict(zip(names, opened.run(names, fed)))


@pytest.mark.parametrize("name", NETS)
def test_whole_nets_are_caffes(onnx, fixtures, tmp_path, check_equal, name):
    folder = fixtures / "nets"
    expected = np.load(folder / f"{name}.npz")
    net = caffe.Net(folder / f"{name}_v1.prototxt", folder / f"{name}_v1.caffemodel", caffe.TEST)
    made = export(net, tmp_path / "net.onnx")
    assert made.inputs["data"][0] == "N"
    assert set(made.differences) == {"prob"}
    # Every blob is a tensor of its name, as real Caffe left it.
    model = onnx.load(made.path)
    blobs = [key[4:] for key in expected.files if key.startswith("out/") and "split" not in key]
    known = {info.name: info for info in model.graph.value_info}
    shown = [blob for blob in blobs if blob in known]
    assert len(shown) >= len(blobs) - 2
    model.graph.output.extend(known[blob] for blob in shown)
    onnx.save(model, tmp_path / "all.onnx")
    got = run(tmp_path / "all.onnx", {"data": expected["in/data"]})
    for blob in [*shown, "prob"]:
        check_equal(got[blob], expected[f"out/{blob}"], blob)


def recorded(fixtures):
    return sorted(path.stem for path in (fixtures / "layers").glob("*.prototxt"))


def test_layers_are_caffes(onnx, fixtures, tmp_path, check_equal):
    folder = fixtures / "layers"
    without = set()
    for name in recorded(fixtures):
        expected = np.load(folder / f"{name}.npz")
        weights = folder / f"{name}.caffemodel"
        net = caffe.Net(
            folder / f"{name}.prototxt", caffe.TEST, weights=weights if weights.exists() else None
        )
        if any(onnx_net.no_form(layer) for layer in net.layers):
            without.add(name)
            continue
        made = export(net, tmp_path / "layer.onnx")
        inputs = {key[3:]: expected[key] for key in expected.files if key.startswith("in/")}
        got = run(made.path, inputs)
        assert got, name
        for top, array in got.items():
            check_equal(array, expected[f"out/{top}"], f"{name}: {top}")
    assert without == WITHOUT_FORM


# Text of a layer, shapes of its bottoms, how many tops; free or fixed number of items in ONNX.
LAYERS = {
    "prelu": ('type: "PReLU"', [(2, 3, 4, 5)], 1, "N"),
    "prelu shared": ('type: "PReLU" prelu_param { channel_shared: true }', [(2, 3, 4)], 1, "N"),
    "relu with a slope": ('type: "ReLU" relu_param { negative_slope: 0.2 }', [(2, 3)], 1, "N"),
    "convolution over one axis": (
        'type: "Convolution" convolution_param { num_output: 2 kernel_size: 2 pad: 1 }',
        [(2, 3, 7)],
        1,
        "N",
    ),
    "convolution over three axes": (
        'type: "Convolution" convolution_param { num_output: 4 group: 2 kernel_size: 2 '
        "stride: 2 bias_term: false }",
        [(2, 4, 5, 4, 6)],
        1,
        "N",
    ),
    "convolution behind two axes": (
        'type: "Convolution" convolution_param { num_output: 2 kernel_size: 2 axis: 2 }',
        [(2, 3, 4, 5, 6)],
        1,
        "N",
    ),
    "convolution of two": (
        'type: "Convolution" convolution_param { num_output: 2 kernel_size: 3 dilation: 2 }',
        [(2, 3, 6, 7), (2, 3, 6, 7)],
        2,
        "N",
    ),
    "deconvolution": (
        'type: "Deconvolution" convolution_param { num_output: 4 group: 2 kernel_size: 4 '
        "stride: 2 pad: 1 dilation: 2 }",
        [(2, 2, 5, 4)],
        1,
        "N",
    ),
    "product behind two axes": (
        'type: "InnerProduct" inner_product_param { num_output: 4 axis: 2 transpose: true }',
        [(2, 3, 4, 5)],
        1,
        "N",
    ),
    "product of everything": (
        'type: "InnerProduct" inner_product_param { num_output: 4 axis: 0 }',
        [(2, 3)],
        1,
        2,
    ),
    "average with padding": (
        'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }',
        [(2, 3, 8, 6)],
        1,
        "N",
    ),
    "global maximum": (
        'type: "Pooling" pooling_param { global_pooling: true }',
        [(2, 3, 4, 5)],
        1,
        "N",
    ),
    "pyramid of means": (
        'type: "SPP" spp_param { pyramid_height: 3 pool: AVE }',
        [(2, 3, 9, 11)],
        1,
        "N",
    ),
    "lrn within a channel": (
        'type: "LRN" lrn_param { local_size: 3 alpha: 0.4 norm_region: WITHIN_CHANNEL }',
        [(2, 3, 5, 6)],
        1,
        "N",
    ),
    "batch norm": ('type: "BatchNorm"', [(2, 3, 4, 5)], 1, "N"),
    "scale": (
        'type: "Scale" scale_param { axis: 1 num_axes: 2 bias_term: true }',
        [(2, 3, 4, 5)],
        1,
        "N",
    ),
    "scale by a blob": ('type: "Scale" scale_param { axis: 0 }', [(2, 3, 4), (2, 3)], 1, "N"),
    "bias of a blob": ('type: "Bias" bias_param { axis: 1 }', [(2, 3, 4), (3, 4)], 1, "N"),
    "maximum of three": ('type: "Eltwise" eltwise_param { operation: MAX }', [(2, 3)] * 3, 1, "N"),
    "weighted sum": ('type: "Eltwise" eltwise_param { coeff: 2 coeff: -1 }', [(2, 3)] * 2, 1, "N"),
    "mvn of images": (
        'type: "MVN" mvn_param { across_channels: true }',
        [(2, 3, 4)],
        1,
        "N",
    ),
    "mvn of single numbers": ('type: "MVN"', [(2, 3)], 1, "N"),
    "mvn of means": (
        'type: "MVN" mvn_param { normalize_variance: false }',
        [(2, 3, 4, 5)],
        1,
        "N",
    ),
    "power": ('type: "Power" power_param { power: 3 scale: 2 shift: 1 }', [(2, 3)], 1, "N"),
    "power of nothing": ('type: "Power"', [(2, 3)], 1, "N"),
    "exp": ('type: "Exp" exp_param { base: 3 scale: 0.1 shift: 1 }', [(2, 3)], 1, "N"),
    "log": ('type: "Log" log_param { base: 3 scale: 2 shift: 99 }', [(2, 3)], 1, "N"),
    "swish": ('type: "Swish" swish_param { beta: 2 }', [(2, 3)], 1, "N"),
    "concat of items": ('type: "Concat" concat_param { axis: 0 }', [(2, 3), (2, 3)], 1, "N"),
    "slice of items": ('type: "Slice" slice_param { axis: 0 }', [(2, 3)], 2, 2),
    "slice": (
        'type: "Slice" slice_param { axis: -1 slice_point: 1 slice_point: 4 }',
        [(2, 3, 6)],
        3,
        "N",
    ),
    "flatten two axes": (
        'type: "Flatten" flatten_param { axis: 1 end_axis: 2 }',
        [(2, 3, 4, 5)],
        1,
        "N",
    ),
    "reshape": (
        'type: "Reshape" reshape_param { shape { dim: 0 dim: -1 dim: 2 } }',
        [(2, 3, 4)],
        1,
        "N",
    ),
    "reshape to a fixed shape": (
        'type: "Reshape" reshape_param { shape { dim: 2 dim: 12 } }',
        [(2, 3, 4)],
        1,
        2,
    ),
    "crop": (
        'type: "Crop" crop_param { axis: 2 offset: 1 offset: 2 }',
        [(2, 3, 6, 7), (2, 1, 4, 5)],
        1,
        "N",
    ),
    "crop of items": (
        'type: "Crop" crop_param { axis: 0 offset: 0 offset: 1 }',
        [(2, 3), (2, 2)],
        1,
        "N",
    ),
    "tile": ('type: "Tile" tile_param { axis: 1 tiles: 3 }', [(2, 3, 4)], 1, "N"),
    "embed": ('type: "Embed" embed_param { input_dim: 7 num_output: 4 }', [(2, 3)], 1, "N"),
    "reindex": ('type: "BatchReindex"', [(5, 3), (2,)], 1, "N"),
    "mean": (
        'type: "Reduction" reduction_param { operation: MEAN axis: 1 }',
        [(2, 3, 4)],
        1,
        "N",
    ),
    "sum of squares": (
        'type: "Reduction" reduction_param { operation: SUMSQ axis: -1 coeff: 0.5 }',
        [(2, 3, 4)],
        1,
        "N",
    ),
    "sum of sizes": ('type: "Reduction" reduction_param { operation: ASUM }', [(2, 3)], 1, "N"),
    "two largest": ('type: "ArgMax" argmax_param { top_k: 2 axis: 1 }', [(2, 5, 3)], 1, "N"),
    "largest and where": (
        'type: "ArgMax" argmax_param { top_k: 3 out_max_val: true }',
        [(2, 5, 3)],
        1,
        "N",
    ),
    "softmax of rows": ('type: "Softmax" softmax_param { axis: 2 }', [(2, 3, 4)], 1, "N"),
    "dropout": ('type: "Dropout" dropout_param { dropout_ratio: 0.7 }', [(2, 3)], 1, "N"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_in_onnx(onnx, layer_net, tmp_path, name):
    text, shapes, tops, items = LAYERS[name]
    net = layer_net(text, shapes, tops)
    made = export(net, tmp_path / "layer.onnx")
    assert set(made.differences) == {f"t{i}" for i in range(tops)}
    assert max(made.differences.values()) < 1e-5
    assert made.inputs["b0"][0] == items
    info = {output.name: output.shape for output in session(made.path).get_outputs()}
    for top in made.differences:
        shape = net.blobs[top].shape
        assert len(info[top]) == len(shape)
        assert all(a == b for a, b in zip(info[top], shape) if isinstance(a, int))
    fixed = export(net, tmp_path / "fixed.onnx", fixed=True)
    assert fixed.inputs == {f"b{i}": shape for i, shape in enumerate(shapes)}


# Types whose PyTorch form here is not the engine's, and a few of those whose is.
IN_TORCH = [
    "average with padding",
    "global maximum",
    "pyramid of means",
    "lrn within a channel",
    "embed",
    "reindex",
    "product behind two axes",
    "reshape to a fixed shape",
    "slice of items",
]


@pytest.mark.parametrize("name", IN_TORCH)
def test_layers_in_pytorch(layer_net, tmp_path, name):
    pytest.importorskip("torch")
    text, shapes, tops, items = LAYERS[name]
    made = export(layer_net(text, shapes, tops), tmp_path / "layer.pt2")
    assert max(made.differences.values()) < 1e-5
    assert made.inputs["b0"][0] == items


def test_every_type_is_written_or_refused_with_a_reason():
    for name, kind in LAYER_TYPES.items():
        param = LayerParameter(name="l", type=name, bottom=["b"] * kind.bottoms[0])
        layer = Layer(param, [], Workspace(), np.random.default_rng())
        reason = onnx_net.no_form(layer)
        assert (reason is None) == (name in FORMS or name in ("Input", "Split", "Silence"))
        assert reason is None or "; export " in reason
    assert set(FORMS) <= set(LAYER_TYPES)


side = st.tuples(st.integers(1, 12), st.integers(1, 12))


@settings(max_examples=40, deadline=None)
@given(
    size=side,
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    pad=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    pool=st.sampled_from(["MAX", "AVE"]),
    mode=st.sampled_from(["CEIL", "FLOOR"]),
)
def test_pooling_of_any_geometry(onnx, tmp_path_factory, size, kernel, stride, pad, pool, mode):
    folder = tmp_path_factory.mktemp("pool")
    words = zip(("kernel", "stride", "pad"), (kernel, stride, pad))
    geometry = " ".join(f"{word}_h: {h} {word}_w: {w}" for word, (h, w) in words)
    (folder / "net.prototxt").write_text(
        f'layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 '
        f'dim: {size[0]} dim: {size[1]} }} }} }} layer {{ name: "pool" type: "Pooling" '
        f'bottom: "x" top: "y" pooling_param {{ pool: {pool} round_mode: {mode} {geometry} }} }}'
    )
    try:
        net = caffe.Net(folder / "net.prototxt", caffe.TEST)
    except ValueError:
        return  # no window fits, or the padding is as large as the kernel
    made = export(net, folder / "free.onnx")
    assert made.inputs["x"][:2] == ("N", 3)
    assert made.differences["y"] < 1e-6
    if set(made.inputs["x"]) >= {"H", "W"}:
        # The very file takes pictures of other sides, where Caffe's rules round otherwise.
        for high, wide in ((0, 1), (1, 2), (3, 0), (2, 5)):
            shape = (1, 3, size[0] + high, size[1] + wide)
            x = np.random.default_rng(high).standard_normal(shape).astype(np.float32)
            net.blobs["x"].reshape(*shape)
            assert checking.difference(run(made.path, {"x": x})["y"], net.forward(x=x)["y"]) < 1e-6


def narrowed(path, by, tmp_path):
    """Write a prototxt with so many times fewer outputs a layer, but for the last."""
    net = prototxt.read_net(path)
    last = max(i for i, layer in enumerate(net.layer) if layer.type == "InnerProduct")
    for layer in net.layer[:last]:
        for p in (layer.convolution_param, layer.inner_product_param):
            if p.num_output:
                p.num_output = max(
                    p.num_output // by, p.group if layer.type == "Convolution" else 1
                )
    narrow = tmp_path / "narrow.prototxt"
    narrow.write_text(prototxt.format_text(net))
    return narrow


def filled(path):
    """Read a net with random weights, of which no activation dies out."""
    net = caffe.Net(path, caffe.TEST)
    rng = np.random.default_rng(6)
    for blobs in net.params.values():
        weights = blobs[0].data
        weights[...] = rng.standard_normal(weights.shape) * np.sqrt(2 / weights[0].size)
    return net


@pytest.mark.parametrize(
    "folder",
    ["VGG_S_cyclic_lbp"]
    + [f"architectures/{name}" for name in ("VGG_S", "VGG_M_2048", "VGG_M_4096", "GoogLeNet")],
)
def test_the_papers_layouts_at_small_width(onnx, tmp_path, folder):
    net = filled(narrowed(packaged_folder() / folder / "deploy.prototxt", 16, tmp_path))
    made = export(net, tmp_path / "net.onnx")
    assert made.inputs == {"data": ("N", 3, 224, 224)}
    assert made.differences["prob"] < 1e-5


def test_age_and_gender(onnx, shared, tmp_path):
    net = filled(narrowed(shared / "models" / "agegender" / "deploy.prototxt", 4, tmp_path))
    made = export(net, tmp_path / "net.onnx")
    assert made.inputs == {"data": ("N", 3, 227, 227)}
    assert made.differences["prob"] < 1e-5


def test_lenet(onnx, shared, tmp_path, check_equal):
    folder = shared / "models" / "lenet"
    weights = folder / "lenet_iter_10000_v1.caffemodel"
    made = export_files(folder / "lenet.prototxt", weights, tmp_path / "net.onnx")
    assert made.differences["prob"] < 1e-5
    net = caffe.Net(folder / "lenet.prototxt", weights, caffe.TEST)
    x = np.random.default_rng(1).uniform(0, 1, (64, 1, 28, 28)).astype(np.float32)
    check_equal(run(made.path, {"data": x})["prob"], net.forward_all(data=x)["prob"])


@pytest.mark.parametrize(("name", "side"), [("det1", None), ("det2", 24), ("det3", 48)])
def test_mtcnn(onnx, shared, tmp_path, check_equal, name, side):
    folder = shared / "models" / "mtcnn"
    files = folder / f"{name}.prototxt", folder / f"{name}.caffemodel"
    made = export_files(*files, tmp_path / "net.onnx")
    assert made.inputs == {"data": ("N", 3, *((side, side) if side else ("H", "W")))}
    assert max(made.differences.values()) < 1e-4
    if side is None:
        net = caffe.Net(*files, caffe.TEST)
        for high, wide in ((30, 40), (31, 57), (12, 12), (201, 13)):
            x = np.random.default_rng(1).uniform(-1, 1, (2, 3, high, wide)).astype(np.float32)
            net.blobs["data"].reshape(*x.shape)
            wanted, got = net.forward(data=x), run(made.path, {"data": x})
            for blob in ("prob1", "conv4-2"):
                check_equal(got[blob], wanted[blob])


def test_layers_in_place_become_tensors_of_their_own(onnx, text_file, in_place, tmp_path):
    net = caffe.Net(text_file(in_place), caffe.TEST)
    net.params["bn"][1].data[...] = 1
    net.params["bn"][2].data[...] = 2
    made = export(net, tmp_path / "net.onnx")
    nodes = [node for node in onnx.load(made.path).graph.node if node.op_type != "Constant"]
    assert {node.name: list(node.output) for node in nodes}.items() >= {
        "neg": ["x_after_neg"],
        "conv.1": ["y_before_bn"],
        "bn": ["y_before_relu"],
        "relu": ["y_before_drop"],
        "drop": ["y"],
        "left": ["left"],
    }.items()
    assert list(made.differences) == ["left"]
    assert onnx.load(made.path).graph.initializer[0].name == "constant"


def test_shared_parameters_are_stored_once(onnx, text_file, tmp_path):
    ip = (
        'layer {{ name: "ip{0}" type: "InnerProduct" bottom: "x" top: "y{0}" param {{ name: "w" }} '
        "inner_product_param {{ num_output: 300 bias_term: false "
        'weight_filler {{ type: "xavier" }} }} }}'
    )
    head = 'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 50 } } }'
    net = caffe.Net(text_file(head + ip.format(1) + ip.format(2)), caffe.TEST)
    made = export(net, tmp_path / "net.onnx")
    assert 4 * 300 * 50 < made.size < 1.5 * 4 * 300 * 50
    assert set(made.differences) == {"y1", "y2"}
