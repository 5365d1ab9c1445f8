"""The sets of files that are known, as registry.toml has them.

    format = 1

    [publications.NAME]         # what the sets of one publication have in common
    title = "..."
    licence = "..."             # as its authors state it
    non_commercial = true       # may be left out: false
    page = "https://..."
    by_hand = "..."             # how to get the files in a browser, where programs may fail

    [sets.NAME]                 # NAME is that of the folder
    publication = "..."
    about = "..."               # and, where no model.toml says it: input, outputs

    [sets.NAME.files]
    "FILE" = {url = "https://...", drive = "ID", bytes = 1, sha256 = "...", optional = true}

A file has a `url`, or the id that Google Drive gave it, or neither where only whole folders were
published. What is not known is left out: sizes are then bounded, and checksums recorded at first
sight.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from lbpmap import _toml
from lbpmap._errors import one_line
from lbpmap.models.places import packaged_folder

FILE = "registry.toml"
# What describes a net, in its folder.
DESCRIPTION = "model.toml"
_FORMAT = 1
_MAX_BYTES = 1 << 15
# No weights of Caffe reach 2 GB, which is as much as protobuf writes. Of the other files the
# largest is a mean picture: 786 KB for 256 x 256.
_AT_MOST = {".caffemodel": 1 << 31, ".h5": 1 << 31}
_AT_MOST_ELSE = 1 << 26
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # of Windows
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Publication:
    """Where sets of files come from, and what their authors allow."""

    name: str
    title: str
    licence: str
    non_commercial: bool
    page: str
    by_hand: str | None


@dataclass(frozen=True)
class KnownFile:
    """One file of a set.

    Attributes
    ----------
    name : str
    url, drive : str or None
        Where it was published: an address, or its id on Google Drive.
    bytes : int or None
        Its size, where known.
    at_most : int
        What its size cannot exceed.
    sha256 : str or None
        Its checksum, where known.
    optional : bool
        The set is complete without it.
    """

    name: str
    url: str | None = None
    drive: str | None = None
    bytes: int | None = None
    at_most: int = _AT_MOST_ELSE
    sha256: str | None = None
    optional: bool = False


@dataclass(frozen=True)
class KnownSet:
    """The files of one folder, and what they are; `input` and `outputs` where nothing else says."""

    name: str
    publication: Publication
    about: str
    input: str | None
    outputs: str | None
    files: tuple[KnownFile, ...]

    def file(self, name: str) -> KnownFile | None:
        """Give the file of this name, None where the set has none."""
        return next((each for each in self.files if each.name == name), None)

    def is_in(self, names: Collection[str]) -> bool:
        """Tell whether a folder of the set's name, with files of these names, holds the set.

        It may lack some of them. A run of one's own may be named as the net that it began with: a
        description of its own, without the weights of the set, tells it.
        """
        wanted = {each.name for each in self.required}
        if DESCRIPTION in names:
            wanted = {name for name in wanted if name.endswith(".caffemodel")}
        return not wanted.isdisjoint(names)

    @property
    def required(self) -> tuple[KnownFile, ...]:
        """The files without which the set is of no use."""
        return tuple(each for each in self.files if not each.optional)


def is_name(name: str) -> bool:
    """Tell whether a file or folder may be called so, here and on any system.

    Examples
    --------
    >>> is_name("VGG_S_lbp"), is_name("../VGG_S_lbp")
    (True, False)
    """
    return bool(_NAME.fullmatch(name)) and not name.endswith(".") and not _DEVICE.fullmatch(name)


def at_most(name: str) -> int:
    """Give what the size of a file cannot exceed, by how its name ends.

    Examples
    --------
    >>> at_most("mean.binaryproto")
    67108864
    """
    return _AT_MOST.get(PurePosixPath(name).suffix, _AT_MOST_ELSE)


def load(path: str | os.PathLike[str] | None = None) -> dict[str, KnownSet]:
    """Read the registry.

    Parameters
    ----------
    path : str or path, optional
        By default what the environment variable ``LBPMAP_REGISTRY`` names, else the package's own.

    Returns
    -------
    dict of KnownSet, by name

    Raises
    ------
    OSError, ValueError
        When it cannot be read or understood; one line that names file and field.

    Examples
    --------
    >>> load()["VGG_S_lbp"].file("EmotiW_VGG_S.caffemodel").bytes
    498032193
    """
    source = Path(path or os.environ.get("LBPMAP_REGISTRY") or packaged_folder() / FILE)
    return _Reader(source).sets()


def choose(names: list[str], sets: dict[str, KnownSet]) -> list[KnownSet]:
    """Give the sets of these names, each once.

    Raises
    ------
    ValueError
        When one is unknown.
    """
    for name in names:
        if name not in sets:
            raise ValueError(f"no model {name!r}: expected one of {', '.join(sets)}")
    return [sets[name] for name in dict.fromkeys(names)]


class _Reader:
    """A registry.toml whose fields are checked as they are read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fields = _toml.read(path, _MAX_BYTES, "a registry of models")
        if self._fields.get("format") != _FORMAT:
            self._refuse(f"format must be {_FORMAT}, got {self._fields.get('format')!r}")

    def sets(self) -> dict[str, KnownSet]:
        publications = {
            name: self._publication(name, fields)
            for name, fields in self._table(self._fields, "publications").items()
        }
        return {name: self._set(name, publications) for name in self._table(self._fields, "sets")}

    def _publication(self, name: str, fields: Any) -> Publication:
        where = f"publications.{name}"
        return Publication(
            name,
            self._text(fields, where, "title"),
            self._text(fields, where, "licence"),
            self._typed(fields, where, "non_commercial", bool) or False,
            self._text(fields, where, "page"),
            self._typed(fields, where, "by_hand", str),
        )

    def _set(self, name: str, publications: dict[str, Publication]) -> KnownSet:
        where, fields = f"sets.{name}", self._fields["sets"][name]
        self._check_name(name, where)
        publication = self._text(fields, where, "publication")
        if publication not in publications:
            self._refuse(f"{where}.publication: no publication {publication!r}")
        files = self._table(fields, "files", where)
        return KnownSet(
            name,
            publications[publication],
            self._text(fields, where, "about"),
            self._typed(fields, where, "input", str),
            self._typed(fields, where, "outputs", str),
            tuple(self._file(each, about, f"{where}.files") for each, about in files.items()),
        )

    def _file(self, name: str, fields: Any, where: str) -> KnownFile:
        self._check_name(name, where)
        where = f"{where}.{name}"
        size = self._typed(fields, where, "bytes", int)
        if size is not None and not 0 < size <= at_most(name):
            self._refuse(f"{where}.bytes must be 1 to {at_most(name)}")
        digest = self._typed(fields, where, "sha256", str)
        if digest is not None and not _SHA256.fullmatch(digest):
            self._refuse(f"{where}.sha256 must be 64 hexadecimal digits")
        url = self._typed(fields, where, "url", str)
        if url is not None and not url.startswith(("http://", "https://")):
            self._refuse(f"{where}.url must be an http or https address, got {url!r}")
        return KnownFile(
            name,
            url,
            self._typed(fields, where, "drive", str),
            size,
            size or at_most(name),
            digest,
            self._typed(fields, where, "optional", bool) or False,
        )

    def _check_name(self, name: str, where: str) -> None:
        if not is_name(name):
            self._refuse(f"{where}: {name!r} is no name for a file or folder")

    def _table(self, fields: Any, key: str, where: str = "") -> dict[str, Any]:
        value = fields.get(key) if isinstance(fields, dict) else None
        if not isinstance(value, dict):
            self._refuse(f"{where}{where and '.'}{key} must be a table")
        return value

    def _text(self, fields: Any, where: str, key: str) -> str:
        value = self._typed(fields, where, key, str)
        if not value:
            self._refuse(f"{where}.{key} must be a line of text")
        return str(value)

    def _typed(self, fields: Any, where: str, key: str, kind: type) -> Any:
        """Give a field that may be left out."""
        if not isinstance(fields, dict):
            self._refuse(f"{where} must be a table")
        value = fields.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self._refuse(f"{where}.{key} must be a {kind.__name__}")
        if isinstance(value, str) and not value.isprintable():
            self._refuse(f"{where}.{key} must be printable")
        return value

    def _refuse(self, what: str) -> NoReturn:
        raise ValueError(f"{self._path}: {one_line(what)}")
