"""A first look at all records: what there is to count, and which faces are worth a look."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from lbpmap.predict.charts import Span
from lbpmap.predict.disagreement import DISAGREE, disagreement
from lbpmap.predict.records import Record, Settings, check_record

#: At most so many failed inputs, inputs without a face, and videos are shown.
LISTED, VIDEOS = 200, 12


@dataclass
class Survey:
    """What the records are, all together.

    Attributes
    ----------
    pictures, frames : int
        Inputs without and with a time.
    videos : int
        Different paths of frames.
    faces, unsure, disputed : int
        All faces; those whose best label is below the threshold; those over which nets disagree.
    by_label : list of int
        Faces by their best label.
    failed, faceless : int
        Inputs with an error; without one, and without a face.
    failures, without_face : list of Record
        The first `LISTED` of them.
    spans : dict of Span
        By path, of the first `VIDEOS` videos.
    detailed : set of int
        Numbers of the faces to show at large.
    """

    by_label: list[int]
    pictures: int = 0
    frames: int = 0
    videos: int = 0
    faces: int = 0
    unsure: int = 0
    disputed: int = 0
    failed: int = 0
    faceless: int = 0
    failures: list[Record] = field(default_factory=list)
    without_face: list[Record] = field(default_factory=list)
    spans: dict[str, Span] = field(default_factory=dict)
    detailed: set[int] = field(default_factory=set)


def survey(
    settings: Settings, records: Iterable[Record], threshold: float, most_detailed: int
) -> Survey:
    """Count, and choose the faces to show at large.

    These are the first half of `most_detailed`, and of the others the most disputed ones. More
    records after these never bring in a face that was left out, so that a report that is added to
    needs no pictures but those that it has.

    Parameters
    ----------
    settings : Settings
    records : iterable of Record
    threshold : float
    most_detailed : int

    Returns
    -------
    Survey

    Raises
    ------
    ValueError
        When a record does not fit the settings.
    """
    found = Survey([0] * len(settings.labels))
    first = most_detailed - most_detailed // 2
    disputed: list[tuple[float, int]] = []
    videos: set[int] = set()
    for record in records:
        check_record(record, settings)
        _count_input(found, record, videos)
        for face in record.faces:
            apart = disagreement(face)
            found.by_label[face.best] += 1
            found.unsure += face.probabilities[face.best] < threshold
            found.disputed += apart >= DISAGREE
            if found.faces < first:
                found.detailed.add(found.faces)
            elif len(disputed) < most_detailed - first:
                heapq.heappush(disputed, (apart, -found.faces))
            elif disputed:
                heapq.heappushpop(disputed, (apart, -found.faces))
            found.faces += 1
    found.detailed.update(-number for _, number in disputed)
    found.videos = len(videos)
    return found


def _count_input(found: Survey, record: Record, videos: set[int]) -> None:
    if record.time is None:
        found.pictures += 1
    else:
        found.frames += 1
        videos.add(hash(record.path))
        if record.path in found.spans or len(found.spans) < VIDEOS:
            span = found.spans.setdefault(record.path, Span(record.time, record.time))
            span.add(record.time)
    if record.error is not None:
        found.failed += 1
        if len(found.failures) < LISTED:
            found.failures.append(record)
    elif not record.faces:
        found.faceless += 1
        if len(found.without_face) < LISTED:
            found.without_face.append(record)
