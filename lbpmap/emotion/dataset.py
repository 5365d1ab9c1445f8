"""Labelled pictures: a folder a label, or a CSV file; and which of them a net learns from.

A data set has up to three parts: "train", from which nets learn; "validation", by which one chooses
when to stop and how nets are weighed; and "test", which nothing was chosen by.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lbpmap import pictures
from lbpmap._arrays import F64
from lbpmap._decode import printable
from lbpmap._files import PathLike, atomic_write, read_bytes

TRAIN, VALIDATION, TEST = PARTS = ("train", "validation", "test")

# What folders and CSV files call the parts, in any case.
_PART_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
_MAX_CSV_BYTES = 1 << 28


@dataclass(frozen=True)
class Sample:
    """A labelled picture.

    Attributes
    ----------
    path : Path
        Its file.
    label : int
        Number of its label, from 0.
    part : str or None
        "train", "validation" or "test"; None where no part was given.
    group : str or None
        Whose picture it is, where that is known: a group is never in two parts.
    """

    path: Path
    label: int
    part: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures.

    Attributes
    ----------
    source : Path
        Folder or CSV file that they were read from.
    labels : tuple of str
        Names of the labels, in order.
    samples : tuple of Sample
    """

    source: Path
    labels: tuple[str, ...]
    samples: tuple[Sample, ...]

    def part(self, name: str) -> tuple[Sample, ...]:
        """Give the samples of one part."""
        return tuple(sample for sample in self.samples if sample.part == name)

    def counts(self, samples: Iterable[Sample] | None = None) -> dict[str, int]:
        """Count samples by label: all of them, or those given."""
        found = Counter(s.label for s in (self.samples if samples is None else samples))
        return {label: found[k] for k, label in enumerate(self.labels)}


def read_dataset(
    data: PathLike, *, labels: Sequence[str] = (), group_by: str | None = None
) -> Dataset:
    r"""Find labelled pictures.

    Parameters
    ----------
    data : str or path
        A folder that holds a folder a label (``DATA/Happy/1.png``), perhaps below folders of parts
        (``DATA/Train/Happy/1.png``; parts are train, val or validation, and test, in any case); or
        a CSV file whose first line names the columns ``path``, ``label``, and if wanted ``split``
        and others. Paths in it are relative to its folder.
    labels : sequence of str, optional
        An order of labels, kept where the data have just these; otherwise labels are sorted.
    group_by : str, optional
        What tells whose picture one is: the name of a column, or for a folder a regular
        expression that is searched for in the path below `data` (its first group counts).

    Returns
    -------
    Dataset
        Of a folder, sorted by path.

    Raises
    ------
    OSError, ValueError
        When there is nothing, or a row, a path or a group cannot be understood; a picture is
        listed twice, or a group lies in two parts.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = Path(folder, "faces.csv")
    ...     _ = table.write_text("path,label,split\na.png,sad,train\nb.png,happy,test\n")
    ...     found = read_dataset(table)
    >>> found.labels, found.samples[0].label, found.samples[1].part
    (('happy', 'sad'), 1, 'test')
    """
    source = Path(data)
    rows = _folder_rows(source, group_by) if source.is_dir() else _csv_rows(source, group_by)
    for path, label, _, _ in rows:
        if not label.isprintable():
            raise ValueError(
                f"{source}: {printable(path)}: label {label!a} has characters that cannot be "
                f"shown; rename it"
            )
    names = {label for _, label, _, _ in rows}
    order = tuple(labels) if sorted(labels) == sorted(names) else tuple(sorted(names))
    if len(order) < 2:
        raise ValueError(f"{source}: one label ({order[0]!r}); expected two or more to tell apart")
    number = {label: k for k, label in enumerate(order)}
    samples = tuple(Sample(path, number[label], part, group) for path, label, part, group in rows)
    _check(source, samples)
    return Dataset(source, order, samples)


