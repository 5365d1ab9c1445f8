"""The layers of a net, run in order, forward or backward, over blobs that may change shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from lbpmap.caffe import assembly, engine, passes
from lbpmap.caffe.blob import Blob, Shape
from lbpmap.caffe.layers import on_host
from lbpmap.caffe.layers.plan import Layer
from lbpmap.caffe.located import located

if TYPE_CHECKING:
    import torch

# Called with the number of a layer before or after it runs.
Hook = Callable[[int], object]


class Running:
    """Layers and blobs that run.

    Parameters
    ----------
    source : str
        What errors begin with.
    layers : sequence of Layer
    blobs : mapping of str to Blob
    loss_weights : mapping of str to float
        How much each blob counts in the loss.

    Attributes
    ----------
    before_forward, after_forward, before_backward, after_backward : list of callable
        Called with the number of each layer that runs.
    """

    def __init__(
        self,
        source: str,
        layers: Sequence[Layer],
        blobs: Mapping[str, Blob],
        loss_weights: Mapping[str, float],
    ) -> None:
        self._source = source
        self._layers = layers
        self._blobs = blobs
        self._loss_weights = loss_weights
        self._fitted = self._shapes()
        self._begin_gradients()
        self.before_forward: list[Hook] = []
        self.after_forward: list[Hook] = []
        self.before_backward: list[Hook] = []
        self.after_backward: list[Hook] = []

    def forward(self, first: int, last: int, device: torch.device | None) -> None:
        """Run the layers `first` to `last`, numbers included; without a device on NumPy."""
        self.fit(first)
        with engine.precision() if device else nullcontext():
            for i in range(first, last + 1):
                _call(self.before_forward, i)
                layer, bottoms, tops = self._part(i)
                with located(self._place(layer)):
                    passes.forward(layer, bottoms, tops, device)
                if layer.type in on_host.FORWARD:
                    self.fit(i + 1)
                _call(self.after_forward, i)

    def backward(self, first: int, last: int, device: torch.device) -> None:
        """Run the layers `first` down to `last` backward, numbers included."""
        with engine.precision():
            for i in range(first, last - 1, -1):
                layer, bottoms, tops = self._part(i)
                _call(self.before_backward, i)
                if layer.flow.any:
                    with located(self._place(layer)):
                        passes.backward(layer, bottoms, tops, device)
                _call(self.after_backward, i)

    def fit(self, first: int) -> None:
        """Fit the tops of the layers from `first` on to their bottoms, as Caffe does each time.

        Raises
        ------
        ValueError
            When a shape does not fit a layer or its parameters; nothing is changed then.
        """
        if self._shapes() == self._fitted:
            return
        shapes = {name: blob.shape for name, blob in self._blobs.items()}
        layers = self._layers[first:]
        with located(self._source):
            plans, shapes = assembly.plan_all(
                [layer.param for layer in layers], shapes, [layer.state for layer in layers]
            )
        for layer, plan in zip(layers, plans):
            for blob, param in zip(layer.blobs, plan.params):
                if blob.shape != param.shape:
                    raise ValueError(
                        f"{self._place(layer)}: its parameter has shape "
                        f"{blob.shape}, the reshaped input needs {param.shape}"
                    )
        for layer, plan in zip(layers, plans):
            layer.state = plan.state
        for name, blob in self._blobs.items():
            blob.reshape(*shapes[name])
        self._begin_gradients()
        self._fitted = self._shapes()

    def _begin_gradients(self) -> None:
        """Let the gradients of losses be their weights, where a backward pass begins."""
        for name, weight in self._loss_weights.items():
            if weight:
                blob = self._blobs[name]
                blob.gradients.take(blob.count)[...] = weight

    def _shapes(self) -> list[Shape]:
        return [blob.shape for blob in self._blobs.values()]

    def _part(self, i: int) -> tuple[Layer, list[Blob], list[Blob]]:
        layer = self._layers[i]
        return (layer, *assembly.ends(layer, self._blobs))

    def _place(self, layer: Layer) -> str:
        return f"{self._source}: {assembly.described(layer.param)}"


def _call(hooks: list[Hook], i: int) -> None:
    for hook in hooks:
        hook(i)
