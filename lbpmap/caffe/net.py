"""A net as pycaffe shows it: live blobs, passes both ways, weights in and out."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lbpmap._arrays import F32, ArrayLike
from lbpmap.caffe import assembly, batches, engine, graph
from lbpmap.caffe.blob import Blob
from lbpmap.caffe.data import memory
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import TEST, TRAIN, Message
from lbpmap.caffe.located import located
from lbpmap.caffe.parameters import PathLike, check_path
from lbpmap.caffe.running import Hook, Running
from lbpmap.caffe.weighted import Weighted


class Net(Weighted):
    """A net read from a prototxt, with weights from a caffemodel or from its fillers.

    Called as pycaffe is: ``Net(model, phase)``, ``Net(model, weights, phase)`` or
    ``Net(model, phase, weights=weights)``.

    Parameters
    ----------
    model : str or path
        The prototxt, of any age.
    phase : {TRAIN, TEST}
        Which layers are used, and what Dropout does.
    weights : str or path, optional
        A caffemodel of old or new layout; see `copy_from`.
    level : int, default 0
    stages : sequence of str, optional
        What `include` and `exclude` rules are held against.
    engine : {"auto", "numpy", "torch", "real"}, optional
        What runs the net; left out, what `set_engine` chose. "real" gives a net of the real Caffe.

    Attributes
    ----------
    blobs : OrderedDict of Blob
        By name, in the order in which they are made; Caffe's inserted splits are among them.
    params : OrderedDict of list of Blob
        Parameters of each layer that has some, weights first.
    inputs, outputs : list of str
        Blobs that are written by the user, and blobs that no layer reads.
    layers, layer_dict
        The layers in order, and by name; each has `type` and `blobs`.
    top_names, bottom_names : OrderedDict of list of str
        By name of the layer.
    blob_loss_weights : OrderedDict of float
        How much each blob counts in the loss.
    name : str

    Raises
    ------
    OSError
        When a file cannot be read.
    ValueError
        One line: file, layer, what was wrong and what was expected.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> text = '''
    ... layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }
    ... layer { name: "prob" type: "Softmax" bottom: "data" top: "prob" }'''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "tiny.prototxt"
    ...     _ = path.write_text(text)
    ...     net = Net(path, TEST)
    >>> net.blobs["data"].data[...] = [1, 1, 1]
    >>> net.forward()["prob"]
    array([[0.33333334, 0.33333334, 0.33333334]], dtype=float32)
    """

    def __new__(cls, *args: Any, **settings: Any) -> Any:
        """Make a net, or with the engine "real" one of the real Caffe."""
        if engine.resolve(settings.get("engine")) != "real":
            return super().__new__(cls)
        from lbpmap.caffe.real.net import RealNet

        return super().__new__(engine.made_real(cls, RealNet))

    def __init__(
        self,
        model: PathLike,
        *args: Any,
        phase: int | None = None,
        weights: PathLike | None = None,
        level: int = 0,
        stages: Sequence[str] | None = None,
        engine: str | None = None,
    ) -> None:
        check_path("Net: model", model, "a prototxt")
        phase, weights = net_arguments(args, phase, weights)
        self._open(model, phase, level, list(stages or ()), engine)
        if weights is not None:
            self.copy_from(weights)

    def _open(
        self, model: PathLike, phase: int, level: int, stages: list[str], own_engine: str | None
    ) -> None:
        state = graph.NetState(phase=phase, level=level, stage=stages)
        self._assemble(os.fspath(model), prototxt.read_net(model), state, own_engine)

    @classmethod
    def of_message(cls, description: Message, source: str, state: Message) -> Net:
        """Build the net that a solver drives; an addition to pycaffe.

        Parameters
        ----------
        description : NetParameter
            In the newest form.
        source : str
            What errors begin with.
        state : NetState
            Phase, level and stages.
        """
        net: Net = object.__new__(cls)
        net._assemble(source, description, state, None)
        net._learning = True
        return net

    def _assemble(
        self, source: str, description: Message, state: Message, own_engine: str | None
    ) -> None:
        self._source = source
        self._engine = own_engine and engine.checked(own_engine, "Net")
        self._learning = False
        with located(source):
            params = graph.layers_for(description, state)
            self.outputs = graph.outputs(params)  # the tops that losses get have no reader to name
            parts = assembly.assemble(params, force_backward=description.force_backward)
        self.name = str(description.name)
        self.layers = parts.layers
        self.blobs = OrderedDict(parts.blobs)
        self._layer_names = [layer.name for layer in self.layers]
        self._blob_names = list(self.blobs)
        self.layer_dict = OrderedDict(zip(self._layer_names, self.layers))
        self.params = OrderedDict((la.name, la.blobs) for la in self.layers if la.blobs)
        self.top_names = OrderedDict((la.name, list(la.param.top)) for la in self.layers)
        self.bottom_names = OrderedDict((la.name, list(la.param.bottom)) for la in self.layers)
        inputs = [layer.param.top for layer in self.layers if layer.type == "Input"]
        self.inputs = [name for tops in inputs for name in tops]
        self.blob_loss_weights = OrderedDict.fromkeys(self.blobs, 0.0)
        for layer in self.layers:
            self.blob_loss_weights.update(zip(layer.param.top, layer.loss_weights))
        self._running = Running(source, self.layers, self.blobs, self.blob_loss_weights)

    def forward(
        self,
        blobs: Iterable[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **inputs: ArrayLike,
    ) -> dict[str, F32]:
        """Run the layers, or those from `start` to `end`.

        Parameters
        ----------
        blobs : iterable of str, optional
            Blobs to return besides the outputs.
        start, end : str, optional
            Names of the first and the last layer.
        **inputs : array
            What to write into each of the net's inputs, of that blob's shape.

        Returns
        -------
        dict of float32 arrays
            The net's outputs, or the tops of `end`: the blobs' own memory, which the next call
            overwrites.

        Raises
        ------
        ValueError
            When an array does not fit its blob, a name is unknown, or a reshaped input does not fit
            the net.
        """
        first = 0 if start is None else self._position(start)
        last = len(self.layers) - 1 if end is None else self._position(end)
        wanted = list(self.outputs if end is None else self.top_names[end]) + list(blobs or ())
        for name in wanted:
            self._blob(name)
        if inputs:
            self._write_inputs(inputs)
        self._run(first, last)
        return {name: self.blobs[name].data for name in wanted}

    def backward(
        self,
        diffs: Iterable[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **top_diffs: ArrayLike,
    ) -> dict[str, F32]:
        """Compute gradients from the last layer, or from `start`, down to the first, or to `end`.

        Gradients of blobs are overwritten; those of parameters add up until `clear_param_diffs`.
        They are computed where a loss lies behind and something learns before, or everywhere with
        `force_backward: true` in the prototxt.

        Parameters
        ----------
        diffs : iterable of str, optional
            Blobs whose gradients to return besides those of the inputs.
        start, end : str, optional
            Names of the layer to begin with and of the last one.
        **top_diffs : array
            Gradients of the net's outputs, of their shapes. Left out, a loss has its weight, and
            any other output what its `diff` holds.

        Returns
        -------
        dict of float32 arrays
            Gradients of the net's inputs, or of the bottoms of `end`: the blobs' own memory.

        Raises
        ------
        RuntimeError
            When PyTorch is not installed.
        ValueError
            When an array does not fit its blob, or a name is unknown.
        """
        first = len(self.layers) - 1 if start is None else self._position(start)
        last = 0 if end is None else self._position(end)
        wanted = list(self.inputs if end is None else self.bottom_names[end]) + list(diffs or ())
        for name in wanted:
            self._blob(name)
        if top_diffs:
            self._write("diff", self.outputs, top_diffs, "backward")
        self._run_backward(first, last)
        return {name: self.blobs[name].diff for name in wanted}

    def forward_all(
        self, blobs: Iterable[str] | None = None, **inputs: ArrayLike
    ) -> dict[str, F32]:
        """Run any number of inputs through the net, a batch of its own size at a time.

        Parameters
        ----------
        blobs : iterable of str, optional
            Blobs to return besides the outputs.
        **inputs : array
            For each of the net's inputs, as many samples as there are to run; the last batch is
            filled up with zeros.

        Returns
        -------
        dict of float32 arrays
            One row a sample, copies.
        """
        return batches.run(self, list(blobs or ()), None, inputs)[0]

    def forward_backward_all(
        self,
        blobs: Iterable[str] | None = None,
        diffs: Iterable[str] | None = None,
        **inputs: ArrayLike,
    ) -> tuple[dict[str, F32], dict[str, F32]]:
        """Run any number of inputs forward and backward, a batch of the net's own size at a time.

        Parameters
        ----------
        blobs, diffs : iterable of str, optional
            Blobs whose values, and whose gradients, to return besides outputs and inputs.
        **inputs : array
            For each of the net's inputs, and if wanted for the gradients of its outputs, as many
            samples as there are to run.

        Returns
        -------
        values, gradients : dict of float32 arrays
            One row a sample, copies.
        """
        return batches.run(self, list(blobs or ()), list(diffs or ()), inputs)

    def reshape(self) -> None:
        """Fit every blob to the shapes of the inputs.

        `forward` does it by itself; call it to see the new shapes before.

        Raises
        ------
        ValueError
            When the inputs do not fit the net or its parameters; nothing is changed then.
        """
        self._running.fit(0)

    def set_input_arrays(self, data: F32, labels: F32) -> None:
        """Give the net's first layer, of type MemoryData, what it hands out from now on.

        Parameters
        ----------
        data : float32 array (N, C, H, W)
            N a multiple of the layer's batch_size. It is not copied, and not transformed.
        labels : float32 array (N,) or (N, 1, 1, 1)

        Raises
        ------
        TypeError, ValueError
            When the layer is of another type, or an array of another dtype or shape.
        """
        memory.set_arrays(self.layers[0], data, labels)

    def before_forward(self, hook: Hook) -> None:
        """Call `hook` with the number of each layer before it runs forward."""
        self._running.before_forward.append(hook)

    def after_forward(self, hook: Hook) -> None:
        """Call `hook` with the number of each layer after it has run forward."""
        self._running.after_forward.append(hook)

    def before_backward(self, hook: Hook) -> None:
        """Call `hook` with the number of each layer before its backward pass."""
        self._running.before_backward.append(hook)

    def after_backward(self, hook: Hook) -> None:
        """Call `hook` with the number of each layer after its backward pass."""
        self._running.after_backward.append(hook)

    def loss(self) -> float:
        """Return the weighted sum of the losses of the last pass; an addition to pycaffe."""
        return sum(
            weight * float(self.blobs[name].array().sum(dtype=np.float64))
            for name, weight in self.blob_loss_weights.items()
            if weight
        )

    def _run(self, first: int, last: int) -> None:
        """Run the layers `first` to `last`."""
        device = engine.device_for(self._engine, learning=self._learning)
        self._running.forward(first, last, device)

    def _run_backward(self, first: int, last: int) -> None:
        """Run the layers `first` down to `last` backward."""
        self._running.backward(first, last, engine.torch_device("Net.backward"))

    def _position(self, name: str) -> int:
        if name not in self.layer_dict:
            raise ValueError(f'{self._source}: no layer "{name}"; see _layer_names')
        return self._layer_names.index(name)

    def _blob(self, name: str) -> Blob:
        if name not in self.blobs:
            raise ValueError(f'{self._source}: no blob "{name}"; known are {", ".join(self.blobs)}')
        return self.blobs[name]

    def _write_inputs(self, inputs: dict[str, ArrayLike]) -> None:
        self._write("data", self.inputs, inputs, "forward")

    def _write(
        self, what: str, names: Sequence[str], arrays: dict[str, ArrayLike], caller: str
    ) -> None:
        """Write the data of all inputs, or the diff of all outputs."""
        kind = "input" if what == "data" else "output"
        if set(arrays) != set(names):
            raise ValueError(
                f"{self._source}: {caller} got {', '.join(sorted(arrays))}, the net's {kind}s are "
                f"{', '.join(names) or 'none'}; give an array for each"
            )
        checked = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        for name, array in checked.items():
            if array.shape != self.blobs[name].shape:
                raise ValueError(
                    f'{self._source}: {kind} blob "{name}" has shape {self.blobs[name].shape}, got '
                    f"an array of {array.shape}; reshape the blob or the array"
                )
        for name, array in checked.items():
            getattr(self.blobs[name], what)[...] = array


def net_arguments(
    args: tuple[Any, ...], phase: int | None, weights: PathLike | None
) -> tuple[int, PathLike | None]:
    """Sort out pycaffe's two orders: (phase) and (weights, phase)."""
    given = list(args)
    if given and isinstance(given[0], (str, os.PathLike)):
        if weights is not None:
            raise TypeError("Net: weights are given twice")
        weights = given.pop(0)
    if given:
        if phase is not None:
            raise TypeError("Net: phase is given twice")
        phase = given.pop(0)
    if given or phase not in (TRAIN, TEST):
        raise TypeError("Net: call it as Net(model, phase) or Net(model, weights, phase)")
    return int(phase), weights
