"""Pictures of nets: pycaffe's `draw`, through pydot and Graphviz.

Layers are boxes, blobs octagons. pydot makes the graph; Graphviz, a program of its own, lays it
out and writes the picture.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lbpmap._files import atomic_write
from lbpmap.caffe.formats.messages import MESSAGES, Message, NetParameter
from lbpmap.caffe.formats.upgrade import upgrade

BLOB_STYLE = {"shape": "octagon", "fillcolor": "#E0E0E0", "style": "filled"}
# pycaffe's shape is "record", which looks the same but takes { } < > | in names as its own signs.
LAYER_STYLE_DEFAULT = {"shape": "box", "fillcolor": "#6495ED", "style": "filled"}
NEURON_LAYER_STYLE = {"shape": "box", "fillcolor": "#90EE90", "style": "filled"}

_COLOURS = {
    "Convolution": "#FF5050",
    "Deconvolution": "#FF5050",
    "Pooling": "#FF9900",
    "InnerProduct": "#CC33FF",
}
_LEARNING = ("Convolution", "Deconvolution", "InnerProduct")
_POOLING_NAMES = {number: name for name, number in MESSAGES["PoolingParameter"].PoolMethod.items()}


def choose_color_by_layertype(layertype: str) -> str:
    """Return the colour of a layer's box.

    Examples
    --------
    >>> choose_color_by_layertype("Pooling"), choose_color_by_layertype("Softmax")
    ('#FF9900', '#6495ED')
    """
    return _COLOURS.get(layertype, LAYER_STYLE_DEFAULT["fillcolor"])


def get_pooling_types_dict() -> dict[int, str]:
    """Return the names of the ways to pool, by number."""
    return dict(_POOLING_NAMES)


def get_layer_lr_mult(layer: Message) -> tuple[float, float]:
    """Return by how much a layer's weights, and its biases, learn faster than the net.

    Parameters
    ----------
    layer : LayerParameter

    Raises
    ------
    ValueError
        When the layer is of a type without such parameters.
    """
    if layer.type not in _LEARNING:
        raise ValueError(f'layer "{layer.name}" ({layer.type}) has no learning-rate multiplier')
    weights, biases = [*(float(param.lr_mult) for param in layer.param), 1.0, 1.0][:2]
    return weights, biases


def get_edge_label(layer: Message) -> str:
    """Return what stands at the arrow out of a layer: the batch, or the number of outputs."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    if layer.type == "InnerProduct":
        return str(layer.inner_product_param.num_output)
    return ""


def get_layer_label(layer: Message, rankdir: str, display_lrm: bool = False) -> str:
    """Return what stands in a layer's box.

    Parameters
    ----------
    layer : LayerParameter
    rankdir : {"LR", "RL", "TB", "BT"}
        Boxes of a net that runs down the page, or up, hold one line.
    display_lrm : bool, default False
        Tell learning-rate multipliers.
    """
    kind = str(layer.type)
    lines: list[str] = []
    if kind in ("Convolution", "Deconvolution"):
        lines = _window_lines(layer.convolution_param)
    elif kind == "Pooling":
        kind += f" {_POOLING_NAMES[layer.pooling_param.pool]}"
        lines = _window_lines(layer.pooling_param)
    if display_lrm and layer.type in _LEARNING:
        lines.append("lr mult: {:.1f}, {:.1f}".format(*get_layer_lr_mult(layer)))
    separator = " " if rankdir in ("TB", "BT") else "\n"
    return separator.join([str(layer.name), f"({kind})", *lines])


