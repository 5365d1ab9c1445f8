"""LSTM and RNN, against scalars unrolled by hand; of real Caffe no recorded values exist."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lbpmap import caffe

STEPS, SEQUENCES, INPUTS, OUTPUTS = 4, 3, 2, 2
X = (STEPS, SEQUENCES, INPUTS)
# The second sequence begins anew at the third step; the third goes on from the pass before.
CONT = np.array([[0, 0, 1], [1, 1, 1], [1, 0, 1], [1, 1, 1]], np.float32)


def logistic(x):
    return 1 / (1 + math.exp(-x))


def total(weights, values):
    return sum(float(w) * float(v) for w, v in zip(weights, values))


def naive_lstm(x, cont, params, static=None, state=None):
    """Unroll in scalars; return the tops, and the state after the last step."""
    w_x, b, *w_static, w_h = params
    size = w_h.shape[1]
    h, c = state if state is not None else np.zeros((2, x.shape[1], size))
    h, c, tops = h.astype(float), c.astype(float), np.zeros((*x.shape[:2], size))
    for t in range(x.shape[0]):
        for n in range(x.shape[1]):
            before = [value * cont[t, n] for value in h[n]]
            gates = []
            for row in range(4 * size):
                gate = total(w_x[row], x[t, n].ravel()) + b[row] + total(w_h[row], before)
                if static is not None:
                    gate += total(w_static[0][row], static[n].ravel())
                gates.append(gate)
            for k in range(size):
                i, f, o, g = gates[k::size]
                old = logistic(f) * c[n, k] if cont[t, n] else 0
                c[n, k] = old + logistic(i) * math.tanh(g)
                h[n, k] = logistic(o) * math.tanh(c[n, k])
            tops[t, n] = h[n]
    return tops, np.stack([h, c])


def naive_rnn(x, cont, params, static=None, state=None):
    """As `naive_lstm`, with one state."""
    w_x, b, *w_static, w_h, w_o, b_o = params
    size = w_h.shape[1]
    h = np.zeros((x.shape[1], size)) if state is None else state[0].astype(float)
    tops = np.zeros((*x.shape[:2], size))
    for t in range(x.shape[0]):
        for n in range(x.shape[1]):
            before = [value * cont[t, n] for value in h[n]]
            for k in range(size):
                drive = total(w_x[k], x[t, n].ravel()) + b[k] + total(w_h[k], before)
                if static is not None:
                    drive += total(w_static[0][k], static[n].ravel())
                h[n, k] = math.tanh(drive)
            for k in range(size):
                tops[t, n, k] = math.tanh(total(w_o[k], h[n]) + b_o[k])
    return tops, h[None]


TWINS = {"LSTM": naive_lstm, "RNN": naive_rnn}


def text(kind, expose=False):
    settings = f"num_output: {OUTPUTS} expose_hidden: {str(expose).lower()}"
    return f'type: "{kind}" recurrent_param {{ {settings} }}'


def values(*shape, seed=7):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_parameters_stand_in_caffes_order(one_layer):
    shapes = X, X[:2], (SEQUENCES, 5)
    lstm = one_layer(text("LSTM"), *shapes)
    assert [param.shape for param in lstm.params] == [(8, 2), (8,), (8, 5), (8, 2)]
    rnn = one_layer(text("RNN"), *shapes)
    assert [param.shape for param in rnn.params] == [(2, 2), (2,), (2, 5), (2, 2), (2, 2), (2,)]
    assert [len(one_layer(text(kind), *shapes[:2]).params) for kind in TWINS] == [3, 5]


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("kind", TWINS)
def test_both_engines_are_the_unrolled_twin(one_layer, check_equal, kind, static):
    bottoms = [values(STEPS, SEQUENCES, 2, 3), CONT]
    bottoms += [values(SEQUENCES, 5, seed=8)] if static else []
    shapes = [bottom.shape for bottom in bottoms]
    first = one_layer(text(kind), *shapes)
    expected, state = TWINS[kind](bottoms[0], CONT, first.params, *bottoms[2:])
    check_equal(first.on_numpy(*bottoms)[0], expected)
    # The next pass goes on where this one ended, but where a sequence begins.
    onward = [bottoms[0] + 1, *bottoms[1:]]
    expected_next, _ = TWINS[kind](
        onward[0], CONT, first.params, *(bottoms[2:] or [None]), state=state
    )
    check_equal(first.on_numpy(*onward)[0], expected_next)
    pytest.importorskip("torch")
    second = one_layer(text(kind), *shapes)
    check_equal(second.on_torch(*bottoms)[0], expected)
    check_equal(second.on_torch(*onward)[0], expected_next)


@pytest.mark.parametrize("kind", TWINS)
def test_a_repeated_pass_starts_where_the_first_did(one_layer, kind):
    for way in ("on_numpy", "on_torch"):
        layer = one_layer(text(kind), X, X[:2])
        run = getattr(layer, way)
        x, cont = values(*X), np.ones(X[:2])
        first = run(x, cont)[0]
        second = run(x, cont)[0]
        assert np.abs(first - second).max() > 1e-3
        for _ in range(2):
            layer.layer.replay = True
            np.testing.assert_array_equal(run(x, cont)[0], second)
            run(x + 1, cont)  # what is repeated on other numbers leaves no trace either
            layer.layer.replay = False
        third = run(x, cont)[0]
        assert np.abs(third - second).max() > 1e-6
        alone = one_layer(text(kind), X, X[:2])
        for _ in range(2):
            getattr(alone, way)(x, cont)
        np.testing.assert_array_equal(getattr(alone, way)(x, cont)[0], third)


@pytest.mark.parametrize("kind", TWINS)
def test_an_engine_goes_on_from_the_others_state(one_layer, check_equal, kind):
    x, cont = values(*X), np.ones(X[:2])
    alone, mixed = (one_layer(text(kind), X, X[:2]) for _ in range(2))
    expected = [alone.on_numpy(x, cont)[0] for _ in range(3)]
    for way, top in zip((mixed.on_torch, mixed.on_numpy, mixed.on_torch), expected):
        check_equal(way(x, cont)[0], top)


@pytest.mark.parametrize("kind", TWINS)
def test_another_number_of_sequences_starts_from_zeros(one_layer, kind):
    layer = one_layer(text(kind), X, X[:2])
    one = np.ones((STEPS, 1))
    layer.on_numpy(values(*X), np.ones(X[:2]))
    fresh = one_layer(text(kind), (STEPS, 1, INPUTS), (STEPS, 1))
    layer.plan = fresh.plan
    x = values(STEPS, 1, INPUTS)
    np.testing.assert_array_equal(layer.on_numpy(x, one)[0], fresh.on_numpy(x, one)[0])


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("kind", TWINS)
def test_an_exposed_state_comes_in_and_goes_out(one_layer, check_equal, kind, static):
    count = {"LSTM": 2, "RNN": 1}[kind]
    state = values(count, 1, SEQUENCES, OUTPUTS, seed=9)
    more = [values(SEQUENCES, 5, seed=8)] if static else []
    bottoms = [values(*X), CONT, *more, *state]
    shapes = [bottom.shape for bottom in bottoms]
    layer = one_layer(text(kind, expose=True), *shapes, tops=1 + count)
    assert layer.plan.tops[1:] == ((1, SEQUENCES, OUTPUTS),) * count
    expected, last = TWINS[kind](
        bottoms[0], CONT, layer.params, *(more or [None]), state=state[:, 0]
    )
    for _ in range(2):  # nothing is kept from pass to pass
        for tops in layer.on_both(*bottoms):
            check_equal(tops[0], expected)
            check_equal(np.concatenate(tops[1:]), last)
    # As in Caffe, no gradient passes an exposed state in either direction.
    _, _, *gradients = layer.gradients(*bottoms)[: len(bottoms)]
    assert all(gradient is None for gradient in gradients[len(more) :])
    expected = layer.gradients(*bottoms)
    others = [layer.top_diffs()[0], *[np.full((1, SEQUENCES, OUTPUTS), 9.0)] * count]
    for got, wanted in zip(layer.gradients(*bottoms, tops=others), expected):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("kind", TWINS)
def test_gradients_are_the_forward_pass_differences(one_layer, check_near, kind):
    x, static = values(*X), values(SEQUENCES, 2, seed=8)
    layer = one_layer(text(kind), x.shape, CONT.shape, static.shape)
    layer.on_numpy(x, CONT, static)
    layer.on_numpy(x, CONT, static)
    # Repeated, so that the state before the pass stays what it is.
    layer.layer.replay = True
    gradients, differences = (way(x, CONT, static) for way in (layer.gradients, layer.differences))
    assert gradients[1] is None
    del gradients[1], differences[1]
    check_near(gradients, differences)
    assert layer.passes_gradcheck(x, CONT, static, of=(0, 2))


def test_a_sequence_that_begins_forgets(one_layer):
    for kind in TWINS:
        layer = one_layer(text(kind), X, X[:2])
        x, cont = values(*X), np.ones(X[:2])
        cont[2] = 0
        before = layer.on_numpy(x, cont)[0]
        x[:2] += 1
        after = layer.on_numpy(x, cont)[0]
        assert np.abs(after[:2] - before[:2]).min(axis=(1, 2)).max() > 0
        np.testing.assert_array_equal(after[2:], before[2:])


def test_a_net_with_an_lstm_runs(text_file):
    inputs = (
        'layer { name: "data" type: "Input" top: "x" top: "cont" input_param { '
        "shape { dim: 4 dim: 3 dim: 2 } shape { dim: 4 dim: 3 } } }"
    )
    layer = (
        'layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "h" recurrent_param { '
        'num_output: 2 weight_filler { type: "uniform" min: -1 } bias_filler { type: "constant" '
        "value: 0.5 } } }"
    )
    net = caffe.Net(text_file(inputs + layer), caffe.TEST)
    assert net.params["lstm"][1].data.tolist() == [0.5] * 8
    params = [blob.data for blob in net.params["lstm"]]
    assert np.abs(params[0]).max() <= 1
    h = net.forward(x=values(*X), cont=CONT)["h"]
    expected, _ = naive_lstm(values(*X), CONT, params)
    np.testing.assert_allclose(h, expected, atol=1e-5)


H = (1, SEQUENCES, OUTPUTS)


@pytest.mark.parametrize(
    ("kind", "expose", "shapes", "tops", "message"),
    [
        ("LSTM", False, [X, X[:2], (3, 1), H], 1, "has 4 bottoms and 1 tops; .* false it needs 2"),
        ("LSTM", False, [X, X[:2]], 3, "has 2 bottoms and 3 tops"),
        ("LSTM", True, [X, X[:2], H], 3, "expose_hidden true it needs 4, or one more, and 3"),
        ("RNN", True, [X, X[:2], H], 1, "expose_hidden true it needs 3, or one more, and 2"),
        ("RNN", True, [X, X[:2], (1, 3, 4)], 2, r"hidden state must have the shape \(1, 3, 2\)"),
        ("RNN", False, [X[:2], X[:2]], 1, r"must be \(steps, sequences, ...\), its shape is"),
        ("RNN", False, [(0, 3, 2), (0, 3)], 1, r"must be \(steps, sequences, ...\)"),
        ("LSTM", False, [X, (4,)], 1, r"second input must have the shape \(4, 3\)"),
        ("LSTM", False, [X, X[:2], (2, 5)], 1, r"static input must be \(3, ...\)"),
        ("LSTM", False, [X, X[:2], (3,)], 1, r"static input must be \(3, ...\)"),
    ],
)
def test_what_does_not_fit_is_refused(one_layer, kind, expose, shapes, tops, message):
    with pytest.raises(ValueError, match=message):
        one_layer(text(kind, expose), *shapes, tops=tops)


def test_num_output_must_be_given(one_layer):
    with pytest.raises(ValueError, match="num_output must be at least 1"):
        one_layer('type: "LSTM"', X, X[:2])
