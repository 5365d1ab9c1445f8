"""From a data set and a net to the folder of a run: everything that learning needs, checked."""

from __future__ import annotations

import math
import os
import platform
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import lbpmap
from lbpmap import _toml, caffe
from lbpmap._arrays import F32
from lbpmap._blob import InputSpec
from lbpmap._files import PathLike, atomic_write, regular_size, sha256
from lbpmap._loader import Unread
from lbpmap.caffe import engine
from lbpmap.caffe.formats import prototxt
from lbpmap.caffe.formats.weights import read_blob
from lbpmap.caffe.located import located
from lbpmap.emotion import feed, runs, surgery
from lbpmap.emotion.dataset import (
    TRAIN,
    VALIDATION,
    Dataset,
    read_dataset,
    split,
    write_dataset,
)
from lbpmap.emotion.ensemble import refuse_python_layers
from lbpmap.emotion.run_solver import run_solver
from lbpmap.emotion.runs import Settings
from lbpmap.emotion.sources import Source
from lbpmap.representations import REPRESENTATIONS, resolve

_BATCH = 30  # of the released nets' training


@dataclass(frozen=True)
class Options:
    """What the user may want otherwise; None leaves it to the net, its solver or the data.

    Attributes
    ----------
    representation : str, optional
        What pictures are turned into.
    weights : str or path, optional
        Where to start from; `scratch` for none at all.
    scratch : bool
    validation : float
        Share of the pictures to validate on, where the data name none.
    group_by : str, optional
        As for `lbpmap.emotion.dataset.read_dataset`.
    mean : str or path
        "train" computes it from the training pictures, "pretrained" takes the net's own; or a
        binaryproto.
    mirror : bool
    seed : int
    batch, iter_size, epochs, max_iter : int, optional
    solver_text : str
        Fields that replace the solver's, such as ``base_lr: 0.01 lr_policy: "fixed"``.
    last_layer : {"auto", "new", "keep"}
        "auto" keeps the last layer where the net's labels are those of the data.
    frozen : collection of str
        Layers that do not learn.
    rates : mapping
        Factors for layers' learning-rate multipliers.
    validate_every, snapshot_every : int, optional
        Iterations; by default an epoch, and as often as it validates.
    keep, patience : int
        Snapshots to keep; validations without a better one before it stops, 0 for never.
    device : str
    mixed_precision : bool
    threads : int
        That survey the pictures.
    allow_python_layers : bool
        Whether the net's text may name Python modules, which are imported and run.
    """

    representation: str | None = None
    weights: PathLike | None = None
    scratch: bool = False
    validation: float = 0.2
    group_by: str | None = None
    mean: PathLike = "train"
    mirror: bool = True
    seed: int = 0
    batch: int | None = None
    iter_size: int | None = None
    epochs: int | None = None
    max_iter: int | None = None
    solver_text: str = ""
    last_layer: str = "auto"
    frozen: Collection[str] = ()
    rates: Mapping[str, float] | None = None
    validate_every: int | None = None
    snapshot_every: int | None = None
    keep: int = 2
    patience: int = 10
    device: str = "cpu"
    mixed_precision: bool = False
    threads: int = 2
    allow_python_layers: bool = False


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to learn.

    Attributes
    ----------
    folder : Path
    weights : Path or None
        Where it starts from.
    dataset : Dataset
        What it learns from, and is validated on.
    unread : list of Unread
        Pictures that cannot be read, and are left out.
    alone : dict of str to int
        Labels with no picture in the validation part, and how many they have.
    anew : list of str
        Layers that the weights do not fill.
    """

    folder: Path
    weights: Path | None
    dataset: Dataset
    unread: list[Unread]
    alone: dict[str, int]
    anew: list[str]


def prepare_run(
    folder: PathLike,
    data: PathLike,
    source: Source,
    options: Options | None = None,
) -> Prepared:
    """Make the folder of a run: texts, mean, pictures and settings.

    Every picture is read once: those that cannot be are left out and told of, and the mean is
    computed from those to learn from.

    Parameters
    ----------
    folder : str or path
        Must not exist, or be empty.
    data : str or path
        As for `lbpmap.emotion.dataset.read_dataset`.
    source : Source
        From `find_source`.
    options : Options, optional

    Returns
    -------
    Prepared

    Raises
    ------
    OSError, ValueError
        When a file cannot be read or written, or something does not fit; nothing is left then.
    """
    o = options or Options()
    runs.check_new(folder)
    representation = o.representation or source.representation
    if representation is None:
        raise ValueError(
            f"{source.name}: no representation is given; choose one of {', '.join(REPRESENTATIONS)}"
        )
    shown = resolve(representation)
    weights = _weights(source, o)
    solver = run_solver(source.solver, o.solver_text, seed=o.seed, iter_size=o.iter_size)
    if not o.allow_python_layers:
        refuse_python_layers(source.train_val)
    text = prototxt.read_net(source.train_val)
    dataset = read_dataset(data, labels=source.labels, group_by=o.group_by)
    dataset = split(dataset, validation=o.validation, seed=o.seed)
    used = [s for s in dataset.samples if s.part in (TRAIN, VALIDATION)]
    batch = o.batch or surgery.batch_of(text, _BATCH)
    fresh = _is_fresh(source, dataset, weights, o)
    with located(str(source.train_val)):
        net = surgery.prepare(
            text,
            labels=len(dataset.labels),
            crop=source.crop,
            batch=batch,
            fresh=fresh,
            frozen=o.frozen,
            rates=o.rates,
        )
    # Last of all that may be refused: it reads every picture.
    dataset, mean, unread = _survey(
        replace(dataset, samples=tuple(used)), representation, source, o
    )
    train = dataset.part(TRAIN)
    per_epoch = math.ceil(len(train) / (batch * solver.iter_size))
    limits = [most for most in (o.max_iter, o.epochs and o.epochs * per_epoch) if most]
    max_iter = min(limits) if limits else solver.max_iter
    if max_iter < 1:
        raise ValueError(f"{source.solver}: max_iter is missing; give it, or a number of epochs")
    validate_every = o.validate_every or per_epoch
    named = representation in REPRESENTATIONS
    settings = Settings(
        representation=representation if named else "representation.table",
        size=source.size,
        crop=source.crop,
        mirror=o.mirror,
        seed=o.seed,
        batch=batch,
        iter_size=solver.iter_size,
        max_iter=max_iter,
        validate_every=validate_every,
        snapshot_every=o.snapshot_every or validate_every,
        keep=o.keep,
        patience=o.patience,
        scores=net.scores,
        device=o.device,
        mixed_precision=o.mixed_precision,
    )

    anew: list[str] = []

    def write(place: Path) -> None:
        runs.write_message(place / "train_val.prototxt", net.train_val)
        if weights is not None:
            anew.extend(_unfilled(place / "train_val.prototxt", weights))
        runs.write_message(place / "deploy.prototxt", net.deploy)
        runs.write_message(place / "solver.prototxt", solver)
        with atomic_write(place / "mean.binaryproto") as file:
            file.write(caffe.io.array_to_blobproto(mean[None]).SerializeToString())
        with atomic_write(place / "labels.txt") as file:
            file.write("".join(f"{label}\n" for label in dataset.labels).encode())
        write_dataset(dataset, place / "data.csv")
        if not named:
            assert shown.table is not None
            shutil.copyfile(representation, place / settings.representation)
        described = _description(Path(folder).name, source, settings, dataset)
        _toml.write(place / "model.toml", described)

    runs.create(folder, settings, _record(data, source, weights, dataset, o, net.heads), write)
    counts = dataset.counts(dataset.part(VALIDATION))
    alone = {la: n for la, n in dataset.counts().items() if not counts[la]}
    return Prepared(Path(folder), weights, dataset, unread, alone, anew)


def _weights(source: Source, o: Options) -> Path | None:
    if o.scratch:
        if o.weights is not None:
            raise ValueError("weights are given, and scratch too; choose one")
        return None
    weights = source.weights if o.weights is None else Path(o.weights)
    if weights is None:
        raise FileNotFoundError(
            f"{source.name}: no weights to start from; give a file of them, or start from scratch"
        )
    regular_size(weights, "a caffemodel to start from")
    return weights


def _unfilled(train_val: Path, weights: Path) -> list[str]:
    """Name the layers that weights do not fill; refuse weights that fill none, or do not fit."""
    net = caffe.Net(train_val, caffe.TRAIN, engine="numpy")
    net.copy_from(weights)
    unfilled = net.unfilled_layers()
    if len(unfilled) == len(net.params):
        raise ValueError(
            f"{weights}: has none of the layers {', '.join(net.params)}: it is of another net"
        )
    return unfilled


def _is_fresh(source: Source, dataset: Dataset, weights: Path | None, o: Options) -> bool:
    """Whether the last layers begin anew."""
    if o.last_layer not in ("auto", "new", "keep"):
        raise ValueError(f"last_layer must be auto, new or keep, got {o.last_layer!r}")
    same = source.labels == dataset.labels
    if o.last_layer == "keep" and not same:
        raise ValueError(
            f"{dataset.source}: its labels are {', '.join(dataset.labels)}; the last layer of "
            f"{source.name} knows {', '.join(source.labels) or 'none'} and cannot be kept"
        )
    return weights is not None and (o.last_layer == "new" or not same)


def _survey(
    dataset: Dataset, representation: str, source: Source, o: Options
) -> tuple[Dataset, F32, list[Unread]]:
    """Read every picture; leave out what cannot be read; give the mean to subtract."""
    train, validation = dataset.part(TRAIN), dataset.part(VALIDATION)
    mean, unread = feed.survey(train, representation, source.size, threads=o.threads)
    unread += feed.survey(validation, representation, source.size, threads=o.threads)[1]
    bad = {str(item.path) for item in unread}
    kept = tuple(s for s in dataset.samples if str(s.path) not in bad)
    left = replace(dataset, samples=kept)
    for part in (TRAIN, VALIDATION):
        if not left.part(part):
            raise ValueError(
                f"{dataset.source}: none of the {len(dataset.part(part))} pictures of the {part} "
                f"part can be read: {unread[0].error}"
            )
    gone = [label for label, n in left.counts(left.part(TRAIN)).items() if not n]
    if gone:
        raise ValueError(f"{dataset.source}: no picture to learn from for {', '.join(gone)}")
    return left, _mean(mean, source, o), unread


def _mean(computed: F32, source: Source, o: Options) -> F32:
    if o.mean == "train":
        return computed
    path = source.mean if o.mean == "pretrained" else Path(o.mean)
    if path is None:
        raise FileNotFoundError(f"{source.name}: has no mean of its own; use the mean of train")
    mean = read_blob(path)
    mean = mean.reshape(mean.shape[-3:]) if mean.ndim == 4 and len(mean) == 1 else mean
    with located(str(path)):
        if mean.ndim != 3:
            raise ValueError(f"expected a mean of 3 x H x W, got shape {mean.shape}")
        InputSpec.checked(mean, source.size, source.crop, 1, "crop", "mean")
    return np.ascontiguousarray(mean)


def _description(name: str, source: Source, settings: Settings, dataset: Dataset) -> dict[str, Any]:
    return {
        "name": name,
        "architecture": source.architecture,
        "representation": settings.representation,
        "labels": list(dataset.labels),
        "input": {"size": settings.size, "crop": settings.crop, "mean_mode": "crop"},
        "files": {
            "deploy": "deploy.prototxt",
            "weights": "best.caffemodel",
            "mean": "mean.binaryproto",
        },
    }


def _record(
    data: PathLike,
    source: Source,
    weights: Path | None,
    dataset: Dataset,
    o: Options,
    heads: tuple[str, ...],
) -> dict[str, Any]:
    """Say where all of it came from."""
    return {
        "data": {
            "source": os.path.abspath(data),
            "group_by": o.group_by,
            "validation_share": o.validation,
            **{part: dataset.counts(dataset.part(part)) for part in (TRAIN, VALIDATION)},
        },
        "net": {
            "source": source.name,
            "train_val": os.path.abspath(source.train_val),
            "solver": os.path.abspath(source.solver),
            "solver_text": o.solver_text or None,
            "weights": weights and os.path.abspath(weights),
            "weights_sha256": weights and sha256(weights),
            "mean": os.fspath(o.mean),
            "last_layers": list(heads),
            "frozen": list(o.frozen),
            "rates": dict(o.rates or {}),
        },
        "made_with": {
            "lbpmap": lbpmap.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": metadata.version("torch") if engine.has_torch() else None,
            "engine": engine.resolve(None),
            "machine": f"{platform.machine()} {platform.system()}",
            "isa": lbpmap.build_info()["chosen"],
        },
    }
