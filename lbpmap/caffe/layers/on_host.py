"""Layer type -> passes on the host, whichever engine runs the rest of the net.

They are those of layers that read files, call the user's code, or find the shape of their tops only
when they run. They work on blobs instead of arrays, and may reshape their tops.
"""

from __future__ import annotations

from collections.abc import Callable

from lbpmap.caffe import python_layer
from lbpmap.caffe.blob import Blob
from lbpmap.caffe.layers import host_data, host_filter
from lbpmap.caffe.layers.plan import Layer

HostForward = Callable[[Layer, list[Blob], list[Blob]], None]
# (layer, tops, which bottoms want a gradient, bottoms)
HostBackward = Callable[[Layer, list[Blob], list[bool], list[Blob]], None]

# What is done once when a net is made, before its parameters are read from a file or shared.
SET_UP: dict[str, HostForward] = {
    "DummyData": host_data.dummy_data,
    "Python": python_layer.adopt,
}
FORWARD: dict[str, HostForward] = {
    "Data": host_data.next_batch,
    "DummyData": host_data.dummy_data,
    "Filter": host_filter.forward,
    "HDF5Data": host_data.next_batch,
    "HDF5Output": host_data.hdf5_output,
    "ImageData": host_data.next_batch,
    "MemoryData": host_data.next_batch,
    "Python": python_layer.forward,
}
BACKWARD: dict[str, HostBackward] = {
    "Filter": host_filter.backward,
    "Python": python_layer.backward,
}
