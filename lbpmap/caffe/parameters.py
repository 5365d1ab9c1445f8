"""The parameters of a net's layers: taken from files, shared with another net, written to files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Union

from lbpmap._arrays import F32
from lbpmap.caffe.blob import Blob
from lbpmap.caffe.formats import blobs, hdf5, weights
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
    fill = [
        (_hdf5_reader if os.fspath(name).endswith(".h5") else _reader)(name, by_name)
        for name in names
    ]
    for each in fill:
        each()


def read_hdf5(path: PathLike, layers: Sequence[Layer]) -> None:
    """Fill the parameters that an HDF5 file holds, whatever its name."""
    _hdf5_reader(path, {layer.name: layer for layer in layers})()


def _reader(path: PathLike, layers: dict[str, Layer]) -> Callable[[], None]:
    """Check a caffemodel, and return what reads it."""
    pairs = _match(path, layers)

    def fill() -> None:
        with open(path, "rb") as file:
            for entry, blob in pairs:
                blobs.read_into(file, entry, blob.unfilled())
                blob.values.from_file = True
                if entry.diff_runs:
                    blobs.read_into(file, entry, _diff(blob), diff=True)

    return fill


def _hdf5_reader(path: PathLike, layers: dict[str, Layer]) -> Callable[[], None]:
    """Check an HDF5 file, and return what reads it."""
    pairs = _match_hdf5(path, layers)

    def fill() -> None:
        hdf5.read_net(path, ((layer, i, blob.unfilled()) for (layer, i), blob in pairs))
        for _, blob in pairs:
            blob.values.from_file = True

    return fill


def _match_hdf5(path: PathLike, layers: dict[str, Layer]) -> list[tuple[tuple[str, int], Blob]]:
    """Pair the datasets of a file with parameters, and check every shape."""
    pairs = []
    owned = _owned(layers.values())
    for name, shapes in hdf5.index_net(path).items():
        if name not in layers:
            continue
        more = [i for i in shapes if i >= len(layers[name].blobs)]
        if more:
            raise ValueError(
                f'{path}: layer "{name}": the file holds blob {more[0]}, the net\'s layer has '
                f"{len(layers[name].blobs)}; {_NOT_THE_SAME}"
            )
        for i, blob in enumerate(layers[name].blobs):
            if i not in shapes and blob is not owned[id(blob.values)]:
                continue  # it stands with the layer that it is shared with
            if i not in shapes:
                raise ValueError(f'{path}: layer "{name}": blob {i} is missing; {_NOT_THE_SAME}')
            if shapes[i] != blob.shape:
                raise ValueError(
                    f'{path}: layer "{name}": blob {i} has shape {shapes[i]}, the net\'s parameter '
                    f"has {blob.shape}; {_NOT_THE_SAME}"
                )
            pairs.append(((name, i), blob))
    return pairs


def _owned(layers: Iterable[Layer]) -> dict[int, Blob]:
    """Return the first blob of every memory, the owner of what others share."""
    owners: dict[int, Blob] = {}
    for layer in layers:
        for blob in layer.blobs:
            owners.setdefault(id(blob.values), blob)
    return owners


def _match(path: PathLike, layers: dict[str, Layer]) -> list[tuple[blobs.BlobEntry, Blob]]:
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


def write(path: PathLike, name: str, layers: Sequence[Layer], diffs: bool) -> None:
    """Write a caffemodel in the newest form, with gradients if wanted; whole or not at all."""
    values = ((layer.param, [blob.array() for blob in layer.blobs]) for layer in layers)
    gradients = [[_diff(blob) for blob in layer.blobs] for layer in layers] if diffs else None
    weights.write(path, name, values, gradients)


def write_hdf5(path: PathLike, layers: Sequence[Layer], diffs: bool) -> None:
    """Write the parameters in HDF5, with gradients if wanted; whole or not at all."""
    owned = _owned(layers)
    values = (
        (
            layer.name,
            [blob.array() if blob is owned[id(blob.values)] else None for blob in layer.blobs],
        )
        for layer in layers
    )
    gradients = {layer.name: [_diff(blob) for blob in layer.blobs] for layer in layers}
    hdf5.write_net(path, values, gradients if diffs else None)


def _diff(blob: Blob) -> F32:
    return blob.gradients.take(blob.count).reshape(blob.shape)
