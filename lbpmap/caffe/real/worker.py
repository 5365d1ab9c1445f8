"""The worker: real Caffe run for another process, which need not be able to import it.

This one file needs NumPy and pycaffe, and nothing of the package that it comes with: the other side
sends its text to whatever Python has a Caffe, perhaps in another root folder. Both speak over a
Unix socket, which is the worker's standard input. A message is the length of a JSON text, a number
of file descriptors, the descriptors, and the text. Requests are answered in order; while Caffe
calls back, the worker asks instead, and answers further requests until it is told to go on.

Arrays lie in memory that both processes map by descriptor. Caffe cannot be told to use that memory:
what is handed out is copied to Caffe's own before a call and back after it, and nothing else is.
Files come as descriptors, too, and get a name in the worker's own folder. Caffe ends its process
when a check fails: a parent that only waits then removes the folder, and ends Caffe when the other
side is gone.
"""

from __future__ import annotations

import array
import contextlib
import importlib
import inspect
import json
import mmap
import os
import resource
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

# Bytes of JSON, and file descriptors, that follow.
HEADER = struct.Struct("<II")
MOST_DESCRIPTORS = 16
_MOST_BYTES = 1 << 30
# Small arrays share a descriptor: a process has 1024 of them by default, a net may have more blobs.
_CHUNK = 8 << 20


def send(link: socket.socket, message: dict[str, Any], descriptors: Any = ()) -> None:
    """Send a message."""
    text = json.dumps(message).encode()
    header = HEADER.pack(len(text), len(descriptors))
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    link.sendmsg([header], ancillary if descriptors else [])
    link.sendall(text)


