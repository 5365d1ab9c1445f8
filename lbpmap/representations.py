"""The five representations of the paper: what a net looks at instead of, or beside, the picture."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Union

from lbpmap.tables import Table, load_table


@dataclass(frozen=True)
class Representation:
    """How a picture becomes the three channels of a net's input.

    Attributes
    ----------
    name : str
        As in the names of the released nets.
    radius : int
        Radius of the codes in pixels; 0 for "rgb".
    points : int
        Bits of a code; 0 for "rgb".
    arithmetic : str
        "released" or "exact", see `lbpmap.lbp_codes`.
    table : Table or None
        The colours of the codes; None for the picture itself.
    """

    name: str
    radius: int
    points: int
    arithmetic: str
    table: Table | None


def _released(name: str, radius: int, table: str) -> Representation:
    return Representation(name, radius, 8, "released", load_table(table))


REPRESENTATIONS: dict[str, Representation] = {
    r.name: r
    for r in (
        Representation("rgb", 0, 0, "released", None),
        _released("lbp", 1, "lbp"),
        _released("cyclic_lbp", 1, "cyclic_lbp"),
        _released("cyclic_lbp_5", 5, "cyclic_lbp"),
        _released("cyclic_lbp_10", 10, "cyclic_lbp"),
    )
}

MAPPED = tuple(name for name in REPRESENTATIONS if name != "rgb")

AnyRepresentation = Union[str, "os.PathLike[str]", Table, Representation]


def resolve(named: AnyRepresentation) -> Representation:
    """Find a representation.

    Parameters
    ----------
    named : str, path, Table or Representation
        One of the five names, the path of a table file, or the thing itself. A table brings its
        radius, points and arithmetic.

    Returns
    -------
    Representation

    Raises
    ------
    ValueError, OSError
        When it is neither a known name nor a readable table file.

    Examples
    --------
    >>> resolve("cyclic_lbp_5").radius
    5
    """
    if isinstance(named, Representation):
        return named
    if isinstance(named, str) and named in REPRESENTATIONS:
        return REPRESENTATIONS[named]
    if not isinstance(named, (Table, str, os.PathLike)):
        raise TypeError(
            f"representation must be a name, a table file, a Table or a Representation, "
            f"got {type(named).__name__}"
        )
    try:
        table = named if isinstance(named, Table) else load_table(named)
    except FileNotFoundError:
        raise ValueError(
            f"no representation {str(named)!r}: expected one of {', '.join(REPRESENTATIONS)}, "
            f"or the path of a table file"
        ) from None
    return Representation(table.name, table.radius, table.points, table.arithmetic, table)
