"""The net as pycaffe shows it: calling, blobs, weights, graph, errors."""

from __future__ import annotations

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe.blob import Blob
from lbpmap.caffe.formats import prototxt, weights
from lbpmap.caffe.formats.messages import FillerParameter, NetParameter
from lbpmap.caffe.layers import fillers

DATA = """
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 4 dim: 6 dim: 6 } } }
"""


def layer(name, kind, more="", bottom="data", top=None):
    names = f'name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top or name}"'
    return f"layer {{ {names} {more} }}\n"


def test_every_way_of_calling(tiny, tiny_weights):
    nets = [
        caffe.Net(str(tiny), str(tiny_weights), caffe.TEST),
        caffe.Net(tiny, tiny_weights, caffe.TEST),
        caffe.Net(tiny, caffe.TEST, weights=tiny_weights),
        caffe.Net(tiny, phase=caffe.TEST, weights=str(tiny_weights), level=0, stages=["a"]),
    ]
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 5)).astype(np.float32)
    outs = [net.forward(data=x)["prob"] for net in nets]
    for out in outs:
        np.testing.assert_array_equal(out, outs[0])
    for args in [(tiny,), (tiny, 7), (tiny, caffe.TEST, tiny_weights), (tiny, tiny_weights)]:
        with pytest.raises(TypeError, match=r"Net\(model, phase\)"):
            caffe.Net(*args)
    with pytest.raises(TypeError, match="twice"):
        caffe.Net(tiny, tiny_weights, caffe.TEST, weights=tiny_weights)
    with pytest.raises(TypeError, match="twice"):
        caffe.Net(tiny, caffe.TEST, phase=caffe.TEST)


def test_the_surface(tiny):
    net = caffe.Net(tiny, caffe.TEST)
    assert net.name == "tiny"
    assert net.inputs == ["data"]
    assert net.outputs == ["prob"]
    assert net._layer_names == ["data", "conv", "relu", "ip", "prob"]
    assert list(net.blobs) == net._blob_names == ["data", "conv", "ip", "prob"]
    assert list(net.params) == ["conv", "ip"]
    assert [blob.shape for blob in net.params["ip"]] == [(7, 48), (7,)]
    assert net.layer_dict["relu"].type == "ReLU"
    assert len(net.layers[1].blobs) == 2
    assert net.top_names["relu"] == net.bottom_names["relu"] == ["conv"]
    assert net.top_names["data"] == ["data"]
    assert net.bottom_names["data"] == []
    blob = net.blobs["conv"]
    assert (blob.num, blob.channels, blob.height, blob.width) == (2, 4, 4, 3)
    assert blob.count == 96
    ip = net.blobs["ip"]
    assert (ip.num, ip.channels, ip.height, ip.width) == (2, 7, 1, 1)


def test_blobs_are_live(tiny):
    net = caffe.Net(tiny, caffe.TEST)
    net.blobs["data"].data[...] = 1
    view = net.params["conv"][0].data
    view[...] = 0
    net.params["conv"][1].data[...] = [1, -1, 2, 3]
    net.forward()
    assert net.blobs["conv"].data[0, :, 0, 0].tolist() == [1, 0, 2, 3]
    view[0] = 2
    net.forward()
    assert net.blobs["conv"].data[0, 0, 0, 0] == 2 * 27 + 1
    diff = net.blobs["conv"].diff
    assert not diff.any()
    diff[...] = 3
    assert net.blobs["conv"].diff.min() == 3


def test_parts_of_a_net_run(tiny):
    net = caffe.Net(tiny, caffe.TEST)
    whole = net.forward(data=np.ones((2, 3, 6, 5)))["prob"].copy()
    out = net.forward(end="relu")
    assert list(out) == ["conv"]
    net.blobs["conv"].data[...] = 0
    part = net.forward(start="ip", blobs=["ip"])
    assert sorted(part) == ["ip", "prob"]
    np.testing.assert_allclose(part["ip"][0], net.params["ip"][1].data, rtol=1e-6)
    assert np.abs(part["prob"] - whole).max() > 1e-4
    with pytest.raises(ValueError, match=r'tiny\.prototxt: no layer "fc9"'):
        net.forward(end="fc9")
    with pytest.raises(ValueError, match='no blob "fc9"; known are data, conv, ip, prob'):
        net.forward(blobs=["fc9"])


