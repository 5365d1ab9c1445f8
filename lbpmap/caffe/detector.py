"""pycaffe's Detector: windows of pictures in, class scores of each out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np

from lbpmap._arrays import F32, F64, Array
from lbpmap.caffe import io
from lbpmap.caffe.classifier import preprocessing
from lbpmap.caffe.formats.messages import TEST
from lbpmap.caffe.net import Net
from lbpmap.caffe.parameters import PathLike


class Detector(Net):
    """A net that classifies windows of pictures, as R-CNN does.

    Parameters
    ----------
    model_file, pretrained_file : str or path
        Prototxt and caffemodel.
    mean, input_scale, raw_scale, channel_swap : optional
        As in `io.Transformer`.
    context_pad : int, optional
        How many pixels of a crop, on each side, show what surrounds its window; beyond the picture
        stands the mean. 16 in R-CNN.

    Attributes
    ----------
    transformer : io.Transformer
    crop_dims : array of two int
    context_pad : int or None
    crop_mean : float32 array (H, W, C) or (1, 1, C)
        What stands beyond the picture, in the picture's own range; only with `context_pad`.

    Raises
    ------
    OSError, ValueError
        As `Net` and `io.Transformer`, and when `context_pad` leaves nothing of the crop.
    """

    def __init__(
        self,
        model_file: PathLike,
        pretrained_file: PathLike,
        mean: Array | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer, self.crop_dims = preprocessing(
            self, mean, input_scale, raw_scale, channel_swap
        )
        self.configure_crop(context_pad)

    def detect_windows(
        self, images_windows: Iterable[tuple[PathLike, Sequence[Sequence[float]]]]
    ) -> list[dict[str, Any]]:
        """Classify windows of pictures.

        Parameters
        ----------
        images_windows : iterable of (path, windows)
            A picture's file, and its windows (top, left, bottom, right) in pixels, the last row and
            column not among them.

        Returns
        -------
        list of dict
            One for each window, in order: ``window``, ``prediction`` (float32, the net's first
            output) and ``filename``.

        Raises
        ------
        OSError
            When a picture cannot be read.
        ValueError
            When a window is not of four numbers, or holds no pixel of its picture.
        """
        found: list[dict[str, Any]] = []
        crops: list[F32] = []
        name = self.inputs[0]
        for filename, windows in images_windows:
            picture = io.load_image(filename)
            for window in windows:
                try:
                    crop = self.crop(picture, window)
                except ValueError as error:
                    raise ValueError(f"{filename}: {error}") from None
                crops.append(self.transformer.preprocess(name, crop))
                found.append({"window": window, "prediction": None, "filename": filename})
        if crops:
            scores = self.forward_all(**{name: np.stack(crops)})[self.outputs[0]]
            for each, prediction in zip(found, scores):
                each["prediction"] = prediction.reshape(-1)
        return found

    def detect_selective_search(self, image_fnames: Iterable[PathLike]) -> NoReturn:
        """Refuse: windows come from a MATLAB program that is no part of Caffe.

        Raises
        ------
        NotImplementedError
        """
        raise NotImplementedError(
            "Detector.detect_selective_search: selective search is a MATLAB program of its own "
            "(selective_search_ijcv_with_python); find windows otherwise and call detect_windows"
        )

    def crop(self, im: Array, window: Sequence[float]) -> F32:
        """Cut a window out of a picture, with its surroundings if `context_pad` is set.

        Parameters
        ----------
        im : array (H, W, C)
        window : (top, left, bottom, right)

        Returns
        -------
        float32 array
            The window itself, or with `context_pad` one of `crop_dims`.

        Raises
        ------
        ValueError
            When the window is not of four numbers, or holds no pixel of the picture.
        """
        box = np.asarray(window, np.float64)
        if box.shape != (4,) or not np.all(np.isfinite(box)):
            raise ValueError(f"a window must be (top, left, bottom, right), got {window!r}")
        if self.context_pad:
            return self._with_context(im, box)
        top, left, bottom, right = box.astype(int)
        crop: F32 = np.asarray(im[top:bottom, left:right], np.float32)
        _check_pixels(crop, im, window)
        return crop

    def configure_crop(self, context_pad: int | None) -> None:
        """Choose how much of its surroundings a crop shows; see `Detector`."""
        name = self.inputs[0]
        if context_pad is not None and not 0 <= 2 * context_pad < min(self.crop_dims):
            raise ValueError(
                f"Detector: context_pad must be from 0 to less than half the crop of "
                f"{self.crop_dims.tolist()}, got {context_pad}"
            )
        self.context_pad = context_pad
        if not context_pad:
            return
        t = self.transformer
        if name not in t.mean:
            channels = self.blobs[name].channels
            self.crop_mean: F32 = np.zeros((*self.crop_dims, channels), np.float32)
            return
        mean = np.array(t.mean[name], np.float32)
        if name in t.raw_scale:
            mean /= np.float32(t.raw_scale[name])
        if name in t.channel_swap:
            mean = mean[np.argsort(t.channel_swap[name])]
        self.crop_mean = mean.transpose(np.argsort(t.transpose[name]))

    def _with_context(self, im: Array, window: F64) -> F32:
        """Cut a window that is enlarged until it fills the crop but for `context_pad`."""
        assert self.context_pad is not None
        # As R-CNN, which knows square crops only: both directions go by the number of rows.
        size = int(self.crop_dims[0])
        half = (window[2:] - window[:2] + 1) / 2
        reach = half * (size / (size - 2 * self.context_pad))
        centre = window[:2] + half
        first, last = np.rint(centre - reach), np.rint(centre + reach)
        scale = size / (last - first + 1)
        # Where in the crop the picture begins, and how much of the crop it fills.
        start = np.rint(np.maximum(0, -first) * scale).astype(int)
        limits = np.array(im.shape[:2])
        low, high = np.clip(first, 0, limits).astype(int), np.clip(last, 0, limits).astype(int)
        filled = np.rint((high - low + 1) * scale).astype(int)
        filled = np.minimum(filled, size - start)
        inside = im[low[0] : high[0], low[1] : high[1]]
        _check_pixels(inside, im, window)
        crop: F32 = np.array(
            np.broadcast_to(self.crop_mean, (*self.crop_dims, im.shape[2])), np.float32
        )
        rows, cols = (slice(s, s + n) for s, n in zip(start, filled))
        crop[rows, cols] = io.resize_image(inside, filled)
        return crop


def _check_pixels(crop: Array, im: Array, window: Any) -> None:
    if crop.size == 0:
        raise ValueError(
            f"the window {np.asarray(window).tolist()} (top, left, bottom, right) holds no pixel "
            f"of the picture of {im.shape[0]} x {im.shape[1]}"
        )
