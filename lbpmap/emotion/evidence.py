"""Which part of a face speaks for a label: a net asked with parts hidden, or by its gradients.

`occlusion` needs forward passes alone, and says by how much a probability falls. `grad_cam` takes
one pass each way, and says only where.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lbpmap import _checks, caffe
from lbpmap._arrays import F32, F64
from lbpmap.caffe import engine, graph
from lbpmap.caffe.formats import prototxt
from lbpmap.emotion.anatomy import anatomy, bottoms, last_writer, tops
from lbpmap.emotion.ensemble import LoadedNet, probabilities

METHODS = ("occlusion", "gradcam")

# Patches along a side: 13 x 13 positions, each half over the next, as 32 pixels of 224 give.
_PARTS = 7
_BATCH = 8


def occlusion(
    loaded: LoadedNet,
    blob: F32,
    label: int,
    *,
    patch: int | None = None,
    stride: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> F32:
    """Say by how much a label's probability falls when a part of the net's input is hidden.

    A square of the mean's own colour, which is zero in the blob, is moved over the input.

    Parameters
    ----------
    loaded : LoadedNet
    blob : float32 array (1, 3, crop, crop)
        From `lbpmap.caffe_blob`.
    label : int
        Number of the output.
    patch : int, optional
        Side of the square, pixels of the input; by default a seventh of the crop.
    stride : int, optional
        By how much it moves, at most `patch`; by default half of it. The last position of a row
        ends at the edge.
    progress : callable, optional
        Called with the number of positions done since the last time.

    Returns
    -------
    float32 array (crop, crop)
        The mean over all positions that hide a pixel; negative where hiding it helps the label.

    Raises
    ------
    ValueError
        When the patch is larger than the input, or the stride than the patch.

    References
    ----------
    M. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
    section 4.2.
    """
    crop = blob.shape[-1]
    patch, stride = _window(crop, patch, stride)
    starts = [*range(0, crop - patch, stride), crop - patch]
    places = [(slice(y, y + patch), slice(x, x + patch)) for y in starts for x in starts]
    whole = float(probabilities(loaded, blob)[0, label])
    fall, often = np.zeros((crop, crop)), np.zeros((crop, crop))
    for i in range(0, len(places), _BATCH):
        some = places[i : i + _BATCH]
        hidden = np.repeat(blob, len(some), axis=0)
        for each, (rows, columns) in zip(hidden, some):
            each[:, rows, columns] = 0
        for (rows, columns), said in zip(some, probabilities(loaded, hidden)[:, label]):
            fall[rows, columns] += whole - float(said)
            often[rows, columns] += 1
        if progress:
            progress(len(some))
    return (fall / often).astype(np.float32)


def positions(crop: int, patch: int | None = None, stride: int | None = None) -> int:
    """Give the number of places to which `occlusion` moves its patch.

    Raises
    ------
    ValueError
        As `occlusion`.

    Examples
    --------
    >>> positions(224)
    169
    """
    patch, stride = _window(crop, patch, stride)
    return len([*range(0, crop - patch, stride), crop - patch]) ** 2


def _window(crop: int, patch: int | None, stride: int | None) -> tuple[int, int]:
    side = _checks.positive(max(1, crop // _PARTS) if patch is None else patch, "patch", "explain")
    step = _checks.positive(max(1, side // 2) if stride is None else stride, "stride", "explain")
    if side > crop:
        raise ValueError(f"explain: patch is {side} pixels, the net's input only {crop}")
    if step > side:
        raise ValueError(
            f"explain: stride {step} leaves gaps between patches of {side}: at most {side}"
        )
    return side, step


def grad_cam(loaded: LoadedNet, blob: F32, label: int) -> F32:
    """Say where the last convolutions found what speaks for a label.

    Their maps are added up, each weighed by the mean of the gradient that the label's score has
    there; what is negative is left out.

    Parameters
    ----------
    loaded : LoadedNet
    blob : float32 array (1, 3, crop, crop)
        From `lbpmap.caffe_blob`.
    label : int
        Number of the output.

    Returns
    -------
    float32 array (h, w)
        As large as those maps; from 0, in no unit that means anything.

    Raises
    ------
    RuntimeError
        When PyTorch is not installed.
    ValueError
        When the net has no convolution whose maps have a height and a width.

    References
    ----------
    R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
    Localization", ICCV 2017.
    """
    parts = anatomy(loaded.net)
    if parts.maps is None:
        raise ValueError(
            f"{loaded.files.deploy}: no convolution gives maps for gradcam to weigh: use "
            f"occlusion, which needs none"
        )
    net = _with_gradients(loaded)
    (name,) = net.inputs
    net.blobs[name].reshape(*blob.shape)
    net.blobs[name].data[...] = blob
    net.forward()
    scores = net.blobs[parts.scores].diff
    scores[...] = 0
    scores.reshape(-1)[label] = 1
    first, last = last_writer(net, parts.scores), _reader(net, parts.maps)
    net.backward(start=net._layer_names[first], end=net._layer_names[last])
    maps, slopes = net.blobs[parts.maps].data[0], net.blobs[parts.maps].diff[0]
    return np.maximum(np.tensordot(slopes.mean(axis=(1, 2)), maps, axes=1), 0)


def check_method(method: str) -> None:
    """Refuse a method that there is not, or not here, before a net is read.

    Raises
    ------
    ValueError, RuntimeError
    """
    _checks.one_of(method, METHODS, "method", "explain")
    if method == "gradcam" and not engine.has_torch():
        raise RuntimeError(f"explain: gradcam {engine.NEEDS_TORCH}; occlusion does not")


def _with_gradients(loaded: LoadedNet) -> caffe.Net:
    """Give the same net once more, but one that has gradients without a loss behind it."""
    description = prototxt.read_net(loaded.files.deploy)
    description.force_backward = True
    state = graph.NetState(phase=caffe.TEST)
    net = caffe.Net.of_message(description, str(loaded.files.deploy), state)
    for name, blobs in net.params.items():
        for own, other in zip(blobs, loaded.net.params[name]):
            own.unfilled()[...] = other.data
    return net


def _reader(net: caffe.Net, blob: str) -> int:
    """Give the number of the first layer that reads a blob without writing it."""
    return min(
        i for i in range(len(net.layers)) if blob in bottoms(net, i) and blob not in tops(net, i)
    )


def upon(heat: F32, shape: tuple[int, int], *, radius: int, size: int, crop: int) -> F64:
    """Lay what was found over the face that the net was shown.

    The net saw the face without a rim of `radius` pixels, stretched to `size` x `size`, and of
    that the square of `crop` in the middle.

    Parameters
    ----------
    heat : float32 array (h, w)
        Over the net's input, of any resolution.
    shape : (int, int)
        Height and width of the face.
    radius : int
        Of the representation's codes, 0 without codes.
    size, crop : int
        Of the net.

    Returns
    -------
    float64 array (height, width)
        Bilinear; NaN where the net did not look.

    Examples
    --------
    >>> upon(np.ones((2, 2), np.float32), (4, 4), radius=0, size=8, crop=4)
    array([[nan, nan, nan, nan],
           [nan,  1.,  1., nan],
           [nan,  1.,  1., nan],
           [nan, nan, nan, nan]])
    """
    rows, columns = (
        _places(side, radius, size, crop, cells) for side, cells in zip(shape, heat.shape)
    )
    along = np.stack([np.interp(columns, np.arange(len(line)), line) for line in heat])
    seen: F64 = np.stack([np.interp(rows, np.arange(len(line)), line) for line in along.T], axis=1)
    seen[np.isnan(rows)] = np.nan
    seen[:, np.isnan(columns)] = np.nan
    return seen


def _places(side: int, radius: int, size: int, crop: int, cells: int) -> F64:
    """Say in which cell of the heat the middle of each pixel of a side lies."""
    stretched = (np.arange(side) + 0.5 - radius) / (side - 2 * radius) * size
    inside = (stretched - (size - crop) // 2) / crop
    inside[(inside < 0) | (inside > 1)] = np.nan
    return inside * cells - 0.5
