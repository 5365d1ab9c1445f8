"""The transform as a PyTorch module: the same bytes, on whatever device its input is.

Needs the extra ``lbpmap[torch]``.
"""

from __future__ import annotations

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError(
        "lbpmap.torch needs PyTorch: pip install 'lbpmap[torch]', or PyTorch's CPU build first"
    ) from error

from lbpmap import _kernels
from lbpmap.representations import AnyRepresentation, resolve

__all__ = ["MappedLBP"]


class MappedLBP(nn.Module):
    """Turn pictures into mapped binary patterns, as `lbpmap.mapped_lbp` does.

    Parameters
    ----------
    representation : str, path, Table or Representation, default "cyclic_lbp"
        As for `lbpmap.mapped_lbp`.
    code_255 : {"released", "own"}
        As for `lbpmap.mapped_lbp`.

    Notes
    -----
    ``forward`` takes uint8 tensors (N, 3, H, W), RGB, or (N, H, W), grey, and gives a uint8 tensor
    (N, 3, H - 2R, W - 2R). There is no gradient. The "released" arithmetic is double precision
    with every product and sum rounded by itself; a compiler that fuses them would move ties, so
    the module stays out of ``torch.compile``.

    Examples
    --------
    >>> MappedLBP("cyclic_lbp_5")(torch.zeros((2, 3, 30, 40), dtype=torch.uint8)).shape
    torch.Size([2, 3, 20, 30])
    """

    rows: Tensor

    def __init__(
        self, representation: AnyRepresentation = "cyclic_lbp", code_255: str = "released"
    ) -> None:
        super().__init__()
        chosen = resolve(representation)
        self.name, self.radius, self.released = chosen.name, chosen.radius, False
        if chosen.table is None:
            self.samples: list[_kernels.Sample] = []
            rows = torch.zeros((0, 3), dtype=torch.uint8)
        else:
            self.released = chosen.arithmetic == "released"
            around = _kernels.Neighborhood(False, chosen.points, chosen.radius, self.released)
            self.samples = around.samples()
            lookup = chosen.table.lookup(code_255 if chosen.table.published else "own")
            rows = torch.tensor(lookup)
        self.register_buffer("rows", rows, persistent=False)

    def extra_repr(self) -> str:
        """Say which representation it is."""
        return repr(self.name)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, images: Tensor) -> Tensor:
        """Map a batch of pictures."""
        colour = images.ndim == 4 and images.shape[1] == 3
        if images.dtype != torch.uint8 or not (colour or images.ndim == 3):
            raise ValueError(
                f"MappedLBP: expected uint8 (N, 3, H, W) or (N, H, W), got {images.dtype} "
                f"{tuple(images.shape)}"
            )
        if not self.samples:
            return images if colour else images[:, None].expand(-1, 3, -1, -1)
        if min(images.shape[-2:]) <= 2 * self.radius:
            raise ValueError(
                f"MappedLBP: pictures of {images.shape[-2]} x {images.shape[-1]} (H x W), but "
                f"radius {self.radius} needs at least {2 * self.radius + 1} a side"
            )
        codes = self._codes(_gray(images) if colour else images)
        return self.rows[codes].permute(0, 3, 1, 2)

    def _codes(self, gray: Tensor) -> Tensor:
        radius = self.radius
        height, width = gray.shape[-2] - 2 * radius, gray.shape[-1] - 2 * radius
        values = gray.to(torch.float64 if self.released else torch.int32)

        def pixels(dy: int, dx: int) -> Tensor:
            top, left = radius + dy, radius + dx
            return values[:, top : top + height, left : left + width]

        centre = pixels(0, 0)
        codes = torch.zeros(centre.shape, dtype=torch.int32, device=gray.device)
        for i, (rows, cols, is_pixel, millionths, weights) in enumerate(self.samples):
            corners = [pixels(dy, dx) for dy in rows for dx in cols]
            if is_pixel:
                bit = corners[0] >= centre
            elif self.released:
                total = weights[0] * corners[0]
                for weight, corner in zip(weights[1:], corners[1:]):
                    total = total + weight * corner
                bit = total >= centre
            else:
                difference = sum(w * c for w, c in zip(millionths, corners)) - 1_000_000 * centre
                bit = difference >= -50
            codes |= bit.to(torch.int32) << i
        return codes


def _gray(images: Tensor) -> Tensor:
    """Turn RGB into MATLAB's rgb2gray, in integers (csrc/kernels_serial.c says why these)."""
    red, green, blue = images.to(torch.int32).unbind(1)
    return (1253830 * red + 2462235 * green + 478239 * blue + (1 << 21)) >> 22
