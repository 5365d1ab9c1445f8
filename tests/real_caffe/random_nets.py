"""Small nets and solvers, drawn at random: layers that branch, merge and share weights; losses."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from random_layers import Draw, Shape, maybe, one_of
from random_sketch import PHASES, Refused, Sketch


@dataclass(frozen=True)
class RandomNet:
    """A net, and how it is run.

    `classes` holds, by the name of an input, below which number its whole numbers lie. In an
    `exact` net all values are whole (or halves) and small, so that no sum is ever rounded.
    """

    text: str
    phase: int
    seed: int
    exact: bool
    passes: int
    file: str  # in which weights are handed over: "", "binary" or "HDF5"
    classes: dict[str, int]
    refused: bool  # by us, as the drawing of it found


@dataclass(frozen=True)
class RandomSolver:
    """A solver of a net, its steps, and after how many it writes a snapshot."""

    net: RandomNet
    text: str
    steps: int
    snapshot: int


def _shape(draw: Draw, exact: bool) -> Shape:
    axes = one_of(draw, (4, 4, 4, 2, 2, 3, 5))
    batch = one_of(draw, (1, 2, 4)) if exact else draw(st.integers(1, 4))
    most = {2: 8, 3: 6, 4: 7, 5: 4}[axes]
    return (batch, *(draw(st.integers(1, most)) for _ in range(axes - 1)))


STEPS = ("layer",) * 12 + ("branch",) * 3 + ("slice", "crop", "second", "embed", "loss", "merge")


def _drawn(sketch: Sketch) -> bool:
    """Draw the layers; whether the last of them was refused."""
    draw = sketch.draw
    sketch.input(_shape(draw, sketch.exact))
    try:
        for _ in range(draw(st.integers(1, 8))):
            step, bottom = one_of(draw, STEPS), sketch.pick()
            if step == "layer":
                sketch.one_layer(bottom)
            elif step == "branch":
                sketch.branch(bottom)
            elif step == "slice":
                sketch.slice(bottom)
            elif step == "crop" and len(bottom.shape) > 1:
                sketch.crop(bottom)
            elif step == "second":
                sketch.second_bottom(bottom)
            elif step == "embed":
                sketch.embed()
            elif step == "merge":
                sketch.merge([bottom, sketch.pick(), sketch.pick()])
            elif step == "loss":
                sketch.loss(bottom)
        if sketch.learns:
            _learnt_loss(sketch)
    except Refused:
        return True
    return False


def _learnt_loss(sketch: Sketch) -> None:
    """End with something to learn, and something to learn it for."""
    bottom = sketch.pick()
    settings = f"inner_product_param {{ num_output: 4 axis: {min(len(bottom.shape), 2) - 1} }}"
    (bottom,) = sketch.add("InnerProduct", settings, [bottom])
    settings = "" if sketch.exact else sketch.normalised("")
    kind = "EuclideanLoss" if sketch.exact else "SoftmaxWithLoss"
    if kind == "EuclideanLoss":
        sketch.targets(kind, bottom, "")
    elif len(bottom.shape) > 1:
        places = (bottom.shape[0], *bottom.shape[2:])
        sketch.end(kind, settings, [bottom, sketch.input(places, bottom.shape[1])])


@st.composite
def nets(draw: Draw, learns: bool = False) -> RandomNet:
    """Draw nets; with `learns` such as a solver trains."""
    phase = PHASES["TRAIN"] if learns else one_of(draw, list(PHASES.values()))
    exact = not learns and draw(st.integers(0, 3)) == 0
    forced = not learns and draw(st.booleans())
    sketch = Sketch(draw, exact, phase, forced, learns)
    refused = _drawn(sketch)
    lines = ["force_backward: true"] * forced + sketch.layers
    return RandomNet(
        text="\n".join(lines) + "\n",
        phase=phase,
        seed=draw(st.integers(0, 2**31 - 1)),
        exact=exact,
        passes=1 if learns else draw(st.integers(1, 2)),
        file=one_of(draw, ("", "", "binary", "HDF5")),
        classes=sketch.classes,
        refused=refused,
    )


TYPES = {
    "SGD": ("momentum: 0.9", "momentum: 0.5", ""),
    "Nesterov": ("momentum: 0.9", "momentum: 0.5"),
    "AdaGrad": ("delta: 0.001", "delta: 0.1"),
    "RMSProp": ("rms_decay: 0.9 delta: 0.001", "rms_decay: 0.5 delta: 0.1"),
    "AdaDelta": ("momentum: 0.95 delta: 0.0001", "momentum: 0.5 delta: 0.01"),
    "Adam": ("momentum: 0.9 delta: 0.001", "momentum: 0.5 momentum2: 0.9 delta: 0.1"),
}
MOST_STEPS = 4
POLICIES = (
    'lr_policy: "fixed"',
    'lr_policy: "step" gamma: 0.5 stepsize: 2',
    'lr_policy: "exp" gamma: 0.8',
    'lr_policy: "inv" gamma: 0.3 power: 0.75',
    'lr_policy: "multistep" gamma: 0.3 stepvalue: 1 stepvalue: 3',
    # Never past max_iter: there real Caffe takes the power of a negative number, and its weights
    # become NaN, while ours stay as they are.
    f'lr_policy: "poly" power: 1.5 max_iter: {MOST_STEPS + 6}',
    'lr_policy: "sigmoid" gamma: 0.7 stepsize: 3',
)


@st.composite
def solvers(draw: Draw) -> RandomSolver:
    """Draw solvers of all types, and what they are to train."""
    net = draw(nets(learns=True))
    kind = one_of(draw, list(TYPES))
    settings = [
        f'type: "{kind}"',
        one_of(draw, TYPES[kind]),
        one_of(draw, POLICIES),
        f"base_lr: {one_of(draw, (0.01, 0.1, 0.5))}",
        maybe(draw, "weight_decay: 0.05", 'weight_decay: 0.01 regularization_type: "L1"'),
        maybe(draw, "clip_gradients: 0.1", "clip_gradients: 2"),
        maybe(draw, "iter_size: 2", "iter_size: 3"),
        maybe(draw, "snapshot_format: HDF5"),
        maybe(draw, "snapshot_diff: true"),
    ]
    steps = draw(st.integers(1, MOST_STEPS))
    text = (
        'net: "net.prototxt" snapshot_prefix: "snap" random_seed: 1 display: 0 '
        "snapshot_after_train: false " + " ".join(filter(None, settings))
    )
    return RandomSolver(net, text, steps, draw(st.integers(0, steps)))
