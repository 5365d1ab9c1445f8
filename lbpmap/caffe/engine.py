"""What runs a net: NumPy or PyTorch, on the CPU or on a GPU; pycaffe's modes, and a choice."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from lbpmap.caffe.real.link import Link

ENGINES = ("auto", "numpy", "torch", "real")
NEEDS_TORCH = (
    'needs PyTorch: pip install "lbpmap[torch]" (Python 3.10 or newer), or its CPU build as '
    "pytorch.org tells"
)


@dataclass
class _Settings:
    engine: str = "auto"
    gpu: bool = False
    device: int = 0
    tf32: bool = False
    mixed: bool = False


_settings = _Settings()
_made_real: dict[Any, Any] = {}


def set_engine(name: str) -> None:
    """Choose what runs the nets from now on, but those that were made with an engine of their own.

    Parameters
    ----------
    name : {"auto", "numpy", "torch", "real"}
        "auto" runs forward passes on NumPy, and on PyTorch in a solver or after `set_mode_gpu`.
        "real" is the real Caffe, in a process of its own, for nets and solvers that are made from
        now on: of the Python whose command the environment variable LBPMAP_CAFFE_PYTHON holds, or
        of this one.

    Raises
    ------
    ValueError, RuntimeError
        When there is no such engine, or it is not installed.

    Examples
    --------
    >>> set_engine("numpy")
    >>> set_engine("auto")
    """
    _settings.engine = checked(name, "set_engine")


@contextmanager
def using(name: str, caller: str = "using") -> Iterator[None]:
    """Let nets run on an engine, as `set_engine` does, and afterwards as before.

    Parameters
    ----------
    name : {"auto", "numpy", "torch", "real"}
    caller : str
        What errors begin with.
    """
    before = _settings.engine
    _settings.engine = checked(name, caller)
    try:
        yield
    finally:
        _settings.engine = before


def described() -> dict[str, str]:
    """Say which engines are here, and why others are not.

    Returns
    -------
    dict of str
        By name of the engine: its version, or "not here" and why.
    """
    real: str
    try:
        real = real_caffe().described
    except RuntimeError as error:
        real = f"not here: {str(error).split(': ', 1)[1]}"
    torch = f"PyTorch {metadata.version('torch')}" if has_torch() else f"not here: {NEEDS_TORCH}"
    return {"numpy": f"NumPy {np.__version__}", "torch": torch, "real": real}


def checked(name: str, caller: str) -> str:
    """Return `name`, an engine that is there."""
    if name not in ENGINES:
        raise ValueError(f"{caller}: engine must be one of {', '.join(ENGINES)}, got {name!r}")
    if name == "torch" and not has_torch():
        raise RuntimeError(f'{caller}: engine "torch" {NEEDS_TORCH}')
    if name == "real":
        real_caffe()
    return name


def has_torch() -> bool:
    """Whether PyTorch is installed; it is not imported."""
    return importlib.util.find_spec("torch") is not None


def real_caffe() -> Link:
    """Return the process that runs the real Caffe; it is started where there is none.

    Raises
    ------
    RuntimeError
        When there is no Caffe. PyPI's `caffe` is an empty package: it does not count.
    """
    if os.name != "posix":
        raise RuntimeError('engine "real": needs Linux or macOS; use "auto", which needs neither')
    from lbpmap.caffe.real import link

    return link.current()


def is_real() -> bool:
    """Whether the real Caffe makes the nets now."""
    return _settings.engine == "real"


def call_real(name: str, *args: Any) -> Any:
    """Call a function of the real Caffe's own module."""
    source = f"caffe.{name}"
    return real_caffe().call("method", source=source, thing=0, name=name, args=args, nets=[])


def made_real(ours: Any, real: Any) -> Any:
    """Return a class of ours, perhaps a user's own, with the real Caffe behind it."""
    if issubclass(ours, real) or issubclass(real, ours):
        return ours if issubclass(ours, real) else real
    if ours not in _made_real:
        about = {"__module__": ours.__module__, "__doc__": ours.__doc__}
        _made_real[ours] = type(ours.__name__, (ours, real), about)
    return _made_real[ours]


def resolve(own: str | None) -> str:
    """Return the engine of a net: its own, or the one that is set."""
    return own or _settings.engine


def device_for(own: str | None, *, learning: bool) -> torch.device | None:
    """Return where a net runs now: None stands for NumPy.

    Parameters
    ----------
    own : str or None
        The engine that the net was made with.
    learning : bool
        Whether a solver drives it.
    """
    name = resolve(own)
    if name in ("numpy", "real") or (name != "torch" and not learning and not _settings.gpu):
        return None
    return torch_device("lbpmap.caffe")


