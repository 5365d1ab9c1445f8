"""Pictures to look at: a face and what the nets see of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from lbpmap._arrays import U8
from lbpmap._page import INK, PAPER, font
from lbpmap.representations import MAPPED
from lbpmap.transform import lbp_codes, mapped_lbp, to_gray

_MARGIN, _CAPTION, _TEXT = 14, 26, 15


def sheet(photo: U8, *, scale: int = 2) -> U8:
    """Draw a face, its codes and its four mapped pictures on one sheet.

    Parameters
    ----------
    photo : uint8 array (H, W, 3) or (H, W)
        At least 21 x 21 pixels, as radius 10 needs.
    scale : int, default 2
        Every pixel becomes a square of this side.

    Returns
    -------
    uint8 array (h, w, 3)
        RGB, two rows of three panels.

    Raises
    ------
    ValueError
        When the photo is too small.

    Examples
    --------
    >>> sheet(np.zeros((30, 40, 3), np.uint8), scale=1).shape
    (154, 176, 3)
    """
    gray = to_gray(photo)
    panels = [
        ("photo", mapped_lbp(photo, "rgb")),
        ("codes, radius 1", lbp_codes(gray, arithmetic="released")),
        *((name, mapped_lbp(gray, name)) for name in MAPPED),
    ]
    return grid(panels, columns=3, scale=scale)


def grid(panels: Sequence[tuple[str, U8]], *, columns: int, scale: int) -> U8:
    """Draw captioned pictures in rows, each in the middle of its cell.

    Parameters
    ----------
    panels : sequence of (str, uint8 array (H, W) or (H, W, 3))
        Captions and pictures; a cell is as large as the largest.
    columns : int
        Panels in a row.
    scale : int
        Every pixel becomes a square of this side.

    Returns
    -------
    uint8 array (h, w, 3)
    """
    wide = max(picture.shape[1] for _, picture in panels) * scale
    high = max(picture.shape[0] for _, picture in panels) * scale
    rows = -(-len(panels) // columns)
    page = Image.new(
        "RGB",
        (
            columns * (wide + _MARGIN) + _MARGIN,
            rows * (high + _CAPTION + _MARGIN) + _MARGIN,
        ),
        PAPER,
    )
    draw = ImageDraw.Draw(page)
    letters = font(_TEXT)
    for i, (caption, picture) in enumerate(panels):
        left = _MARGIN + i % columns * (wide + _MARGIN)
        top = _MARGIN + i // columns * (high + _CAPTION + _MARGIN)
        large = Image.fromarray(np.repeat(np.repeat(picture, scale, axis=0), scale, axis=1))
        page.paste(large, (left + (wide - large.width) // 2, top + (high - large.height) // 2))
        draw.text((left + wide // 2, top + high + 5), caption, INK, font=letters, anchor="ma")
    return np.asarray(page)
