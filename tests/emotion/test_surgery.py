"""The text of a net made ready to learn other labels."""

from __future__ import annotations

import re

import pytest

from lbpmap import caffe
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import NetParameter
from lbpmap.emotion import surgery
from lbpmap.emotion.registry import packaged_folder

TRAIN_VAL = """
name: "small"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  data_param { source: "train_lmdb" batch_size: 24 } transform_param { crop_size: 8 mirror: true } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  data_param { source: "test_lmdb" batch_size: 7 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  param { lr_mult: 1 } param { lr_mult: 2 } convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "aux" type: "InnerProduct" bottom: "conv" top: "aux"
  inner_product_param { num_output: 5 } include { phase: TRAIN } }
layer { name: "aux_loss" type: "SoftmaxWithLoss" bottom: "aux" bottom: "label" top: "aux_loss"
  loss_weight: 0.3 include { phase: TRAIN } }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.02 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy"
  include { phase: TEST } }
"""


def net(text=TRAIN_VAL):
    return prototxt.parse(text, NetParameter())


def prepare(text=TRAIN_VAL, **more):
    return surgery.prepare(net(text), **{"labels": 3, "crop": 8, "batch": 6, **more})


def layers(message, name):
    return [layer for layer in message.layer if layer.name == name]


def save(message, folder, name):
    path = folder / name
    path.write_text(prototxt.format_text(message))
    return path


def test_data_layers_become_memory(tmp_path):
    ready = prepare()
    path = save(ready.train_val, tmp_path, "net.prototxt")
    for phase in (caffe.TRAIN, caffe.TEST):
        made = caffe.Net(path, phase)
        assert made.layers[0].type == "MemoryData"
        assert made.blobs["data"].shape == (6, 3, 8, 8)
        assert made.blobs["label"].shape == (6,)
        assert made.params["ip_ft1"][0].shape[0] == 3


def test_all_heads_are_renamed_and_the_heaviest_loss_is_the_main_one():
    ready = prepare()
    assert ready.heads == ("aux_ft1", "ip_ft1")
    assert ready.scores == "ip"
    again = surgery.prepare(ready.train_val, labels=9, crop=8, batch=2)
    assert again.heads == ("aux_ft2", "ip_ft2")


def test_the_deployed_net_has_what_leads_to_the_probabilities(tmp_path):
    made = caffe.Net(save(prepare().deploy, tmp_path, "deploy.prototxt"), caffe.TEST)
    assert made._layer_names == ["data", "conv", "relu", "ip_ft1", "prob"]
    assert made.inputs == ["data"]
    assert made.outputs == ["prob"]
    assert made.blobs["prob"].shape == (1, 3)


def test_a_net_that_is_only_run_gets_a_loss(tmp_path):
    text = (packaged_folder() / "VGG_S_rgb" / "deploy.prototxt").read_text()
    small = re.sub(r"num_output: \d+", "num_output: 8", text)
    path = tmp_path / "deploy.prototxt"
    path.write_text(small)
    ready = surgery.prepare(prototxt.read_net(path), labels=4, crop=224, batch=2)
    assert ready.heads == ("fc8_cat_ft1",)
    made = caffe.Net(save(ready.train_val, tmp_path, "net.prototxt"), caffe.TRAIN)
    assert made.outputs == ["loss"]
    assert "prob" in caffe.Net(save(ready.deploy, tmp_path, "d.prototxt"), caffe.TEST).blobs


def test_kept_heads_keep_their_names():
    kept = prepare(labels=4, fresh=False)
    assert kept.heads == ("aux", "ip")
    assert layers(kept.train_val, "ip")[0].inner_product_param.num_output == 4


def test_weights_that_would_be_zero_get_a_filler():
    ready = prepare().train_val
    (conv,), (head,), (aux,) = (layers(ready, n) for n in ("conv", "ip_ft1", "aux_ft1"))
    assert conv.convolution_param.weight_filler.type == "xavier"
    assert head.inner_product_param.weight_filler.std == pytest.approx(0.02)
    assert aux.inner_product_param.weight_filler.std == pytest.approx(0.01)


def test_rates_and_frozen_layers():
    ready = prepare(frozen=["conv"], rates={"ip": 10})
    (conv,), (head,) = layers(ready.train_val, "conv"), layers(ready.train_val, "ip_ft1")
    assert [spec.lr_mult for spec in conv.param] == [0, 0]
    assert [spec.lr_mult for spec in head.param] == [10, 10]
    with pytest.raises(ValueError, match="no layer conv9 with weights; there are conv, "):
        prepare(frozen=["conv9"])


def test_the_batch_of_the_text():
    assert surgery.batch_of(net(), 30) == 24
    assert surgery.batch_of(prepare().train_val, 30) == 6
    assert surgery.batch_of(net('layer { name: "x" type: "Input" top: "x" }'), 30) == 30


BROKEN = {
    "two blobs of data": (
        TRAIN_VAL.replace('top: "data" top: "label"', 'top: "data" top: "more" top: "label"'),
        "data layers bring data, more",
    ),
    "no loss": (TRAIN_VAL.replace("SoftmaxWithLoss", "HingeLoss"), "neither a SoftmaxWithLoss nor"),
    "a head that is none": (
        TRAIN_VAL.replace('bottom: "ip" bottom: "label" top: "loss"',
                          'bottom: "data" bottom: "label" top: "loss"'),
        'layer "loss": its scores "data" come from train_data',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_does_not_fit_is_said(case):
    text, message = BROKEN[case]
    with pytest.raises(ValueError, match=message):
        prepare(text)
