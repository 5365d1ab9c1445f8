"""The nets of the paper in files for other stacks, with what it takes to show them a picture.

Beside what `lbpmap.caffe.export.about` lists, such a file says of itself

==================  ================================================================
``labels``          names of the outputs, in order
``representation``  ``name``, ``radius``, ``points``, ``arithmetic`` of the codes, and
                    ``table``: its ``name``, its ``sha256`` and whose colour code 255
                    has (``code_255``); null for "rgb"
``takes``           "blob", float32 as the net itself; or "picture", uint8 (H, W, 3)
``input``           ``size`` and ``crop`` in pixels, ``channel_order``, ``raw_scale``,
                    and ``mean``: three values (BGR), or "inside"
``licence``         what the net's description says of it
==================  ================================================================

and holds the mean as tensor "mean", float32 (3, crop, crop), or (3, 1, 1) where it has but three
values, BGR, and the table of colours as tensor "table", uint8 (2^points, 3), RGB.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lbpmap import _checks
from lbpmap._arrays import F32, U8, Array
from lbpmap._files import PathLike
from lbpmap.caffe.export import Exported, Trial, export, refuse_python_layers, set_items
from lbpmap.emotion import picture_nodes
from lbpmap.emotion.ensemble import LoadedNet, load_net, probabilities
from lbpmap.emotion.registry import NetFiles
from lbpmap.representations import REPRESENTATIONS, Representation, resolve
from lbpmap.transform import caffe_blob

TAKES = ("blob", "picture")


def export_net(
    files: NetFiles,
    path: PathLike,
    *,
    takes: str = "blob",
    batch: int | None = None,
    mean_mode: str | None = None,
) -> Exported:
    """Write a net, its mean and what else belongs to it as one file.

    Parameters
    ----------
    files : NetFiles
        From `lbpmap.emotion.registry`.
    path : str or path
        ``.onnx``, ``.safetensors`` or ``.pt2``, see `lbpmap.caffe.export.export`.
    takes : {"blob", "picture"}
        What the file takes: the net's own float32 input, or in ONNX a uint8 picture (H, W, 3), RGB,
        of any size, of which the graph makes that input as `lbpmap.caffe_blob` does, one crop.
    batch : int, optional
        How many items a blob has, no more and no less; by default any number.
    mean_mode : {"resize", "crop"}, optional
        As for `lbpmap.emotion.ensemble.load_net`.

    Returns
    -------
    Exported

    Raises
    ------
    ImportError, OSError, RuntimeError, ValueError
        As `export` and `load_net`.
    """
    _checks.one_of(takes, TAKES, "takes", "export_net")
    if takes == "picture" and batch is not None:
        raise ValueError("export_net: a picture is one item; leave batch (--batch) out")
    refuse_python_layers(files.deploy)
    loaded = load_net(files, mean_mode=mean_mode)
    set_items(loaded.net, 1 if takes == "picture" else batch)
    shown = resolve(files.representation)
    mean = _at_the_centre(loaded)
    arrays: dict[str, Array] = {picture_nodes.MEAN: mean}
    if shown.table is not None:
        arrays[picture_nodes.TABLE] = np.array(shown.table.lookup(_code_255(shown)))
    settings: dict[str, Any] = {
        "more": _said(loaded, shown, mean, takes),
        "sources": _sources(files),
        "arrays": arrays,
    }
    if takes == "blob":
        return export(loaded.net, path, fixed=batch is not None, **settings)
    front = picture_nodes.front(shown, files.size, files.crop)
    trials = _trials(loaded, shown)
    return export(loaded.net, path, fixed=True, front=front, trials=trials, **settings)


def _at_the_centre(loaded: LoadedNet) -> F32:
    """Give the mean of the centre crop: (3, crop, crop), or (3, 1, 1) where it has three values."""
    crop = loaded.files.crop
    top, left = ((n - crop) // 2 for n in loaded.mean.shape[1:])
    mean = np.ascontiguousarray(loaded.mean[:, top : top + crop, left : left + crop], np.float32)
    corner = mean[:, :1, :1]
    return corner if (mean == corner).all() else mean


def _said(loaded: LoadedNet, shown: Representation, mean: F32, takes: str) -> dict[str, Any]:
    files = loaded.files
    three = [float(value) for value in mean[:, 0, 0]]
    return {
        "name": files.name,
        "labels": list(files.labels),
        "representation": {
            "name": shown.name,
            "radius": shown.radius,
            "points": shown.points,
            "arithmetic": shown.arithmetic,
            "table": shown.table
            and {
                "name": shown.table.name,
                "sha256": shown.table.sha256,
                "code_255": _code_255(shown),
            },
        },
        "takes": takes,
        "input": {
            "size": files.size,
            "crop": files.crop,
            "channel_order": "BGR",
            "raw_scale": 255,
            "mean": three if mean.shape[1:] == (1, 1) else "inside",
        },
        "licence": files.licence,
    }


def _code_255(shown: Representation) -> str:
    return "released" if shown.table is not None and shown.table.published else "own"


def _sources(files: NetFiles) -> dict[str, PathLike]:
    assert files.weights is not None  # `load_net` has read them
    assert files.mean is not None
    found: dict[str, PathLike] = {
        "deploy": files.deploy,
        "weights": files.weights,
        "mean": files.mean,
    }
    if files.representation not in REPRESENTATIONS:
        found["table"] = files.representation
    return found


def _trials(loaded: LoadedNet, shown: Representation) -> Iterator[Trial]:
    """Show the net pictures of noise, of one grey and of a ramp, larger and smaller than `size`."""
    files, net = loaded.files, loaded.net
    least, rng = 2 * shown.radius + 1, np.random.default_rng(0)
    for rows, cols in ((least, least + 2), (files.size - 3, files.size // 2 + least),
                       (files.size + 45, 2 * files.size + 31)):  # fmt: skip
        ramp = np.linspace(0, 255, rows * cols).reshape(rows, cols, 1).repeat(3, 2)
        for picture in (rng.integers(0, 256, (rows, cols, 3)), ramp, np.full((rows, cols, 3), 97)):
            yield _trial(loaded, picture.astype(np.uint8))
    net.blobs[net.inputs[0]].reshape(1, 3, files.crop, files.crop)


def _trial(loaded: LoadedNet, picture: U8) -> Trial:
    files = loaded.files
    blob = caffe_blob(
        picture,
        resolve(files.representation),
        mean=loaded.mean,
        size=files.size,
        crop=files.crop,
        mean_mode="crop",
    )
    output = loaded.net.outputs[0]
    said = probabilities(loaded, blob)
    expected = said.reshape(tuple(loaded.net.blobs[output].shape))
    return Trial({picture_nodes.PICTURE: picture}, {loaded.net.inputs[0]: blob, output: expected})
