"""The parameters of a net's layers: taken from files, shared with another net, written to files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Union

from lbpmap.caffe.blob import Blob
from lbpmap.caffe.formats import weights
from lbpmap.caffe.layers.plan import Layer

PathLike = Union[str, "os.PathLike[str]"]

_NOT_THE_SAME = (
    "the prototxt and the weights are of different nets or input sizes "
    "(to train the layer anew, rename it)"
)


def check_path(argument: str, path: object, expected: str) -> None:
    """Refuse what names no file; `argument` is whose and which."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{argument} must be the path of {expected}, got {type(path).__name__}")
    if not os.fspath(path):
        raise ValueError(f"{argument} is empty; give the path of {expected}")


def file_names(files: PathLike | Sequence[PathLike], caller: str) -> list[PathLike]:
    """Return the files that one name, several with commas between them, or a sequence means."""
    if not isinstance(files, (str, os.PathLike, list, tuple)):
        raise TypeError(
            f"{caller}: files must be the path of a caffemodel, or a list of paths, got "
            f"{type(files).__name__}"
        )
    if isinstance(files, str) and not Path(files).exists():
        names: list[PathLike] = [name for name in files.split(",") if name] or [files]
    elif isinstance(files, (str, os.PathLike)):
        names = [files]
    else:
        names = list(files)
    for name in names:
        check_path(f"{caller}: files", name, "a caffemodel")
    return names


def read(names: Sequence[PathLike], layers: Sequence[Layer]) -> None:
    """Fill the parameters of the layers that the files hold, by name; all or none.

    Parameters
    ----------
    names : sequence of str or path
        Caffemodels, or HDF5 files whose names end in ``.h5``, as Caffe tells them apart.
    layers : sequence of Layer

    Raises
    ------
    OSError, ValueError
        When a file cannot be read, is malformed, or holds a blob of another shape.
    """
    by_name = {layer.name: layer for layer in layers}
    matches = [(name, _match(name, by_name)) for name in names]
    for name, pairs in matches:
        with open(name, "rb") as file:
            for entry, blob in pairs:
                weights.read_into(file, entry, blob.unfilled())
                blob.values.from_file = True


def _match(path: PathLike, layers: dict[str, Layer]) -> list[tuple[weights.BlobEntry, Blob]]:
    """Pair the blobs of a file with parameters, and check every shape."""
    pairs = []
    for entry in weights.index(path):
        layer = layers.get(entry.name)
        if layer is None:
            continue
        if len(entry.blobs) != len(layer.blobs):
            raise ValueError(
                f'{path}: layer "{entry.name}": the file holds {len(entry.blobs)} blob(s), the '
                f"net's layer has {len(layer.blobs)}; {_NOT_THE_SAME}"
            )
        for i, (source, blob) in enumerate(zip(entry.blobs, layer.blobs)):
            if not source.fits(blob.shape):
                raise ValueError(
                    f'{path}: layer "{entry.name}": blob {i} has shape {source.shape}, the '
                    f"net's parameter has {blob.shape}; {_NOT_THE_SAME}"
                )
            pairs.append((source, blob))
    return pairs


def share(layers: Sequence[Layer], others: dict[str, Layer], source: str, other: str) -> None:
    """Let layers use the parameters of `others` of the same names: one memory for both.

    Raises
    ------
    ValueError
        When a layer of both has other shapes here than there; nothing is shared then.
    """
    common = [(layer, others[layer.name]) for layer in layers if layer.name in others]
    for mine, theirs in common:
        shapes, wanted = ([blob.shape for blob in each.blobs] for each in (theirs, mine))
        if shapes != wanted:
            raise ValueError(
                f'{source}: layer "{mine.name}": its parameters have the shapes {wanted}, those of '
                f"{other} have {shapes}; share between nets of the same layers"
            )
    for mine, theirs in common:
        for blob, shared in zip(mine.blobs, theirs.blobs):
            blob.share(shared)


def write(path: PathLike, name: str, layers: Sequence[Layer]) -> None:
    """Write a caffemodel in the newest form; whole or not at all."""
    weights.write(path, name, ((layer.param, [b.array() for b in layer.blobs]) for layer in layers))
