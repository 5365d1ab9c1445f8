"""What a run goes over, and how: mixed folders, lists, patterns, videos, cameras; faces found."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lbpmap import caffe_blob, faces, pictures, video
from lbpmap.cli import main
from lbpmap.emotion import ensemble
from lbpmap.emotion.fusion import uniform
from lbpmap.emotion.registry import find_nets
from lbpmap.predict import html, pipeline
from lbpmap.predict.pipeline import Looks, look
from lbpmap.predict.sources import Item

RNG = np.random.default_rng(5)
# The small nets' random weights give scores of some hundreds; float32 rounds them, and differently
# in another batch, by as much as this is in the probabilities.
ROUNDED = 1e-4
COMMAND = [sys.executable, "-c", "import sys; from lbpmap.cli import main; sys.exit(main())"]


def encoded(kind, array, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, format=kind, **options)
    return file.getvalue()


def picture():
    return RNG.integers(0, 256, (40, 44, 3), np.uint8)


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("JPEG", picture(), exif=exif)


def animated():
    frames = [Image.fromarray(picture()) for _ in range(3)]
    file = io.BytesIO()
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def cmyk():
    file = io.BytesIO()
    Image.fromarray(picture()).convert("CMYK").save(file, format="JPEG")
    return file.getvalue()


def huge():
    """Only a header: 100,000 x 100,000 pixels."""
    head = encoded("PNG", np.zeros((1, 1, 3), np.uint8))
    size = (100_000).to_bytes(4, "big") * 2
    import zlib

    body = b"IHDR" + size + head[24:29]
    return head[:12] + body + zlib.crc32(body).to_bytes(4, "big") + head[33:]


# What a file is made of, and what its row says: None for a face that is looked at.
KINDS = {
    "good.png": (lambda: encoded("PNG", picture()), None),
    "good.jpg": (lambda: encoded("JPEG", picture()), None),
    "turned.jpg": (turned, None),
    "cut.png": (lambda: encoded("PNG", picture())[:900], "damaged or cut short"),
    "cut.jpg": (lambda: encoded("JPEG", picture())[:600], "damaged or cut short"),
    "deep.png": (
        lambda: encoded("PNG", RNG.integers(0, 2**16, (40, 40), np.uint16)),
        "more than 8 bits",
    ),
    "cmyk.jpg": (cmyk, "CMYK"),
    "moving.gif": (animated, "several frames or pages"),
    "huge.png": (huge, "too many pixels"),
    "empty.jpg": (lambda: b"", "not a picture that can be read"),
    "tiny.png": (lambda: encoded("PNG", np.zeros((2, 2, 3), np.uint8)), "2 x 2"),
}


@pytest.fixture
def thousand(tmp_path):
    """Make 1,000 entries: of each kind, folders named as pictures, and links in circles."""
    folder = tmp_path / "mixed"
    for i in range(10):
        (folder / f"{i}").mkdir(parents=True)
        (folder / f"{i}" / "folder.jpg").mkdir()
        (folder / f"{i}" / "circle.jpg").symlink_to("circle.jpg")
        (folder / f"{i}" / "up.png").symlink_to("..")
        (folder / f"{i}" / "lost.png").symlink_to("nowhere.png")
    names = [name for name in KINDS if not name.startswith("good")]
    for k in range(96):
        for i in range(10):
            kind = names[k] if k < len(names) else ("good.png", "good.jpg")[k % 2]
            (folder / f"{i}" / f"{k:02}_{kind}").write_bytes(KINDS[kind][0]())
    return folder


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_thousand_mixed_files_are_a_thousand_rows(make_net, thousand, tmp_path, capsys):
    make_net("mine", "lbp")
    out = tmp_path / "t.csv"
    assert main(["predict", str(thousand), "-o", str(out)]) == 1
    rows = table(out)
    assert len(rows) == 1000
    assert len({row["path"] for row in rows}) == 1000
    wanted = {
        "folder.jpg": "a folder without pictures; expected some below it. Its videos are named by",
        "circle.jpg": "symbolic links",
        "up.png": "a folder without pictures",
        "lost.png": "no such file",
    }
    for row in rows:
        name = os.path.basename(row["path"])
        error = wanted.get(name) or KINDS.get(name[3:], ("", ""))[1]
        said = row["error"]
        if error == "damaged or cut short":  # of which old versions of Pillow see less
            said = said.replace("not a picture that can be read", error)
        assert (error or "") in said, row
        assert bool(row["error"]) == bool(error)
        assert bool(row["label"]) == (not error)
        assert not row["error"].startswith(row["path"])
        assert row["error"].isprintable()
    failed = sum(bool(row["error"]) for row in rows)
    assert failed == 40 + 10 * 8
    assert f"1,000 inputs, {1000 - failed} faces, {failed} failed" in capsys.readouterr().err


def test_tracebacks_when_asked_for(make_net, tmp_path, capsys):
    make_net("mine")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert main(["predict", str(tmp_path / "bad.png")]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "bad.png"), "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "bad.png")]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_device_that_is_not_there_is_said(make_net, tmp_path, monkeypatch, capsys):
    make_net("mine")
    for device, engine, message in [
        ("gpu:x", "auto", "device must be cpu, gpu or gpu:N, got 'gpu:x'"),
        ("gpu:", "auto", "device must be cpu, gpu or gpu:N, got 'gpu:'"),
        ("gpu", "numpy", "the engine numpy runs on the CPU; leave it out for device gpu"),
    ]:
        ask = ["predict", str(tmp_path), "--device", device, "--engine", engine]
        assert main(ask) == 2
        assert message in capsys.readouterr().err
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["predict", str(tmp_path), "--device", "gpu"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("lbpmap predict: --device gpu: PyTorch finds no GPU here")


def test_lists_and_patterns(make_net, tmp_path, monkeypatch, capsys):
    make_net("mine")
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.png", "a/b/2.png", "a/b/3.jpg", "a/x[1].png", "a/n.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pictures.write_png(tmp_path / name, picture())
    (tmp_path / "list.txt").write_bytes(
        b"\xef\xbb\xbfa/b/3.jpg\r\n\n  \na/*.txt\na/1.png\ngone.png"
    )
    ask = ["predict", "--json", "a/**/*.png", "a/x[1].png", "--list", "list.txt"]
    assert main(ask) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["path"] for row in rows] == [
        *("a/1.png", "a/b/2.png", "a/x[1].png", "a/b/3.jpg", "a/n.txt", "gone.png"),
    ]
    assert [row["path"] for row in rows if row["error"]] == ["gone.png"]
    assert main(["predict", "b/*.png"]) == 1
    assert "b/*.png: no file matches this pattern" in capsys.readouterr().err
    (tmp_path / "list.txt").write_bytes(b"a\0b")
    assert main(["predict", "--list", "list.txt"]) == 2
    assert "list.txt: no text: holds a zero byte" in capsys.readouterr().err


def test_names_that_are_no_text(make_net, tmp_path, capsysbinary):
    """A name in Latin-1, as it comes back from tables; and one with a line end."""
    make_net("mine")
    folder = os.fsencode(tmp_path / "faces")
    os.mkdir(folder)
    for name in (b"caf\xe9.png", b"two\nlines.png"):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(encoded("PNG", picture()))
    out = tmp_path / "t.csv"
    for more in ([], ["--resume"]):
        assert main(["predict", str(tmp_path / "faces"), "-o", str(out), *more]) == 0
        assert b"2 inputs, 2 faces" in capsysbinary.readouterr().err
    assert b"caf\xe9.png" in out.read_bytes()
    assert main(["predict", str(tmp_path / "faces")]) == 0
    assert len(capsysbinary.readouterr().out.splitlines()) == 2


@pytest.fixture
def loaded(make_net):
    for name, representation, seed in [
        ("one", "lbp", 1),
        ("two", "lbp", 2),
        ("three", "rgb", 3),
        ("four", "cyclic_lbp_5", 4),
    ]:
        make_net(name, representation, seed=seed)
    return [ensemble.load_net(files) for files in find_nets().values() if files.weights]


def looks(loaded, **more):
    names = [net.files.name for net in loaded]
    fusion = uniform(names, loaded[0].files.labels)
    return Looks(loaded, fusion, more.pop("detector", faces.load("none")), **more)


@pytest.mark.parametrize("crops", [1, 10])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_face_is_what_its_nets_say_of_its_crops(loaded, crops, threads):
    shown = [RNG.integers(0, 256, (30 + i, 50 - i, 3), np.uint8) for i in range(9)]
    items = [Item(f"{i}", pixels=pixels) for i, pixels in enumerate(shown)]
    groups = list(look(items, looks(loaded, crops=crops, threads=threads, batch=4)))
    assert [len(group) for group in groups] == [4, 4, 1]
    assert [record.path for group in groups for record in group] == [item.path for item in items]
    for start, group in zip((0, 4, 8), groups):
        for net in loaded:
            blob = caffe_blob(
                shown[start : start + 4],
                net.files.representation,
                mean=net.mean,
                size=32,
                crop=28,
                crops=crops,
            )
            want = ensemble.probabilities(net, blob).reshape(len(group), crops, -1).mean(axis=1)
            got = [record.faces[0].by_net[net.files.name] for record in group]
            np.testing.assert_allclose(got, want, atol=1e-7)
        for face in (record.faces[0] for record in group):
            mean = np.mean(list(face.by_net.values()), axis=0)
            np.testing.assert_allclose(face.probabilities, mean, atol=2e-7)


def test_a_face_that_cannot_be_cut_out_fails_its_input_alone(loaded):
    class Beyond(Halves):
        """Finds a face of 9,000 pixels in high pictures."""

        def detect(self, image):
            found = super().detect(image)
            return found._replace(boxes=found.boxes * (9000 / 40 if len(image) == 60 else 1))

    items = [Item(str(n), pixels=np.zeros((n, 30, 3), np.uint8)) for n in (40, 60, 50)]
    (group,) = look(items, looks(loaded, detector=Beyond()))
    assert [record.error is None for record in group] == [True, False, True]
    assert "larger than 8192" in group[1].error


def test_each_representation_is_mapped_once_and_nets_see_batches(loaded, monkeypatch):
    mapped, seen = Counter(), []
    real_map, real_run = pipeline.mapped_lbp, pipeline.probabilities

    def count_map(image, representation):
        mapped[representation.name] += 1
        return real_map(image, representation)

    def count_run(net, blob):
        seen.append((net.files.name, len(blob)))
        return real_run(net, blob)

    monkeypatch.setattr(pipeline, "mapped_lbp", count_map)
    monkeypatch.setattr(pipeline, "probabilities", count_run)
    items = [Item(str(i), pixels=picture()) for i in range(20)]
    items[3] = Item("3", error="broken")
    list(look(items, looks(loaded, batch=8)))
    assert mapped == {"lbp": 19, "rgb": 19, "cyclic_lbp_5": 19}
    assert Counter(seen) == {(net.files.name, n): 1 for net in loaded for n in (7, 8, 4)}


class Halves:
    """A detector of two faces in wide pictures, one in high ones, none in squares."""

    name = "halves"

    def detect(self, image):
        height, width = image.shape[:2]
        if height == 13:
            raise ValueError("thirteen")
        n = 0 if height == width else 1 + (width > height)
        boxes = np.array([[0, 0, width / (1 + k), height] for k in range(n)], float).reshape(n, 4)
        return faces.Detected(boxes, np.linspace(1, 0.5, n), np.full((n, 5, 2), np.nan))

    def detect_all(self, images):
        return [self.detect(image) for image in images]

    def made_with(self):
        return {"detector": self.name}


def test_a_row_a_face_and_one_for_none(loaded):
    shapes = [(40, 60), (60, 40), (50, 50), (13, 60), (70, 90), (20, 30)] * 3
    items = [
        Item(str(i), pixels=RNG.integers(0, 256, (*s, 3), np.uint8)) for i, s in enumerate(shapes)
    ]
    for batch in (1, 2, 5, 32):
        got = [r for g in look(items, looks(loaded, detector=Halves(), batch=batch)) for r in g]
        assert [record.path for record in got] == [item.path for item in items]
        assert [len(record.faces) for record in got] == [2, 1, 0, 0, 2, 2] * 3
        assert [record.error for record in got] == [None, None, None, "thirteen", None, None] * 3
        assert got[0].faces[1].box == (0, 0, 30, 40)
        assert got[0].faces[0].landmarks is None
        for record, item in zip(got, items):
            for face in record.faces:
                cut = faces.align(item.pixels, face.box)
                if len(cut) < 48:
                    cut = faces.align(item.pixels, face.box, size=48)
                want = ensemble.predict(loaded, cut).probabilities
                np.testing.assert_allclose(face.probabilities, want, atol=ROUNDED)
    largest = [r for g in look(items, looks(loaded, detector=Halves(), largest=True)) for r in g]
    assert [len(record.faces) for record in largest] == [1, 1, 0, 0, 1, 1] * 3


def test_faces_are_cut_out_again_for_a_report(loaded, tmp_path):
    """A table has no pictures; from boxes of whole pixels they are the same again."""
    shapes = [(60, 90), (90, 60), (50, 50), (100, 120)]
    names = [str(tmp_path / f"{i}.png") for i in range(len(shapes))]
    for name, shape in zip(names, shapes):
        pictures.write_png(name, RNG.integers(0, 256, (*shape, 3), np.uint8))
    for detector in (Halves(), faces.load("none")):
        shows = looks(loaded, detector=detector, pictures=html.thumbnails)
        (group,) = look(map(Item, names), shows)
        for record in group:
            bare = replace(record, faces=tuple(replace(f, pictures={}) for f in record.faces))
            assert pipeline.with_pictures(bare, shows) == record
            assert pipeline.with_pictures(record, shows) is record
            gone = replace(bare, path=str(tmp_path / "gone.png"))
            assert pipeline.with_pictures(gone, shows) is gone
        assert sum(len(record.faces) for record in group) >= 4
        assert all(face.pictures for record in group for face in record.faces)


def test_faces_of_a_picture_are_found_and_named(make_net, shared, tmp_path, monkeypatch, capsys):
    """MTCNN's own files, on a picture of two faces, one upside down; and on one of none."""
    astronaut = pytest.importorskip("skimage.data").astronaut()[:256, 100:356]
    make_net("mine", "lbp")
    (tmp_path / "nets" / "mtcnn").symlink_to(shared / "models" / "mtcnn")
    both = np.zeros((300, 600, 3), np.uint8)
    both[20:276, 20:276], both[150:278, 400:528] = astronaut, astronaut[::2, ::2]
    pictures.write_png(tmp_path / "both.png", both)
    pictures.write_png(tmp_path / "none.png", np.full((200, 300, 3), 90, np.uint8))
    ask = ["predict", str(tmp_path / "both.png"), str(tmp_path / "none.png"), "--faces", "mtcnn"]
    assert main([*ask, "--json"]) == 0
    large, small, none = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (large["face"], small["face"], none["face"]) == (1, 2, None)
    boxes = sorted([large["box"], small["box"]], key=lambda box: box[0])
    assert 90 < boxes[0][0] < 180 < boxes[0][2] < 250
    assert 430 < boxes[1][0] < 500 > boxes[1][2] - 60
    for row in (large, small):
        (x0, y0, x1, y1), marks = row["box"], np.array(row["landmarks"])
        assert ((marks > (x0, y0)) & (marks < (x1, y1))).all()
        assert row["score"] > 0.7
    assert none["error"] is none["label"] is None
    assert main([*ask, "--largest"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1] == f"{tmp_path / 'none.png'}\tno face"
    monkeypatch.setenv("LBPMAP_MODELS", str(tmp_path))
    assert main(["predict", ask[1], "--faces", "mtcnn", "--models", str(tmp_path / "nets")]) == 0


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
    pictures.write_png(tmp_path / "face.png", picture())
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
    pictures.write_png(tmp_path / "face.png", picture())
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


def test_through_a_pipe_answers_come_as_they_are_given(make_net, tmp_path, monkeypatch):
    make_net("mine")
    names = [str(tmp_path / f"{i}.png") for i in range(3)]
    for name in names:
        pictures.write_png(name, picture())
    out, lines = io.StringIO(), []
    out.flush = lambda: lines.append(out.getvalue().count("\n"))
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["predict", *names, "--batch", "1", "--json"]) == 0
    assert {1, 2, 3} <= set(lines)


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
        yield video.Frame(number, number / 2, picture())
    raise OSError("camera 0: unplugged")


