"""Files of models held against what is known and what was recorded of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from lbpmap import _toml
from lbpmap._errors import one_line
from lbpmap._files import sha256
from lbpmap.models import checks, records
from lbpmap.models.known import DESCRIPTION, KnownFile, KnownSet, at_most
from lbpmap.models.records import Record

OK, CHANGED, MISSING, UNKNOWN = "ok", "changed", "missing", "unknown"
_MAX_DESCRIPTION = 1 << 15


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a file.

    Attributes
    ----------
    name, file : str
        The set's and the file's.
    path : Path or None
        Where it lies, or should; None where nothing of its set is anywhere.
    state : {"ok", "changed", "missing", "unknown"}
        "unknown" is a whole file of which no checksum is known or recorded.
    said : str
        How it was told.
    sha256 : str or None
        Its checksum, where it could be read.
    """

    name: str
    file: str
    path: Path | None
    state: str
    said: str
    sha256: str | None = None


@dataclass(frozen=True)
class Holding:
    """A folder that holds a set, in whole or in part, and what was recorded of its files."""

    name: str
    folder: Path
    files: tuple[KnownFile, ...]
    recorded: Mapping[str, Record]


def holdings(sets: Mapping[str, KnownSet], roots: Iterable[Path]) -> list[Holding]:
    """Find every folder that holds a known set or a net of one's own.

    Parameters
    ----------
    sets : mapping of KnownSet, by name
    roots : iterable of Path
        Folders of models, the first one first.

    Returns
    -------
    list of Holding
        In the order of the roots.

    Raises
    ------
    OSError, ValueError
        When the records of a root, or a net's description, cannot be read.
    """
    found = []
    for root in dict.fromkeys(roots):
        recorded = records.read(root)
        for folder in _inside(root):
            of_it = {
                key.partition("/")[2]: each
                for key, each in recorded.items()
                if key.partition("/")[0] == folder.name
            }
            names = {path.name for path in _inside(folder) if path.is_file()} | set(of_it)
            files = _files_of(folder, names, sets)
            if files:
                found.append(Holding(folder.name, folder, files, of_it))
    return found


def _inside(folder: Path) -> list[Path]:
    """List what is in a folder and not hidden; one that may not be opened holds nothing."""
    try:
        return sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _files_of(folder: Path, names: set[str], sets: Mapping[str, KnownSet]) -> tuple[KnownFile, ...]:
    published = sets.get(folder.name)
    if published is not None and published.is_in(names):
        return published.files
    if DESCRIPTION not in names or not (folder / DESCRIPTION).is_file():
        return ()
    about = _toml.read(folder / DESCRIPTION, _MAX_DESCRIPTION, "the description of a net")
    named: Any = about.get("files")
    if not isinstance(named, dict) or named.get("weights") not in list(names):
        return ()
    files = [each for each in named.values() if isinstance(each, str) and _is_bare(each)]
    return tuple(KnownFile(each, at_most=at_most(each)) for each in dict.fromkeys(files))


def _is_bare(name: str) -> bool:
    return PurePath(name).name == name and "\0" not in name


def verify(
    sets: Mapping[str, KnownSet], roots: Iterable[Path], names: Iterable[str] = ()
) -> Iterator[Verdict]:
    """Read files and say of each whether it is what it was.

    Parameters
    ----------
    sets : mapping of KnownSet, by name
    roots : iterable of Path
        Folders of models.
    names : iterable of str
        What to look at: known sets and nets of one's own; by default all that is there.

    Yields
    ------
    Verdict
        One a file; of optional files only where they are there or were.

    Raises
    ------
    OSError, ValueError
        When records or descriptions cannot be read, or a name is unknown.
    """
    there = holdings(sets, roots)
    chosen = list(dict.fromkeys(names))
    for name in chosen:
        if name not in sets and all(each.name != name for each in there):
            raise ValueError(f"no model {name!r} here, and none is known by that name")
    for holding in there:
        if not chosen or holding.name in chosen:
            yield from _of_holding(holding)
    for name in chosen:
        if all(each.name != name for each in there):
            for file in sets[name].required:
                yield Verdict(name, file.name, None, MISSING, "not here")


def _of_holding(holding: Holding) -> Iterator[Verdict]:
    for file in holding.files:
        path, recorded = holding.folder / file.name, holding.recorded.get(file.name)
        if path.exists():
            yield _of_file(holding.name, file, path, recorded)
        elif recorded is not None or not file.optional:
            since = f", recorded {recorded.when}" if recorded else ""
            yield Verdict(holding.name, file.name, path, MISSING, f"not there{since}")


def _of_file(name: str, file: KnownFile, path: Path, recorded: Record | None) -> Verdict:
    try:
        digest = sha256(path)
    except OSError as error:
        return Verdict(name, file.name, path, MISSING, f"cannot be read: {error.strerror}")
    state, said = UNKNOWN, "no checksum is known; 'lbpmap models import' of its folder records it"
    try:
        checks.check_size(file, path.stat().st_size, path)
        checks.check_sum(file, digest, path)
        if recorded is not None and recorded.sha256 != digest:
            raise ValueError(f"sha256 {digest}, but {recorded.sha256} was recorded {recorded.when}")
        if file.sha256 is not None:
            state, said = OK, "as published"
        elif recorded is not None:
            state, said = OK, f"as recorded {recorded.when}"
    except ValueError as error:
        state, said = CHANGED, one_line(error).replace(f"{path}: ", "")
    return Verdict(name, file.name, path, state, said, digest)


def recorded(sets: Mapping[str, KnownSet], root: Path) -> list[Verdict]:
    """Give what was recorded of the files of known sets, unread, for `same_weights`."""
    return [
        Verdict(each.name, name, each.folder / name, OK, "recorded", about.sha256)
        for each in holdings(sets, [root])
        for name, about in each.recorded.items()
        if each.name in sets
    ]


def same_weights(verdicts: Iterable[Verdict]) -> list[tuple[str, ...]]:
    """List the nets that have the same weights, which the sizes of the released ones do not tell.

    Parameters
    ----------
    verdicts : iterable of Verdict

    Returns
    -------
    list of tuple of str
        Names, two or more, of nets whose weights are the same file.
    """
    by_sum: dict[str, dict[str, None]] = {}
    for each in verdicts:
        if each.sha256 and each.file.endswith((".caffemodel", ".h5")):
            by_sum.setdefault(each.sha256, {})[each.name] = None
    return [tuple(names) for names in by_sum.values() if len(names) > 1]
