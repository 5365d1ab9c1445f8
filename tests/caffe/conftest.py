"""What the tests of lbpmap.caffe share: reference files, the measure of equality, small nets."""

from __future__ import annotations

import importlib.util
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lbpmap import caffe
from lbpmap.caffe.blob import Blob
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import LayerParameter
from lbpmap.caffe.layers import on_numpy
from lbpmap.caffe.layers.plan import Layer, Plan, Workspace
from lbpmap.caffe.layers.shapes import plan

STAND_IN = Path(__file__).with_name("stand_in")
TINY = """
name: "tiny"
layer {
  name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 6 dim: 5 } }
}
layer {
  name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {
    num_output: 4 kernel_size: 3
    weight_filler { type: "gaussian" std: 0.5 }
    bias_filler { type: "uniform" min: -1 max: 1 }
  }
}
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer {
  name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 7 weight_filler { type: "xavier" } }
}
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


@pytest.fixture(scope="session")
def fixtures(shared: Path) -> Path:
    """Give the folder of what real Caffe computed."""
    return shared / "caffe_fixtures"


@pytest.fixture
def text_file(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes a prototxt and returns its path."""

    def write(text: str, name: str = "net.prototxt") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def tiny(text_file: Callable[..., Path]) -> Path:
    """Give the prototxt of a net of 4 x 3 x 3 x 3 and 7 x 48 weights."""
    return text_file(TINY, "tiny.prototxt")


@pytest.fixture
def tiny_weights(tiny: Path, tmp_path: Path) -> Path:
    """Give a caffemodel for `tiny`."""
    caffe.set_random_seed(5)
    path = tmp_path / "tiny.caffemodel"
    caffe.Net(tiny, caffe.TEST).save(path)
    return path


@pytest.fixture(scope="session")
def check_equal() -> Callable[..., None]:
    """Give the project's equality of arrays: max |a - b| <= 1e-5 max |b|."""

    def check(got: Any, expected: Any, what: str = "") -> None:
        got, expected = np.asarray(got), np.asarray(expected)
        assert got.shape == expected.shape, what
        scale = np.abs(expected).max() if expected.size else 0
        assert np.abs(got - expected).max() <= 1e-5 * scale, what

    return check


@dataclass
class OneLayer:
    """A layer outside of any net, to be run by either engine on arrays."""

    layer: Layer
    plan: Plan

    @property
    def params(self) -> list[Any]:
        return [blob.data for blob in self.layer.blobs]

    def on_numpy(self, *bottoms: Any) -> list[Any]:
        """Run the NumPy engine; tops are NaN before, so that nothing is left out."""
        tops = [np.full(shape, np.nan, np.float32) for shape in self.plan.tops]
        arrays = [np.asarray(bottom, np.float32) for bottom in bottoms]
        with np.errstate(all="ignore"):
            on_numpy.FORWARD[self.layer.type](self.layer, arrays, tops)
        return tops

    def on_torch(self, *bottoms: Any) -> list[Any]:
        """Run the PyTorch engine on float32 and return arrays."""
        pytest.importorskip("torch")
        tensors = [torch_of(np.asarray(x, np.float32)) for x in (*bottoms, *self.params)]
        count = len(bottoms)
        tops = self._function(self.layer, tensors[:count], tensors[count:])
        return [top.detach().numpy() for top in tops]

    def on_both(self, *bottoms: Any) -> list[list[Any]]:
        """Run both engines, or the one that is installed."""
        ways = [self.on_numpy] + [self.on_torch] * (importlib.util.find_spec("torch") is not None)
        return [way(*bottoms) for way in ways]

    def gradients(self, *bottoms: Any, tops: Any = None) -> list[Any]:
        """Return autograd's gradients in double precision, of bottoms and then of parameters.

        `tops` are the gradients of the tops, random where there are none. None stands for a blob
        that gets no gradient.
        """
        torch = pytest.importorskip("torch")
        leaves = [torch_of(x).double().requires_grad_() for x in (*bottoms, *self.params)]
        results = self._function(self.layer, leaves[: len(bottoms)], leaves[len(bottoms) :])
        diffs = self.top_diffs() if tops is None else tops
        flowing = [(r, torch_of(d).double()) for r, d in zip(results, diffs) if r.requires_grad]
        outs, out_diffs = zip(*flowing)
        found = torch.autograd.grad(outs, leaves, out_diffs, allow_unused=True)
        return [None if g is None else g.numpy() for g in found]

    def differences(self, *bottoms: Any, step: float = 1e-2, tops: Any = None) -> list[Any]:
        """Return central differences of the NumPy engine's forward pass, as `gradients` does.

        Tops are float32: with this step the differences are right to 1e-4 of the largest.
        """
        arrays = [np.array(bottom, np.float32) for bottom in bottoms]
        diffs = self.top_diffs() if tops is None else tops
        found = []
        for values in (*arrays, *self.params):
            slopes = np.zeros(values.shape)
            for at in np.ndindex(*values.shape):
                before, sums = values[at], []
                for move in (step, -step):
                    values[at] = before + np.float32(move)
                    results = self.on_numpy(*arrays)
                    sums.append(sum(float((r * d).sum()) for r, d in zip(results, diffs)))
                values[at] = before
                slopes[at] = (sums[0] - sums[1]) / (2 * step)
            found.append(slopes)
        return found

    def top_diffs(self) -> list[Any]:
        """Give the same random gradients of the tops each time."""
        rng = np.random.default_rng(11)
        return [rng.standard_normal(shape) for shape in self.plan.tops]

    def passes_gradcheck(self, *bottoms: Any, of: Any = None) -> bool:
        """Whether PyTorch's own double-precision check holds, for bottoms `of` and parameters."""
        import torch

        count = len(bottoms)
        wanted = range(count) if of is None else of
        leaves = [torch_of(x).double() for x in (*bottoms, *self.params)]
        for i in [*wanted, *range(count, len(leaves))]:
            leaves[i].requires_grad_()

        def function(*xs: Any) -> Any:
            results = self._function(self.layer, list(xs[:count]), list(xs[count:]))
            return tuple(result for result in results if result.requires_grad)

        return bool(torch.autograd.gradcheck(function, tuple(leaves)))

    @property
    def _function(self) -> Any:
        from lbpmap.caffe.layers import on_torch

        return on_torch.FORWARD[self.layer.type]


