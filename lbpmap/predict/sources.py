"""What a run goes over: pictures, folders, patterns, lists, videos and a camera, one item each.

Nothing here fails for an input: one that is not there is an item, whose record says so.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lbpmap import _files, pictures, video
from lbpmap._arrays import U8
from lbpmap._decode import printable
from lbpmap._errors import one_line

_log = logging.getLogger(__name__)

# A line takes at most what a path takes; as many as fit are read.
_MAX_LIST_BYTES = 1 << 28

_NO_PICTURES = (
    "a folder without pictures; expected some below it. Its videos are named by themselves, or by "
    "a pattern such as '*.mp4'"
)


@dataclass(frozen=True)
class Item:
    """A picture, or a frame of a video, to be looked at.

    Attributes
    ----------
    path : str
        As it is shown in tables.
    frame : int or None
    time : float or None
        Of a video's frame: its number, and seconds from the start.
    pixels : uint8 array (H, W, 3) or None
        Of a frame; a picture is read when its turn comes.
    error : str or None
        Why there is nothing to be looked at.
    """

    path: str
    frame: int | None = None
    time: float | None = None
    pixels: U8 | None = None
    error: str | None = None

    def read(self) -> U8:
        """Give the pixels.

        Raises
        ------
        OSError, ValueError
            When there are none, as `lbpmap.pictures.read`.
        """
        if self.error is not None:
            raise ValueError(self.error)
        return pictures.read(self.path) if self.pixels is None else self.pixels


def paths(inputs: Iterable[str]) -> list[str]:
    """List the files that inputs name, each once.

    Parameters
    ----------
    inputs : iterable of str
        Files; folders, which give the pictures below them (`lbpmap.pictures.find`); and patterns
        (``*``, ``?``, ``[a-z]``, ``**`` for any folders), for what is not there by this very name.

    Returns
    -------
    list of str
        In the order of the inputs. What is not there, holds no picture or matches nothing is listed
        as it was named.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.png", "a.png", "c.txt"):
    ...         Path(folder, name).touch()
    ...     found = paths([folder, f"{folder}/*.txt", f"{folder}/a.png"])
    ...     [os.path.basename(path) for path in found]
    ['a.png', 'b.png', 'c.txt']
    """
    found: dict[str, None] = {}
    for given in inputs:
        named = [given]
        if glob.has_magic(given) and not os.path.lexists(given):
            named = sorted(glob.glob(given, recursive=True)) or [given]
        for path in named:
            found.update(dict.fromkeys(_below(path) if os.path.isdir(path) else [path]))
    return list(found)


def _below(folder: str) -> list[str]:
    try:
        return [str(path) for path, _ in pictures.find([folder])]
    except (OSError, ValueError):
        return [folder]  # reading it will say what is wrong


def read_list(path: str | os.PathLike[str]) -> list[str]:
    """Read a list of inputs: a line each; empty lines count for nothing.

    Parameters
    ----------
    path : str or path
        Of a text file in UTF-8. Relative names in it are relative to the working directory, as in
        the output of ``find``.

    Returns
    -------
    list of str

    Raises
    ------
    OSError, ValueError
        When it cannot be read, or is no text.
    """
    data = _files.read_bytes(path, _MAX_LIST_BYTES, "a list of inputs")
    if b"\0" in data:
        raise ValueError(f"{path}: no text: holds a zero byte; expected an input a line")
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    # As the system names files, so that names that are no UTF-8 are found too.
    return [os.fsdecode(line.rstrip(b"\r")) for line in lines if line.strip()]


def is_video(path: str) -> bool:
    """Say whether a file is taken for a video: by its name."""
    return os.path.splitext(path)[1].lower() in video.SUFFIXES


def items(
    found: Sequence[str], *, every: float = 0.0, done: Iterable[tuple[str, int | None]] = ()
) -> Iterator[Item]:
    """Give what is to be looked at, in order; frames are read when they are asked for.

    Parameters
    ----------
    found : sequence of str
        From `paths`.
    every : float, default 0
        Seconds between frames of a video; 0 gives all.
    done : iterable of (str, int or None)
        Paths, and numbers of frames, to be left out.

    Yields
    ------
    Item
    """
    left_out = set(done)
    for path in found:
        if (path, None) in left_out:
            continue
        if not is_video(path) or os.path.isdir(path):
            yield _picture(path)
            continue
        try:
            for frame in video.frames(path, every=every):
                if (path, frame.number) not in left_out:
                    yield Item(path, frame.number, frame.time, frame.pixels)
        except (OSError, ValueError) as error:
            _log.debug("%s", printable(path), exc_info=error)
            yield Item(path, error=one_line(error))


def _picture(path: str) -> Item:
    if os.path.isdir(path) and os.access(path, os.R_OK | os.X_OK):
        return Item(path, error=f"{printable(path)}: {_NO_PICTURES}")
    if glob.has_magic(path) and not os.path.lexists(path):
        return Item(path, error=f"{printable(path)}: no file matches this pattern")
    return Item(path)


def of_camera(device: str, *, every: float) -> Iterator[Item]:
    """Give frames of a camera, without end.

    Parameters
    ----------
    device : str
        As for `lbpmap.video.camera`.
    every : float
        Seconds between frames; 0 gives all.

    Yields
    ------
    Item

    Raises
    ------
    ImportError, OSError, ValueError
        As `lbpmap.video.camera`.
    """
    for frame in video.camera(device, every=every):
        yield Item(f"camera {device}", frame.number, frame.time, frame.pixels)
