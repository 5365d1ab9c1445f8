"""Fetching, from servers good and bad."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lbpmap.models import download, fetch, known
from lbpmap.models.download import Patience
from lbpmap.models.records import read

from .conftest import QUIET, Answer, fetch_weights, part, sha256, tree

WEIGHTS = "/one/tiny.caffemodel"
ALL = ["checksums.toml", "one/deploy.prototxt", "one/mean.binaryproto", "one/tiny.caffemodel"]


def test_files_come_are_checked_and_recorded(run, root, site, files, tmp_path):
    code, out, err = run("fetch", "one")
    assert (code, err) == (0, [])
    assert out[0] == (
        "one: licence: none stated; take it as for non-commercial use only "
        "(https://example.org/page)"
    )
    assert tree(root) == ALL
    for name, raw in files.items():
        assert (root / "one" / name).read_bytes() == raw
        record = read(root)[f"one/{name}"]
        assert (record.bytes, record.sha256) == (len(raw), sha256(raw))
        assert record.source == f"{site.url}/one/{name}"
    assert tree(tmp_path / "cache") == []
    site.asked.clear()
    code, out, _ = run("fetch", "one")
    assert code == 0
    assert all(line.endswith("here already") for line in out[1:])
    assert site.asked == []


def test_all_of_them(run, root, site):
    assert run("fetch", "--all")[0] == 0
    assert {name.split("/")[0] for name in tree(root)} == {"checksums.toml", "one", "two"}


@pytest.mark.parametrize("arguments", [[], ["one", "--all"], ["three"]])
def test_what_to_fetch_must_be_said(run, site, arguments):
    code, _, err = run("fetch", *arguments)
    assert code == 2
    assert len(err) == 1
    assert "one, two" in err[0]


def test_a_wrong_checksum_is_refused_and_forgotten(run, root, site, registry, tmp_path):
    registry(sha256="0" * 64)
    code, _, err = run("fetch", "one")
    assert code == 1
    assert "but that of the published tiny.caffemodel is 0000" in err[0]
    assert tree(root) == []
    assert not part(tmp_path).exists()


@pytest.mark.parametrize(
    ("body", "length", "message"),
    [
        (bytes(10), True, "10 bytes are offered, but the file has "),
        (bytes(10), False, "the connection ended after 10 of "),
        (bytes(10**6), True, "1000000 bytes are offered, but the file has "),
        (bytes(10**6), False, "more than the "),
    ],
)
def test_a_wrong_size_is_refused(run, root, site, body, length, message):
    site.always = Answer(body=body, length=length, etag=None)
    code, _, err = run("fetch", "one")
    assert code == 1
    assert message in err[0]
    assert tree(root) == []


def test_of_unknown_size_there_is_a_bound(root, site, monkeypatch):
    one = known.load()["one"]
    site.files["/one/mean.binaryproto"] = bytes(2000)
    small = known.KnownFile("mean.binaryproto", at_most=1000)
    for always in (Answer(), Answer(length=False)):
        site.always = always
        with pytest.raises(OSError, match=r"at most 1000 can be|more than the 1000 bytes"):
            fetch.fetch(one, small, root, **QUIET)
    assert tree(root) == []


def test_what_is_no_caffemodel_is_refused(run, root, site, files):
    site.files[WEIGHTS] = b"\xff" * len(files["tiny.caffemodel"])
    code, _, err = run("fetch", "one")
    assert code == 1
    assert f"{site.url}{WEIGHTS}: " in err[0]
    assert "not a caffemodel" in err[0]
    assert tree(root) == []


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>Sign\x1b[2J in</title>", b"<HTML>"])
def test_a_page_in_place_of_the_file_is_refused(run, root, site, page):
    site.always = Answer(body=page)
    code, _, err = run("fetch", "one")
    assert code == 1
    assert "a web page came in place of the file" in err[0]
    assert "by hand: open https://example.org/page" in err[0]
    assert err[0].isprintable()
    assert tree(root) == []


def test_a_missing_file_is_named_and_not_asked_for_again(run, root, site):
    del site.files[WEIGHTS]
    code, _, err = run("fetch", "one")
    assert code == 1
    assert f"{site.url}{WEIGHTS}: the server answers 404 Not Found" in err[0]
    assert len(site.asked) == 1


def test_an_optional_file_may_be_missing(run, root, site):
    del site.files["/one/deploy.prototxt"]
    code, _, err = run("fetch", "one")
    assert code == 0
    assert err[-1] == "one: is complete without deploy.prototxt"


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_server_that_is_busy_is_asked_again(root, site, status):
    site.next = [Answer(status=status, headers={"Retry-After": "0"})] * 2
    fetch_weights(root)
    assert len(site.asked) == 3


def test_but_not_for_ever(root, site):
    site.always = Answer(status=500)
    with pytest.raises(OSError, match=r"the server answers 500 .*; try again later; by hand: "):
        fetch_weights(root)
    assert len(site.asked) == 3


def test_a_server_that_falls_silent_is_given_up(root, site, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE", Patience(timeout=0.2, attempts=3, pause=0.01))
    site.always = Answer(wait=1.0)
    with pytest.raises(OSError, match="timed out"):
        fetch_weights(root)
    assert len(site.asked) == 3


def test_a_slow_server_is_not_a_silent_one(root, site, files, monkeypatch):
    monkeypatch.setattr(download, "PATIENCE", Patience(timeout=1.5, attempts=1))
    site.always = Answer(pace=0.2)  # ten blocks: longer than the patience altogether
    assert fetch_weights(root).sha256 == sha256(files["tiny.caffemodel"])
    assert len(site.asked) == 1


def test_compressed_bytes_are_refused(root, site):
    site.always = Answer(headers={"Content-Encoding": "gzip"})
    with pytest.raises(OSError, match=r"sends it compressed \(gzip\)"):
        fetch_weights(root)


def redirect(to):
    return Answer(status=302, body=b"", headers={"Location": to})


def test_redirects_are_followed(root, site):
    site.next = [redirect("/two/tiny.caffemodel")]
    fetch_weights(root)
    assert [asked.path for asked in site.asked] == [WEIGHTS, "/two/tiny.caffemodel"]


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_but_only_on_the_web(root, site, to):
    site.always = redirect(to)
    with pytest.raises(OSError, match=r"redirected to .*, expected an add|is not allowed"):
        fetch_weights(root)


def test_from_https_not_to_http():
    import urllib.request

    request = urllib.request.Request("https://example.org/file")
    handler = download._Redirects()
    with pytest.raises(OSError, match="expected an address of https"):
        handler.redirect_request(request, None, 302, "", {}, "http://example.org/file")


def test_a_circle_of_redirects_ends(root, site):
    site.always = redirect(WEIGHTS)
    with pytest.raises(OSError, match="the server answers 302"):
        fetch_weights(root)
    assert len(site.asked) < 15


def test_without_a_network_it_is_one_line_a_model(run, root, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("LBPMAP_MIRROR", f"http://127.0.0.1:{closed.getsockname()[1]}")
        code, _, err = run("fetch", "one", "two")
    assert code == 1
    assert len(err) == 3
    assert "one/tiny.caffemodel: no answer (Connection refused); try again later" in err[0]
    assert tree(root) == []


def test_a_name_that_nobody_knows_is_one_line(run, root, monkeypatch):
    monkeypatch.setenv("LBPMAP_MIRROR", "http://nonesuch.invalid")
    code, _, err = run("fetch", "one")
    assert code == 1
    assert err[0].startswith("http://nonesuch.invalid/one/tiny.caffemodel: no answer (")


@pytest.mark.parametrize("url", ["ftp://example.org", "nonesuch"])
def test_a_mirror_is_on_the_web(run, root, monkeypatch, url):
    monkeypatch.setenv("LBPMAP_MIRROR", url)
    code, _, err = run("fetch", "one")
    assert code == 1
    assert "LBPMAP_MIRROR must be an http or https address" in err[0]


def test_offline_nothing_is_asked(run, root, site, monkeypatch):
    monkeypatch.setenv("LBPMAP_OFFLINE", "1")
    code, _, err = run("fetch", "one")
    assert code == 1
    assert err[0].startswith("one/tiny.caffemodel: not here, and LBPMAP_OFFLINE is set")
    assert site.asked == []
    monkeypatch.setenv("LBPMAP_OFFLINE", "0")
    assert run("fetch", "one")[0] == 0
    monkeypatch.setenv("LBPMAP_OFFLINE", "1")
    assert run("fetch", "one")[0] == 0


def test_what_is_published_in_a_folder_only_says_how_to_get_it(run, root):
    code, _, err = run("fetch", "one")
    assert code == 1
    assert "published in a folder with others only" in err[0]
    assert "by hand: open https://example.org/page" in err[0]


def test_a_file_put_there_by_hand_is_recorded(run, root, site, files):
    (root / "one").mkdir()
    for name, raw in files.items():
        (root / "one" / name).write_bytes(raw)
    code, out, _ = run("fetch", "one")
    assert code == 0
    assert all("here already" in line for line in out[1:])
    assert read(root)["one/mean.binaryproto"].source == "found there"


def test_a_changed_file_is_replaced_only_when_asked(run, root, site, files):
    assert run("fetch", "one")[0] == 0
    path = root / "one" / "tiny.caffemodel"
    path.write_bytes(files["tiny.caffemodel"][:-1] + b"\0")
    code, _, err = run("fetch", "one")
    assert code == 1
    assert "was recorded" in err[0]
    assert "--replace" in err[0]
    assert run("fetch", "one", "--replace")[0] == 0
    assert path.read_bytes() == files["tiny.caffemodel"]


def test_what_was_recorded_once_is_expected_ever_after(run, root, site, files):
    assert run("fetch", "one")[0] == 0
    (root / "one" / "mean.binaryproto").unlink()
    changed = bytearray(files["mean.binaryproto"])
    changed[50] ^= 1
    site.files["/one/mean.binaryproto"] = changed
    code, _, err = run("fetch", "one")
    assert code == 1
    assert f"sha256 {sha256(changed)}, but {sha256(files['mean.binaryproto'])} was rec" in err[0]
    assert run("fetch", "one", "--replace")[0] == 0
    assert read(root)["one/mean.binaryproto"].sha256 == sha256(changed)


def test_two_at_once_download_once(root, site, files):
    site.always = Answer(pace=0.02)
    start = threading.Barrier(4)

    def work(_):
        start.wait()
        return fetch_weights(root)

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(work, range(4)))
    assert {each.sha256 for each in got} == {sha256(files["tiny.caffemodel"])}
    assert [each.here_before for each in got].count(False) == 1
    assert len(site.asked) == 1


def test_no_room_is_known_before_the_first_byte(run, root, site, monkeypatch, tmp_path):
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    code, _, err = run("fetch", "one")
    assert code == 1
    assert "bytes are to come, and 1000 are free; make room, or name another folder" in err[0]
    assert not part(tmp_path).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
def test_a_disk_that_gets_full_keeps_what_there_is(root, site, files, tmp_path):
    """A limit on the size of files stands in for the disk."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (70000, 70000));"
        "from lbpmap.cli import main; sys.exit(main(['models', 'fetch', 'one']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    first = done.stderr.splitlines()[0]
    assert "tiny.caffemodel.part: not written (File too large); make room" in first
    assert tree(root) == []
    assert part(tmp_path).read_bytes() == files["tiny.caffemodel"][:70_000]
    assert fetch_weights(root).sha256 == sha256(files["tiny.caffemodel"])
    assert site.asked[-1].range == "bytes=70000-"


def test_from_another_disk_it_is_copied(root, site, files, monkeypatch):
    replace = os.replace

    def across(source, target):
        if str(source).endswith("tiny.caffemodel.part"):
            raise OSError(18, "Invalid cross-device link")
        replace(source, target)

    monkeypatch.setattr(os, "replace", across)
    fetch_weights(root)
    assert (root / "one" / "tiny.caffemodel").read_bytes() == files["tiny.caffemodel"]
