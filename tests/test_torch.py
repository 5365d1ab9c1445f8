from __future__ import annotations

import numpy as np
import pytest

import lbpmap
from lbpmap.representations import MAPPED

torch = pytest.importorskip("torch", reason="needs the extra lbpmap[torch]")
from lbpmap.torch import MappedLBP  # noqa: E402

RNG = np.random.default_rng(5)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def pictures(side=40):
    yield RNG.integers(0, 256, (3, side, side + 5, 3), np.uint8)
    yield RNG.integers(100, 103, (3, side, side + 5, 3), np.uint8)  # many ties
    y, x = np.mgrid[:side, : side + 5]
    yield np.repeat(((2 * x + 3 * y) % 256).astype(np.uint8)[None, ..., None], 3, axis=3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", [*MAPPED, "rgb"])
def test_the_same_bytes_as_the_c_core(name, device):
    module = MappedLBP(name).to(device)
    for batch in pictures():
        got = module(torch.tensor(batch.transpose(0, 3, 1, 2)).to(device)).cpu().numpy()
        np.testing.assert_array_equal(got.transpose(0, 2, 3, 1), lbpmap.mapped_lbp(batch, name))
        gray = batch[..., 0].copy()
        got = module(torch.tensor(gray).to(device)).cpu().numpy()
        np.testing.assert_array_equal(got.transpose(0, 2, 3, 1), lbpmap.mapped_lbp(gray, name))


def test_a_table_of_ones_own_in_exact_arithmetic():
    values = RNG.integers(0, 256, (4096, 3), np.uint8)
    table = lbpmap.Table(values, "mine", radius=3, points=12, arithmetic="exact")
    for batch in pictures():
        gray = batch[..., 1].copy()
        got = MappedLBP(table)(torch.tensor(gray)).numpy().transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(got, lbpmap.mapped_lbp(gray, table))


def test_row_255_as_released_or_its_own():
    flat = torch.full((1, 9, 9), 200, dtype=torch.uint8)
    codes = lbpmap.lbp_codes(flat[0].numpy(), arithmetic="released")
    for code_255 in ("released", "own"):
        rows = lbpmap.load_table("cyclic_lbp").lookup(code_255)
        got = MappedLBP("cyclic_lbp", code_255)(flat)[0].numpy().transpose(1, 2, 0)
        np.testing.assert_array_equal(got, rows[codes])


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((1, 3, 9, 9), torch.float32, "expected uint8"),
        ((9, 9), torch.uint8, r"got torch.uint8 \(9, 9\)"),
        ((1, 4, 9, 9), torch.uint8, r"\(N, 3, H, W\)"),
        ((1, 3, 9, 10), torch.uint8, "9 x 10 .* radius 5 needs at least 11"),
    ],
)
def test_bad_input_is_refused(shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        MappedLBP("cyclic_lbp_5")(torch.zeros(shape, dtype=dtype))
