"""Which nets a command means: folders of nets, folders of many, and names on the search path."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from lbpmap._files import PathLike
from lbpmap.emotion.registry import (
    DESCRIPTION,
    NetFiles,
    find_nets,
    how_to_get,
    net_in,
    search_path,
)


def select_nets(named: Iterable[PathLike], models: PathLike | None = None) -> list[NetFiles]:
    """Find the nets that folders and names mean.

    Parameters
    ----------
    named : iterable of str or path
        Each is the folder of a net (which holds a `model.toml`), a folder of such folders, or the
        name of a net on the search path. Of a folder of folders, those with weights are taken, also
        of released nets that are described only in the package.
    models : str or path, optional
        Searched first for names, as by `find_nets`.

    Returns
    -------
    list of NetFiles
        Each once, in order. Where folders of one name lie in different places, their nets' names
        begin with those of the folders above.

    Raises
    ------
    OSError, ValueError
        When one means nothing, or a description cannot be understood.
    """
    found: dict[object, NetFiles] = {}
    for item in named:
        for files in _meant(item, models):
            # Weights that are not there will be missed by name.
            key = files.name if files.weights is None else os.path.realpath(files.weights)
            found.setdefault(key, files)
    return _with_own_names(list(found.values()))


def select_net(named: PathLike, models: PathLike | None = None) -> NetFiles:
    """Find the one net that a folder or a name means.

    Parameters
    ----------
    named : str or path
        As for `select_nets`.
    models : str or path, optional
        Searched first for a name.

    Returns
    -------
    NetFiles

    Raises
    ------
    OSError, ValueError
        As `select_nets`; when it means several.
    """
    chosen = select_nets([named], models)
    if len(chosen) > 1:
        names = ", ".join(files.name for files in chosen)
        raise ValueError(f"{named}: {len(chosen)} nets, one is to be chosen: name one of {names}")
    return chosen[0]


def ready_nets(models: PathLike | None = None) -> list[NetFiles]:
    """Find the nets whose weights are on the search path.

    Parameters
    ----------
    models : str or path, optional
        Searched first, as by `find_nets`.

    Returns
    -------
    list of NetFiles
        At least one; the released ones first.

    Raises
    ------
    FileNotFoundError
        When there is none.
    OSError, ValueError
        When a folder is missing or a description cannot be understood.
    """
    nets, roots = find_nets(models), search_path(models)
    ready = [files for files in nets.values() if files.weights is not None]
    if not ready:
        raise FileNotFoundError(
            f"no weights in {', '.join(map(str, roots))} for any of {', '.join(nets)}: each net "
            f"is a folder of its name there; {how_to_get()}"
        )
    return ready


def net_at(folder: PathLike) -> NetFiles:
    """Give the net whose weights a folder holds, which may be described in the package alone.

    Parameters
    ----------
    folder : str or path

    Returns
    -------
    NetFiles

    Raises
    ------
    OSError, ValueError
        When there is no net, or its description cannot be understood.
    """
    place = Path(os.path.abspath(folder))
    if (place / DESCRIPTION).is_file():
        return net_in(place)
    files = find_nets(place.parent).get(place.name) if place.is_dir() else None
    if files is None or files.weights is None or files.weights.parent != place:
        raise FileNotFoundError(f"{folder}: no net: expected a folder with {DESCRIPTION}, weights")
    return files


def _meant(item: PathLike, models: PathLike | None) -> list[NetFiles]:
    path = Path(item)
    if not path.is_dir():
        nets = find_nets(models)
        if str(item) not in nets:
            raise ValueError(
                f"{item}: neither a folder nor the name of a net; known ones are {', '.join(nets)}"
            )
        return [nets[str(item)]]
    if (path / DESCRIPTION).is_file():
        return [net_in(path)]
    root = Path(os.path.abspath(path))
    inside = [files for files in find_nets(root).values() if root in _above(files)]
    if not inside:
        raise FileNotFoundError(
            f"{item}: no net: expected a folder with {DESCRIPTION}, or a folder of such folders, "
            f"with weights"
        )
    return inside


def _above(files: NetFiles) -> Iterable[Path]:
    return [] if files.weights is None else files.weights.parents


def _with_own_names(nets: list[NetFiles]) -> list[NetFiles]:
    for above in range(1, 1 + max((len(_place(files)) for files in nets), default=0)):
        often = Counter(files.name for files in nets)
        if max(often.values()) == 1:
            break
        nets = [
            replace(files, name="_".join(_place(files)[-1 - above :]))
            if often[files.name] > 1
            else files
            for files in nets
        ]
    return nets


def _place(files: NetFiles) -> tuple[str, ...]:
    folder = files.deploy.parent if files.weights is None else files.weights.parent
    return folder.parts[1:]
