"""The card of a model: what it is for, by whom, and where its files are."""

from __future__ import annotations

import os
from pathlib import Path

from lbpmap._errors import one_line
from lbpmap._files import read_bytes
from lbpmap.emotion.registry import NetFiles, find_nets, how_to_get
from lbpmap.models import known
from lbpmap.models.known import KnownSet
from lbpmap.models.places import packaged_folder, search_path
from lbpmap.models.verify import holdings

FILE = "MODEL_CARD.md"
_MAX_BYTES = 1 << 16


def card(name: str, models: str | os.PathLike[str] | None = None) -> str:
    """Give the card of a known model or of a net of one's own.

    Parameters
    ----------
    name : str
    models : str or path, optional
        A folder of models to look in first.

    Returns
    -------
    str
        The net's MODEL_CARD.md where it has one, else what the registry or its description says;
        below, where its files are. What a terminal could take for commands is made harmless.

    Raises
    ------
    OSError, ValueError
        When there is no such model, or a folder or description cannot be read.
    """
    sets, nets = known.load(), find_nets(models)
    published, net = sets.get(name), nets.get(name)
    if published is None and net is None:
        raise ValueError(f"no model {name!r}: expected one of {', '.join({**sets, **nets})}")
    lines = _written(name, models) or [f"# {name}"]
    facts = [*(_of_net(net, published) if net else ()), *(_of_set(published) if published else ())]
    lines += ["", "## Here", "", *(f"- {key}: {value}" for key, value in facts)]
    for holding in holdings(sets, search_path(models)):
        if holding.name == name:
            there = [f.name for f in holding.files if (holding.folder / f.name).is_file()]
            lines.append(f"- files: {', '.join(there)} in {holding.folder}")
            break
    else:
        lines.append(f"- files: not here; {how_to_get(name)}")
    return "\n".join(line and one_line(line) for line in lines)


def _written(name: str, models: str | os.PathLike[str] | None) -> list[str]:
    """Give the lines of the card that lies beside a net, the user's own before the package's."""
    for root in search_path(models):
        path: Path = root / name / FILE
        if path.is_file():
            text = read_bytes(path, _MAX_BYTES, "a model card").decode("utf-8", "replace")
            return text.strip().splitlines()
    return []


def _of_net(net: NetFiles, published: KnownSet | None) -> list[tuple[str, str]]:
    own = [("licence", net.licence)] if net.licence and published is None else []
    return [
        *own,
        ("architecture", net.architecture),
        ("representation", net.representation),
        ("labels", ", ".join(net.labels)),
        ("input", f"stretched to {net.size} x {net.size}, cropped to {net.crop} x {net.crop}"),
        ("prototxt", str(net.deploy)),
    ]


def _of_set(published: KnownSet) -> list[tuple[str, str]]:
    publication = published.publication
    facts = [("what", published.about), ("input", published.input), ("output", published.outputs)]
    if packaged_folder().joinpath(published.name, FILE).is_file():
        facts = []  # the card says it
    return [
        *((key, value) for key, value in facts if value),
        ("published in", publication.title),
        ("licence", publication.licence),
        ("page", publication.page),
    ]
