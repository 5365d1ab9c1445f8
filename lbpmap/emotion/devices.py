"""Where nets learn: on the CPU or a GPU, and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lbpmap import caffe
from lbpmap.caffe import engine


@contextmanager
def computing(device: str, mixed_precision: bool) -> Iterator[None]:
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
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "gpu") or (number and not number.isdigit()):
        raise ValueError(f"device must be cpu, gpu or gpu:N, got {device!r}")
    if mixed_precision and kind != "gpu":
        raise ValueError("mixed precision is for a GPU; give device gpu too")
    if kind == "gpu":
        caffe.set_device(int(number or 0))
        caffe.set_mode_gpu()
    if engine.resolve(None) != "real":
        engine.torch_device("training")
    caffe.set_mixed_precision(mixed_precision)
    try:
        yield
    finally:
        caffe.set_mode_cpu()
        caffe.set_mixed_precision(False)
