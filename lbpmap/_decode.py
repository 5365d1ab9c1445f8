"""One picture file to a uint8 RGB array: what `lbpmap.pictures.read` does.

Pillow is the decoder. Files are taken for hostile: only still-picture formats that Pillow reads by
itself are tried (never one that starts another program), the size is checked before memory is
taken, and whatever a decoder raises arrives as one line that names the file.

JPEGs take a shorter way, with the same pixels, where simplejpeg is installed (`lbpmap._jpeg`).
"""

from __future__ import annotations

import os
import shlex
import stat
import threading
import warnings
from contextlib import contextmanager, nullcontext
from io import BufferedReader
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from lbpmap import _jpeg
from lbpmap._arrays import U8
from lbpmap._errors import one_line
from lbpmap._files import PathLike

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A picture of more pixels is refused before it is decoded: 2**27, which is 403 MB as RGB.
MAX_PIXELS = 2**27

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

    Notes
    -----
    With simplejpeg (the extra ``fast``) a JPEG of 143 x 181 takes less than half of Pillow's time.

    Examples
    --------
    >>> import os, tempfile
    >>> from lbpmap.pictures import write_png
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     name = os.path.join(folder, "grey.png")
    ...     write_png(name, np.full((2, 3), 7, np.uint8))
    ...     read(name).shape
    (2, 3, 3)
    """
    name = printable(path)
    _check_file(path, name)
    with open(path, "rb", buffering=0) as unbuffered:
        try:
            most = min(MAX_PIXELS, Image.MAX_IMAGE_PIXELS or MAX_PIXELS)
            pixels = _jpeg.read_plain(unbuffered, most)
            if pixels is not None:
                return pixels
            unbuffered.seek(0)
            file = BufferedReader(unbuffered)
            image = open_header(file, name)
            return _decode(image, file)
        except RefusedError:
            raise
        except UnidentifiedImageError as error:
            raise ValueError(
                f"{name}: not a picture that can be read; expected {_READABLE}"
            ) from error
        except Image.DecompressionBombError as error:
            raise _too_large(name, one_line(error)) from error
        except Exception as error:  # a damaged file makes decoders raise anything
            raise ValueError(
                f"{name}: damaged or cut short ({one_line(error)}); expected a whole {_READABLE}: "
                "fetch or save it again"
            ) from error


class RefusedError(ValueError):
    """A file that was understood and is not taken; the message is complete."""


def printable(path: PathLike) -> str:
    """Name a file in one line, also if its name holds line breaks or undecodable bytes."""
    name = os.fsdecode(path)
    return name if name.isprintable() else ascii(name)


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


def open_header(file: BinaryIO, name: str) -> Image.Image:
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
            raise RefusedError(
                f"{name}: a {image.format} of several frames or pages; expected one still picture: "
                f"take one out first, e.g. with ImageMagick: {_convert(name + '[0]')}"
            )
        if _is_deep(image):
            raise RefusedError(
                f"{name}: a {image.format} of more than 8 bits a channel; expected 8: "
                f"convert it first, e.g. with ImageMagick: {_convert(name, '-depth 8')}"
            )
        if image.mode not in _MODES:
            raise RefusedError(
                f"{name}: a {image.format} in {image.mode} colour; expected RGB or grey: convert "
                f"it first, e.g. with ImageMagick: {_convert(name, '-colorspace sRGB -depth 8')}"
            )
    return image


def _too_large(name: str, what: str) -> RefusedError:
    return RefusedError(
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


def _decode(image: Image.Image, file: BinaryIO) -> U8:
    if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
        pixels = _jpeg.decode(file, (image.height, image.width))
        if pixels is not None:
            return _turned(pixels, _orientation(image))
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
    if image.mode != "RGB":
        image = image.convert("RGB")
    return _turned(np.array(image), orientation)


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
