"""Files to uint8 RGB arrays and back: the only place that decodes.

Pillow is the decoder. Files are taken for hostile: only still-picture formats that Pillow reads by
itself are tried (never one that starts another program), the size is checked before memory is
taken, and whatever a decoder raises arrives as one line that names the file.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import threading
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Union

import numpy as np
from PIL import Image, UnidentifiedImageError

from lbpmap._arrays import U8
from lbpmap._files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


__all__ = ["MAX_PIXELS", "SUFFIXES", "find", "read", "write_png"]

PathLike = Union[str, "os.PathLike[str]"]

#: A picture of more pixels is refused before it is decoded: 2**27, which is 403 MB as RGB.
MAX_PIXELS = 2**27

#: Names of pictures that `find` looks for inside folders, in any case.
SUFFIXES = frozenset(
    [".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png"]
    + [".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"]
)

_FORMATS = ("BMP", "DIB", "GIF", "JPEG", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")
_READABLE = "BMP, GIF, JPEG, PNG, PPM, TGA, TIFF or WebP"
_MODES = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "YCbCr"})
_BITS_PER_SAMPLE = 0x0102  # a TIFF tag
_ORIENTATION = 0x0112  # an EXIF tag

_quiet_lock = threading.Lock()


def read(path: PathLike) -> U8:
    """Read one still picture as 8-bit RGB.

    The pixels are Pillow's, without colour management. The EXIF orientation is applied, grey is
    repeated three times, a palette is expanded and alpha is dropped, not blended with anything. Of
    a multi-picture JPEG (MPO) the first picture is read.

    Parameters
    ----------
    path : str or os.PathLike
        A BMP, GIF, JPEG, PNG, PPM, TGA, TIFF or WebP file; its contents decide, not its name.

    Returns
    -------
    ndarray, uint8, (H, W, 3)
        R, G, B; contiguous and writable.

    Raises
    ------
    ValueError
        The file is no picture, is damaged or cut short, has more than `MAX_PIXELS` pixels, is
        animated or has several pages, has more than 8 bits a channel, or is CMYK or another
        colour space than RGB. The message names the file and the conversion that mends it.
    OSError
        The file is missing, a folder, not a regular file, or not to be opened.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     name = os.path.join(folder, "grey.png")
    ...     write_png(name, np.full((2, 3), 7, np.uint8))
    ...     read(name).shape
    (2, 3, 3)
    """
    name = _printable(path)
    _check_file(path, name)
    with open(path, "rb") as file:
        try:
            image = _open_header(file, name)
            return _decode(image)
        except _RefusedError:
            raise
        except UnidentifiedImageError as error:
            raise ValueError(
                f"{name}: not a picture that can be read; expected {_READABLE}"
            ) from error
        except Image.DecompressionBombError as error:
            raise _too_large(name, _one_line(error)) from error
        except Exception as error:  # a damaged file makes decoders raise anything
            raise ValueError(
                f"{name}: damaged or cut short ({_one_line(error)}); expected a whole {_READABLE}: "
                "fetch or save it again"
            ) from error


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
    name = _printable(path)
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
        raise OSError(f"{name}: not written ({error.strerror or _one_line(error)})") from error


def find(inputs: PathLike | Iterable[PathLike]) -> list[tuple[Path, Path]]:
    """List the picture files that files and folders name.

    A file is taken as it is named, whatever its suffix. A folder gives every file below it that
    has one of `SUFFIXES`, sorted by its parts; hidden files and folders (a leading dot) are left
    out. Links are followed, each real folder once per input, so that links in a circle end.

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
                    f"{_printable(path)}: a folder without pictures; expected files named "
                    f"{' '.join(sorted(SUFFIXES))}"
                )
            found.extend((path / relative, relative) for relative in below)
        elif path.exists():
            found.append((path, Path(path.name)))
        else:
            raise FileNotFoundError(
                f"{_printable(path)}: no such file or folder; expected a picture or a folder"
            )
    return found


class _RefusedError(ValueError):
    """A file that was understood and is not taken; the message is complete."""


