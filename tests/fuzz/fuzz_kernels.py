"""Random calls of the compiled kernels, on every instruction set, beside the readable reference.

    python tests/fuzz/fuzz_kernels.py --minutes 30 --seed 1

A case is one line of JSON, sizes and a seed instead of pixels. Outputs lie between guards, so that
a byte written outside them is found too. A case that fails is made smaller and goes to found.jsonl,
for good. Of the others the smallest of each kind is kept, in corpus.jsonl: entry point, arithmetic,
class of radius, width modulo 64, with and without a whole register of 64 before it, ties or none;
and tall ones. Width modulo 64 stands for the vector paths: it is how much of a row is left for a
kernel's last, partial register. `tests/test_fuzz_corpus.py` replays both files.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np

import lbpmap
from lbpmap import _kernels, _reference
from lbpmap._files import atomic_write

CORPUS = Path(__file__).with_name("corpus.jsonl")
FOUND = Path(__file__).with_name("found.jsonl")
RULES = ("exact", "released", "square")
KINDS = ("random", "two-level", "close", "extremes", "ramp", "steep", "blocks", "flat", "planted")
CODED = ("codes", "codes16", "mapped", "planes")
ENTRIES = CODED + ("gray", "lookup", "lookup16", "histogram", "histogram16")
_SHARES = (0.26, 0.12, 0.2, 0.2, 0.04, 0.06, 0.03, 0.06, 0.03)
GUARD, CANARY = 192, 77

# (near - C, mid1 + mid2 - 2C, far - C) of true ties, which all multiples are too.
TIE_FAMILIES = {1: (0, 0, 0), 5: (7, 2, -7), 10: (1, -12, -14)}


@dataclass(frozen=True)
class Case:
    """One call; `gap` items lie between rows, `flip` runs them bottom up."""

    entry: str
    rule: str
    radius: int
    points: int
    height: int
    width: int
    kind: str
    gap: int
    flip: int
    seed: int


def framed(shape, dtype, case):
    """Give memory full of canaries, and the view of `shape` inside it that a kernel may write."""
    rows, items = shape[0], int(np.prod(shape[1:]))
    stride = items + case.gap
    flat = np.full(2 * GUARD + rows * stride, CANARY, dtype)
    view = flat[GUARD : GUARD + rows * stride].reshape(rows, stride)[:, :items]
    view = (view[::-1] if case.flip else view).reshape(shape)
    assert np.shares_memory(view, flat)
    return flat, view


def pixels(case, rng, shape):
    """Give a picture (H, W) of the case's character."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    low = int(rng.integers(0, 250))
    if case.kind == "random":
        return rng.integers(0, 256, shape)
    if case.kind == "two-level":
        return rng.choice(rng.integers(0, 256, 2), shape)
    if case.kind == "close":
        return rng.integers(low, min(256, low + rng.integers(2, 9)), shape)
    if case.kind == "extremes":
        return rng.choice(np.array([0, 1, 2, 3, 127, 128, 252, 254, 255]), shape)
    if case.kind == "ramp":
        return (low + rng.integers(0, 3) * x + rng.integers(0, 3) * y) % 256
    if case.kind == "steep":
        return (low + rng.integers(3, 90) * x + rng.integers(-90, 90) * y) % 256
    if case.kind == "blocks":
        side = int(rng.integers(2, 24))
        return rng.integers(0, 256, (1 + shape[0] // side, 1 + shape[1] // side))[
            y // side, x // side
        ]
    if case.kind == "flat":
        return np.full(shape, low)
    return planted(case, rng, shape)


def planted(case, rng, shape):
    """Noise in which some corner samples tie with their centres."""
    gray = rng.integers(0, 256, shape)
    radius = max(case.radius, 1)
    if min(shape) <= 2 * radius:
        return gray
    near, mids, far = TIE_FAMILIES.get(case.radius, (0, 0, 0))
    slanted = [s for s in _reference.circle(8, radius) if not s.is_pixel]
    for _ in range(1 + gray.size // 8):
        sample = slanted[rng.integers(len(slanted))]
        row, col = (int(rng.integers(radius, length - radius)) for length in shape)
        times = int(rng.integers(-12, 13))
        delta = int(rng.integers(-100, 101))
        # Corners by their distance from the centre: near, two between, far.
        corners = sorted(
            ((dy, dx) for dy in sample.rows for dx in sample.cols),
            key=lambda at: at[0] ** 2 + at[1] ** 2,
        )
        level = int(gray[row, col])
        values = [near * times, delta, mids * times - delta, far * times]
        if all(0 <= level + value < 256 for value in values):
            for (dy, dx), value in zip(corners, values):
                gray[row + dy, col + dx] = level + value
    return gray


def around(case):
    """Give the samples of a case, for the reference and for the kernels."""
    if case.rule == "square":
        return _reference.square(case.radius), _kernels.Neighborhood(True, 8, case.radius, False)
    return (
        _reference.circle(case.points, case.radius),
        _kernels.Neighborhood(False, case.points, case.radius, case.rule == "released"),
    )


def prepared(case):
    """Give the shape and dtype of the output, what it shall be, `call(isa, out)`, and the ties."""
    rng = np.random.default_rng(case.seed)
    if case.entry in CODED:
        return prepared_codes(case, rng)
    size = (case.height, case.width)
    if case.entry == "gray":
        channels = [pixels(case, rng, size) for _ in range(3)]
        _, rgb = framed((*size, 3), np.uint8, case)
        rgb[...] = np.stack(channels, -1)
        return size, np.uint8, _reference.to_gray(rgb), (lambda i, o: _kernels.gray(i, rgb, o)), 0
    wide = case.entry.endswith("16")
    count = 1 << (16 if wide else 8)
    _, codes = framed(size, np.uint16 if wide else np.uint8, case)
    codes[...] = rng.integers(0, count, size) if wide else pixels(case, rng, size)
    kernel = getattr(_kernels, case.entry)
    if case.entry.startswith("lookup"):
        table = rng.integers(0, 256, (count, 3), np.uint8)
        want = _reference.map_codes(codes, table)
        return (*size, 3), np.uint8, want, (lambda i, o: kernel(i, codes, table, o)), 0
    bins = int(rng.integers(1, 60))
    bin_of_code = rng.integers(0, bins, count).astype(np.uint16)
    grid = tuple(int(rng.integers(1, min(length, 8) + 1)) for length in size)
    want = _reference.histogram(codes, bin_of_code, bins, grid)

    def count_into(isa, out):
        counts = np.empty((*grid, bins), np.uint32)
        kernel(isa, codes, bin_of_code, counts)
        out[...] = counts

    return want.shape, np.uint32, want, count_into, 0


def prepared_codes(case, rng):
    margin = 2 * case.radius
    size = (case.height, case.width)
    _, gray = framed((case.height + margin, case.width + margin), np.uint8, case)
    gray[...] = pixels(case, rng, gray.shape)
    samples, nb = around(case)
    arithmetic = "released" if case.rule == "released" else "exact"
    codes = _reference.lbp_codes(gray, samples, case.radius, arithmetic)
    ties = tied(gray, samples, case.radius)
    if case.entry in ("codes", "codes16"):
        dtype = np.uint8 if case.entry == "codes" else np.uint16
        kernel = getattr(_kernels, case.entry)
        return size, dtype, codes, (lambda i, o: kernel(i, nb, gray, o)), ties
    table = rng.integers(0, 256, (256, 3), np.uint8)
    colours = table[codes]
    if case.entry == "mapped":
        call = lambda i, o: _kernels.mapped(i, nb, gray, table, o)  # noqa: E731
        return (*size, 3), np.uint8, colours, call, ties
    mean = rng.uniform(-300, 300, 3).astype(np.float32)
    want = colours.astype(np.float32).transpose(2, 0, 1) - mean[:, None, None]
    call = lambda i, o: _kernels.planes(i, nb, gray, table, mean, o)  # noqa: E731
    return (3, *size), np.float32, want, call, ties


def tied(gray, samples, radius):
    """Say whether a sample equals its centre but for rounding."""
    height, width = (length - 2 * radius for length in gray.shape)
    centre = gray[radius:, radius:][:height, :width].astype(np.float64)
    for sample in samples:
        weights = (1.0, 0.0, 0.0, 0.0) if sample.is_pixel else sample.weights
        at = [(radius + dy, radius + dx) for dy in sample.rows for dx in sample.cols]
        value = sum(w * gray[y:, x:][:height, :width] for w, (y, x) in zip(weights, at))
        if (np.abs(value - centre) < 1e-9).any():
            return 1
    return 0


def failure(case):
    """Run a case on every instruction set; say what is wrong, or give None, and whether it ties."""
    shape, dtype, want, call, ties = prepared(case)
    # Planes of float rows lie one after the other, in rows of their own.
    flat_shape = (shape[0] * shape[1], shape[2]) if case.entry == "planes" else shape
    expected, inside = framed(flat_shape, dtype, case)
    inside[...] = want.reshape(flat_shape)
    names = [name for name, _ in _kernels.instruction_sets()]
    for name in lbpmap.build_info()["available"]:
        got, view = framed(flat_shape, dtype, case)
        call(names.index(name), view.reshape(shape))
        if not np.array_equal(got, expected):
            wrong = np.flatnonzero(got != expected)
            return f"{name}: {len(wrong)} items of {want.size} differ, from {wrong[0] - GUARD} on"
    return None if not ties else ""


def drawn(rng):
    """Draw a case; widths are small, and around whole registers more often than not."""
    entry = ENTRIES[
        rng.choice(len(ENTRIES), p=[0.26, 0.12, 0.2, 0.2, 0.04, 0.06, 0.03, 0.06, 0.03])
    ]
    rule = RULES[rng.choice(3, p=[0.4, 0.45, 0.15])]
    radius = int(rng.choice([1, 5, 10, rng.integers(2, 20)])) if entry in CODED else 0
    points = 8
    if entry in CODED and rule != "square" and rng.random() < 0.25:
        points = int(rng.integers(1, 17 if entry == "codes16" else 9))
    width = int(rng.integers(1, 65)) + 64 * int(rng.choice([0, 1, 2, 4], p=[0.5, 0.3, 0.15, 0.05]))
    height = int(rng.choice([rng.integers(1, 4), rng.integers(4, 40)], p=[0.8, 0.2]))
    gap = int(rng.choice([0, 1, 3, rng.integers(1, 200)]))
    kind = KINDS[rng.integers(len(KINDS))]
    return Case(
        entry, rule if entry in CODED else "-", radius, points, height, width, kind, gap,
        int(rng.integers(2)), int(rng.integers(2**31)),
    )  # fmt: skip


def kind_of(case, ties):
    """Name the combination that a case stands for."""
    radius = case.radius if case.radius in (0, 1, 5, 10) else "other"
    if case.points != 8:
        return (case.entry, case.rule, radius, "points", case.points)
    whole, rest = case.width >= 64, case.width % 64
    if case.height > 16:  # kernels that go over strips of rows come back for the next one
        return (case.entry, case.rule, radius, "tall", whole, rest // 8)
    if case.entry in ("codes", "mapped"):
        return (case.entry, case.rule, radius, whole, rest, ties)
    return (case.entry, case.rule, radius, whole, rest)


def smaller(case):
    """Give cases like this one, each smaller in one way."""
    for height in {1, case.height // 2, case.height - 1} - {0, case.height}:
        yield replace(case, height=height)
    for width in (case.width - 64, case.width // 2, case.width - 1):
        if 0 < width < case.width:
            yield replace(case, width=width)
    if case.gap:
        yield replace(case, gap=0)
    if case.flip:
        yield replace(case, flip=0)


def minimal(case):
    """Make a failing case smaller while it fails."""
    for candidate in smaller(case):
        if failure(candidate):
            return minimal(candidate)
    return case


def read(path):
    """Give the cases of a file."""
    with open(path, encoding="ascii") as file:
        return [Case(*json.loads(line)) for line in file]


def write(cases, path):
    """Write cases, one a line."""
    lines = sorted(json.dumps(astuple(case), separators=(",", ":")) for case in set(cases))
    with atomic_write(path) as file:
        file.write("".join(line + "\n" for line in lines).encode("ascii"))


def run(rng, end, kept, found):
    """Try cases until the time `end`; give how many."""
    tried, saved = 0, time.monotonic()
    while time.monotonic() < end:
        case = drawn(rng)
        wrong = failure(case)
        tried += 1
        if wrong:
            small = minimal(case)
            print(f"{small}: {failure(small)}", flush=True)
            found.append(small)
            continue
        key = kind_of(case, int(wrong == ""))
        old = kept.get(key)
        if old is None or case.height * case.width < old.height * old.width:
            kept[key] = case
        if time.monotonic() - saved > 60:
            saved = time.monotonic()
            print(f"{tried} cases, {len(kept)} kinds, {len(found)} failures", flush=True)
    return tried


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=CORPUS.parent, help="where the files are")
    args = parser.parse_args()
    corpus, once = args.folder / CORPUS.name, args.folder / FOUND.name
    kept, found = {}, []
    for case in read(corpus) if corpus.exists() else []:
        wrong = failure(case)
        if wrong:
            found.append(case)
        else:
            kept[kind_of(case, int(wrong == ""))] = case
    rng = np.random.default_rng(args.seed)
    try:
        tried = run(rng, time.monotonic() + 60 * args.minutes, kept, found)
    finally:
        write(kept.values(), corpus)
        write([*(read(once) if once.exists() else []), *found], once)
    print(f"{tried} cases, {len(kept)} kinds, {len(found)} failures")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