def test_memory_does_not_grow_with_the_number_of_inputs(make_net, tmp_path):
    make_net("mine", "lbp")
    script = textwrap.dedent("""
        import resource, sys
        import numpy as np
        from lbpmap import faces
        from lbpmap.emotion import ensemble, registry
        from lbpmap.emotion.fusion import uniform
        from lbpmap.predict import runs
        from lbpmap.predict.pipeline import Looks
        from lbpmap.predict.sources import Item
        from lbpmap.predict.tables import Shape

        net = ensemble.load_net(registry.find_nets()["mine"])
        looks = Looks([net], uniform(["mine"], net.files.labels), faces.load("none"))
        pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
        peaks = []

        def items(done):
            for k in range(6000):
                if k in (1000, 5999):
                    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
                yield Item(f"{k}.png", pixels=pixels) if k % 7 else Item(f"{k}.png", error="no")

        made_with = runs.settings(looks, every=0.5)
        counts = runs.into_files(items, looks, made_with, [sys.argv[1]], Shape())
        end = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(counts, peaks[1] - peaks[0], end - peaks[1])
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "t.csv")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    *_, during, writing = done.stdout.split()
    assert len(table(tmp_path / "t.csv")) == 6000
    assert int(during) < 8 * 1024  # KiB: an input's 4,800 bytes, kept, would take 24 MB
    assert int(writing) < 8 * 1024
