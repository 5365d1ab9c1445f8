"""A small net while it is drawn: layer after layer, of blobs whose shapes and history are known.

What both Caffes refuse belongs to it: a layer that does not fit ends now and then the net. Left out
is only what real Caffe 1.0 gets wrong, each with its reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from random_layers import KINDS, Draw, Kind, Shape, axis_in, maybe, one_of

from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import LayerParameter
from lbpmap.caffe.layers import windows
from lbpmap.caffe.layers.shapes import plan

MAX_COUNT = 3000  # elements of a blob: nets stay small
BOOLS = ("true", "false")
# They compute in their bottom's gradient, where real Caffe leaves what they have computed if nobody
# wants that gradient: it must be one that somebody wants.
SCRATCH = ("Scale", "HingeLoss")
# At whose gradient real Caffe aborts.
NO_GRADIENT = ("Accuracy", "ArgMax", "Threshold", "Embed")
PHASES = {"TRAIN": 0, "TEST": 1}


@dataclass
class Top:
    """A blob while its net is drawn."""

    name: str
    shape: Shape
    kind: Kind | None = None  # of the last layer that wrote it; of none for inputs
    used: bool = False
    learns: bool = False  # from something before it
    overwritten: bool = False  # by a layer in place


VIEW = Kind(views=True)  # a blob alone joined, or cut into one


class Refused(Exception):
    """The last layer does not fit, and the net is to keep it."""


@dataclass
class Sketch:
    """A net while it is drawn."""

    draw: Draw
    exact: bool
    phase: int
    forced: bool
    learns: bool
    layers: list[str] = field(default_factory=list)
    tops: list[Top] = field(default_factory=list)
    classes: dict[str, int] = field(default_factory=dict)
    shared: dict[str, tuple[Shape, ...]] = field(default_factory=dict)

    def input(self, shape: Shape, classes: int = 0) -> Top:
        """Add an Input layer, of whole numbers below `classes` where that is given."""
        name = f"{'l' if classes else 'x'}{len(self.layers)}"
        dims = " ".join(f"dim: {n}" for n in shape)
        self.layers.append(
            f'layer {{ name: "{name}" type: "Input" top: "{name}" '
            f"input_param {{ shape {{ {dims} }} }} }}"
        )
        top = Top(name, shape)
        if classes:
            self.classes[name] = classes
        else:
            self.tops.append(top)
        return top

    def add(
        self,
        name: str,
        settings: str,
        bottoms: list[Top],
        tops: int = 1,
        in_place: bool = False,
    ) -> list[Top]:
        """Add a layer where it fits; where not, leave it out or end the net with it."""
        kind = KINDS.get(name, Kind())
        type_ = kind.type or name
        label = f"{name.lower()}{len(self.layers)}"
        names = [bottoms[0].name] if in_place else [f"{label}_{i}" for i in range(tops)]
        text = f'name: "{label}" type: "{type_}" '
        text += "".join(f'bottom: "{b.name}" ' for b in bottoms)
        text += "".join(f'top: "{n}" ' for n in names) + settings
        try:
            param = prototxt.parse(text, LayerParameter())
            param.phase = self.phase
            made = plan(param, [b.shape for b in bottoms])
        except ValueError as error:
            # Of a kernel that is larger than its padded input real Caffe makes 1 window, or none,
            # as the stride has it; this is an error here.
            if "is larger than the padded input" in str(error) or self.draw(st.integers(0, 7)):
                return []
            self.layers.append(f"layer {{ {text} }}")
            raise Refused from None
        if any(math.prod(shape) > MAX_COUNT for shape in made.tops) or empty_window(param, bottoms):
            return []
        rates = self.rates(type_, tuple(p.shape for p in made.params))
        self.layers.append(f"layer {{ {text} {rates} {self.propagated(name, bottoms)} }}")
        for bottom in bottoms:
            bottom.used = True
        learns = any(b.learns for b in bottoms) or (bool(made.params) and "lr_mult: 0" not in rates)
        if in_place:
            bottoms[0].kind, bottoms[0].used, bottoms[0].learns = kind, False, learns
            bottoms[0].overwritten = True
            return [bottoms[0]]
        if name in ("Concat", "Slice") and len(bottoms) == tops == 1:
            kind = VIEW
        results = [Top(n, shape, kind, learns=learns) for n, shape in zip(names, made.tops)]
        self.tops += results
        return results

    def rates(self, type_: str, shapes: tuple[Shape, ...]) -> str:
        """Rates of the parameters, and with which layers they are shared."""
        if not shapes or type_ == "BatchNorm":
            return ""
        form = self.draw(st.integers(0, 5))
        if form == 0:
            return "".join(
                f" param {{ lr_mult: {one_of(self.draw, (0, 0, 1, 2))} "
                f"decay_mult: {one_of(self.draw, (0, 1, 3))} }}"
                for _ in shapes
            )
        if form == 1:
            name = next((n for n, known in self.shared.items() if known == shapes), "")
            name = name or f"w{len(self.shared)}_"
            self.shared[name] = shapes
            return "".join(f' param {{ name: "{name}{i}" }}' for i in range(len(shapes)))
        return ""

    def propagated(self, name: str, bottoms: list[Top]) -> str:
        """Now and then, which bottoms get a gradient: never whole numbers, as they have none."""
        if self.draw(st.integers(0, 11)) or name in (*SCRATCH, *NO_GRADIENT):
            return ""
        return " ".join(
            f"propagate_down: {'false' if b.name in self.classes else one_of(self.draw, BOOLS)}"
            for b in bottoms
        )

    def pick(self) -> Top:
        """A blob to go on from: mostly the last."""
        usable = [
            top
            for top in self.tops
            if 1 <= len(top.shape) <= 5 and not (top.kind and top.kind.ends)
        ]
        if self.draw(st.integers(0, 3)):
            return usable[-1]
        return one_of(self.draw, usable)

    def one_layer(self, bottom: Top, name: str = "") -> list[Top]:
        """Add a layer of any kind that takes the bottom."""
        fitting = [n for n in KINDS if self.may_follow(bottom, KINDS[n])]
        name = name or one_of(self.draw, fitting)
        kind = KINDS[name]
        settings = kind.settings(self.draw, bottom.shape)
        if name == "Dropout" and self.phase == PHASES["TRAIN"]:
            settings = "dropout_param { dropout_ratio: 0 }"
        in_place = kind.in_place and self.overwritable(bottom) and self.draw(st.booleans())
        # The mask of a padded or empty window is -1 in both.
        tops = 2 if name == "MaxPooling" and self.draw(st.integers(0, 5)) == 0 else 1
        made = self.add(name, settings, [bottom], tops, in_place)
        for mask in made[1:]:
            self.tops.remove(mask)
        return made

    def may_follow(self, bottom: Top, kind: Kind) -> bool:
        before = bottom.kind or Kind()
        if not kind.axes[0] <= len(bottom.shape) <= kind.axes[1]:
            return False
        if kind.ends and self.forced:
            return False  # real Caffe aborts at a gradient that it lacks
        if kind.views and before.views:
            return False  # real Caffe loses the gradient between two views of one blob
        if kind is KINDS["Flatten"] and bottom.overwritten:
            return False  # its top then shows the gradient of what is in front of that layer
        if self.exact and not kind.exact:
            return False
        if kind is KINDS["Scale"] and not (self.forced or bottom.learns):
            return False
        if kind is KINDS["BatchNorm"] and math.prod(bottom.shape) <= 3 * bottom.shape[1]:
            # Of two numbers the gradient is zero but for eps; of three, float32 is up to 2e-5 from
            # float64, whoever computes it (of four 3e-6, in 3,000 draws each).
            return False
        return before.positive or not kind.after_positive

    def overwritable(self, top: Top) -> bool:
        """Whether a layer may work in place on a blob.

        Not where others read it, nor where real Caffe would compute a gradient from what was there
        before; a view's memory is its bottom's.
        """
        if top.kind is None:
            return not top.used and not self.learns  # the next iteration reads the input again
        return not top.used and not top.kind.reads_top and not top.kind.views

    def slice(self, bottom: Top) -> None:
        axis = axis_in(self.draw, bottom.shape)
        tops = self.draw(st.integers(2 if bottom.kind and bottom.kind.views else 1, 3))
        length = bottom.shape[axis]
        points = sorted({self.draw(st.integers(1, max(length - 1, 1))) for _ in range(tops - 1)})
        given = "" if self.draw(st.booleans()) else "".join(f"slice_point: {p} " for p in points)
        tops = len(points) + 1 if given else tops
        self.add("Slice", f"slice_param {{ axis: {axis} {given} }}", [bottom], tops)

    def branch(self, bottom: Top) -> None:
        """Two or three ways from a blob, and one blob of them."""
        count = self.draw(st.integers(2, 3))
        ends = [(self.one_layer(bottom) or [bottom])[0] for _ in range(count)]
        ends = [e for e in ends if 1 <= len(e.shape) <= 5 and not (e.kind and e.kind.ends)]
        self.merge(ends if self.draw(st.booleans()) else [end for end in ends if end is not bottom])

    def merge(self, parts: list[Top]) -> None:
        """Join blobs that fit; one blob may come twice."""
        if not parts:
            return
        same = [part for part in parts if part.shape == parts[0].shape]
        if len(same) > 1 and self.draw(st.booleans()):
            operation = one_of(self.draw, ("SUM", "PROD", "MAX"))
            coefficients = ""
            if operation == "SUM" and self.draw(st.booleans()):
                coefficients = " ".join(
                    f"coeff: {one_of(self.draw, (1, -1, 2, 0.5))}" for _ in same
                )
            settings = f"eltwise_param {{ operation: {operation} {coefficients} }}"
            self.add("Eltwise", settings, same)
            return
        if len(parts) == 1 and parts[0].kind and parts[0].kind.views:
            return
        axis = axis_in(self.draw, parts[0].shape)
        self.add("Concat", f"concat_param {{ axis: {axis} }}", parts)

    def crop(self, bottom: Top) -> None:
        axis = self.draw(st.integers(0, len(bottom.shape) - 1))
        wanted = [self.draw(st.integers(1, n)) for n in bottom.shape]
        offsets = [self.draw(st.integers(0, max(n - m, 0))) for n, m in zip(bottom.shape, wanted)]
        given = "".join(f"offset: {offset} " for offset in offsets[axis:])
        settings = f"crop_param {{ axis: {axis} {maybe(self.draw, given)} }}"
        self.add("Crop", settings, [bottom, self.input(tuple(wanted))])

    def embed(self) -> None:
        """Rows of a table; not where gradients are forced, as real Caffe aborts at an index's."""
        if self.forced:
            return
        words = self.input((self.draw(st.integers(1, 2)), self.draw(st.integers(1, 4))), 5)
        bias = maybe(self.draw, "bias_term: false")
        outputs = self.draw(st.integers(1, 4))
        settings = f"embed_param {{ input_dim: 5 num_output: {outputs} {bias} }}"
        self.add("Embed", settings, [words])

    def second_bottom(self, bottom: Top) -> None:
        """Scale or Bias by another blob instead of a parameter."""
        axis = self.draw(st.integers(0, len(bottom.shape) - 1))
        shape = bottom.shape[axis : self.draw(st.integers(axis, len(bottom.shape)))]
        other = self.input(shape)
        name = one_of(self.draw, ("Scale", "Bias") if self.forced else ("Bias",))
        more = maybe(self.draw, "bias_term: true") if name == "Scale" else ""
        self.add(name, f"{name.lower()}_param {{ axis: {axis} {more} }}", [bottom, other])

    def loss(self, bottom: Top) -> None:
        """A loss or a score of a blob."""
        kinds = ["EuclideanLoss"]
        if self.forced or bottom.learns:
            kinds.append("HingeLoss")
        if not self.exact:
            kinds += ["SoftmaxWithLoss"] * 3 + ["SigmoidCrossEntropyLoss", "InfogainLoss"]
        if not self.exact and bottom.kind is KINDS["Softmax"]:
            kinds.append("MultinomialLogisticLoss")
        # Where gradients are forced, real Caffe aborts at that of an accuracy.
        kinds += [] if self.forced else ["Accuracy"]
        name = one_of(self.draw, kinds)
        nothing = () if name in SCRATCH and not self.forced else ("loss_weight: 0",)
        weight = maybe(self.draw, "loss_weight: 0.5", "loss_weight: 2", *nothing)
        if name in ("EuclideanLoss", "SigmoidCrossEntropyLoss"):
            self.targets(name, bottom, weight)
            return
        axis = 1
        if name in ("SoftmaxWithLoss", "Accuracy", "InfogainLoss") and self.draw(st.booleans()):
            axis = axis_in(self.draw, bottom.shape)
        elif len(bottom.shape) < 2:
            return
        places = (*bottom.shape[:axis], *bottom.shape[axis:][1:])
        count = bottom.shape[axis]
        if name in ("HingeLoss", "MultinomialLogisticLoss"):
            places, count = bottom.shape[:1], math.prod(bottom.shape[1:])
        labels = self.input(places, count)
        ignore = maybe(self.draw, f"ignore_label: {self.draw(st.integers(0, count - 1))}")
        best = maybe(self.draw, "top_k: 2")
        more = {
            "SoftmaxWithLoss": f"softmax_param {{ axis: {axis} }} {self.normalised(ignore)}",
            "InfogainLoss": f"infogain_loss_param {{ axis: {axis} }}",
            "Accuracy": f"accuracy_param {{ axis: {axis} {ignore} {best} }}",
            "HingeLoss": f"hinge_loss_param {{ {maybe(self.draw, 'norm: L2')} }}",
        }
        settings = f"{more.get(name, '')} {'' if name == 'Accuracy' else weight}"
        bottoms = [bottom, labels]
        if name == "InfogainLoss":
            bottoms.append(self.input((1, 1, count, count)))
            if self.forced:
                return  # real Caffe aborts at the gradient of the matrix
        tops = 2 if name == "Accuracy" and self.draw(st.booleans()) else 1
        self.end(name, settings, bottoms, tops)

    def end(self, name: str, settings: str, bottoms: list[Top], tops: int = 1) -> None:
        """Add a layer that nothing follows."""
        for top in self.add(name, settings, bottoms, tops):
            self.tops.remove(top)

    def targets(self, name: str, bottom: Top, weight: str) -> None:
        loss = ""
        if name == "SigmoidCrossEntropyLoss":
            targets, loss = self.input(bottom.shape, 2), self.normalised("")
        else:
            targets = self.input(bottom.shape)
        self.end(name, f"{loss} {weight}", [bottom, targets])

    def normalised(self, ignore: str) -> str:
        names = ("VALID", "BATCH_SIZE", "FULL", "NONE")
        rule = maybe(self.draw, *(f"normalization: {name}" for name in names), "normalize: true")
        return f"loss_param {{ {rule} {ignore} }}"


def empty_window(layer: Any, bottoms: list[Top]) -> bool:
    """Whether a pooling window lies behind the input, where its stride is beyond its kernel.

    Real Caffe then writes in front of the gradient, to the index -1 of its mask.
    """
    if layer.type != "Pooling":
        return False
    size = bottoms[0].shape[2:]
    fit = windows.pooling(layer.pooling_param, size)
    return any((out - 1) * s - p >= n for n, out, s, p in zip(size, fit.out, fit.stride, fit.pad))
