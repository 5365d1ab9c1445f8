"""A net or a solver in the worker, by its number there; it is forgotten there when it is here."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from lbpmap._arrays import F32
from lbpmap._files import atomic_write, regular_size
from lbpmap.caffe.parameters import PathLike
from lbpmap.caffe.real.link import Link


@dataclass(eq=False)
class Handle:
    """What stands for a net or a solver of the worker.

    Attributes
    ----------
    link : Link
    number : int
    source : str
        The file that it was made from, which errors begin with.
    called : dict
        Functions to call when Caffe calls back, by the name of what they were given to.
    """

    link: Link
    number: int
    source: str
    called: dict[str, list[Callable[..., object]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.link.hooks[self.number] = self
        weakref.finalize(self, self.link.release, self.number).atexit = False

    def hook(self, ask: dict[str, Any]) -> None:
        """Call what Caffe calls back: with a layer's number where there is one."""
        for each in self.called[ask["name"]]:
            each(*([ask["layer"]] if "layer" in ask else []))

    def net(self, what: str, **settings: Any) -> Any:
        """Ask something of a net."""
        return self.link.call(what, source=self.source, net=self.number, **settings)

    def show(self, what: str, **settings: Any) -> list[F32]:
        """Ask for shared arrays of a net."""
        return self.link.show(what, source=self.source, net=self.number, **settings)

    def method(self, name: str, *args: Any) -> Any:
        """Call a method that takes plain values."""
        return self._method(f"{self.source}: {name}", name, args, [])

    def value(self, name: str) -> Any:
        """Return a plain attribute."""
        return self.method("__getattribute__", name)

    def read(self, name: str, path: PathLike, expected: str) -> None:
        """Call a method that reads a file."""
        with opened(self.link, [path], expected) as (files, names):
            source = f"{self.source}: {name} {os.fspath(path)}"
            self.link.call(
                "read", source=source, files=files, names=names, thing=self.number, name=name
            )

    def write(self, name: str, path: PathLike) -> None:
        """Call a method that writes a file, which appears whole or not at all."""
        place = self.link.place(path)
        with atomic_write(path) as file:
            self.link.call(
                "write",
                source=f"{self.source}: {name} {os.fspath(path)}",
                files=[(place, file)],
                names={place: os.fspath(path)},
                thing=self.number,
                name=name,
            )

    def share(self, name: str, other: Handle) -> None:
        """Call a method that takes another net of the same worker."""
        if other.link is not self.link:
            raise RuntimeError(
                f"{self.source}: {name}: {other.source} is a net of another process of Caffe; make "
                f"both anew"
            )
        self._method(f"{self.source}: {name} {other.source}", name, [], [other.number])

    def _method(self, source: str, name: str, args: Sequence[Any], nets: list[int]) -> Any:
        return self.link.call(
            "method", source=source, thing=self.number, name=name, args=args, nets=nets
        )


Opened = tuple[list[tuple[str, BinaryIO]], dict[str, str]]


@contextmanager
def opened(link: Link, paths: Sequence[PathLike], expected: str) -> Iterator[Opened]:
    """Open files for the worker to read; also say what to call them in errors."""
    with ExitStack() as stack:
        files: list[tuple[str, BinaryIO]] = []
        names = {}
        for path in paths:
            regular_size(path, expected)
            place = link.place(path)
            files.append((place, stack.enter_context(open(path, "rb"))))
            names[place] = os.fspath(path)
        yield files, names
