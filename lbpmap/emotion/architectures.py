"""The architectures of the paper, as prototxts that come with the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lbpmap.emotion.registry import packaged_folder

ARCHITECTURES = ("VGG_S", "VGG_M_2048", "VGG_M_4096", "GoogLeNet")


@dataclass(frozen=True)
class ArchitectureFiles:
    """The prototxts of an architecture.

    Attributes
    ----------
    name : str
        One of `ARCHITECTURES`.
    train_val, deploy, solver : Path
        The net to train, the net to use, and the solver.
    size, crop : int
        Side of the stretched picture and of the net's input, pixels.
    """

    name: str
    train_val: Path
    deploy: Path
    solver: Path
    size: int = 256
    crop: int = 224


def architecture_files(name: str) -> ArchitectureFiles:
    """Say where the prototxts of an architecture lie.

    Parameters
    ----------
    name : str
        One of `ARCHITECTURES`.

    Returns
    -------
    ArchitectureFiles

    Raises
    ------
    ValueError
        When there is no such architecture.
    FileNotFoundError
        When the package was installed without the prototxt.

    Notes
    -----
    VGG_S and VGG_M: Chatfield et al., "Return of the Devil in the Details", BMVC 2014. GoogLeNet:
    Szegedy et al., "Going Deeper with Convolutions", CVPR 2015.

    Examples
    --------
    >>> files = architecture_files("GoogLeNet")
    >>> files.deploy.name, files.size, files.crop
    ('deploy.prototxt', 256, 224)
    >>> architecture_files("AlexNet")
    Traceback (most recent call last):
    ...
    ValueError: no architecture 'AlexNet'; there are VGG_S, VGG_M_2048, VGG_M_4096, GoogLeNet
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"no architecture {name!r}; there are {', '.join(ARCHITECTURES)}")
    folder = packaged_folder() / "architectures" / name
    files = ArchitectureFiles(
        name,
        folder / "train_val.prototxt",
        folder / "deploy.prototxt",
        folder / "solver.prototxt",
    )
    for path in (files.train_val, files.deploy, files.solver):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: missing from the package; install lbpmap again")
    return files
