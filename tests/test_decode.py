"""Reading picture files; every file is made here."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from lbpmap import pictures

RNG = np.random.default_rng(5)
COLOUR = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = COLOUR[:, :, 0].copy()

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """Assemble a PNG that Pillow cannot write; `rows` carry their filter bytes."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows))
        + _chunk(b"IEND", b"")
    )


def _tiff16(pixels: np.ndarray) -> bytes:
    """Assemble a TIFF of 16-bit RGB, one strip, little-endian."""
    height, width, _ = pixels.shape
    data = pixels.astype("<u2").tobytes()
    bits_at, data_at = 8 + 2 + 9 * 12 + 4, 8 + 2 + 9 * 12 + 4 + 6
    entries = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 3, bits_at),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, data_at),
        (277, 3, 1, 3),
        (278, 3, 1, height),
        (279, 4, 1, len(data)),
    ]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (
        struct.pack("<2sHIH", b"II", 42, 8, len(entries))
        + directory
        + struct.pack("<I3H", 0, 16, 16, 16)
        + data
    )


def _refusal(path: Path, kind: type[Exception] = ValueError) -> str:
    """Read a file that must be refused in one line that begins with its name."""
    with pytest.raises(kind) as caught:
        pictures.read(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".tga"])
def test_lossless_colour_is_returned_pixel_for_pixel(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"colour{suffix}"
    Image.fromarray(COLOUR).save(path)
    got = pictures.read(path)
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    assert got.flags.writeable
    np.testing.assert_array_equal(got, COLOUR)
    np.testing.assert_array_equal(pictures.read(os.fspath(path)), COLOUR)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_files_have_the_pixels_pillow_gives(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"colour{suffix}"
    Image.fromarray(np.kron(COLOUR, np.ones((8, 8, 1), np.uint8))).save(path, quality=80)
    with Image.open(path) as image:
        expected = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(pictures.read(path), expected)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".pgm"])
def test_grey_is_repeated(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"grey{suffix}"
    Image.fromarray(GREY).save(path)
    np.testing.assert_array_equal(pictures.read(path), np.repeat(GREY[:, :, None], 3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pbm", ".bmp"])
def test_one_bit_gives_black_and_white(tmp_path: Path, suffix: str) -> None:
    bits = GREY > 127
    path = tmp_path / f"bits{suffix}"
    Image.fromarray(bits.astype(np.uint8) * 255).convert("1", dither=0).save(path)
    np.testing.assert_array_equal(pictures.read(path), np.repeat(bits[:, :, None] * 255, 3, axis=2))


def test_alpha_is_dropped_and_not_blended(tmp_path: Path) -> None:
    alpha = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7
    Image.fromarray(np.dstack([COLOUR, alpha])).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(pictures.read(tmp_path / "rgba.png"), COLOUR)
    Image.fromarray(np.dstack([GREY, alpha])).save(tmp_path / "la.png")
    np.testing.assert_array_equal(pictures.read(tmp_path / "la.png")[:, :, 1], GREY)


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(16))])
def test_a_palette_is_expanded_to_its_colours(tmp_path: Path, transparency: Any) -> None:
    palette = RNG.integers(0, 256, (16, 3), dtype=np.uint8)
    index = RNG.integers(0, 16, (5, 7), dtype=np.uint8)
    image = Image.fromarray(index).convert("P")
    image.putpalette(palette.tobytes())
    path = tmp_path / "palette.png"
    options = {} if transparency is None else {"transparency": transparency}
    image.save(path, **options)
    np.testing.assert_array_equal(pictures.read(path), palette[index])


def test_a_transparent_colour_changes_no_pixel(tmp_path: Path) -> None:
    path = tmp_path / "keyed.png"
    Image.fromarray(COLOUR).save(path, transparency=tuple(int(v) for v in COLOUR[2, 3]))
    np.testing.assert_array_equal(pictures.read(path), COLOUR)


