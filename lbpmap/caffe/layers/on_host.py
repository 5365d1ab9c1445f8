"""Layer type -> passes on the host: layers that read files, call the user's code, or find the shape
of their tops only when they run.

These work on blobs instead of arrays, whichever engine runs the rest of the net, and may reshape
their tops.
"""

from __future__ import annotations

from collections.abc import Callable

from lbpmap.caffe.blob import Blob
from lbpmap.caffe.layers.plan import Layer

HostForward = Callable[[Layer, list[Blob], list[Blob]], None]
# (layer, tops, which bottoms want a gradient, bottoms)
HostBackward = Callable[[Layer, list[Blob], list[bool], list[Blob]], None]

FORWARD: dict[str, HostForward] = {}
BACKWARD: dict[str, HostBackward] = {}
