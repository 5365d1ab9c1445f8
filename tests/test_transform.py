"""What the front door takes, gives and refuses."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import lbpmap
from lbpmap import (
    REPRESENTATIONS,
    build_info,
    caffe_blob,
    lbp_codes,
    map_codes,
    mapped_lbp,
    to_gray,
    use_isa,
)

RNG = np.random.default_rng(7)
GRAY = RNG.integers(0, 256, (40, 50), np.uint8)
RGB = RNG.integers(0, 256, (40, 50, 3), np.uint8)


def test_imports_nothing_but_numpy():
    code = (
        "import sys, numpy; before = set(sys.modules); import lbpmap.transform;"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - set(sys.stdlib_module_names) - {'numpy', 'lbpmap'}))"
        if sys.version_info >= (3, 10)
        else "import sys; import lbpmap.transform;"
        "print([m for m in ('scipy', 'sklearn', 'PIL', 'google', 'tqdm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Cython registers a module of its own for the types its extensions share.
    left = [name for name in eval(done.stdout) if not name.startswith(("_cython", "cython"))]
    assert left == []


@pytest.mark.parametrize(
    "call",
    [
        to_gray,
        lbp_codes,
        lambda x, **k: lbp_codes(x, 5, arithmetic="released", **k),
        mapped_lbp,
        lambda x, **k: mapped_lbp(x, "rgb", **k),
    ],
)
@pytest.mark.parametrize("picture", [GRAY, RGB], ids=["gray", "rgb"])
def test_one_batch_and_list_agree_and_fill_out(call, picture):
    one = call(picture)
    batch = np.stack([picture, picture[::-1], picture])
    singles = [call(item) for item in batch]
    got = call(batch)
    assert got.shape == (3, *one.shape)
    for single, of_batch in zip(singles, got):
        np.testing.assert_array_equal(of_batch, single)
    sizes = [picture, picture[:30, 3:]]
    several = call(sizes)
    assert isinstance(several, list)
    for item, of_list in zip(sizes, several):
        np.testing.assert_array_equal(of_list, call(item))
    for given, want in ((picture, one), (batch, got)):
        out = np.empty_like(want)
        assert call(given, out=out) is out
        np.testing.assert_array_equal(out, want)
    outs = [np.empty_like(item) for item in several]
    call(sizes, out=outs)
    for out, want in zip(outs, several):
        np.testing.assert_array_equal(out, want)


def test_gray_and_rgb_pass_through_without_a_copy():
    assert to_gray(GRAY) is GRAY
    assert mapped_lbp(RGB, "rgb") is RGB
    np.testing.assert_array_equal(mapped_lbp(GRAY, "rgb"), np.stack([GRAY] * 3, axis=-1))


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
@pytest.mark.parametrize("shape", [(3, 50), (40, 50), (5, 11, 12), (1, 40, 50), (40, 50, 3)])
def test_threads_change_nothing(threads, shape):
    image = RNG.integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(lbp_codes(image, threads=threads), lbp_codes(image))
    np.testing.assert_array_equal(mapped_lbp(image, threads=threads), mapped_lbp(image))


def test_callers_may_bring_their_own_threads():
    want = lbp_codes(GRAY, 5)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: lbp_codes(GRAY, 5, threads=2), range(100)):
            np.testing.assert_array_equal(got, want)


def test_views_of_any_row_stride_are_read_in_place():
    for view in (GRAY[::-1], GRAY[::3], GRAY[5:30, 7:40], GRAY[::-2, 3:]):
        np.testing.assert_array_equal(lbp_codes(view), lbp_codes(view.copy()))
    for view in (GRAY[:, ::-1], GRAY[:, ::2], GRAY.T, RGB[..., ::-1], RGB[:, ::2]):
        np.testing.assert_array_equal(lbp_codes(view), lbp_codes(np.ascontiguousarray(view)))
    readonly = GRAY.copy()
    readonly.flags.writeable = False
    np.testing.assert_array_equal(lbp_codes(readonly), lbp_codes(GRAY))


def test_out_may_be_a_view_with_gaps_between_rows():
    sheet = np.zeros((60, 200, 3), np.uint8)
    want = mapped_lbp(GRAY)
    window = sheet[4 : 4 + 38, 9 : 9 + 48]
    mapped_lbp(GRAY, out=window, threads=3)
    np.testing.assert_array_equal(window, want)
    window[...] = 0
    assert not sheet.any()
    upside_down = np.empty_like(want)
    mapped_lbp(GRAY, out=upside_down[::-1])
    np.testing.assert_array_equal(upside_down[::-1], want)


def test_an_empty_batch_is_an_empty_result():
    assert lbp_codes(np.empty((0, 9, 10), np.uint8)).shape == (0, 7, 8)
    assert mapped_lbp(np.empty((0, 9, 10, 3), np.uint8)).shape == (0, 7, 8, 3)
    assert mapped_lbp(np.empty((0, 9, 10), np.uint8), "rgb").shape == (0, 9, 10, 3)
    assert lbp_codes([]) == []


def test_a_picture_of_the_neighbourhoods_own_size():
    for radius in (1, 5, 10):
        side = 2 * radius + 1
        picture = RNG.integers(0, 256, (side, side), np.uint8)
        assert lbp_codes(picture, radius).shape == (1, 1)


def test_map_codes_takes_any_shape():
    table = REPRESENTATIONS["lbp"].table.lookup()
    for shape in ((), (5,), (4, 5), (2, 3, 4), (2, 1, 3, 4), (0, 4), (4, 0)):
        codes = RNG.integers(0, 256, shape, np.uint8) if shape else np.array(7, np.uint8)
        np.testing.assert_array_equal(map_codes(codes, "lbp"), table[codes])
    flipped = RNG.integers(0, 256, (6, 8), np.uint8)[:, ::-2]
    np.testing.assert_array_equal(map_codes(flipped, table), table[flipped])
    few = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    np.testing.assert_array_equal(
        map_codes(np.array([[0, 1]], np.uint8), few), few[np.array([[0, 1]])]
    )


def overlapping():
    memory = np.zeros((80, 60), np.uint8)
    return memory[:40], memory[39:77, :58]


def test_planes_of_every_kind_of_input():
    mean = np.array([1, 2, 3], np.float32)

    def want(picture, name):
        mapped = lbpmap.mapped_lbp(picture, name)
        return mapped.transpose(2, 0, 1)[::-1].astype(np.float32) - mean[:, None, None]

    for name in ("rgb", "cyclic_lbp_5"):
        for picture in (GRAY, RGB, RGB[::-1], RGB[:, ::-1]):
            got = lbpmap.mapped_planes(picture, name, mean=mean, threads=3)
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, want(picture, name))
        batch = np.stack([GRAY, GRAY[::-1]])
        room = np.full((2, 3, *want(GRAY, name).shape[1:]), np.nan, np.float32)
        assert lbpmap.mapped_planes(batch, name, mean=mean, out=room, threads=4) is room
        np.testing.assert_array_equal(room, [want(picture, name) for picture in batch])
        listed = lbpmap.mapped_planes([GRAY, RGB], name, mean=mean)
        np.testing.assert_array_equal(listed[1], want(RGB, name))
    values = np.random.default_rng(0).integers(0, 256, (4096, 3), np.uint8)
    twelve = lbpmap.Table(values, "mine", radius=2, points=12)
    got = lbpmap.mapped_planes(GRAY, twelve, mean=mean)
    np.testing.assert_array_equal(got, want(GRAY, twelve))
    unshaded = lbpmap.mapped_planes(GRAY, mean=0)
    np.testing.assert_array_equal(unshaded, lbpmap.mapped_lbp(GRAY).transpose(2, 0, 1)[::-1])


BAD_CALLS = {
    "planes without a mean": (
        lambda: lbpmap.mapped_planes(GRAY, mean=None),
        ValueError,
        "three finite numbers .* explicit 0, got None",
    ),
    "planes with a mean picture": (
        lambda: lbpmap.mapped_planes(GRAY, mean=np.zeros((3, 8, 8))),
        ValueError,
        r"got shape \(3, 8, 8\)",
    ),
    "too small": (lambda: lbp_codes(GRAY[:10], 5), ValueError, "10 x 50 .* at least 11 x 11"),
    "too small in a list": (
        lambda: mapped_lbp([GRAY, GRAY[:2]]),
        ValueError,
        "picture 1 is 2 x 50",
    ),
    "float": (lambda: lbp_codes(GRAY / 255), TypeError, "must be uint8 .* got float64"),
    "not an array": (lambda: to_gray("face.png"), TypeError, "got str; .*pictures.read"),
    "one channel": (lambda: to_gray(GRAY[..., None]), ValueError, r"image\[\.\.\., 0\]"),
    "alpha": (lambda: lbp_codes(np.dstack([RGB, GRAY])), ValueError, r"image\[\.\.\., :3\]"),
    "alpha in a list": (lambda: lbp_codes([np.dstack([RGB, GRAY])]), ValueError, "picture 0"),
    "five axes": (lambda: lbp_codes(np.zeros((1, 1, 9, 9, 3), np.uint8)), ValueError, "or a batch"),
    "a vector": (lambda: lbp_codes(np.zeros(9, np.uint8)), ValueError, r"got shape \(9,\)"),
    "a nested list": (lambda: lbp_codes([[1, 2], [3, 4]]), TypeError, "picture 0 must be a uint8"),
    "empty": (lambda: to_gray(np.zeros((0, 4, 3), np.uint8)), ValueError, "is empty"),
    "radius 0": (lambda: lbp_codes(GRAY, 0), ValueError, "radius must be a positive integer"),
    "radius 1.5": (lambda: lbp_codes(GRAY, 1.5), TypeError, "radius .* got float 1.5"),
    "radius True": (lambda: lbp_codes(GRAY, True), TypeError, "got bool"),
    "radius huge": (lambda: lbp_codes(GRAY, 10**30), ValueError, "radius 10000.* needs at least"),
    "points": (lambda: lbp_codes(GRAY, points=17), ValueError, "points must be 1 to 16"),
    "square": (lambda: lbp_codes(GRAY, points=4, neighborhood="square"), ValueError, "8 points"),
    "layout": (lambda: lbp_codes(GRAY, neighborhood="round"), ValueError, "'circular', 'square'"),
    "arithmetic": (lambda: lbp_codes(GRAY, arithmetic="fast"), ValueError, "'exact', 'released'"),
    "threads": (lambda: lbp_codes(GRAY, threads=0), ValueError, "threads must be a positive"),
    "representation": (lambda: mapped_lbp(GRAY, "lbp_2"), ValueError, "no representation 'lbp_2'"),
    "code 255": (lambda: mapped_lbp(GRAY, code_255="mine"), ValueError, "code_255 must be one of"),
    "out shape": (
        lambda: lbp_codes(GRAY, out=np.empty((40, 50), np.uint8)),
        ValueError,
        r"out must be uint8 \(38, 48\), got uint8 \(40, 50\)",
    ),
    "out dtype": (
        lambda: lbp_codes(GRAY, out=np.empty((38, 48), np.int8)),
        ValueError,
        "got int8",
    ),
    "out type": (lambda: to_gray(RGB, out=[1]), TypeError, "out must be an array"),
    "out read-only": (
        lambda: lbp_codes(GRAY, out=np.broadcast_to(np.uint8(0), (38, 48))),
        ValueError,
        "read-only",
    ),
    "out with gaps": (
        lambda: lbp_codes(GRAY, out=np.empty((38, 96), np.uint8)[:, ::2]),
        ValueError,
        "must follow each other",
    ),
    "out overlaps": (
        lambda: (lambda pair: lbp_codes(pair[0], out=pair[1]))(overlapping()),
        ValueError,
        "out overlaps the input",
    ),
    "out list": (lambda: lbp_codes([GRAY], out=[]), ValueError, "list of 1 arrays"),
    "codes": (lambda: map_codes(GRAY.astype(int), "lbp"), TypeError, "uint8 or uint16"),
    "table": (lambda: map_codes(GRAY, np.zeros((256, 4), np.uint8)), ValueError, r"\(2\^P, 3\)"),
    "no row": (
        lambda: map_codes(np.full((2, 2), 300, np.uint16), "lbp"),
        ValueError,
        "code 300 has no row in a table of 256",
    ),
    "isa": (
        lambda: use_isa("avx9"),
        ValueError,
        "no instruction set 'avx9' here; available: serial",
    ),
    "no mean": (lambda: caffe_blob(RGB, "lbp", mean=None), ValueError, "mean is missing; without"),
    "a scalar mean": (lambda: caffe_blob(RGB, "lbp", mean=104), ValueError, "the number 104"),
    "a 4-D mean": (
        lambda: caffe_blob(RGB, "lbp", mean=np.zeros((1, 3, 256, 256))),
        ValueError,
        r"shape \(1, 3, 256, 256\)",
    ),
    "a mean of words": (lambda: caffe_blob(RGB, "lbp", mean="m.bin"), TypeError, "must be numbers"),
    "a NaN mean": (lambda: caffe_blob(RGB, "lbp", mean=[1, 2, np.nan]), ValueError, "finite"),
    "a 256 blob": (
        lambda: caffe_blob(RGB, "lbp", mean=0, crop=256),
        ValueError,
        "released nets take 224 x 224",
    ),
    "crop": (lambda: caffe_blob(RGB, "lbp", mean=0, crop=300), ValueError, "larger than size=256"),
    "crops": (lambda: caffe_blob(RGB, "lbp", mean=0, crops=5), ValueError, "one of 1, 10"),
    "mean mode": (
        lambda: caffe_blob(RGB, "lbp", mean=0, mean_mode="pad"),
        ValueError,
        "'resize', 'crop'",
    ),
    "mean to crop": (
        lambda: caffe_blob(RGB, "lbp", mean=np.zeros((3, 200, 200)), mean_mode="crop"),
        ValueError,
        "needs a mean of 3 x 256 x 256",
    ),
    "blob out": (
        lambda: caffe_blob(RGB, "lbp", mean=0, out=np.empty((1, 3, 224, 224))),
        ValueError,
        r"out must be float32 \(1, 3, 224, 224\), got float64",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_input_is_refused_in_one_line(name):
    call, error, message = BAD_CALLS[name]
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_instruction_sets_are_visible_and_forcible():
    info = build_info()
    assert info["version"] == lbpmap.__version__
    assert info["available"][0] == "serial"
    assert set(info["available"]) <= set(info["compiled"])
    assert info["chosen"] == info["available"][-1]
    with use_isa("serial"):
        assert build_info()["chosen"] == "serial"
    assert build_info()["chosen"] == info["chosen"]


def run_with_isa(name):
    code = "import lbpmap; print(lbpmap.build_info()['chosen'])"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"LBPMAP_ISA": name}
    )


def test_the_environment_chooses_too():
    for name in build_info()["available"]:
        assert run_with_isa(name).stdout.strip() == name
    wrong = run_with_isa("mmx")
    assert wrong.returncode != 0
    assert "LBPMAP_ISA: no instruction set 'mmx' here; available: serial" in wrong.stderr


class TestCaffeBlob:
    """The chain of steps, each against a plain statement of it."""

    def test_one_crop_of_a_picture_that_needs_no_stretching(self):
        picture = RNG.integers(0, 256, (256, 256, 3), np.uint8)
        blob = caffe_blob(picture, "rgb", mean=(10, 20, 30))
        assert blob.shape == (1, 3, 224, 224)
        assert blob.dtype == np.float32
        want = (
            picture[16:240, 16:240, ::-1].transpose(2, 0, 1) - np.array([10, 20, 30])[:, None, None]
        )
        np.testing.assert_allclose(blob[0], want, atol=1e-4)

    def test_ten_crops_are_corners_centre_and_their_mirrors(self):
        picture = RNG.integers(0, 256, (256, 256, 3), np.uint8)
        blob = caffe_blob(picture, "rgb", mean=0, crops=10)
        assert blob.shape == (10, 3, 224, 224)
        planes = picture.transpose(2, 0, 1)[::-1]
        corners = [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]
        for k, (y, x) in enumerate(corners):
            crop = planes[:, y : y + 224, x : x + 224]
            np.testing.assert_allclose(blob[k], crop, atol=1e-4)
            np.testing.assert_allclose(blob[k + 5], crop[:, :, ::-1], atol=1e-4)

    def test_mapped_pictures_put_dimension_three_first(self):
        picture = RNG.integers(0, 256, (258, 258), np.uint8)
        blob = caffe_blob(picture, "cyclic_lbp", mean=0, crops=1)
        mapped = mapped_lbp(picture, "cyclic_lbp")[16:240, 16:240]
        np.testing.assert_allclose(blob[0], mapped[..., ::-1].transpose(2, 0, 1), atol=1e-4)

    def test_a_mean_picture_is_cropped_with_the_picture_or_resized(self):
        picture = RNG.integers(0, 256, (256, 256, 3), np.uint8)
        mean = RNG.uniform(0, 255, (3, 256, 256)).astype(np.float32)
        bare = caffe_blob(picture, "rgb", mean=0, crops=10)
        cropped = caffe_blob(picture, "rgb", mean=mean, crops=10, mean_mode="crop")
        np.testing.assert_allclose(bare[0] - cropped[0], mean[:, :224, :224], atol=1e-4)
        np.testing.assert_allclose(bare[5] - cropped[5], mean[:, :224, 223::-1], atol=1e-4)
        resized = caffe_blob(picture, "rgb", mean=mean, crops=10)
        np.testing.assert_allclose(bare[0] - resized[0], bare[9] - resized[9], atol=1e-4)
        ready = (bare[0] - resized[0]).copy()
        same = caffe_blob(picture, "rgb", mean=ready, crops=10)
        np.testing.assert_allclose(same, resized, atol=1e-4)

    def test_pictures_of_different_sizes_make_one_blob(self):
        pictures = [RGB, GRAY, RGB[:30]]
        blob = caffe_blob(pictures, "lbp", mean=0, threads=2)
        assert blob.shape == (3, 3, 224, 224)
        for picture, got in zip(pictures, blob):
            np.testing.assert_array_equal(caffe_blob(picture, "lbp", mean=0)[0], got)
        out = np.empty((30, 3, 40, 40), np.float32)
        assert caffe_blob(pictures, "lbp", mean=0, size=48, crop=40, crops=10, out=out) is out

    def test_a_net_of_ones_own_may_take_256(self):
        blob = caffe_blob(RGB, REPRESENTATIONS["lbp"], mean=0, crop=256)
        assert blob.shape == (1, 3, 256, 256)
