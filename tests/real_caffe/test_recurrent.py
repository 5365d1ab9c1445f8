"""LSTM and RNN, against real Caffe: values, gradients, the state from one pass to the next."""

from __future__ import annotations

import numpy as np
import pytest

STEPS, SEQUENCES, OUTPUTS = 5, 3, 4
HIDDEN = {"LSTM": 2, "RNN": 1}
# Sequences begin in the middle, and at the start only in some columns.
CONT = np.array([[0, 1, 0], [1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1.0]])
INPUTS = {"x": (STEPS, SEQUENCES, 2, 3), "cont": CONT}


def layer(kind, static=False, exposed=False):
    bottoms = ["x", "cont"] + ["static"] * static
    tops = ["y"]
    if exposed:
        bottoms += [f"h{i}" for i in range(HIDDEN[kind])]
        tops += [f"t{i}" for i in range(HIDDEN[kind])]
    names = "".join(f'bottom: "{name}" ' for name in bottoms)
    names += "".join(f'top: "{name}" ' for name in tops)
    down = "".join(f"propagate_down: {str(n in ('x', 'static')).lower()} " for n in bottoms)
    return (
        f'layer {{ name: "l" type: "{kind}" {names} {down} recurrent_param {{ num_output: '
        f"{OUTPUTS} expose_hidden: {str(exposed).lower()} }} }}"
    )


@pytest.mark.parametrize("kind", HIDDEN)
@pytest.mark.parametrize("static", [False, True])
def test_recurrent(compare_net, engine, kind, static):
    """The second and third pass begin where the one before has ended."""
    inputs = {**INPUTS, **({"static": (SEQUENCES, 5)} if static else {})}
    compare_net(layer(kind, static), inputs, passes=3)


@pytest.mark.parametrize("kind", HIDDEN)
@pytest.mark.parametrize("static", [False, True])
def test_exposed_hidden_state(compare_net, engine, kind, static):
    inputs = {**INPUTS, **({"static": (SEQUENCES, 5)} if static else {})}
    inputs.update({f"h{i}": (1, SEQUENCES, OUTPUTS) for i in range(HIDDEN[kind])})
    compare_net(layer(kind, static, exposed=True), inputs, passes=2)


@pytest.mark.parametrize("kind", HIDDEN)
def test_one_step(compare_net, engine, kind):
    inputs = {"x": (1, 2, 3), "cont": np.array([[1.0, 0]])}
    compare_net(layer(kind), inputs, passes=3)


@pytest.mark.parametrize("kind", HIDDEN)
def test_a_sequence_that_goes_on(compare_net, engine, kind):
    compare_net(layer(kind), {**INPUTS, "cont": np.ones((STEPS, SEQUENCES))}, passes=3)


def reshaped(caffe, live, given):
    net = caffe.Net("net.prototxt", caffe.TEST)
    live.fill(net, given)
    found = {}
    for i, sequences in enumerate([3, 1, 4]):
        net.blobs["x"].reshape(5, sequences, 2, 3)
        net.blobs["cont"].reshape(5, sequences)
        net.reshape()
        cont = np.ones((5, sequences))
        cont[0] = 0
        live.fill(net, {"fill_params": False, "cont": cont}, seed=i)
        net.forward()
        found.update(live.everything(net, False, f"{i} "))
    return found


@pytest.mark.parametrize("kind", HIDDEN)
def test_another_number_of_sequences(compare, engine, kind):
    """Real Caffe aborts at another number of steps; lbpmap.caffe takes it."""
    inputs = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ {dims} }} }} }}"
        for name, dims in (("x", "dim: 5 dim: 3 dim: 2 dim: 3"), ("cont", "dim: 5 dim: 3"))
    )
    compare(reshaped, {"net.prototxt": inputs + layer(kind)})


@pytest.mark.parametrize("kind", HIDDEN)
def test_gradients_down_to_what_comes_before(compare_net, engine, kind):
    body = (
        'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "z" '
        "inner_product_param { num_output: 3 axis: 2 } }"
        + layer(kind).replace('bottom: "x"', 'bottom: "z"')
        + 'layer { name: "sum" type: "Reduction" bottom: "y" top: "sum" loss_weight: 1 '
        "reduction_param { operation: SUMSQ } }"
    )
    compare_net(body, INPUTS, passes=2, force_backward=False)
