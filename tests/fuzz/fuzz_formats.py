"""Hostile files of every kind that the package reads: millions of them, guided by coverage.

    python tests/fuzz/fuzz_formats.py weights --runs 1000000 --seed 1 --folder /tmp/fuzz

A file must be read, or refused with a documented exception: one line that names the file. Anything
else is a finding: another exception, a crash, seconds of work, memory over twice what the file and
its content take (and `SLACK`), a module imported, code run, a file opened for writing, a process or
a socket made. What is guided by coverage needs atheris (pip install atheris); without it files are
drawn from those whose outcome was new.

Executions and new files add up in --folder, so that a campaign can be run in parts. With --keep the
smallest file of each outcome goes to formats.jsonl, which `tests/test_formats_corpus.py` replays:
a line is the target and the file, deflated, in base64. --replay runs that corpus, without atheris.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import faulthandler
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
CORPUS = HERE / "formats.jsonl"
# What reading takes whatever the file is: caches, the reader's own code, pages of the allocator.
SLACK, RESIDENT_SLACK = 2**20, 2**24
SECONDS = 3.0
LONGEST_ERROR = 2000
MOST_BYTES = 8192
TRACED = 64  # of so many executions one is traced, which takes three times as long

_FORBIDDEN = ("import", "compile", "exec", "ctypes.", "subprocess.", "socket.", "os.exec",
              "os.fork", "os.link", "os.mkdir", "os.posix_spawn", "os.putenv", "os.remove",
              "os.rename",
              "os.rmdir", "os.spawn", "os.symlink", "os.system", "os.truncate", "pickle.",
              "shutil.", "marshal.", "pty.", "signal.", "webbrowser.")  # fmt: skip
_VARYING = re.compile(r'"[^"]*"|\'[^\']*\'|-?\d[\d.e+]*|[^\x20-\x7e]')
# Behind these words an error quotes what the file says.
_UNKNOWN = re.compile(r"(integer:|float:|named|quote:|got|known are|unknown layer type|#:#: "
                      r"enum type|padding layer|'# #|no such type|web page).*")  # fmt: skip
_seen: list[str] | None = None


def _hook(event: str, args: tuple[object, ...]) -> None:
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
        self._size = resource.getpagesize()

    def now(self) -> tuple[int, int, int]:
        """Give the resident peak, and what is resident and mapped."""
        mapped, resident = os.pread(self._pages, 200, 0).split()[:2]
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
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
    said = _UNKNOWN.sub(r"\1", _VARYING.sub("#", said))[:150]
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


class Campaign:
    """What a campaign knows: executions, the smallest file of each outcome, and findings."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.file = name, folder / f"{name}.json"
        self.folder = folder / f"{name}.corpus"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.executions, self.seconds = 0, 0.0
        self.kept: dict[str, bytes] = {}
        self.findings: dict[str, tuple[str, bytes]] = {}
        if self.file.exists():
            old = json.loads(self.file.read_text())
            self.executions, self.seconds = old["executions"], old["seconds"]
            self.kept = {key: unpacked(raw) for key, raw in old["kept"].items()}
            self.findings = {k: (text, unpacked(raw)) for k, (text, raw) in old["findings"].items()}

    def add(self, raw: bytes, said: str, wrong: str) -> bool:
        """Keep a file if its outcome is new, or shorter than the others of its kind."""
        if wrong:
            key = _VARYING.sub("#", wrong)[:100]
            if key not in self.findings or len(raw) < len(self.findings[key][1]):
                self.findings[key] = (wrong, raw)
                self.save()
            return False
        new = said not in self.kept
        if new or len(raw) < len(self.kept[said]):
            self.kept[said] = raw
        return new

    def mended(self, attempt: Attempt) -> None:
        """Forget findings that are none any more; their files are kept."""
        found, self.findings = self.findings, {}
        for _, raw in found.values():
            self.add(raw, *attempt(raw))

    def save(self) -> None:
        """Write what is known."""
        state = {
            "executions": self.executions,
            "seconds": self.seconds,
            "kept": {key: packed(raw) for key, raw in sorted(self.kept.items())},
            "findings": {k: (text, packed(raw)) for k, (text, raw) in self.findings.items()},
        }
        partial = self.file.with_suffix(".part")
        partial.write_text(json.dumps(state))
        partial.replace(self.file)


