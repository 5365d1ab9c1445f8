"""Videos and cameras to frames: uint8 RGB arrays, one after the other, through PyAV (FFmpeg).

Only files are opened, never an address, and only as containers that hold their own frames: a
playlist, which could name other files, is refused. FFmpeg itself is C code that decodes what may be
hostile, in this process; nothing here makes it safer than it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from lbpmap._arrays import U8
from lbpmap._decode import MAX_PIXELS, printable
from lbpmap._errors import one_line
from lbpmap._files import PathLike, regular_size

if TYPE_CHECKING:
    from types import ModuleType

#: Names of videos, in any case.
SUFFIXES = frozenset(
    [".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv"]
    + [".ts", ".webm", ".wmv"]
)

_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,flv,ogg"
# Edit lists and lost packets leave out a few frames of a whole file; a broken one lacks many.
_WHOLE = 0.9
# How the systems call what cameras speak, and the first camera.
_CAMERAS = {
    "linux": ("v4l2", "/dev/video{}"),
    "darwin": ("avfoundation", "{}"),
}


@dataclass(frozen=True)
class Frame:
    """A frame of a video.

    Attributes
    ----------
    number : int
        From 0, of all frames of the video.
    time : float
        Seconds from its start.
    pixels : uint8 array (H, W, 3)
        RGB, turned as the video says.
    """

    number: int
    time: float
    pixels: U8


def require() -> None:
    """Raise ImportError, in one line, where PyAV is not installed."""
    _av()


def frames(path: PathLike, *, every: float = 0.0) -> Iterator[Frame]:
    """Give the frames of a video file in order.

    Parameters
    ----------
    path : str or path
        Of an MP4, MOV, Matroska, WebM, AVI, MPEG, WMV, FLV or Ogg file.
    every : float, default 0
        Seconds from a frame to the next that is given; 0 gives all.

    Yields
    ------
    Frame

    Raises
    ------
    ImportError
        When PyAV (``lbpmap[video]``) is not installed.
    OSError
        When it is no file, or cannot be opened.
    ValueError
        When it is no video or damaged, after the frames that could be read; or when frames have
        more than `lbpmap.pictures.MAX_PIXELS` pixels.

    Examples
    --------
    >>> for frame in frames("walk.mp4", every=1):                    # doctest: +SKIP
    ...     print(frame.number, frame.time, frame.pixels.shape)
    """
    _check_every(every)
    av, name = _av(), printable(path)
    if not regular_size(path, "a video"):
        raise ValueError(f"{name}: an empty file; expected a video")
    with (
        _plain_errors(av, name),
        av.open(
            # Without the scheme, names such as "concat:a|b" would mean something to FFmpeg.
            f"file:{os.fsdecode(path)}",
            options={"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"},
            metadata_errors="replace",
        ) as container,
    ):
        yield from _frames(container, name, every)


def camera(device: str = "0", *, every: float = 0.0) -> Iterator[Frame]:
    """Give frames of a camera, without end.

    Parameters
    ----------
    device : str, default "0"
        Its number, or on Linux its file, such as "/dev/video2". "test" is a test picture of
        FFmpeg's, for trying without a camera.
    every : float, default 0
        Seconds from a frame to the next that is given, as the camera times them; 0 gives all.

    Yields
    ------
    Frame

    Raises
    ------
    ImportError
        When PyAV (``lbpmap[video]``) is not installed.
    OSError, ValueError
        When there is no such camera, or it ends to answer.
    """
    _check_every(every)
    av = _av()
    if device == "test":
        kind, address = "lavfi", "testsrc=size=320x240:rate=10,format=rgb24"
    else:
        kind, pattern = _CAMERAS.get(sys.platform, ("", ""))
        if not kind:
            raise ValueError(f"camera: no way to cameras is known on {sys.platform}")
        address = pattern.format(device) if device.isdigit() else device
        if kind == "v4l2" and not os.path.exists(address):
            raise FileNotFoundError(
                f"camera {device}: no {address} here; expected the number of a camera, or its file"
            )
    with _plain_errors(av, f"camera {device}"), av.open(address, format=kind) as container:
        yield from _frames(container, f"camera {device}", every)


def _frames(container: Any, name: str, every: float) -> Iterator[Frame]:
    if not container.streams.video:
        raise ValueError(f"{name}: holds no video; expected a file with moving pictures")
    stream = container.streams.video[0]
    _check_pixels(stream.codec_context, name)
    stream.thread_type = "AUTO"
    number, start, due = -1, None, 0
    for number, frame in enumerate(container.decode(stream)):
        _check_pixels(frame, name)
        time = _time(frame, stream, number)
        start = time if start is None else start
        if every and int((time - start) / every + 1e-6) < due:
            continue
        due = int((time - start) / every + 1e-6) + 1 if every else 0
        pixels = np.rot90(frame.to_ndarray(format="rgb24"), _quarter_turns(frame))
        yield Frame(number, float(time - start), np.ascontiguousarray(pixels))
    if number + 1 < _WHOLE * (stream.frames or 1):
        raise ValueError(
            f"{name}: cut short or damaged: {number + 1} of {stream.frames or 'its'} frames could "
            f"be read; fetch it again"
        )


def _time(frame: Any, stream: Any, number: int) -> float:
    if frame.time is not None:
        return float(frame.time)
    return float(number / (stream.average_rate or Fraction(25)))


def _quarter_turns(frame: Any) -> int:
    """Say how often a frame is turned counter-clockwise."""
    return int(round(frame.rotation / 90) % 4)


def _check_pixels(size: Any, name: str) -> None:
    if size.width * size.height > MAX_PIXELS:
        raise ValueError(
            f"{name}: frames of {size.width} x {size.height} are too large; expected at most "
            f"{MAX_PIXELS} pixels"
        )


def _check_every(every: float) -> None:
    if not 0 <= every < float("inf"):
        raise ValueError(f"frames: every must be 0 or more seconds, got {every}")


def _av() -> ModuleType:
    try:
        import av
    except ImportError:
        raise ImportError("videos need PyAV: pip install 'lbpmap[video]'") from None
    av.logging.set_level(av.logging.PANIC)  # what FFmpeg has to say comes as an error
    module: ModuleType = av
    return module


@contextmanager
def _plain_errors(av: ModuleType, name: str) -> Iterator[None]:
    """Say in one line what PyAV raises: its errors are OSErrors and ValueErrors of its own."""
    try:
        yield
    except av.FFmpegError as error:
        said = one_line(error.strerror or error)
        if isinstance(error, OSError):
            raise OSError(f"{name}: {said}") from error
        raise ValueError(f"{name}: no video that can be read, or damaged ({said})") from error
