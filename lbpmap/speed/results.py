"""The machine that was measured, and its rows, in a JSON file."""

from __future__ import annotations

import importlib
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from lbpmap._files import PathLike, atomic_write, read_bytes
from lbpmap.speed import peers
from lbpmap.speed.measure import Row
from lbpmap.transform import build_info

# A row takes 400 bytes.
_MOST_BYTES = 1 << 22
_EXPECTED = "results of 'lbpmap bench --json'"


@dataclass(frozen=True)
class Machine:
    """Where and with what the rows were measured."""

    date: str  # of the measurement, UTC
    processor: str
    cores: int
    system: str
    compiler: str
    versions: dict[str, str]  # lbpmap, Python, NumPy and the peers'


def this_machine() -> Machine:
    """Describe the machine that this runs on."""
    info = build_info()
    versions = {
        "lbpmap": str(info["version"]),
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "Pillow": _version("PIL"),
    }
    for library, module in peers.PACKAGES.items():
        if peers.has(library):
            versions[library] = _version(module)
    return Machine(
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        compiler=str(info["compiler"]),
        versions=versions,
    )


def _version(module: str) -> str:
    return str(importlib.import_module(module).__version__)


def _processor() -> str:
    """Name the processor; virtual machines often hide its number, which the model then tells."""
    facts: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                facts.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    name = facts.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in facts and "model" in facts:
        name += f" (family {facts['cpu family']}, model {facts['model']})"
    return name


def write(path: PathLike, machine: Machine, rows: Sequence[Row]) -> None:
    """Write results: an object with the machine and a list of rows, one a line."""
    lines = ",\n  ".join(json.dumps(_rounded(asdict(row))) for row in rows)
    text = f'{{"machine": {json.dumps(asdict(machine))},\n "rows": [\n  {lines}\n ]}}\n'
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def _rounded(value: Any) -> Any:
    """Keep four digits of every measurement: the machine does not repeat more."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def read(path: PathLike) -> tuple[Machine, list[Row]]:
    """Read what `write` wrote.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Machine, list of Row

    Raises
    ------
    OSError, ValueError
        When it is no such file.
    """
    try:
        found = json.loads(read_bytes(path, _MOST_BYTES, _EXPECTED))
        return _made(Machine, found["machine"]), [_made(Row, row) for row in found["rows"]]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected {_EXPECTED}, but {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)


# By annotation: `from __future__ import annotations` leaves their names.
_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (float, int),
    "dict[str, str]": (dict,),
    "dict[str, float]": (dict,),
}


def _made(kind: Any, values: dict[str, Any]) -> Any:
    for field in fields(kind):
        if not isinstance(values[field.name], _KINDS[str(field.type)]):
            raise ValueError(f"{field.name} is {values[field.name]!r}")
    for name, item in values.get("peers", {}).items():
        if not isinstance(item, (float, int)):
            raise ValueError(f"the peer {name} is {item!r}")
    return kind(**values)
