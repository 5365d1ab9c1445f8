"""From a net's description to the layers that run: one phase, checked, with Caffe's splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lbpmap._errors import one_line
from lbpmap._files import PathLike
from lbpmap.caffe.formats.messages import MESSAGES, LayerParameter, Message
from lbpmap.caffe.formats.prototxt import read_net

NetState: Message = MESSAGES["NetState"]


def layers_for(net: Message, state: Message) -> list[Message]:
    """Choose and order the layers of a net for one phase.

    Parameters
    ----------
    net : NetParameter
        In the newest form.
    state : NetState
        Phase, level and stages that `include` and `exclude` rules are held against.

    Returns
    -------
    list of LayerParameter
        Copies, in the order of the text; a blob that several bottoms read goes through a Split
        layer named as Caffe names it.

    Raises
    ------
    ValueError
        When a bottom is unknown, a top is made twice, or rules contradict one another.
    """
    chosen = []
    for layer in net.layer:
        if runs(layer, state):
            copy = LayerParameter()
            copy.CopyFrom(layer)
            chosen.append(copy)
    layers = _with_splits(chosen)
    for layer in layers:
        layer.phase = state.phase
    return layers


def python_layers(net: Message) -> list[str]:
    """Name the layers that run the user's own code, which a net from elsewhere should not."""
    return [str(layer.name) for layer in net.layer if layer.type == "Python"]


def refuse_python_layers(path: PathLike, why: str) -> None:
    """Refuse a prototxt that names modules to run, before one of them is: it may be anybody's.

    Parameters
    ----------
    path : str or path
    why : str
        What ends the line: why not, and what to do.

    Raises
    ------
    OSError
        When it cannot be read.
    ValueError
        When it holds Python layers, or is malformed.
    """
    named = python_layers(read_net(path))
    if named:
        raise ValueError(f'{path}: layer "{one_line(named[0])}" runs Python code of its own{why}')


def outputs(layers: Sequence[Message]) -> list[str]:
    """Names of the tops that no layer reads, in alphabetical order as in Caffe."""
    waiting: set[str] = set()
    for layer in layers:
        waiting.difference_update(layer.bottom)
        waiting.update(layer.top)
    return sorted(waiting)


def runs(layer: Message, state: Message) -> bool:
    """Whether the rules of a layer let it run in a phase, at a level, in stages."""
    if len(layer.include) and len(layer.exclude):
        raise ValueError(f'layer "{layer.name}": has include and exclude rules; use one kind')
    if len(layer.include):
        return any(_meets(state, rule) for rule in layer.include)
    return not any(_meets(state, rule) for rule in layer.exclude)


def _meets(state: Message, rule: Message) -> bool:
    return (
        not (rule.HasField("phase") and rule.phase != state.phase)
        and not (rule.HasField("min_level") and state.level < rule.min_level)
        and not (rule.HasField("max_level") and state.level > rule.max_level)
        and all(stage in state.stage for stage in rule.stage)
        and not any(stage in state.stage for stage in rule.not_stage)
    )


# A top: which layer made it, and which of its tops it is.
_Top = tuple[int, int]


def _with_splits(layers: list[Message]) -> list[Message]:
    reads = _readers(layers)
    made: dict[str, _Top] = {}
    used: dict[_Top, int] = {}
    result = []
    for i, layer in enumerate(layers):
        for j, blob in enumerate(layer.bottom):
            top = made[blob]
            if reads[top] > 1:
                layer.bottom[j] = _split_blob(layers[top[0]].name, blob, top[1], used.get(top, 0))
                used[top] = used.get(top, 0) + 1
        result.append(layer)
        for j, blob in enumerate(layer.top):
            made[blob] = (i, j)
            if reads.get((i, j), 0) > 1:
                weight = layer.loss_weight[j] if j < len(layer.loss_weight) else 0
                result.append(_split(layer.name, blob, j, reads[i, j], weight))
                if weight:
                    layer.loss_weight[j] = 0
                    if not any(layer.loss_weight):
                        # As in Caffe, where a loss so gets the weight 1 again: it counts in the
                        # net's loss once more, though not in the gradient, which its copies give.
                        layer.ClearField("loss_weight")
                    used[i, j] = 1  # the first copy carries the loss
    return result


def _readers(layers: list[Message]) -> dict[_Top, int]:
    """Count who reads each top (a loss weight counts as a reader), and check the names."""
    made: dict[str, _Top] = {}
    reads: dict[_Top, int] = {}
    for i, layer in enumerate(layers):
        for blob in layer.bottom:
            if blob not in made:
                raise ValueError(
                    f'layer "{layer.name}": unknown bottom blob "{blob}"; no layer before it has '
                    f"such a top"
                )
            reads[made[blob]] = reads.get(made[blob], 0) + 1
        for j, blob in enumerate(layer.top):
            if blob in list(layer.top)[:j]:
                raise ValueError(f'layer "{layer.name}": top blob "{blob}" is named twice')
            in_place = j < len(layer.bottom) and layer.bottom[j] == blob
            if blob in made and not in_place:
                maker = layers[made[blob][0]].name
                raise ValueError(
                    f'layer "{layer.name}": top blob "{blob}" is already made by layer "{maker}"'
                )
            made[blob] = (i, j)
            if j < len(layer.loss_weight) and layer.loss_weight[j]:
                reads[i, j] = 1
    _check_in_place(layers, reads)
    return reads


def _check_in_place(layers: list[Message], reads: dict[_Top, int]) -> None:
    """Refuse a layer that overwrites a blob which another layer reads too."""
    made: dict[str, _Top] = {}
    for i, layer in enumerate(layers):
        for blob in layer.bottom:
            if blob in layer.top and reads[made[blob]] > 1:
                raise ValueError(
                    f'layer "{layer.name}": cannot overwrite blob "{blob}" in place, another layer '
                    f"reads it too; give this layer a top of another name"
                )
        made.update({blob: (i, j) for j, blob in enumerate(layer.top)})


def _split_layer(layer: str, blob: str, top: int) -> str:
    return f"{blob}_{layer}_{top}_split"


def _split_blob(layer: str, blob: str, top: int, copy: int) -> str:
    return f"{_split_layer(layer, blob, top)}_{copy}"


def _split(layer: str, blob: str, top: int, copies: int, loss_weight: float) -> Any:
    split = LayerParameter(name=_split_layer(layer, blob, top), type="Split", bottom=[blob])
    split.top.extend(_split_blob(layer, blob, top, copy) for copy in range(copies))
    if loss_weight:
        split.loss_weight.extend([loss_weight] + [0] * (copies - 1))
    return split
