"""A net to a file: written beside its place, run by its own runtime, then given its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbpmap._arrays import Array
from lbpmap._files import PathLike, atomic_path
from lbpmap.caffe import graph
from lbpmap.caffe.export import checking, sizes
from lbpmap.caffe.export.about import called, identified
from lbpmap.caffe.export.checking import Trial
from lbpmap.caffe.export.onnx_net import Front
from lbpmap.caffe.export.sizes import Lengths
from lbpmap.caffe.export.writers import FORMATS, Job, write_onnx
from lbpmap.caffe.formats.messages import TEST
from lbpmap.caffe.layers.plan import Layer
from lbpmap.caffe.net import Net


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes
    ----------
    path : Path
    size : int
        Bytes.
    inputs : dict of tuple
        Lengths of the axes of what it takes; a name stands for a free axis. Empty where the file
        is not run.
    differences : dict of float
        How far each output, or each array, is from our engine's: of the largest value, or of 1
        where that is smaller.
    """

    path: Path
    size: int
    inputs: Mapping[str, Lengths]
    differences: Mapping[str, float]


def export(
    net: Net,
    path: PathLike,
    *,
    fixed: bool = False,
    sources: Mapping[str, PathLike] | None = None,
    more: Mapping[str, Any] | None = None,
    arrays: Mapping[str, Array] | None = None,
    front: Front | None = None,
    trials: Iterable[Trial] | None = None,
) -> Exported:
    """Write a net for other stacks; the suffix says which.

    Parameters
    ----------
    net : Net
        In the TEST phase, with its weights.
    path : str or path
        ``.onnx``: the graph, opset 17, to be run by ONNX Runtime 1.12 or later and others.
        ``.safetensors``: parameters only, named ``layer.0`` (weight), ``layer.1`` (bias) in the
        order of ``net.params``; shared ones once a layer. ``.pt2``: `torch.export`'s program of a
        module that gives a dict of outputs.
    fixed : bool, default False
        Write a file for exactly the shapes that the net's inputs have now. Else the number of items
        is free ("N") where the net allows it, and in ONNX so are the sides ("H", "W") of a net that
        takes any.
    sources : dict of path, optional
        Files that the net was read from, by what they are; their SHA-256 goes into the file.
    more : dict, optional
        What else the file shall say about itself: anything that JSON can hold.
    arrays : dict of array, optional
        To be held in the file beside the parameters.
    front : Front, optional
        Nodes before the net, in ONNX.
    trials : iterable of Trial, optional
        Inputs and what should come of them; needed with a front, where they may also tell what the
        net's input should be. Else random ones are made.

    Returns
    -------
    Exported

    Raises
    ------
    ImportError
        When a package of the extra is missing.
    OSError
        When the file cannot be written.
    RuntimeError
        When the file's own runtime gives other results; no file is left then.
    ValueError
        When the net cannot be exported: one line with the layer and what to do.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from lbpmap.caffe import TEST, Net
    >>> text = '''
    ... layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } }
    ... layer { name: "prob" type: "Softmax" bottom: "data" top: "prob" }'''
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "tiny.prototxt"
    ...     _ = path.write_text(text)
    ...     net = Net(path, TEST)
    >>> export(net, "tiny.tflite")
    Traceback (most recent call last):
    ValueError: tiny.tflite: expected a name that ends in .onnx, .safetensors, .pt2
    """
    writer = FORMATS.get(Path(path).suffix.lower())
    if writer is None:
        raise ValueError(f"{path}: expected a name that ends in {', '.join(FORMATS)}")
    _check(net)
    if front is not None and (writer is not write_onnx or trials is None):
        raise ValueError("export: a front goes with .onnx and with trials of its own")
    given = None if trials is None else list(trials)

    def make(lengths: Mapping[str, Lengths]) -> Iterable[Trial]:
        return checking.random_trials(net, lengths) if given is None else given

    candidates = list(sizes.candidates(net))
    job = Job(
        net,
        identified(sources or {}),
        more or {},
        arrays or {},
        front,
        make,
        candidates[-1:] if fixed else candidates,
    )
    with atomic_path(path) as temporary:
        inputs, worst = writer(job, temporary)
        size = temporary.stat().st_size
    return Exported(Path(path), size, inputs, worst)


def export_files(
    deploy: PathLike, weights: PathLike, path: PathLike, *, batch: int | None = None
) -> Exported:
    """Write the net of a prototxt and a caffemodel for other stacks.

    Parameters
    ----------
    deploy, weights : str or path
    path : str or path
        As for `export`.
    batch : int, optional
        How many items the file takes, no more and no less, each of the prototxt's size. Left out,
        both are as free as the net allows.

    Returns
    -------
    Exported

    Raises
    ------
    ImportError, OSError, RuntimeError, ValueError
        As `export`; when the two are of different nets, or the net runs Python code.
    """
    refuse_python_layers(deploy)
    net = Net(deploy, TEST, weights=weights)
    unfilled = net.unfilled_layers()
    if unfilled:
        raise ValueError(
            f"{weights}: has no weights for {', '.join(unfilled)} of {deploy}: they are of "
            f"different nets"
        )
    set_items(net, batch)
    sources = {"deploy": deploy, "weights": weights}
    return export(net, path, fixed=batch is not None, sources=sources)


def refuse_python_layers(deploy: PathLike) -> None:
    """Refuse a prototxt that names modules to run, before one of them is.

    Raises
    ------
    OSError
        When it cannot be read.
    ValueError
        When it holds Python layers, or is malformed.
    """
    graph.refuse_python_layers(deploy, ", which no file can hold; export a net without it")


def set_items(net: Net, batch: int | None) -> None:
    """Let a net take so many items, in all inputs that have as many as the first; None: as it is.

    Raises
    ------
    ValueError
        When the net, or its parameters, would not fit.
    """
    if batch is None:
        return
    before = {name: tuple(net.blobs[name].shape) for name in net.inputs}
    for name, shape in before.items():
        if shape and shape[0] == before[net.inputs[0]][0]:
            net.blobs[name].reshape(batch, *shape[1:])
    net.reshape()


def _check(net: Net) -> None:
    if not all(isinstance(layer, Layer) for layer in net.layers):
        raise TypeError('export: net is one of the engine "real"; read it with another engine')
    training = [layer for layer in net.layers if layer.param.phase != TEST]
    if training:
        raise ValueError(
            f"{called(net)}: is in the TRAIN phase; read it with caffe.TEST to export it"
        )
