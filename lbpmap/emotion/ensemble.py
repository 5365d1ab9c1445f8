"""The nets of the paper at work: pictures in, probabilities out, singly or combined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lbpmap import _checks, caffe
from lbpmap._arrays import F32, F64, U8
from lbpmap._blob import InputSpec, resize_mean
from lbpmap.caffe import graph
from lbpmap.caffe.formats.weights import read_blob
from lbpmap.emotion.fusion import Fusion, uniform
from lbpmap.emotion.registry import NetFiles, require_weights
from lbpmap.transform import caffe_blob


@dataclass(frozen=True)
class LoadedNet:
    """A net in memory, with what it takes to show it a picture."""

    files: NetFiles
    net: caffe.Net
    mean: F32  # BGR, 0..255: as large as a crop, or as the stretched picture


@dataclass(frozen=True)
class Prediction:
    """What nets say of one face.

    Attributes
    ----------
    labels : tuple of str
        Names of the apparent expressions.
    by_net : dict of float32 arrays (labels,)
        Probabilities of every net, by its name.
    probabilities : float64 array (labels,)
        Of all together; their mean, unless weighed otherwise.
    """

    labels: tuple[str, ...]
    by_net: Mapping[str, F32]
    probabilities: F64

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.labels[int(np.argmax(self.probabilities))]


def load_net(
    files: NetFiles, *, mean_mode: str | None = None, allow_python_layers: bool = False
) -> LoadedNet:
    """Load a net's prototxt, weights and mean.

    Parameters
    ----------
    files : NetFiles
        From `lbpmap.emotion.registry.find_nets`.
    mean_mode : {"resize", "crop"}, optional
        Whether the mean picture is resized to the crop, or cropped where the picture is; as for
        `lbpmap.caffe_blob`. Left out, what the net's description says.
    allow_python_layers : bool, default False
        Whether the prototxt may name Python modules, which are imported and run.

    Returns
    -------
    LoadedNet

    Raises
    ------
    OSError, ValueError
        When a file is missing, incomplete or does not fit.
    """
    mean_mode = files.mean_mode if mean_mode is None else mean_mode
    _checks.one_of(mean_mode, ("resize", "crop"), "mean_mode", "load_net")
    weights, mean_path = require_weights(files)
    if not allow_python_layers:
        refuse_python_layers(files.deploy)
    net = caffe.Net(str(files.deploy), str(weights), caffe.TEST)
    check_net(files, net)
    unfilled = net.unfilled_layers()
    if unfilled:
        raise ValueError(
            f"{weights}: has no weights for {', '.join(unfilled)} of {files.deploy}: they are of "
            f"different nets"
        )
    mean = read_blob(mean_path)
    mean = mean.reshape(mean.shape[-3:]) if mean.ndim == 4 and len(mean) == 1 else mean
    if mean.ndim != 3 or len(mean) != 3:
        raise ValueError(f"{mean_path}: expected a mean of 3 x H x W, got shape {mean.shape}")
    if mean_mode == "resize":
        mean = resize_mean(mean, files.crop)  # once, not for every face
    try:
        InputSpec.checked(mean, files.size, files.crop, 1, "crop")
    except ValueError as error:
        raise ValueError(f"{mean_path}: {error}") from None
    return LoadedNet(files, net, mean)


def refuse_python_layers(deploy: Path) -> None:
    """Refuse a prototxt that names modules to run: it may come from anywhere.

    Raises
    ------
    OSError
        When it cannot be read.
    ValueError
        When it holds Python layers, or is malformed.
    """
    graph.refuse_python_layers(
        deploy, "; when you trust its author, allow it (--allow-python-layers)"
    )


def check_net(files: NetFiles, net: caffe.Net) -> None:
    """Refuse a net whose input or output is not what its description says.

    Caffe itself would run a net of 224 x 224 on a 256 x 256 blob, and answer wrongly.
    """
    if len(net.inputs) != 1 or len(net.outputs) != 1:
        raise ValueError(
            f"{files.deploy}: expected one input and one output, got {len(net.inputs)} and "
            f"{len(net.outputs)}"
        )
    got = tuple(net.blobs[net.inputs[0]].shape)[1:]
    if got != (3, files.crop, files.crop):
        raise ValueError(
            f"{files.deploy}: input {net.inputs[0]!r} is {' x '.join(map(str, got))}, but "
            f"{files.name} takes 3 x {files.crop} x {files.crop}: it would run and answer wrongly"
        )
    outputs = int(np.prod(tuple(net.blobs[net.outputs[0]].shape)[1:]))
    if outputs != len(files.labels):
        raise ValueError(
            f"{files.deploy}: {outputs} outputs, but {files.name} has {len(files.labels)} labels"
        )


def common_labels(nets: Sequence[NetFiles]) -> tuple[str, ...]:
    """Give the first net's labels, or raise ValueError where another does not have the same."""
    if not nets:
        raise ValueError("predict: no net given")
    for files in nets[1:]:
        if set(files.labels) != set(nets[0].labels):
            raise ValueError(
                f"{files.name} and {nets[0].name} have different labels and cannot be averaged: "
                f"run them one by one (--net NAME)"
            )
    return nets[0].labels