def test_inputs_are_checked_before_anything_is_written(tiny):
    net = caffe.Net(tiny, caffe.TEST)
    with pytest.raises(
        ValueError, match=r'input blob "data" has shape \(2, 3, 6, 5\), got .*\(1, 3, 6, 5\)'
    ):
        net.forward(data=np.ones((1, 3, 6, 5)))
    with pytest.raises(ValueError, match="forward got image, the net's inputs are data"):
        net.forward(image=np.ones((2, 3, 6, 5)))
    assert not net.blobs["data"].data.any()


def test_reshaping_fits_the_whole_net(tiny):
    net = caffe.Net(tiny, caffe.TEST)
    x = np.random.default_rng(0).standard_normal((5, 3, 6, 5)).astype(np.float32)
    net.blobs["data"].reshape(5, 3, 6, 5)
    net.reshape()
    assert net.blobs["prob"].shape == (5, 7)
    five = net.forward(data=x)["prob"].copy()
    net.blobs["data"].reshape(1, 3, 6, 5)
    one = net.forward(data=x[3:4])["prob"]
    np.testing.assert_allclose(one[0], five[3], rtol=1e-5)
    net.blobs["data"].reshape(1, 3, 7, 5)
    with pytest.raises(
        ValueError,
        match=r'layer "ip" \(InnerProduct\): its parameter has shape \(7, 48\), .* needs \(7, 60\)',
    ):
        net.reshape()
    assert net.blobs["conv"].shape == (1, 4, 4, 3)
    net.blobs["data"].reshape(1, 3, 2, 5)
    with pytest.raises(ValueError, match=r'layer "conv" .*kernel of 3 x 3 is larger than .* 2 x 5'):
        net.forward()
    with pytest.raises(ValueError, match="dimensions must be integers from 0"):
        net.blobs["data"].reshape(1, -3)


def test_forward_all_fills_up_the_last_batch(tiny):
    net = caffe.Net(tiny, caffe.TEST)
    x = np.random.default_rng(0).standard_normal((5, 3, 6, 5)).astype(np.float32)
    out = net.forward_all(data=x, blobs=["ip"])
    assert out["ip"].shape == out["prob"].shape == (5, 7)
    np.testing.assert_array_equal(out["prob"][4], net.forward(data=x[[4, 4]])["prob"][0])


def test_weights_go_by_layer_name(tiny, tiny_weights, text_file):
    text = tiny.read_text().replace('"ip"', '"other"')
    net = caffe.Net(text_file(text), caffe.TEST)
    before = net.params["other"][0].data.copy()
    net.copy_from(tiny_weights)
    saved = caffe.Net(tiny, tiny_weights, caffe.TEST)
    np.testing.assert_array_equal(net.params["conv"][0].data, saved.params["conv"][0].data)
    np.testing.assert_array_equal(net.params["other"][0].data, before)


def test_several_files_the_last_wins(tiny, tiny_weights, tmp_path):
    net = caffe.Net(tiny, tiny_weights, caffe.TEST)
    net.params["conv"][1].data[...] = 9
    other = tmp_path / "other.caffemodel"
    net.save(other)
    for files in (f"{tiny_weights},{other}", [tiny_weights, other]):
        net = caffe.Net(tiny, caffe.TEST)
        view = net.params["conv"][1].data
        net.copy_from(files)
        assert view.min() == 9


def test_a_wrong_shape_changes_nothing(tiny, tiny_weights, text_file):
    net = caffe.Net(
        text_file(tiny.read_text().replace("num_output: 7", "num_output: 8")), caffe.TEST
    )
    before = net.params["conv"][0].data.copy()
    with pytest.raises(
        ValueError,
        match=r'tiny\.caffemodel: layer "ip": blob 0 has shape \(7, 48\), .* has \(8, 48\); the '
        r"prototxt and the weights are of different nets or input sizes \(to train .* rename it\)$",
    ):
        net.copy_from(tiny_weights)
    np.testing.assert_array_equal(net.params["conv"][0].data, before)


def test_a_wrong_number_of_blobs(tiny, tiny_weights, text_file):
    text = tiny.read_text().replace("num_output: 7", "num_output: 7 bias_term: false")
    with pytest.raises(
        ValueError,
        match=r'layer "ip": the file holds 2 blob\(s\), the net\'s layer has 1; .* different nets',
    ):
        caffe.Net(text_file(text), tiny_weights, caffe.TEST)


