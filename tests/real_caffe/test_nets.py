"""Whole nets against real Caffe: names, splits, which gradients there are, partial passes."""

from __future__ import annotations

import numpy as np
import pytest

SIZES = "input_param { shape { dim: 4 dim: 5 } }"
HEAD = f"""
layer {{ name: "x" type: "Input" top: "x" {SIZES} }}
layer {{ name: "l" type: "Input" top: "l" input_param {{ shape {{ dim: 4 }} }} }}
"""
LABELS = {"l": np.array([0.0, 2, 1, 1])}


def ip(name, bottom, settings="", outputs=3):
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" {settings} '
        f"inner_product_param {{ num_output: {outputs} }} }}\n"
    )


def loss(bottom, settings="", name="loss"):
    return (
        f'layer {{ name: "{name}" type: "SoftmaxWithLoss" bottom: "{bottom}" bottom: "l" '
        f'top: "{name}" {settings} }}\n'
    )


RELU = 'layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }\n'
POWER = 'layer { name: "%s" type: "Power" bottom: "%s" top: "%s" power_param { scale: 2 } }\n'
SUM = 'layer { name: "sum" type: "Eltwise" bottom: "b" bottom: "c" top: "sum" }\n'
FROZEN = "param { lr_mult: 0 } param { lr_mult: 0 }"
SHARED = 'param { name: "w" } param { name: "b" lr_mult: 2 }'

NETS = {
    "plain": ip("a", "x") + RELU + ip("b", "a") + loss("b"),
    "splits": ip("a", "x") + RELU + ip("b", "a") + ip("c", "a") + SUM + loss("sum"),
    "splits of an input": ip("b", "x") + ip("c", "x") + SUM + loss("sum"),
    "two losses of one label": ip("a", "x") + ip("b", "a") + loss("a") + loss("b", "", "loss2"),
    "outputs beside the loss": ip("a", "x") + ip("b", "a") + ip("z", "a") + loss("b"),
    "outputs without alphabet": ip("z", "x") + ip("a", "x") + ip("m", "x"),
    "frozen below": ip("a", "x", FROZEN) + RELU + ip("b", "a") + loss("b"),
    "frozen above": ip("a", "x") + RELU + ip("b", "a", FROZEN) + loss("b"),
    "frozen weights, learned biases": ip("a", "x", "param { lr_mult: 0 }") + loss("a"),
    "all frozen": ip("a", "x", FROZEN) + ip("b", "a", FROZEN) + loss("b"),
    "nothing down": ip("a", "x") + RELU + ip("b", "a", "propagate_down: false") + loss("b"),
    "down to the input": ip("a", "x", "propagate_down: true") + loss("a"),
    "down one way": ip("a", "x")
    + ip("b", "a", "propagate_down: false")
    + ip("c", "a")
    + SUM
    + loss("sum"),
    "no loss": ip("a", "x") + RELU + ip("b", "a"),
    "loss aside": ip("a", "x") + ip("b", "a") + ip("c", "x") + loss("c"),
    "shared parameters": ip("a", "x", SHARED, 5) + ip("b", "a", SHARED, 5) + loss("b"),
    "shared loosely": ip("a", "x", 'param { name: "w" share_mode: PERMISSIVE }', 5)
    + 'layer { name: "r" type: "Reshape" bottom: "a" top: "r" '
    "reshape_param { shape { dim: 0 dim: 5 dim: 1 } } }\n"
    + ip("b", "r", 'param { name: "w" share_mode: PERMISSIVE }', 5)
    + loss("b"),
    "a weight on what is no loss": ip("a", "x", "loss_weight: 0.5") + ip("b", "a") + loss("b"),
    "views": ip("a", "x", outputs=6) + 'layer { name: "r" type: "Reshape" bottom: "a" top: "r" '
    "reshape_param { shape { dim: 0 dim: 3 dim: 2 } } }\n" + ip("b", "r") + loss("b"),
    "flattened": 'layer { name: "f" type: "Flatten" bottom: "x" top: "f" }\n'
    + ip("a", "f")
    + 'layer { name: "g" type: "Flatten" bottom: "a" top: "g" }\n'
    + ip("b", "g")
    + loss("b"),
    "silenced": ip("a", "x")
    + ip("b", "x")
    + 'layer { name: "s" type: "Silence" bottom: "b" }\n'
    + loss("a"),
    "by phase": ip("a", "x", "include { phase: TRAIN }")
    + ip("b", "x", "include { phase: TEST }")
    + ip("c", "x", "exclude { phase: TEST }"),
    "by stage and level": ip("a", "x", 'include { stage: "s" }')
    + ip("b", "x", 'include { not_stage: "s" }')
    + ip("c", "x", "include { min_level: 1 }")
    + ip("d", "x", "include { max_level: 0 }"),
}


@pytest.mark.parametrize("case", NETS)
@pytest.mark.parametrize("force", ["", "force_backward: true\n"])
def test_names_values_and_which_gradients(compare, engine, case, force):
    """Gradients that are not computed stay at zero: which ones, the comparison tells."""
    for phase in (0, 1):
        files = {"net.prototxt": force + HEAD + NETS[case]}
        compare(files=files, phase=phase, passes=2, **LABELS)


def test_accuracy_beside_the_loss(compare, engine):
    """Real Caffe aborts at its gradient where that is forced."""
    accuracy = 'layer { name: "acc" type: "Accuracy" bottom: "a" bottom: "l" top: "acc" }\n'
    text = HEAD + ip("a", "x") + loss("a") + accuracy
    compare(files={"net.prototxt": text}, passes=2, **LABELS)


