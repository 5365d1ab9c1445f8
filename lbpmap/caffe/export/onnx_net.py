"""A net as an ONNX graph: a table layer type -> function, and the graph around it.

Blobs keep their names. A layer that works in place makes a new tensor: the last of them has the
blob's name, one before it is called after the layer that overwrites it, `conv1_before_relu1`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbpmap._arrays import Array
from lbpmap._errors import one_line
from lbpmap.caffe.assembly import described
from lbpmap.caffe.export import onnx_arranging as arranging
from lbpmap.caffe.export import onnx_elementwise as elementwise
from lbpmap.caffe.export import onnx_windows as windows
from lbpmap.caffe.export.about import KEY, called
from lbpmap.caffe.export.onnx_file import OnnxFile
from lbpmap.caffe.export.onnx_writer import NoForm, Place, Value, Writer
from lbpmap.caffe.export.sizes import Lengths
from lbpmap.caffe.layers import shapes
from lbpmap.caffe.layers.plan import Layer
from lbpmap.caffe.net import Net

# ONNX Runtime 1.12 of 2022 takes it, and every one since.
OPSET = 17
_IR_VERSION = 8
_FLOAT = 1  # TensorProto.FLOAT
# Protobuf's limit, less what names and nodes take.
_MOST_BYTES = 2**31 - 2**24

Form = Callable[[Place], None]

FORMS: dict[str, Form] = {
    "AbsVal": elementwise.absval,
    "ArgMax": arranging.argmax,
    "BNLL": elementwise.bnll,
    "BatchNorm": elementwise.batch_norm,
    "BatchReindex": arranging.batch_reindex,
    "Bias": elementwise.bias,
    "Clip": elementwise.clip,
    "Concat": arranging.concat,
    "Convolution": windows.convolution,
    "Crop": arranging.crop,
    "Deconvolution": windows.deconvolution,
    "Dropout": elementwise.identity,
    "ELU": elementwise.elu,
    "Eltwise": elementwise.eltwise,
    "Embed": arranging.embed,
    "Exp": elementwise.exp,
    "Flatten": arranging.reshape,
    "Im2col": windows.im2col,
    "InnerProduct": windows.inner_product,
    "LRN": windows.lrn,
    "Log": elementwise.log,
    "MVN": elementwise.mvn,
    "PReLU": elementwise.prelu,
    "Parameter": arranging.parameter,
    "Pooling": windows.pooling,
    "Power": elementwise.power,
    "ReLU": elementwise.relu,
    "Reduction": arranging.reduction,
    "Reshape": arranging.reshape,
    "SPP": windows.spp,
    "Scale": elementwise.scale,
    "Sigmoid": elementwise.sigmoid,
    "Slice": arranging.slice_,
    "Softmax": elementwise.softmax,
    "Swish": elementwise.swish,
    "TanH": elementwise.tanh,
    "Threshold": elementwise.threshold,
    "Tile": arranging.tile,
}

# Types that need no nodes: inputs of the graph, other names of a tensor, nothing at all.
_UNSEEN = ("Input", "Split", "Silence")


@dataclass(frozen=True)
class Front:
    """What makes a net's input, within the file.

    Attributes
    ----------
    inputs : dict of (type, lengths)
        The file's inputs in the place of the net's: an ONNX element type, and lengths or names.
    write : callable
        Called with a `Writer` and the name of the net's only input; appends nodes that make a
        tensor of that name. They may read what is held beside the parameters, by its name.
    """

    inputs: Mapping[str, tuple[int, Lengths]]
    write: Callable[[Writer, str], None]


def no_form(layer: Layer) -> str | None:
    """Say why a layer cannot be exported as a graph, or None."""
    kind = shapes.LAYER_TYPES.get(layer.type)
    if layer.type in FORMS or layer.type in _UNSEEN:
        return None
    if kind is not None and (kind.loss or layer.type == "Accuracy"):
        return "is for training and testing; export the deploy prototxt, which ends before it"
    if not layer.param.bottom:
        return "reads data of its own; export the deploy prototxt, which has an Input in its place"
    if layer.type in ("LSTM", "RNN"):
        return "keeps its state from pass to pass, which the file could not; export .safetensors"
    return "does something that only Caffe can; export .safetensors, which holds any net's weights"


def refuse(net: Net) -> None:
    """Refuse a net with a layer that no graph can stand for.

    Raises
    ------
    ValueError
        One line: the layer, its type, and what to do. Also when the net has no outputs.
    """
    for layer in net.layers:
        reason = no_form(layer)
        if reason:
            raise ValueError(f"{one_line(described(layer.param))}: {reason}")
    if set(net.outputs) <= set(net.inputs):
        raise ValueError(f"{called(net)}: has no outputs; nothing is left to export")


def model(
    net: Net,
    lengths: Mapping[str, Lengths],
    about: str,
    arrays: Mapping[str, Array],
    front: Front | None = None,
) -> OnnxFile:
    """Write a net as an ONNX model.

    Parameters
    ----------
    net : Net
        In the TEST phase.
    lengths : dict of tuple
        Of every blob, from `sizes.candidates`.
    about : str
        JSON for the metadata.
    arrays : dict of array
        To be held beside the parameters, by name.
    front : Front, optional

    Returns
    -------
    OnnxFile

    Raises
    ------
    NeedsFixed
        When a layer cannot be written with these free axes.
    ValueError
        When a layer has no form, or the file would be larger than ONNX allows.
    """
    refuse(net)
    _check_size(net)
    graph = _Graph(net, lengths, arrays, front)
    for layer in net.layers:
        try:
            graph.append(layer)
        except NoForm as reason:
            raise ValueError(f"{one_line(described(layer.param))}: {reason}") from None
    graph.finish()
    writer = graph.writer
    read = {name for node in writer.nodes for name in node.input}
    for name in arrays:
        if name not in read:
            # Without a reader ONNX Runtime would warn of it whenever the file is opened.
            writer.add("Identity", [name], [writer.fresh(f"{name}/kept")], f"{name}/kept")
    inputs = {name: (_FLOAT, lengths[name]) for name in net.inputs}
    taken = inputs if front is None else front.inputs
    return _file(net, about, writer, taken, graph.outputs, graph.between)


def front_alone(
    net: Net, lengths: Mapping[str, Lengths], about: str, arrays: Mapping[str, Array], front: Front
) -> OnnxFile:
    """Write only what makes a net's input, which is the output; as `model`."""
    graph = _Graph(net, lengths, arrays, front)
    made = Value(net.inputs[0], lengths[net.inputs[0]], tuple(net.blobs[net.inputs[0]].shape))
    return _file(net, about, graph.writer, front.inputs, [made], [])