def torch_of(array: Any) -> Any:
    import torch

    return torch.from_numpy(np.array(array))


@pytest.fixture(scope="session")
def one_layer() -> Callable[..., OneLayer]:
    """Give a function that plans a layer and fills its parameters at random.

    It takes the layer's text (bottoms are added to it), the shapes of its bottoms, and how many
    tops it has.
    """

    def make(text: str, *shapes: tuple[int, ...], tops: int = 1, seed: int = 3) -> OneLayer:
        param = prototxt.parse(text, LayerParameter())
        param.name = "l"
        param.bottom.extend(f"b{i}" for i in range(len(shapes)))
        param.top.extend(f"t{i}" for i in range(tops))
        param.phase = caffe.TEST
        planned = plan(param, list(shapes))
        rng = np.random.default_rng(seed)
        blobs = [Blob(p.shape) for p in planned.params]
        for blob in blobs:
            blob.data[...] = rng.uniform(-1, 1, blob.shape)
        layer = Layer(param, blobs, Workspace(), rng, state=planned.state)
        return OneLayer(layer, planned)

    return make


@pytest.fixture(scope="session")
def check_near() -> Callable[..., None]:
    """Give what holds gradients against differences: to 3e-4 of the largest, None against zeros."""

    def check(gradients: list[Any], differences: list[Any]) -> None:
        assert len(gradients) == len(differences)
        for i, (gradient, difference) in enumerate(zip(gradients, differences)):
            if gradient is None:
                gradient = np.zeros(difference.shape)
            scale = max(np.abs(difference).max(), 1e-2)
            assert np.abs(gradient - difference).max() <= 3e-4 * scale, i

    return check


@pytest.fixture(scope="session")
def onnx() -> Any:
    """Give the package; skip the test where it, or what runs its files, is absent."""
    pytest.importorskip("onnxruntime")
    return pytest.importorskip("onnx")


@pytest.fixture
def layer_net(text_file: Callable[..., Path]) -> Callable[..., caffe.Net]:
    """Give a function that makes a net of one layer, with random parameters."""

    def make(text: str, shapes: list[tuple[int, ...]], tops: int = 1) -> caffe.Net:
        lines = [
            f'layer {{ name: "in{i}" type: "Input" top: "b{i}" input_param {{ shape {{ '
            + " ".join(f"dim: {n}" for n in shape)
            + " } } }"
            for i, shape in enumerate(shapes)
        ]
        ends = [f'bottom: "b{i}"' for i in range(len(shapes))]
        ends += [f'top: "t{i}"' for i in range(tops)]
        lines.append(f'layer {{ name: "l" {" ".join(ends)} {text} }}')
        net = caffe.Net(text_file("\n".join(lines)), caffe.TEST)
        rng = np.random.default_rng(4)
        for blob in net.params.get("l", []):
            blob.data[...] = rng.uniform(0.1, 1, blob.shape)
        return net

    return make


@pytest.fixture(scope="session")
def in_place() -> str:
    """Give the text of a net with layers in place, two branches and a blob that nobody reads."""
    return """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } } }
layer { name: "neg" type: "Power" bottom: "x" top: "x" power_param { scale: -1 } }
layer { name: "conv.1" type: "Convolution" bottom: "x" top: "y"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "y" top: "y" }
layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }
layer { name: "drop" type: "Dropout" bottom: "y" top: "y" }
layer { name: "left" type: "Flatten" bottom: "y" top: "left" }
layer { name: "right" type: "Reduction" bottom: "y" top: "right" reduction_param { axis: 1 } }
layer { name: "quiet" type: "Silence" bottom: "right" }
"""


def close_worker() -> None:
    """End the worker that makes nets now."""
    from lbpmap.caffe.real import link

    while link._current:
        link._current.pop().close()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Let nets be made by the stand-in; give the link to its process."""
    from lbpmap.caffe.real import link

    monkeypatch.setenv("PYTHONPATH", str(STAND_IN))
    monkeypatch.setenv(link.VARIABLE, shlex.quote(sys.executable))
    close_worker()
    caffe.set_engine("real")
    yield link._current[0]
    caffe.set_engine("auto")
    close_worker()


@pytest.fixture
def net_of(stand_in: Any, text_file: Callable[..., Path]) -> Callable[..., caffe.Net]:
    """Give a function that makes a net of a text of words."""
    return lambda words="": caffe.Net(text_file(words), caffe.TEST)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for something that happens in another process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
