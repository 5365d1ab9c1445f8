"""Which nets there are, and where their files lie.

A net is a folder: `deploy.prototxt`, weights, mean, and `model.toml`, which says what the net wants
to see and what its outputs are called. The package brings the folders of the five released nets
without weights and mean; those are the user's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbpmap import _toml
from lbpmap._blob import MAX_SIZE
from lbpmap._errors import one_line
from lbpmap.models import known
from lbpmap.models.known import DESCRIPTION as DESCRIPTION
from lbpmap.models.places import packaged_folder as packaged_folder
from lbpmap.models.places import search_path as search_path
from lbpmap.representations import REPRESENTATIONS, resolve

# Dotted keys take time with the square of their number: 3 s when they fill this, 16 s at double.
_MAX_DESCRIPTION_BYTES = 1 << 15
# What a name of a file takes at most; in bytes, where characters may take several.
_MAX_NAME = 255


@dataclass(frozen=True)
class NetFiles:
    """A net, as its description has it, and its files, as far as they are there.

    Attributes
    ----------
    name : str
        Name of its folder.
    representation : str
        What it looks at: one of `lbpmap.REPRESENTATIONS`, or a table file.
    labels : tuple of str
        Names of its outputs, in order.
    size, crop : int
        Side of the stretched picture and of the crop, pixels.
    mean_mode : {"resize", "crop"}
        How a mean picture meets the crop, as for `lbpmap.caffe_blob`.
    deploy : Path
        The net's prototxt.
    weights, mean : Path or None
        The caffemodel and the mean picture; None where no folder has them.
    weights_bytes : int or None
        Size of a complete caffemodel, where the registry of models knows it.
    folders : tuple of Path
        Where it was looked for, in order.
    architecture : str
        What the description calls it, such as "VGG_S"; else the name without its representation.
    licence : str
        On which terms it may be used, as its description or the registry says; may be empty.
    """

    name: str
    representation: str
    labels: tuple[str, ...]
    size: int
    crop: int
    mean_mode: str
    deploy: Path
    weights: Path | None
    mean: Path | None
    weights_bytes: int | None
    folders: tuple[Path, ...]
    architecture: str
    licence: str = ""


def find_nets(models: str | os.PathLike[str] | None = None) -> dict[str, NetFiles]:
    """Find every net that is described somewhere on the search path.

    The first folder on the path that has a net's weights provides weights and mean, and the
    prototxt too if it has one of its own.

    Parameters
    ----------
    models : str or path, optional
        As for `search_path`.

    Returns
    -------
    dict of NetFiles, by name
        The released ones first.

    Raises
    ------
    OSError, ValueError
        When a folder is missing or a description cannot be understood.
    """
    roots = search_path(models)
    names = {
        folder.name: None
        for root in reversed(roots)
        for folder in _folders(root)
        if (folder / DESCRIPTION).is_file()
    }
    sets = known.load()
    return {name: _find_net(name, roots, sets) for name in names}


def net_in(folder: str | os.PathLike[str]) -> NetFiles:
    """Give the net that a folder holds, wherever it lies.

    Parameters
    ----------
    folder : str or path
        With a `model.toml`; weights and mean are looked for nowhere else.

    Returns
    -------
    NetFiles

    Raises
    ------
    OSError, ValueError
        When there is no description, or it cannot be understood.
    """
    place = Path(os.path.abspath(folder))
    if not (place / DESCRIPTION).is_file():
        raise FileNotFoundError(f"{folder}: no net: it holds no {DESCRIPTION}")
    return _find_net(place.name, [place.parent], known.load())


def _folders(root: Path) -> list[Path]:
    """List what is in a folder; one that is not there or may not be opened holds nothing."""
    try:
        return sorted(root.iterdir())
    except (FileNotFoundError, PermissionError):
        return []


def _find_net(name: str, roots: list[Path], sets: dict[str, known.KnownSet]) -> NetFiles:
    folders = [root / name for root in roots]
    described = next(folder for folder in folders if (folder / DESCRIPTION).is_file())
    says = _Description(described / DESCRIPTION)
    says.check()
    with_weights = next(
        (folder for folder in folders if (folder / says.text("files", "weights")).is_file()), None
    )
    mean = with_weights and with_weights / says.text("files", "mean")
    deploy = says.text("files", "deploy")
    # Weights come with their own prototxt, or run with the one of the first folder that has it.
    places = [folder for folder in (with_weights, described, *folders) if folder]
    with_deploy = next((folder for folder in places if (folder / deploy).is_file()), described)
    # A run of one's own may bear the name of a released net; its weights are called otherwise.
    published = sets.get(name)
    file = published and published.file(says.text("files", "weights"))
    stated = published.publication.licence if published and file else ""
    return NetFiles(
        name=name,
        representation=says.representation(),
        labels=tuple(says.get(list, "labels")),
        size=says.get(int, "input", "size"),
        crop=says.get(int, "input", "crop"),
        mean_mode=says.get(str, "input", "mean_mode", default="resize"),
        deploy=with_deploy / deploy,
        weights=with_weights and with_weights / says.text("files", "weights"),
        mean=mean if mean and mean.is_file() else None,
        weights_bytes=file.bytes if file else None,
        folders=tuple(folders),
        architecture=says.get(str, "architecture", default=None)
        or _without(name, resolve(says.representation()).name),
        licence=one_line(says.get(str, "licence", default=stated) or " ").strip(),
    )


def _without(name: str, representation: str) -> str:
    """Cut the representation off a net's name: VGG_S_lbp is a VGG_S."""
    ending = f"_{representation}"
    return name[: -len(ending)] if name.endswith(ending) and name != ending else name


