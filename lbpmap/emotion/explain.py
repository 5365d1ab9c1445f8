"""What a net makes of one face: what it is shown, what its layers answer, and why it says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lbpmap._arrays import F32, F64, U8, Array
from lbpmap.emotion import evidence
from lbpmap.emotion.anatomy import Anatomy, anatomy
from lbpmap.emotion.ensemble import LoadedNet, probabilities
from lbpmap.emotion.registry import NetFiles
from lbpmap.representations import resolve
from lbpmap.transform import caffe_blob, lbp_codes


@dataclass(frozen=True)
class Explanation:
    """A face, a net, and what was seen on the way from one to the other's answer.

    Attributes
    ----------
    files : NetFiles
        The net.
    parts : Anatomy
        What its layers and blobs are called.
    face : uint8 array (H, W, 3) or (H, W)
        As it was given.
    codes : uint8 or uint16 array (H - 2R, W - 2R), or None
        None for a net that looks at the picture itself.
    seen : uint8 array (crop, crop, 3)
        What the net is shown, before the mean is subtracted: dimensions 1, 2, 3 as R, G, B.
    filters : float32 array (N, C, h, w), or None
        Weights of the first convolution.
    responses, pooled : float32 array (N, h, w), or None
        Its responses to this face, and what the fully connected layers read.
    units : float32 array (N,), or None
        What the first of those answers.
    probabilities : float32 array (labels,)
    label : int
        The output that is explained.
    method : {"occlusion", "gradcam"}
    evidence : float32 array (h, w)
        What speaks for the label, over the net's input: see `lbpmap.emotion.evidence`.
    upon_face : float64 array (H, W)
        The same over the face; NaN where the net did not look.
    """

    files: NetFiles
    parts: Anatomy
    face: U8
    codes: Array | None
    seen: U8
    filters: F32 | None
    responses: F32 | None
    pooled: F32 | None
    units: F32 | None
    probabilities: F32
    label: int
    method: str
    evidence: F32
    upon_face: F64


def explain(
    loaded: LoadedNet,
    face: U8,
    *,
    label: str | None = None,
    method: str = "occlusion",
    patch: int | None = None,
    stride: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Explanation:
    """Show a face to a net, and look into it.

    Parameters
    ----------
    loaded : LoadedNet
        Of any architecture; see `lbpmap.emotion.ensemble.load_net`.
    face : uint8 array (H, W, 3) or (H, W)
        Cropped and upright.
    label : str, optional
        What to look for evidence of; by default the most probable label.
    method : {"occlusion", "gradcam"}
        See `lbpmap.emotion.evidence`; "gradcam" needs PyTorch.
    patch, stride : int, optional
        Of the occlusion, pixels of the net's input.
    progress : callable, optional
        Called with the number of positions of the patch that are done since the last time.

    Returns
    -------
    Explanation

    Raises
    ------
    RuntimeError
        When PyTorch is needed and not installed.
    ValueError
        When there is no such label or method, the patch does not fit, the face is smaller than a
        neighbourhood, or "gradcam" meets a net without convolutions.
    """
    evidence.check_method(method)
    if method != "occlusion" and (patch is not None or stride is not None):
        raise ValueError(f"explain: patch and stride are occlusion's, {method} has none")
    files, net = loaded.files, loaded.net
    chosen = None if label is None else label_number(files, label)
    how = resolve(files.representation)
    seen = caffe_blob(face, files.representation, mean=0, size=files.size, crop=files.crop)
    blob = caffe_blob(
        face,
        files.representation,
        mean=loaded.mean,
        size=files.size,
        crop=files.crop,
        mean_mode="crop",
    )
    said = probabilities(loaded, blob)[0]
    chosen = int(said.argmax()) if chosen is None else chosen

    # Copies, since asking further overwrites the net's blobs.
    parts = anatomy(net)
    responses, pooled, units = (
        None if name is None else np.array(net.blobs[name].data[0], np.float32)
        for name in (parts.responses, parts.pooled, parts.units)
    )
    if method == "occlusion":
        heat = evidence.occlusion(
            loaded, blob, chosen, patch=patch, stride=stride, progress=progress
        )
    else:
        heat = evidence.grad_cam(loaded, blob, chosen)
    return Explanation(
        files=files,
        parts=parts,
        face=face,
        codes=None
        if how.table is None
        else lbp_codes(face, how.radius, points=how.points, arithmetic=how.arithmetic),
        seen=np.rint(seen[0, ::-1].transpose(1, 2, 0)).clip(0, 255).astype(np.uint8),
        filters=None if parts.filters is None else np.array(net.params[parts.filters][0].data),
        responses=responses,
        pooled=pooled,
        units=None if units is None else units.reshape(-1),
        probabilities=said,
        label=chosen,
        method=method,
        evidence=heat,
        upon_face=evidence.upon(
            heat,
            (face.shape[0], face.shape[1]),
            radius=how.radius,
            size=files.size,
            crop=files.crop,
        ),
    )


def label_number(files: NetFiles, label: str) -> int:
    """Give the output that has a label, whatever its case.

    Raises
    ------
    ValueError
        When none has.
    """
    for i, name in enumerate(files.labels):
        if name.lower() == label.lower():
            return i
    raise ValueError(f"{files.name}: no label {label!r}; it has {', '.join(files.labels)}")
