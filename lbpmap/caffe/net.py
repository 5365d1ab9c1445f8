"""A net as pycaffe shows it: live blobs, forward passes, weights in and out."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Union

import numpy as np

from lbpmap._arrays import F32, ArrayLike
from lbpmap.caffe import absent, assembly, graph
from lbpmap.caffe.blob import Blob, Shape
from lbpmap.caffe.formats import prototxt, weights
from lbpmap.caffe.formats.messages import TEST, TRAIN
from lbpmap.caffe.layers.on_numpy import FORWARD
from lbpmap.caffe.layers.plan import Layer

PathLike = Union[str, "os.PathLike[str]"]

_NOT_THE_SAME = (
    "the prototxt and the weights are of different nets or input sizes "
    "(to train the layer anew, rename it)"
)


class Net:
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

    def __init__(
        self,
        model: PathLike,
        *args: Any,
        phase: int | None = None,
        weights: PathLike | None = None,
        level: int = 0,
        stages: Sequence[str] | None = None,
    ) -> None:
        _check_path("Net: model", model, "a prototxt")
        self._source = os.fspath(model)
        phase, weights = _arguments(args, phase, weights)
        description = prototxt.read_net(model)
        try:
            params = graph.layers_for(description, phase, level, stages or ())
            parts = assembly.assemble(params)
        except ValueError as error:
            raise ValueError(f"{self._source}: {error}") from None
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
        self.outputs = graph.outputs(params)
        self._fitted = self._blob_shapes()
        if weights is not None:
            self.copy_from(weights)

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
        self._fit(first)
        # Infinities and NaN are values here, as in Caffe, and no reason for a warning.
        with np.errstate(all="ignore"):
            for layer in self.layers[first : last + 1]:
                self._run(layer)
        return {name: self.blobs[name].data for name in wanted}

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
        arrays = {name: np.asarray(array, np.float32) for name, array in inputs.items()}
        totals = {len(array) for array in arrays.values()}
        if len(totals) != 1:
            raise ValueError(
                f"forward_all: inputs hold {sorted(totals)} samples; give as many each"
            )
        total, batch = totals.pop(), self._blob(next(iter(arrays))).num
        collected: dict[str, list[F32]] = {}
        for at in range(0, total, batch):
            count = min(batch, total - at)
            filled: dict[str, Any] = {}
            for name, array in arrays.items():
                filled[name] = np.zeros((batch, *array.shape[1:]), np.float32)
                filled[name][:count] = array[at : at + count]
            for name, out in self.forward(blobs, **filled).items():
                collected.setdefault(name, []).append(out[:count].copy())
        return {name: np.concatenate(parts) for name, parts in collected.items()}

    def reshape(self) -> None:
        """Fit every blob to the shapes of the inputs.

        `forward` does it by itself; call it to see the new shapes before.

        Raises
        ------
        ValueError
            When the inputs do not fit the net or its parameters; nothing is changed then.
        """
        self._fit(0)

    def copy_from(self, files: PathLike | Sequence[PathLike]) -> None:
        """Take the weights of one or more caffemodels, layer by layer name.

        Layers that the net lacks are passed over, and parameters that no file holds stay: see
        `unfilled_layers`. All shapes are checked before anything is changed.

        Parameters
        ----------
        files : str or path, or a sequence of them
            A string may hold several names with commas between them.

        Raises
        ------
        OSError
            When a file cannot be read.
        TypeError
            When `files` is no name and no sequence of names.
        ValueError
            When a file is malformed, or a blob's shape is not that of the net's parameter.
        """
        if not isinstance(files, (str, os.PathLike, list, tuple)):
            raise TypeError(
                f"Net.copy_from: files must be the path of a caffemodel, or a list of paths, got "
                f"{type(files).__name__}"
            )
        if isinstance(files, str) and not Path(files).exists():
            names: list[PathLike] = [name for name in files.split(",") if name] or [files]
        elif isinstance(files, (str, os.PathLike)):
            names = [files]
        else:
            names = list(files)
        for name in names:
            _check_path("Net.copy_from: files", name, "a caffemodel")
        matches = [(name, self._match(name)) for name in names]
        for name, pairs in matches:
            with open(name, "rb") as file:
                for entry, blob in pairs:
                    weights.read_into(file, entry, blob.unfilled())
                    blob.mark_from_file()

    def unfilled_layers(self) -> list[str]:
        """Name the layers whose parameters no file has filled; an addition to pycaffe.

        A layer that no file holds keeps what its fillers gave it: where a trained net is wanted,
        its results mean nothing.

        Returns
        -------
        list of str
            In the order of the net. A layer counts as filled when each of its parameters was taken
            from a file by `copy_from`, or is shared with one that was; values that were written
            into ``params`` by hand do not count.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> text = '''
        ... layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }
        ... layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
        ...   inner_product_param { num_output: 2 } }'''
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "tiny.prototxt"
        ...     _ = path.write_text(text)
        ...     net = Net(path, TEST)
        >>> net.unfilled_layers()
        ['ip']
        """
        return [
            name for name, blobs in self.params.items() if not all(blob.from_file for blob in blobs)
        ]

    def share_with(self, other: Net) -> None:
        """Use the parameters of another net's layers of the same names: one memory for both.

        Layers that this net lacks are passed over. All shapes are checked before anything is
        changed.

        Parameters
        ----------
        other : Net

        Raises
        ------
        TypeError
            When `other` is no net.
        ValueError
            When a layer of both nets has other parameters here than there.
        """
        if not isinstance(other, Net):
            raise TypeError(f"Net.share_with: other must be a Net, got {type(other).__name__}")
        common = [
            (name, blobs, other.layer_dict[name].blobs)
            for name, blobs in ((layer.name, layer.blobs) for layer in self.layers)
            if name in other.layer_dict
        ]
        for name, blobs, others in common:
            shapes, wanted = ([blob.shape for blob in each] for each in (others, blobs))
            if shapes != wanted:
                raise ValueError(
                    f'{self._source}: layer "{name}": its parameters have the shapes {wanted}, '
                    f"those of {other._source} have {shapes}; share between nets of the same layers"
                )
        for _, blobs, others in common:
            for blob, shared in zip(blobs, others):
                blob.share(shared)

    def clear_param_diffs(self) -> None:
        """Set the gradients of all parameters to zero."""
        for blobs in self.params.values():
            for blob in blobs:
                blob.diff[...] = 0

    def save(self, path: PathLike) -> None:
        """Write a caffemodel in the newest form, which Caffe loads; whole or not at all.

        Parameters
        ----------
        path : str or path
            The file to write; its folder must exist.

        Raises
        ------
        OSError
            When the file cannot be written; an old one stays as it was.
        TypeError, ValueError
            When `path` is no path, or empty.
        """
        _check_path("Net.save: path", path, "the caffemodel to write")
        weights.write(
            path,
            self.name,
            ((layer.param, [blob.data for blob in layer.blobs]) for layer in self.layers),
        )

    if not TYPE_CHECKING:  # for a type checker, what is absent is simply not there

        def __getattr__(self, name: str) -> NoReturn:
            raise absent.error("Net", name, absent.NET)

    def _blob_shapes(self) -> list[Shape]:
        return [blob.shape for blob in self.blobs.values()]

    def _position(self, name: str) -> int:
        if name not in self.layer_dict:
            raise ValueError(f'{self._source}: no layer "{name}"; see _layer_names')
        return self._layer_names.index(name)

    def _blob(self, name: str) -> Blob:
        if name not in self.blobs:
            raise ValueError(f'{self._source}: no blob "{name}"; known are {", ".join(self.blobs)}')
        return self.blobs[name]

    def _write_inputs(self, inputs: dict[str, ArrayLike]) -> None:
        if set(inputs) != set(self.inputs):
            raise ValueError(
                f"{self._source}: forward got {', '.join(sorted(inputs))}, the net's inputs are "
                f"{', '.join(self.inputs) or 'none'}; give an array for each"
            )
        arrays = {name: np.asarray(array, np.float32) for name, array in inputs.items()}
        for name, array in arrays.items():
            if array.shape != self.blobs[name].shape:
                raise ValueError(
                    f'{self._source}: input blob "{name}" has shape {self.blobs[name].shape}, got '
                    f"an array of {array.shape}; reshape the blob or the array"
                )
        for name, array in arrays.items():
            self.blobs[name].data[...] = array

    def _fit(self, first: int) -> None:
        """Fit the tops of the layers from `first` on to their bottoms, as Caffe does each time."""
        if self._blob_shapes() == self._fitted:
            return
        shapes = {name: blob.shape for name, blob in self.blobs.items()}
        layers = self.layers[first:]
        try:
            plans, shapes = assembly.plan_all([layer.param for layer in layers], shapes)
        except ValueError as error:
            raise ValueError(f"{self._source}: {error}") from None
        for layer, plan in zip(layers, plans):
            for blob, param in zip(layer.blobs, plan.params):
                if blob.shape != param.shape:
                    raise ValueError(
                        f"{self._source}: {assembly.described(layer.param)}: its parameter has "
                        f"shape {blob.shape}, the reshaped input needs {param.shape}"
                    )
        for name, blob in self.blobs.items():
            blob.reshape(*shapes[name])
        self._fitted = self._blob_shapes()

    def _run(self, layer: Layer) -> None:
        bottoms = [self.blobs[name].data for name in layer.param.bottom]
        tops = [self.blobs[name].data for name in layer.param.top]
        try:
            FORWARD[layer.type](layer, bottoms, tops)
        except ValueError as error:
            where = assembly.described(layer.param)
            raise ValueError(f"{self._source}: {where}: {error}") from None

    def _match(self, path: PathLike) -> list[tuple[weights.BlobEntry, Blob]]:
        """Pair the blobs of a file with the net's parameters, and check every shape."""
        pairs = []
        for entry in weights.index(path):
            layer = self.layer_dict.get(entry.name)
            if layer is None:
                continue
            if len(entry.blobs) != len(layer.blobs):
                raise ValueError(
                    f'{path}: layer "{entry.name}": the file holds {len(entry.blobs)} blob(s), the '
                    f"net's layer has {len(layer.blobs)}; {_NOT_THE_SAME}"
                )
            for i, (source, blob) in enumerate(zip(entry.blobs, layer.blobs)):
                if not source.fits(blob.shape):
                    raise ValueError(
                        f'{path}: layer "{entry.name}": blob {i} has shape {source.shape}, the '
                        f"net's parameter has {blob.shape}; {_NOT_THE_SAME}"
                    )
                pairs.append((source, blob))
        return pairs


def _check_path(argument: str, path: object, expected: str) -> None:
    """Refuse what names no file; `argument` is whose and which."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{argument} must be the path of {expected}, got {type(path).__name__}")
    if not os.fspath(path):
        raise ValueError(f"{argument} is empty; give the path of {expected}")


def _arguments(
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
