"""Where nets run and learn: on the CPU or a GPU, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lbpmap.caffe import engine


def gpu_number(device: str) -> int | None:
    """Read the name of a device.

    Parameters
    ----------
    device : str
        "cpu", "gpu" or "gpu:N".

    Returns
    -------
    int or None
        The GPU, counted from 0; None for the CPU.

    Raises
    ------
    ValueError
        When it is none of these, or the engine in use does not run there.

    Examples
    --------
    >>> gpu_number("cpu"), gpu_number("gpu"), gpu_number("gpu:1")
    (None, 0, 1)
    """
    kind, colon, number = device.partition(":")
    if kind not in ("cpu", "gpu") or (colon and not (kind == "gpu" and number.isdecimal())):
        raise ValueError(f"device must be cpu, gpu or gpu:N, got {device!r}")
    if kind == "gpu" and engine.resolve(None) == "numpy":
        raise ValueError("the engine numpy runs on the CPU; leave it out for device gpu")
    return int(number or 0) if kind == "gpu" else None


@contextmanager
def learning(device: str, mixed_precision: bool) -> Iterator[None]:
    """Let nets learn on a device, and afterwards compute where they did before.

    Parameters
    ----------
    device : str
        "cpu", "gpu" or "gpu:N".
    mixed_precision : bool
        Whether the GPU multiplies in bfloat16.

    Raises
    ------
    RuntimeError
        When PyTorch, or the GPU, is not there.
    ValueError
        When there is no such device, or the precision is not for it.
    """
    number = gpu_number(device)
    if mixed_precision and number is None:
        raise ValueError("mixed precision is for a GPU; give device gpu too")
    with engine.on_device(number), engine.mixed_precision(mixed_precision):
        if engine.resolve(None) != "real":
            engine.torch_device("training")
        yield
