"""Importing from folders and archives that mean well."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
import zipfile

import pytest

from lbpmap.emotion import synthetic
from lbpmap.models import archive, importing, placing, records, verify
from lbpmap.models.verify import OK

from .conftest import DEPLOY, QUIET, sha256, tree

DESCRIPTION = """
representation = "lbp"
labels = ["a", "b"]
[input]
size = 8
crop = 8
[files]
deploy = "deploy.prototxt"
weights = "tiny.caffemodel"
mean = "mean.binaryproto"
"""


def write(folder, files, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or files:
        (folder / name).write_bytes(files[name])
    return folder


def zipped(path, members, kind=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, raw in members.items():
            file.writestr(name, raw)
    return path


@pytest.fixture
def own(tmp_path, files):
    """Make a net of one's own in a folder."""
    folder = write(tmp_path / "given" / "mine", files)
    (folder / "model.toml").write_text(DESCRIPTION)
    (folder / "MODEL_CARD.md").write_text("# Mine\n\nIt says \x1b[2J nothing.\n")
    (folder / "secrets.txt").write_text("not named by the description")
    return folder


@pytest.mark.parametrize("above", ["", "EmotiW_nets/", "a/b c/d-001/"])
def test_the_authors_archive_as_it_is(run, root, files, tmp_path, above):
    members = {f"{above}one/{name}": raw for name, raw in files.items()}
    members.update({f"{above}two/{name}": raw for name, raw in files.items()})
    members.update({f"{above}one/demo_image.png": b"PNG", f"{above}readme.txt": b""})
    code, out, err = run("import", zipped(tmp_path / "EmotiW-20260101T-001.zip", members))
    assert code == 0
    assert len(out) == 6
    assert err == ["one and two have the same weights: all but one are in the wrong folder"]
    assert tree(root) == [
        "checksums.toml",
        *(f"{net}/{name}" for net in ("one", "two") for name in sorted(files)),
    ]
    for name, raw in files.items():
        assert (root / "two" / name).read_bytes() == raw
        assert records.read(root)[f"two/{name}"].sha256 == sha256(raw)
        assert records.read(root)[f"two/{name}"].source.endswith(f"001.zip: {above}two/{name}")


def test_an_archive_of_one_net_is_named_as_it(run, root, files, tmp_path):
    assert run("import", zipped(tmp_path / "one.zip", files, zipfile.ZIP_STORED))[0] == 0
    assert f"{root}/one/tiny.caffemodel" in run("verify")[1][0]


def test_what_a_drive_packed_into_two_archives(run, root, files, tmp_path):
    parts = [
        zipped(tmp_path / f"x-{name}.zip", {f"x/one/{name}": raw}) for name, raw in files.items()
    ]
    code, _, err = run("import", parts[0])
    assert code == 1
    assert err == ["one: still without mean.binaryproto; import or fetch the rest"]
    assert run("import", *parts[1:])[0] == 0
    assert run("verify")[0] == 0


def test_a_folder_of_nets_and_the_folder_of_one(run, root, files, tmp_path):
    folder = write(tmp_path / "given" / "deep" / "one", files)
    for given in (folder, folder.parent, tmp_path / "given"):
        assert run("import", given)[0] == 0
    code, out, _ = run("import", os.path.relpath(folder))
    assert code == 0
    assert all(line.endswith("here already") for line in out)


def test_files_are_copied_not_linked(run, root, files, tmp_path):
    folder = write(tmp_path / "one", files)
    assert run("import", folder)[0] == 0
    for name in files:
        assert not os.path.samefile(folder / name, root / "one" / name)
    assert run("verify")[0] == 0


def test_links_within_a_folder_are_followed_to_files_only(run, root, files, tmp_path):
    real = write(tmp_path / "real", files)
    folder = tmp_path / "given" / "one"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).symlink_to(real / name)
    (tmp_path / "given" / "circle").symlink_to(tmp_path / "given")
    assert run("import", tmp_path / "given")[0] == 0
    assert not (root / "one" / "tiny.caffemodel").is_symlink()


def test_files_put_there_by_hand_are_recorded_where_they_are(run, root, files):
    write(root / "one", files)
    assert run("verify")[1][0].startswith("unknown ")
    assert run("import", root)[0] == 0
    assert [line.split()[0] for line in run("verify")[1]] == ["ok"] * 3


