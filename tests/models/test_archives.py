"""Archives that mean harm, or were harmed: one line, and nothing left behind."""

from __future__ import annotations

import random
import stat
import struct
import tracemalloc
import warnings
import zipfile

import pytest

from lbpmap.models import archive, importing, known

from .conftest import tree


def members(files, name="one"):
    return [(zipfile.ZipInfo(f"{name}/{file}"), raw) for file, raw in files.items()]


def build(path, content, kind=zipfile.ZIP_DEFLATED):
    """Write an archive; names twice are meant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with zipfile.ZipFile(path, "w") as file:
            for info, raw in content:
                info.compress_type = kind
                file.writestr(info, raw)
    return path


def refused(run, root, path):
    """Import what is to be refused, and give the line that says why."""
    code, out, err = run("import", path)
    assert code == 2
    assert out == []
    assert len(err) == 1
    assert err[0].isprintable()
    assert err[0].startswith(f"lbpmap models: {path}: ")
    assert tree(root) == []
    assert [each.name for each in root.iterdir() if each.is_dir()] == []
    return err[0]


@pytest.mark.parametrize(
    "name",
    [
        "../one/x",
        "one/../../x",
        "/etc/x",
        "//host/x",
        "C:/x",
        "c:x",
        "one\\x",
        "..\\x",
        "one/./x",
        "one//x",
        "one/..",
        "one/x\x1b[2J",
        "one/\nx",
        "",
        "/",
        "a/" * 40 + "x",
    ],
)
def test_names_that_lead_elsewhere(run, root, files, tmp_path, name):
    info = zipfile.ZipInfo("placeholder")
    info.filename = info.orig_filename = name
    path = build(tmp_path / "x.zip", [*members(files), (info, b"x")])
    assert "a name that leads out of the archive" in refused(run, root, path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["models", "registry.toml", "x.zip"]


def test_a_name_with_a_nul(run, root, files, tmp_path):
    """zipfile itself would cut it there."""
    path = build(tmp_path / "x.zip", [*members(files), (zipfile.ZipInfo("one/AAA.txt"), b"x")])
    path.write_bytes(path.read_bytes().replace(b"one/AAA.txt", b"one/A\0A.txt"))
    assert "a name that leads out of the archive" in refused(run, root, path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices(run, root, files, tmp_path, kind):
    content = members(files)
    content[0][0].external_attr = (kind | 0o777) << 16
    path = build(tmp_path / "x.zip", content)
    assert "a link or a device, not a file" in refused(run, root, path)


@pytest.mark.parametrize(
    "second",
    ["one/mean.binaryproto", "one/MEAN.binaryproto", "ONE/x", "one/mean.binaryproto/x", "one"],
)
def test_names_twice_for_some_file_system(run, root, files, tmp_path, second):
    content = [*members(files), (zipfile.ZipInfo(second), b"x")]
    line = refused(run, root, build(tmp_path / "x.zip", content))
    assert "it is there twice" in line or "a folder " in line


def test_the_same_letters_spelt_differently(run, root, files, tmp_path):
    spelt = [zipfile.ZipInfo("caf\u00e9.txt"), zipfile.ZipInfo("cafe\u0301.txt")]
    path = build(tmp_path / "x.zip", [*members(files), *((info, b"x") for info in spelt)])
    assert "it is there twice" in refused(run, root, path)


def test_folders_of_their_own_are_no_doubles(run, root, files, tmp_path):
    folders = [(zipfile.ZipInfo(name), b"") for name in ("one/", "one/", "empty/")]
    assert run("import", build(tmp_path / "x.zip", [*folders, *members(files)]))[0] == 0


def patched(path, header, offset, value, size="<H"):
    """Change a field of every header of one kind."""
    raw = bytearray(path.read_bytes())
    at = raw.find(header)
    while at >= 0:
        struct.pack_into(size, raw, at + offset, value)
        at = raw.find(header, at + 1)
    path.write_bytes(raw)
    return path


CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"


def test_encrypted(run, root, files, tmp_path):
    path = build(tmp_path / "x.zip", members(files))
    patched(patched(path, CENTRAL, 8, 1), LOCAL, 6, 1)
    assert "encrypted; unpack it and import the folder" in refused(run, root, path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 97])
def test_other_compression(run, root, files, tmp_path, method):
    path = build(tmp_path / "x.zip", members(files))
    patched(patched(path, CENTRAL, 10, method), LOCAL, 8, method)
    assert f"compressed by method {method}, expected deflate" in refused(run, root, path)


def test_a_bomb(run, root, files, tmp_path):
    content = members({**files, "mean.binaryproto": bytes(30 << 20)})
    assert "refused as a bomb" in refused(run, root, build(tmp_path / "x.zip", content))


def test_a_bomb_of_a_known_size(run, root, files, tmp_path):
    content = members({**files, "tiny.caffemodel": bytes(30 << 20)})
    line = refused(run, root, build(tmp_path / "x.zip", content))
    assert "31457280 bytes, but a complete tiny.caffemodel has" in line


@pytest.mark.parametrize("claim", [0, 1, 100, 0xFFFFFFF0])
def test_sizes_that_are_not_true(run, root, files, tmp_path, claim):
    path = build(tmp_path / "x.zip", members({"mean.binaryproto": files["mean.binaryproto"]}))
    refused(run, root, patched(path, CENTRAL, 24, claim, "<I"))


def test_archives_within_are_not_opened(run, root, files, tmp_path):
    inner = build(tmp_path / "one.zip", members(files))
    path = build(tmp_path / "x.zip", [(zipfile.ZipInfo("one.zip"), inner.read_bytes())])
    assert "no model in it" in refused(run, root, path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_cut_short(run, root, files, tmp_path, share):
    path = build(tmp_path / "x.zip", members(files))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    assert "a damaged ZIP, or none" in refused(run, root, path)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "a damaged ZIP, or none"),
        (b"Rar!\x1a\x07\x00", "a damaged ZIP, or none"),
        (b"<!DOCTYPE html><html>", "a web page, not a ZIP"),
    ],
)
def test_what_is_no_archive(run, root, tmp_path, raw, message):
    path = tmp_path / "x.zip"
    path.write_bytes(raw)
    assert message in refused(run, root, path)


def test_what_is_not_there(run, root, tmp_path):
    assert "no such file; expected a ZIP archive" in refused(run, root, tmp_path / "x.zip")


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_byte_that_flipped_within_a_file(run, root, files, tmp_path, kind):
    path = build(tmp_path / "x.zip", members(files), kind)
    raw = bytearray(path.read_bytes())
    raw[50_000] ^= 1
    path.write_bytes(raw)
    assert "one/tiny.caffemodel: a damaged ZIP, or none" in refused(run, root, path)


def test_too_many_entries(run, root, files, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_MAX_ENTRIES", 10)
    extra = [(zipfile.ZipInfo(f"{i}.txt"), b"") for i in range(10)]
    path = build(tmp_path / "x.zip", [*members(files), *extra])
    assert "13 entries, at most 10 are read" in refused(run, root, path)


def test_a_directory_too_large_to_be_honest(run, root, tmp_path):
    path = tmp_path / "x.zip"
    size = 40 << 20
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, size, 0, 0)
    with open(path, "wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(end)
    tracemalloc.start()
    line = refused(run, root, path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "bytes are to be read at once" in line
    assert peak < 20 << 20


def test_two_files_that_share_bytes(run, root, files, tmp_path):
    """Both entries of the directory point to the first one's data: it may not pass as the other."""
    content = members({name: files[name] for name in ("mean.binaryproto", "deploy.prototxt")})
    path = build(tmp_path / "x.zip", content)
    raw = bytearray(path.read_bytes())
    second = raw.rfind(CENTRAL)
    struct.pack_into("<I", raw, second + 42, 0)
    path.write_bytes(raw)
    assert "a damaged ZIP, or none" in refused(run, root, path)


