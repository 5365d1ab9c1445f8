"""Tables: one colour per code, the metric 3-D embedding of local binary patterns.

The package brings the two that Levi and Hassner published, `lbp` and `cyclic_lbp`. A table is a
small text file that describes itself: a header of `# key: value` lines (name, radius, points,
arithmetic, provenance, sha256), then `code,dim1,dim2,dim3`, one line a code. The checksum is that
of the values as bytes and is verified on loading.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol, Union

import numpy as np

from lbpmap._arrays import F64, U8
from lbpmap._errors import one_line
from lbpmap._files import atomic_write, read_bytes

PathLike = Union[str, "os.PathLike[str]"]

ARITHMETICS = ("exact", "released")
MAX_POINTS = 16

_MAGIC = "# lbpmap table 1"
_COLUMNS = "code,dim1,dim2,dim3"
_HEADER = ("name", "radius", "points", "arithmetic", "provenance", "sha256")
# 2^16 rows of at most 18 characters and a header.
_MAX_BYTES = 2 << 20
_BUNDLED = Path(__file__).parent

# SHA-256 of the 768 bytes of each published table, with its own row 255.
PUBLISHED = {
    "lbp": "ff36ad91802f239381a447f741e32fc822966a97979088b18c1a9a448c69bdbd",
    "cyclic_lbp": "142dfd88edff0d99ee271cd888a32e59d18589f8958b089b7ad0982a8c365b6e",
}


class Embedded(Protocol):
    """What colours are made of, such as `lbpmap.embedding.Embedding`."""

    @property
    def coordinates(self) -> F64:
        """One row a code."""


@dataclass(frozen=True, eq=False)
class Table:
    """A table of colours, one row a code.

    Parameters
    ----------
    values : uint8 array, shape (2**points, 3)
        The rows, with the table's own last row. Kept as a read-only copy.
    name : str
        What to call it; one line.
    provenance : str
        Where the numbers come from; one line.
    radius : int
        Radius in pixels of the codes it is for.
    points : int
        Bits of a code, 1 to 16.
    arithmetic : {"released", "exact"}
        How ties fall in those codes.

    Raises
    ------
    TypeError, ValueError
        When a field is not what is described above.

    Examples
    --------
    >>> table = load_table("cyclic_lbp")
    >>> table.values.shape, table.values[0].tolist()
    ((256, 3), [255, 172, 132])
    >>> bool((table.lookup("released")[255] == table.values[254]).all())
    True
    """

    values: U8
    name: str
    provenance: str = ""
    radius: int = 1
    points: int = 8
    arithmetic: str = "released"

    def __post_init__(self) -> None:
        if not isinstance(self.values, np.ndarray) or self.values.dtype != np.uint8:
            got = getattr(self.values, "dtype", type(self.values).__name__)
            raise TypeError(f"Table: values must be a uint8 array, got {got}")
        if not 1 <= self.points <= MAX_POINTS:
            raise ValueError(f"Table: points must be 1 to {MAX_POINTS}, got {self.points}")
        if self.values.shape != (2**self.points, 3):
            raise ValueError(
                f"Table: values must have shape ({2**self.points}, 3) for {self.points} points, "
                f"got {self.values.shape}"
            )
        if self.radius < 1:
            raise ValueError(f"Table: radius must be at least 1, got {self.radius}")
        if self.arithmetic not in ARITHMETICS:
            raise ValueError(
                f"Table: arithmetic must be one of {', '.join(ARITHMETICS)}, "
                f"got {self.arithmetic[:60]!r}"
            )
        for field in ("name", "provenance"):
            if len(getattr(self, field).splitlines()) > 1:
                raise ValueError(f"Table: {field} must be a single line")
        if not self.name.strip() or not set(self.name).isdisjoint("/\\\0") or self.name[0] == ".":
            raise ValueError(
                f"Table: name must be fit for a file's name, without slashes and leading dots, "
                f"got {self.name[:60]!r}"
            )
        values = np.array(self.values, order="C")
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @classmethod
    def from_embedding(
        cls,
        embedding: Embedded,
        name: str,
        *,
        radius: int = 1,
        arithmetic: str = "released",
        provenance: str = "",
    ) -> Table:
        """Make colours of an embedding in three dimensions.

        One affine map takes all three to 0..255, least and greatest of all coordinates, and the
        result is rounded: distances between colours are those of the embedding, in other units.

        Parameters
        ----------
        embedding : lbpmap.embedding.Embedding
            `coordinates`, float64 (2**points, 3), one row a code.
        name, radius, arithmetic, provenance
            As for `Table`.

        Returns
        -------
        Table

        Raises
        ------
        ValueError
            When the coordinates have another shape, are not finite or are all equal, or a field
            is not as described.

        Examples
        --------
        >>> from lbpmap.embedding import code_distance, embed
        >>> Table.from_embedding(embed(code_distance("lbp")), "mine").published
        True
        """
        placed = np.asarray(embedding.coordinates, np.float64)
        if placed.ndim != 2 or placed.shape[1] != 3:
            raise ValueError(
                f"Table: an embedding must have coordinates (2**points, 3), got {placed.shape}: "
                f"a table has three channels, so embed in three dimensions"
            )
        points = len(placed).bit_length() - 1
        if len(placed) != 2**points or points < 1:
            raise ValueError(
                f"Table: an embedding must have a row for each of 2**points codes, "
                f"got {len(placed)} rows"
            )
        if not np.isfinite(placed).all() or np.ptp(placed) == 0:
            raise ValueError("Table: an embedding's coordinates must be finite and not all equal")
        scaled = (placed - placed.min()) * (255 / np.ptp(placed))
        values = np.rint(scaled).astype(np.uint8)
        return cls(values, name, provenance, radius, points, arithmetic)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the values' bytes, row by row, as 64 hexadecimal digits."""
        return hashlib.sha256(self.values.tobytes()).hexdigest()

    @property
    def published(self) -> bool:
        """Whether these are the values of one of the two published tables."""
        return self.sha256 in PUBLISHED.values()

    def lookup(self, code_255: str = "released") -> U8:
        """Rows as a mapping uses them.

        Parameters
        ----------
        code_255 : {"released", "own"}
            "released" gives code 255 the colour of code 254, as the authors' pictures have it
            (MATLAB's uint8 index saturated: 255 + 1 = 255), for the published tables only. "own"
            keeps the table's last row.

        Returns
        -------
        uint8 array, shape (2**points, 3)

        Raises
        ------
        ValueError
            When `code_255` is neither, or "released" is asked of a table that was never released.
        """
        if code_255 == "own":
            return self.values
        if code_255 != "released":
            raise ValueError(f'code_255 must be "released" or "own", got {code_255!r}')
        if not self.published:
            raise ValueError(
                f'table {self.name!r} was never released: only code_255="own" applies to it'
            )
        rows = self.values.copy()
        rows[255] = rows[254]
        return rows

    def save(self, path: PathLike) -> None:
        """Write the table to `path` as a self-describing text file.

        The file appears whole or not at all; an existing one is replaced.

        Parameters
        ----------
        path : str or path
            Where to; `load_table` and every `representation` argument take it from there.

        Raises
        ------
        OSError
            When it cannot be written.
        """
        header = [f"# {key}: {getattr(self, key)}" for key in _HEADER]
        rows = [f"{code},{r},{g},{b}" for code, (r, g, b) in enumerate(self.values.tolist())]
        text = "\n".join([_MAGIC, *header, _COLUMNS, *rows, ""])
        with atomic_write(path) as file:
            file.write(text.encode())


