from __future__ import annotations

import numpy as np
import numpy.typing as npt

_U8 = npt.NDArray[np.uint8]
_U16 = npt.NDArray[np.uint16]
_U32 = npt.NDArray[np.uint32]
_I32 = npt.NDArray[np.int32]
_F32 = npt.NDArray[np.float32]
Sample = tuple[
    tuple[int, int],
    tuple[int, int],
    bool,
    tuple[int, int, int, int],
    tuple[float, float, float, float],
]

def compiler() -> str: ...
def instruction_sets() -> list[tuple[str, bool]]: ...

class Neighborhood:
    points: int
    radius: int
    def __init__(self, square: bool, points: int, radius: int, released: bool) -> None: ...
    def samples(self) -> list[Sample]: ...

def gray(isa: int, rgb: _U8, out: _U8) -> None: ...
def codes(isa: int, nb: Neighborhood, gray: _U8, out: _U8) -> None: ...
def codes16(isa: int, nb: Neighborhood, gray: _U8, out: _U16) -> None: ...
def lookup(isa: int, codes: _U8, table: _U8, out: _U8) -> None: ...
def lookup16(isa: int, codes: _U16, table: _U8, out: _U8) -> None: ...
def mapped(isa: int, nb: Neighborhood, gray: _U8, table: _U8, out: _U8) -> None: ...
def planes(isa: int, nb: Neighborhood, gray: _U8, table: _U8, mean: _F32, out: _F32) -> None: ...
def histogram(isa: int, codes: _U8, bin: _U16, counts: _U32) -> None: ...
def histogram16(isa: int, codes: _U16, bin: _U16, counts: _U32) -> None: ...

class Taps:
    def __init__(self, source: int, size: int, position: _I32) -> None: ...

def blob(
    isa: int,
    rows: Taps,
    columns: Taps,
    cuts: _I32,
    means: _F32,
    rgb: _U8,
    scratch: _F32,
    out: _F32,
) -> None: ...
def mapped_blob(
    isa: int,
    nb: Neighborhood,
    table: _U8,
    rgb: _U8 | None,
    gray: _U8,
    mapped: _U8,
    rows: Taps,
    columns: Taps,
    cuts: _I32,
    means: _F32,
    scratch: _F32,
    out: _F32,
) -> None: ...

class Convolution:
    tiles: int
    def __init__(
        self, kernel: int, image: tuple[int, ...], pad: tuple[int, ...], out: tuple[int, ...]
    ) -> None: ...

def image_points(
    isa: int,
    how: Convolution,
    images: _F32,
    first: int,
    last: int,
    scratch: _F32,
    out: _F32,
) -> None: ...
def filter_points(isa: int, how: Convolution, filters: _F32, out: _F32) -> None: ...
def image_of(isa: int, how: Convolution, products: _F32, bias: _F32 | None, out: _F32) -> bool: ...
def maxima(
    isa: int,
    planes: _F32,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    pad: tuple[int, ...],
    scratch: _F32,
    out: _F32,
) -> None: ...
