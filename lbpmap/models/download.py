"""One file over HTTP: gone on with where it was cut, never longer than it can be.

It is written on the standard library's urllib: one GET, with redirects, proxies and certificates,
is all that is asked of a library here, and what takes care, when a part of a file may be gone on
with (RFC 9110, sections 13 and 14), no library of the field does for us.

The bytes gather in a part; beside it stands what the server said to tell this version of the file
from others (`PART.toml`). A part is gone on with only where the server promises that it is still
the same version: by a strong ETag, or else by the date of the last change, in If-Range. Without
either, the download starts over.
"""

from __future__ import annotations

import errno
import re
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from io import FileIO
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.parse import urlsplit

from lbpmap import _toml
from lbpmap._errors import one_line
from lbpmap._version import __version__
from lbpmap.models.placing import Progress, write_all

__all__ = ["PATIENCE", "Patience", "Refused", "Wanted", "WebPage", "download"]

_BLOCK = 1 << 16
_MAX_PAGE = 1 << 20
# A stretch of a file that counts as having come on, so that the next failure is a first one.
_PROGRESS = 1 << 20
_MAX_PAUSE = 30.0
# Answers that may be others a little later.
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_NO_WAY = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_HTML = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body)\b", re.IGNORECASE)


class Refused(OSError):
    """What a server answered, or a rule of ours, rules this download out; trying again won't do."""


class WebPage(Refused):
    """A page in place of the file; `body` is its beginning, `url` where it was in the end."""

    def __init__(self, url: str, body: bytes) -> None:
        super().__init__(f"{url}: a web page came in place of the file")
        self.url, self.body = url, body


class _Again(Exception):
    """What may go better next time; `unreachable` when there was no way to the server."""

    def __init__(self, said: str, unreachable: bool = False, wait: float = 0.0) -> None:
        super().__init__(said)
        self.unreachable, self.wait = unreachable, wait


@dataclass(frozen=True)
class Patience:
    """How long to wait for a byte, how often to try in a row in vain, and for how long between.

    `timeout` and `pause` are seconds; the pause doubles up to half a minute.
    """

    timeout: float = 30.0
    attempts: int = 5
    pause: float = 1.0


PATIENCE = Patience()


@dataclass(frozen=True)
class Wanted:
    """What to download: its address, the name of its source, and how large it is or can be."""

    url: str
    origin: str
    bytes: int | None
    at_most: int


def download(
    wanted: Wanted, part: Path, progress: Progress, patience: Patience | None = None
) -> None:
    """Download a file into `part`, which may hold its beginning already.

    Parameters
    ----------
    wanted : Wanted
        Of unknown size, it is whole when the server says so.
    part : Path
        Its folder must exist. On an error it stays, to be gone on with.
    progress : callable
        Called with the bytes that are there and those that there will be, or None.
    patience : Patience, optional
        By default `PATIENCE`.

    Raises
    ------
    OSError
        One line: the address, what went wrong, and whether to try again.
    """
    patience = patience or PATIENCE
    failures, came = 0, False
    while True:
        before = _size(part)
        try:
            _attempt(wanted, part, progress, patience.timeout)
            return
        except _Again as error:
            came = came or _size(part) > before
            failures = 1 if _size(part) >= before + _PROGRESS else failures + 1
            if failures >= patience.attempts or (error.unreachable and not came):
                there = _size(part) if _said_of(part, wanted.origin) else 0
                kept = f"; {there} bytes are kept, so that it goes on from there" if there else ""
                raise Refused(f"{wanted.url}: {error}; try again later{kept}") from None
            pause = max(patience.pause * 2 ** (failures - 1), error.wait)
            time.sleep(min(pause, _MAX_PAUSE))