def _file(
    net: Net,
    about: str,
    writer: Writer,
    inputs: Mapping[str, tuple[int, Lengths]],
    outputs: Sequence[Value],
    between: Sequence[Value],
) -> OnnxFile:
    from onnx import ModelProto, helper

    graph = helper.make_graph(
        writer.nodes,
        net.name or "net",
        [helper.make_tensor_value_info(name, *each) for name, each in inputs.items()],
        [_info(value) for value in outputs],
        value_info=[_info(value) for value in between],
        doc_string=about,
    )
    whole = ModelProto(
        ir_version=_IR_VERSION,
        opset_import=[helper.make_opsetid("", OPSET)],
        producer_name="lbpmap",
        doc_string=f"The Caffe net {net.name!r}. Field {KEY!r} of the metadata is about it.",
    )
    helper.set_model_props(whole, {KEY: about})
    return OnnxFile(whole, graph, writer.initializers)


def _check_size(net: Net) -> None:
    total = sum(4 * blob.count for layer in net.layers for blob in layer.blobs)
    if total > _MOST_BYTES:
        raise ValueError(
            f"{called(net)}: {total} bytes of weights, and an ONNX file holds 2 GiB; export "
            f".safetensors or .pt2"
        )


def _info(value: Value) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(value.name, _FLOAT, value.lengths)


class _Graph:
    """The graph of a net while its layers are appended."""

    def __init__(
        self,
        net: Net,
        lengths: Mapping[str, Lengths],
        arrays: Mapping[str, Array],
        front: Front | None,
    ) -> None:
        self._net, self._lengths = net, lengths
        outer = list(front.inputs) if front else []
        clash = sorted(set(net.blobs) & {*outer, *arrays})
        if clash:
            raise ValueError(
                f"{called(net)}: has a blob {clash[0]!r}, a name that the file needs for something "
                f"else; give the blob another"
            )
        self.writer = Writer([*net.blobs, *outer])
        for name, array in arrays.items():
            self.writer.initializer(array, name)
        self._made: dict[str, Value] = {}
        self._count: dict[str, int] = {}
        self._overwriters = _overwriters(net.layers)
        self.between: list[Value] = []
        self.outputs: list[Value] = []
        for name in net.inputs:
            self._made[name] = self._value(name, name)
        if front is not None:
            if len(net.inputs) != 1:
                raise ValueError(f"{called(net)}: has {len(net.inputs)} inputs, expected one")
            front.write(self.writer, net.inputs[0])

    def append(self, layer: Layer) -> None:
        """Write a layer's nodes."""
        bottoms = [self._made[name] for name in layer.param.bottom]
        if layer.type == "Split":
            self._made.update(dict.fromkeys(layer.param.top, bottoms[0]))
        elif layer.type not in _UNSEEN:
            tops = [self._value(self._tensor(name), name) for name in layer.param.top]
            FORMS[layer.type](Place(self.writer, layer, bottoms, tops))
            self._made.update(zip(layer.param.top, tops))
            self.between += tops

    def finish(self) -> None:
        """Settle the outputs, each under its blob's name."""
        for name in self._net.outputs:
            if name in self._net.inputs:
                continue
            value = self._made[name]
            if value not in self.between or value in self.outputs:
                other = self._value(name, name)
                self.writer.add("Identity", [value.name], [name], f"{name}/output")
                value = other
            self.outputs.append(value)
        self.between = [value for value in self.between if value not in self.outputs]

    def _value(self, tensor: str, blob: str) -> Value:
        return Value(tensor, self._lengths[blob], tuple(self._net.blobs[blob].shape))

    def _tensor(self, blob: str) -> str:
        """Name what a layer makes of a blob: as the blob itself, unless it is overwritten."""
        later = self._overwriters[blob]
        count = self._count[blob] = self._count.get(blob, 0) + 1
        if blob in self._net.inputs:
            return self.writer.fresh(f"{blob}_after_{later[count]}")
        if count < len(later):
            return self.writer.fresh(f"{blob}_before_{later[count]}")
        return blob


def _overwriters(layers: Sequence[Layer]) -> dict[str, list[str]]:
    """List who writes to each blob, in order."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        for name in layer.param.top:
            found.setdefault(name, []).append(layer.name)
    return found
