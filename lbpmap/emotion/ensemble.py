"""The nets of the paper at work: pictures in, probabilities out, singly or averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lbpmap import caffe
from lbpmap._arrays import F32, F64, U8
from lbpmap.caffe.formats.weights import read_blob
from lbpmap.emotion.registry import NetFiles, require_weights
from lbpmap.transform import caffe_blob


@dataclass(frozen=True)
class LoadedNet:
    """A net in memory, with what it takes to show it a picture."""

    files: NetFiles
    net: caffe.Net
    mean: F32  # (3, H, W), BGR, 0..255


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
        Their mean.
    """

    labels: tuple[str, ...]
    by_net: Mapping[str, F32]
    probabilities: F64

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.labels[int(np.argmax(self.probabilities))]


def load_net(files: NetFiles) -> LoadedNet:
    """Load a net's prototxt, weights and mean.

    Parameters
    ----------
    files : NetFiles
        From `lbpmap.emotion.registry.find_nets`.

    Returns
    -------
    LoadedNet

    Raises
    ------
    OSError, ValueError
        When a file is missing, incomplete or does not fit.
    """
    weights, mean_path = require_weights(files)
    net = caffe.Net(str(files.deploy), str(weights), caffe.TEST)
    check_net(files, net)
    mean = read_blob(mean_path)
    mean = mean.reshape(mean.shape[-3:]) if mean.ndim == 4 and len(mean) == 1 else mean
    if mean.ndim != 3 or len(mean) != 3:
        raise ValueError(f"{mean_path}: expected a mean of 3 x H x W, got shape {mean.shape}")
    return LoadedNet(files, net, mean)


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
    return np.array(net.forward()[net.outputs[0]], np.float32).reshape(len(blob), -1)


def predict(
    nets: Sequence[LoadedNet],
    picture: U8,
    *,
    crops: int = 1,
    mean_mode: str = "resize",
) -> Prediction:
    """Show a face to nets and average what they say, all with the same weight.

    Parameters
    ----------
    nets : sequence of LoadedNet
        At least one, all with the same labels.
    picture : uint8 array (H, W, 3) or (H, W)
        A cropped, upright face.
    crops : {1, 10}
        Average the net's answers over ten crops, or take the centre.
    mean_mode : {"resize", "crop"}
        As for `lbpmap.caffe_blob`.

    Returns
    -------
    Prediction

    Raises
    ------
    ValueError
        When there is no net, labels differ, or the picture is too small for a neighbourhood.
    """
    if not nets:
        raise ValueError("predict: no net given")
    labels = nets[0].files.labels
    for loaded in nets[1:]:
        if loaded.files.labels != labels:
            raise ValueError(
                f"predict: {loaded.files.name} and {nets[0].files.name} have different labels; "
                f"run them one by one"
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
            mean_mode=mean_mode,
        )
        by_net[files.name] = probabilities(loaded, blob).mean(axis=0)
    together = np.mean([p.astype(np.float64) for p in by_net.values()], axis=0)
    return Prediction(labels, by_net, together)
