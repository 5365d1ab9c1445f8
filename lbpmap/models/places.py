"""Where files of models lie: folders that are looked in, and the one that is written to."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

import lbpmap

__all__ = ["cache_folder", "packaged_folder", "search_path", "target_folder"]


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
                    f"{named}: no such folder ({source}); make it, or name one that holds one "
                    f"folder a net, such as VGG_S_rgb"
                )
            found.append(Path(named))
    user = Path(platformdirs.user_data_dir("lbpmap", appauthor=False)) / "models"
    return [*found, user, packaged_folder()]


def target_folder(models: str | os.PathLike[str] | None = None) -> Path:
    """Give the folder that new files go into: the first one that is looked in.

    That of the user's data folder is made where it is missing; the others must exist, so that a
    slip of the pen does not take two gigabytes elsewhere.

    Parameters
    ----------
    models : str or path, optional
        As for `search_path`.

    Returns
    -------
    Path

    Raises
    ------
    OSError
        When it does not exist or cannot be made.
    ValueError
        When it is the package's own folder.
    """
    first = search_path(models)[0]
    packaged = packaged_folder().resolve()
    if packaged in (first.resolve(), *first.resolve().parents):
        raise ValueError(
            f"{first}: the package's own folder, which nothing is written into; give another one "
            f"(--models DIR)"
        )
    first.mkdir(parents=True, exist_ok=True)
    return first


def cache_folder() -> Path:
    """Give the folder of unfinished downloads: ``LBPMAP_CACHE``, else one in the user's cache."""
    named = os.environ.get("LBPMAP_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("lbpmap", appauthor=False))
