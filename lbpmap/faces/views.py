"""One picture at many sizes: the levels of a pyramid, and patches of one size.

The original shrinks with an area-weighted filter (imResample of a MATLAB toolbox). Here a picture
is halved by averaging, again and again, and what is wanted is shrunk from the smallest half that is
still twice as large, with Pillow's triangle filter, which widens as it shrinks. So a view costs by
its own size, not by the picture's, and nothing aliases. The 2015 resizing of `lbpmap.resize` does
not smooth: of 24 faces of 300 to 800 pixels (two photos enlarged) with noise of 40 grey levels the
nets then find 20, with noise of 80 they find 4; with this they find all.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from lbpmap._arrays import F64, U8

# A half is used while it is so many times as large as what is made of it.
_SPARE = 2
_BILINEAR = getattr(Image, "Resampling", Image).BILINEAR  # its place before Pillow 9.1


class Views:
    """Views of one uint8 RGB picture (H, W, 3); takes 6 bytes a pixel."""

    def __init__(self, picture: U8) -> None:
        self.height, self.width = picture.shape[:2]
        self._halves = [Image.fromarray(picture)]

    def _half(self, shrink: float) -> tuple[Image.Image, int]:
        """Give the smallest half that is `_SPARE` times what `shrink` makes, and its divisor."""
        times = 0
        while 2 ** (times + 1) * _SPARE <= shrink:
            times += 1
            if times == len(self._halves):
                self._halves.append(self._halves[-1].reduce(2))
        return self._halves[times], 2**times

    def level(self, height: int, width: int) -> U8:
        """Shrink or stretch the whole picture to uint8 (height, width, 3)."""
        half, by = self._half(min(self.height / height, self.width / width))
        # The last row of a half may average one row alone: the picture ends within it.
        ends = (0, 0, self.width / by, self.height / by)
        view: U8 = np.asarray(half.resize((width, height), _BILINEAR, ends))
        return view

    def patches(self, boxes: F64, size: int) -> tuple[U8, F64]:
        """Cut squares out, black beyond the picture, as the original has it.

        Parameters
        ----------
        boxes : float64 array (N, 4)
            Squares.
        size : int

        Returns
        -------
        patches : uint8 array (N, size, size, 3)
        seen : float64 array (N, 4)
            What they show: the boxes, moved to the nearest pixel of what they were cut from.
        """
        patches: U8 = np.empty((len(boxes), size, size, 3), np.uint8)
        seen: F64 = np.empty((len(boxes), 4))
        for i, box in enumerate(boxes):
            half, by = self._half((box[2] - box[0]) / size)
            x, y, side = np.rint(np.array([box[0], box[1], box[2] - box[0]]) / by).astype(int)
            side = max(side, 1)
            ends = (int(x), int(y), int(x + side), int(y + side))
            patches[i] = np.asarray(half.crop(ends).resize((size, size), _BILINEAR))
            seen[i] = np.array(ends) * by
        return patches, seen
