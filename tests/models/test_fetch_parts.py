"""Downloads that were cut, and what may be gone on with."""

from __future__ import annotations

import pytest

from lbpmap.models import fetch, known

from .conftest import QUIET, Answer, fetch_weights, part, sha256, tree


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


def test_a_page_that_is_cut_is_asked_for_again(run, root, site):
    cut = b"400\r\n<html><title>Busy</title>"
    site.always = Answer(body=cut, length=False, headers={"Transfer-Encoding": "chunked"})
    code, _, err = run("fetch", "one")
    assert code == 1
    assert "the connection was cut" in err[0]
    assert len(site.asked) == 3


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