def receive(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive a message and its file descriptors; EOFError when the other side has ended."""
    found = array.array("i")
    room = socket.CMSG_SPACE(MOST_DESCRIPTORS * found.itemsize)
    header, ancillary, _, _ = link.recvmsg(HEADER.size, room)
    for _, _, data in ancillary:
        found.frombytes(data[: len(data) - len(data) % found.itemsize])
    header += _exactly(link, HEADER.size - len(header)) if header else b""
    if not header:
        raise EOFError
    size, count = HEADER.unpack(header)
    if count != len(found) or size > _MOST_BYTES:
        raise ValueError(f"{count} file descriptors and {size} bytes announced, {len(found)} came")
    message: dict[str, Any] = json.loads(_exactly(link, size))
    return message, list(found)


def _exactly(link: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = link.recv(min(size - len(data), 1 << 20))
        if not more:
            raise EOFError
        data += more
    return bytes(data)


class Chunk:
    """A piece of memory that both processes map."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.size = size
        if hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create("lbpmap-caffe")
        else:
            with tempfile.TemporaryFile() as file:
                self.descriptor = os.dup(file.fileno())
        os.ftruncate(self.descriptor, size)
        self.memory = mmap.mmap(self.descriptor, size)
        self.used = 0
        self.regions = 0


class Region:
    """A shared array that stands for a blob's values or gradients."""

    def __init__(self, blob: Any, kind: str, chunk: Chunk, size: int) -> None:
        self.chunk = chunk
        self.offset = chunk.used
        self.memory: Any = np.ndarray((size,), np.float32, chunk.memory, chunk.used)
        self._blob = blob
        self._kind = kind

    def caffes(self) -> Any:
        """Return Caffe's own array, flat; None when it has grown, which leaves old views behind."""
        values = None if self._blob is None else getattr(self._blob, self._kind).reshape(-1)
        return values if values is not None and values.size <= self.memory.size else None


class Arrays:
    """The shared arrays that the other side holds."""

    def __init__(self) -> None:
        self._regions: dict[int, Region] = {}
        self._chunks: dict[int, Chunk] = {}
        self._open: Chunk | None = None
        self._numbers = 0
        self.gone: list[int] = []
        self.places: dict[tuple[int, int], int] | None = None

    def show(self, blob: Any, kind: str) -> tuple[list[Any], list[int]]:
        """Say where the other side finds a blob's values: one place for blobs of one memory."""
        values = getattr(blob, kind)
        place = (_address(values), values.size)
        number = self._known().get(place, 0) if values.size else 0
        if number in self._regions:
            return [_described(number, self._regions[number], values.shape, new=False)], []
        number, region, descriptors = self._new(blob, kind, values.shape)
        self._known()[place] = number
        region.memory[...] = values.reshape(-1)
        return [_described(number, region, values.shape, new=bool(descriptors))], descriptors

    def _known(self) -> dict[tuple[int, int], int]:
        """Return the arrays by address and size of Caffe's memory, found anew after each call."""
        if self.places is None:
            self.places = {}
            for number, region in self._regions.items():
                values = region.caffes()
                if values is not None and values.size == region.memory.size:
                    self.places.setdefault((_address(values), values.size), number)
        return self.places

    def room(self, shape: list[int]) -> tuple[Any, list[Any], list[int]]:
        """Make a shared array that is no blob's; return it too."""
        number, region, descriptors = self._new(None, "", shape)
        described = _described(number, region, shape, new=bool(descriptors))
        return region.memory.reshape(shape), [described], descriptors

    def take(self, numbers: list[int]) -> None:
        """Give Caffe what the other side may have written.

        Blobs may come to share memory, as those of a Split do in their first pass. Of several
        arrays that stand for one memory only those that were changed count.
        """
        places: dict[int, list[tuple[Region, Any]]] = {}
        for number in sorted(numbers):
            region = self._regions[number]
            values = region.caffes()
            if values is not None:
                places.setdefault(_address(values), []).append((region, values))
        for pairs in places.values():
            changed = [
                (values, region.memory[: values.size])
                for region, values in pairs
                if len(pairs) == 1 or region.memory[: values.size].tobytes() != values.tobytes()
            ]
            for values, memory in changed:
                values[...] = memory

    def give(self, numbers: list[int]) -> None:
        """Show the other side what Caffe has now."""
        for number in numbers:
            region = self._regions[number]
            values = region.caffes()
            if values is not None:
                region.memory[: values.size] = values

    def drop(self, numbers: list[int]) -> None:
        """Forget arrays that nobody holds any more, and give their memory back."""
        for number in numbers:
            chunk = self._regions.pop(number).chunk
            chunk.regions -= 1
            self._close(chunk)

    def _new(self, blob: Any, kind: str, shape: Any) -> tuple[int, Region, list[int]]:
        size = int(np.prod(shape))
        need = -(-max(4 * size, 1) // 64) * 64
        small = need <= _CHUNK // 8
        chunk = old = self._open if small else None
        if chunk is None or chunk.size - chunk.used < need:
            self._numbers += 1
            chunk = self._chunks[self._numbers] = Chunk(self._numbers, _CHUNK if small else need)
            self._open = chunk if small else self._open
            if old is not None:
                self._close(old)
        region = Region(blob, kind, chunk, size)
        descriptors = [] if chunk.used else [chunk.descriptor]
        chunk.used += need
        chunk.regions += 1
        self._numbers += 1
        self._regions[self._numbers] = region
        return self._numbers, region, descriptors

    def _close(self, chunk: Chunk) -> None:
        if not chunk.regions and chunk is not self._open:
            del self._chunks[chunk.number]
            os.close(chunk.descriptor)
            self.gone.append(chunk.number)


def _described(number: int, region: Region, shape: Any, *, new: bool) -> dict[str, Any]:
    """Say where an array lies; with a new chunk its descriptor is sent."""
    return {
        "region": number,
        "chunk": region.chunk.number,
        "bytes": region.chunk.size,
        "new": new,
        "offset": region.offset,
        "count": int(region.memory.size),
        "shape": [int(n) for n in shape],
    }


def _address(values: Any) -> int:
    return int(values.__array_interface__["data"][0])


class Worker:
    """What answers: nets and solvers by number, and the arrays of their blobs."""

    def __init__(self, link: socket.socket, caffe: Any, folder: str) -> None:
        self._link = link
        self._folder = folder
        self._arrays = Arrays()
        self._things: dict[int, Any] = {0: caffe, -1: os}
        self._numbers = 0
        self._out: list[int] = []

    def serve(self) -> None:
        """Answer until the other side ends."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._answer(*receive(self._link))

    def _answer(self, message: dict[str, Any], descriptors: list[int]) -> None:
        outer, self._out = self._out, message["out"]
        reply: dict[str, Any] = {}
        passed: list[int] = []
        self._arrays.take(message["in"])
        self._arrays.drop(message["drop"])
        try:
            value = getattr(self, "do_" + message["do"])(descriptors, **message["with"])
            reply["value"], passed = value if isinstance(value, tuple) else (value, [])
        except Exception as error:
            reply["error"] = str(error)
            reply["types"] = [kind.__name__ for kind in type(error).__mro__]
        if message["do"] not in ("show", "shape"):
            self._arrays.places = None
        self._arrays.give(self._out)
        for descriptor in descriptors:
            os.close(descriptor)
        self._out = outer
        self._send(reply, passed)

    def _send(self, message: dict[str, Any], descriptors: Any = ()) -> None:
        gone, self._arrays.gone = self._arrays.gone, []
        send(self._link, {**message, "gone": gone}, descriptors)

    def _ask(self, **question: Any) -> None:
        """Let the other side do something while Caffe waits."""
        self._arrays.places = None
        self._arrays.give(self._out)
        self._send({"ask": question})
        while True:
            message, descriptors = receive(self._link)
            if message["do"] == "resume":
                break
            self._answer(message, descriptors)
        self._arrays.take(message["in"])
        self._arrays.drop(message["drop"])
        self._out = message["out"]
        if message["with"]["failed"]:
            raise RuntimeError("what was called back failed")

    def _keep(self, thing: Any) -> int:
        self._numbers += 1
        self._things[self._numbers] = thing
        return self._numbers

    @contextlib.contextmanager
    def _named(self, name: str, descriptor: int, writing: bool = False) -> Iterator[str]:
        """Give a file a name in this root for a while."""
        path = os.path.join(self._folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        linked = False
        with contextlib.suppress(OSError):
            os.symlink(f"/proc/self/fd/{descriptor}", path)
            linked = os.path.samestat(os.stat(path), os.fstat(descriptor))
        if not linked:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            if not writing:
                with open(path, "wb") as copy:
                    _copy(descriptor, copy.fileno())
        try:
            yield path
            if writing and not linked:
                with open(path, "rb") as written:
                    _copy(written.fileno(), descriptor)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    @contextlib.contextmanager
    def _all_named(self, names: list[str], descriptors: list[int]) -> Iterator[str]:
        """Give files their names, and say that of the last, which may name the others."""
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(self._named(*each)) for each in zip(names, descriptors)][-1]

    # What can be asked for: `do_` and its name.

    def do_drop(self, _: list[int], things: list[int]) -> None:
        """Forget nets and solvers; a blob whose array is held stays, as in pycaffe."""
        for number in things:
            self._things.pop(number, None)

    def do_net(self, descriptors: Any, names: Any, phase: int, level: int, stages: Any) -> int:
        """Make a net."""
        with self._named(names[0], descriptors[0]) as path:
            return self._keep(self._things[0].Net(path, phase, level=level, stages=stages))

    def do_describe(self, _: list[int], net: int) -> dict[str, Any]:
        """Say what a net consists of."""
        it = self._things[net]
        return {
            "layers": list(it._layer_names),
            "types": [layer.type for layer in it.layers],
            "params": [len(layer.blobs) for layer in it.layers],
            "blobs": list(it._blob_names),
            "inputs": list(it.inputs),
            "outputs": list(it.outputs),
            "tops": [list(names) for names in it.top_names.values()],
            "bottoms": [list(names) for names in it.bottom_names.values()],
            "loss_weights": [float(weight) for weight in it.blob_loss_weights.values()],
        }

    def do_show(self, _: list[int], net: int, blob: list[int], kind: str) -> Any:
        """Hand out values or gradients."""
        return self._arrays.show(self._blob(net, blob), kind)

    def do_shape(self, _: list[int], net: int, blob: list[int]) -> list[int]:
        """Say the shape of a blob."""
        return [int(n) for n in self._blob(net, blob).shape]

    def do_reshape_blob(self, _: list[int], net: int, blob: list[int], dims: list[int]) -> None:
        """Change the shape of a blob."""
        self._blob(net, blob).reshape(*dims)

    def do_pass(self, _: list[int], net: int, name: str, first: int, last: int) -> None:
        """Run layers, `_forward` or `_backward`."""
        getattr(self._things[net], name)(first, last)

    def do_method(self, _: Any, thing: int, name: str, args: Any, nets: list[int]) -> Any:
        """Call a method of a net, a solver, or of the modules caffe (0) and os (-1)."""
        return getattr(self._things[thing], name)(*args, *(self._things[net] for net in nets))

    def do_read(self, descriptors: list[int], names: list[str], thing: int, name: str) -> None:
        """Call a method that reads a file."""
        with self._all_named(names, descriptors) as path:
            getattr(self._things[thing], name)(path)

    def do_write(self, descriptors: list[int], names: list[str], thing: int, name: str) -> None:
        """Call a method that writes a file."""
        with self._named(names[0], descriptors[0], writing=True) as path:
            getattr(self._things[thing], name)(path)

    def do_feed(self, _: list[int], net: int, shapes: list[list[int]]) -> Any:
        """Let a MemoryData layer read shared arrays, which stay the other side's to write."""
        rooms = [self._arrays.room(shape) for shape in shapes]
        self._things[net].set_input_arrays(*(array for array, _, _ in rooms))
        return [each[0] for _, each, _ in rooms], [new for _, _, each in rooms for new in each]

    def do_hook(self, _: list[int], net: int, name: str) -> None:
        """Ask, from now on, what is to be done before or after each layer."""
        hook = getattr(self._things[net], name)
        hook(lambda layer: self._ask(thing=net, name=name, layer=int(layer)))

    def do_solver(self, descriptors: list[int], names: list[str], kind: str) -> dict[str, Any]:
        """Make a solver of the last of some files, which names the others."""
        with self._all_named(names, descriptors) as path:
            solver = getattr(self._things[0], kind)(path)
        return {
            "solver": self._keep(solver),
            "net": self._keep(solver.net),
            "test_nets": [self._keep(net) for net in solver.test_nets],
        }

    def do_callbacks(self, _: list[int], solver: int) -> None:
        """Ask, from now on, what is to be done in every iteration."""
        self._things[solver].add_callback(
            lambda: self._ask(thing=solver, name="on_start"),
            lambda: self._ask(thing=solver, name="on_gradients_ready"),
        )

    def do_fetch(self, descriptors: list[int], names: list[str]) -> None:
        """Give a file that Caffe wrote, and remove it here."""
        path = os.path.join(self._folder, names[0])
        with open(path, "rb") as written:
            _copy(written.fileno(), descriptors[0])
        os.unlink(path)

    def _blob(self, net: int, blob: list[int]) -> Any:
        """Return blob [i] of a net, or [layer, i], a parameter."""
        it = self._things[net]
        return it._blobs[blob[0]] if len(blob) == 1 else it.layers[blob[0]].blobs[blob[1]]


def _copy(source: int, target: int) -> None:
    with open(os.dup(source), "rb") as reading, open(os.dup(target), "wb") as writing:
        reading.seek(0)
        shutil.copyfileobj(reading, writing, 1 << 20)


def mend(caffe: Any) -> None:
    """Mend from outside what is broken in pycaffe: `caffe.io.load_image`.

    It asks scikit-image for `as_grey`, which is called `as_gray` since 0.16.
    """
    package: Any = getattr(getattr(caffe, "io", None), "skimage", None)
    read = getattr(getattr(package, "io", None), "imread", None)
    if read is None or "as_gray" not in inspect.signature(read).parameters:
        return

    def imread(*args: Any, **settings: Any) -> Any:
        if "as_grey" in settings:
            settings["as_gray"] = settings.pop("as_grey")
        return read(*args, **settings)

    caffe.io.skimage = types.SimpleNamespace(
        img_as_float=package.img_as_float, io=types.SimpleNamespace(imread=imread)
    )


def supervise(link: socket.socket) -> str:
    """Fork, and return in the child with a folder for it; see the head of this file."""
    folder = tempfile.mkdtemp(prefix="lbpmap-caffe-")
    ended, held = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ended)
        # An abort is an answer here: it shall not leave gigabytes behind.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        return folder
    os.close(held)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    watch = select.poll()
    # Without being asked for, a hang-up is told: of the socket, or of the pipe that the child has.
    watch.register(link, 0)
    watch.register(ended, 0)
    watch.poll()
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def main() -> None:
    """Serve the socket that is standard input."""
    link = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    folder = supervise(link)
    hello: dict[str, Any] = {"folder": folder, "root": os.stat("/")[1:3]}  # file, device
    hello.update(python=sys.version.split()[0], pid=os.getpid())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            caffe: Any = importlib.import_module("caffe")
        if not hasattr(caffe, "Net"):
            raise ImportError(f"{caffe} has no Net: it is an empty package of that name")
        mend(caffe)
        hello.update(version=caffe.__version__, file=caffe.__file__)
        hello["layer_types"] = list(caffe.layer_type_list())
    except Exception as error:
        hello["error"] = f"{type(error).__name__}: {error}"
    send(link, hello)
    if "error" not in hello:
        Worker(link, caffe, folder).serve()


if __name__ == "__main__":
    main()
