"""The net that a run starts from: a released one, the user's own, a run's, or an architecture."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from lbpmap._files import PathLike
from lbpmap.emotion.architectures import ARCHITECTURES, architecture_files
from lbpmap.emotion.registry import NetFiles, check_size, find_nets, net_in


@dataclass(frozen=True)
class Source:
    """The net that a run starts from.

    Attributes
    ----------
    name, architecture : str
        What it was called by, and what its layout is called.
    train_val, solver : Path
        Its text for training, or the one that it is run by; and the solver's.
    representation : str or None
        What it was made for, where that is known.
    size, crop : int
        Side of the stretched picture, and of what is cut from it.
    labels : tuple of str
        Of its outputs; empty where it has not learned any.
    weights, mean : Path or None
    """

    name: str
    architecture: str
    train_val: Path
    solver: Path
    representation: str | None
    size: int
    crop: int
    labels: tuple[str, ...]
    weights: Path | None
    mean: Path | None


def find_source(
    name: PathLike,
    *,
    models: PathLike | None = None,
    train_val: PathLike | None = None,
    solver: PathLike | None = None,
) -> Source:
    """Find the net that a run shall start from.

    Parameters
    ----------
    name : str or path
        The folder of a net or of a run; the name of a net that `find_nets` finds; or one of
        `ARCHITECTURES`, which has learned nothing yet.
    models : str or path, optional
        As for `lbpmap.emotion.registry.find_nets`.
    train_val, solver : str or path, optional
        Prototxts in place of the net's own.

    Returns
    -------
    Source

    Raises
    ------
    OSError, ValueError
        When there is no such net.
    """
    default = architecture_files(ARCHITECTURES[0]).solver
    if os.fspath(name) in ARCHITECTURES and not Path(name).is_dir():
        files = architecture_files(os.fspath(name))
        found = Source(
            files.name,
            files.name,
            files.train_val,
            files.solver,
            None,
            files.size,
            files.crop,
            (),
            None,
            None,
        )
    else:
        net = _net_files(name, models)
        check_size(net)
        own = net.deploy.with_name("train_val.prototxt")
        steps = net.deploy.with_name("solver.prototxt")
        found = Source(
            net.name,
            net.architecture,
            own if own.is_file() else net.deploy,
            steps if steps.is_file() else default,
            net.representation,
            net.size,
            net.crop,
            net.labels,
            net.weights,
            net.mean,
        )
    return replace(
        found,
        train_val=Path(train_val) if train_val is not None else found.train_val,
        solver=Path(solver) if solver is not None else found.solver,
    )


def _net_files(name: PathLike, models: PathLike | None) -> NetFiles:
    if (Path(name) / "model.toml").is_file():
        return net_in(name)
    nets = find_nets(models)
    if os.fspath(name) not in nets:
        raise ValueError(
            f"no net {os.fspath(name)!r}: expected a folder with a model.toml, one of "
            f"{', '.join(nets)}, or an architecture: {', '.join(ARCHITECTURES)}"
        )
    return nets[os.fspath(name)]
