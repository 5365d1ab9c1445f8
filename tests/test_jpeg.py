"""The quick way to read JPEGs, against Pillow: pixels, refusals and damage."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

import lbpmap
from lbpmap import _jpeg, pictures

pytest.importorskip("simplejpeg", reason="needs simplejpeg (the extra 'fast')")
if not features.check("libjpeg_turbo"):
    pytest.skip("this Pillow has another JPEG library", allow_module_level=True)

PHOTO = pictures.read(Path(lbpmap.__file__).parent / "astronaut.png")
SIZES = {"face": (143, 181), "odd": (37, 53), "narrow": (1, 40), "one block": (16, 8)}


def jpeg(size: tuple[int, int], grey: bool = False, **options: Any) -> bytes:
    image = Image.fromarray(PHOTO).resize(size)
    memory = io.BytesIO()
    (image.convert("L") if grey else image).save(memory, "JPEG", **options)
    return memory.getvalue()


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the function that reads bytes with simplejpeg and with Pillow alone."""
    module, path = _jpeg._simplejpeg(), tmp_path / "a.jpg"

    def read(data: bytes) -> list[Any]:
        path.write_bytes(data)
        found: list[Any] = []
        for used in (module, None):
            with monkeypatch.context() as patch:
                patch.setattr(_jpeg, "_simplejpeg", lambda used=used: used)
                try:
                    found.append(pictures.read(path))
                except ValueError as error:
                    found.append(str(error))
        return found

    return read


def taken(data: bytes) -> bool:
    """Say whether a file is read without Pillow."""
    return _jpeg.read_plain(io.BytesIO(data), pictures.MAX_PIXELS) is not None


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("quality", [30, 75, 90, 100])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_pixels_are_pillows(both: Any, size: str, quality: int, progressive: bool) -> None:
    options = {"quality": quality, "progressive": progressive, "optimize": quality == 90}
    files = [jpeg(SIZES[size], subsampling=how, **options) for how in (0, 1, 2, "4:1:1")]
    files.append(jpeg(SIZES[size], grey=True, **options))
    for data in files:
        quick, slow = both(data)
        np.testing.assert_array_equal(quick, slow)
        assert taken(data)
        assert quick.shape == (*SIZES[size][::-1], 3)
        assert quick.flags.c_contiguous
        assert quick.flags.writeable


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pillow_reads_the_header_where_there_is_exif(both: Any, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg((48, 31), exif=exif.tobytes())
    assert not taken(data)
    assert _jpeg.decode(io.BytesIO(data), (31, 48)) is not None
    np.testing.assert_array_equal(*both(data))


def test_other_files_are_left_to_pillow(both: Any) -> None:
    for data in (
        jpeg((40, 30), icc_profile=bytes(5000)),
        jpeg((40, 30), comment=bytes(60_000), icc_profile=bytes(9)),
        jpeg((40, 30)) + bytes(3 * 40 * 30 + _jpeg._METADATA),
    ):
        assert not taken(data)
        np.testing.assert_array_equal(*both(data))
    cmyk = io.BytesIO()
    Image.new("CMYK", (9, 8)).save(cmyk, "JPEG")
    assert not taken(cmyk.getvalue())
    quick, slow = both(cmyk.getvalue())
    assert quick == slow
    assert "in CMYK colour" in quick


def test_rgb_inside_a_jpeg_is_not_converted(both: Any) -> None:
    data = jpeg((40, 30), keep_rgb=True)
    np.testing.assert_array_equal(*both(data))


def test_a_size_is_checked_before_memory_is_taken(
    both: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(jpeg((40, 30)))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    assert not taken(bytes(data))
    quick, slow = both(bytes(data))
    assert quick == slow
    assert "refused before decoding" in quick
    # A limit that the caller has set for Pillow holds here too.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert "refused before decoding" in both(jpeg((40, 30)))[0]


def test_damage_is_pillows_to_judge(both: Any) -> None:
    rng = np.random.default_rng(6)
    files = [
        jpeg((40, 33), quality=quality, progressive=progressive, grey=grey)
        for quality in (75, 95)
        for progressive in (False, True)
        for grey in (False, True)
    ]
    refused = 0
    for k in range(400):
        data = bytearray(files[k % len(files)])
        end = len(data) if k % 3 else min(650, len(data))  # half of the damage to the header
        at = int(rng.integers(end))
        if k % 5 == 0:
            del data[at:]
        elif k % 5 == 1:
            del data[at : at + int(rng.integers(1, 9))]
        else:
            data[at] = rng.integers(256)
        quick, slow = both(bytes(data))
        refused += isinstance(slow, str)
        np.testing.assert_array_equal(quick, slow)
    assert 100 < refused < 300