def load_table(name_or_path: PathLike) -> Table:
    """Load a table by name or from a file.

    Parameters
    ----------
    name_or_path : str or path
        "lbp" or "cyclic_lbp", the published tables; anything else is the path of a file that
        `Table.save` wrote.

    Returns
    -------
    Table

    Raises
    ------
    OSError
        When there is no such file.
    ValueError
        When the file is not a table, or its values do not match its checksum.

    Examples
    --------
    >>> load_table("lbp").values[0].tolist()
    [0, 121, 130]
    """
    if isinstance(name_or_path, str) and name_or_path in PUBLISHED:
        return _published(name_or_path)
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise TypeError(
            f"load_table: expected a name ({', '.join(PUBLISHED)}) or a path, got "
            f"{type(name_or_path).__name__}"
        )
    return _read(Path(name_or_path))


@cache
def _published(name: str) -> Table:
    path = _BUNDLED / f"{name}.table"
    table = _read(path)
    if table.sha256 != PUBLISHED[name]:
        raise ValueError(f"{path}: not the published table {name!r}; reinstall lbpmap")
    return table


def _read(path: Path) -> Table:
    raw = read_bytes(path, _MAX_BYTES, f"a table ({', '.join(PUBLISHED)}, or a file of one)")
    try:
        lines = raw.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a table: not text at byte {error.start}") from None
    if not lines or lines[0] != _MAGIC:
        raise ValueError(f"{path}: not a table: the first line must be {_MAGIC!r}")
    fields = _header(path, lines[1 : 1 + len(_HEADER)])
    start = 1 + len(_HEADER)
    if lines[start : start + 1] != [_COLUMNS]:
        raise ValueError(f"{path}:{start + 1}: expected {_COLUMNS!r}")
    values = _rows(path, lines[start + 1 :], start + 2, fields["points"])
    sha256 = fields.pop("sha256")
    try:
        table = Table(values, **fields)
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(error)}") from None
    if table.sha256 != sha256:
        raise ValueError(
            f"{path}: the values do not match the file's sha256: it was changed or damaged"
        )
    return table


def _header(path: Path, lines: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for number, (key, line) in enumerate(zip(_HEADER, lines), 2):
        prefix = f"# {key}:"
        if not line.startswith(prefix):
            raise ValueError(f"{path}:{number}: expected '{prefix} ...', got {line[:60]!r}")
        fields[key] = line[len(prefix) :].strip()
    if len(fields) < len(_HEADER):
        raise ValueError(f"{path}: the header ends early: no {_HEADER[len(fields)]!r}")
    for key in ("radius", "points"):
        if not (fields[key].isascii() and fields[key].isdigit() and len(fields[key]) < 6):
            raise ValueError(f"{path}: {key} must be a positive integer, got {fields[key][:60]!r}")
        fields[key] = int(fields[key])
    if not 1 <= fields["points"] <= MAX_POINTS:
        raise ValueError(f"{path}: points must be 1 to {MAX_POINTS}, got {fields['points']}")
    return fields


def _rows(path: Path, lines: list[str], first: int, points: int) -> U8:
    if len(lines) != 2**points:
        raise ValueError(f"{path}: {points} points need {2**points} rows, got {len(lines)}")
    values = np.empty((len(lines), 3), np.uint8)
    for code, line in enumerate(lines):
        cells = line.split(",")
        if len(cells) != 4 or not all(c.isascii() and c.isdigit() and len(c) < 6 for c in cells):
            raise ValueError(
                f"{path}:{first + code}: expected four integers '{_COLUMNS}', got {line[:60]!r}"
            )
        number, *colour = map(int, cells)
        if number != code or max(colour) > 255:
            raise ValueError(
                f"{path}:{first + code}: expected code {code} and three values 0 to 255, "
                f"got {line[:60]!r}"
            )
        values[code] = colour
    return values