def test_legacy_shapes_match_as_in_caffe(tmp_path, tiny):
    net = NetParameter()
    ip = net.layers.add(name="ip")
    ip.blobs.add(num=1, channels=1, height=7, width=48, data=range(336))
    ip.blobs.add(num=1, channels=1, height=1, width=7, data=range(7))
    path = tmp_path / "old.caffemodel"
    path.write_bytes(net.SerializeToString())
    loaded = caffe.Net(tiny, path, caffe.TEST)
    assert loaded.params["ip"][0].data[1, 0] == 48
    ip.blobs[0].num, ip.blobs[0].height = 7, 1
    path.write_bytes(net.SerializeToString())
    with pytest.raises(ValueError, match=r"blob 0 has shape \(7, 1, 1, 48\)"):
        loaded.copy_from(path)


def test_missing_files(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.prototxt"):
        caffe.Net(tmp_path / "none.prototxt", caffe.TEST)
    with pytest.raises(FileNotFoundError, match=r"none\.caffemodel"):
        caffe.Net(tiny, str(tmp_path / "none.caffemodel"), caffe.TEST)


def test_splits_are_named_as_in_caffe(text_file):
    text = DATA + layer("conv", "Convolution", "convolution_param { num_output: 4 kernel_size: 1 }")
    text += layer("relu", "ReLU", bottom="conv", top="conv")
    text += layer("a", "Pooling", "pooling_param { kernel_size: 2 }", bottom="conv")
    text += layer("b", "Eltwise", 'bottom: "data"', bottom="conv")
    net = caffe.Net(text_file(text), caffe.TEST)
    assert net._layer_names == [
        "data", "data_data_0_split", "conv", "relu", "conv_relu_0_split", "a", "b",
    ]  # fmt: skip
    assert net.bottom_names["b"] == ["conv_relu_0_split_1", "data_data_0_split_1"]
    assert net.outputs == ["a", "b"]
    net.forward(data=np.ones((2, 4, 6, 6)))
    assert net.blobs["conv_relu_0_split_0"].data.base is net.blobs["conv"].data.base
    net.blobs["data"].reshape(1, 4, 9, 9)
    net.reshape()
    net.blobs["data"].data[...] = 2
    net.forward()
    np.testing.assert_array_equal(net.blobs["data_data_0_split_1"].data, net.blobs["data"].data)


def test_loss_weight_counts_as_a_reader(text_file):
    text = DATA + layer("a", "AbsVal", "loss_weight: 2") + layer("b", "AbsVal", bottom="a")
    net = caffe.Net(text_file(text), caffe.TEST)
    assert net._layer_names == ["data", "a", "a_a_0_split", "b"]
    assert net.bottom_names["b"] == ["a_a_0_split_1"]
    assert net.outputs == ["a_a_0_split_0", "b"]
    assert list(net.layer_dict["a_a_0_split"].param.loss_weight) == [2, 0]


@pytest.mark.parametrize(
    ("phase", "level", "stages", "names"),
    [
        (caffe.TRAIN, 0, [], ["data", "train", "plain"]),
        (caffe.TEST, 0, [], ["data", "plain"]),
        (caffe.TEST, 2, [], ["data", "high", "plain"]),
        (caffe.TEST, 0, ["a"], ["data", "staged"]),
        (caffe.TEST, 0, ["a", "b"], ["data"]),
    ],
)
def test_rules_choose_layers(text_file, phase, level, stages, names):
    text = DATA
    text += layer("train", "AbsVal", "include { phase: TRAIN }")
    text += layer("high", "AbsVal", "include { min_level: 1 max_level: 3 }")
    text += layer("staged", "AbsVal", 'include { stage: "a" not_stage: "b" }')
    text += layer("plain", "AbsVal", 'exclude { stage: "a" } exclude { stage: "b" }')
    net = caffe.Net(text_file(text), phase=phase, level=level, stages=stages)
    assert [name for name in net._layer_names if "split" not in name] == names


def test_parameters_are_shared_by_name(text_file):
    ip = 'inner_product_param { num_output: 4 axis: 3 bias_term: false } param { name: "w" }'
    text = DATA + layer("a", "InnerProduct", ip) + layer("b", "InnerProduct", ip)
    net = caffe.Net(text_file(text), caffe.TEST)
    net.params["a"][0].data[...] = 3
    assert net.params["b"][0].data.min() == 3
    with pytest.raises(ValueError, match=r'layer "b" .* parameter "w" has shape \(5, 6\) here and'):
        caffe.Net(
            text_file(text[::-1].replace("4 :tuptuo_mun", "5 :tuptuo_mun", 1)[::-1]), caffe.TEST
        )


def filled(shape, **settings):
    filler = FillerParameter(**settings)
    fillers.check(shape, filler)
    return fillers.fill(shape, filler, np.random.default_rng(0))


def test_fillers_have_caffes_distributions():
    shape = (50, 40, 5, 5)
    xavier = filled(shape, type="xavier")
    limit = np.sqrt(3 / 1000)
    assert 0.99 * limit < xavier.max() <= limit
    assert abs(xavier.std() / (limit / np.sqrt(3)) - 1) < 0.01
    msra = filled(shape, type="msra", variance_norm="FAN_OUT")
    assert abs(msra.std() / np.sqrt(2 / 1250) - 1) < 0.02
    average = filled(shape, type="msra", variance_norm="AVERAGE")
    assert abs(average.std() / np.sqrt(2 / 1125) - 1) < 0.02
    gaussian = filled(shape, type="gaussian", mean=2, std=0.5)
    assert abs(gaussian.mean() - 2) < 0.01
    assert abs(gaussian.std() - 0.5) < 0.01
    sparse = filled((100, 400), type="gaussian", sparse=10)
    assert abs((sparse != 0).mean() - 0.1) < 0.01
    ball = filled((6, 9), type="positive_unitball")
    np.testing.assert_allclose(ball.sum(1), 1, rtol=1e-6)
    assert filled((3,), type="constant", value=2).tolist() == [2, 2, 2]
    uniform = filled((1000,), type="uniform", min=-3, max=1)
    assert -3 <= uniform.min() < -2.9 < 0.9 < uniform.max() <= 1
    bilinear = filled((1, 2, 4, 4), type="bilinear")
    np.testing.assert_allclose(bilinear[0, 1, 1], [0.1875, 0.5625, 0.5625, 0.1875])


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"type": "bilinear"}, "square kernel of four axes"),
        ({"type": "uniform", "min": 3}, "min 3 above max 1"),
        ({"type": "gaussian", "std": -1}, "negative std, -1"),
    ],
)
def test_fillers_that_cannot_be(settings, error):
    with pytest.raises(ValueError, match=error):
        filled((3, 4), **settings)


