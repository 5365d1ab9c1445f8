"""What a net learns from: pictures in an order of chance, cut at random, ready before it asks.

Every choice is a function of the seed and of how many pictures came before: an epoch's order, a
picture's crop, whether it is mirrored. So the same seed gives the same batches, with any number of
threads, and a run that was broken off goes on with the batches that it would have had.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lbpmap import _checks, pictures
from lbpmap._arrays import F32, F64
from lbpmap._blob import Cut, InputSpec, cutter, filler
from lbpmap._loader import Unread, ahead
from lbpmap.emotion.dataset import Sample
from lbpmap.representations import AnyRepresentation, resolve

# Pictures to a job: fewer keep threads waiting for each other, more let a step wait for one job.
_JOB = 4
# Streams of chance, apart from each other.
_ORDER, _CUTS = 1, 2


@dataclass(frozen=True)
class View:
    """How a net is shown pictures.

    Attributes
    ----------
    representation : str, path, Table or Representation
        What pictures are turned into.
    size, crop : int
        Side of the stretched picture, and of what is cut from it.
    mean : float32 array
        To subtract, BGR: (3, size, size), cut with the picture; (3, crop, crop); or (3,).
    mirror : bool
        Whether half of the pictures are mirrored, by chance.
    """

    representation: AnyRepresentation
    size: int
    crop: int
    mean: F32
    mirror: bool = True


@dataclass(frozen=True)
class Step:
    """What a net learns from at a time.

    Attributes
    ----------
    data : float32 array (N, 3, crop, crop)
    labels : float32 array (N,)
    busy : float
        Seconds that threads have worked on it.
    waited : float
        Seconds until it was ready, after it was asked for.
    """

    data: F32
    labels: F32
    busy: float
    waited: float


@lru_cache(maxsize=4)
def order(seed: int, epoch: int, count: int) -> Any:
    """Give the order of `count` pictures in an epoch, each once.

    Examples
    --------
    >>> sorted(order(0, 3, 5)) == list(range(5)), list(order(0, 3, 5)) == list(order(0, 3, 5))
    (True, True)
    """
    places = np.random.default_rng([seed, _ORDER, epoch]).permutation(count)
    places.setflags(write=False)
    return places


def cut_of(seed: int, drawn: int, view: View) -> Cut:
    """Say where the picture that is drawn after `drawn` others is cut, and whether mirrored."""
    rng = np.random.default_rng([seed, _CUTS, drawn])
    row, column, mirrored = rng.integers(0, [view.size - view.crop + 1] * 2 + [2])
    return Cut(int(row), int(column), bool(mirrored) and view.mirror)


def steps(
    samples: Sequence[Sample],
    view: View,
    *,
    count: int,
    seed: int,
    start: int = 0,
    threads: int = 2,
) -> Generator[Step, None, None]:
    """Show pictures without end, `count` at a time, made ready on threads while a net works.

    Parameters
    ----------
    samples : sequence of Sample
        Every epoch shows each once. A step may hold the end of one and the start of the next.
    view : View
    count : int
        Pictures a step.
    seed : int
    start : int, default 0
        Steps to leave out, as if they had been taken.
    threads : int, default 2
        They work at most two steps ahead; 1 does the work here, when asked.

    Yields
    ------
    Step
        Its arrays are its own.

    Raises
    ------
    ValueError, OSError
        When a picture cannot be read or is too small; it is named.
    """
    count = _checks.positive(count, "count", "steps")
    threads = _checks.positive(threads, "threads", "steps")
    cut = cutter(resolve(view.representation), view.size, view.crop, view.mean, "steps")

    def work(job: tuple[F32, F32, range, int]) -> tuple[F32, F32, float]:
        begun = time.perf_counter()
        data, labels, rows, first = job
        for row, drawn in zip(rows, range(first, first + len(rows))):
            epoch, place = divmod(drawn, len(samples))
            sample = samples[int(order(seed, epoch, len(samples))[place])]
            _cut_file(cut, sample, data[row], cut_of(seed, drawn, view))
            labels[row] = sample.label
        return data, labels, time.perf_counter() - begun

    def jobs() -> Iterator[tuple[F32, F32, range, int]]:
        drawn = start * count
        while True:
            data = np.empty((count, 3, view.crop, view.crop), np.float32)
            labels = np.empty(count, np.float32)
            for first in range(0, count, _JOB):
                rows = range(count)[first : first + _JOB]
                yield data, labels, rows, drawn + first
            drawn += count

    jobs_a_step = -(-count // _JOB)
    done = ahead(work, jobs(), threads, waiting=max(threads + 1, 2 * jobs_a_step))
    while True:
        begun = time.perf_counter()
        parts = [next(done) for _ in range(jobs_a_step)]
        data, labels, _ = parts[0]
        yield Step(data, labels, sum(p[2] for p in parts), time.perf_counter() - begun)


def centres(
    samples: Sequence[Sample], view: View, *, count: int, threads: int = 2
) -> Iterator[tuple[F32, F32]]:
    """Show each picture once, its centre, `count` at a time: what a net is validated on.

    Parameters
    ----------
    samples : sequence of Sample
    view : View
    count : int
        Pictures a batch; the last one is filled up with its last picture.
    threads : int, default 2

    Yields
    ------
    data : float32 array (count, 3, crop, crop)
    labels : float32 array (n,)
        Of the n pictures that are no filling.

    Raises
    ------
    ValueError, OSError
        When a picture cannot be read or is too small; it is named.
    """
    cut = cutter(resolve(view.representation), view.size, view.crop, view.mean, "centres")
    margin = (view.size - view.crop) // 2
    middle = Cut(margin, margin)

    def work(group: Sequence[Sample]) -> tuple[F32, F32]:
        data = np.empty((count, 3, view.crop, view.crop), np.float32)
        for sample, slot in zip(group, data):
            _cut_file(cut, sample, slot, middle)
        data[len(group) :] = data[len(group) - 1]
        return data, np.array([sample.label for sample in group], np.float32)

    groups = (samples[i : i + count] for i in range(0, len(samples), count))
    return ahead(work, groups, threads, waiting=threads)


def survey(
    samples: Sequence[Sample], representation: AnyRepresentation, size: int, *, threads: int = 2
) -> tuple[F32, list[Unread]]:
    """Look at every picture once: their mean as a net sees them, and which cannot be read.

    Parameters
    ----------
    samples : sequence of Sample
    representation : str, path, Table or Representation
    size : int
        Side of the stretched picture.
    threads : int, default 2

    Returns
    -------
    mean : float32 array (3, size, size)
        BGR, 0..255, of the pictures that can be read; zeros where there is none.
    unread : list of Unread
    """
    chosen = resolve(representation)
    spec = InputSpec.checked(0, size, size, 1, "resize", "survey")
    fill = filler(chosen, spec, "survey")

    def work(group: Sequence[Sample]) -> tuple[F64, int, list[Unread]]:
        total: F64 = np.zeros((3, size, size))
        blob = np.empty((1, 3, size, size), np.float32)
        unread = []
        for sample in group:
            try:
                fill(pictures.read(sample.path), blob, "the picture")
                total += blob[0]
            except (ValueError, OSError, MemoryError) as error:
                unread.append(Unread(sample.path, error))
        return total, len(group) - len(unread), unread

    total: F64 = np.zeros((3, size, size))
    number, failed = 0, []
    groups = (samples[i : i + _JOB] for i in range(0, len(samples), _JOB))
    # In their order, so that the sum is the same with any number of threads.
    for part, read, unread in ahead(work, groups, threads):
        total += part
        number += read
        failed += unread
    return (total / max(number, 1)).astype(np.float32), failed


def _cut_file(cut: Any, sample: Sample, slot: F32, where: Cut) -> None:
    picture = pictures.read(sample.path)
    try:
        cut(picture, slot, where, "the picture")
    except ValueError as error:
        raise ValueError(f"{sample.path}: {error}") from error
