"""What writes each kind of file, and has it run by its own runtime."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lbpmap._arrays import Array
from lbpmap._errors import one_line
from lbpmap.caffe import engine
from lbpmap.caffe.export import about, checking
from lbpmap.caffe.export.checking import Trial
from lbpmap.caffe.export.onnx_file import OnnxFile
from lbpmap.caffe.export.onnx_net import Front, front_alone, model, refuse
from lbpmap.caffe.export.onnx_writer import NeedsFixed
from lbpmap.caffe.export.sizes import Lengths
from lbpmap.caffe.net import Net

if TYPE_CHECKING:
    import torch

# What a file takes, and how far its outputs are off.
Written = tuple[Mapping[str, Lengths], dict[str, float]]


@dataclass(frozen=True)
class Job:
    """What a writer is to do; `lbpmap.caffe.export.export` tells what each of these is.

    Attributes
    ----------
    trials : callable
        Gives the trials for the shapes of the blobs.
    candidates : sequence of dict
        Those shapes, the freest first.
    """

    net: Net
    sources: Mapping[str, Mapping[str, str]]
    more: Mapping[str, Any]
    arrays: Mapping[str, Array]
    front: Front | None
    trials: Callable[[Mapping[str, Lengths]], Iterable[Trial]]
    candidates: Sequence[dict[str, Lengths]]

    def about(self, lengths: Mapping[str, Lengths]) -> str:
        """Say what the file is, with these free axes."""
        return about.describe(self.net, self.inputs(lengths), lengths, self.sources, self.more)

    @property
    def name(self) -> str:
        """How errors name the net."""
        return about.called(self.net)

    def inputs(self, lengths: Mapping[str, Lengths]) -> dict[str, Lengths]:
        """Give the inputs of the file, which a front has of its own."""
        if self.front is not None:
            return {name: each for name, (_, each) in self.front.inputs.items()}
        return {name: lengths[name] for name in self.net.inputs}


def _needs(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f"export needs {package}, to write and to check: pip install 'lbpmap[export]'"
            )


def write_onnx(job: Job, path: Path) -> Written:
    """Write the graph, as ONNX's checker likes it, and run it in ONNX Runtime."""
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
            f"{job.name}: ONNX's checker refuses what was written ({one_line(error)}); no file "
            f"is left: please report it with the prototxt"
        ) from None
    run = _onnx_run(str(path))
    if job.front is not None:
        run = _with_front(job, lengths, job.front, run)
    worst = checking.differences(run, job.trials(lengths))
    checking.refuse_wrong(worst, f"{job.name} in ONNX Runtime")
    return job.inputs(lengths), worst


def _freest(job: Job) -> tuple[dict[str, Lengths], OnnxFile]:
    """Write the graph with as many free axes as its layers allow."""
    for lengths in job.candidates:
        try:
            return lengths, model(job.net, lengths, job.about(lengths), job.arrays, job.front)
        except NeedsFixed:
            continue
    raise AssertionError("a layer wants fixed sizes, and has them")


def _with_front(
    job: Job, lengths: Mapping[str, Lengths], front: Front, whole: checking.Run
) -> checking.Run:
    """Run what makes the net's input, too: the net's outputs may say little of it."""
    buffer = io.BytesIO()
    front_alone(job.net, lengths, "", job.arrays, front).write(buffer)
    first = _onnx_run(buffer.getvalue())
    return lambda inputs: {**first(inputs), **whole(inputs)}


def _onnx_run(model: str | bytes) -> checking.Run:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with _plain_errors():
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    wanted = {each.name for each in session.get_inputs()}

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        fed = {name: array for name, array in inputs.items() if name in wanted}
        with _plain_errors():
            return dict(zip(names, session.run(names, fed)))

    return run


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Say in one line what ONNX Runtime raises: errors of its own, which share no other class."""
    try:
        yield
    except Exception as error:
        raise RuntimeError(f"ONNX Runtime: {one_line(error)}; no file is left") from None


def write_safetensors(job: Job, path: Path) -> Written:
    """Write the parameters, and read them back."""
    _needs("safetensors")
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import save_file

    tensors: dict[str, Array] = {
        f"{name}.{i}": np.ascontiguousarray(blob.array()).reshape(tuple(blob.shape))
        for name, blobs in job.net.params.items()
        for i, blob in enumerate(blobs)
    }
    clash = sorted(set(tensors) & set(job.arrays))
    if clash:
        raise ValueError(f"{job.name}: a parameter and an array are both named {clash[0]!r}")
    tensors.update(job.arrays)
    try:
        save_file(tensors, str(path), metadata={about.KEY: job.about(job.candidates[0])})
    except SafetensorError as error:
        raise OSError(f"{job.name}: not written ({one_line(error)})") from None
    worst = {}
    with safe_open(str(path), framework="np") as held:
        for name in tensors:
            got = held.get_tensor(name)
            equal = got.dtype == tensors[name].dtype and got.shape == tensors[name].shape
            same = equal and np.array_equal(got, tensors[name], equal_nan=True)
            worst[name] = 0.0 if same else float("inf")
    if worst:
        checking.refuse_wrong(worst, f"{job.name} read back")
    return {}, worst


def write_pt2(job: Job, path: Path) -> Written:
    """Write a traced module, and run what is loaded from the file."""
    refuse(job.net)
    engine.torch_device("export to .pt2")
    import torch.export

    from lbpmap.caffe.export.torch_module import CaffeModule

    if not hasattr(torch.export, "Dim"):
        raise ImportError(f"export to .pt2 needs PyTorch 2.2 or newer, this is {torch.__version__}")
    module = CaffeModule(job.net).eval()
    for name, array in job.arrays.items():
        module.register_buffer(name, torch.from_numpy(np.array(array)))
    lengths, program = _freest_program(job, module)
    extra = {about.EXTRA_FILE: job.about(lengths)}
    # Into memory first: on a full disk PyTorch's own writer ends the process.
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files=extra)
    del program, module
    path.write_bytes(buffer.getbuffer())
    del buffer
    again = torch.export.load(str(path)).module()

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        with torch.no_grad():
            made = again(*(torch.from_numpy(inputs[name].copy()) for name in job.net.inputs))
        return {name: value.numpy() for name, value in made.items()}

    worst = checking.differences(run, job.trials(lengths))
    checking.refuse_wrong(worst, f"{job.name} in PyTorch")
    return job.inputs(lengths), worst


def _freest_program(
    job: Job, module: torch.nn.Module
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
        f"{job.name}: torch.export cannot trace it ({one_line(failure)}); export .onnx"
    )


#: Suffix -> what writes such a file, and checks it.
FORMATS: dict[str, Callable[[Job, Path], Written]] = {
    ".onnx": write_onnx,
    ".safetensors": write_safetensors,
    ".pt2": write_pt2,
}
