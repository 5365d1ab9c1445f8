"""Files that somebody has already, as a folder or a ZIP archive, taken among the user's models.

They are copied, not linked: whoever goes on working with the originals must not change what was
checked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbpmap import _toml
from lbpmap._errors import one_line
from lbpmap._files import sha256
from lbpmap.models import archive, checks, known, placing, records
from lbpmap.models.archive import Entry
from lbpmap.models.known import DESCRIPTION, KnownFile, KnownSet
from lbpmap.models.placing import Progress, Say, Staged
from lbpmap.models.records import Record

_MAX_DESCRIPTION = 1 << 15
# Texts that go with a net, whether its description names them or not.
_WITH_A_NET = ("MODEL_CARD.md", "labels.txt", "LICENSE")

# Refuses the folder of a net whose description cannot be understood.
Understand = Callable[[Path], Any]


@dataclass(frozen=True)
class Imported:
    """A file that is among the models now, and whether the same was there before."""

    path: Path
    size: int
    sha256: str
    here_before: bool


@dataclass(frozen=True)
class _Found:
    """A set that was found: the files to take, by name, and where it lies, for errors."""

    name: str
    where: str
    files: dict[str, tuple[KnownFile, Entry]]
    described: bool


def import_models(
    sources: list[Path],
    root: Path,
    sets: Mapping[str, KnownSet],
    understand: Understand,
    *,
    say: Say,
    progress: Progress,
    replace: bool = False,
) -> list[Imported]:
    """Take the nets that lie somewhere in folders and archives.

    A set is told by its folder's name, or by its files where no other set has all of these names; a
    net of one's own by its model.toml. All is checked before anything is placed.

    Parameters
    ----------
    sources : list of Path
        Folders and ZIP archives, which may hold parts of one set each.
    root : Path
        Folder of models.
    sets : mapping of KnownSet, by name
    understand : callable
        Called with the folder of a net of one's own before it is placed; it refuses by an error.
    say : callable
        Called with lines that a user may want to know.
    progress : callable
        Called with the bytes that were copied and those that will have been.
    replace : bool
        Let files take the place of others.

    Returns
    -------
    list of Imported

    Raises
    ------
    OSError, ValueError
        When a source cannot be read or is refused, or a file is not what it should be; one line,
        and nothing was placed.
    """
    with ExitStack() as stack:
        listed = [(each, stack.enter_context(archive.opened(each))) for each in sources]
        found = _found_in(listed, sets)
        count = _Count(sum(e.size for f in found.values() for _, e in f.files.values()), progress)
        placing.check_room(root, count.total)
        folder = stack.enter_context(placing.stage(root, say))
        staged = {name: _staged(one, folder, count) for name, one in found.items()}
        for name, one in found.items():
            if one.described:
                _understood(folder / name, one, understand)
        before = records.read(root)
        imported = [
            Imported(
                root / name / file,
                item.record.bytes,
                item.record.sha256,
                _is_here(root / name / file, before.get(f"{name}/{file}"), item, replace),
            )
            for name, files in staged.items()
            for file, item in files.items()
        ]
        here = {each.path for each in imported if each.here_before}
        for name, files in staged.items():
            placing.place(root, name, files, {f for f in files if root / name / f in here})
        return imported


def missing(known_set: KnownSet, root: Path) -> list[str]:
    """List the files of a set that are not there, though it is of no use without them."""
    return [f.name for f in known_set.required if not (root / known_set.name / f.name).is_file()]


def _found_in(
    listed: list[tuple[Path, list[Entry]]], sets: Mapping[str, KnownSet]
) -> dict[str, _Found]:
    """Find what several sources hold, each set once."""
    found: dict[str, _Found] = {}
    for source, entries in listed:
        for one in _sets_in(source, entries, sets):
            found[one.name] = _merged(found.get(one.name), one)
    if not found:
        raise ValueError(
            f"{', '.join(str(source) for source, _ in listed)}: no model in it: expected a folder "
            f"named as one of {', '.join(sets)}, with its files, or one with a {DESCRIPTION}"
        )
    return found


def _sets_in(source: Path, entries: list[Entry], sets: Mapping[str, KnownSet]) -> Iterator[_Found]:
    folders: dict[tuple[str, ...], dict[str, Entry]] = {}
    for entry in entries:
        folders.setdefault(entry.parts[:-1], {})[entry.name] = entry
    for parts, files in folders.items():
        where = f"{source}: folder {one_line('/'.join(parts))}"
        published = _which(parts[-1], files, sets)
        if published is not None:
            known_files = ((each, files.get(each.name)) for each in published.files)
            yield _Found(
                published.name,
                where,
                {each.name: (each, entry) for each, entry in known_files if entry},
                False,
            )
        elif DESCRIPTION in files:
            found = _described(parts[-1], where, files, sets)
            if found is not None:
                yield found


def _which(folder: str, files: dict[str, Entry], sets: Mapping[str, KnownSet]) -> KnownSet | None:
    """Tell which of the known sets a folder holds, in whole or in part."""
    named = sets.get(folder)
    if named is not None:
        return named if named.is_in(files) else None
    whole = [each for each in sets.values() if {f.name for f in each.required} <= set(files)]
    return whole[0] if len(whole) == 1 and DESCRIPTION not in files else None


def _described(
    name: str, where: str, files: dict[str, Entry], sets: Mapping[str, KnownSet]
) -> _Found | None:
    """Find the files of a net of one's own, as far as its description names them."""
    fields = _read_description(files[DESCRIPTION])
    named = _table(fields.get("files"))
    if not _is_text(named.get("weights")) or named["weights"] not in files:
        if name in sets:  # a folder of this package, which comes without weights
            return None
        raise ValueError(f"{where}: no weights {one_line(repr(named.get('weights')))} in it")
    if name in sets:
        raise ValueError(
            f"{where}: a net of your own under the name of a published one; rename its folder"
        )
    if not known.is_name(name):
        raise ValueError(f"{where}: no name for a net; name it by letters, digits, '.', '_', '-'")
    also = [each for each in (fields.get("representation"), *named.values()) if _is_text(each)]
    wanted = dict.fromkeys([DESCRIPTION, *_WITH_A_NET, *also])
    taken = {each: files[each] for each in wanted if each in files and known.is_name(each)}
    return _Found(
        name,
        where,
        {
            each: (KnownFile(each, at_most=known.at_most(each)), entry)
            for each, entry in taken.items()
        },
        True,
    )


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _read_description(entry: Entry) -> dict[str, Any]:
    if entry.size > _MAX_DESCRIPTION:
        raise ValueError(f"{entry.where}: {entry.size} bytes are too many for a description")
    with archive.damage(entry.where), entry.open() as file:
        raw = file.read(_MAX_DESCRIPTION)
    return _toml.parse(raw, entry.where)


