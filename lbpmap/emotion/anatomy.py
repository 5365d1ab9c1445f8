"""What is where in a net, found in its graph, whatever its layers are called.

Only pycaffe's own names are read (`layers`, `top_names`, `bottom_names`): nets of any engine do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lbpmap import caffe


@dataclass(frozen=True)
class Anatomy:
    """Names of a net's layers and blobs; None where it has no such thing.

    Attributes
    ----------
    filters : str or None
        The first Convolution, a layer.
    responses : str or None
        The blob that it writes, which holds what layers in place, such as a ReLU, leave there.
    maps : str or None
        The last blob that convolutions make and that still has a height and a width, before
        pooling: of the last Convolution in front of the first InnerProduct, or of the Concat or
        Eltwise that gathers several.
    pooled : str or None
        What the first InnerProduct reads, where that has a height and a width; else `maps`; but
        None where it is `responses` already.
    units : str or None
        What the first InnerProduct writes, where that is not `scores` already.
    scores : str
        What the Softmax at the end reads, or the output where there is none.
    """

    filters: str | None
    responses: str | None
    maps: str | None
    pooled: str | None
    units: str | None
    scores: str


def anatomy(net: caffe.Net) -> Anatomy:
    """Find the parts of a net that are worth a picture.

    Parameters
    ----------
    net : caffe.Net
        With one output.

    Returns
    -------
    Anatomy

    Examples
    --------
    >>> from lbpmap.emotion.registry import find_nets
    >>> net = caffe.Net(str(find_nets()["VGG_S_rgb"].deploy), caffe.TEST)
    >>> anatomy(net)  # doctest: +NORMALIZE_WHITESPACE
    Anatomy(filters='conv1', responses='conv1', maps='conv5', pooled='pool5', units='fc6',
            scores='fc8')
    """
    types = [layer.type for layer in net.layers]
    names = list(net._layer_names)
    first = types.index("Convolution") if "Convolution" in types else None
    scores = _scores(net)
    dense = types.index("InnerProduct") if "InnerProduct" in types else None
    before = bottoms(net, dense)[0] if dense is not None else scores
    maps = _maps(net, before) if first is not None else None
    responses = None if first is None else tops(net, first)[0]
    pooled = before if maps and _is_wide(net, before) else maps
    top = tops(net, dense)[0] if dense is not None else scores
    return Anatomy(
        filters=None if first is None else names[first],
        responses=responses,
        maps=maps,
        pooled=None if pooled == responses else pooled,
        units=None if top == scores else top,
        scores=scores,
    )


def tops(net: caffe.Net, layer: int) -> list[str]:
    """Give the blobs that a layer writes."""
    return list(net.top_names[net._layer_names[layer]])


def bottoms(net: caffe.Net, layer: int) -> list[str]:
    """Give the blobs that a layer reads."""
    return list(net.bottom_names[net._layer_names[layer]])


def last_writer(net: caffe.Net, blob: str) -> int:
    """Give the number of the layer that writes a blob last: in place, where one does."""
    return max(i for i in range(len(net.layers)) if blob in tops(net, i))


def _scores(net: caffe.Net) -> str:
    blob = str(net.outputs[0])
    for i, layer in reversed(list(enumerate(net.layers))):
        # Caffe inserts a Split where several layers read a blob.
        if blob in tops(net, i) and layer.type in ("Softmax", "Split"):
            blob = bottoms(net, i)[0]
    return blob


def _maps(net: caffe.Net, blob: str) -> str | None:
    """Go back from a blob to the one that convolutions made last."""
    for place, writer in _back(net, blob):
        made = net.layers[writer].type == "Convolution" or len(bottoms(net, writer)) > 1
        if made and _is_wide(net, place):
            return place
    return None


def _back(net: caffe.Net, blob: str) -> Iterator[tuple[str, int]]:
    """Give blobs and the layers that made them, back to a layer that reads not exactly one."""
    read: list[str] = [blob]
    while len(read) == 1:
        blob = read[0]
        # What writes a blob later works in place.
        writer = min(i for i in range(len(net.layers)) if blob in tops(net, i))
        yield blob, writer
        read = bottoms(net, writer)


def _is_wide(net: caffe.Net, blob: str) -> bool:
    shape = tuple(net.blobs[blob].shape)
    return len(shape) == 4 and shape[2] * shape[3] > 1
