"""Fetching, from servers good and bad."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lbpmap.models import download, drive, fetch, known
from lbpmap.models.download import Patience
from lbpmap.models.records import read

from .conftest import QUIET, Answer, sha256, tree

WEIGHTS = "/one/tiny.caffemodel"
ALL = ["checksums.toml", "one/deploy.prototxt", "one/mean.binaryproto", "one/tiny.caffemodel"]


def fetch_weights(root, **options):
    one = known.load()["one"]
    file = one.file("tiny.caffemodel")
    return fetch.fetch(one, file, root, **QUIET, **options)


def part(tmp_path):
    return tmp_path / "cache" / "downloads" / "one" / "tiny.caffemodel.part"


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


def test_a_cut_connection_is_gone_on_with(root, site, files):
    site.next = [Answer(cut=40_000), Answer(cut=90_000)]
    got = fetch_weights(root)
    assert got.sha256 == sha256(files["tiny.caffemodel"])
    assert [asked.range for asked in site.asked] == [None, "bytes=40000-", "bytes=90000-"]
    assert [asked.if_range for asked in site.asked] == [None, '"v1"', '"v1"']


def test_a_download_goes_on_where_an_earlier_command_ended(run, root, site, files, tmp_path):
    site.always = Answer(cut=50_000)
    code, _, err = run("fetch", "one")
    assert code == 1
    assert "50000 bytes are kept, so that it goes on from there" in err[0]
    assert part(tmp_path).read_bytes() == files["tiny.caffemodel"][:50_000]
    assert tree(root) == []
    site.always = Answer()
    site.asked.clear()
    assert run("fetch", "one")[0] == 0
    assert site.asked[0].range == "bytes=50000-"
    assert (root / "one" / "tiny.caffemodel").read_bytes() == files["tiny.caffemodel"]


def test_a_server_without_ranges_starts_over(root, site):
    site.always = Answer(ranges=False)
    site.next = [Answer(cut=40_000)]
    fetch_weights(root)
    assert site.asked[1].range == "bytes=40000-"


@pytest.mark.parametrize(
    ("first", "asked"),
    [
        (Answer(cut=40_000, etag=None), None),
        (Answer(cut=40_000, etag='W/"v1"'), None),
        (Answer(cut=40_000, etag=None, modified="Fri, 27 Nov 2026 18:00:00 GMT"), "bytes=40000-"),
    ],
)
def test_without_a_promise_of_the_same_version_it_starts_over(root, site, files, first, asked):
    site.next = [first]
    site.always = Answer(etag=first.etag, modified=first.modified)
    assert fetch_weights(root).sha256 == sha256(files["tiny.caffemodel"])
    assert site.asked[1].range == asked


def test_a_changed_file_is_not_mixed_with_the_old_one(root, site, files):
    old = bytes(len(files["tiny.caffemodel"]))
    site.next = [Answer(body=old, cut=40_000, etag='"v0"')]
    assert fetch_weights(root).sha256 == sha256(files["tiny.caffemodel"])
    assert site.asked[1].if_range == '"v0"'


def test_nor_where_the_server_ignores_what_was_asked(root, site, files):
    size = len(files["tiny.caffemodel"])
    ranges = {"Content-Range": f"bytes 40000-{size - 1}/{size}", "ETag": '"v1"'}
    rest = files["tiny.caffemodel"][40_000:]
    site.next = [
        Answer(body=bytes(size), cut=40_000, etag='"v0"'),
        Answer(status=206, body=rest, etag=None, headers=ranges),
    ]
    assert fetch_weights(root).sha256 == sha256(files["tiny.caffemodel"])
    assert [asked.range for asked in site.asked] == [None, "bytes=40000-", None]


@pytest.mark.parametrize("said", ["bytes 0-9/*", "bytes 39999-{}/*", "bytes */9", "40000-", None])
def test_another_range_than_asked_for_is_refused(root, site, files, said):
    site.next = [
        Answer(cut=40_000),
        Answer(status=206, headers={"Content-Range": said and said.format(10**6)}),
    ]
    with pytest.raises(OSError, match="asked for bytes from 40000 on, the server sends the range"):
        fetch_weights(root)


def test_a_part_that_nobody_asked_for_is_refused(root, site):
    site.always = Answer(status=206, headers={"Content-Range": "bytes 0-9/10"})
    with pytest.raises(OSError, match="asked for the whole file, the server sends the range"):
        fetch_weights(root)


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


def test_a_page_that_is_cut_is_asked_for_again(run, root, site):
    cut = b"400\r\n<html><title>Busy</title>"
    site.always = Answer(body=cut, length=False, headers={"Transfer-Encoding": "chunked"})
    code, _, err = run("fetch", "one")
    assert code == 1
    assert "the connection was cut" in err[0]
    assert len(site.asked) == 3


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


@pytest.mark.parametrize("validators", [b"", b"\xff", b"validator = 1", b"origin = 'x'"])
def test_a_part_of_unknown_origin_is_begun_anew(root, site, tmp_path, validators):
    part(tmp_path).parent.mkdir(parents=True)
    part(tmp_path).write_bytes(bytes(40_000))
    part(tmp_path).with_name("tiny.caffemodel.part.toml").write_bytes(validators)
    fetch_weights(root)
    assert site.asked[0].range is None


def test_a_part_longer_than_the_file_is_begun_anew(root, site, files):
    one, mean = known.load()["one"], known.load()["one"].file("mean.binaryproto")
    site.next = [Answer(body=bytes(5000), cut=4000), Answer(status=416)]
    got = fetch.fetch(one, mean, root, **QUIET)
    assert got.sha256 == sha256(files["mean.binaryproto"])
    assert [asked.range for asked in site.asked] == [None, "bytes=4000-", None]


FORM = b"""<html><head><title>Google Drive - Virus scan warning</title></head><body>
<form id="download-form" action="%b/really" method="get"><input type="submit">
<input type="hidden" name="id" value="a&amp;b"><input type="hidden" name="uuid" value="7"></form>"""


@pytest.fixture
def on_drive(site, registry, files, monkeypatch):
    monkeypatch.delenv("LBPMAP_MIRROR")
    monkeypatch.setattr(drive, "ADDRESS", f"{site.url}/download?id={{id}}&confirm=t")
    registry({"one": {"about": "x", "files": {"tiny.caffemodel": {"drive": "ID"}}}})
    site.files["/download?id=ID&confirm=t"] = FORM % site.url.encode()
    site.files["/really?id=a%26b&uuid=7"] = files["tiny.caffemodel"]
    return site


def test_drives_question_is_answered(run, root, on_drive, files):
    on_drive.next = [Answer(), Answer(cut=40_000)]
    assert run("fetch", "one")[0] == 0
    assert (root / "one" / "tiny.caffemodel").read_bytes() == files["tiny.caffemodel"]
    assert read(root)["one/tiny.caffemodel"].source == "drive:ID"
    assert [asked.range for asked in on_drive.asked] == [None, None, "bytes=40000-"]


@pytest.mark.parametrize("after", [FORM, b"<html><title>Quota exceeded</title>"])
def test_but_once(run, root, on_drive, after):
    on_drive.files["/really?id=a%26b&uuid=7"] = after
    code, _, err = run("fetch", "one")
    assert code == 1
    assert "a web page came in place of the file (" in err[0]
    assert "by hand: open https://drive.google.com/uc?id=ID, or open https://exam" in err[0]
    assert len(on_drive.asked) == 2


@pytest.mark.parametrize(
    "to", ["https://evil.example/download", "http://drive.google.com/download"]
)
def test_a_form_that_leads_elsewhere_is_not_followed(run, root, on_drive, to):
    page = f'<html><form action="{to}"><input name="id" value="1">'.encode()
    on_drive.files["/download?id=ID&confirm=t"] = page
    assert run("fetch", "one")[0] == 1
    assert len(on_drive.asked) == 1
    assert drive.answered(page, "https://drive.usercontent.google.com/download") is None


def test_a_page_that_no_browser_could_read_has_no_form(run, root, on_drive):
    on_drive.always = Answer(body=b"<html><![x[ <form id=download-form action=/get>")
    code, _, err = run("fetch", "one")
    assert code == 1
    assert "a web page came in place of the file" in err[0]


def test_a_form_of_googles_is():
    page = b'<form id="download-form" action="https://drive.usercontent.google.com/download">'
    assert drive.answered(page, "https://drive.google.com/uc").startswith("https://drive.userc")
    evil = page.replace(b"google.com", b"google.com.evil.example")
    assert drive.answered(evil, "https://drive.google.com/uc") is None
