"""Layer type -> forward on PyTorch: for GPUs and, through autograd, for backward passes.

Each function takes the layer, the tensors of its bottoms and those of its parameters, and returns
new tensors for its tops; it writes to none of them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from lbpmap.caffe.layers.plan import Layer

TorchForward = Callable[[Layer, list[torch.Tensor], list[torch.Tensor]], list[torch.Tensor]]

FORWARD: dict[str, TorchForward] = {}