def _printable(path: PathLike) -> str:
    """Name a file in one line, also if its name holds line breaks or undecodable bytes."""
    name = os.fsdecode(path)
    return name if name.isprintable() else ascii(name)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop Pillow's warnings: of large sizes, judged by MAX_PIXELS here, and of unused metadata.

    `warnings.catch_warnings` swaps the filters of the whole process, and two threads inside it at
    once could leave them swapped for good, so one at a time enters; pixels are decoded outside.
    """
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_file(path: PathLike, name: str) -> None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: no such file; expected a picture") from error
    except ValueError as error:
        raise ValueError(f"{name}: not a file name ({error}); expected a picture") from error
    if stat.S_ISDIR(mode) and not os.access(path, os.R_OK | os.X_OK):
        raise PermissionError(f"{name}: a folder that may not be opened; expected a picture")
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{name}: a folder; expected one picture file")
    # Opening a pipe would wait for a writer that may never come.
    if not stat.S_ISREG(mode):
        raise OSError(f"{name}: a pipe or a device; expected a regular file: copy it to one")


def _open_header(file: BinaryIO, name: str) -> Image.Image:
    """Read the header, refusing what is not to be decoded while nothing is decoded yet."""
    Image.init()
    formats = [known for known in _FORMATS if known in Image.OPEN]
    with _quiet():
        image = Image.open(file, formats=formats)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_large(name, f"{width} x {height}")
        # A telephone's JPEG may carry a second picture (depth, gain map) and is no animation.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            raise _RefusedError(
                f"{name}: a {image.format} of several frames or pages; expected one still picture: "
                f"take one out first, e.g. with ImageMagick: {_convert(name + '[0]')}"
            )
        if _is_deep(image):
            raise _RefusedError(
                f"{name}: a {image.format} of more than 8 bits a channel; expected 8: "
                f"convert it first, e.g. with ImageMagick: {_convert(name, '-depth 8')}"
            )
        if image.mode not in _MODES:
            raise _RefusedError(
                f"{name}: a {image.format} in {image.mode} colour; expected RGB or grey: convert "
                f"it first, e.g. with ImageMagick: {_convert(name, '-colorspace sRGB -depth 8')}"
            )
    return image


def _too_large(name: str, what: str) -> _RefusedError:
    return _RefusedError(
        f"{name}: too many pixels ({what}), refused before decoding; expected at most "
        f"{MAX_PIXELS}: shrink it first, e.g. with ImageMagick: "
        f"{_convert(name, '-resize 4096x4096')}"
    )


def _convert(source: str, options: str = "") -> str:
    return " ".join(["convert", shlex.quote(source), *options.split(), "out.png"])


def _is_deep(image: Image.Image) -> bool:
    """Say whether a channel has more than 8 bits in the file; often Pillow narrows it silently."""
    if image.mode == "F" or image.mode.startswith("I"):
        return True
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))  # type: ignore[attr-defined]
        return bool(max(bits) > 8)
    # A tile is (codec, box, offset, arguments of the codec), the raw mode first of the latter.
    for tile in getattr(image, "tile", ()):
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if image.format == "PNG" and ";16" in str(arguments[0]):
            return True
        if image.format == "PPM" and tile[0].startswith("ppm") and arguments[1] > 255:
            return True
    return False


def _decode(image: Image.Image) -> U8:
    # Only TIFF goes on to read metadata, and to warn of it, while it decodes.
    with _quiet() if image.format == "TIFF" else nullcontext():
        image.load()
    orientation = _orientation(image)
    # A transparent colour would be carried into RGB, with a warning where it is a table.
    image.info.pop("transparency", None)
    if image.mode == "RGBa":
        image = image.convert("RGBA")
    elif image.mode == "La":
        image = image.convert("LA")
    return _turned(np.array(image.convert("RGB")), orientation)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 (upright) where the EXIF cannot be understood."""
    with _quiet():
        try:
            value = image.getexif().get(_ORIENTATION, 1)
        except Exception:  # the pixels of a file with damaged EXIF are good
            return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turned(pixels: U8, orientation: int) -> U8:
    """Undo an EXIF orientation: 5 to 8 swap the axes, then rows and columns are reversed."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _pictures_below(folder: Path) -> list[Path]:
    """List the pictures below a folder, relative to it."""
    found: list[Path] = []
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
            if _is_folder(entry):
                folders.append(relative / entry.name)
            elif Path(entry.name).suffix.lower() in SUFFIXES:
                found.append(relative / entry.name)
        # Last in, first out: in falling order the first name is walked first, and is the one by
        # which a folder with several names is listed.
        waiting.extend(sorted(folders, reverse=True))
    return sorted(found, key=lambda path: path.parts)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell folders, and links to them, from files; a link to itself is no folder."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise
