"""Which nets there are, and where their files lie.

A net is a folder: `deploy.prototxt`, weights, mean, and `model.toml`, which says what the net wants
to see and what its outputs are called. The package brings the folders of the five released nets
without weights and mean; those are the user's.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

import lbpmap

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DESCRIPTION = "model.toml"
_MAX_DESCRIPTION_BYTES = 1 << 20


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
    deploy : Path
        The net's prototxt.
    weights, mean : Path or None
        The caffemodel and the mean picture; None where no folder has them.
    weights_bytes : int or None
        Size of a complete caffemodel, where it is known.
    folders : tuple of Path
        Where it was looked for, in order.
    """

    name: str
    representation: str
    labels: tuple[str, ...]
    size: int
    crop: int
    deploy: Path
    weights: Path | None
    mean: Path | None
    weights_bytes: int | None
    folders: tuple[Path, ...]


def packaged_folder() -> Path:
    """Folder of the released nets: inside the installed package, or at the top of a checkout."""
    package = Path(lbpmap.__file__).parent
    installed = package / "caffe_models"
    return installed if installed.is_dir() else package.parent / "caffe_models"


def search_path(models: str | os.PathLike[str] | None = None) -> list[Path]:
    """List the folders where nets are looked for, the first one first.

    Parameters
    ----------
    models : str or path, optional
        A folder to look in before the others; it must exist.

    Returns
    -------
    list of Path
        `models`, what the environment variable ``LBPMAP_MODELS`` names, ``lbpmap/models`` in the
        user's data folder, and the package's own folder.

    Raises
    ------
    NotADirectoryError
        When `models`, or the folder that ``LBPMAP_MODELS`` names, does not exist.
    """
    found = []
    for named, source in ((models, "--models"), (os.environ.get("LBPMAP_MODELS"), "LBPMAP_MODELS")):
        if named:
            if not Path(named).is_dir():
                raise NotADirectoryError(
                    f"{named}: no such folder ({source}); expected a folder that holds one folder "
                    f"a net, such as VGG_S_rgb"
                )
            found.append(Path(named))
    user = Path(platformdirs.user_data_dir("lbpmap", appauthor=False)) / "models"
    return [*found, user, packaged_folder()]


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
        if root.is_dir()
        for folder in sorted(root.iterdir())
        if (folder / _DESCRIPTION).is_file()
    }
    return {name: _find_net(name, roots) for name in names}


def _find_net(name: str, roots: list[Path]) -> NetFiles:
    folders = [root / name for root in roots]
    described = next(folder for folder in folders if (folder / _DESCRIPTION).is_file())
    says = _Description(described / _DESCRIPTION)
    with_weights = next(
        (folder for folder in folders if (folder / says.text("files", "weights")).is_file()), None
    )
    mean = with_weights and with_weights / says.text("files", "mean")
    deploy = says.text("files", "deploy")
    own = with_weights and (with_weights / deploy).is_file()
    return NetFiles(
        name=name,
        representation=says.text("representation"),
        labels=tuple(says.get(list, "labels")),
        size=says.get(int, "input", "size"),
        crop=says.get(int, "input", "crop"),
        deploy=(with_weights if with_weights and own else described) / deploy,
        weights=with_weights and with_weights / says.text("files", "weights"),
        mean=mean if mean and mean.is_file() else None,
        weights_bytes=says.get(int, "files", "weights_bytes", default=None),
        folders=tuple(folders),
    )


class _Description:
    """A model.toml whose fields are checked as they are read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            raw = file.read(_MAX_DESCRIPTION_BYTES + 1)
        if len(raw) > _MAX_DESCRIPTION_BYTES:
            raise ValueError(f"{path}: larger than any description of a net")
        try:
            self._fields = tomllib.loads(raw.decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a TOML file: {error}") from None

    def get(self, kind: type, *keys: str, **default: Any) -> Any:
        """Give the field at `keys`, which must be of type `kind`."""
        value: Any = self._fields
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None and default:
            return default["default"]
        if not isinstance(value, kind) or isinstance(value, bool):
            got = "nothing" if value is None else repr(value)
            raise ValueError(
                f"{self._path}: field {'.'.join(keys)} must be a {kind.__name__}, got {got}"
            )
        return value

    def text(self, *keys: str) -> str:
        """Give a field that is a line of text; a file name may not lead out of the folder."""
        value = str(self.get(str, *keys))
        if keys[0] == "files" and Path(value).name != value:
            raise ValueError(
                f"{self._path}: field {'.'.join(keys)} must be a bare file name, got {value!r}"
            )
        return value


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
    where = f"; where to get it and where to put it: {packaged_folder() / 'README.md'}"
    if net.weights is None:
        folders = ", ".join(str(folder) for folder in net.folders)
        raise FileNotFoundError(f"{net.name}: no weights in {folders}{where}")
    if net.mean is None:
        raise FileNotFoundError(
            f"{net.name}: no mean beside {net.weights}, and without it every face comes out as "
            f"one class{where}"
        )
    size = net.weights.stat().st_size
    if net.weights_bytes is not None and size != net.weights_bytes:
        raise ValueError(
            f"{net.weights}: {size} bytes, but {net.name}'s weights have {net.weights_bytes}: an "
            f"incomplete download or another file{where}"
        )
    return net.weights, net.mean
