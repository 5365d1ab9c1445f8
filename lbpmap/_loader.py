"""Many picture files, read ahead on threads: as pictures, or as the blobs that a net takes.

Decoders and kernels release the interpreter's lock, so that threads run side by side. Each takes a
picture the whole way, from file to pixels or to crops: nothing waits for a batch to be full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from lbpmap import _checks
from lbpmap._arrays import F32, U8
from lbpmap._blob import InputSpec, filler, refuse_released_256
from lbpmap._decode import printable, read
from lbpmap._files import PathLike
from lbpmap.representations import AnyRepresentation, resolve

A = TypeVar("A")
B = TypeVar("B")

# Jobs that may wait for their turn, for each thread: enough that a large picture holds up nobody.
_AHEAD = 3
# Pictures to a job of `blobs`: to be woken costs a thread as much as to map a face.
_JOB = 8


@dataclass(frozen=True)
class Unread:
    """What stands in the place of a picture that could not be read."""

    path: PathLike
    error: Exception  # its message names the file


@dataclass(frozen=True)
class Batch:
    """The crops of some pictures, as a net takes them."""

    blob: F32  # (len(paths) * crops, 3, crop, crop)
    paths: list[PathLike]  # of the pictures in `blob`
    failed: list[Unread]  # the others


@dataclass(frozen=True)
class NetInput:
    """What a net takes of a picture: as the arguments of `lbpmap.caffe_blob`."""

    representation: AnyRepresentation
    mean: Any
    size: int = 256
    crop: int = 224
    crops: int = 1
    mean_mode: str = "resize"


@dataclass(frozen=True)
class Views:
    """The crops of some pictures, as each of several nets takes them."""

    blobs: list[F32]  # one an input, each as in `Batch`
    paths: list[PathLike]  # of the pictures in every blob
    failed: list[Unread]  # the others


def read_all(
    paths: Iterable[PathLike], *, errors: str = "raise", threads: int = 1
) -> Iterator[U8 | Unread]:
    """Read pictures in order, ahead of their use.

    Parameters
    ----------
    paths : iterable of str or path
        Taken as they are needed, so it may be endless.
    errors : {"raise", "keep"}
        A file that cannot be read raises where its picture would come, and ends the rest; or an
        `Unread` comes in its place.
    threads : int, default 1
        Threads that decode, each up to three pictures ahead; 1 decodes here, when asked.

    Yields
    ------
    uint8 array (H, W, 3), or Unread
        As `read` gives it.

    Raises
    ------
    TypeError, ValueError, OSError
        When an argument is not as described; for a file as `read` does, in its place.

    Examples
    --------
    >>> import os, tempfile
    >>> from lbpmap.pictures import write_png
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     name = os.path.join(folder, "a.png")
    ...     write_png(name, np.zeros((2, 3), np.uint8))
    ...     for got in read_all([name, os.path.join(folder, "b.png")], errors="keep", threads=2):
    ...         print(got.shape if isinstance(got, np.ndarray) else type(got.error).__name__)
    (2, 3, 3)
    FileNotFoundError
    """
    attempt = _attempt(errors, "read_all")
    threads = _checks.positive(threads, "threads", "read_all")
    return ahead(lambda path: attempt(read, path), paths, threads)


def blobs(
    paths: Iterable[PathLike],
    representation: AnyRepresentation,
    *,
    mean: Any,
    batch: int = 32,
    size: int = 256,
    crop: int = 224,
    crops: int = 1,
    mean_mode: str = "resize",
    errors: str = "raise",
    threads: int = 1,
) -> Iterator[Batch]:
    """Read pictures in order and turn them into input blobs, a batch at a time.

    Parameters
    ----------
    paths : iterable of str or path
        Taken as they are needed, so it may be endless.
    representation, mean, size, crop, crops, mean_mode
        As for `lbpmap.caffe_blob`.
    batch : int, default 32
        Pictures a batch; the last may have fewer.
    errors : {"raise", "keep"}
        A file that cannot be read, or a picture too small, raises in place of its batch, and ends
        the rest; or it is listed in `Batch.failed`, and the batch holds the others.
    threads : int, default 1
        Threads that read and map, ahead of the batch that is in use; 1 does it here, when asked.

    Yields
    ------
    Batch
        With a `blob` of its own.

    Raises
    ------
    TypeError, ValueError, OSError
        When an argument is not as described; for a file as `read` and `lbpmap.caffe_blob` do.

    Examples
    --------
    >>> import os, tempfile
    >>> from lbpmap.pictures import write_png
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     name = os.path.join(folder, "face.png")
    ...     write_png(name, np.zeros((30, 30), np.uint8))
    ...     for group in blobs([name] * 5, "lbp", mean=(104, 117, 123), batch=3, threads=2):
    ...         print(group.blob.shape, len(group.paths))
    (3, 3, 224, 224) 3
    (2, 3, 224, 224) 2
    """
    wanted = NetInput(representation, mean, size, crop, crops, mean_mode)
    views = _views(paths, [wanted], batch, errors, threads, "blobs")
    return (Batch(view.blobs[0], view.paths, view.failed) for view in views)


def views(
    paths: Iterable[PathLike],
    inputs: Sequence[NetInput],
    *,
    batch: int = 32,
    errors: str = "raise",
    threads: int = 1,
) -> Iterator[Views]:
    """Read pictures in order, each once, and turn them into the input blobs of several nets.

    Parameters
    ----------
    paths, batch, errors, threads
        As for `blobs`. A picture that one of the inputs cannot be made of is in none of the blobs.
    inputs : sequence of NetInput
        What the nets take.

    Yields
    ------
    Views
        With blobs of its own, in the order of `inputs`.

    Raises
    ------
    TypeError, ValueError, OSError
        As `blobs`.
    """
    return _views(paths, inputs, batch, errors, threads, "views")


def _views(
    paths: Iterable[PathLike],
    inputs: Sequence[NetInput],
    batch: int,
    errors: str,
    threads: int,
    name: str,
) -> Iterator[Views]:
    batch = _checks.positive(batch, "batch", name)
    threads = _checks.positive(threads, "threads", name)
    attempt = _attempt(errors, name)
    specs, fills = [], []
    for wanted in inputs:
        spec = InputSpec.checked(
            wanted.mean, wanted.size, wanted.crop, wanted.crops, wanted.mean_mode, name
        )
        refuse_released_256(wanted.representation, spec.crop, name)
        specs.append(spec)
        fills.append(filler(resolve(wanted.representation), spec, name))

    def put(path: PathLike, slots: list[F32]) -> list[F32]:
        picture = read(path)
        try:
            for fill, slot in zip(fills, slots):
                fill(picture, slot, "the picture")
        except ValueError as error:
            raise ValueError(f"{printable(path)}: {error}") from error
        return slots

    def some(job: tuple[Views, range]) -> tuple[Views, list[list[F32] | Unread]]:
        group, numbers = job
        outcomes = []
        for k in numbers:
            slots = [
                blob[k * spec.crops : (k + 1) * spec.crops]
                for spec, blob in zip(specs, group.blobs)
            ]
            outcomes.append(attempt(put, group.paths[k], slots))
        return group, outcomes

    def jobs() -> Iterator[tuple[Views, range]]:
        for taken in _grouped(paths, batch):
            blobs = [
                np.empty((len(taken) * spec.crops, 3, spec.crop, spec.crop), np.float32)
                for spec in specs
            ]
            group = Views(blobs, taken, [])
            for first in range(0, len(taken), _JOB):
                yield group, range(len(taken))[first : first + _JOB]

    def batches() -> Iterator[Views]:
        done: list[list[F32] | Unread] = []
        for group, outcomes in ahead(some, jobs(), threads):
            done += outcomes
            if len(done) == len(group.paths):
                yield _without_failed(group, done)
                done = []

    return batches()


def _without_failed(group: Views, outcomes: list[list[F32] | Unread]) -> Views:
    """Close up a batch behind the pictures that failed."""
    failed = [outcome for outcome in outcomes if isinstance(outcome, Unread)]
    if not failed:
        return group
    good = [k for k, outcome in enumerate(outcomes) if not isinstance(outcome, Unread)]

    def closed_up(blob: F32) -> F32:
        crops = len(blob) // len(outcomes)
        by_picture = blob.reshape(len(outcomes), crops, *blob.shape[1:])
        return by_picture[good].reshape(-1, *blob.shape[1:])

    paths = [group.paths[k] for k in good]
    return Views([closed_up(blob) for blob in group.blobs], paths, failed)


def _attempt(errors: str, function: str) -> Callable[..., Any]:
    """Give what calls `work(path, ...)`, as `errors` says."""
    _checks.one_of(errors, ("raise", "keep"), "errors", function)
    return _kept if errors == "keep" else _raised


def _raised(work: Callable[..., A], path: PathLike, *more: Any) -> A:
    return work(path, *more)


def _kept(work: Callable[..., A], path: PathLike, *more: Any) -> A | Unread:
    try:
        return work(path, *more)
    except (ValueError, OSError, MemoryError) as error:
        return Unread(path, error)


def _grouped(items: Iterable[A], length: int) -> Iterator[list[A]]:
    left = iter(items)
    while group := list(islice(left, length)):
        yield group


def ahead(
    work: Callable[[A], B], items: Iterable[A], threads: int, *, waiting: int | None = None
) -> Iterator[B]:
    """Do `work` on items in order, some of them ahead; what it raises comes in its place.

    At most `waiting` results, or jobs for them, are kept: by default three a thread. With one
    thread the work is done here, when asked.
    """
    if threads == 1:
        yield from map(work, items)
        return
    most = _AHEAD * threads if waiting is None else waiting
    begun: deque[Future[B]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                begun.append(pool.submit(work, item))
                if len(begun) > most:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:  # also where the caller stops early: what has not begun is not begun
            for job in begun:
                job.cancel()