class _Description:
    """A model.toml whose fields are checked as they are read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fields = _toml.read(path, _MAX_DESCRIPTION_BYTES, "the description of a net")

    def check(self) -> None:
        """Refuse a net that would be shown something else than its description asks for."""
        labels = self.get(list, "labels")
        if not labels or not all(isinstance(la, str) and la.isprintable() for la in labels):
            self._refuse("labels must be a list of names, each of printable characters")
        if len(set(labels)) < len(labels):
            self._refuse("labels must differ from each other")
        size, crop = self.get(int, "input", "size"), self.get(int, "input", "crop")
        if not 1 <= crop <= size <= MAX_SIZE:
            self._refuse(
                f"input.crop and input.size must be 1 to {MAX_SIZE}, the crop no larger, got "
                f"{_shown(crop)} and {_shown(size)}"
            )
        for key, only in (("channel_order", "BGR"), ("raw_scale", 255)):
            given = self._fields["input"].get(key, only)
            if given != only:
                self._refuse(f"input.{key} is {_shown(given)}, and only {only!r} is supported")
        mean_mode = self._fields["input"].get("mean_mode", "resize")
        if mean_mode not in ("resize", "crop"):
            self._refuse(f'input.mean_mode must be "resize" or "crop", got {_shown(mean_mode)}')
        shown = resolve(self.representation())
        for key, is_ in (("radius", shown.radius), ("table", shown.table and shown.table.name)):
            given = self._fields.get(key, is_)
            if given != is_:
                self._refuse(f"{key} is {_shown(given)}, but that of {shown.name} is {is_!r}")

    def _refuse(self, what: str) -> None:
        raise ValueError(f"{self._path}: {one_line(what)}")

    def representation(self) -> str:
        """Give the representation; the file of a table is looked for beside the description."""
        named = self.text("representation")
        if named in REPRESENTATIONS:
            return named
        path = self._path.parent / named
        if not path.is_file():
            self._refuse(
                f"representation must be one of {', '.join(REPRESENTATIONS)}, or a table file "
                f"beside it, got {_shown(named)}"
            )
        return str(path)

    def get(self, kind: type, *keys: str, **default: Any) -> Any:
        """Give the field at `keys`, which must be of type `kind`."""
        value: Any = self._fields
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None and default:
            return default["default"]
        if not isinstance(value, kind) or isinstance(value, bool):
            got = "nothing" if value is None else _shown(value)
            raise ValueError(
                f"{self._path}: field {'.'.join(keys)} must be a {kind.__name__}, got {got}"
            )
        return value

    def text(self, *keys: str) -> str:
        """Give a field that is a line of text; a file name may not lead out of the folder."""
        value = str(self.get(str, *keys))
        if len(value) > _MAX_NAME or "\0" in value:
            self._refuse(f"field {'.'.join(keys)} is no name of a file: {_shown(value)}")
        if keys[0] == "files" and Path(value).name != value:
            raise ValueError(
                f"{self._path}: field {'.'.join(keys)} must be a bare file name, got "
                f"{_shown(value)}"
            )
        return value


def _shown(value: Any) -> str:
    """Show what a hostile description may hold: a text or number cut short, or what kind it is."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "an integer beyond 64 bits"  # Python may refuse to write it out
    if isinstance(value, (list, dict)):
        return f"a {type(value).__name__}"
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}..."


def how_to_get(name: str | None = None) -> str:
    """Say how to get a net's weights, as the end of a sentence that says that they are missing.

    Parameters
    ----------
    name : str, optional
        The net's; left out, those of any.

    Returns
    -------
    str
    """
    fetchable = name is None or name in known.load()
    fetch = f"'lbpmap models fetch {name or 'NAME'}' or " if fetchable else ""
    return (
        f"get {'it' if name else 'one'} with {fetch}'lbpmap models import ZIP|FOLDER', or say "
        f"where it is (--models DIR): {packaged_folder() / 'README.md'}"
    )


def require_weights(net: NetFiles) -> tuple[Path, Path]:
    """Give the net's weights and mean, or an error that says what is missing and where to get it.

    Parameters
    ----------
    net : NetFiles

    Returns
    -------
    weights, mean : Path

    Raises
    ------
    FileNotFoundError
        When one of the two is not there.
    ValueError
        When the weights have another size than a complete file.
    """
    where = f"; {how_to_get(net.name)}"
    if net.weights is None:
        folders = ", ".join(str(folder) for folder in net.folders)
        raise FileNotFoundError(f"{net.name}: no weights in {folders}{where}")
    if net.mean is None:
        raise FileNotFoundError(
            f"{net.name}: no mean beside {net.weights}, and without it every face comes out as "
            f"one class{where}"
        )
    check_size(net)
    return net.weights, net.mean


def check_size(net: NetFiles) -> None:
    """Refuse weights of another size than a complete file has, where that is known.

    Parameters
    ----------
    net : NetFiles

    Raises
    ------
    ValueError
    """
    if net.weights is None or net.weights_bytes is None:
        return
    size = net.weights.stat().st_size
    if size != net.weights_bytes:
        raise ValueError(
            f"{net.weights}: {size} bytes, but {net.name}'s weights have {net.weights_bytes}: an "
            f"incomplete download, or a net of your own, which goes into a folder of its own; "
            f"{how_to_get(net.name)}"
        )