def split(dataset: Dataset, *, validation: float = 0.2, seed: int = 0) -> Dataset:
    """Choose a validation part, where the data bring none.

    Of every label the same share is taken, rounded, as far as whole groups allow; a group stays
    together. The choice depends on the seed and on the samples, not on anything else.

    Parameters
    ----------
    dataset : Dataset
        Its samples without a part, or those of "train" where it has parts but no "validation",
        are divided; one that has both is returned as it is.
    validation : float, default 0.2
        Share to take, above 0 and at most 0.5.
    seed : int, default 0

    Returns
    -------
    Dataset
        Every sample has a part.

    Raises
    ------
    ValueError
        When the share is out of range, or nothing would be left to learn from or to validate on.

    Examples
    --------
    >>> samples = tuple(Sample(Path(f"{i}.png"), i % 2) for i in range(10))
    >>> parted = split(Dataset(Path("."), ("a", "b"), samples), validation=0.4)
    >>> parted.counts(parted.part("validation"))
    {'a': 2, 'b': 2}
    """
    if not 0 < validation <= 0.5:
        raise ValueError(f"split: validation must be above 0 and at most 0.5, got {validation}")
    parts = {sample.part for sample in dataset.samples}
    if not {TRAIN, VALIDATION} <= parts:
        if VALIDATION in parts:
            raise ValueError(
                f"{dataset.source}: has a validation part, but no train part to learn from"
            )
        free = [k for k, s in enumerate(dataset.samples) if s.part in (None, TRAIN)]
        taken = _choose([dataset.samples[k] for k in free], len(dataset.labels), validation, seed)
        chosen = {free[k] for k in taken}
        samples = list(dataset.samples)
        for k in free:
            samples[k] = replace(samples[k], part=VALIDATION if k in chosen else TRAIN)
        dataset = replace(dataset, samples=tuple(samples))
    for name in (TRAIN, VALIDATION):
        if not dataset.part(name):
            raise ValueError(
                f"{dataset.source}: {len(dataset.samples)} pictures leave none in the {name} part; "
                f"give more pictures, another share, or fewer to a group"
            )
    return dataset