def discard(part: Path) -> None:
    """Remove a part and what was said of it."""
    _validators(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def _validators(part: Path) -> Path:
    return part.with_name(f"{part.name}.toml")


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _attempt(wanted: Wanted, part: Path, progress: Progress, timeout: float) -> None:
    said = _said_of(part, wanted.origin)
    offset = _size(part) if said else 0
    if wanted.bytes is not None and offset == wanted.bytes:
        return
    headers = {"User-Agent": f"lbpmap/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers.update({"Range": f"bytes={offset}-", "If-Range": said})
    with _open(urllib.request.Request(wanted.url, headers=headers), part, timeout) as response:
        _check_answer(response, wanted)
        if response.status == 206:
            total = _total_of_range(response, wanted, offset)
            named = "ETag" if said.startswith('"') else "Last-Modified"
            if response.headers.get(named, said) != said:
                discard(part)
                raise _Again("the file changed on the server")
        else:
            offset, total = 0, response.length
        block = _read(response)
        if offset == 0 and _is_page(response, block):
            raise WebPage(response.url, _page(response, block))
        _check_size(total, wanted)
        expected = wanted.bytes if total is None else total
        _check_room(part, (expected or 0) - offset)
        with _opened_at(part, offset, wanted.origin, response) as file:
            got = offset
            while block:
                got += len(block)
                if got > min(wanted.at_most, expected or wanted.at_most):
                    file.close()
                    discard(part)
                    _refuse(wanted, f"more than the {expected or wanted.at_most} bytes expected")
                _write(file, block, part)
                progress(got, expected)
                block = _read(response)
        if expected is not None and got < expected:
            raise _Again(f"the connection ended after {got} of {expected} bytes")


def _open(request: urllib.request.Request, part: Path, timeout: float) -> HTTPResponse:
    try:
        answer = _opener().open(request, timeout=timeout)
        assert isinstance(answer, HTTPResponse)
        return answer
    except urllib.error.HTTPError as error:
        with error:
            said = one_line(f"the server answers {error.code} {error.reason}")
            if error.code == 416:  # the part is longer than the file is now
                discard(part)
                raise _Again(said) from None
            if error.code in _PASSING:
                raise _Again(said, wait=_seconds(error.headers.get("Retry-After"))) from None
            raise Refused(f"{request.full_url}: {said}") from None
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise Refused(f"{request.full_url}: {one_line(reason)}") from None
        raise _Again(f"no answer ({one_line(reason)})", _is_unreachable(reason)) from None
    except Refused:
        raise
    except ValueError as error:  # no address: of a mirror, or that a redirect leads to
        raise Refused(f"{request.full_url}: {one_line(error)}") from None
    except (OSError, HTTPException) as error:
        raise _Again(f"no answer ({one_line(error)})", _is_unreachable(error)) from None


def _is_unreachable(reason: Any) -> bool:
    return isinstance(reason, socket.gaierror) or getattr(reason, "errno", None) in _NO_WAY


def _seconds(said: str | None) -> float:
    return float(said) if said and said.isdecimal() and len(said) < 10 else 0.0


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects to where a download may lead: to the web, and not from https to http."""

    max_redirections = 8
    max_repeats = 2

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        allowed = ("https",) if req.full_url.startswith("https:") else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise Refused(
                f"{req.full_url}: redirected to {one_line(newurl)}, expected an address of "
                f"{' or '.join(allowed)}"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Make an opener of http and https alone: urllib's own would read files and ftp too."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _check_answer(response: HTTPResponse, wanted: Wanted) -> None:
    if response.status not in (200, 206):
        _refuse(wanted, f"the server answers {response.status}, expected the file")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() not in ("", "identity"):
        _refuse(wanted, f"the server sends it compressed ({encoding}), though asked not to")


def _total_of_range(response: HTTPResponse, wanted: Wanted, offset: int) -> int | None:
    """Give the size of the whole file from a partial answer, which must be what was asked for."""
    said = response.headers.get("Content-Range", "none")
    found = _RANGE.fullmatch(said.strip())
    if not offset or not found or int(found[1]) != offset or int(found[2]) < offset:
        asked = f"bytes from {offset} on" if offset else "the whole file"
        _refuse(wanted, f"asked for {asked}, the server sends the range {said!r}")
    if found[3] == "*":
        return None if response.length is None else offset + response.length
    if int(found[2]) != int(found[3]) - 1:
        _refuse(wanted, f"asked for bytes from {offset} on, the server sends the range {said!r}")
    return int(found[3])


def _check_size(total: int | None, wanted: Wanted) -> None:
    if total is None:
        return
    if wanted.bytes is not None and total != wanted.bytes:
        _refuse(wanted, f"{total} bytes are offered, but the file has {wanted.bytes}")
    if total > wanted.at_most:
        _refuse(wanted, f"{total} bytes are offered, at most {wanted.at_most} can be")


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise OSError(
            f"{part.parent}: {needed} bytes are to come, and {free} are free; make room, or name "
            f"another folder (LBPMAP_CACHE)"
        )


def _is_page(response: HTTPResponse, beginning: bytes) -> bool:
    kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml") or bool(_HTML.match(beginning))


def _page(response: HTTPResponse, beginning: bytes) -> bytes:
    """Give a page from its beginning on, whole or as much as is looked at."""
    page = block = beginning
    while block and len(page) < _MAX_PAGE:
        block = _read(response)
        page += block
    return page


def _read(response: HTTPResponse) -> bytes:
    """Give what has come, at least a byte, or nothing at the end."""
    try:
        # Not read(), which would wait for a whole block, however slowly it comes.
        return response.read1(_BLOCK)
    except (OSError, HTTPException, ValueError) as error:
        raise _Again(f"the connection was cut ({one_line(error)})") from None


def _opened_at(part: Path, offset: int, origin: str, response: HTTPResponse) -> FileIO:
    """Open the part to go on at `offset`; what is said of a version never stands beside another."""
    if offset:
        file = open(part, "r+b", buffering=0)  # noqa: SIM115
        file.seek(offset)
        return file
    _validators(part).unlink(missing_ok=True)
    file = open(part, "wb", buffering=0)  # noqa: SIM115
    validator = _validator(response.headers)
    if validator:
        _toml.write(_validators(part), {"origin": origin, "validator": validator})
    return file


def _validator(headers: HTTPMessage) -> str | None:
    """Give what If-Range can be asked with: an ETag that is not weak, or a date."""
    tag = headers.get("ETag", "").strip()
    said = tag if tag.startswith('"') else headers.get("Last-Modified", "").strip()
    return said if _is_header(said) else None


def _is_header(said: str) -> bool:
    return 0 < len(said) < 1000 and said.isascii() and said.isprintable()


def _said_of(part: Path, origin: str) -> str:
    """Give by what to ask for the rest of a part; nothing where it is to be begun anew."""
    path = _validators(part)
    if not path.is_file():
        return ""
    try:
        said = _toml.read(path, 4096, "what a server said of a file")
    except ValueError:
        return ""
    validator = said.get("validator")
    fits = isinstance(validator, str) and _is_header(validator) and said.get("origin") == origin
    return str(validator) if fits else ""


def _write(file: FileIO, block: bytes, part: Path) -> None:
    try:
        write_all(file, block)
    except OSError as error:
        raise OSError(
            f"{part}: not written ({error.strerror}); make room, or name another folder "
            f"(LBPMAP_CACHE), and try again: it goes on from there"
        ) from None


def _refuse(wanted: Wanted, why: str) -> NoReturn:
    raise Refused(f"{wanted.url}: {one_line(why)}")
