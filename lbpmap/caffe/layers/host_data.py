"""Passes of the layers that bring data into a net, and of the one that writes them to a file."""

from __future__ import annotations

from lbpmap.caffe.blob import Blob
from lbpmap.caffe.data import hdf5_source
from lbpmap.caffe.layers import fillers
from lbpmap.caffe.layers.data_rules import dummy_fillers
from lbpmap.caffe.layers.plan import Layer


def next_batch(layer: Layer, bottoms: list[Blob], tops: list[Blob]) -> None:
    """Fill the tops with the next batch of the layer's source."""
    layer.state.fill(tops, layer.rng)


def dummy_data(layer: Layer, bottoms: list[Blob], tops: list[Blob]) -> None:
    """Fill the tops: constants once, so that what the user writes there stays, others each time."""
    for filler, top in zip(dummy_fillers(layer.param), tops):
        if filler.type != "constant" or not layer.kept.get("filled"):
            top.array()[...] = fillers.fill(top.shape, filler, layer.rng)
    layer.kept["filled"] = True


def hdf5_output(layer: Layer, bottoms: list[Blob], tops: list[Blob]) -> None:
    """Write the bottoms to a file; once only, as Caffe, which aborts in a second pass."""
    path = layer.param.hdf5_output_param.file_name
    if layer.kept.get("written"):
        raise ValueError(
            f"{path}: holds the first pass already, and an HDF5Output layer writes one; make "
            f"batch_size the number of items, or keep net.blobs' data of each pass yourself"
        )
    hdf5_source.write(path, *bottoms)
    layer.kept["written"] = True