def torch_device(caller: str) -> torch.device:
    """Return the device that PyTorch computes on.

    Raises
    ------
    RuntimeError
        When PyTorch or the GPU is not there.
    """
    if not has_torch():
        raise RuntimeError(f"{caller}: this {NEEDS_TORCH}")
    import torch

    if not _settings.gpu:
        return torch.device("cpu")
    return torch.device("cuda", _settings.device)


def set_mode_cpu() -> None:
    """Run on the CPU from now on, as at the start."""
    _settings.gpu = False
    if is_real():
        call_real("set_mode_cpu")


def set_mode_gpu() -> None:
    """Run on a GPU from now on, through PyTorch; see `set_device`.

    Convolutions and products are done in full float32: see `set_tf32`. With the engine "real" it
    is Caffe that is asked.

    Raises
    ------
    RuntimeError
        When PyTorch or a GPU is not there.
    """
    if is_real():
        call_real("set_mode_gpu")
        return
    if not has_torch():
        raise RuntimeError(f"caffe.set_mode_gpu: {NEEDS_TORCH}")
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError(
            "caffe.set_mode_gpu: PyTorch finds no GPU here (torch.cuda.is_available() is False); "
            "stay on the CPU"
        )
    _settings.gpu = True


def set_device(index: int) -> None:
    """Choose the GPU, counted from 0, that `set_mode_gpu` uses.

    Raises
    ------
    TypeError, ValueError
        When `index` is no integer from 0.
    """
    if isinstance(index, bool) or not isinstance(index, int):
        raise TypeError(f"caffe.set_device: index must be an integer, got {type(index).__name__}")
    if index < 0:
        raise ValueError(f"caffe.set_device: index must be 0 or more, got {index}")
    _settings.device = index
    if is_real():
        call_real("set_device", index)


@contextmanager
def on_device(index: int | None) -> Iterator[None]:
    """Let nets run on a GPU, or on the CPU, and afterwards where they did before.

    Parameters
    ----------
    index : int or None
        The GPU, counted from 0; None for the CPU.

    Raises
    ------
    RuntimeError, TypeError, ValueError
        As `set_mode_gpu` and `set_device`.
    """
    before = (_settings.gpu, _settings.device)
    try:
        if index is None:
            set_mode_cpu()
        else:
            set_device(index)
            set_mode_gpu()
        yield
    finally:
        set_mode_cpu()
        _settings.gpu, _settings.device = before
        if _settings.gpu and is_real():
            call_real("set_device", _settings.device)
            call_real("set_mode_gpu")


@contextmanager
def mixed_precision(allowed: bool) -> Iterator[None]:
    """Do as after `set_mixed_precision`, and afterwards as before."""
    before = _settings.mixed
    set_mixed_precision(allowed)
    try:
        yield
    finally:
        set_mixed_precision(before)


def set_tf32(allowed: bool) -> None:
    """Allow GPUs to round float32 to TensorFloat-32 in products: faster, 1e-3 relative error.

    Parameters
    ----------
    allowed : bool
        False at the start: results then agree with Caffe's to 1e-5.
    """
    _settings.tf32 = bool(allowed)


def set_mixed_precision(allowed: bool) -> None:
    """Let PyTorch multiply in bfloat16 and keep everything else in float32; an addition to pycaffe.

    Convolutions and products then take half the memory for what they read, and on a GPU much less
    time, with a relative error of 4e-3. Blobs, parameters and their updates stay float32.

    Parameters
    ----------
    allowed : bool
        False at the start: results then agree with Caffe's to 1e-5.
    """
    _settings.mixed = bool(allowed)


def multiplying(device: torch.device) -> AbstractContextManager[Any]:
    """Give the context in which a layer's function runs on PyTorch."""
    if not _settings.mixed:
        return nullcontext()
    import torch

    # The cast of a parameter is not kept: its blob may be written to before the next layer.
    context: AbstractContextManager[Any] = torch.autocast(
        device.type, dtype=torch.bfloat16, cache_enabled=False
    )
    return context


@contextmanager
def precision() -> Iterator[None]:
    """Let PyTorch compute at the chosen precision, and leave its settings as they were."""
    import torch

    settings: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [each.allow_tf32 for each in settings]
    try:
        for each in settings:
            each.allow_tf32 = _settings.tf32
        yield
    finally:
        for each, allowed in zip(settings, before):
            each.allow_tf32 = allowed
