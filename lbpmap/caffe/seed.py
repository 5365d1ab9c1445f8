"""Where the random numbers of fillers and Dropout come from."""

from __future__ import annotations

import numpy as np

from lbpmap.caffe import engine

_seeds = [np.random.SeedSequence()]


def set_random_seed(seed: int) -> None:
    """Make the nets that are built from now on start with the same numbers each time.

    Parameters
    ----------
    seed : int
        From 0; the streams are not Caffe's own, but with the engine "real" they are.

    Examples
    --------
    >>> set_random_seed(1)
    >>> first = new_generator().random()
    >>> set_random_seed(1)
    >>> new_generator().random() == first
    True
    """
    _seeds[0] = np.random.SeedSequence(seed)
    if engine.is_real():
        engine.call_real("set_random_seed", int(seed))


def new_generator() -> np.random.Generator:
    """Return the next independent generator of the stream that `set_random_seed` started."""
    return np.random.default_rng(_seeds[0].spawn(1)[0])
