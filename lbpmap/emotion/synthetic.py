"""Seeded random weights in the place of the released ones: for the demo, tests and benchmarks.

They show that files, shapes and speeds are right. What such a net answers means nothing.
"""

from __future__ import annotations

import os

import numpy as np

from lbpmap import caffe


def write_random_weights(
    deploy: str | os.PathLike[str], path: str | os.PathLike[str], seed: int = 0
) -> int:
    """Write a caffemodel of random weights for a prototxt.

    Weights are normal with variance 2 / (inputs of a unit), so that activations neither die out
    nor overflow; biases are zero.

    Parameters
    ----------
    deploy : str or path
        The net's prototxt.
    path : str or path
        The caffemodel to write; it appears whole or not at all.
    seed : int, default 0
        The same seed gives the same file.

    Returns
    -------
    int
        Number of parameters.

    Raises
    ------
    OSError, ValueError
        When the prototxt cannot be read or the file not be written.
    """
    net = caffe.Net(str(deploy), caffe.TEST)
    rng = np.random.default_rng(seed)
    count = 0
    for blobs in net.params.values():
        weights = blobs[0].data
        rng.standard_normal(out=weights, dtype=np.float32)
        weights *= np.float32(np.sqrt(2 / (weights.size // len(weights))))
        count += sum(blob.data.size for blob in blobs)
    net.save(str(path))
    return count
