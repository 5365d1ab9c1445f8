"""pycaffe's Classifier: pictures in, class scores out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lbpmap._arrays import F32, Array
from lbpmap.caffe import io
from lbpmap.caffe.formats.messages import TEST
from lbpmap.caffe.net import Net
from lbpmap.caffe.parameters import PathLike


class Classifier(Net):
    """A net with the preprocessing of its one input.

    Parameters
    ----------
    model_file, pretrained_file : str or path
        Prototxt and caffemodel.
    image_dims : (int, int), optional
        Rows and columns that pictures are stretched to before cropping; the input's size by
        default.
    mean, input_scale, raw_scale, channel_swap : optional
        As in `io.Transformer`.

    Attributes
    ----------
    transformer : io.Transformer
    image_dims, crop_dims : arrays of two int

    Raises
    ------
    OSError, ValueError
        As `Net` and `io.Transformer`.
    """

    def __init__(
        self,
        model_file: PathLike,
        pretrained_file: PathLike,
        image_dims: Sequence[int] | None = None,
        mean: Array | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer, self.crop_dims = preprocessing(
            self, mean, input_scale, raw_scale, channel_swap
        )
        self.image_dims = np.array(image_dims) if image_dims else self.crop_dims

    def predict(self, inputs: Sequence[Array], oversample: bool = True) -> F32:
        """Classify pictures.

        Parameters
        ----------
        inputs : sequence of arrays (H, W, C)
            As `io.load_image` gives them.
        oversample : bool, default True
            Average over the four corners, the centre and their mirrors, or take the centre only.

        Returns
        -------
        float32 array (len(inputs), classes)

        Raises
        ------
        TypeError
            When `inputs` is no sequence, or something in it is no array.
        ValueError
            When there is no picture, or one is not (H, W, C) or has other channels than the first.
        """
        _check_pictures(inputs)
        rows, cols = int(self.image_dims[0]), int(self.image_dims[1])
        pictures: F32 = np.zeros((len(inputs), rows, cols, inputs[0].shape[2]), np.float32)
        for i, picture in enumerate(inputs):
            pictures[i] = io.resize_image(picture, (rows, cols))
        if oversample:
            crops = io.oversample(pictures, self.crop_dims)
        else:
            top, left = ((self.image_dims - self.crop_dims) / 2).astype(int)
            height, width = self.crop_dims
            crops = pictures[:, top : top + height, left : left + width]
        name = self.inputs[0]
        data: F32 = np.stack([self.transformer.preprocess(name, crop) for crop in crops])
        scores = self.forward_all(**{name: data})[self.outputs[0]]
        if oversample:
            scores = scores.reshape(len(inputs), 10, -1).mean(1)
        return scores


def preprocessing(
    net: Net,
    mean: Array | None,
    input_scale: float | None,
    raw_scale: float | None,
    channel_swap: Sequence[int] | None,
) -> tuple[io.Transformer, Array]:
    """Return the preprocessing of a net's one input, and the input's rows and columns."""
    name = net.inputs[0]
    shape = net.blobs[name].shape
    transformer = io.Transformer({name: shape})
    transformer.set_transpose(name, (2, 0, 1))
    if mean is not None:
        transformer.set_mean(name, mean)
    if input_scale is not None:
        transformer.set_input_scale(name, input_scale)
    if raw_scale is not None:
        transformer.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        transformer.set_channel_swap(name, channel_swap)
    return transformer, np.array(shape[2:])


def _check_pictures(inputs: Sequence[Array]) -> None:
    if isinstance(inputs, np.ndarray) and inputs.ndim == 3:
        raise ValueError(
            f"Classifier.predict: inputs must be a sequence of pictures, got one array of shape "
            f"{inputs.shape}; call predict([picture])"
        )
    if not isinstance(inputs, (list, tuple, np.ndarray)):
        raise TypeError(
            f"Classifier.predict: inputs must be a list of pictures, got {type(inputs).__name__}"
        )
    if len(inputs) == 0:
        raise ValueError("Classifier.predict: inputs hold no picture; give one or more")
    for i, picture in enumerate(inputs):
        if not isinstance(picture, np.ndarray):
            raise TypeError(
                f"Classifier.predict: picture {i} must be an array (H, W, C), got "
                f"{type(picture).__name__}; io.load_image reads a file"
            )
        if picture.ndim != 3 or picture.size == 0:
            raise ValueError(
                f"Classifier.predict: picture {i} must be (H, W, C), got shape {picture.shape}; a "
                f"grey picture goes in as picture[:, :, np.newaxis]"
            )
        if picture.shape[2] != inputs[0].shape[2]:
            raise ValueError(
                f"Classifier.predict: picture {i} has {picture.shape[2]} channels, picture 0 has "
                f"{inputs[0].shape[2]}; give pictures of one kind"
            )
