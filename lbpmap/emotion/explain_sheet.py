"""An explanation to look at: one sheet, or its pictures one by one.

Filters and responses are laid out as the demo notebook of the released nets did: in a square, all
on one scale from the least to the greatest value.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from lbpmap._arrays import F32, F64, U8
from lbpmap._errors import one_line
from lbpmap._page import PALE, PAPER, Colour, Page
from lbpmap.emotion.explain import Explanation
from lbpmap.representations import resolve
from lbpmap.transform import to_gray

_WIDTH, _MARGIN, _GAP = 1200, 40, 24
_QUARTER = (_WIDTH - 2 * _MARGIN - 3 * _GAP) // 4
_HALF = (_WIDTH - 2 * _MARGIN - _GAP) // 2
_HEADING, _CAPTION = 17, 13
# The first row of panels; and from one row to the next, with room for a heading and a caption.
_TOP, _BETWEEN = 174, 96
_HISTOGRAM, _BINS = 150, 80
_SOFT: Colour = (112, 112, 116)
_BAR: Colour = (158, 184, 204)
_MARK: Colour = (202, 82, 40)
_PALER: Colour = (240, 240, 236)

_CAUTION = "The labels name apparent expressions, not feelings."

# What speaks for a label, from a little to most; and what speaks against it.
_FOR = np.array([(255, 214, 120), (240, 120, 40), (178, 12, 32)], np.float64)
_AGAINST = np.array([(170, 214, 240), (70, 140, 210), (24, 54, 140)], np.float64)
_COVER = 0.8  # of the face, by the strongest colour
_UNSEEN = 0.6  # how far what the net did not look at fades into the paper

# As many as there is room for.
_FILTERS, _RESPONSES, _POOLED = 100, 36, 576


class _Panel(NamedTuple):
    heading: str
    caption: str
    pixels: U8


def draw(told: Explanation, name: str = "") -> U8:
    """Draw an explanation on one sheet.

    Parameters
    ----------
    told : Explanation
    name : str
        What the face is called.

    Returns
    -------
    uint8 array (H, 1200, 3)
        RGB; its height depends on what the net has.
    """
    shown = [
        _Panel(heading, caption, _fitted(pixels, _QUARTER, crisp=i > 0))
        for i, (heading, caption, pixels) in enumerate(_pictures(told))
    ]
    large = [
        _Panel(heading, caption, _fitted(pixels, _HALF, crisp=i > 0))
        for i, (heading, caption, pixels) in enumerate(_squares(told))
    ]
    tops = [_TOP, _TOP + _QUARTER + _BETWEEN]
    for i in range(0, len(large), 2):
        tops.append(tops[-1] + max(len(panel.pixels) for panel in large[i : i + 2]) + _BETWEEN)
    last = tops[-1]
    page = Page(_WIDTH, last + (0 if told.units is None else _HISTOGRAM + 80) - 40)
    page.words((_MARGIN, 46), _short(f"{_short(told.files.name, 32)}: {answer(told)}", 80), 26)
    of_face = f"{_short(name, 80)}. {_CAUTION}" if name else _CAUTION
    page.words((_MARGIN, 82), of_face, 14, colour=_SOFT)

    for i, panel in enumerate(shown):
        _lay(page, _MARGIN + i * (_QUARTER + _GAP), _TOP, panel)
    _bars(page, _MARGIN + len(shown) * (_QUARTER + _GAP), _TOP, told)
    for i, panel in enumerate(large):
        _lay(page, _MARGIN + i % 2 * (_HALF + _GAP), tops[1 + i // 2], panel)
    _scale(page, _MARGIN, tops[1] + len(large[0].pixels) + 12, told)
    if told.units is not None:
        _histogram(page, last, told.units, _short(told.parts.units, 30))
    return page.pixels()


def parts(told: Explanation) -> dict[str, U8]:
    """Give the pictures of an explanation, each by itself.

    Parameters
    ----------
    told : Explanation

    Returns
    -------
    dict of uint8 arrays (H, W, 3) or (H, W)
        face, codes, input, evidence; and, of nets with convolutions, filters, responses, pooled.
        Every pixel is one of the net's, or of the face.
    """
    found: dict[str, U8 | None] = {
        "face": told.face,
        "codes": _codes(told),
        "input": told.seen,
        "evidence": overlay(told.face, told.upon_face),
        "filters": None if told.filters is None else tiles(colours(told.filters)),
        "responses": None if told.responses is None else tiles(told.responses),
        "pooled": None if told.pooled is None else tiles(told.pooled),
    }
    return {name: pixels for name, pixels in found.items() if pixels is not None}


def tiles(pictures: F32) -> U8:
    """Lay small pictures out in a square, a seam of paper between them, on one scale.

    Parameters
    ----------
    pictures : float32 array (N, h, w) or (N, h, w, 3)
        The least value of all becomes black, the greatest white.

    Returns
    -------
    uint8 array (n (h + 1) - 1, n (w + 1) - 1, 3)
        With n the root of N, rounded up; rows that would be empty are left out.

    Examples
    --------
    >>> tiles(np.array([[[0.0]], [[0.5]], [[1.0]]], np.float32))[:, :, 0]
    array([[  0, 252, 128],
           [252, 252, 252],
           [255, 252, 252]], dtype=uint8)
    """
    shades = pictures if pictures.ndim == 4 else np.repeat(pictures[..., None], 3, axis=3)
    count, height, width, _ = shades.shape
    low, high = float(shades.min()), float(shades.max())
    gray = (shades - low) * (255 / (high - low) if high > low else 0)
    columns = math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    page = np.empty((rows * (height + 1), columns * (width + 1), 3), np.uint8)
    page[...] = PAPER
    for i, pixels in enumerate(np.rint(gray).astype(np.uint8)):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        page[top : top + height, left : left + width] = pixels
    return page[:-1, :-1]


def colours(filters: F32) -> F32:
    """Turn the weights of a first convolution into small pictures.

    Parameters
    ----------
    filters : float32 array (N, C, h, w)

    Returns
    -------
    float32 array (N, h, w, 3) or (N, h, w)
        Three channels in the order in which pictures have them, which is the reverse of the
        net's; any other number of them averaged.
    """
    if filters.shape[1] != 3:
        averaged: F32 = filters.mean(axis=1)
        return averaged
    return filters[:, ::-1].transpose(0, 2, 3, 1)


def overlay(face: U8, heat: F64) -> U8:
    """Colour a face by what speaks for a label.

    Parameters
    ----------
    face : uint8 array (H, W, 3) or (H, W)
    heat : float64 array (H, W)
        The strongest becomes dark red where it is positive, dark blue where it is negative; NaN
        fades into the paper.

    Returns
    -------
    uint8 array (H, W, 3)
    """
    gray = np.repeat(to_gray(face)[:, :, None].astype(np.float64), 3, axis=2)
    seen = ~np.isnan(heat)
    strongest = float(np.abs(heat[seen]).max(initial=0))
    if strongest > 0:
        part = np.where(seen, heat, 0) / strongest
        cover = (_COVER * np.sqrt(np.abs(part)))[:, :, None]
        gray += cover * (_shade(part) - gray)
    gray[~seen] += _UNSEEN * (np.array(PAPER) - gray[~seen])
    coloured: U8 = np.rint(gray).astype(np.uint8)
    return coloured


def _shade(part: F64) -> F64:
    """Give the colours of what is -1 (against) to 1 (for): (..., 3)."""
    stops, strength = np.linspace(0, 1, len(_FOR)), np.abs(part)
    mixed = [
        np.where(part >= 0, *(np.interp(strength, stops, end[:, c]) for end in (_FOR, _AGAINST)))
        for c in range(3)
    ]
    return np.stack(mixed, axis=-1)


def answer(told: Explanation) -> str:
    """Say what the net answered, and what is explained where that is something else.

    Parameters
    ----------
    told : Explanation

    Returns
    -------
    str
        One line.
    """
    labels, said = told.files.labels, told.probabilities
    most = int(said.argmax())
    line = f"apparent expression {labels[most]} ({said[most]:.3f})"
    if most != told.label:
        line += f", explained {labels[told.label]} ({said[told.label]:.3f})"
    return line


def _pictures(told: Explanation) -> list[tuple[str, str, U8]]:
    """Give the small panels: heading, caption, picture."""
    how = resolve(told.files.representation)
    crop = told.files.crop
    high, wide = told.face.shape[:2]
    shown = [("The face", f"{wide} x {high} pixels", told.face)]
    codes = _codes(told)
    if codes is not None:
        shown.append(("Its codes", f"{how.points} points, radius {how.radius}, as grey", codes))
    caption = f"{_short(how.name, 14)}, {crop} x {crop} pixels"
    return [*shown, ("What the net is shown", caption, told.seen)]


def _squares(told: Explanation) -> list[tuple[str, str, U8]]:
    """Give the large panels: heading, caption, picture."""
    label = told.files.labels[told.label]
    how = (
        "grey patches moved over the input: by how much the probability falls"
        if told.method == "occlusion"
        else f"Grad-CAM: what {_short(told.parts.maps, 30)} found that raises its score"
    )
    panels = [(f"What speaks for {_short(label, 30)}", how, overlay(told.face, told.upon_face))]
    if told.filters is not None:
        few = told.filters[:_FILTERS]
        size = " x ".join(map(str, few.shape[:0:-1]))
        caption = f"{_first(len(few), len(told.filters))} of {size} weights"
        panels.append(
            (f"Filters of {_short(told.parts.filters, 30)}", caption, tiles(colours(few)))
        )
    for maps, most, name in (
        (told.responses, _RESPONSES, told.parts.responses),
        (told.pooled, _POOLED, told.parts.pooled),
    ):
        if maps is not None:
            size = f"{maps.shape[2]} x {maps.shape[1]}"
            caption = f"{_first(len(maps[:most]), len(maps))} of {size}, to this face"
            panels.append((f"Responses of {_short(name, 30)}", caption, tiles(maps[:most])))
    return panels


def _first(some: int, everything: int) -> str:
    return f"all {some}" if some == everything else f"the first {some} of {everything}"


def _title(page: Page, left: float, top: float, heading: str, caption: str) -> None:
    page.words((left, top - 34), heading, _HEADING)
    page.words((left, top - 13), caption, _CAPTION, colour=_SOFT)


def _lay(page: Page, left: float, top: float, panel: _Panel) -> None:
    _title(page, left, top, panel.heading, panel.caption)
    page.picture(left, top, panel.pixels)


def _fitted(pixels: U8, side: int, *, crisp: bool) -> U8:
    """Make a picture as large as a square lets it; a crisp one shows its pixels as squares."""
    times = side / max(pixels.shape[:2])
    high, wide = (max(1, round(n * times)) for n in pixels.shape[:2])
    if crisp and times > 1:
        pixels = pixels.repeat(math.ceil(times), axis=0).repeat(math.ceil(times), axis=1)
    return np.asarray(Image.fromarray(pixels).resize((wide, high)))


def _bars(page: Page, left: float, top: float, told: Explanation) -> None:
    labels, said = told.files.labels, told.probabilities
    # Of many labels the one that is explained and the most probable, in the order of the net.
    ranked = [told.label, *(i for i in np.argsort(-said, kind="stable") if i != told.label)]
    most = sorted(ranked[: _QUARTER // 22])
    caption = f"probabilities of {len(most)} of {len(said)} labels"
    _title(page, left, top, "What it answers", caption)
    step = min(34, _QUARTER / len(most))
    wide, room = _WIDTH - _MARGIN - left - 134, 84
    for i, number in enumerate(most):
        y = top + (i + 0.5) * step
        page.words((left + room - 8, y), _short(labels[number], 11), _CAPTION, 1)
        page.box(left + room, y - 0.3 * step, wide, 0.6 * step, _PALER)
        colour = _MARK if number == told.label else _BAR
        page.box(left + room, y - 0.3 * step, wide * float(said[number]), 0.6 * step, colour)
        page.words((left + room + wide + 8, y), f"{said[number]:.3f}", _CAPTION)


def _short(text: str | None, most: int) -> str:
    """Give a name, which may be anything, so that it has room."""
    name = one_line(text or "")
    return name if len(name) <= most else f"{name[: most - 2]}.."


def _scale(page: Page, left: float, top: float, told: Explanation) -> None:
    """Say what the colours of the evidence mean."""
    seen = told.upon_face[~np.isnan(told.upon_face)]
    strongest = float(np.abs(seen).max(initial=0))
    wide, start = 200, left + 84
    if not strongest:
        page.words((left, top + 6), "no part of it makes a difference", _CAPTION, 0, _SOFT)
        return
    both = told.method == "occlusion"
    part = np.linspace(-1 if both else 0, 1, wide)[None]
    pale = np.array(PAPER, np.float64)
    bar = pale + _COVER * np.sqrt(np.abs(part))[..., None] * (_shade(part) - pale)
    page.picture(start, top, np.rint(bar).astype(np.uint8).repeat(12, axis=0))
    ends = (f"-{strongest:.2g}", f"{strongest:.2g} of probability") if both else ("none", "most")
    page.words((start - 8, top + 6), ends[0], _CAPTION, 1, _SOFT)
    page.words((start + wide + 8, top + 6), ends[1], _CAPTION, 0, _SOFT)


def _histogram(page: Page, top: float, units: F32, name: str) -> None:
    silent = float((units == 0).mean())
    _title(
        page,
        _MARGIN,
        top,
        f"Responses of {name}",
        f"{len(units)} units; {silent:.0%} are zero and left out; the others by their value",
    )
    heard = units[units != 0]
    bottom, wide = top + _HISTOGRAM, _WIDTH - 2 * _MARGIN
    page.line([(_MARGIN, bottom), (_MARGIN + wide, bottom)], PALE)
    if not len(heard):
        return
    counts, edges = np.histogram(heard, bins=_BINS)
    step = wide / _BINS
    for i, count in enumerate(counts):
        high = _HISTOGRAM * count / counts.max()
        page.box(_MARGIN + i * step, bottom - high, step - 1, high, _BAR)
    for share in (0, 0.5, 1):
        value = edges[0] + share * (edges[-1] - edges[0])
        page.words((_MARGIN + share * wide, bottom + 15), f"{value:.3g}", _CAPTION, share, _SOFT)
    page.words((_MARGIN + wide, top - 13), f"at most {counts.max()} a bar", _CAPTION, 1, _SOFT)


def _codes(told: Explanation) -> U8 | None:
    """Give codes as grey levels; of more than eight bits the upper eight."""
    if told.codes is None or told.codes.dtype == np.uint8:
        return told.codes
    return (told.codes >> (resolve(told.files.representation).points - 8)).astype(np.uint8)