def test_anything_may_be_damaged(root, files, tmp_path):
    """Whatever bytes change, it is taken whole or refused in a line."""
    sets = known.load()
    raw = build(tmp_path / "x.zip", members(files)).read_bytes()
    heads = [at for at in range(len(raw)) if raw[at : at + 2] == b"PK"]
    random_ = random.Random(5)
    outcomes = set()
    for _ in range(150):
        changed = bytearray(raw)
        for _ in range(random_.randint(1, 4)):
            near = random_.choice(heads) + random_.randrange(60)
            at = min(near, len(raw) - 1) if random_.random() < 0.8 else random_.randrange(len(raw))
            changed[at] = random_.choice((0, 1, 0x7F, 0xFF, random_.randrange(256)))
        path = tmp_path / "changed.zip"
        path.write_bytes(changed)
        try:
            taken = importing.import_models(
                [path], root, sets, print, say=print, progress=print, replace=True
            )
            said = f"{path}: taken"
        except (ValueError, OSError) as error:
            taken, said = [], str(error)
        outcomes.add("taken" if taken else "refused")
        assert said.isprintable()
        assert said.startswith(f"{path}: ")
        for each in taken:
            assert each.path.read_bytes() == files[each.path.name]
        assert not (root / ".incoming").exists()
    assert outcomes == {"refused", "taken"}