def packed(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw, 9)).decode()


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def worker(name: str, runs: int, seconds: float, seed: int, folder: Path) -> None:
    """Fuzz in this process; with atheris it ends here."""
    try:
        import atheris
    except ImportError:
        atheris = None
    if atheris:
        with atheris.instrument_imports(include=["lbpmap"]):
            import format_targets
    import format_targets
    import mutations

    campaign = Campaign(name, folder)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as away:
        os.chdir(away)
        attempt = Attempt(name, Path(away))
        quiet_python_layers()
        seeds = warm_up(attempt)
        mutate = getattr(mutations, format_targets.TARGETS[name].mutator)
        limit_memory(attempt)
        campaign.mended(attempt)
        for i, raw in enumerate(seeds):
            (campaign.folder / f"seed{i}").write_bytes(raw)
        started = last = time.monotonic()

        def save() -> None:
            campaign.executions = before[0] + attempt.count
            campaign.seconds = before[1] + time.monotonic() - started
            campaign.save()

        before = campaign.executions, campaign.seconds

        def one(raw: bytes) -> bool:
            nonlocal last
            new = campaign.add(raw, *attempt(raw))
            if time.monotonic() > last + 2 or attempt.count >= runs - 1:
                save()
                last = time.monotonic()
            return new

        end = started + seconds
        if atheris:

            def change(raw: bytes, most: int, number: int) -> bytes:
                rng = Random(number)
                if rng.getrandbits(2) == 0:
                    return atheris.Mutate(raw, most)
                return mutate(raw, rng)[:most]

            arguments = ["fuzz", f"-runs={runs}", f"-seed={seed}", f"-max_len={MOST_BYTES}",
                         f"-max_total_time={int(seconds)}", "-timeout=10", "-rss_limit_mb=0",
                         "-len_control=0", "-print_final_stats=1", "-reload=0",
                         f"-artifact_prefix={folder}/{name}-", str(campaign.folder)]  # fmt: skip
            atheris.Setup(arguments, lambda raw: one(raw) and None, custom_mutator=change)
            atheris.Fuzz()
        faulthandler.enable()
        rng, pool = Random(seed), seeds + list(campaign.kept.values())
        while attempt.count < runs and time.monotonic() < end:
            faulthandler.dump_traceback_later(10 * SECONDS, exit=True)
            raw = mutate(pool[rng.randrange(len(pool))], rng)[:MOST_BYTES]
            if one(raw):
                pool.append(raw)
        faulthandler.cancel_dump_traceback_later()
        save()


def replay() -> int:
    """Read every file of the corpus, with every check, and say what is wrong."""
    with tempfile.TemporaryDirectory() as away:
        os.chdir(away)
        quiet_python_layers()
        attempts: dict[str, Attempt] = {}
        wrongs = 0
        for name, raw in corpus():
            if name not in attempts:
                attempts[name] = Attempt(name, Path(away) / name)
                warm_up(attempts[name])
            print(f"{name} {packed(raw)}", file=sys.stderr, flush=True)
            said, wrong = attempts[name](raw, traced=True)
            if wrong:
                wrongs += 1
                print(f"{name} {packed(raw)}: {said}: {wrong}")
        print(f"{sum(a.count for a in attempts.values())} files, {len(attempts)} targets")
    return wrongs


def corpus() -> Iterator[tuple[str, bytes]]:
    """Give target and file of every line."""
    for line in CORPUS.read_text(encoding="ascii").splitlines():
        name, text = json.loads(line)
        yield name, unpacked(text)


def keep(campaign: Campaign) -> None:
    """Put the smallest file of each outcome into the corpus, beside what is there."""
    known = set(corpus()) if CORPUS.exists() else set()
    smallest: dict[str, bytes] = {}
    for said, raw in sorted(campaign.kept.items(), key=lambda kept: len(kept[1])):
        smallest.setdefault(_UNKNOWN.sub(r"\1", re.sub(r" \([^)]*\):", " (#):", said)), raw)
    known |= {(campaign.name, raw) for raw in smallest.values()}
    known |= {(campaign.name, raw) for _, raw in campaign.findings.values()}
    lines = sorted(json.dumps([name, packed(raw)]) for name, raw in known)
    CORPUS.write_text("\n".join(lines) + "\n", encoding="ascii")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="?", help="text, weights, blob, state, hdf5, ...")
    parser.add_argument("--runs", type=int, default=10_000, help="executions, in this call")
    parser.add_argument("--seconds", type=float, default=3600, help="at most, in this call")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "lbpmap-fuzz")
    parser.add_argument("--keep", action="store_true", help=f"add to {CORPUS.name}")
    parser.add_argument("--replay", action="store_true", help=f"run {CORPUS.name} instead")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("error")
    # Python's own codec, of a backslash that protobuf's reader of text hands on.
    warnings.filterwarnings("ignore", "decoding with 'unicode_escape' codec", DeprecationWarning)
    warnings.filterwarnings("ignore", r"invalid .*escape sequence", DeprecationWarning)
    sys.path[:0] = [str(HERE), str(HERE.parents[1])]
    sys.addaudithook(_hook)
    if args.replay:
        return int(bool(replay()))
    folder = args.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if args.worker:
        worker(args.target, args.runs, args.seconds, args.seed, folder)
        return 0
    # A crash ends the worker, not the campaign's books.
    command = [sys.executable, __file__, *sys.argv[1:], "--worker"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace")
    if done.returncode:
        print(f"the worker ended with {done.returncode}:\n{done.stderr[-3000:]}")
    campaign = Campaign(args.target, folder)
    for wrong, raw in campaign.findings.values():
        print(f"finding: {wrong}: {packed(raw)}")
    print(
        f"{args.target}: {campaign.executions} executions in {campaign.seconds:.0f} s, "
        f"{len(campaign.kept)} outcomes, {len(list(campaign.folder.iterdir()))} files that reach "
        f"new code, {len(campaign.findings)} findings"
    )
    if args.keep:
        keep(campaign)
    return int(bool(campaign.findings or done.returncode))


if __name__ == "__main__":
    raise SystemExit(main())