def test_a_net_of_ones_own_and_what_its_description_names(run, root, own, tmp_path):
    code, _, err = run("import", tmp_path / "given")
    assert (code, err) == (0, [])
    assert tree(root / "mine") == [
        "MODEL_CARD.md",
        "deploy.prototxt",
        "mean.binaryproto",
        "model.toml",
        "tiny.caffemodel",
    ]
    assert run("verify", "mine")[0] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("size = 8", "size = 'x'"), "field input.size must be a int"),
        (("tiny.caffemodel", "big.caffemodel"), "no weights 'big.caffemodel' in it"),
        (("tiny.caffemodel", "../tiny.caffemodel"), "no weights '../tiny.caffemodel' in it"),
        (('"tiny.caffemodel"', "7"), "no weights 7 in it"),
        (("[files]", "[files"), "not a TOML file"),
        (("size = 8", "#" * 40_000), "bytes are too many for a description"),
    ],
)
def test_a_net_that_is_not_understood_is_not_taken(run, root, own, change, message):
    path = own / "model.toml"
    path.write_text(path.read_text().replace(*change))
    code, _, err = run("import", own)
    assert code == 2
    assert len(err) == 1
    assert message in err[0]
    assert "mine" in err[0]
    assert ".incoming" not in err[0]
    assert tree(root) == []


def test_a_net_of_ones_own_may_not_stand_for_a_published_one(run, root, own):
    folder = own.rename(own.with_name("two"))
    (folder / "tiny.caffemodel").rename(folder / "best.caffemodel")
    text = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(text.replace("tiny.caffemodel", "best.caffemodel"))
    code, _, err = run("import", folder)
    assert code == 2
    assert "a net of your own under the name of a published one; rename its folder" in err[0]


def test_the_packages_folder_without_weights_brings_nothing(run, root, own):
    folder = own.rename(own.with_name("one"))
    (folder / "tiny.caffemodel").unlink()
    code, _, err = run("import", folder)
    assert code == 2
    assert "no model in it: expected a folder named as one of one, two" in err[0]


def test_a_known_set_without_a_folder_of_its_name(run, root, files, registry, tmp_path):
    """As that of MTCNN, whose folder its authors call `model`."""
    named = {f"a_{name}": {"sha256": sha256(raw)} for name, raw in files.items()}
    registry({"alpha": {"about": "x", "files": named}})
    folder = write(tmp_path / "model", {f"a_{name}": raw for name, raw in files.items()})
    assert run("import", folder)[0] == 0
    assert run("verify", "alpha")[0] == 0


@pytest.mark.parametrize("name", ["tiny.caffemodel", "mean.binaryproto", "deploy.prototxt"])
def test_one_bad_file_and_nothing_is_placed(run, root, files, tmp_path, name):
    bad = {**files, name: b"\xff" * len(files[name])}
    zipped(tmp_path / "one.zip", {f"two/{n}": raw for n, raw in files.items()} | {
        f"one/{n}": raw for n, raw in bad.items()})  # fmt: skip
    code, _, err = run("import", tmp_path / "one.zip")
    assert code == 2
    assert len(err) == 1
    assert f"{tmp_path / 'one.zip'}: one/{name}: " in err[0]
    assert tree(root) == []


def test_a_wrong_size_says_what_a_whole_file_has(run, root, files, tmp_path):
    cut = files["tiny.caffemodel"][:-1]
    folder = write(tmp_path / "one", {**files, "tiny.caffemodel": cut})
    code, _, err = run("import", folder)
    assert code == 2
    assert f"{len(cut)} bytes, but a complete tiny.caffemodel has {len(cut) + 1}" in err[0]


def test_a_wrong_checksum_is_refused(run, root, files, registry, tmp_path):
    registry(sha256="0" * 64)
    code, _, err = run("import", write(tmp_path / "one", files))
    assert code == 2
    assert "but that of the published tiny.caffemodel is 0000" in err[0]
    assert tree(root) == []


def test_another_file_is_replaced_only_when_asked(run, root, files, tmp_path):
    folder = write(tmp_path / "one", files)
    assert run("import", folder)[0] == 0
    changed = bytearray(files["mean.binaryproto"])
    changed[50] ^= 1
    (folder / "mean.binaryproto").write_bytes(changed)
    code, _, err = run("import", folder)
    assert code == 2
    assert f"but {sha256(files['mean.binaryproto'])} was recorded" in err[0]
    assert (root / "one" / "mean.binaryproto").read_bytes() == files["mean.binaryproto"]
    assert run("import", folder, "--replace")[0] == 0
    assert records.read(root)["one/mean.binaryproto"].sha256 == sha256(changed)


def test_a_damaged_file_among_the_models_is_not_mended_in_silence(run, root, files, tmp_path):
    folder = write(tmp_path / "one", files)
    assert run("import", folder)[0] == 0
    (root / "one" / "mean.binaryproto").write_bytes(b"damaged")
    code, _, err = run("import", folder)
    assert code == 2
    assert "another file is there; --replace puts the new one in its place" in err[0]
    assert run("import", folder, "--replace")[0] == 0
    assert run("verify")[0] == 0


def test_the_same_set_twice_is_ambiguous(run, root, files, tmp_path):
    write(tmp_path / "given" / "a" / "one", files)
    write(tmp_path / "given" / "b" / "one", files)
    code, _, err = run("import", tmp_path / "given")
    assert code == 2
    assert "holds one's deploy.prototxt, and so does" in err[0]
    assert tree(root) == []


