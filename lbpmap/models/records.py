"""What files were when they were first seen: `checksums.toml`, in the folder that holds the nets.

    format = 1

    [files."VGG_S_lbp/mean.binaryproto"]
    bytes = 786446
    sha256 = "..."
    when = "2026-11-27T18:00:00Z"
    source = "drive:..."         # or an address, a folder, an archive

Only a file that is replaced on purpose gets another record.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lbpmap import _toml
from lbpmap._errors import one_line

FILE = "checksums.toml"
_FORMAT = 1
_MAX_BYTES = 1 << 20  # of some 4,000 files
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Record:
    """A file as it was when it was first seen: its size and checksum, when, and where from."""

    bytes: int
    sha256: str
    when: str
    source: str


def now() -> str:
    """Give the time as records have it, in UTC to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(root: Path) -> dict[str, Record]:
    """Read the records of a folder of models.

    Parameters
    ----------
    root : Path

    Returns
    -------
    dict of Record
        By NAME/FILE; empty where nothing was recorded.

    Raises
    ------
    OSError, ValueError
        When there are some that cannot be read; one line.
    """
    path = root / FILE
    if not path.exists():
        return {}
    fields = _toml.read(path, _MAX_BYTES, "a record of checksums")
    files = fields.get("files", {})
    if fields.get("format") != _FORMAT or not isinstance(files, dict):
        raise ValueError(f"{path}: not a record of checksums of format {_FORMAT}; {_REMEDY}")
    return {key: _record(path, key, about) for key, about in files.items()}


_REMEDY = "move it away, and import the files again"


def _record(path: Path, key: str, about: Any) -> Record:
    kinds = {"bytes": int, "sha256": str, "when": str, "source": str}
    if (
        not isinstance(about, dict)
        or not all(isinstance(about.get(name), kind) for name, kind in kinds.items())
        or not _SHA256.fullmatch(about["sha256"])
    ):
        raise ValueError(f"{path}: {one_line(repr(key))} is no record of a file; {_REMEDY}")
    return Record(*(about[name] for name in kinds))


def write(root: Path, records: dict[str, Record]) -> None:
    """Write the records of a folder of models, whole or not at all.

    Raises
    ------
    OSError
        When they cannot be written.
    """
    files = {key: asdict(records[key]) for key in sorted(records)}
    _toml.write(root / FILE, {"format": _FORMAT, "files": files})
