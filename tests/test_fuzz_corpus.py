"""What a long run of `fuzz/fuzz_kernels.py` kept, replayed on every instruction set here."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from lbpmap import _kernels

FUZZ = Path(__file__).parent / "fuzz" / "fuzz_kernels.py"


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_kernels", FUZZ)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize("name", ["CORPUS", "FOUND"])
def test_every_case(fuzz, name):
    cases = fuzz.read(getattr(fuzz, name))
    wrong = [(case, said) for case in cases if (said := fuzz.failure(case))]
    assert wrong == []
    assert cases


def test_the_corpus_covers_every_kind(fuzz):
    """Each entry point, arithmetic and class of radius has every width modulo 64."""
    cases = fuzz.read(fuzz.CORPUS)
    for entry in fuzz.CODED:
        for rule in fuzz.RULES:
            for radius in (1, 5, 10):
                widths = {
                    case.width % 64
                    for case in cases
                    if (case.entry, case.rule, case.radius) == (entry, rule, radius)
                }
                assert widths == set(range(64)), (entry, rule, radius)
    assert {case.entry for case in cases} == set(fuzz.ENTRIES)
    assert {case.kind for case in cases} == set(fuzz.KINDS)
    assert len({fuzz.kind_of(case, 0) for case in cases}) > len(cases) / 2


@pytest.mark.parametrize("entry", ["codes", "mapped", "planes", "gray", "lookup", "histogram"])
def test_a_wrong_kernel_is_found_and_made_small(fuzz, entry, monkeypatch):
    """One wrong value is seen, and the case shrinks to a pixel."""
    right = getattr(_kernels, entry)

    def wrong(isa, *arguments):
        right(isa, *arguments)
        out = arguments[-1]
        out[(0,) * out.ndim] = np.bitwise_xor(out[(0,) * out.ndim].astype(int), 1)

    case = next(
        c for c in fuzz.read(fuzz.CORPUS) if c.entry == entry and c.width > 64 and c.height == 1
    )
    assert not fuzz.failure(case)
    monkeypatch.setattr(_kernels, entry, wrong)
    assert "differ" in fuzz.failure(case)
    assert fuzz.minimal(case).width == 1


def test_bytes_outside_the_output_are_watched(fuzz, monkeypatch):
    right = _kernels.codes

    def spilling(isa, around, gray, out):
        right(isa, around, gray, out)
        np.lib.stride_tricks.as_strided(out, (1, out.shape[1] + 1), out.strides)[0, -1] ^= 1

    case = next(c for c in fuzz.read(fuzz.CORPUS) if c.entry == "codes" and c.height == 1)
    assert not fuzz.failure(case)
    monkeypatch.setattr(_kernels, "codes", spilling)
    assert "1 items" in fuzz.failure(case)
