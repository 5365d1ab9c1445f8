"""An ensemble in a file: which nets, how they are combined, and what that was chosen by.

    format = 1
    method = "weighted"
    labels = ["Angry", "Disgust", ...]

    [[nets]]                    # in this order
    name = "VGG_S_rgb"
    folder = "nets/VGG_S_rgb"   # below the file's folder, or absolute
    weights_bytes = 498032193
    weights_sha256 = "..."
    weight = 0.25               # "stacked" has the two arrays below instead

    [stacked]
    intercepts = [...]          # of every label
    coefficients = [[...], ...] # of every label: of the log-probabilities of the first net, ...

    [fitted]
    data = "faces.csv"
    part = "validation"
    pictures = 436
    crops = 1
    uniform = {log_loss = 1.40, accuracy = 0.50}
    chosen = {log_loss = 1.36, accuracy = 0.52}

Nothing in such a file is trusted.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np

from lbpmap import _toml
from lbpmap._arrays import F64
from lbpmap._files import PathLike, sha256
from lbpmap.emotion.fusion import METHODS, Fusion
from lbpmap.emotion.registry import NetFiles, require_weights
from lbpmap.emotion.selection import net_at

_FORMAT = 1
_MAX_BYTES = 1 << 24
_MAX_NETS = 1000
_MAX_NUMBER = 1e6  # of coefficients and log losses, which are far below it


@dataclass(frozen=True)
class Member:
    """A net of an ensemble: its folder, and what its weights were when it was weighed."""

    name: str
    folder: Path
    weights_bytes: int
    weights_sha256: str


@dataclass(frozen=True)
class Figures:
    """How good an ensemble is on the pictures by which it was chosen."""

    log_loss: float
    accuracy: float


@dataclass(frozen=True)
class Fitted:
    """What an ensemble was chosen by: data, part, pictures, crops; equal weights beside it."""

    data: str
    part: str
    pictures: int
    crops: int
    uniform: Figures
    chosen: Figures


@dataclass(frozen=True)
class Ensemble:
    """What an ensemble's file holds; `members` and `fusion.names` go together."""

    fusion: Fusion
    members: tuple[Member, ...]
    fitted: Fitted


def member(files: NetFiles) -> Member:
    """Describe a net for an ensemble's file; its weights are read to sum them up.

    Parameters
    ----------
    files : NetFiles

    Returns
    -------
    Member

    Raises
    ------
    OSError, ValueError
        When its weights are not there or incomplete.
    """
    weights, _ = require_weights(files)
    return Member(files.name, weights.parent, weights.stat().st_size, sha256(weights))


