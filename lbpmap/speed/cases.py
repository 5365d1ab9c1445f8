"""What is timed: each public function, and the kernel below it, on one picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

import lbpmap
from lbpmap import _isa, _kernels, _mapping, _reference, pictures
from lbpmap._arrays import U8, Array
from lbpmap.speed import peers
from lbpmap.transform import (
    REPRESENTATIONS,
    Representation,
    caffe_blob,
    lbp_codes,
    map_codes,
    mapped_lbp,
    mapped_planes,
    to_gray,
    use_isa,
)

# Mean of ImageNet's pixels, BGR: what such nets subtract.
MEAN = np.array([104, 117, 123], np.float32)

# The reference takes a microsecond a pixel and 200 bytes; larger pictures are held against it in
# their first rows, and against the kernel `serial` in whole.
_REFERENCE_PIXELS = 1 << 17


@dataclass(frozen=True)
class Job:
    """A case made ready for one picture; every call gives the same output, in warm memory."""

    call: Callable[[], Array]  # the public function
    kernel: Callable[[], Array] | None  # the compiled function alone, where it is one call
    reference: Callable[[], Array]
    reads: int  # bytes
    writes: int
    pixels: int  # of the output
    others: dict[str, Callable[[], object]]  # peers, ready too
    within: float = 0.0  # how far an output may be from the reference, of its largest value


@dataclass(frozen=True)
class Case:
    """A name, and how it is made ready for an RGB picture (H, W, 3)."""

    name: str
    prepare: Callable[[U8], Job]
    largest: int = 1 << 62  # pixels of a picture


@lru_cache(maxsize=4)
def photo(height: int, width: int) -> U8:
    """Give the package's photo (256, 256, 3), cut to a size or mirrored until it fills it.

    Mirrored and not enlarged: an enlarged photo is smoother and has more ties.
    """
    tile = pictures.read(Path(lbpmap.__file__).parent / "astronaut.png")
    beyond = [(0, max(0, length - side)) for length, side in zip((height, width), tile.shape)]
    return np.ascontiguousarray(np.pad(tile, [*beyond, (0, 0)], "symmetric")[:height, :width])


def flat(height: int, width: int) -> U8:
    """Give a picture of one level: every sample between pixels ties."""
    return np.full((height, width, 3), 100, np.uint8)


def ramp(height: int, width: int) -> U8:
    """Give a steep ramp: pixels on one rising diagonal are equal, so that NE and SW corners tie."""
    y, x = np.mgrid[:height, :width]
    return np.repeat((7 * (x + y) % 256).astype(np.uint8)[..., None], 3, axis=2)


def worst_slope(height: int, width: int) -> U8:
    """Give a slope that changes every 3 to 6 pixels: all ties, and each for itself.

    Pixels that lie on one falling diagonal are equal, so that every NW and SE corner ties where the
    slope does not change, and 32 neighbours have 7 slopes or more.
    """
    rng = np.random.default_rng(0)
    levels = [128]
    while len(levels) < height + width:
        step = int(rng.integers(-30, 31))
        for _ in range(rng.integers(3, 7)):
            step = step if 0 <= levels[-1] + step <= 255 else -step
            levels.append(levels[-1] + step)
    y, x = np.mgrid[:height, :width]
    gray: U8 = np.array(levels, np.uint8)[x - y + height]
    return np.repeat(gray[..., None], 3, axis=2)


def _inside(gray: U8, radius: int) -> tuple[int, int]:
    return gray.shape[0] - 2 * radius, gray.shape[1] - 2 * radius


def _codes(rgb: U8, *, radius: int, arithmetic: str, square: bool = False) -> Job:
    gray = to_gray(rgb)
    out = np.empty(_inside(gray, radius), np.uint8)
    isa = _isa.chosen()
    around = _mapping.neighborhood(square, 8, radius, arithmetic)
    samples = _reference.square(radius) if square else _reference.circle(8, radius)

    def call() -> U8:
        codes: U8 = lbp_codes(
            gray,
            radius,
            neighborhood="square" if square else "circular",
            arithmetic=arithmetic,
            out=out,
        )
        return codes

    def kernel() -> U8:
        _kernels.codes(isa, around, gray, out)
        return out

    def reference() -> Array:
        return _reference.lbp_codes(gray, samples, radius, arithmetic)

    others = (peers.of_square if square else peers.of_codes)(gray, radius)
    return Job(call, kernel, reference, gray.nbytes, out.nbytes, out.size, others)


def _mapped_reference(gray: U8, chosen: Representation) -> U8:
    assert chosen.table is not None
    samples = _reference.circle(8, chosen.radius)
    codes = _reference.lbp_codes(gray, samples, chosen.radius, chosen.arithmetic)
    return _reference.map_codes(codes, chosen.table.lookup())


def _mapped(rgb: U8, *, chosen: Representation) -> Job:
    gray = to_gray(rgb)
    assert chosen.table is not None
    table, isa = chosen.table.lookup(), _isa.chosen()
    around = _mapping.neighborhood(False, 8, chosen.radius, chosen.arithmetic)
    out = np.empty((*_inside(gray, chosen.radius), 3), np.uint8)

    def call() -> U8:
        mapped: U8 = mapped_lbp(gray, chosen, out=out)
        return mapped

    def kernel() -> U8:
        _kernels.mapped(isa, around, gray, table, out)
        return out

    codes = lbp_codes(gray, chosen.radius, arithmetic=chosen.arithmetic)
    others = peers.of_mapped(gray, codes, chosen.radius, table)
    reference = partial(_mapped_reference, gray, chosen)
    return Job(call, kernel, reference, gray.nbytes, out.nbytes, out.size // 3, others)


def _planes(rgb: U8, *, chosen: Representation) -> Job:
    gray = to_gray(rgb)
    assert chosen.table is not None
    isa, table = _isa.chosen(), np.ascontiguousarray(chosen.table.lookup()[:, ::-1])
    around = _mapping.neighborhood(False, 8, chosen.radius, chosen.arithmetic)
    out = np.empty((3, *_inside(gray, chosen.radius)), np.float32)

    def call() -> Array:
        planes: Array = mapped_planes(gray, chosen, mean=MEAN, out=out)
        return planes

    def kernel() -> Array:
        _kernels.planes(isa, around, gray, table, MEAN, out)
        return out

    def reference() -> Array:
        mapped = _mapped_reference(gray, chosen).astype(np.float32)
        return mapped.transpose(2, 0, 1)[::-1] - MEAN[:, None, None]

    others = peers.of_planes(mapped_lbp(gray, chosen), MEAN)
    return Job(call, kernel, reference, gray.nbytes, out.nbytes, out.size // 3, others)


def _lookup(rgb: U8) -> Job:
    chosen = REPRESENTATIONS["cyclic_lbp"]
    assert chosen.table is not None
    codes = lbp_codes(to_gray(rgb), arithmetic="released")
    table, isa = chosen.table.lookup(), _isa.chosen()
    out = np.empty((*codes.shape, 3), np.uint8)

    def call() -> U8:
        colours: U8 = map_codes(codes, table, out=out)
        return colours

    def kernel() -> U8:
        _kernels.lookup(isa, codes, table, out)
        return out

    others = peers.of_lookup(codes, table)
    reference = partial(_reference.map_codes, codes, table)
    return Job(call, kernel, reference, codes.nbytes, out.nbytes, codes.size, others)


def _gray(rgb: U8) -> Job:
    out, isa = np.empty(rgb.shape[:2], np.uint8), _isa.chosen()

    def call() -> U8:
        gray: U8 = to_gray(rgb, out=out)
        return gray

    def kernel() -> U8:
        _kernels.gray(isa, rgb, out)
        return out

    reference = partial(_reference.to_gray, rgb)
    return Job(call, kernel, reference, rgb.nbytes, out.nbytes, out.size, peers.of_gray(rgb))


def _blob(rgb: U8, *, name: str) -> Job:
    out = np.empty((1, 3, 224, 224), np.float32)

    def call() -> Array:
        blob: Array = caffe_blob(rgb, name, mean=MEAN, out=out)
        return blob

    def reference() -> Array:
        mapped = _mapped_reference(_reference.to_gray(rgb), REPRESENTATIONS[name])
        nothing = np.zeros((1, 1, 1), np.float32)
        return _reference.blob(mapped, 256, 224, 1, nothing, MEAN[:, None, None])

    others = peers.of_blob(mapped_lbp(rgb, name), MEAN)
    return Job(call, None, reference, rgb.nbytes, out.nbytes, out.size // 3, others, within=1e-5)


def codes_case(radius: int, arithmetic: str, on: str = "") -> Case:
    """Give the case of circular codes; `on` names a picture that is no photo."""
    name = f"codes R={radius}, {arithmetic}" + (f", {on}" if on else "")
    return Case(name, partial(_codes, radius=radius, arithmetic=arithmetic))


SQUARE = Case("square codes R=1", partial(_codes, radius=1, arithmetic="exact", square=True))
LOOKUP = Case("lookup, codes to colours", _lookup)
GRAY = Case("RGB to grey", _gray)
BLOB = Case("RGB to 3 x 224 x 224 blob", partial(_blob, name="cyclic_lbp"), largest=1 << 17)
# The released representations, and the first of them in the other arithmetic.
_MAPPED = {
    **{
        name: REPRESENTATIONS[name]
        for name in ("lbp", "cyclic_lbp", "cyclic_lbp_5", "cyclic_lbp_10")
    },
    "cyclic_lbp, exact": replace(REPRESENTATIONS["cyclic_lbp"], arithmetic="exact"),
}
MAPPED = {
    name: Case(f"mapped {name}", partial(_mapped, chosen=chosen))
    for name, chosen in _MAPPED.items()
}
PLANES = {
    name: Case(f"planes {name}", partial(_planes, chosen=chosen))
    for name, chosen in _MAPPED.items()
}

# What `lbpmap bench` times.
SHORT = (
    codes_case(1, "exact"),
    codes_case(1, "released"),
    codes_case(5, "exact"),
    codes_case(10, "exact"),
    SQUARE,
    LOOKUP,
    MAPPED["cyclic_lbp, exact"],
    MAPPED["cyclic_lbp"],
    MAPPED["cyclic_lbp_5"],
    PLANES["cyclic_lbp, exact"],
    PLANES["cyclic_lbp"],
    GRAY,
    BLOB,
)


def is_exact(case: Case, picture: U8) -> bool:
    """Compare a case's outputs with the reference's, and those of a large picture with `serial`'s.

    Parameters
    ----------
    case : Case
    picture : uint8 array (H, W, 3)

    Returns
    -------
    bool
        True when every value of the public function's and of the kernel's output is right: equal,
        or within the case's tolerance, which only stretched pictures have.
    """
    rows = min(len(picture), max(_REFERENCE_PIXELS // picture.shape[1], 32))
    if not _equal(case.prepare(picture[:rows]), None):
        return False
    if rows == len(picture):
        return True
    with use_isa("serial"):
        slow = case.prepare(picture).call()
    return _equal(case.prepare(picture), slow)


def _equal(job: Job, want: Array | None) -> bool:
    wanted = job.reference() if want is None else want
    calls = [job.call] if job.kernel is None else [job.call, job.kernel]
    if not job.within:
        return all(np.array_equal(call(), wanted) for call in calls)
    most = job.within * np.abs(wanted).max()
    return all(bool((np.abs(call() - wanted) <= most).all()) for call in calls)
