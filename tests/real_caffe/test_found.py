"""What random nets have found to be otherwise than in real Caffe, each as a net of its own."""

from __future__ import annotations

import numpy as np
import pytest

HEAD = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 dim: 2 dim: 2 } } }
layer { name: "l" type: "Input" top: "l" input_param { shape { dim: 4 } } }
"""
LABELS = {"l": np.array([0.0, 2, 1, 1])}
SUMS = {"m[1]": np.array([0.5, 1, 2]), "m[2]": np.array([1.5])}


def layer(name, kind, bottom, settings="", top=""):
    bottoms = "".join(f'bottom: "{b}" ' for b in bottom.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{top or name}" {settings} }}\n'


def ip(name, bottom, settings=""):
    return layer(name, "InnerProduct", bottom, settings + " inner_product_param { num_output: 3 }")


LOSS = layer("loss", "SoftmaxWithLoss", "b l")
NOT_DOWN = "propagate_down: false"
CONV = layer("a", "Convolution", "x", "convolution_param { num_output: 3 kernel_size: 1 }")
REVERSED = "relu_param { negative_slope: -1 }"
FROZEN = "param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 }"

NETS = {
    "an input below a BatchNorm has a gradient": layer("m", "BatchNorm", "x") + ip("b", "m") + LOSS,
    "an input below a BatchNorm in place has one": layer("m", "BatchNorm", "x", top="x")
    + ip("b", "x")
    + LOSS,
    "an input below a BatchNorm that is told not to learn has none": layer(
        "m", "BatchNorm", "x", FROZEN
    )
    + ip("b", "m")
    + LOSS,
    "what a Reshape shows has its gradient, though nothing is computed": layer(
        "r", "Reshape", "x", "reshape_param { shape { dim: 4 dim: -1 } }"
    )
    + layer("s", "Reduction", "x"),
    "one blob joined has its gradient": layer("c", "Concat", "x") + layer("s", "Reduction", "x"),
    "one blob cut into one has its gradient": layer("c", "Slice", "x")
    + layer("s", "Reduction", "x"),
    "one blob joined, on the way down": CONV
    + layer("c", "Concat", "a")
    + layer("t", "TanH", "c", top="c")
    + ip("b", "c")
    + LOSS,
    "a layer that passes nothing down has a gradient above it": CONV
    + layer("t", "TanH", "a", NOT_DOWN)
    + ip("b", "t")
    + LOSS,
    "down to an input that nothing learns from": layer("t", "TanH", "x", "propagate_down: true")
    + ip("b", "t")
    + LOSS,
}
# They pass a gradient down although they are told not to.
ALWAYS = {
    "BatchNorm": "",
    "Flatten": "",
    "Im2col": "convolution_param { kernel_size: 1 }",
    "LRN": "lrn_param { local_size: 3 }",
    "MVN": "",
    "Softmax": "",
}
for kind, settings in ALWAYS.items():
    NETS[f"{kind} does not ask"] = (
        CONV + layer("m", kind, "a", f"{settings} {NOT_DOWN}") + ip("b", "m") + LOSS
    )
ABOVE = {
    "with a negative slope": "",
    "below a Sigmoid": layer("s", "Sigmoid", "a", top="a"),
    "below a Scale": layer("s", "Scale", "a", top="a"),
    "below a ReLU": layer("s", "ReLU", "a", REVERSED, top="a"),
}
for place, above in ABOVE.items():
    slope = "relu_param { negative_slope: 0.5 }" if above else REVERSED
    NETS[f"a ReLU in place looks at what has overwritten its input: {place}"] = (
        CONV + layer("r", "ReLU", "a", slope, top="a") + above + ip("b", "a") + LOSS
    )


@pytest.mark.parametrize("case", NETS)
def test_net(compare, engine, case):
    for phase in (0, 1):
        compare(files={"net.prototxt": HEAD + NETS[case]}, phase=phase, passes=2, **SUMS, **LABELS)


@pytest.mark.parametrize("kind", ["Sigmoid", "Swish"])
def test_small_numbers(compare_net, engine, kind):
    """Each an array of its own, so that no larger one hides its digits."""
    for x in (-3, -8.591658, -16, -20):
        compare_net(layer("s", kind, "x"), {"x": np.full((2, 3), x, np.float32)})


FIVE = """
layer { name: "v" type: "Input" top: "v" input_param { shape {
  dim: 4 dim: 1 dim: 1 dim: 1 dim: 2 } } }
"""
REFUSED = {
    "PReLU of five axes": FIVE + layer("m", "PReLU", "v"),
    "EuclideanLoss of five axes": FIVE + layer("m", "EuclideanLoss", "v v"),
    "HingeLoss of five axes": FIVE + layer("m", "HingeLoss", "v l"),
    "MultinomialLogisticLoss of five axes": FIVE + layer("m", "MultinomialLogisticLoss", "v l"),
    "labels of other items": layer("f", "Flatten", "x", "flatten_param { axis: 2 }")
    + 'layer { name: "k" type: "Input" top: "k" input_param { shape { dim: 12 } } }\n'
    + layer("m", "SoftmaxWithLoss", "f k", "softmax_param { axis: 2 }"),
    "targets of other items": layer("f", "Flatten", "x", "flatten_param { axis: 0 }")
    + layer("m", "EuclideanLoss", "x f"),
    "chances of other items": layer("f", "Flatten", "x", "flatten_param { axis: 0 }")
    + layer("m", "SigmoidCrossEntropyLoss", "x f"),
}


def made(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TRAIN)
    net.forward()
    return {"blobs": len(net.blobs)}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(in_real, in_ours, refused, case):
    files = {"net.prototxt": HEAD + REFUSED[case]}
    with pytest.raises(refused):
        in_real(made, files)
    with pytest.raises(ValueError, match="layer") as error:
        in_ours(made, files)
    assert "\n" not in str(error.value)
