"""A sheet of paper to draw on: smooth shapes, and words that keep their place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Union

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lbpmap._arrays import U8

Colour = tuple[int, int, int]
Point = tuple[float, float]
Font = Union[ImageFont.FreeTypeFont, ImageFont.ImageFont]

PAPER: Colour = (252, 252, 250)
INK: Colour = (40, 40, 44)
PALE: Colour = (214, 214, 208)

# Shapes are drawn this many times larger and reduced, which smooths their edges.
_FINER = 3


class _Words(NamedTuple):
    place: Point
    text: str
    size: int
    align: float
    colour: Colour


class Page:
    """Shapes, pictures and words in pixels from the upper left corner, each over those before.

    Parameters
    ----------
    width, height : int
        Of the picture that comes out.
    """

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._image = Image.new("RGB", (width * _FINER, height * _FINER), PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self._words: list[_Words] = []
        self._pictures: list[tuple[int, int, U8]] = []

    def box(self, left: float, top: float, width: float, height: float, colour: Colour) -> None:
        """Fill a rectangle; one too thin to be seen is not there."""
        corner = (left + width) * _FINER - 1, (top + height) * _FINER - 1
        if min(width, height) * _FINER >= 1:
            self._draw.rectangle([left * _FINER, top * _FINER, *corner], fill=colour)

    def disc(self, place: Point, radius: float, colour: Colour, edge: Colour) -> None:
        """Fill a circle that has an outline."""
        x, y, r = place[0] * _FINER, place[1] * _FINER, radius * _FINER
        self._draw.ellipse([x - r, y - r, x + r, y + r], fill=colour, outline=edge, width=2)

    def area(self, corners: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon([(x * _FINER, y * _FINER) for x, y in corners], fill=colour)

    def line(self, places: Sequence[Point], colour: Colour, width: float = 1) -> None:
        """Draw from place to place."""
        path = [(x * _FINER, y * _FINER) for x, y in places]
        self._draw.line(path, fill=colour, width=round(width * _FINER), joint="curve")

    def picture(self, left: float, top: float, pixels: U8) -> None:
        """Lay a picture (H, W, 3) or (H, W) on the page, pixel for pixel."""
        self._pictures.append((round(left), round(top), pixels))

    def words(
        self, place: Point, text: str, size: int = 13, align: float = 0, colour: Colour = INK
    ) -> None:
        """Write a line whose middle is at the height of `place`.

        `align` is the part of its length that lies left of `place`: 0 begins, 0.5 is centred
        and 1 ends there.
        """
        self._words.append(_Words(place, text, size, align, colour))

    def pixels(self) -> U8:
        """Give the picture: uint8 array (height, width, 3), RGB."""
        image = self._image.reduce(_FINER)
        for across, down, pixels in self._pictures:
            image.paste(Image.fromarray(pixels).convert("RGB"), (across, down))
        draw = ImageDraw.Draw(image)
        for (x, y), text, size, align, colour in self._words:
            letters = font(size)
            if isinstance(letters, ImageFont.ImageFont):  # of Latin letters only
                text = text.encode("latin-1", "replace").decode("latin-1")
            left = x - align * draw.textlength(text, font=letters)
            # Letters without descenders fill the upper two thirds below the line's top.
            draw.text((round(left), round(y - 0.62 * size)), text, colour, font=letters)
        return np.array(image)


def font(size: int) -> Font:
    """Give letters of about this many pixels."""
    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1 has one size only
        return ImageFont.load_default()
