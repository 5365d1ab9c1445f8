"""Whether a file is what its name says, and the one that is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from lbpmap._errors import one_line
from lbpmap._files import PathLike
from lbpmap.models.known import KnownFile


def check_size(known: KnownFile, size: int, where: PathLike) -> None:
    """Refuse a file of another size than the known one.

    Raises
    ------
    ValueError
        One line that begins with `where`.
    """
    if known.bytes is not None and size != known.bytes:
        raise ValueError(
            f"{where}: {size} bytes, but a complete {known.name} has {known.bytes}: cut short, or "
            f"another file"
        )
    if not 0 < size <= known.at_most:
        raise ValueError(f"{where}: {size} bytes, expected 1 to {known.at_most} of a {known.name}")


def check_sum(known: KnownFile, sha256: str, where: PathLike) -> None:
    """Refuse a file of another checksum than the known one.

    Raises
    ------
    ValueError
        One line that begins with `where`.
    """
    if known.sha256 is not None and sha256 != known.sha256:
        raise ValueError(
            f"{where}: sha256 {sha256}, but that of the published {known.name} is {known.sha256}: "
            f"a damaged or another file"
        )


def check_content(name: str, path: Path, where: PathLike) -> None:
    """Refuse a file that is not what its name says; its numbers stay unread.

    Parameters
    ----------
    name : str
        Its ending tells what it should be.
    path : Path
        Where it lies.
    where : str or path
        What to call it in an error.

    Raises
    ------
    ValueError
        One line that begins with `where`.
    """
    check = _CONTENTS.get(PurePosixPath(name).suffix)
    if check is None:
        return
    try:
        check(path)
    except (ValueError, OSError, MemoryError) as error:
        said = one_line(error)
        raise ValueError(f"{where}: {said.replace(f'{path}: ', '')}") from None


def _caffemodel(path: Path) -> None:
    from lbpmap.caffe.formats import weights

    if not any(layer.blobs for layer in weights.index(path)):
        raise ValueError("a net without any weights")


def _blob(path: Path) -> None:
    from lbpmap.caffe.formats.blobs import read_blob

    read_blob(path)


def _prototxt(path: Path) -> None:
    from lbpmap.caffe.formats.prototxt import read_net

    read_net(path)


_CONTENTS: dict[str, Callable[[Path], None]] = {
    ".caffemodel": _caffemodel,
    ".binaryproto": _blob,
    ".prototxt": _prototxt,
}
