"""Files to uint8 RGB arrays and back: the only place that decodes.

`read` reads one picture, `read_all` many, ahead of their use, and `blobs` makes of files what a net
takes. `find` lists the pictures of folders, `write_png` writes one.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from lbpmap._arrays import U8
from lbpmap._decode import MAX_PIXELS, printable, read
from lbpmap._errors import one_line
from lbpmap._files import PathLike, atomic_write
from lbpmap._loader import Batch, Unread, blobs, read_all

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "Batch",
    "Unread",
    "blobs",
    "find",
    "read",
    "read_all",
    "write_png",
]

#: Names of pictures that `find` looks for inside folders, in any case.
SUFFIXES = frozenset(
    [".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png"]
    + [".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"]
)


def write_png(path: PathLike, array: U8) -> None:
    """Write a picture as PNG, whole or not at all.

    The file is written beside `path` under a temporary name and then renamed over it, so that no
    reader ever sees half of it and an error leaves what was there before.

    Parameters
    ----------
    path : str or os.PathLike
        The file to write or replace; its folder must exist.
    array : ndarray, uint8, (H, W, 3) or (H, W)
        RGB or grey, of any strides, with at least one pixel.

    Raises
    ------
    TypeError
        `array` is not a uint8 array.
    ValueError
        `array` has another shape.
    OSError
        The folder is missing, or the file cannot be written there.
    """
    name = printable(path)
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{name}: write_png got {got}; expected a uint8 array: round and cast it")
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)) or array.size == 0:
        raise ValueError(
            f"{name}: write_png got shape {array.shape}; expected (H, W, 3) or (H, W), not empty"
        )
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{name}: its folder does not exist; create the folder first")
    if target.is_dir():
        raise IsADirectoryError(f"{name}: a folder; expected the name of a PNG file to write")
    try:
        with atomic_write(target) as file:
            Image.fromarray(array).save(file, format="PNG")
    except OSError as error:
        said = (error.strerror or one_line(error)).removeprefix(f"{target}: ")
        said = said if said.startswith("not written") else f"not written ({said})"
        raise OSError(f"{name}: {said}") from error


def find(inputs: PathLike | Iterable[PathLike]) -> list[tuple[Path, Path]]:
    """List the picture files that files and folders name.

    A file is taken as it is named, whatever its suffix. A folder gives every file below it that
    has one of `SUFFIXES`, sorted by its parts; hidden files and folders (a leading dot) are left
    out. Links are followed, each real folder once per input, so that links in a circle end. A
    folder that is named as a picture and gives none is listed itself: reading it says what it is.

    Parameters
    ----------
    inputs : str, os.PathLike, or an iterable of them
        Files and folders, in the order in which they are to be listed.

    Returns
    -------
    list of (Path, Path)
        The file, and its place below the input that gave it: relative to the folder named, or the
        bare name of a file named itself. An output that keeps the second keeps the layout.

    Raises
    ------
    FileNotFoundError
        An input does not exist.
    ValueError
        A folder holds no picture.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (Path(folder) / "b").mkdir()
    ...     for name in ("c.PNG", "b/a.jpg", "notes.txt"):
    ...         (Path(folder) / name).touch()
    ...     [relative.as_posix() for _, relative in find(folder)]
    ['b/a.jpg', 'c.PNG']
    """
    if isinstance(inputs, (str, os.PathLike)):
        inputs = [inputs]
    found: list[tuple[Path, Path]] = []
    for given in inputs:
        if not os.fspath(given):
            raise ValueError("an input without a name; expected a picture or a folder")
        path = Path(given)
        if path.is_dir():
            below = _pictures_below(path)
            if not below:
                raise ValueError(
                    f"{printable(path)}: a folder without pictures; expected files named "
                    f"{' '.join(sorted(SUFFIXES))}"
                )
            found.extend((path / relative, relative) for relative in below)
        elif path.exists():
            found.append((path, Path(path.name)))
        else:
            raise FileNotFoundError(
                f"{printable(path)}: no such file or folder; expected a picture or a folder"
            )
    return found


def _pictures_below(folder: Path) -> list[Path]:
    """List the pictures below a folder, relative to it."""
    found: list[Path] = []
    named_as_pictures: list[Path] = []
    seen: set[tuple[int, int]] = set()
    waiting = [Path()]
    while waiting:
        relative = waiting.pop()
        status = os.stat(folder / relative)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        folders = []
        try:
            entries = list(os.scandir(folder / relative))
        except PermissionError:
            found.append(relative)  # reading it will say why, and the rest goes on
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            as_picture = Path(entry.name).suffix.lower() in SUFFIXES
            if _is_folder(entry):
                folders.append(relative / entry.name)
                named_as_pictures += folders[-1:] if as_picture else []
            elif as_picture:
                found.append(relative / entry.name)
        # Last in, first out: in falling order the first name is walked first, and is the one by
        # which a folder with several names is listed.
        waiting.extend(sorted(folders, reverse=True))
    given = {parent for path in found for parent in path.parents}
    found += [folder for folder in named_as_pictures if folder not in given]
    return sorted(found, key=lambda path: path.parts)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell folders, and links to them, from files; a link to itself is no folder."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise
