"""What an exported file says about itself: JSON, in the place that each format has for it.

ONNX has it among its metadata properties (and in the graph's doc_string), safetensors in
``__metadata__``, both under the key "lbpmap", and a .pt2 as the extra file "lbpmap.json".

=============  =====================================================================
``format``     1
``lbpmap``     version of the package that wrote the file
``net``        name of the net, from its prototxt
``inputs``     by name: lengths of the axes; a name such as "N" stands for any length
``outputs``    the same
``sources``    by kind, such as "weights": name of a file and its SHA-256
=============  =====================================================================

`lbpmap.emotion.exporting` adds what its nets want to see and what their outputs are called.
"""

from __future__ import annotations

import json
import mmap
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lbpmap._errors import one_line
from lbpmap._files import PathLike, regular_size, sha256
from lbpmap._version import __version__
from lbpmap.caffe.export.sizes import Lengths
from lbpmap.caffe.formats import wire
from lbpmap.caffe.net import Net

KEY = "lbpmap"
EXTRA_FILE = "lbpmap.json"
FORMAT = 1
# Tables and class names of the largest nets take a tenth.
_MOST_BYTES = 1 << 24
_EXPECTED = "a file that lbpmap has exported (.onnx, .safetensors, .pt2)"
# Numbers of ONNX's fields: ModelProto.metadata_props, and the key and value of an entry.
_METADATA, _ENTRY_KEY, _ENTRY_VALUE = 14, 1, 2
# What reading a damaged file comes to; RuntimeError is an encrypted entry's, or too deep JSON's.
_DAMAGED = (ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error)


def called(net: Net) -> str:
    """Say how errors call a net; its text may call it anything, or nothing."""
    return one_line(net.name or "the net")


def identified(files: Mapping[str, PathLike]) -> dict[str, dict[str, str]]:
    """Give name and SHA-256 of each file."""
    return {kind: {"name": Path(path).name, "sha256": sha256(path)} for kind, path in files.items()}


def describe(
    net: Net,
    inputs: Mapping[str, Lengths],
    lengths: Mapping[str, Lengths],
    sources: Mapping[str, Mapping[str, str]],
    more: Mapping[str, Any],
) -> str:
    """Say what there is to know about a net, as JSON.

    Parameters
    ----------
    net : Net
    inputs : dict of tuple
        What the file takes.
    lengths : dict of tuple
        Of the net's blobs.
    sources : dict
        What `identified` says of the files it was read from.
    more : dict
        What else to say; it comes after the rest, and replaces what has the same name.

    Returns
    -------
    str
    """
    said = {
        "format": FORMAT,
        "lbpmap": __version__,
        "net": net.name,
        "inputs": {name: list(each) for name, each in inputs.items()},
        "outputs": {name: list(lengths[name]) for name in net.outputs},
        "sources": sources,
        **more,
    }
    return json.dumps(said, allow_nan=False)


def read_about(path: PathLike) -> dict[str, Any]:
    """Read what an exported file says about itself.

    Nothing but NumPy is needed, and nothing in the file is run; of large files only a part is read.

    Parameters
    ----------
    path : str or path
        A .onnx, .safetensors or .pt2.

    Returns
    -------
    dict
        See the head of this module.

    Raises
    ------
    OSError
        When it cannot be read.
    ValueError
        When it is no such file, or says nothing about itself.

    Examples
    --------
    >>> import tempfile
    >>> header = json.dumps({"__metadata__": {"lbpmap": json.dumps({"net": "tiny"})}}).encode()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "tiny.safetensors"
    ...     _ = path.write_bytes(len(header).to_bytes(8, "little") + header)
    ...     read_about(path)
    {'net': 'tiny'}
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _READERS:
        raise ValueError(f"{path}: expected {_EXPECTED}")
    size = regular_size(path, _EXPECTED)
    try:
        said = _READERS[suffix](path, size)
        about = None if said is None else json.loads(said)
    except _DAMAGED as error:
        raise ValueError(f"{path}: damaged, or no {suffix} file ({one_line(error)})") from None
    if not isinstance(about, dict):
        raise ValueError(f"{path}: says nothing under {KEY!r}; expected {_EXPECTED}")
    return about


def _in_onnx(path: PathLike, size: int) -> bytes | None:
    """Walk the message's outer fields; the graph, almost all of the file, is stepped over."""
    if size == 0:
        return None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
        for field in wire.fields(buffer, 0, size):
            if (field.number, field.kind) == (_METADATA, wire.BYTES):
                entry = {
                    part.number: buffer[part.start : part.end]
                    for part in wire.fields(buffer, field.start, field.end)
                    if part.end - part.start <= _MOST_BYTES
                }
                if entry.get(_ENTRY_KEY) == KEY.encode():
                    return entry.get(_ENTRY_VALUE)
    return None


def _in_safetensors(path: PathLike, size: int) -> str | None:
    """Read the header: eight bytes of length, then JSON."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_MOST_BYTES, size - 8):
            raise ValueError(f"its header claims {length} bytes")
        header = json.loads(file.read(length))
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    said = metadata.get(KEY) if isinstance(metadata, dict) else None
    return said if isinstance(said, str) else None


def _in_pt2(path: PathLike, size: int) -> bytes | None:
    """Read the extra file, which every version of PyTorch puts into another folder of the zip."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if Path(entry.filename).name == EXTRA_FILE:
                if entry.file_size > _MOST_BYTES:
                    raise ValueError(f"{EXTRA_FILE} claims {entry.file_size} bytes")
                return archive.read(entry)
    return None


_READERS = {".onnx": _in_onnx, ".safetensors": _in_safetensors, ".pt2": _in_pt2}
