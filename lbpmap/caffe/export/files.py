"""A net to a file: written beside its place, run by its own runtime, then given its name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lbpmap._arrays import Array
from lbpmap._errors import one_line
from lbpmap._files import PathLike, atomic_path
from lbpmap.caffe import engine, graph
from lbpmap.caffe.export import about, checking, sizes
from lbpmap.caffe.export.checking import Trial
from lbpmap.caffe.export.onnx_net import Front, model, refuse
from lbpmap.caffe.export.onnx_writer import NeedsFixed
from lbpmap.caffe.export.sizes import Lengths
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.messages import TEST
from lbpmap.caffe.layers.plan import Layer
from lbpmap.caffe.net import Net

if TYPE_CHECKING:
    import torch


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


@dataclass(frozen=True)
class _Job:
    """What one of the writers below is to do."""

    net: Net
    sources: Mapping[str, PathLike]
    more: Mapping[str, Any]
    arrays: Mapping[str, Array]
    front: Front | None
    trials: Callable[[Mapping[str, Lengths]], Iterable[Trial]]
    candidates: list[dict[str, Lengths]] = field(default_factory=list)

    def about(self, lengths: Mapping[str, Lengths]) -> str:
        """Say what the file is, with these free axes."""
        return about.describe(self.net, self.inputs(lengths), lengths, self.sources, self.more)

    def inputs(self, lengths: Mapping[str, Lengths]) -> dict[str, Lengths]:
        """Give the inputs of the file, which a front has of its own."""
        if self.front is not None:
            return {name: each for name, (_, each) in self.front.inputs.items()}
        return {name: lengths[name] for name in self.net.inputs}


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
        Inputs and what should come of them; needed with a front, else random ones are made.

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
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     path = pathlib.Path(folder) / "tiny.prototxt"
    ...     _ = path.write_text(text)
    ...     export(Net(path, TEST), path.with_suffix(".onnx")).inputs
    {'data': ('N', 3)}
    """
    writer = FORMATS.get(Path(path).suffix.lower())
    if writer is None:
        raise ValueError(f"{path}: expected a name that ends in {', '.join(FORMATS)}")
    _check(net)
    if front is not None and (writer is not _write_onnx or trials is None):
        raise ValueError("export: a front goes with .onnx and with trials of its own")
    given = None if trials is None else list(trials)

    def make(lengths: Mapping[str, Lengths]) -> Iterable[Trial]:
        return checking.random_trials(net, lengths) if given is None else given

    candidates = list(sizes.candidates(net))
    job = _Job(
        net,
        sources or {},
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
    named = graph.python_layers(prototxt.read_net(deploy))
    if named:
        raise ValueError(
            f'{deploy}: layer "{one_line(named[0])}" (Python): runs code of its own, which no file '
            f"can hold; export a net without it"
        )
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


def set_items(net: Net, batch: int | None) -> None:
    """Let a net take so many items; None leaves it as it is.

    Raises
    ------
    ValueError
        When the net, or its parameters, would not fit.
    """
    if batch is None:
        return
    for name in net.inputs:
        net.blobs[name].reshape(batch, *net.blobs[name].shape[1:])
    net.reshape()


def _check(net: Net) -> None:
    if not all(isinstance(layer, Layer) for layer in net.layers):
        raise TypeError('export: net is one of the engine "real"; read it with another engine')
    training = [layer for layer in net.layers if layer.param.phase != TEST]
    if training:
        raise ValueError(f"{net.name}: is in the TRAIN phase; read it with caffe.TEST to export it")


def _needs(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f"export needs {package}, to write and to check: pip install 'lbpmap[export]'"
            )


_Written = tuple[Mapping[str, Lengths], dict[str, float]]


def _write_onnx(job: _Job, path: Path) -> _Written:
    _needs("onnx", "onnxruntime")
    import onnx

    lengths, made = _freest(job)
    with open(path, "wb") as file:
        made.write(file)
    del made
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise RuntimeError(
            f"{job.net.name}: ONNX's checker refuses what was written ({one_line(error)}); no file "
            f"is left: please report it with the prototxt"
        ) from None
    worst = checking.differences(_onnx_run(path), job.trials(lengths))
    checking.refuse_wrong(worst, f"{job.net.name} in ONNX Runtime")
    return job.inputs(lengths), worst


def _freest(job: _Job) -> tuple[dict[str, Lengths], Any]:
    """Write the graph with as many free axes as its layers allow."""
    for lengths in job.candidates:
        try:
            return lengths, model(job.net, lengths, job.about(lengths), job.arrays, job.front)
        except NeedsFixed:
            continue
    raise AssertionError("a layer wants fixed sizes, and has them")


def _onnx_run(path: Path) -> checking.Run:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    wanted = {each.name for each in session.get_inputs()}

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        fed = {name: array for name, array in inputs.items() if name in wanted}
        return dict(zip(names, session.run(names, fed)))

    return run


def _write_safetensors(job: _Job, path: Path) -> _Written:
    _needs("safetensors")
    from safetensors import safe_open
    from safetensors.numpy import save_file

    tensors: dict[str, Array] = {
        f"{name}.{i}": np.ascontiguousarray(blob.array()).reshape(tuple(blob.shape))
        for name, blobs in job.net.params.items()
        for i, blob in enumerate(blobs)
    }
    clash = sorted(set(tensors) & set(job.arrays))
    if clash:
        raise ValueError(f"{job.net.name}: a parameter and an array are both named {clash[0]!r}")
    tensors.update(job.arrays)
    save_file(tensors, str(path), metadata={about.KEY: job.about(job.candidates[0])})
    worst = {}
    with safe_open(str(path), framework="np") as held:
        for name in tensors:
            got = held.get_tensor(name)
            equal = got.dtype == tensors[name].dtype and got.shape == tensors[name].shape
            same = equal and np.array_equal(got, tensors[name], equal_nan=True)
            worst[name] = 0.0 if same else float("inf")
    if worst:
        checking.refuse_wrong(worst, f"{job.net.name} read back")
    return {}, worst


def _write_pt2(job: _Job, path: Path) -> _Written:
    refuse(job.net)
    engine.torch_device("export to .pt2")
    import torch

    from lbpmap.caffe.export.torch_module import CaffeModule

    if not hasattr(torch, "export"):
        raise ImportError(f"export to .pt2 needs PyTorch 2.2 or newer, this is {torch.__version__}")
    module = CaffeModule(job.net).eval()
    for name, array in job.arrays.items():
        module.register_buffer(name, torch.from_numpy(np.array(array)))
    lengths, program = _freest_program(job, module)
    extra = {about.EXTRA_FILE: job.about(lengths)}
    torch.export.save(program, str(path), extra_files=extra)
    del program, module
    again = torch.export.load(str(path)).module()

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        with torch.no_grad():
            made = again(*(torch.from_numpy(inputs[name].copy()) for name in job.net.inputs))
        return {name: value.numpy() for name, value in made.items()}

    worst = checking.differences(run, job.trials(lengths))
    checking.refuse_wrong(worst, f"{job.net.name} in PyTorch")
    return job.inputs(lengths), worst


def _freest_program(
    job: _Job, module: torch.nn.Module
) -> tuple[dict[str, Lengths], torch.export.ExportedProgram]:
    """Trace the module with a free number of items, and where it is not, with fixed sizes."""
    import torch

    net = job.net
    failure: Exception | None = None
    for lengths in job.candidates:
        taken = [lengths[name] for name in net.inputs]
        if any(set(each) & {"H", "W"} for each in taken):
            continue
        free = any(isinstance(length, str) for each in taken for length in each)
        items = torch.export.Dim("N")
        shapes = tuple(
            {i: items for i, n in enumerate(each) if isinstance(n, str)} for each in taken
        )
        # One item would be taken for the only possible number.
        examples = tuple(
            torch.zeros([2 if isinstance(n, str) else n for n in each]) for each in taken
        )
        try:
            program = torch.export.export(
                module, examples, dynamic_shapes=(shapes,) if free else None, strict=False
            )
        except Exception as error:  # whatever PyTorch's tracing raises
            failure = error
            continue
        return lengths, program
    raise ValueError(
        f"{net.name}: torch.export cannot trace it ({one_line(failure)}); export .onnx"
    )


#: Suffix -> what writes such a file, and checks it.
FORMATS: dict[str, Callable[[_Job, Path], _Written]] = {
    ".onnx": _write_onnx,
    ".safetensors": _write_safetensors,
    ".pt2": _write_pt2,
}