def columns(files: NetFiles, labels: Sequence[str]) -> list[int]:
    """Give the net's output of each of these labels, which a net may have in another order."""
    return [files.labels.index(label) for label in labels]


def probabilities(loaded: LoadedNet, blob: F32) -> F32:
    """Run a net on a blob of crops.

    Parameters
    ----------
    loaded : LoadedNet
    blob : float32 array (N, 3, crop, crop)
        From `lbpmap.caffe_blob`.

    Returns
    -------
    float32 array (N, labels)

    Raises
    ------
    ValueError
        When the blob has another shape than the net takes.
    """
    crop = loaded.files.crop
    if blob.ndim != 4 or blob.shape[1:] != (3, crop, crop):
        raise ValueError(
            f"{loaded.files.name}: takes blobs of N x 3 x {crop} x {crop}, got "
            f"{' x '.join(map(str, blob.shape))}: it would run and answer wrongly"
        )
    net = loaded.net
    name = net.inputs[0]
    if tuple(net.blobs[name].shape) != blob.shape:
        net.blobs[name].reshape(*blob.shape)
        net.reshape()
    net.blobs[name].data[...] = blob
    said = np.array(net.forward()[net.outputs[0]], np.float32).reshape(len(blob), -1)
    # NaN fails every comparison.
    if not ((said >= 0).all() and (abs(said.sum(axis=1) - 1) < 1e-3).all()):
        raise ValueError(
            f"{loaded.files.name}: its output {net.outputs[0]!r} is no probabilities: the weights "
            f"are damaged, or the prototxt does not end in Softmax"
        )
    return said


def predict(
    nets: Sequence[LoadedNet],
    picture: U8,
    *,
    crops: int = 1,
    fusion: Fusion | None = None,
) -> Prediction:
    """Show a face to nets and combine what they say.

    Parameters
    ----------
    nets : sequence of LoadedNet
        At least one, all with the same labels, in any order.
    picture : uint8 array (H, W, 3) or (H, W)
        A cropped, upright face.
    crops : {1, 10}
        Average the net's answers over ten crops, or take the centre.
    fusion : Fusion, optional
        How the nets are combined, by their names; by default all count the same.

    Returns
    -------
    Prediction

    Raises
    ------
    ValueError
        When there is no net, labels differ, the fusion is of other nets, or the picture is too
        small for a neighbourhood.
    """
    labels = common_labels([loaded.files for loaded in nets])
    if fusion is None:
        fusion = uniform([loaded.files.name for loaded in nets], labels)
    if set(fusion.labels) != set(labels):
        raise ValueError(
            f"predict: the fusion is of {', '.join(fusion.labels)}, but the nets' labels are "
            f"{', '.join(labels)}"
        )
    by_net = {}
    for loaded in nets:
        files = loaded.files
        blob = caffe_blob(
            picture,
            files.representation,
            mean=loaded.mean,
            size=files.size,
            crop=files.crop,
            crops=crops,
            mean_mode="crop",
        )
        said = probabilities(loaded, blob).mean(axis=0)
        by_net[files.name] = said[columns(files, fusion.labels)]
    return Prediction(fusion.labels, by_net, fusion.combine(by_net))