def get_pydot_graph(
    caffe_net: Message,
    rankdir: str,
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> Any:
    """Return the graph of a net.

    Parameters
    ----------
    caffe_net : NetParameter
        Of any age.
    rankdir : {"LR", "RL", "TB", "BT"}
        Which way it runs: from left to right, and so on.
    label_edges : bool, default True
    phase : {None, TRAIN, TEST}
        Leave out the layers of the other phase.
    display_lrm : bool, default False
        Tell learning-rate multipliers.

    Returns
    -------
    pydot.Dot

    Raises
    ------
    RuntimeError
        When pydot is missing.
    ValueError
        When the net is malformed.
    """
    pydot = _pydot()
    net = NetParameter.FromString(caffe_net.SerializeToString())
    upgrade(net)
    graph = pydot.Dot(_quoted(net.name or "Net"), graph_type="digraph", rankdir=rankdir)
    blobs: dict[str, Any] = {}
    edges: list[Any] = []
    for layer in net.layer:
        if phase is not None and not _runs_in(layer, phase):
            continue
        in_place = list(layer.bottom) == list(layer.top) and len(layer.top) == 1
        style = dict(NEURON_LAYER_STYLE if in_place else LAYER_STYLE_DEFAULT)
        if not in_place:
            style["fillcolor"] = choose_color_by_layertype(layer.type)
        box = pydot.Node(_quoted(get_layer_label(layer, rankdir, display_lrm)), **style)
        graph.add_node(box)
        label = _quoted(get_edge_label(layer) if label_edges else "")
        for name in [*layer.bottom, *layer.top]:
            blobs.setdefault(name, pydot.Node(_quoted(name), **BLOB_STYLE))
        edges += [pydot.Edge(blobs[name], box, label='""') for name in layer.bottom]
        edges += [pydot.Edge(box, blobs[name], label=label) for name in layer.top]
    for node in blobs.values():
        graph.add_node(node)
    for edge in edges:
        graph.add_edge(edge)
    return graph


def draw_net(
    caffe_net: Message,
    rankdir: str,
    ext: str = "png",
    phase: int | None = None,
    display_lrm: bool = False,
) -> bytes:
    """Return the picture of a net as the bytes of a file of the format `ext`.

    Raises
    ------
    RuntimeError
        When pydot or Graphviz is missing.
    """
    graph = get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm)
    try:
        return bytes(graph.create(format=ext))
    except FileNotFoundError:
        raise RuntimeError(
            "caffe.draw: Graphviz's program dot is not on the PATH; install Graphviz from "
            "graphviz.org or with your system's package manager"
        ) from None


def draw_net_to_file(
    caffe_net: Message,
    filename: str | os.PathLike[str],
    rankdir: str = "LR",
    phase: int | None = None,
    display_lrm: bool = False,
) -> None:
    """Write the picture of a net to a file, whose name's ending tells the format.

    Raises
    ------
    OSError
        When the file cannot be written.
    RuntimeError
        When pydot or Graphviz is missing.
    """
    ext = Path(filename).suffix[1:] or "png"
    picture = draw_net(caffe_net, rankdir, ext, phase, display_lrm)
    with atomic_write(filename) as file:
        file.write(picture)


def _window_lines(p: Message) -> list[str]:
    return [
        f"{text}: {_number(p, name, default)}"
        for text, name, default in (
            ("kernel size", "kernel", "1"),
            ("stride", "stride", "1"),
            ("pad", "pad", "0"),
        )
    ]


def _number(p: Message, name: str, default: str) -> str:
    """Tell a setting of windows: a number, or one for each axis."""
    high, wide = f"{name}_h", f"{name}_w"
    if p.HasField(high) or p.HasField(wide):
        return f"{getattr(p, high)} x {getattr(p, wide)}"
    value = getattr(p, "kernel_size" if name == "kernel" else name)
    if hasattr(value, "extend"):
        return " x ".join(map(str, value)) or default
    return str(value or default)


def _runs_in(layer: Message, phase: int) -> bool:
    """Whether the rules of a layer let it run in a phase, whatever the stages."""
    include = [rule for rule in layer.include if not rule.HasField("phase") or rule.phase == phase]
    exclude = [rule for rule in layer.exclude if rule.HasField("phase") and rule.phase == phase]
    return not exclude and (bool(include) or not len(layer.include))


def _quoted(text: str) -> str:
    """Return a text as DOT writes it; names may hold anything."""
    inside = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{inside}"'


def _pydot() -> Any:
    try:
        import pydot
    except ImportError:
        raise RuntimeError('caffe.draw needs pydot: pip install "lbpmap[draw]"') from None
    return pydot