def save(ensemble: Ensemble, path: PathLike) -> None:
    """Write an ensemble's file, whole or not at all.

    Parameters
    ----------
    ensemble : Ensemble
    path : str or path
        Folders below its own are written relative to it, so that all may move together.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    fusion, root = ensemble.fusion, Path(os.path.abspath(path)).parent
    nets = []
    for k, net in enumerate(ensemble.members):
        fields: dict[str, Any] = {
            "name": net.name,
            "folder": _relative(net.folder, root),
            "weights_bytes": net.weights_bytes,
            "weights_sha256": net.weights_sha256,
        }
        if fusion.weights is not None:
            fields["weight"] = float(fusion.weights[k])
        nets.append(fields)
    content: dict[str, Any] = {
        "format": _FORMAT,
        "method": fusion.method,
        "labels": list(fusion.labels),
        "nets": nets,
    }
    if fusion.coefficients is not None and fusion.intercepts is not None:
        content["stacked"] = {
            "intercepts": fusion.intercepts.tolist(),
            "coefficients": fusion.coefficients.tolist(),
        }
    fitted = ensemble.fitted
    content["fitted"] = {
        **{key: getattr(fitted, key) for key in ("data", "part", "pictures", "crops")},
        "uniform": vars(fitted.uniform),
        "chosen": vars(fitted.chosen),
    }
    _toml.write(path, content)


def load(path: PathLike) -> Ensemble:
    """Read an ensemble's file.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Ensemble
        Its folders are absolute. Its nets are not looked at: see `find_members`.

    Raises
    ------
    OSError, ValueError
        When it cannot be read, or a field is not as described.
    """
    expected = "the file of an ensemble ('lbpmap ensemble fit' writes it)"
    top = _Table(path, "", _toml.read(path, _MAX_BYTES, expected))
    if top.whole("format", 1) != _FORMAT:
        top.refuse("format", f"{_FORMAT}, for this version of lbpmap")
    method = top.text("method")
    if method not in METHODS:
        top.refuse("method", f"one of {', '.join(METHODS)}")
    labels = top.texts("labels")
    nets = top.tables("nets")
    members = [_member(net, Path(os.path.abspath(path)).parent) for net in nets]
    names = tuple(net.name for net in members)
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: nets must have names that differ, got {', '.join(names)}")
    fusion = Fusion(method, names, labels)
    if method == "stacked":
        stacked = top.table("stacked")
        fusion = replace(
            fusion,
            intercepts=stacked.numbers("intercepts", (len(labels),)),
            coefficients=stacked.numbers("coefficients", (len(labels), len(names) * len(labels))),
        )
    else:
        weights = np.array([net.number("weight", 0, 1) for net in nets])
        if abs(weights.sum() - 1) > 1e-6:
            raise ValueError(f"{path}: nets.weight must sum to 1, got {weights.sum():g}")
        fusion = replace(fusion, weights=weights / weights.sum())
    return Ensemble(fusion, tuple(members), _fitted(top.table("fitted")))


def find_members(ensemble: Ensemble, path: PathLike) -> list[NetFiles]:
    """Find the nets of an ensemble.

    Parameters
    ----------
    ensemble : Ensemble
    path : str or path
        Its file, for errors.

    Returns
    -------
    list of NetFiles
        By the names that the ensemble gives them.

    Raises
    ------
    OSError
        When nets are missing; all are named.
    ValueError
        When a net has other weights than when it was weighed, or other labels.
    """
    away = [net for net in ensemble.members if not net.folder.is_dir()]
    if away:
        missing = ", ".join(f"{net.name} ({net.folder})" for net in away)
        raise FileNotFoundError(
            f"{path}: no net at {missing}: put it there, or fit the ensemble anew"
        )
    found = []
    for net in ensemble.members:
        files = net_at(net.folder)
        weights, _ = require_weights(files)
        if weights.stat().st_size != net.weights_bytes or sha256(weights) != net.weights_sha256:
            raise ValueError(
                f"{weights}: not the weights that {path} was fitted for: fit the ensemble anew"
            )
        if set(files.labels) != set(ensemble.fusion.labels):
            raise ValueError(
                f"{path}: its labels are {', '.join(ensemble.fusion.labels)}, but those of "
                f"{net.name} are {', '.join(files.labels)}"
            )
        found.append(replace(files, name=net.name))
    return found


def _relative(folder: Path, root: Path) -> str:
    try:
        return folder.relative_to(root).as_posix()
    except ValueError:
        return str(folder)


def _member(net: _Table, root: Path) -> Member:
    folder = net.text("folder")
    if not Path(folder).is_absolute() and ".." in PurePosixPath(folder).parts:
        net.refuse("folder", "an absolute path, or one below the file's folder")
    digest = net.text("weights_sha256")
    if not re.fullmatch("[0-9a-f]{64}", digest):
        net.refuse("weights_sha256", "64 hexadecimal digits")
    return Member(net.text("name"), root / folder, net.whole("weights_bytes", 1), digest)


def _fitted(table: _Table) -> Fitted:
    def figures(name: str) -> Figures:
        inner = table.table(name)
        return Figures(inner.number("log_loss", 0, _MAX_NUMBER), inner.number("accuracy", 0, 1))

    if table.whole("crops", 1) not in (1, 10):
        table.refuse("crops", "1 or 10")
    return Fitted(
        data=table.text("data"),
        part=table.text("part"),
        pictures=table.whole("pictures", 1),
        crops=table.whole("crops", 1),
        uniform=figures("uniform"),
        chosen=figures("chosen"),
    )


class _Table:
    """A table of a TOML file, whose fields are checked as they are read."""

    def __init__(self, path: PathLike, name: str, fields: dict[str, Any]) -> None:
        self._path, self._name, self._fields = path, name, fields

    def refuse(self, key: str, wanted: str) -> NoReturn:
        """Say which field is wrong, and what it must be."""
        value = self._fields.get(key)
        got = "nothing" if value is None else repr(value)
        raise ValueError(
            f"{self._path}: field {self._name}{key} must be {wanted}, got "
            f"{got if len(got) < 80 else got[:80] + '...'}"
        )

    def text(self, key: str) -> str:
        """Give a field that is a line of text."""
        value = self._fields.get(key)
        if not isinstance(value, str) or not value or not value.isprintable():
            self.refuse(key, "a line of text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Give a list of two or more names that differ."""
        value = self._fields.get(key)
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            self.refuse(key, "a list of names")
        if not len(set(value)) == len(value) >= 2:
            self.refuse(key, "two or more names that differ")
        return tuple(value)

    def whole(self, key: str, least: int) -> int:
        """Give a whole number."""
        value = self._fields.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            self.refuse(key, f"a whole number of at least {least}")
        return value

    def number(self, key: str, least: float, most: float) -> float:
        """Give a finite number."""
        value: Any = self._fields.get(key)
        if not _finite(value) or not least <= value <= most:
            self.refuse(key, f"a number from {least:g} to {most:g}")
        return float(value)

    def numbers(self, key: str, shape: tuple[int, ...]) -> F64:
        """Give a list of numbers, or a list of such lists."""
        value: Any = self._fields.get(key)
        rows = [value] if len(shape) == 1 else value
        long = 1 if len(shape) == 1 else shape[0]
        right = isinstance(rows, list) and len(rows) == long
        if not right or not all(_row(row, shape[-1]) for row in rows):
            self.refuse(key, f"{' x '.join(map(str, shape))} finite numbers")
        return np.array(rows, np.float64).reshape(shape)

    def table(self, key: str) -> _Table:
        """Give a table inside this one."""
        value = self._fields.get(key)
        if not isinstance(value, dict):
            self.refuse(key, "a table")
        return _Table(self._path, f"{self._name}{key}.", value)

    def tables(self, key: str) -> list[_Table]:
        """Give a list of tables."""
        value = self._fields.get(key)
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            self.refuse(key, "a list of tables")
        if not 1 <= len(value) <= _MAX_NETS:
            self.refuse(key, f"1 to {_MAX_NETS} tables")
        return [_Table(self._path, f"{key}[{k}].", v) for k, v in enumerate(value)]


def _finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= _MAX_NUMBER


def _row(row: object, length: int) -> bool:
    return isinstance(row, list) and len(row) == length and all(map(_finite, row))
