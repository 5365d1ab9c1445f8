"""Upright crops of faces, as the nets of the paper were shown them.

One crop of the nets' authors is public: the example picture of their demo, 143 x 181 pixels. MTCNN
finds the eyes in it at (39.9, 40.5) and (110.0, 33.3) and the corners of the mouth at (47.0, 115.1)
and (114.2, 108.9). So the middle of the eyes lies at 0.52 of the width and 0.20 of the height, and
they are 70.5 pixels apart, 0.44 of the geometric mean of the sides. MTCNN's box, -11 to 147 by -25
to 173, has a tenth more of each side, and lies higher.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Union

import numpy as np
from PIL import Image

from lbpmap._arrays import F64, U8, Array, ArrayLike
from lbpmap._checks import positive
from lbpmap.faces.found import one

# Read off the example picture, as told above.
AUTHORS_ASPECT = 143 / 181
EYES_APART = 0.44
EYE_LINE = 0.20
# From the middle of the eyes to that of the mouth, faces that look ahead have 0.89 (skimage's
# astronaut), 0.97 (matplotlib's grace_hopper) and 1.07 (the example) times the distance of their
# eyes, by MTCNN. With more than this they look aside, and the mouth decides.
_MOUTH_TO_EYES = 1.25
# Side of a crop in pixels, and of the result: when turned it is cut from 1.6 GB at most.
_LONGEST = 8192
_BILINEAR = getattr(Image, "Resampling", Image).BILINEAR  # their places before Pillow 9.1
_AFFINE = getattr(Image, "Transform", Image).AFFINE

Fill = Union[str, int]


@dataclass(frozen=True)
class _Frame:
    """The edges of a crop in its picture: where it begins, and its upper and left side."""

    corner: F64
    right: F64
    down: F64


def align(
    image: U8,
    box: ArrayLike,
    landmarks: ArrayLike | None = None,
    *,
    margin: float = 0.0,
    size: int | None = None,
    fill: Fill = "edge",
    aspect: float = 1.0,
) -> U8:
    """Cut a face out: upright, of the size and place that the released nets know.

    With landmarks the crop is turned so that the line between the eyes is level; their middle lies
    at half its width and 0.20 of its height, and they are 0.44 of its side apart, for a crop whose
    sides differ of their geometric mean. A face that looks aside is measured by the distance
    between eyes and mouth, from where that is 1.25 times the eyes' own. Without eyes the crop is
    straight, centred on the box, and has its area: what a detector such as dlib's gives is about
    what the crop shows.

    Parameters
    ----------
    image : uint8 array (H, W, 3), RGB, or (H, W), grey
    box : array (4,)
        x0, y0, x1, y1 as in `lbpmap.faces.Detected`.
    landmarks : array (5, 2), optional
        As in `Detected`. Where an eye is NaN, or they are not a pixel apart, the box decides; where
        a corner of the mouth is, the eyes alone.
    margin : float, default 0
        What is added on each side, as a share of it: 0.25 shows the half more. 0 is what the
        authors' crop shows.
    size : int, optional
        Rows of the result. Left out, the face's own size in pixels, so that nothing is enlarged:
        codes of an enlarged picture see the interpolation.
    fill : "edge" or int, default "edge"
        What stands beyond the picture: its outermost pixels again, or a grey level. A level makes a
        straight contour that no face has, which codes mark along its length; edges make none.
    aspect : float, default 1
        Width through height of the crop. `AUTHORS_ASPECT` gives upright rectangles like theirs,
        which a net that stretches its input sees as they saw theirs.

    Returns
    -------
    uint8 array (S, S, 3), or (S, rint(S * aspect), 3)
        One bilinear warp; where it shrinks, the mean of as many samples as the picture has pixels.

    Raises
    ------
    TypeError, ValueError
        When an argument is wrong, or a side of the crop exceeds 8192 pixels.

    Examples
    --------
    >>> picture = np.tile(np.arange(100, dtype=np.uint8), (80, 1))
    >>> align(picture, (20, 30, 24, 34))[..., 0]
    array([[20, 21, 22, 23],
           [20, 21, 22, 23],
           [20, 21, 22, 23],
           [20, 21, 22, 23]], dtype=uint8)
    """
    picture = one(image, "align")
    edges = _numbers(box, (4,), "box")
    marks = None if landmarks is None else _numbers(landmarks, (5, 2), "landmarks")
    _check(edges, margin, size, fill, aspect)
    frame = _frame(edges, marks, aspect, 1 + 2 * margin)
    width, height = math.hypot(*frame.right), math.hypot(*frame.down)
    if not max(width, height) <= _LONGEST:
        raise ValueError(
            f"align: a crop of {width:.0f} x {height:.0f} pixels is larger than {_LONGEST}; is the "
            f"box {edges.tolist()} in pixels? Shrink larger pictures first"
        )
    rows = max(1, round(height)) if size is None else size
    columns = max(1, round(rows * aspect))
    # So many samples a pixel of the result, along each side, as the picture has pixels there.
    samples = max(1, math.ceil(height / rows - 1e-6))
    return _warp(picture, frame, (columns, rows), samples, fill)


def _numbers(values: ArrayLike, shape: tuple[int, ...], what: str) -> F64:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.shape != shape:
        raise ValueError(
            f"align: {what} must be numbers of shape {shape}, got {array.dtype} {array.shape}; "
            f"give one face's"
        )
    return array.astype(np.float64)


def _check(box: F64, margin: float, size: int | None, fill: Fill, aspect: float) -> None:
    x0, y0, x1, y1 = box
    if not (np.isfinite(box).all() and x0 < x1 and y0 < y1):
        raise ValueError(f"align: box must be x0 < x1, y0 < y1, got {box.tolist()}")
    if not -0.5 < margin <= 10:
        raise ValueError(f"align: margin must be above -0.5 and at most 10, got {margin}")
    if not 0.1 <= aspect <= 10:
        raise ValueError(f"align: aspect must be from 0.1 to 10, got {aspect}")
    if size is not None and positive(size, "size", "align") > _LONGEST:
        raise ValueError(f"align: size must be at most {_LONGEST}, got {size}")
    if fill != "edge" and not (isinstance(fill, (int, np.integer)) and 0 <= fill <= 255):
        raise ValueError(f'align: fill must be "edge" or a grey level, 0 to 255, got {fill!r}')


def _frame(box: F64, marks: F64 | None, aspect: float, growth: float) -> _Frame:
    """Choose what the crop shows."""
    # Sides of a crop of area 1, and how far below the eyes' line its centre lies.
    sides = np.array([math.sqrt(aspect), 1 / math.sqrt(aspect)])
    below = (0.5 - EYE_LINE) * sides[1]
    eyes = None if marks is None else _eyes(marks)
    if eyes is None:
        centre = (box[:2] + box[2:]) / 2
        scale = math.sqrt(float(np.prod(box[2:] - box[:2])))
        across: F64 = np.array([1.0, 0.0])
        along: F64 = np.array([0.0, 1.0])
    else:
        middle, across, distance = eyes
        along = np.array([-across[1], across[0]])
        scale = distance / EYES_APART
        centre = middle + along * scale * below
    right, down = (across * sides[0], along * sides[1])
    right, down = right * scale * growth, down * scale * growth
    return _Frame(centre - (right + down) / 2, right, down)


def _eyes(marks: F64) -> tuple[F64, F64, float] | None:
    """Give the middle of the eyes, the direction from the left to the right one, their distance."""
    left, right, _, *mouth = marks
    across = right - left
    apart = math.hypot(*across)
    if not 1 <= apart < math.inf:
        return None
    middle = (left + right) / 2
    reach = math.hypot(*(np.mean(mouth, axis=0) - middle)) / _MOUTH_TO_EYES
    # `max` would keep a NaN, or not, by the order of its arguments.
    return middle, across / apart, reach if apart < reach < math.inf else apart


def _warp(picture: U8, frame: _Frame, size: tuple[int, int], samples: int, fill: Fill) -> U8:
    """Sample the frame, (width, height) times `samples`, and average what falls into a pixel."""
    corners = frame.corner + np.array(
        [0 * frame.right, frame.right, frame.down, frame.right + frame.down]
    )
    # A pixel more on each side: bilinear samples at an edge see beyond it.
    first = np.floor(corners.min(axis=0)).astype(int) - 1
    last = np.ceil(corners.max(axis=0)).astype(int) + 1
    cut = _cut(picture, first, last, fill)
    width, height = (n * samples for n in size)
    start = frame.corner - first
    terms = np.column_stack([frame.right / width, frame.down / height, start]).ravel()
    crop: U8 = np.empty((size[1], size[0], 3), np.uint8)
    for channel in range(3):
        # As float32: of bytes Pillow's bilinear filter cuts the fraction off.
        plane = Image.fromarray(cut[..., channel].astype(np.float32))
        warped = plane.transform((width, height), _AFFINE, tuple(terms), _BILINEAR)
        values = np.asarray(warped.reduce(samples) if samples > 1 else warped)
        crop[..., channel] = np.rint(values)
    return crop


def _cut(picture: U8, first: Array, last: Array, fill: Fill) -> U8:
    """Cut out the pixels from `first` (x, y) up to `last`, which may lie anywhere."""
    height, width = picture.shape[:2]
    xs, ys = np.arange(first[0], last[0]), np.arange(first[1], last[1])
    inside_x, inside_y = np.clip(xs, 0, width - 1), np.clip(ys, 0, height - 1)
    cut: U8 = picture[inside_y[:, None], inside_x]
    if fill != "edge":
        cut[inside_y != ys] = fill
        cut[:, inside_x != xs] = fill
    return cut
