"""What runs a net: NumPy or PyTorch, on the CPU or on a GPU; pycaffe's modes, and a choice."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

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


def set_engine(name: str) -> None:
    """Choose what runs the nets from now on, but those that were made with an engine of their own.

    Parameters
    ----------
    name : {"auto", "numpy", "torch", "real"}
        "auto" runs forward passes on NumPy, and on PyTorch in a solver or after `set_mode_gpu`.
        "real" is the installed Caffe, for nets that are made from now on.

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


def real_caffe() -> Any:
    """Import the real Caffe.

    Raises
    ------
    RuntimeError
        When it is not installed. PyPI's `caffe` is an empty package: it does not count.
    """
    try:
        caffe: Any = importlib.import_module("caffe")
    except ImportError:
        caffe = None
    # `install` registers this very package under that name.
    ours = getattr(caffe, "__name__", "").startswith("lbpmap.")
    if caffe is None or ours or not hasattr(caffe, "Net"):
        raise RuntimeError(
            'engine "real": no Caffe with a Net can be imported here; use "auto", which needs none'
        )
    return caffe


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
    if name == "numpy" or (name != "torch" and not learning and not _settings.gpu):
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


def set_mode_gpu() -> None:
    """Run on a GPU from now on, through PyTorch; see `set_device`.

    Convolutions and products are done in full float32: see `set_tf32`.

    Raises
    ------
    RuntimeError
        When PyTorch or a GPU is not there.
    """
    if not has_torch():
        raise RuntimeError(f"caffe.set_mode_gpu: {NEEDS_TORCH}")
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError(
            "caffe.set_mode_gpu: PyTorch finds no GPU here (torch.cuda.is_available() is False); "
            "use set_mode_cpu"
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