def test_where_it_goes(run, root, files, tmp_path, monkeypatch):
    folder = write(tmp_path / "one", files)
    other = tmp_path / "other"
    code, _, err = run("import", folder, "--models", other)
    assert code == 2
    assert "other: no such folder (--models); make it" in err[0]
    other.mkdir()
    assert run("import", folder, "--models", other)[0] == 0
    assert len(tree(other)) == 4
    assert tree(root) == []
    monkeypatch.delenv("LBPMAP_MODELS")
    assert run("import", folder)[0] == 0
    assert len(tree(tmp_path / "data" / "lbpmap" / "models")) == 4


def test_never_into_the_package(run, root, files, tmp_path):
    from lbpmap.models.places import packaged_folder

    for target in (packaged_folder(), packaged_folder() / "VGG_S_lbp"):
        code, _, err = run("import", write(tmp_path / "one", files), "--models", target)
        assert code == 2
        assert "the package's own folder, which nothing is written into" in err[0]


def test_no_room_is_known_before_the_first_byte(run, root, files, tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    code, _, err = run("import", write(tmp_path / "one", files))
    assert code == 2
    assert "bytes are to be written, and 1000 are free; make room" in err[0]
    assert tree(root) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
def test_a_disk_that_gets_full_leaves_nothing(root, files, tmp_path):
    folder = write(tmp_path / "one", files)
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (70000, 70000));"
        "from lbpmap.cli import main; sys.exit(main(['models', 'import', sys.argv[1]]))"
    )
    done = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "File too large" in done.stderr
    assert f"{root}/one/tiny.caffemodel: not written" in done.stderr
    assert tree(root) == []


def test_memory_stays_small(root, registry, tmp_path):
    deploy, weights = tmp_path / "deploy.prototxt", tmp_path / "big.caffemodel"
    deploy.write_text(DEPLOY.replace("OUTPUTS", "30000"))
    synthetic.write_random_weights(deploy, weights, 1)
    registry({"one": {"about": "x", "files": {"big.caffemodel": {}}}})
    from lbpmap.models import known

    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "one.zip", "w", kind, compresslevel=1) as file:
            file.write(weights, "one/big.caffemodel")
        tracemalloc.start()
        sources = [tmp_path / "one.zip"]
        importing.import_models(
            sources, root, known.load(), print, say=print, progress=print, replace=True
        )
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 12e6 < weights.stat().st_size


def test_the_real_mtcnn(shared, tmp_path, monkeypatch, capsys):
    """Of the packaged registry, whose checksums are those of the authors' files."""
    from lbpmap.models import known

    monkeypatch.delenv("LBPMAP_REGISTRY", raising=False)
    sets, root = known.load(), tmp_path / "models"
    root.mkdir()
    source = shared / "models" / "mtcnn"
    taken = importing.import_models([source], root, sets, print, **QUIET)
    assert len(taken) == 7
    found = list(verify.verify(sets, [root], ["mtcnn"]))
    assert [(each.state, each.said) for each in found] == [(OK, "as published")] * 7
    assert importing.missing(sets["mtcnn"], root) == []


def test_hidden_folders_are_left_alone(files, tmp_path):
    write(tmp_path / ".git" / "one", files)
    write(tmp_path / "given" / "one", files)
    with archive.opened(tmp_path) as entries:
        assert {entry.parts[1] for entry in entries} == {"given"}


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of 100 KB, where that is allowed."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", place]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_others_fill_meanwhile(run, root, files, tmp_path, small_disk, monkeypatch):
    monkeypatch.setattr(placing, "check_room", lambda *_: None)
    code, _, err = run("import", write(tmp_path / "one", files), "--models", small_disk)
    assert code == 2
    assert f"{small_disk}/one/tiny.caffemodel: not written (No space left on device)" in err[0]
    assert tree(small_disk) == []


def test_a_disk_that_is_too_small(run, root, files, tmp_path, small_disk):
    code, _, err = run("import", write(tmp_path / "one", files), "--models", small_disk)
    assert code == 2
    assert "are free; make room" in err[0]
    assert tree(small_disk) == []


def test_a_fetch_to_another_disk(run, root, site, files, small_disk, tmp_path):
    code, _, err = run("fetch", "one", "--models", small_disk)
    assert code == 1
    assert "are free; make room" in err[0]
    part = tmp_path / "cache" / "downloads" / "one" / "tiny.caffemodel.part"
    assert part.read_bytes() == files["tiny.caffemodel"]
    subprocess.run(["mount", "-o", "remount,size=1M", small_disk], check=True)
    site.asked.clear()
    assert run("fetch", "one", "--models", small_disk)[0] == 0
    assert "/one/tiny.caffemodel" not in [asked.path for asked in site.asked]
    assert (small_disk / "one" / "tiny.caffemodel").read_bytes() == files["tiny.caffemodel"]
