"""Prototxts of the oldest layouts, upgraded by real Caffe and here: the same nets."""

from __future__ import annotations

import numpy as np
import pytest

V0 = """
name: "v0"
input: "data"
input_dim: 2 input_dim: 3 input_dim: 12 input_dim: 12
force_backward: true
layers {
  layer {
    name: "conv1" type: "conv" num_output: 4 kernelsize: 3 stride: 2 biasterm: true
    weight_filler { type: "gaussian" std: 0.1 } bias_filler { type: "constant" value: 0.5 }
    blobs_lr: 1. blobs_lr: 2. weight_decay: 1. weight_decay: 0.
  }
  bottom: "data" top: "conv1"
}
layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
layers {
  layer { name: "norm1" type: "lrn" local_size: 3 alpha: 0.5 beta: 0.75 }
  bottom: "conv1" top: "norm1"
}
layers { layer { name: "pad2" type: "padding" pad: 1 } bottom: "norm1" top: "pad2" }
layers {
  layer { name: "conv2" type: "conv" num_output: 4 group: 2 kernelsize: 3 biasterm: false }
  bottom: "pad2" top: "conv2"
}
layers {
  layer { name: "pool2" type: "pool" pool: AVE kernelsize: 3 stride: 2 }
  bottom: "conv2" top: "pool2"
}
layers { layer { name: "split" type: "split" } bottom: "pool2" top: "p1" top: "p2" }
layers { layer { name: "tanh" type: "tanh" } bottom: "p1" top: "t1" }
layers { layer { name: "sigmoid" type: "sigmoid" } bottom: "p2" top: "t2" }
layers { layer { name: "cat" type: "concat" concat_dim: 1 } bottom: "t1" bottom: "t2" top: "cat" }
layers { layer { name: "flat" type: "flatten" } bottom: "cat" top: "flat" }
layers { layer { name: "drop" type: "dropout" dropout_ratio: 0.6 } bottom: "flat" top: "drop" }
layers {
  layer {
    name: "fc" type: "innerproduct" num_output: 5 blobs_lr: 0.5 blobs_lr: 0
    weight_filler { type: "xavier" }
  }
  bottom: "drop" top: "fc"
}
layers { layer { name: "prob" type: "softmax" } bottom: "fc" top: "prob" }
"""
LOSSES = """
name: "v0 losses"
input: "x" input_dim: 4 input_dim: 3 input_dim: 1 input_dim: 1
input: "l" input_dim: 4 input_dim: 1 input_dim: 1 input_dim: 1
layers {
  layer { name: "ip" type: "innerproduct" num_output: 3 }
  bottom: "x" top: "ip"
}
layers { layer { name: "%(type)s" type: "%(type)s" } bottom: "ip" bottom: "%(other)s" %(top)s }
"""
V1 = """
name: "v1"
input: "data" input_dim: 2 input_dim: 4 input_dim: 6 input_dim: 5
force_backward: true
layers {
  name: "conv" type: CONVOLUTION bottom: "data" top: "conv" param: "w" param: "b"
  blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 }
}
layers {
  name: "again" type: CONVOLUTION bottom: "conv" top: "again" param: "w" param: "b"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 }
}
layers { name: "abs" type: ABSVAL bottom: "again" top: "abs" }
layers { name: "bnll" type: BNLL bottom: "abs" top: "bnll" }
layers { name: "power" type: POWER bottom: "bnll" top: "power" power_param { power: 2 } }
layers { name: "exp" type: EXP bottom: "again" top: "exp" exp_param { scale: 0.1 } }
layers { name: "mvn" type: MVN bottom: "exp" top: "mvn" }
layers {
  name: "sum" type: ELTWISE bottom: "mvn" bottom: "power" top: "sum"
  eltwise_param { operation: SUM coeff: 1 coeff: 0.5 }
}
layers {
  name: "slice" type: SLICE bottom: "sum" top: "s1" top: "s2" slice_param { slice_dim: 1 }
}
layers { name: "quiet" type: SILENCE bottom: "s2" }
layers {
  name: "deconv" type: DECONVOLUTION bottom: "s1" top: "deconv"
  convolution_param { num_output: 2 kernel_size: 2 stride: 2 }
}
layers { name: "threshold" type: THRESHOLD bottom: "data" top: "threshold" include { phase: TEST } }
layers {
  name: "relu" type: RELU bottom: "deconv" top: "relu" relu_param { negative_slope: 0.1 }
  exclude { phase: TEST }
}
"""
LOSS_TYPES = {
    "softmax_loss": ("l", 'top: "loss"'),
    "euclidean_loss": ("x", 'top: "loss"'),
    "accuracy": ("l", 'top: "accuracy"'),
}


@pytest.mark.parametrize("phase", [0, 1])
def test_v1(compare, engine, phase):
    # Threshold has no backward pass, in Caffe an abort.
    compare(files={"net.prototxt": V1}, phase=phase, backward=phase == 0)


def test_v0(compare, engine):
    """In the TEST phase, as Dropout draws in the other."""
    compare(files={"net.prototxt": V0}, phase=1, passes=2)


def test_v0_structure_while_training(compare):
    compare(structure, {"net.prototxt": V0})


def structure(caffe, live, given):
    return live.structure(caffe.Net("net.prototxt", caffe.TRAIN))


@pytest.mark.parametrize("kind", LOSS_TYPES)
def test_v0_losses(compare, engine, kind):
    other, top = LOSS_TYPES[kind]
    text = LOSSES % {"type": kind, "other": other, "top": top}
    labels = np.array([0.0, 2, 1, 1]).reshape(4, 1, 1, 1)
    compare(files={"net.prototxt": text}, phase=0, l=labels)
