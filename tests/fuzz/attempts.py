"""One file read by one target, and everything that must not happen meanwhile."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

# What reading takes whatever the file is: caches, the reader's own code, pages of the allocator.
SLACK, RESIDENT_SLACK = 2**20, 2**24
SECONDS = 3.0
LONGEST_ERROR = 2000
TRACED = 64  # of so many executions one is traced, which takes three times as long

_FORBIDDEN = ("import", "compile", "exec", "ctypes.", "subprocess.", "socket.", "os.exec",
              "os.fork", "os.link", "os.mkdir", "os.posix_spawn", "os.putenv", "os.remove",
              "os.rename", "os.rmdir", "os.spawn", "os.symlink", "os.system", "os.truncate",
              "pickle.", "shutil.", "marshal.", "pty.", "signal.", "webbrowser.")  # fmt: skip
VARYING = re.compile(r'"[^"]*"|\'[^\']*\'|-?\d[\d.e+]*|[^\x20-\x7e]')
# Behind these words an error quotes what the file says.
UNKNOWN = re.compile(r"(integer:|float:|named|quote:|got|known are|unknown layer type|#:#: "
                      r"enum type|padding layer|'# #|no such type|web page).*")  # fmt: skip
_PEAK = re.compile(rb"VmHWM:\s*(\d+)")
_seen: list[str] | None = None


def hook(event: str, args: tuple[object, ...]) -> None:
    """Keep what a file made the process do, and hinder it."""
    if _seen is None:
        return
    writes = event == "open" and (
        (isinstance(args[1], str) and set(args[1]) & set("wxa+"))
        or (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    )
    if writes or event.startswith(_FORBIDDEN):
        _seen.append(f"{event} {str(args)[:200]}")
        raise PermissionError("a file that is read must not lead to this")


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """Give what happened meanwhile of what must not happen."""
    global _seen
    _seen = seen = []
    try:
        yield seen
    finally:
        _seen = None


class Memory:
    """The process's memory: the most that it ever had resident, and what it has, in bytes."""

    def __init__(self) -> None:
        self._pages = os.open("/proc/self/statm", os.O_RDONLY)
        self._status = os.open("/proc/self/status", os.O_RDONLY)
        self._size = resource.getpagesize()

    def now(self) -> tuple[int, int, int]:
        """Give the resident peak, and what is resident and mapped."""
        mapped, resident = os.pread(self._pages, 200, 0).split()[:2]
        # Not getrusage's maximum: a process inherits that from the one that started it.
        peak = 1024 * int(_PEAK.search(os.pread(self._status, 4000, 0))[1])
        return peak, self._size * int(resident), self._size * int(mapped)


class Attempt:
    """Runs one target on file after file."""

    def __init__(self, name: str, folder: Path) -> None:
        from format_targets import TARGETS

        self.target = TARGETS[name]
        # Packages look at folders of the checkout for their nets; this is none of them.
        self.path = folder / "net" / self.target.file
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.memory = Memory()
        self.count = 0

    def __call__(self, raw: bytes, traced: bool | None = None) -> tuple[str, str]:
        """Give the kind of outcome, and what is wrong about it or nothing."""
        self.count += 1
        traced = self.count % TRACED == 0 if traced is None else traced
        with open(self.path, "wb") as file:
            file.write(raw)
        if traced:
            tracemalloc.start()
        before = self.memory.now()
        started = time.perf_counter()
        decoded, said, wrong = 0, "read", ""
        with watched() as seen:
            try:
                decoded = self.target.read(self.path)
            except (ValueError, OSError) as error:
                said = f"{type(error).__name__}: {error}"
                wrong = self._badly_said(error)
            except Exception as error:
                said = wrong = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - started
        peak = 0
        if traced:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        after = self.memory.now()
        allowed = 2 * (len(raw) + decoded)
        resident = after[0] - before[1] if after[0] > before[0] else 0
        for what, taken, slack in (
            ("traced", peak, SLACK),
            ("resident", resident, RESIDENT_SLACK),
        ):
            if taken > allowed + slack:
                wrong = f"{taken} bytes {what}, of {len(raw)} in the file and {decoded} decoded"
        if seconds > SECONDS:
            wrong = f"{seconds:.1f} s"
        if seen:
            wrong = f"does {seen[0]}"
        return kind_of(said.replace(str(self.path), "@"), decoded), wrong

    def _badly_said(self, error: Exception) -> str:
        text = str(error)
        if str(self.path) not in text and str(self.path.parent) not in text:
            return f"names no file: {type(error).__name__}: {text[:300]}"
        if len(text.splitlines()) != 1 or not text.isprintable():
            return f"not one printable line: {text[:300]!r}"
        if len(text) > LONGEST_ERROR:
            return f"an error of {len(text)} characters: {text[:200]}"
        return ""


def kind_of(said: str, decoded: int) -> str:
    """Give what is the same of outcomes of one kind: no names, numbers and words of the file."""
    said = UNKNOWN.sub(r"\1", VARYING.sub("#", said))[:150]
    return said if decoded == 0 else f"{said} {decoded.bit_length()}"


def quiet_python_layers() -> None:
    """Let a Python layer that would run be a finding: its module may be imported already."""
    from dataclasses import replace

    from lbpmap.caffe.layers.shapes import LAYER_TYPES

    def plan(*_: object) -> None:
        raise AssertionError("a Python layer would run")

    LAYER_TYPES["Python"] = replace(LAYER_TYPES["Python"], plan=plan)


def warm_up(attempt: Attempt) -> list[bytes]:
    """Read the good files unwatched, so that everything is imported; return them."""
    import difflib  # noqa: F401  (imported by prototxt)
    import encodings.idna
    import encodings.utf_8_sig  # noqa: F401

    with contextlib.suppress(ImportError):
        import h5py  # noqa: F401  (a solverstate may be in HDF5)
    seeds = attempt.target.seeds()
    for raw in seeds:
        attempt.path.write_bytes(raw)
        with contextlib.suppress(ValueError, OSError):
            attempt.target.read(attempt.path)
    return seeds


def limit_memory(attempt: Attempt) -> None:
    """Let an allocation of a quarter of a GiB fail: Python's are then findings.

    HDF5's library asks for memory before it looks whether the file has as much; it never writes to
    it then, and says that it got none.
    """
    most = attempt.memory.now()[2] + 2**28
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
