"""Files behind Google Drive's question, whether they are wanted unscanned."""

from __future__ import annotations

import pytest

from lbpmap.models import drive
from lbpmap.models.records import read

from .conftest import Answer

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