def test_a_gif_of_one_frame_is_read(tmp_path: Path) -> None:
    index = (GREY // 64).astype(np.uint8)
    image = Image.fromarray(index).convert("P")
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [9, 8, 7]], np.uint8)
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "still.gif")
    np.testing.assert_array_equal(pictures.read(tmp_path / "still.gif"), palette[index])


def test_the_contents_decide_and_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "really_png.jpg"
    Image.fromarray(COLOUR).save(path, format="PNG")
    np.testing.assert_array_equal(pictures.read(path), COLOUR)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = (250, 10, 10)
    upright[16:, :16] = (10, 250, 10)
    upright[:16, 32:] = (10, 10, 250)
    # What a camera held so stores: the inverse of the turn that the tag asks for.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif.tobytes(), quality=95)
    got = pictures.read(path)
    assert got.shape == upright.shape
    assert np.abs(got.astype(int) - upright).mean() < 6


@pytest.mark.parametrize("orientation", [0, 9, 4000])
def test_an_orientation_that_does_not_exist_is_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOUR).save(tmp_path / "odd.png", exif=exif.tobytes())
    np.testing.assert_array_equal(pictures.read(tmp_path / "odd.png"), COLOUR)


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0nonsense"])
def test_damaged_exif_costs_no_pixel(tmp_path: Path, exif: bytes) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "odd.png", exif=exif)
    np.testing.assert_array_equal(pictures.read(tmp_path / "odd.png"), COLOUR)


def test_of_a_multi_picture_jpeg_the_first_is_read(tmp_path: Path) -> None:
    first = np.full((16, 16, 3), 40, np.uint8)
    path = tmp_path / "phone.jpg"
    second = Image.new("RGB", (16, 16), (200, 200, 200))
    try:
        Image.fromarray(first).save(path, format="MPO", save_all=True, append_images=[second])
    except (KeyError, ValueError) as error:
        pytest.skip(f"this Pillow does not write MPO ({error})")
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) != 2:
            pytest.skip("this Pillow writes one picture into an MPO")
    np.testing.assert_array_equal(pictures.read(path), first)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".tif", ".webp"])
def test_several_frames_or_pages_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"moving{suffix}"
    frames = [Image.fromarray(np.full((8, 8, 3), 60 * k, np.uint8)) for k in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40)
    message = _refusal(path)
    assert "several frames or pages" in message
    assert f"convert '{path}[0]' out.png" in message


def test_sixteen_bit_grey_is_refused(tmp_path: Path) -> None:
    wide = GREY.astype(np.uint16) * 257
    for suffix in (".png", ".tif"):
        path = tmp_path / f"deep{suffix}"
        Image.fromarray(wide).save(path)
        message = _refusal(path)
        assert "more than 8 bits a channel" in message
        assert f"convert {path} -depth 8 out.png" in message


@pytest.mark.parametrize("mode", ["I", "F"])
def test_integer_and_float_pictures_are_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "deep.tif"
    Image.new(mode, (4, 3)).save(path)
    assert "more than 8 bits a channel" in _refusal(path)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_png_of_every_colour_type_is_refused(
    tmp_path: Path, colour: int, channels: int
) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(_png(2, 3, 16, colour, (b"\0" + b"\x12\x34" * channels * 2) * 3))
    assert "a PNG of more than 8 bits a channel" in _refusal(path)


def test_sixteen_bit_colour_tiff_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.tif"
    path.write_bytes(_tiff16(COLOUR.astype(np.uint16) * 257))
    with Image.open(path) as image:
        assert image.mode == "RGB"  # Pillow would narrow it and say nothing
    assert "a TIFF of more than 8 bits a channel" in _refusal(path)


@pytest.mark.parametrize("header", [b"P5 2 1 65535\n", b"P5 2 1 1000\n"])
def test_sixteen_bit_pgm_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "deep.pgm"
    path.write_bytes(header + b"\1\2\3\4")
    assert "more than 8 bits a channel" in _refusal(path)


