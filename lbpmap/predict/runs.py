"""A run from inputs to files: what it is made with, how it goes on where it was broken off."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from lbpmap._files import PathLike, sha256
from lbpmap._version import __version__
from lbpmap.emotion.ensemble import LoadedNet
from lbpmap.emotion.fusion import Fusion
from lbpmap.emotion.registry import require_weights
from lbpmap.predict import journal, outputs
from lbpmap.predict.journal import Entry, Mark
from lbpmap.predict.markup import count
from lbpmap.predict.pipeline import Looks, look, with_pictures
from lbpmap.predict.records import Record, Settings
from lbpmap.predict.sources import Item
from lbpmap.predict.tables import Shape
from lbpmap.representations import REPRESENTATIONS, resolve

# Records of a finished output that go into the journal at once.
_GROUP = 256


@dataclass
class Counts:
    """How many inputs were looked at, and what came of it."""

    inputs: int = 0
    faces: int = 0
    without_face: int = 0
    failed: int = 0

    def add(self, record: Record) -> None:
        """Count an input."""
        self.inputs += 1
        self.faces += len(record.faces)
        self.failed += record.error is not None
        self.without_face += record.error is None and not record.faces

    def __str__(self) -> str:
        said = [count(self.inputs, "input"), count(self.faces, "face")]
        said += [f"{self.without_face:,} without a face"] if self.without_face else []
        said += [f"{self.failed:,} failed"] if self.failed else []
        return ", ".join(said)


def settings(looks: Looks, *, every: float, mean_mode: str | None = None) -> Settings:
    """Say what records are made with; the nets' files are read to sum them up.

    Parameters
    ----------
    looks : Looks
    every : float
        Seconds between frames of videos.
    mean_mode : {"resize", "crop"}, optional
        Where it is not what the nets' descriptions say.

    Returns
    -------
    Settings

    Raises
    ------
    OSError, ValueError
        When a file is gone.
    """
    return Settings(
        labels=looks.fusion.labels,
        nets=tuple(_described(loaded, mean_mode) for loaded in looks.nets),
        fusion=_fusion(looks.fusion),
        crops=looks.crops,
        faces={
            **looks.detector.made_with(),
            "largest_only": looks.largest,
            "aspect": looks.aspect,
        },
        every=every,
        version=__version__,
    )


def _described(loaded: LoadedNet, mean_mode: str | None) -> dict[str, Any]:
    files = loaded.files
    weights, mean = require_weights(files)
    shown = resolve(files.representation)
    own = {}
    if files.representation not in REPRESENTATIONS and shown.table is not None:
        own = {
            "radius": shown.radius,
            "points": shown.points,
            "arithmetic": shown.arithmetic,
            "table_sha256": shown.table.sha256,
        }
    return {
        "name": files.name,
        "representation": shown.name,
        **own,
        "labels": list(files.labels),
        "size": files.size,
        "crop": files.crop,
        "mean_mode": mean_mode or files.mean_mode,
        "deploy_sha256": sha256(files.deploy),
        "weights_sha256": sha256(weights),
        "mean_sha256": sha256(mean),
    }


def _fusion(fusion: Fusion) -> dict[str, object]:
    said: dict[str, object] = {"method": fusion.method}
    if fusion.weights is not None:
        said["weights"] = dict(zip(fusion.names, map(float, fusion.weights)))
    for name in ("coefficients", "intercepts"):
        values = getattr(fusion, name)
        if values is not None:
            said[f"{name}_sha256"] = hashlib.sha256(values.astype("<f8").tobytes()).hexdigest()
    return said


def journal_of(output: PathLike) -> Path:
    """Name the journal of a run: it lies beside the first output until that is written."""
    return Path(f"{os.fspath(output)}.part")


def into_files(
    items: Callable[[set[tuple[str, int | None]]], Iterable[Item]],
    looks: Looks,
    made_with: Settings,
    files: Sequence[PathLike],
    shape: Shape,
    *,
    resume: bool = False,
    seen: Callable[[list[Record]], object] | None = None,
) -> Counts:
    """Look at inputs and write what was seen, whole, at the end.

    Until then it is kept in a journal beside the first file (`journal_of`), which an error or a
    crash leaves behind for `resume`.

    Parameters
    ----------
    items : callable
        Gives the inputs but those that are done, which it is told: paths, with frames of videos.
    looks : Looks
    made_with : Settings
        From `settings`.
    files : sequence of paths
        At least one, each of a kind that `lbpmap.predict.outputs` writes.
    shape : Shape
    resume : bool, default False
        Go on with what the journal holds, or else the first file, with the pictures that a report
        among the files has, or that are cut out again for it. Inputs that failed are done.
    seen : callable, optional
        Called with each group of records.

    Returns
    -------
    Counts
        Of all that the files hold.

    Raises
    ------
    OSError, ValueError
        When a file cannot be written; when a run was broken off and is not resumed, or is to be
        resumed with other settings.
    """
    kept = journal_of(files[0])
    if not resume:
        journal.check_free(kept)
    counts = Counts()

    def finished() -> Iterator[list[Record]]:
        return _groups(with_pictures(record, looks) for record in _kept(files, made_with))

    adds = resume and os.path.lexists(files[0])
    with journal.opened(kept, made_with, finished if adds else None) as book:
        done = _done(book.entries(), counts)
        for group in look(items(done), looks):
            book.add(group)
            for record in group:
                counts.add(record)
            if seen is not None:
                seen(group)
        for path in files:
            outputs.write(path, made_with, book.records, shape)
        kept.unlink()
    return counts


def _kept(files: Sequence[PathLike], made_with: Settings) -> Iterator[Record]:
    """Read what the first file holds, each record with the pictures that a report has of it."""
    reports = (path for path in files if outputs.suffix(path) == ".html")
    report = next(filter(os.path.lexists, reports), None)
    if report is None or outputs.suffix(files[0]) == ".html":
        yield from outputs.read(files[0], made_with)
        return
    # Both were written from the same records, so that one look ahead finds them all; what the
    # report lacks, or has of other faces, goes without pictures.
    shown = outputs.read(report, made_with)
    ahead = next(shown, None)
    for record in outputs.read(files[0], made_with):
        if ahead is not None and _without_pictures(ahead) == record:
            record, ahead = ahead, next(shown, None)
        yield record


def _without_pictures(record: Record) -> Record:
    return replace(record, faces=tuple(replace(face, pictures={}) for face in record.faces))


def _groups(records: Iterator[Record]) -> Iterator[list[Record]]:
    while group := list(islice(records, _GROUP)):
        yield group


def _done(entries: Iterable[Entry], counts: Counts) -> set[tuple[str, int | None]]:
    """Say which inputs have records: a video as a whole, where its run went on to others."""
    done: set[tuple[str, int | None]] = set()
    before: str | None = None
    for entry in entries:
        if isinstance(entry, Mark):
            if entry is Mark.FINISHED:
                done.update([(path, None) for path, _ in done])
            before = None
            continue
        counts.add(entry)
        done.add((entry.path, entry.frame))
        if before not in (None, entry.path):
            done.add((str(before), None))
        before = entry.path
    return done