def _merged(before: _Found | None, one: _Found) -> _Found:
    """Put together what several archives hold of one set."""
    if before is None:
        return one
    twice = sorted(set(before.files) & set(one.files))
    if twice:
        raise ValueError(
            f"{one.where}: holds {one.name}'s {twice[0]}, and so does {before.where}; import them "
            f"apart"
        )
    files = {**before.files, **one.files}
    return _Found(one.name, before.where, files, before.described or one.described)


class _Count:
    """Bytes copied so far, of all files together."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total = total
        self._done, self._progress = 0, progress

    def add(self, size: int) -> None:
        self._done += size
        self._progress(self._done, self.total)


def _staged(one: _Found, stage: Path, count: _Count) -> dict[str, Staged]:
    """Copy the files of a set into the stage, and check them there."""
    (stage / one.name).mkdir()
    return {
        name: _copied(*pair, stage / one.name / name, count) for name, pair in one.files.items()
    }


def _copied(file: KnownFile, entry: Entry, target: Path, count: _Count) -> Staged:
    checks.check_size(file, entry.size, entry.where)
    with archive.damage(entry.where), entry.open() as source:
        size, digest = placing.copy(source, target, entry.size, count.add)
    if size != entry.size:
        raise ValueError(f"{entry.where}: {size} bytes, but {entry.size} were declared")
    checks.check_sum(file, digest, entry.where)
    checks.check_content(file.name, target, entry.where)
    return Staged(target, Record(size, digest, records.now(), os.path.abspath(entry.where)))


def _understood(folder: Path, one: _Found, understand: Understand) -> None:
    try:
        understand(folder)
    except (ValueError, OSError) as error:
        said = one_line(error).replace(f"{folder}{os.sep}", "")
        raise ValueError(f"{one.where}: {said}") from None


def _is_here(path: Path, recorded: Record | None, item: Staged, replace: bool) -> bool:
    """Tell whether the same file is there; another one is never replaced in silence."""
    now = item.record
    if recorded is not None and recorded.sha256 != now.sha256 and not replace:
        raise ValueError(
            f"{path}: sha256 {now.sha256}, but {recorded.sha256} was recorded {recorded.when} of "
            f"what came from {recorded.source}; --replace takes the new one"
        )
    if not path.is_file():
        return False
    if path.stat().st_size == now.bytes and sha256(path) == now.sha256:
        return True
    if not replace:
        raise ValueError(f"{path}: another file is there; --replace puts the new one in its place")
    return False
