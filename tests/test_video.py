"""Frames of videos: all or some, turned as the video says; what is damaged is refused."""

from __future__ import annotations

import itertools
import struct
import sys

import numpy as np
import pytest

from lbpmap import video

av = pytest.importorskip("av", reason="needs PyAV (lbpmap[video])")

FPS, COUNT = 10, 30


def write(path, count=COUNT, size=(64, 48), codec="mpeg4", noisy=False):
    """Write frames whose upper left quarter is bright, all brighter from frame to frame."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 2_000_000
        for k in range(count):
            pixels = np.full((height, width, 3), 4 * k, np.uint8)
            pixels[: height // 2, : width // 2] = 250
            if noisy:
                pixels = np.random.default_rng(k).integers(0, 256, pixels.shape, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write(tmp_path_factory.mktemp("video") / "clip.mp4")


def test_every_frame_in_order(clip):
    frames = list(video.frames(clip))
    assert [frame.number for frame in frames] == list(range(COUNT))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(COUNT) / FPS, atol=1e-6)
    for k, frame in enumerate(frames):
        assert frame.pixels.shape == (48, 64, 3)
        assert frame.pixels.dtype == np.uint8
        assert abs(int(frame.pixels[40, 50].mean()) - 4 * k) < 8
        assert frame.pixels[10, 10].mean() > 230


@pytest.mark.parametrize(
    ("every", "numbers"),
    [
        (1, [0, 10, 20]),
        (0.5, [0, 5, 10, 15, 20, 25]),
        (0.25, None),
        (100, [0]),
        (0.1, range(COUNT)),
    ],
)
def test_a_frame_so_often(clip, every, numbers):
    got = [frame.number for frame in video.frames(clip, every=every)]
    if numbers is None:  # each is the first at or after a multiple of `every`
        numbers = sorted({int(np.ceil(round(FPS * every * k, 6))) for k in range(12)})
    assert got == list(numbers)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_frames_are_turned_as_the_video_says(clip, tmp_path, turns):
    """The matrix of a track's header, in 16.16 fixed point, as telephones write it."""
    data = bytearray(clip.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]  # clockwise
    rows = (cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 14)
    data[matrix : matrix + 36] = struct.pack(">9i", *(value << 16 for value in rows))
    path = tmp_path / "turned.mp4"
    path.write_bytes(data)
    first = next(video.frames(path)).pixels
    corners = {0: first[5, 5], 1: first[5, -5], 2: first[-5, -5], 3: first[-5, 5]}
    assert max(corners, key=lambda k: corners[k].mean()) == turns
    assert first.shape == ((64, 48, 3) if turns % 2 else (48, 64, 3))
    assert first.flags.c_contiguous


def test_what_can_be_read_of_a_broken_video_comes_before_its_error(tmp_path):
    whole = write(tmp_path / "whole.avi", noisy=True)
    (tmp_path / "cut.avi").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    got = []
    with pytest.raises(ValueError, match=r"cut\.avi: .*damaged"):
        got += (frame.number for frame in video.frames(tmp_path / "cut.avi"))
    assert got == list(range(len(got)))
    assert 5 < len(got) < 25


def test_what_is_no_video(clip, tmp_path):
    data = clip.read_bytes()
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{clip}\n#EXT-X-ENDLIST\n"
    bad = {
        "empty.mp4": (b"", "an empty file; expected a video"),
        "words.mp4": (b"hello " * 1000, "no video that can be read, or damaged"),
        "cut.mp4": (data[: len(data) // 2], "no video that can be read, or damaged"),
        "list.mp4": (playlist.encode(), "no video that can be read, or damaged"),
        "concat.mp4": (f"ffconcat version 1.0\nfile {clip}\n".encode(), "no video that can"),
    }
    for name, (content, message) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            list(video.frames(tmp_path / name))
    with pytest.raises(FileNotFoundError, match="no such file; expected a video"):
        list(video.frames(tmp_path / "gone.mp4"))
    with pytest.raises(IsADirectoryError, match="a folder; expected a video"):
        list(video.frames(tmp_path))
    with pytest.raises(FileNotFoundError):  # a name that FFmpeg would take for an address
        list(video.frames("concat:a.mp4|b.mp4"))
    with pytest.raises(ValueError, match="every must be 0 or more seconds, got -1"):
        next(video.frames(clip, every=-1))


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    with pytest.raises(ValueError, match="holds no video"):
        list(video.frames(path))


def test_frames_that_are_too_large_are_not_decoded(clip, monkeypatch):
    monkeypatch.setattr(video, "MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(ValueError, match="frames of 64 x 48 are too large; expected at most 3071"):
        next(video.frames(clip))


def test_a_camera():
    got = list(itertools.islice(video.camera("test", every=0.5), 3))
    assert [frame.number for frame in got] == [0, 5, 10]
    assert got[0].pixels.shape == (240, 320, 3)
    with pytest.raises(OSError, match="camera /dev/no-camera: "):
        next(video.camera("/dev/no-camera"))
    if sys.platform == "linux":
        with pytest.raises(FileNotFoundError, match="camera 99: no /dev/video99 here; expected"):
            next(video.camera("99"))
