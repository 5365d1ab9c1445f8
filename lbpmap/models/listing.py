"""Which models are known, which are here, and whether they were looked at."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lbpmap.models.known import KnownSet
from lbpmap.models.records import Record
from lbpmap.models.verify import Holding, holdings

_OWN = "your own"


@dataclass(frozen=True)
class Listed:
    """A model, known or one's own.

    Attributes
    ----------
    name, about, licence : str
    non_commercial : bool
        Whether the licence, or that of what it descends from, forbids other use.
    folder : Path or None
        The first one that holds it; None where none does.
    size : int or None
        Bytes of its files there, else those that are to be fetched, as far as known.
    missing : tuple of str
        Files that it cannot do without and that are not in `folder`.
    recorded : str or None
        When its files were checked and recorded; None unless all that are there were, and none has
        changed since, as far as size and date tell.
    """

    name: str
    about: str
    licence: str
    non_commercial: bool
    folder: Path | None
    size: int | None
    missing: tuple[str, ...]
    recorded: str | None


def list_models(
    sets: Mapping[str, KnownSet], roots: Iterable[Path], about: Mapping[str, str]
) -> list[Listed]:
    """List the known sets, and the nets of one's own behind them; no file is read.

    Parameters
    ----------
    sets : mapping of KnownSet, by name
    roots : iterable of Path
        Folders of models, the first one first.
    about : mapping of str, by name
        What else is known of a net.

    Returns
    -------
    list of Listed

    Raises
    ------
    OSError, ValueError
        When records or descriptions cannot be read.
    """
    first: dict[str, Holding] = {}
    for holding in holdings(sets, roots):
        first.setdefault(holding.name, holding)
    listed = [_of_set(known, first.get(name), about.get(name)) for name, known in sets.items()]
    return listed + [
        _of_holding(name, about.get(name, ""), _OWN, False, holding)
        for name, holding in first.items()
        if name not in sets
    ]


def _of_set(known: KnownSet, holding: Holding | None, about: str | None) -> Listed:
    said = f"{known.about}, {about}" if about else known.about
    licence, only = known.publication.licence, known.publication.non_commercial
    if holding is not None:
        return _of_holding(known.name, said, licence, only, holding)
    sizes = [file.bytes for file in known.files if file.bytes is not None]
    return Listed(known.name, said, licence, only, None, sum(sizes) or None, (), None)


def _of_holding(
    name: str, about: str, licence: str, non_commercial: bool, holding: Holding
) -> Listed:
    there = [file for file in holding.files if (holding.folder / file.name).is_file()]
    seen = [_recorded(holding.folder / f.name, holding.recorded.get(f.name)) for f in there]
    times = [each for each in seen if each is not None]
    return Listed(
        name,
        about,
        licence,
        non_commercial,
        holding.folder,
        sum((holding.folder / file.name).stat().st_size for file in there),
        tuple(f.name for f in holding.files if f not in there and not f.optional),
        min(times) if times and len(times) == len(seen) else None,
    )


def _recorded(path: Path, record: Record | None) -> str | None:
    """Give when a file was recorded, unless its size or its date say that it changed since."""
    status = path.stat()
    if record is None or status.st_size != record.bytes:
        return None
    try:
        when = calendar.timegm(time.strptime(record.when, "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return None
    return record.when if status.st_mtime <= when + 2 else None