def write_dataset(dataset: Dataset, path: PathLike) -> None:
    """Write a data set as a CSV file that `read_dataset` reads, with absolute paths.

    Parameters
    ----------
    dataset : Dataset
    path : str or path
        Appears whole or not at all. Groups stand in a column ``group``.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    text = io.StringIO()
    # Left to itself it does not quote a carriage return, at which a reader ends the row.
    rows = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    rows.writerow(["path", "label", "split", "group"])
    for s in dataset.samples:
        rows.writerow([os.path.abspath(s.path), dataset.labels[s.label], s.part, s.group])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode("utf-8", "surrogateescape"))


# Path, label, part, group.
_Row = tuple[Path, str, "str | None", "str | None"]


def _folder_rows(folder: Path, group_by: str | None) -> list[_Row]:
    pattern = _pattern(group_by)
    found = [(path, below.parts) for path, below in pictures.find([folder])]
    parted = _in_parts(folder, [below for _, below in found])
    level = 1 if parted else 0
    rows = []
    for path, below in sorted(found, key=lambda item: item[1]):
        if len(below) < level + 2:
            wanted = "DATA/PART/LABEL/PICTURE" if parted else "DATA/LABEL/PICTURE"
            raise ValueError(f"{path}: is in no label's folder; expected {wanted}")
        group = None
        if pattern is not None:
            match = pattern.search("/".join(below))
            if match is None:
                raise ValueError(f"{path}: group_by {group_by!r} is not found in {'/'.join(below)}")
            group = match[1] if pattern.groups else match[0]
            if not group:
                raise ValueError(
                    f"{path}: group_by {group_by!r} finds an empty name in {'/'.join(below)}"
                )
        part = _PART_NAMES[below[0].lower()] if parted else None
        rows.append((path, below[level], part, group))
    return rows


def _in_parts(folder: Path, found: Sequence[tuple[str, ...]]) -> bool:
    """Tell DATA/PART/LABEL/PICTURE from DATA/LABEL/PICTURE; a label may be called "test" too."""
    named = [below[0].lower() in _PART_NAMES for below in found]
    if all(named):
        return True
    deep = [below[0] for below, part in zip(found, named) if part and len(below) > 2]
    if deep:
        other = found[named.index(False)][0]
        raise ValueError(
            f"{folder}: holds {deep[0]}, a part's folder, and {other}, which is none; expected "
            f"parts alone (train, validation, test) or labels alone"
        )
    return False


def _pattern(group_by: str | None) -> re.Pattern[str] | None:
    try:
        return None if group_by is None else re.compile(group_by)
    except re.error as error:
        raise ValueError(f"group_by: {group_by!r} is no regular expression: {error}") from None


def _csv_rows(path: Path, group_by: str | None) -> list[_Row]:
    raw = read_bytes(path, _MAX_CSV_BYTES, "a CSV file or a folder of labelled pictures")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = list(reader.fieldnames or ())
        wanted = ["path", "label"] + ([group_by] if group_by else [])
        missing = [name for name in wanted if name not in columns]
        if missing:
            raise ValueError(
                f"{path}: no column {', '.join(missing)}; its first line names "
                f"{', '.join(columns) or 'none'}"
            )
        group = group_by or ("group" if "group" in columns else None)
        rows = [_csv_row(path, reader.line_num, row, group) for row in reader]
    except csv.Error as error:
        # Of a row that it gives up, `reader` has not counted the lines.
        raise ValueError(f"{path}: line {reader.reader.line_num}: {error}") from None
    if not rows:
        raise ValueError(f"{path}: no row but the first; expected a picture a row")
    parted = [row[2] is not None for row in rows]
    if any(parted) and not all(parted):
        raise ValueError(f"{path}: split is empty in some rows; fill it in all of them or in none")
    return rows


def _csv_row(path: Path, line: int, row: dict[str, str], group: str | None) -> _Row:
    for name in ("path", "label", *([group] if group and group != "group" else [])):
        if not row[name]:
            raise ValueError(f"{path}: line {line}: {name} is empty")
    part = row.get("split") or None
    if part is not None and part.lower() not in _PART_NAMES:
        raise ValueError(
            f"{path}: line {line}: split is {part!r}; expected one of {', '.join(PARTS)}"
        )
    name = row["path"]
    if "\0" in name:
        raise ValueError(f"{path}: line {line}: path holds a zero byte")
    return (
        path.parent / name,
        row["label"],
        part and _PART_NAMES[part.lower()],
        (row[group] or None) if group else None,
    )


def _check(source: Path, samples: Sequence[Sample]) -> None:
    seen: set[str] = set()
    parts: dict[str, str | None] = {}
    for sample in samples:
        name = os.path.abspath(sample.path)
        if name in seen:
            raise ValueError(f"{source}: {sample.path} is listed twice; list it once")
        seen.add(name)
        if sample.group is not None and parts.setdefault(sample.group, sample.part) != sample.part:
            raise ValueError(
                f"{source}: group {sample.group!r} is in {parts[sample.group]} and in "
                f"{sample.part}; whoever a net learned from would test it: move it to one part"
            )


def _choose(samples: Sequence[Sample], labels: int, share: float, seed: int) -> set[int]:
    """Choose whole groups while each brings the labels' counts nearer to their share."""
    groups: dict[str, list[int]] = {}
    for k, sample in enumerate(samples):
        name = f"picture {k}" if sample.group is None else f"group {sample.group}"
        groups.setdefault(name, []).append(k)
    names = list(groups)
    np.random.default_rng([seed, len(samples)]).shuffle(names)
    totals = _count(samples, range(len(samples)), labels)
    weight = 1 / np.maximum(totals, 1)
    missing = share * totals
    taken: set[int] = set()
    # Large groups first: small ones then even out what these have left.
    for name in sorted(names, key=lambda name: -len(groups[name])):
        counts = _count(samples, groups[name], labels)
        if (weight * (missing - counts) ** 2).sum() < (weight * missing**2).sum():
            missing = missing - counts
            taken.update(groups[name])
    return taken


def _count(samples: Sequence[Sample], which: Iterable[int], labels: int) -> F64:
    counts: F64 = np.zeros(labels)
    for k in which:
        counts[samples[k].label] += 1
    return counts
