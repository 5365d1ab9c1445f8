"""Google Drive, which answers a request for a large file with a page that asks back."""

from __future__ import annotations

import re
from contextlib import suppress
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from lbpmap._errors import one_line

# Asks for the file itself; confirm=t is what its page "can't scan this file for viruses" answers.
ADDRESS = "https://drive.usercontent.google.com/download?id={id}&export=download&confirm=t"
BY_HAND = "https://drive.google.com/uc?id={id}"
_HOSTS = (".google.com", ".googleusercontent.com")


def answered(page: bytes, url: str) -> str | None:
    """Give the address that a page of Google Drive would lead to if its button was pressed.

    Parameters
    ----------
    page : bytes
        The page.
    url : str
        Where it came from.

    Returns
    -------
    str or None
        None where there is no such button, or it leads away from there and from Google.

    Examples
    --------
    >>> page = b'<form id="download-form" action="/get"><input type="hidden" name="id" value="7">'
    >>> answered(page, "https://drive.google.com/uc")
    'https://drive.google.com/get?id=7'
    """
    form = _read(page)
    if form.action is None:
        return None
    target = urlsplit(urljoin(url, form.action))
    at_home = target.netloc == urlsplit(url).netloc
    trusted = target.scheme == "https" and f".{target.hostname or ''}".endswith(_HOSTS)
    if not (at_home or trusted) or target.scheme not in ("http", "https"):
        return None
    fields = {**dict(parse_qsl(target.query)), **form.fields}
    return target._replace(query=urlencode(fields), fragment="").geturl()


def title(page: bytes) -> str:
    """Give the title of a page, in one line; nothing where it has none.

    Examples
    --------
    >>> title(b"<title>Quota exceeded</title>")
    'Quota exceeded'
    """
    found = re.search(rb"<title[^>]*>([^<]{0,200})", page, re.IGNORECASE)
    text = found[1].decode("utf-8", "replace").strip() if found else ""
    return text and one_line(text)


class _Form(HTMLParser):
    """The form by which a large file is asked for: where it leads, and what it sends along."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if tag == "form" and "download" in given.get("id", "") + given.get("action", ""):
            self.action = given.get("action", "")
        elif tag == "input" and self.action is not None and given.get("name"):
            self.fields[given["name"]] = given.get("value", "")


def _read(page: bytes) -> _Form:
    form = _Form()
    # The parser raises, by Python's version, one or the other at a marked section that is no HTML.
    with suppress(AssertionError, NotImplementedError):
        form.feed(page.decode("utf-8", "replace"))
    return form
