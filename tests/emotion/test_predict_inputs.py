"""What a run goes over, and how: mixed folders, lists, patterns, pipes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from lbpmap import pictures
from lbpmap.cli import main

from .conftest import picture, table

RNG = np.random.default_rng(5)


def encoded(kind, array, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, format=kind, **options)
    return file.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("JPEG", picture(RNG), exif=exif)


def animated():
    frames = [Image.fromarray(picture(RNG)) for _ in range(3)]
    file = io.BytesIO()
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def cmyk():
    file = io.BytesIO()
    Image.fromarray(picture(RNG)).convert("CMYK").save(file, format="JPEG")
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
    "good.png": (lambda: encoded("PNG", picture(RNG)), None),
    "good.jpg": (lambda: encoded("JPEG", picture(RNG)), None),
    "turned.jpg": (turned, None),
    "cut.png": (lambda: encoded("PNG", picture(RNG))[:900], "damaged or cut short"),
    "cut.jpg": (lambda: encoded("JPEG", picture(RNG))[:600], "damaged or cut short"),
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
        pictures.write_png(tmp_path / name, picture(RNG))
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
            file.write(encoded("PNG", picture(RNG)))
    out = tmp_path / "t.csv"
    for more in ([], ["--resume"]):
        assert main(["predict", str(tmp_path / "faces"), "-o", str(out), *more]) == 0
        assert b"2 inputs, 2 faces" in capsysbinary.readouterr().err
    assert b"caf\xe9.png" in out.read_bytes()
    assert main(["predict", str(tmp_path / "faces")]) == 0
    assert len(capsysbinary.readouterr().out.splitlines()) == 2


def test_through_a_pipe_answers_come_as_they_are_given(make_net, tmp_path, monkeypatch):
    make_net("mine")
    names = [str(tmp_path / f"{i}.png") for i in range(3)]
    for name in names:
        pictures.write_png(name, picture(RNG))
    out, lines = io.StringIO(), []
    out.flush = lambda: lines.append(out.getvalue().count("\n"))
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["predict", *names, "--batch", "1", "--json"]) == 0
    assert {1, 2, 3} <= set(lines)


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
