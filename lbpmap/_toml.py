"""TOML files: read with one-line errors, written whole or not at all."""

from __future__ import annotations

import sys
from typing import Any

import tomli_w

from lbpmap._errors import one_line
from lbpmap._files import PathLike, atomic_write, read_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read(path: PathLike, most: int, expected: str) -> dict[str, Any]:
    """Read a TOML file.

    Parameters
    ----------
    path : str or path
    most : int
        Bytes that no such file exceeds. Dotted keys take time with the square of their number: 3 s
        when they fill 32 KiB.
    expected : str
        What should be there, for errors.

    Returns
    -------
    dict

    Raises
    ------
    OSError, ValueError
        When it cannot be read, is larger, or is no TOML.
    """
    return parse(read_bytes(path, most, expected), path)


def parse(raw: bytes, where: PathLike) -> dict[str, Any]:
    """Parse the bytes of a TOML file, which errors call `where`.

    Raises
    ------
    ValueError
        When they are no TOML.
    """
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        # Not text, not TOML, an integer of 5,000 digits, or lists 1,000 deep.
        raise ValueError(f"{where}: not a TOML file: {one_line(error)}") from None


def write(path: PathLike, tables: dict[str, Any]) -> None:
    """Write a TOML file; what is None is left out.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    with atomic_write(path) as file:
        file.write(tomli_w.dumps(_without_none(tables)).encode("utf-8"))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value
