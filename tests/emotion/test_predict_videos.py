"""Videos and cameras: frame by frame, broken off and resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from lbpmap import pictures, video
from lbpmap.cli import main
from lbpmap.predict import pipeline

from .conftest import COMMAND, picture, table

RNG = np.random.default_rng(5)


def write_clip(path, count=30):
    av = pytest.importorskip("av", reason="needs PyAV (lbpmap[video])")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(count):
            frame = av.VideoFrame.from_ndarray(
                RNG.integers(0, 256, (48, 64, 3), np.uint8), format="rgb24"
            )
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def test_videos_among_pictures_and_resumed_within(make_net, tmp_path, capsys):
    make_net("mine", "lbp")
    write_clip(tmp_path / "clip.mp4")
    (tmp_path / "bad.mp4").write_bytes((tmp_path / "clip.mp4").read_bytes()[:500])
    pictures.write_png(tmp_path / "face.png", picture(RNG))
    names = [str(tmp_path / name) for name in ("clip.mp4", "bad.mp4", "face.png")]
    ask = ["predict", *names, "--every", "0.3", "--batch", "3"]
    assert main([*ask, "-o", str(tmp_path / "whole.csv")]) == 1
    rows = table(tmp_path / "whole.csv")
    assert [row["frame"] for row in rows] == [*map(str, range(0, 30, 3)), "", ""]
    assert [row["time"] for row in rows[:3]] == ["0.0", "0.3", "0.6"]
    assert "damaged" in rows[-2]["error"]

    def end_after_two(self, group, add=pipeline.Looks):
        if len(list(self.records())) >= 6:
            raise KeyboardInterrupt
        keep(self, group)

    from lbpmap.predict.journal import Journal

    keep = Journal.add
    out = tmp_path / "t.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "add", end_after_two)
        assert main([*ask, "-o", str(out)]) == 130
    assert f"{out}.part: kept for --resume" in capsys.readouterr().err
    assert main([*ask, "-o", str(out), "--resume"]) == 1
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_video_broken_off_twice_is_looked_at_to_its_end(make_net, tmp_path, monkeypatch):
    """Between two breaks another input came, which does not mean that the video was done."""
    make_net("mine", "lbp")
    write_clip(tmp_path / "clip.mp4")
    pictures.write_png(tmp_path / "face.png", picture(RNG))
    clip, face, out = (str(tmp_path / name) for name in ("clip.mp4", "face.png", "t.csv"))

    from lbpmap.predict.journal import Journal

    keep, groups = Journal.add, []

    def end_after(self, group):
        if len(groups) == 2:
            raise KeyboardInterrupt
        groups.append(group)
        keep(self, group)

    options = ["--every", "0.3", "--batch", "1", "-o", out, "-q"]
    for asked in ([clip], [face, clip]):
        groups.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "add", end_after)
            assert main(["predict", *asked, *options, "--resume"]) == 130
    assert main(["predict", face, clip, *options, "--resume"]) == 0
    rows = table(out)
    assert sorted(int(row["frame"] or -1) for row in rows) == [-1, *range(0, 30, 3)]
    # A finished table holds whole videos: nothing of them is read again.
    (tmp_path / "clip.mp4").write_bytes(b"gone")
    assert main(["predict", face, clip, *options, "--resume"]) == 0
    assert table(out) == rows


def test_without_pyav_videos_are_refused_at_once(make_net, tmp_path, monkeypatch, capsys):
    make_net("mine")
    monkeypatch.setitem(sys.modules, "av", None)
    for ask in ([str(tmp_path / "a.mp4")], ["--webcam"]):
        assert main(["predict", *ask]) == 2
        assert "videos need PyAV: pip install 'lbpmap[video]'" in capsys.readouterr().err


def test_a_camera_until_its_time_or_ctrl_c(make_net, tmp_path, capsys):
    pytest.importorskip("av", reason="needs PyAV (lbpmap[video])")
    make_net("mine")
    assert main(["predict", "--webcam", "test", "--every", "0.5", "--seconds", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == [
        f"camera test at {t:.2f} s" for t in (0, 0.5, 1, 1.5, 2)
    ]
    out = tmp_path / "t.csv"
    process = subprocess.Popen(
        [*COMMAND, "predict", "--webcam", "test", "--every", "0", "-o", str(out), "-q"]
    )
    deadline = time.monotonic() + 60
    part = tmp_path / "t.csv.part"
    while not (part.exists() and part.read_bytes().count(b"\n") > 3):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert len(table(out)) >= 3
    assert not part.exists()


def test_what_a_camera_that_broke_off_gave_is_not_lost(make_net, tmp_path, monkeypatch, capsys):
    pytest.importorskip("av", reason="needs PyAV (lbpmap[video])")
    make_net("mine")
    monkeypatch.setattr(video, "camera", broken_camera)
    out = tmp_path / "t.csv"
    ask = ["predict", "-o", str(out), "-q"]
    assert main([*ask, "--webcam"]) == 2
    assert "unplugged" in capsys.readouterr().err
    assert not out.exists()
    assert main([*ask, "--resume"]) == 0
    assert [row["frame"] for row in table(out)] == ["0", "1", "2"]
    assert not (tmp_path / "t.csv.part").exists()
    assert main([*ask, "--resume"]) == 2
    assert "no input: " in capsys.readouterr().err


def broken_camera(device, *, every):
    for number in range(3):
        yield video.Frame(number, number / 2, picture(RNG))
    raise OSError("camera 0: unplugged")
