"""Text, names, numbers and pictures as HTML. Whatever comes from outside passes here."""

from __future__ import annotations

import base64
import html
import io
import os

from PIL import Image

from lbpmap._errors import one_line
from lbpmap.predict.records import Record

# A picture that is shown with its pixels to be seen.
_TINY = 48
_TYPES = {"JPEG": "jpeg", "PNG": "png"}


def text(said: object) -> str:
    r"""Give words from outside as HTML, in one line, for elements and quoted attributes alike.

    What turns the direction of writing round, controls, and halves of surrogates become escapes.

    Examples
    --------
    >>> text('<b title="\u202e">')
    '&lt;b title=&quot;\\u202e&quot;&gt;'
    """
    shown = str(said)
    return html.escape(one_line(shown)) if shown else ""


def name(said: object) -> str:
    """Give a name whose letters may run from right to left, so that what stands beside it stays."""
    return f"<bdi>{text(said)}</bdi>"


def percent(share: float) -> str:
    """Write a share.

    Examples
    --------
    >>> percent(0.614), percent(0.004), percent(0.0), percent(0.9999)
    ('61\u202f%', '<1\u202f%', '0\u202f%', '>99\u202f%')
    """
    if 0 < share < 0.01:
        return "<1\u202f%"
    if 0.99 < share < 1:
        return ">99\u202f%"
    return f"{100 * share:.0f}\u202f%"


def clock(seconds: float, tenths: bool = False) -> str:
    """Write a time of a video.

    Examples
    --------
    >>> clock(75), clock(4000.04, tenths=True), clock(-2.5, tenths=True)
    ('1:15', '1:06:40.0', '-0:02.5')
    """
    sign = "-" if seconds < 0 else ""
    whole, tenth = divmod(round(abs(seconds) * 10), 10)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    shown = f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
    return f"{sign}{shown}.{tenth}" if tenths else f"{sign}{shown}"


def count(number: int, one: str, many: str | None = None) -> str:
    """Write a number and what is counted.

    Examples
    --------
    >>> count(1, "face"), count(1200, "face"), count(0, "box", "boxes")
    ('1 face', '1,200 faces', '0 boxes')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def short_name(record: Record, face: int = 0) -> str:
    """Name an input, or a face in it, in few words: the time, the file, which face; plain text."""
    parts = [os.path.basename(record.path.rstrip("/\\")) or record.path]
    if record.time is not None:
        parts.insert(0, clock(record.time, tenths=True))
    if len(record.faces) > 1:
        parts.append(f"face {face + 1}")
    return " · ".join(parts)


def picture(data: bytes, alt: str, *, anchor: str = "") -> str:
    """Give a picture as a line of its own.

    Parameters
    ----------
    data : bytes
        A JPEG or PNG file.
    alt : str
        What it shows, plain text.
    anchor : str
        An id, by which `lbpmap.predict.html.read` finds the picture again.

    Raises
    ------
    ValueError
        When it is no such file.
    """
    try:
        with Image.open(io.BytesIO(data), formats=list(_TYPES)) as image:
            kind, (width, height) = _TYPES[str(image.format)], image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"neither JPEG nor PNG ({one_line(error)})") from None
    marks = f' id="{anchor}"' if anchor else ""
    tiny = ' class="tiny"' if max(width, height) < _TINY else ""
    source = base64.b64encode(data).decode()
    return (
        f'\n<img{marks} src="data:image/{kind};base64,{source}" width="{width}" '
        f'height="{height}"{tiny} alt="{text(alt)}">'
    )
