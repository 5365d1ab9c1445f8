"""Known files brought from where they were published, or from a mirror of it.

Unfinished downloads lie in the cache (`places.cache_folder`), so that a folder of models holds
whole files alone; a file that is complete and checked is moved there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lbpmap._errors import one_line
from lbpmap._files import PathLike, sha256
from lbpmap.models import checks, download, drive, places, placing, records
from lbpmap.models.download import Refused, Wanted, WebPage
from lbpmap.models.known import KnownFile, KnownSet
from lbpmap.models.placing import Progress, Say, Staged
from lbpmap.models.records import Record


@dataclass(frozen=True)
class Fetched:
    """A file that is there now, and whether it was there before."""

    path: Path
    size: int
    sha256: str
    here_before: bool


def fetch(
    known: KnownSet,
    file: KnownFile,
    root: Path,
    *,
    say: Say,
    progress: Progress,
    replace: bool = False,
) -> Fetched:
    """Fetch a file of a set, unless it is there.

    Two at once do not meet: one downloads, the other waits and finds it done.

    Parameters
    ----------
    known : KnownSet
    file : KnownFile
        One of its files.
    root : Path
        Folder of models: the file goes into ROOT/NAME.
    say : callable
        Called with lines that a user may want to know.
    progress : callable
        Called with the bytes that have come and those that will have, or None.
    replace : bool
        Fetch it even though there is one, and let it take its place.

    Returns
    -------
    Fetched

    Raises
    ------
    OSError
        When it cannot be fetched: one line that says why, and how to get it by hand.
    ValueError
        When what is there, or what came, is not the file that is known.
    """
    here = None if replace else found(known, file, root, say)
    if here:
        return here
    wanted = _wanted(known, file)
    part = places.cache_folder() / "downloads" / known.name / f"{file.name}.part"
    with placing.alone(part.with_name(f"{file.name}.lock"), say):
        here = None if replace else found(known, file, root, say)
        if here:
            return here
        _download(known, file, wanted, part, progress)
        try:
            size, digest = part.stat().st_size, sha256(part)
            checks.check_size(file, size, wanted.url)
            checks.check_sum(file, digest, wanted.url)
            checks.check_content(file.name, part, wanted.url)
            if not replace:
                before = records.read(root).get(f"{known.name}/{file.name}")
                _check_recorded(before, digest, wanted.url)
        except ValueError:
            download.discard(part)
            raise
        record = Record(size, digest, records.now(), wanted.origin)
        with placing.stage(root, say) as stage:
            placing.take(part, stage / file.name)
            placing.place(root, known.name, {file.name: Staged(stage / file.name, record)})
        download.discard(part)
    return Fetched(root / known.name / file.name, size, digest, False)


def found(known: KnownSet, file: KnownFile, root: Path, say: Say) -> Fetched | None:
    """Give the file where it is there already, after a look at its checksum; record a new one.

    Raises
    ------
    ValueError
        When it is not the one that is known, or that was recorded.
    """
    path = root / known.name / file.name
    if not path.is_file():
        return None
    recorded = records.read(root).get(f"{known.name}/{file.name}")
    size, digest = path.stat().st_size, sha256(path)
    try:
        checks.check_size(file, size, path)
        checks.check_sum(file, digest, path)
        _check_recorded(recorded, digest, path)
        if recorded is None:
            checks.check_content(file.name, path, path)
    except ValueError as error:
        raise ValueError(f"{one_line(error)}; --replace puts a new one in its place") from None
    if recorded is None:
        now = Record(size, digest, records.now(), "found there")
        placing.record(root, known.name, file.name, now, say)
    return Fetched(path, size, digest, True)


def _check_recorded(recorded: Record | None, digest: str, where: PathLike) -> None:
    """Refuse a file that is not the one that was there first."""
    if recorded is not None and recorded.sha256 != digest:
        raise ValueError(
            f"{where}: sha256 {digest}, but {recorded.sha256} was recorded {recorded.when} of what "
            f"came from {recorded.source}"
        )


def _wanted(known: KnownSet, file: KnownFile) -> Wanted:
    """Find out where to fetch a file from.

    Raises
    ------
    Refused
        When that is unknown, or nothing is to be fetched.
    """
    if os.environ.get("LBPMAP_OFFLINE", "0") not in ("", "0"):
        raise Refused(
            f"{known.name}/{file.name}: not here, and LBPMAP_OFFLINE is set; unset it, or import "
            f"the file"
        )
    mirror = os.environ.get("LBPMAP_MIRROR")
    if mirror:
        if not mirror.startswith(("http://", "https://")):
            raise Refused(f"LBPMAP_MIRROR must be an http or https address, got {mirror!r}")
        url = f"{mirror.rstrip('/')}/{quote(known.name)}/{quote(file.name)}"
        return Wanted(url, url, file.bytes, file.at_most)
    if file.url is not None:
        return Wanted(file.url, file.url, file.bytes, file.at_most)
    if file.drive is None:
        raise Refused(
            f"{known.name}/{file.name}: published in a folder with others only, which no program "
            f"can fetch; {by_hand(known, file)}"
        )
    url = drive.ADDRESS.format(id=quote(file.drive))
    return Wanted(url, f"drive:{file.drive}", file.bytes, file.at_most)


def by_hand(known: KnownSet, file: KnownFile) -> str:
    """Say how to get a file where fetching does not."""
    publication = known.publication
    page = publication.by_hand or f"open {publication.page}"
    if file.drive is not None:
        page = f"open {drive.BY_HAND.format(id=file.drive)}, or {page}"
    return f"by hand: {page}, download it, and 'lbpmap models import' the ZIP or folder"


def _download(
    known: KnownSet, file: KnownFile, wanted: Wanted, part: Path, progress: Progress
) -> None:
    """Download a file; a page of Google Drive that asks back is answered once."""
    try:
        try:
            download.download(wanted, part, progress)
        except WebPage as page:
            url = drive.answered(page.body, page.url) if file.drive is not None else None
            if url is None:
                raise
            again = Wanted(url, wanted.origin, wanted.bytes, wanted.at_most)
            download.download(again, part, progress)
    except WebPage as page:
        title = drive.title(page.body)
        shown = f' ("{title}")' if title else ""
        raise Refused(f"{page}{shown}; {by_hand(known, file)}") from None
    except Refused as error:
        raise Refused(f"{error}; {by_hand(known, file)}") from None