def test_gradient_through_two_views(in_real, in_ours, engine):
    """In real Caffe it is lost where a Flatten follows a Reshape; here it is not."""
    reshape = 'layer { name: "r" type: "Reshape" bottom: "a" top: "r" '
    reshape += "reshape_param { shape { dim: 0 dim: 3 dim: 1 } } }\n"
    flatten = 'layer { name: "f" type: "Flatten" bottom: "r" top: "f" }\n'
    both = {"net.prototxt": HEAD + ip("a", "x") + reshape + flatten + ip("b", "f") + loss("b")}
    direct = {"net.prototxt": HEAD + ip("a", "x") + ip("b", "a") + loss("b")}
    true = in_real(files=direct, **LABELS)["0 param diff a 0"]
    assert not in_real(files=both, **LABELS)["0 param diff a 0"].any()
    assert np.abs(in_ours(files=both, **LABELS)["0 param diff a 0"] - true).max() < 1e-6


OLD_INPUTS = {
    "input_dim": 'input: "x" input_dim: 4 input_dim: 5 input_dim: 1 input_dim: 1\n',
    "input_shape": 'input: "x" input_shape { dim: 4 dim: 5 }\n',
    "two inputs": 'input: "x" input_shape { dim: 4 dim: 5 } input: "y" input_shape { dim: 2 }\n',
}


@pytest.mark.parametrize("case", OLD_INPUTS)
def test_old_inputs(compare, engine, case):
    text = 'name: "old"\nforce_backward: true\n' + OLD_INPUTS[case] + ip("a", "x")
    compare(files={"net.prototxt": text})


def stages(caffe, live, given):
    found = {}
    for level, names in ((0, []), (1, ["s"]), (2, ["s", "t"])):
        net = caffe.Net("net.prototxt", caffe.TEST, level=level, stages=names)
        found[f"{level} {names}"] = list(net._layer_names)
    return found


def test_stages_and_levels(compare):
    compare(stages, {"net.prototxt": HEAD + NETS["by stage and level"]})


def parts(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TRAIN)
    live.fill(net, given)
    found = {}

    def keep(what, returned):
        found.update((f"{what} returned {k}", v.copy()) for k, v in returned.items())
        found.update(live.everything(net, True, what + " "))

    net.forward()
    net.backward()
    net.blobs["a"].data[...] *= 2
    keep("from b", net.forward(start="b"))
    keep("to b", net.forward(end="b"))
    keep("blobs", net.forward(blobs=["a", "b"]))
    net.blobs["b"].diff[...] = 0.25
    keep("back from b", net.backward(start="b"))
    keep("back to b", net.backward(end="b"))
    keep("back b only", net.backward(start="b", end="b", diffs=["a"]))
    net.clear_param_diffs()
    keep("cleared", {})
    keep("given", net.forward(x=np.ones((4, 5)), l=given["l"]))
    net.blobs["loss"].diff[...] = 3
    keep("loss given", net.backward())
    keep("after", net.backward())
    return found


def test_partial_passes(compare, engine):
    compare(parts, {"net.prototxt": "force_backward: true" + HEAD + NETS["plain"]}, **LABELS)


def surgery(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TEST)
    live.fill(net, given)
    weights, data = net.params["a"][0].data, net.blobs["x"].data
    net.forward()
    found = live.everything(net, False, "0 ")
    weights[:, 0] = 7
    data[1] = -1
    net.forward()
    found.update(live.everything(net, False, "1 "))
    net.params["b"][1].diff[...] = 5
    net.forward()
    net.backward()
    found.update(live.parameters(net, True, "2 "))
    net.blobs["x"].reshape(2, 5)
    net.blobs["l"].reshape(2)
    net.reshape()
    found.update(live.structure(net))
    live.fill(net, {"fill_params": False, "l": given["l"][:2]})
    net.forward()
    found.update(live.everything(net, False, "3 "))
    net.blobs["x"].reshape(6, 5)
    net.blobs["l"].reshape(6)
    live.fill(net, {"fill_params": False, "l": np.zeros(6)})
    net.forward()
    net.backward()
    found.update(live.everything(net, True, "4 "))
    return found


def test_surgery_and_reshaping(compare, engine):
    compare(surgery, {"net.prototxt": "force_backward: true" + HEAD + NETS["splits"]}, **LABELS)


def all_batches(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TEST)
    live.fill(net, given)
    rng = np.random.RandomState(8)
    x, labels = rng.uniform(-1, 1, (10, 5)), rng.randint(0, 3, 10)
    # Not "loss": it is one number a batch, which has no rows.
    return {
        "f " + k: v for k, v in net.forward_all(blobs=["b"], x=x, l=labels).items() if k != "loss"
    }


def test_forward_all(compare, engine):
    compare(
        all_batches, {"net.prototxt": HEAD + ip("a", "x") + ip("b", "a") + NETS_LABEL}, **LABELS
    )


NETS_LABEL = 'layer { name: "s" type: "Silence" bottom: "l" }\n'


def hooks(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TEST)
    live.fill(net, given)
    seen = []
    net.before_forward(lambda i: seen.append(f"bf {i}"))
    net.after_forward(lambda i: seen.append(f"af {i}"))
    net.before_backward(lambda i: seen.append(f"bb {i}"))
    net.after_backward(lambda i: seen.append(f"ab {i}"))
    net.forward()
    net.backward()
    return {"seen": seen}


@pytest.mark.parametrize("case", ["plain", "frozen below", "no loss", "down one way"])
def test_hooks_tell_what_runs(compare, engine, case):
    compare(hooks, {"net.prototxt": HEAD + NETS[case]}, **LABELS)
