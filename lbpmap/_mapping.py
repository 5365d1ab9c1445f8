"""From pictures to the C core: bands of rows on threads, neighbourhoods and tables made ready."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from lbpmap import _isa, _kernels
from lbpmap._arrays import F32, U8, Array
from lbpmap.representations import Representation

Kernel = Callable[[U8, Array], None]


def run(
    kernel: Kernel,
    sources: list[U8],
    targets: list[Array],
    *,
    margin: int | None,
    threads: int,
) -> None:
    """Run `kernel(source, target)` over pictures, on threads over pictures, then bands of rows.

    The band [a, b) of a target needs the rows [a, b + 2 margin) of its source; a margin of None
    keeps pictures whole.
    """
    if threads == 1:
        for source, target in zip(sources, targets):
            kernel(source, target)
        return
    with ThreadPoolExecutor(threads) as pool:
        jobs = []
        for source, target in zip(sources, targets):
            if margin is None:
                jobs.append(pool.submit(kernel, source, target))
                continue
            parts = min(-(-threads // len(sources)), len(target))
            edges = [len(target) * i // parts for i in range(parts + 1)]
            for top, end in zip(edges, edges[1:]):
                band = source[top : end + 2 * margin]
                jobs.append(pool.submit(kernel, band, target[top:end]))
        for job in jobs:
            job.result()


@lru_cache(maxsize=64)
def neighborhood(square: bool, points: int, radius: int, arithmetic: str) -> _kernels.Neighborhood:
    """Place the samples; a few microseconds, so kept."""
    return _kernels.Neighborhood(square, points, radius, arithmetic == "released")


def gray_into(rows: U8, out: U8) -> None:
    """Write the grey of RGB or grey rows to `out`."""
    if rows.ndim == 2:
        np.copyto(out, rows)
    else:
        _kernels.gray(_isa.chosen(), rows, out)


def gray(rows: U8) -> U8:
    """Give the grey of RGB rows; grey rows as they are."""
    if rows.ndim == 2:
        return rows
    luma = np.empty(rows.shape[:2], np.uint8)
    gray_into(rows, luma)
    return luma


def ingredients(chosen: Representation, code_255: str) -> tuple[_kernels.Neighborhood, U8]:
    """Give the neighbourhood and the rows of a representation's table."""
    around = neighborhood(False, chosen.points, chosen.radius, chosen.arithmetic)
    return around, _rows(chosen, code_255)


def mapper(chosen: Representation, code_255: str) -> Kernel:
    """Give the kernel of a representation: rows of a picture -> rows of the mapped picture."""
    around, table = ingredients(chosen, code_255)
    isa = _isa.chosen()

    def fused(rows: U8, out: U8) -> None:
        _kernels.mapped(isa, around, gray(rows), table, out)

    def by_codes(rows: U8, out: U8) -> None:
        codes = np.empty(out.shape[:2], np.uint16)
        _kernels.codes16(isa, around, gray(rows), codes)
        _kernels.lookup16(isa, codes, table, out)

    return fused if chosen.points <= 8 else by_codes


def plane_mapper(chosen: Representation, code_255: str, mean: F32) -> Kernel:
    """Give the kernel from rows of a picture to rows of planes, (rows, 3, columns), BGR - mean."""
    if chosen.table is None:

        def as_is(rows: U8, out: Array) -> None:
            pixels = rows if rows.ndim == 3 else rows[..., None]
            np.subtract(pixels[..., ::-1].transpose(0, 2, 1), mean[:, None], out=out)

        return as_is
    around, table = ingredients(chosen, code_255)
    table = np.ascontiguousarray(table[:, ::-1])
    isa = _isa.chosen()

    def fused(rows: U8, out: Array) -> None:
        _kernels.planes(isa, around, gray(rows), table, mean, out.transpose(1, 0, 2))

    def by_codes(rows: U8, out: Array) -> None:
        codes = np.empty((len(out), out.shape[2]), np.uint16)
        _kernels.codes16(isa, around, gray(rows), codes)
        np.subtract(table[codes].transpose(0, 2, 1), mean[:, None], out=out)

    return fused if chosen.points <= 8 else by_codes


@lru_cache(maxsize=64)
def _rows(chosen: Representation, code_255: str) -> U8:
    assert chosen.table is not None
    return padded(chosen.table.lookup(code_255 if chosen.table.published else "own"))


def padded(rows: U8) -> U8:
    """Give at least the 256 rows that the 8-bit kernels index; no code points at the added ones."""
    if len(rows) >= 256:
        return np.ascontiguousarray(rows)
    return np.concatenate([rows, np.zeros((256 - len(rows), 3), np.uint8)])
