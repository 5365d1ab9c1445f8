"""Files of records, by what their names end in: CSV, JSON lines, Parquet, HTML; written and read.

All are written record by record, whatever their number, and appear whole or not at all.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import groupby, islice
from typing import Any

from lbpmap._errors import one_line
from lbpmap._files import PathLike, atomic_write, regular_size
from lbpmap.predict import html
from lbpmap.predict.records import Face, Record, Settings, check_record, differing, rows
from lbpmap.predict.tables import Shape, as_object, columns, from_object, from_row

# Rows that Parquet keeps together, and that are in memory at once.
_ROWS = 4096
# Parquet's own place for what is not in columns.
_KEY = b"lbpmap"
# Of names: what stands for bytes that are no UTF-8; how that is written where it cannot be; and
# that, or the backslash, where one of them is.
_NO_UTF8 = re.compile("[\udc80-\udcff]")
_ESCAPE = re.compile(r"\\udc[89a-f][0-9a-f]")
_ESCAPED = re.compile(r"\\(?:\\|u(dc[89a-f][0-9a-f]))")
# All that reading a table of others, or a damaged one, comes to.
_DAMAGED = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
    csv.Error,
)

Records = Callable[[], Iterable[Record]]
_Row = tuple[Record, "Face | None"]


def write(path: PathLike, settings: Settings, records: Records, shape: Shape) -> None:
    """Write records to a file of the kind that its name says.

    Parameters
    ----------
    path : str or path
        Ending in one of `FORMATS`.
    settings : Settings
        What the records were made with.
    records : callable
        Gives them, as often as it is called.
    shape : Shape

    Raises
    ------
    ImportError
        For Parquet, when pyarrow (``lbpmap[report]``) is not installed.
    OSError
        When the file cannot be written; nothing is left of it.
    """
    FORMATS[suffix(path)].write(path, settings, records, shape)


def read(path: PathLike, settings: Settings) -> Iterator[Record]:
    """Read back the records of a file that `write` has written.

    Parameters
    ----------
    path : str or path
    settings : Settings
        Those of this run. Where the file says what it was made with, they must be the same; else
        labels and nets must have the same names.

    Yields
    ------
    Record
        Its pictures only from a report.

    Raises
    ------
    OSError, ValueError
        When it cannot be read, or is of another run.
    """
    regular_size(path, "the output of a run")
    return FORMATS[suffix(path)].read(path, settings)


def suffix(path: PathLike) -> str:
    """Give what the name of an output ends in.

    Raises
    ------
    ValueError
        When it is none of `FORMATS`.
    """
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in FORMATS:
        raise ValueError(f"{path}: expected a name that ends in {', '.join(FORMATS)}")
    return ending


def check(path: PathLike) -> None:
    """Find out before the work whether an output of this name can be written at all.

    Raises
    ------
    ImportError, ValueError
        As `suffix`; or when what writes it is not installed.
    """
    if suffix(path) == ".parquet":
        _arrow()


def _write_csv(path: PathLike, settings: Settings, records: Records, shape: Shape) -> None:
    chosen = columns(settings, shape)
    with atomic_write(path) as file:
        # Names that are no UTF-8 come back as they were.
        text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
        table = csv.writer(text, lineterminator="\n")
        quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        table.writerow([column.name for column in chosen])
        for record in records():
            # Python before 3.13 leaves a lone carriage return without the quotes that it needs.
            writer = quoting if "\r" in f"{record.path}{record.error}" else table
            for number, face in rows(record):
                writer.writerow([column.value(record, number, face) for column in chosen])
        text.detach()


def _read_csv(path: PathLike, settings: Settings) -> Iterator[Record]:
    kinds = {column.name: column.kind for column in columns(settings, Shape())}

    def lines() -> Iterator[Mapping[str, Any]]:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            table = csv.DictReader(file)
            missing = [name for name in kinds if name not in (table.fieldnames or ())]
            if missing:
                raise KeyError(missing[0])
            for row in table:
                yield {name: kind(row[name]) if row[name] else None for name, kind in kinds.items()}

    return _gathered(path, lines(), settings, from_row)


def _write_jsonl(path: PathLike, settings: Settings, records: Records, shape: Shape) -> None:
    with atomic_write(path) as file:
        for record in records():
            for number, face in rows(record):
                row = as_object(record, number, face, settings.labels, shape)
                file.write(json.dumps(row, allow_nan=False).encode() + b"\n")


def _read_jsonl(path: PathLike, settings: Settings) -> Iterator[Record]:
    def lines() -> Iterator[Mapping[str, Any]]:
        with open(path, "rb") as file:
            yield from map(json.loads, file)

    return _gathered(path, lines(), settings, from_object)


def _write_parquet(path: PathLike, settings: Settings, records: Records, shape: Shape) -> None:
    arrow, parquet = _arrow()
    kinds = {str: arrow.string(), int: arrow.int64(), float: arrow.float64()}
    chosen = columns(settings, shape)
    schema = arrow.schema([(column.name, kinds[column.kind]) for column in chosen])
    schema = schema.with_metadata({_KEY: json.dumps(asdict(settings)).encode()})
    every = ((record, *row) for record in records() for row in rows(record))
    with atomic_write(path) as file, parquet.ParquetWriter(file, schema) as writer:
        while some := list(islice(every, _ROWS)):
            values = [[_unicode(column.value(*row)) for row in some] for column in chosen]
            writer.write_table(arrow.table(values, schema=schema))


def _read_parquet(path: PathLike, settings: Settings) -> Iterator[Record]:
    arrow, parquet = _arrow()
    try:
        with parquet.ParquetFile(path) as file:
            there = dict(json.loads((file.schema_arrow.metadata or {}).get(_KEY, b"{}")))
    except (arrow.ArrowException, OSError, *_DAMAGED) as error:
        raise ValueError(f"{path}: no table of this command's: {one_line(error)}") from None
    _compare(path, there, settings)

    def lines() -> Iterator[Mapping[str, Any]]:
        with parquet.ParquetFile(path) as file:
            try:
                for some in file.iter_batches(_ROWS):
                    for row in some.to_pylist():
                        yield {name: _as_named(value) for name, value in row.items()}
            except (arrow.ArrowException, OSError) as error:
                raise ValueError(str(error)) from None

    return _gathered(path, lines(), settings, from_row)


def _unicode(value: Any) -> Any:
    r"""Write the bytes of a name that are no UTF-8 as escapes; Parquet takes nothing else.

    What looks like an escape is escaped too, so that `_as_named` can tell them apart.

    >>> _unicode("caf\udce9\\"), _unicode("a\\b"), _unicode(r"\udce9")
    ('caf\\udce9\\\\', 'a\\b', '\\\\udce9')
    """
    if not isinstance(value, str) or not (_NO_UTF8.search(value) or _ESCAPE.search(value)):
        return value
    return value.replace("\\", r"\\").encode("utf-8", "backslashreplace").decode()


def _as_named(value: Any) -> Any:
    """Take back what `_unicode` did."""
    if not isinstance(value, str) or not _ESCAPE.search(value):
        return value
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else "\\", value)


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError:
        raise ImportError("Parquet needs pyarrow: pip install 'lbpmap[report]'") from None
    return pyarrow, parquet


def _write_html(path: PathLike, settings: Settings, records: Records, shape: Shape) -> None:
    html.write(path, settings, records, threshold=shape.threshold)


def _read_html(path: PathLike, settings: Settings) -> Iterator[Record]:
    there, records = html.read(path)
    _compare(path, asdict(there), settings)
    return records


def _compare(path: PathLike, there: Mapping[str, Any], settings: Settings) -> None:
    name = differing(there, settings)
    if name is not None:
        raise ValueError(
            f"{path}: was made with other {name} than this run has; name another output"
        )


def _gathered(
    path: PathLike,
    lines: Iterator[Mapping[str, Any]],
    settings: Settings,
    of_row: Callable[[Mapping[str, Any], Settings], _Row],
) -> Iterator[Record]:
    """Put the rows of an input together."""
    try:
        every = (of_row(line, settings) for line in lines)
        for record, group in groupby(every, lambda row: row[0]):
            whole = replace(record, faces=tuple(face for _, face in group if face is not None))
            check_record(whole, settings)
            yield whole
    except _DAMAGED as error:
        raise ValueError(
            f"{path}: not made by this command with these nets ({type(error).__name__}: "
            f"{one_line(error)}); name another output"
        ) from None


@dataclass(frozen=True)
class _Format:
    """How files of a kind are written and read."""

    write: Callable[[PathLike, Settings, Records, Shape], None]
    read: Callable[[PathLike, Settings], Iterator[Record]]


#: By what names end in.
FORMATS = {
    ".csv": _Format(_write_csv, _read_csv),
    ".jsonl": _Format(_write_jsonl, _read_jsonl),
    ".parquet": _Format(_write_parquet, _read_parquet),
    ".html": _Format(_write_html, _read_html),
}
