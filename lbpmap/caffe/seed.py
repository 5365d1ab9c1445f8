"""Where the random numbers of fillers and Dropout come from."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np

from lbpmap.caffe import engine
from lbpmap.caffe.layers.plan import Layer

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


def states(layers: Iterable[Layer]) -> dict[str, Any]:
    """Copy where the generators of layers stand, as what JSON can hold.

    Parameters
    ----------
    layers : iterable of Layer

    Returns
    -------
    dict, by name of layer
        "numpy", the state of its NumPy generator; and, where it has drawn on PyTorch, "torch", the
        state of that generator in base64, and its "device".
    """
    found = {}
    for layer in layers:
        state: dict[str, Any] = {"numpy": layer.rng.bit_generator.state}
        on_torch = layer.kept.get("generator")
        if on_torch is not None:
            raw = on_torch.get_state().numpy().tobytes()
            state["torch"] = base64.b64encode(raw).decode("ascii")
            state["device"] = str(on_torch.device)
        found[layer.name] = state
    return found


def restore(layers: Iterable[Layer], known: dict[str, Any]) -> None:
    """Let the generators of layers go on from where `states` found them.

    Parameters
    ----------
    layers : iterable of Layer
    known : dict, by name of layer

    Raises
    ------
    ValueError
        When a layer is not in `known`, or its state is none.
    """
    for layer in layers:
        try:
            state = known[layer.name]
            layer.rng.bit_generator.state = state["numpy"]
            if "torch" in state:
                import torch

                generator = torch.Generator(torch.device(state["device"]))
                raw = np.frombuffer(base64.b64decode(state["torch"]), np.uint8)
                generator.set_state(torch.from_numpy(raw.copy()))
                layer.kept["generator"] = generator
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f'layer "{layer.name}": no state of its random numbers ({error!r})'
            ) from None
