"""Caffe's pooling windows in terms of padding, as ONNX and PyTorch have them.

Caffe counts windows rounding up, and drops a last one that would start in the padding behind the
image. Both rules are met by padding the end a little less or more, and rounding down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lbpmap._arrays import F32
from lbpmap.caffe.blob import Shape
from lbpmap.caffe.export.sizes import Length
from lbpmap.caffe.layers.windows import Windows


@dataclass(frozen=True)
class Padded:
    """Windows over an image that is padded by `before` and `after`, as many as fit wholly.

    `after` may be less than what the net pads with, or more: windows then hang over.
    """

    kernel: Shape
    stride: Shape
    before: Shape
    after: Shape

    @property
    def fits_nodes(self) -> bool:
        """Whether padding is smaller than the kernel, as pooling nodes want it."""
        return all(max(a, b) < k for a, b, k in zip(self.before, self.after, self.kernel))

    def overhangs(self, pad: Shape) -> bool:
        """Whether windows reach behind what the net pads with."""
        return any(after > q for after, q in zip(self.after, pad))


def padded(fit: Windows, size: Shape, lengths: Sequence[Length], *, round_up: bool) -> Padded:
    """Say how to pad so that windows which are counted rounding down are Caffe's.

    Parameters
    ----------
    fit : Windows
        On `size`.
    size : (int, int)
        Height and width of the image.
    lengths : sequence of int or str
        The same; a name stands for a free axis, for which the padding is right at any length.
    round_up : bool
        Whether the layer counts windows rounding up.

    Notes
    -----
    With n pixels, kernel k, stride s and pad p Caffe has ceil((n + 2p - k) / s) + 1 windows, and
    with any padding at most ceil((n + p) / s). Rounding down, these are the windows on p + n + e
    pixels where e is the lesser of p + s - 1 and k - 1.

    Examples
    --------
    >>> fit = Windows((3, 3), (2, 2), (0, 0), (1, 1), (3, 3))
    >>> padded(fit, (6, 6), (6, 6), round_up=True).after
    (1, 1)
    """
    after = []
    pads = any(fit.pad)
    for n, length, k, s, q, out in zip(size, lengths, fit.kernel, fit.stride, fit.pad, fit.out):
        if not isinstance(length, str):
            after.append(max(0, (out - 1) * s + k - n - q))
        elif round_up:
            after.append(min(q + s - 1, k - 1) if pads else s - 1)
        else:
            after.append(q)
    return Padded(fit.kernel, fit.stride, fit.pad, tuple(after))


def average_factor(fit: Windows, size: Shape) -> F32:
    """Give what to multiply a mean over whole windows by: (out_h, out_w), 1 without overhang.

    AVE divides by the window clipped to image and padding, while what hangs over counts as zeros.
    """
    sides = []
    for n, k, s, q, out in zip(size, fit.kernel, fit.stride, fit.pad, fit.out):
        start = np.arange(out) * s - q
        sides.append(np.minimum(start + k, n + q) - start)
    with np.errstate(divide="ignore"):
        return (np.prod(fit.kernel, dtype=np.float64) / np.outer(*sides)).astype(np.float32)
