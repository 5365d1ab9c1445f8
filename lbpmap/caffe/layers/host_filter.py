"""Filter: items for which a selector is not zero, so that tops grow and shrink from pass to pass.

When no item is chosen the tops have no items, and every gradient is zero (Caffe divides by zero
there and dies).
"""

from __future__ import annotations

import numpy as np

from lbpmap.caffe.blob import Blob
from lbpmap.caffe.layers.plan import Layer


def forward(layer: Layer, bottoms: list[Blob], tops: list[Blob]) -> None:
    """Reshape each top to the chosen items of its bottom, in their order, and copy them."""
    chosen = np.flatnonzero(bottoms[-1].array())
    layer.kept["chosen"] = chosen
    for bottom, top in zip(bottoms, tops):
        top.reshape(len(chosen), *bottom.shape[1:])
        top.array()[...] = bottom.array()[chosen]


def backward(layer: Layer, tops: list[Blob], propagate: list[bool], bottoms: list[Blob]) -> None:
    """Give each chosen item its gradient back, and all others zero; the selector gets none."""
    for bottom, top, wanted in zip(bottoms, tops, propagate):
        if wanted:
            bottom.diff[...] = 0
            bottom.diff[layer.kept["chosen"]] = top.diff