@pytest.mark.parametrize("header", [b"P6 2 1 65535\n", b"P6 2 1 1000\n", b"P3 2 1 65535\n"])
def test_sixteen_bit_ppm_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "deep.ppm"
    path.write_bytes(header + (b"1 2 3 4 5 6" if header[:2] == b"P3" else bytes(12)))
    message = _refusal(path)
    # Before 9.2 Pillow does not read such a file at all.
    assert "more than 8 bits a channel" in message or "expected" in message


@pytest.mark.parametrize(("suffix", "mode"), [(".jpg", "CMYK"), (".tif", "CMYK"), (".tif", "LAB")])
def test_other_colour_spaces_are_refused(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"print{suffix}"
    Image.new(mode, (9, 8)).save(path)
    message = _refusal(path)
    assert f"in {mode} colour" in message
    assert f"convert {path} -colorspace sRGB -depth 8 out.png" in message


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", bytes(4096)])
def test_what_is_no_picture_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "notes.jpg"
    path.write_bytes(data)
    assert "expected" in _refusal(path)


def test_formats_that_run_programs_are_not_tried(tmp_path: Path) -> None:
    path = tmp_path / "page.eps"
    Image.fromarray(COLOUR).save(path)
    assert "not a picture that can be read" in _refusal(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".gif", ".webp", ".ppm"])
def test_a_file_cut_short_is_refused(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole)
    data = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data[: len(data) // 2])
    assert "expected" in _refusal(cut)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_damaged_files_give_a_picture_or_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    messages = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for suffix in (".png", ".jpg", ".bmp", ".tif", ".gif", ".webp", ".ppm", ".tga"):
            path = tmp_path / f"damaged{suffix}"
            Image.fromarray(np.kron(COLOUR, np.ones((4, 4, 1), np.uint8))).save(path)
            data = np.frombuffer(path.read_bytes(), np.uint8)
            for _ in range(100):
                broken = data.copy()
                at = rng.integers(0, min(len(data), 400), 3)
                broken[at] = rng.integers(0, 256, 3)
                path.write_bytes(broken.tobytes())
                try:
                    assert pictures.read(path).ndim == 3
                except ValueError as error:
                    messages.append(str(error))
    assert len(messages) > 50
    assert all(str(tmp_path) in message and "\n" not in message for message in messages)
    assert not caught


@pytest.mark.parametrize("side", [11_600, 60_000, 2**31 - 1])
def test_a_decompression_bomb_is_refused_unread(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(_png(side, side, 8, 0, b""))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        message = _refusal(path)
    assert not caught
    assert "refused before decoding" in message
    assert str(pictures.MAX_PIXELS) in message


def test_a_large_picture_within_the_limit_gives_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(COLOUR).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # the picture has 35: Pillow would warn
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        np.testing.assert_array_equal(pictures.read(path), COLOUR)
    assert not caught
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # and here it would refuse
    assert "refused before decoding" in _refusal(path)


def test_missing_files_and_folders_are_os_errors(tmp_path: Path) -> None:
    assert "no such file" in _refusal(tmp_path / "absent.png", FileNotFoundError)
    assert "a folder" in _refusal(tmp_path, IsADirectoryError)
    with pytest.raises(ValueError, match="not a file name"):
        pictures.read("a\0b.png")


@posix
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    assert "a pipe or a device" in _refusal(path, OSError)


@posix
def test_an_odd_name_still_gives_one_line(tmp_path: Path) -> None:
    path = tmp_path / "two\nlines.png"
    path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"two\\nlines\.png") as caught:
        pictures.read(path)
    assert "\n" not in str(caught.value)


def test_threads_may_read_at_once_and_leave_the_warning_filters(tmp_path: Path) -> None:
    path = tmp_path / "colour.png"
    Image.fromarray(COLOUR).save(path)
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(pictures.read, [path] * 200))
    assert all(np.array_equal(result, COLOUR) for result in results)
    assert list(warnings.filters) == before