def test_a_seed_gives_the_same_net_in_any_order_of_reading(tiny):
    def weights_of(*names):
        caffe.set_random_seed(3)
        net = caffe.Net(tiny, caffe.TEST)
        return {name: net.params[name][0].data for name in names}

    one, two = weights_of("conv", "ip"), weights_of("ip", "conv")
    np.testing.assert_array_equal(one["conv"], two["conv"])
    np.testing.assert_array_equal(one["ip"], two["ip"])
    caffe.set_random_seed(4)
    assert (caffe.Net(tiny, caffe.TEST).params["conv"][0].data != one["conv"]).all()


def test_what_a_file_overwrites_is_never_filled(tiny, tiny_weights, monkeypatch):
    def refuse(*_):
        raise AssertionError("a filler ran")

    monkeypatch.setattr(fillers, "fill", refuse)
    net = caffe.Net(tiny, caffe.TEST)
    net.copy_from(tiny_weights)
    assert net.forward()["prob"].shape == (2, 7)


def test_a_blob_alone():
    blob = Blob((2, 3))
    blob.data[...] = 5
    blob.reshape(3, 2)
    assert blob.data.tolist() == [[5, 5]] * 3
    blob.reshape(3)
    assert blob.data.tolist() == [5, 5, 5]
    blob.reshape(4, 4)
    assert blob.data.shape == (4, 4)


def test_modes_and_version():
    caffe.set_mode_cpu()
    assert caffe.__version__ == "1.0.0"
    assert (caffe.TRAIN, caffe.TEST) == (0, 1)


def test_pieces_are_named_in_the_file_that_was_saved(tiny_weights):
    kinds = [(layer.name, layer.type, len(layer.blobs)) for layer in weights.index(tiny_weights)]
    assert kinds[:2] == [("data", "Input", 0), ("conv", "Convolution", 2)]
    assert (
        prototxt.format_text(NetParameter.FromString(tiny_weights.read_bytes())).count("blobs") == 4
    )


def test_layers_that_no_file_fills_are_known(tiny, tiny_weights, text_file):
    assert caffe.Net(tiny, caffe.TEST).unfilled_layers() == ["conv", "ip"]
    assert caffe.Net(tiny, tiny_weights, caffe.TEST).unfilled_layers() == []
    net = caffe.Net(text_file(tiny.read_text().replace('"ip"', '"other"')), caffe.TEST)
    net.params["other"][0].data[...] = 1
    net.copy_from(tiny_weights)
    assert net.unfilled_layers() == ["other"]
    text = tiny.read_text().replace('"ip"', '"other"').replace('name: "conv"', 'name: "first"')
    net = caffe.Net(text_file(text), tiny_weights, caffe.TEST)
    assert net.unfilled_layers() == ["first", "other"]


