"""Nets over a data set: every picture read once, shown to all nets, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lbpmap import _checks
from lbpmap._arrays import F32, I64
from lbpmap._loader import NetInput, Unread, views
from lbpmap.emotion.dataset import PARTS, TEST, VALIDATION, Dataset, Sample
from lbpmap.emotion.ensemble import LoadedNet, columns, common_labels, probabilities

EVERYTHING = "all"

# Crops that a net is shown at a time: enough for its matrices, and some 200 MB of a VGG_S.
_CROPS = 32


@dataclass(frozen=True)
class Answers:
    """What nets say of the pictures of a data set.

    Attributes
    ----------
    labels : tuple of str
        The first net's, in its order.
    samples : tuple of Sample
        The pictures that were read, in the order of the data.
    truth : int64 array (N,)
        Numbers of their labels, among `labels`.
    by_net : dict of float32 arrays (N, labels)
        Probabilities, by the nets' names.
    failed : tuple of Unread
        The pictures that could not be read, or are too small for one of the nets.
    """

    labels: tuple[str, ...]
    samples: tuple[Sample, ...]
    truth: I64
    by_net: dict[str, F32]
    failed: tuple[Unread, ...]

    @property
    def groups(self) -> list[str | None]:
        """Whose picture each is."""
        return [sample.group for sample in self.samples]


def part_to_score(dataset: Dataset, part: str | None = None) -> str:
    """Say which part of a data set tells most of nets.

    Parameters
    ----------
    dataset : Dataset
    part : {"test", "validation", "train", "all"}, optional
        The part wanted. By default that which nets have seen least of: "test", else "validation",
        else all.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        When the data have no such part.
    """
    there = {sample.part for sample in dataset.samples}
    if part is None:
        return next((name for name in (TEST, VALIDATION) if name in there), EVERYTHING)
    _checks.one_of(part, (*PARTS, EVERYTHING), "part", "evaluate")
    if part != EVERYTHING and part not in there:
        has = ", ".join(name for name in PARTS if name in there) or "no parts"
        raise ValueError(f"{dataset.source}: no {part} part; it has {has}")
    return part


def samples_of(dataset: Dataset, part: str) -> tuple[Sample, ...]:
    """Give the samples of a part, or all."""
    return dataset.samples if part == EVERYTHING else dataset.part(part)


def default_batch(crops: int) -> int:
    """Give the number of pictures that are shown to a net at once."""
    return max(1, _CROPS // crops)


def match_labels(dataset: Dataset, labels: Sequence[str]) -> I64:
    """Find the labels of a data set among those of nets, by name.

    Parameters
    ----------
    dataset : Dataset
        It may have fewer labels than nets, in any order.
    labels : sequence of str
        Of the nets.

    Returns
    -------
    int64 array (labels of the data set,)
        Number of each among `labels`.

    Raises
    ------
    ValueError
        When nets do not know one of them.
    """
    unknown = [label for label in dataset.labels if label not in labels]
    if unknown:
        raise ValueError(
            f"{dataset.source}: label {', '.join(map(repr, unknown))} is none of the nets': "
            f"{', '.join(labels)}"
        )
    numbers: I64 = np.array([list(labels).index(label) for label in dataset.labels], np.int64)
    return numbers


def ask(
    nets: Sequence[LoadedNet],
    dataset: Dataset,
    samples: Sequence[Sample] | None = None,
    *,
    crops: int = 1,
    batch: int | None = None,
    threads: int = 1,
    progress: Callable[[int], object] | None = None,
) -> Answers:
    """Show the pictures of a data set to nets.

    Every picture is read once; it is mapped once for all nets that take the same input. Memory
    does not grow with the number of pictures, but for the answers.

    Parameters
    ----------
    nets : sequence of LoadedNet
        At least one, with names that differ, and with the same labels in any order.
    dataset : Dataset
        Its labels are found among the nets' by name.
    samples : sequence of Sample, optional
        Those of `dataset` to show; by default all.
    crops : {1, 10}
        The centre, or ten crops a picture whose answers are averaged.
    batch : int, optional
        Pictures that a net is shown at once; by default 32, or 3 with ten crops.
    threads : int, default 1
        Threads that read and map, ahead of the nets.
    progress : callable, optional
        Called after every batch with its number of pictures.

    Returns
    -------
    Answers

    Raises
    ------
    ValueError
        When an argument is not as described, labels do not fit, or a net answers with what is no
        probability. A picture that cannot be read raises nothing; it is listed.
    """
    labels = common_labels([loaded.files for loaded in nets])
    names = [loaded.files.name for loaded in nets]
    if len(set(names)) < len(names):
        raise ValueError(f"ask: names of nets must differ, got {', '.join(names)}")
    _checks.one_of(crops, (1, 10), "crops", "ask")
    number = match_labels(dataset, labels)
    shown = dataset.samples if samples is None else tuple(samples)
    inputs, which = _inputs(nets, crops)
    pages: list[list[F32]] = [[] for _ in nets]
    failed: list[Unread] = []
    for group in views(
        [sample.path for sample in shown],
        inputs,
        batch=default_batch(crops) if batch is None else batch,
        errors="keep",
        threads=threads,
    ):
        for loaded, page, k in zip(nets, pages, which if group.paths else ()):
            said = probabilities(loaded, group.blobs[k])
            by_picture = said.reshape(len(group.paths), crops, -1).mean(axis=1)
            page.append(by_picture[:, columns(loaded.files, labels)])
        failed += group.failed
        if progress:
            progress(len(group.paths) + len(group.failed))
    unread = {Path(item.path) for item in failed}
    read = tuple(sample for sample in shown if sample.path not in unread)
    nothing = np.empty((0, len(labels)), np.float32)
    return Answers(
        labels=labels,
        samples=read,
        truth=number[[sample.label for sample in read]] if read else number[:0],
        by_net={name: np.concatenate([nothing, *page]) for name, page in zip(names, pages)},
        failed=tuple(failed),
    )


def _inputs(nets: Sequence[LoadedNet], crops: int) -> tuple[list[NetInput], list[int]]:
    """Give the inputs that nets take, each once, and of every net which is its."""
    numbers: dict[object, int] = {}
    inputs: list[NetInput] = []
    which = []
    for loaded in nets:
        files = loaded.files
        key = (
            *(files.representation, files.size, files.crop),
            *(loaded.mean.shape, loaded.mean.tobytes()),
        )
        if key not in numbers:
            numbers[key] = len(inputs)
            inputs.append(
                NetInput(files.representation, loaded.mean, files.size, files.crop, crops, "crop")
            )
        which.append(numbers[key])
    return inputs, which
