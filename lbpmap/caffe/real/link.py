"""The worker's process as seen from here: started, called, and gone with Caffe's last words.

``LBPMAP_CAFFE_PYTHON`` holds the command that runs a Python with Caffe, such as
``/usr/bin/python3`` or ``chroot /srv/bullseye python3``; without it, this interpreter is tried.
"""

from __future__ import annotations

import builtins
import contextlib
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

from lbpmap._arrays import F32
from lbpmap.caffe.real import worker
from lbpmap.caffe.real.shared import SharedArrays

VARIABLE = "LBPMAP_CAFFE_PYTHON"
NOT_THERE = (
    f'set {VARIABLE} to the command of a Python that has one, or use "auto", which needs none'
)
# Importing Caffe takes a second, and many from a cold disk.
_SECONDS_TO_START = 60
_SECONDS_TO_END = 10

# Reads the worker's text, whose length is its argument, from the socket that is standard input.
_BOOTSTRAP = """
import os, sys
text = b""
while len(text) < int(sys.argv[1]):
    text += os.read(0, int(sys.argv[1]) - len(text)) or sys.exit(1)
exec(compile(text, "worker.py", "exec"))
"""
# glog's lines: level, month and day, time, thread, place.
_LOG_LINE = re.compile(r"([IWEF])\d{4} [\d:.]+ +\d+ \S+\] (.*)")
_LEVELS = {"I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR}
# Told with the error that follows, and glog's note that it was not set up.
_PARSING = "[libprotobuf ERROR"
_NOT_TOLD = (_PARSING, "WARNING: Logging before")
# Requests for which arrays that are held need not be copied.
_CHANGE_NOTHING = ("show", "shape", "describe", "drop")
_log = logging.getLogger("lbpmap.caffe")


class CheckFailed(ValueError):
    """Caffe refused something, and ended its process; the message holds the line of its log."""


@dataclass
class _Words:
    """What the worker writes to its error stream, told on the package's logger."""

    last: deque[str] = field(default_factory=lambda: deque(maxlen=40))
    fatal: str = ""
    _level: int = logging.WARNING

    def listen(self, stream: IO[str]) -> None:
        """Read to the end."""
        with stream:
            for line in stream:
                self._hear(line.rstrip())

    def _hear(self, line: str) -> None:
        if self.fatal or not line:
            return  # a stack trace follows
        found = _LOG_LINE.match(line)
        if found and found[1] == "F":
            # Where a text is wrong stands before the check that failed because of it.
            parsing = [each for each in list(self.last)[-2:] if each.startswith(_PARSING)]
            self.fatal = " ".join([line, *(f"({each})" for each in parsing)])
        elif not line.startswith(_NOT_TOLD):
            # What has no head of its own goes on with the message before.
            self._level = _LEVELS[found[1]] if found else self._level
            _log.log(self._level, "%s", found[2] if found else line)
        self.last.append(line)


class Hooked(Protocol):
    """What is told when Caffe calls back."""

    def hook(self, ask: dict[str, Any]) -> None:
        """Do what was asked for."""


class Link:
    """A worker, and the calls to it.

    Parameters
    ----------
    command : sequence of str
        Runs a Python that has Caffe.

    Attributes
    ----------
    hello : dict
        What the worker said of itself: version and file of Caffe, layer types, its own folder.
    same_root : bool
        Whether paths mean the same there as here.
    hooks : mapping
        Whom to tell when Caffe calls back: by number of the net or solver.

    Raises
    ------
    RuntimeError
        When the command cannot be run, or has no Caffe with a Net.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self.hooks: weakref.WeakValueDictionary[int, Hooked] = weakref.WeakValueDictionary()
        self._shared = SharedArrays()
        self._released: deque[int] = deque()
        self._lock = threading.RLock()
        self._depth = 0
        self._owner = os.getpid()
        self._ended = ""
        self._files = 0
        self._words = _Words()
        text = Path(worker.__file__).read_bytes()
        self._socket, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [*self.command, "-c", _BOOTSTRAP, str(len(text))],
                    stdin=theirs.fileno(),
                    # What is printed there is for the log, too: machines may read our output.
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for this side, which then ends that one
                    text=True,
                    errors="replace",
                )
        except OSError as error:
            self._socket.close()
            raise self._absent(f"{error.strerror}") from None
        assert self._process.stdout is not None
        self._listener = threading.Thread(
            target=self._words.listen, args=(self._process.stdout,), daemon=True
        )
        self._listener.start()
        self._end = weakref.finalize(
            self, _end, self._owner, self._process, self._socket, self._listener
        )
        self.hello = self._start(text)
        self.same_root = self.hello["root"] == list(os.stat("/")[1:3])

    @property
    def described(self) -> str:
        """What Caffe this is, and where."""
        about = self.hello
        return (
            f"Caffe {about['version']}, {about['file']}, by {shlex.join(self.command)} (Python "
            f"{about['python']})"
        )

    @property
    def alive(self) -> bool:
        """Whether it can be called from this process."""
        return not self._ended and self._process.poll() is None and self._owner == os.getpid()

    def call(
        self,
        what: str,
        *,
        source: str,
        files: Sequence[tuple[str, BinaryIO]] = (),
        names: dict[str, str] | None = None,
        **settings: Any,
    ) -> Any:
        """Ask the worker for something, with all arrays that are held the same on both sides.

        Parameters
        ----------
        what : str
            A request of `worker.Worker`: the part of its name behind ``do_``.
        source : str
            What errors begin with: the file or the call.
        files : sequence of (name, open file)
            Files that Caffe reads or writes, with names from `place`.
        names : dict
            What to write in errors instead of names of the worker's.
        **settings
            What the request takes.

        Raises
        ------
        CheckFailed
            When Caffe ended its process because a check failed.
        RuntimeError
            When the worker has ended for another reason, or before.
        Exception
            What Caffe raised, of the same type if Python has it.
        """
        if files:
            settings["names"] = [name for name, _ in files]
        descriptors = [file.fileno() for _, file in files]
        with self._lock:
            self._drop_released()
            return self._exchange(what, settings, descriptors, source, names or {})[0]

    def show(self, what: str, *, source: str, **settings: Any) -> list[F32]:
        """Ask for shared arrays, by a request that answers with them."""
        with self._lock:
            self._drop_released()
            value, descriptors = self._exchange(what, settings, [], source, {})
            return self._shared.arrays(value, descriptors)

    def work_here(self) -> None:
        """Let names in data layers mean what they mean here, where both have the same root."""
        if self.same_root:
            here = [os.getcwd()]
            self.call("method", source="Net", thing=-1, name="chdir", args=here, nets=[])

    def place(self, path: str | os.PathLike[str]) -> str:
        """Return a new name, in the worker's folder, for a file of this side."""
        self._files += 1
        return f"{self._files}/{os.path.basename(os.fspath(path))}"

    def inside(self, name: str) -> str:
        """Return the worker's path of a name from `place`."""
        return f"{self.hello['folder']}/{name}"

    def release(self, thing: int) -> None:
        """Forget a net or solver, now or with the next call; finalizers call this any time."""
        self._released.append(thing)
        if self._depth == 0 and self.alive and self._lock.acquire(blocking=False):
            try:
                with contextlib.suppress(RuntimeError, ValueError):
                    self._drop_released()
            finally:
                self._lock.release()

    def close(self) -> None:
        """End the worker."""
        self._ended = self._ended or "it was closed"
        self._end()

    def _drop_released(self) -> None:
        things = []
        while self._released:
            things.append(self._released.popleft())
        if things:
            self._exchange("drop", {"things": things}, [], "Net", {})

    def _exchange(
        self,
        what: str,
        settings: dict[str, Any],
        descriptors: list[int],
        source: str,
        names: dict[str, str],
    ) -> tuple[Any, list[int]]:
        if self._owner != os.getpid():
            raise RuntimeError(
                f"{source}: a net of the real Caffe cannot be used in a forked process; make it "
                f"there"
            )
        if self._ended:
            raise RuntimeError(
                f"{source}: the process that ran Caffe has ended ({self._ended}); make nets and "
                f"solvers anew"
            )
        self._depth += 1
        try:
            reply, passed, failure = self._talk(what, settings, descriptors)
        except (EOFError, OSError) as error:
            raise self._died(source, names) from (None if isinstance(error, EOFError) else error)
        except BaseException:
            # Such as Ctrl-C: what the worker does now, and would answer, is of no use any more.
            self._ended = "it was interrupted"
            self._end()
            raise
        finally:
            self._depth -= 1
        if failure is not None:
            raise failure
        if "error" in reply:
            raise _raised(reply, source, self._plain(names))
        return reply["value"], passed

    def _talk(
        self, what: str, settings: dict[str, Any], descriptors: list[int]
    ) -> tuple[dict[str, Any], list[int], Exception | None]:
        """Send a request, do what Caffe asks for meanwhile, and return the reply.

        With it comes what was raised by something that Caffe asked for.
        """
        failure: Exception | None = None
        while True:
            lists = self._shared.before(all_held=what not in _CHANGE_NOTHING)
            message = {"do": what, "with": settings, **lists}
            worker.send(self._socket, message, descriptors)
            reply, passed = worker.receive(self._socket)
            self._shared.forget(reply["gone"])
            if "ask" not in reply:
                break
            try:
                self.hooks[reply["ask"]["thing"]].hook(reply["ask"])
            except Exception as error:
                failure = error
            what, settings, descriptors = "resume", {"failed": failure is not None}, []
        return reply, passed, failure

    def _start(self, text: bytes) -> dict[str, Any]:
        """Send the worker its text, and return what it says of itself."""
        self._socket.settimeout(_SECONDS_TO_START)
        try:
            self._socket.sendall(text)
            hello, _ = worker.receive(self._socket)
        except socket.timeout:
            self._end()
            raise self._absent(f"no answer in {_SECONDS_TO_START} s") from None
        except (EOFError, OSError, ValueError):
            self._end()
            said = self._words.fatal or (self._words.last or ["it ended without a word"])[-1]
            raise self._absent(said) from None
        self._socket.settimeout(None)
        if "error" in hello:
            self._end()
            raise self._absent(hello["error"])
        return hello

    def _absent(self, why: str) -> RuntimeError:
        self._ended = why
        return RuntimeError(
            f'engine "real": no Caffe with a Net can be imported by "{shlex.join(self.command)}" '
            f"({' '.join(why.split())}); {NOT_THERE}"
        )

    def _died(self, source: str, names: dict[str, str]) -> Exception:
        """Return what to raise when the worker is gone, with Caffe's own words."""
        self._end()
        code = self._process.returncode
        number = code - 128 if code and code > 128 else -code if code and code < 0 else 0
        how = signal.Signals(number).name if number in set(signal.Signals) else f"code {code}"
        if self._words.fatal:
            self._ended = "a check failed"
            return CheckFailed(f"{source}: Caffe ended: {self._plain(names)(self._words.fatal)}")
        self._ended = how
        return RuntimeError(f"{source}: the process that ran Caffe has ended ({how})")

    def _plain(self, names: dict[str, str]) -> Callable[[str], str]:
        """Return what puts the user's names in the place of the worker's."""

        def plain(text: str) -> str:
            for name, ours in names.items():
                text = text.replace(self.inside(name), ours)
            return " ".join(text.split())

        return plain


def _end(
    owner: int,
    process: subprocess.Popen[str],
    link: socket.socket,
    listener: threading.Thread,
) -> None:
    """End a worker; it ends by itself when the socket is, even in the midst of a call."""
    if owner != os.getpid():
        return  # a forked process, which has copies of what is its parent's
    with contextlib.suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
    link.close()
    for stop in (process.terminate, process.kill):
        try:
            process.wait(_SECONDS_TO_END)
            break
        except subprocess.TimeoutExpired:
            stop()
    process.wait()
    listener.join(_SECONDS_TO_END)


def _raised(reply: dict[str, Any], source: str, plain: Callable[[str], str]) -> Exception:
    """Return the exception that Caffe raised, of its own type or of the next one that is known."""
    said = plain(reply["error"]) or reply["types"][0]
    for name in reply["types"]:
        kind = getattr(builtins, name, None)
        if isinstance(kind, type) and issubclass(kind, Exception) and kind is not Exception:
            with contextlib.suppress(TypeError):  # one of those that take more than a text
                return kind(f"{source}: {said}")
    return RuntimeError(f"{source}: {said}")


_current: list[Link] = []


def command() -> list[str]:
    """Return the command that runs a Python with Caffe."""
    return shlex.split(os.environ.get(VARIABLE, "")) or [sys.executable]


def current() -> Link:
    """Return the worker that makes nets now; it is started when there is none.

    Raises
    ------
    RuntimeError
        When there is no real Caffe.
    """
    if os.name != "posix":
        raise RuntimeError('engine "real" needs Linux or macOS; use "auto", which runs anywhere')
    wanted = command()
    if not _current or not _current[0].alive or _current[0].command != wanted:
        _current[:] = [Link(wanted)]
    return _current[0]