def test_shared_parameters_are_filled_with_their_owner(text_file, tmp_path):
    ip = 'inner_product_param { num_output: 4 axis: 3 bias_term: false } param { name: "w" }'
    text = DATA + layer("a", "InnerProduct", ip) + layer("b", "InnerProduct", ip)
    alone = caffe.Net(text_file(DATA + layer("a", "InnerProduct", ip), "a.prototxt"), caffe.TEST)
    path = tmp_path / "a.caffemodel"
    alone.save(path)
    net = caffe.Net(text_file(text), caffe.TEST)
    assert net.unfilled_layers() == ["a", "b"]
    net.copy_from(path)
    assert net.unfilled_layers() == []


def test_nets_share_their_parameters(tiny, tiny_weights, text_file):
    source = caffe.Net(tiny, tiny_weights, caffe.TEST)
    other = text_file(tiny.read_text().replace('"ip"', '"other"'))
    net = caffe.Net(other, caffe.TEST)
    net.share_with(source)
    assert net.unfilled_layers() == ["other"]
    source.params["conv"][1].data[...] = 6
    assert net.params["conv"][1].data.min() == 6
    wide = caffe.Net(
        text_file(tiny.read_text().replace("num_output: 7", "num_output: 8"), "wide.prototxt"),
        caffe.TEST,
    )
    with pytest.raises(ValueError, match=r'wide\.prototxt: layer "ip": its parameters .*\(8, 48\)'):
        wide.share_with(source)
    wide.params["conv"][1].data[...] = 0
    assert source.params["conv"][1].data.min() == 6
    with pytest.raises(TypeError, match=r"Net\.share_with: other must be a Net, got str"):
        net.share_with("net.prototxt")


def test_diffs_are_cleared(tiny):
    net = caffe.Net(tiny, caffe.TEST)
    net.params["ip"][0].diff[...] = 2
    net.clear_param_diffs()
    assert not net.params["ip"][0].diff.any()


def test_arguments_that_name_no_file(tiny, tiny_weights, tmp_path):
    with (
        open(tiny) as file,
        pytest.raises(TypeError, match="Net: model must be the path of a prototxt, got TextIOWr"),
    ):
        caffe.Net(file, caffe.TEST)
    with pytest.raises(ValueError, match="Net: model is empty; give the path of a prototxt"):
        caffe.Net("", caffe.TEST)
    net = caffe.Net(tiny, caffe.TEST)
    with pytest.raises(TypeError, match=r"Net\.copy_from: files must be the path .*, got int"):
        net.copy_from(3)
    with pytest.raises(TypeError, match=r"Net\.copy_from: files must be the path .*, got bytes"):
        net.copy_from([b"x"])
    with pytest.raises(ValueError, match=r"Net\.copy_from: files is empty"):
        net.copy_from("")
    with pytest.raises(TypeError, match=r"Net\.save: path must be the path .*, got int"):
        net.save(3)
    with pytest.raises(ValueError, match=r"Net\.save: path is empty"):
        net.save("")
    with pytest.raises(IsADirectoryError, match=f"{tmp_path}: a folder; expected the name"):
        net.save(tmp_path)


def test_names_that_nothing_has_are_attribute_errors():
    for owner, prefix in ((caffe, "caffe"), (caffe.layers, r"caffe\.layers")):
        assert not hasattr(owner, "typo")
        with pytest.raises(AttributeError, match=f"^{prefix} has no attribute 'typo'$"):
            owner.typo  # noqa: B018


def test_losses_that_name_no_top_go_together(text_file):
    text = (
        'layer { name: "a" type: "Input" top: "a" top: "b" input_param { shape { dim: 2 } } }'
        'layer { name: "one" type: "EuclideanLoss" bottom: "a" bottom: "b" }'
        'layer { name: "two" type: "EuclideanLoss" bottom: "a" bottom: "a" }'
    )
    net = caffe.Net(text_file(text), caffe.TEST)
    losses = net.forward(["(automatic)", "(automatic) 2"], a=[1, 2], b=[3, 4])
    assert (losses["(automatic)"], losses["(automatic) 2"]) == (2, 0)
    assert net.loss() == 2
