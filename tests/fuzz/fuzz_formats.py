"""Hostile files of every kind that the package reads: millions of them, guided by coverage.

    python tests/fuzz/fuzz_formats.py weights --runs 1000000 --seed 1 --folder FOLDER

A file must be read, or refused with a documented exception: one line that names the file. Anything
else is a finding: another exception, a crash, seconds of work, memory over twice what the file and
its content take (and some slack), a module imported, code run, a file opened for writing, a process
or a socket made. What is guided by coverage needs atheris (pip install atheris); without it files
are drawn from those whose outcome was new.

Executions and new files add up in --folder, so that a campaign can be run in parts. With --keep the
smallest file of each outcome goes to formats.jsonl, which `tests/test_formats_corpus.py` replays:
a line is the target and the file, deflated, in base64. --replay runs that corpus, without atheris.
"""

from __future__ import annotations

import argparse
import base64
import faulthandler
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

from attempts import (
    SECONDS,
    UNKNOWN,
    VARYING,
    Attempt,
    hook,
    limit_memory,
    quiet_python_layers,
    warm_up,
)

HERE = Path(__file__).parent
CORPUS = HERE / "formats.jsonl"
MOST_BYTES = 8192


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
            key = VARYING.sub("#", wrong)[:100]
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
        smallest.setdefault(UNKNOWN.sub(r"\1", re.sub(r" \([^)]*\):", " (#):", said)), raw)
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
    sys.addaudithook(hook)
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
