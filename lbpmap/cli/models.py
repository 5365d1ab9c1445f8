"""``lbpmap models``: files that others published, listed, fetched, imported and verified."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lbpmap._errors import one_line
from lbpmap.cli import inputs

if TYPE_CHECKING:
    from lbpmap.models.known import KnownFile, KnownSet
    from lbpmap.models.listing import Listed
    from lbpmap.models.placing import Progress

HELP = "list, fetch, import and verify the files of published models"

EXAMPLES = """examples:
  lbpmap models list                            what is known, what is here
  lbpmap models fetch mtcnn VGG_S_cyclic_lbp    from where their authors published them
  lbpmap models import ~/EmotiW.zip             the authors' folder, as Google Drive packs it
  lbpmap models import ~/nets/VGG_S_lbp         or what is unpacked already
  lbpmap models verify                          whether all is as it was
  lbpmap models card VGG_S_lbp

LBPMAP_MODELS names the folder of models, LBPMAP_CACHE that of unfinished downloads, LBPMAP_MIRROR
an address that has every file at /NAME/FILE; with LBPMAP_OFFLINE=1 nothing is downloaded.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = inputs.add_action(
        actions, "list", "say which models are known, which are here, and their licences", EXAMPLES
    )
    inputs.add_models(listing)
    listing.add_argument("--json", action="store_true", help="as one JSON list")

    fetch = inputs.add_action(
        actions, "fetch", "download models from where they were published", EXAMPLES
    )
    fetch.add_argument("names", metavar="NAME", nargs="*", help="as 'lbpmap models list' has them")
    fetch.add_argument("--all", action="store_true", help="all that are known")

    take = inputs.add_action(
        actions,
        "import",
        "take models from folders or ZIP archives, with all their files checked",
        EXAMPLES,
    )
    take.add_argument(
        "sources",
        metavar="ZIP|FOLDER",
        nargs="+",
        type=inputs.some_path,
        help="holds, at any depth, folders named as the released nets, the files of another known "
        "model, or nets of your own with a model.toml",
    )
    for writing in (fetch, take):
        writing.add_argument(
            "--models",
            metavar="DIR",
            type=inputs.some_path,
            help="the folder to put them into (default: LBPMAP_MODELS, else the user's data "
            "folder; 'lbpmap info' names them)",
        )
        writing.add_argument(
            "--replace", action="store_true", help="let files take the place of others"
        )
        writing.add_argument("-q", "--quiet", action="store_true", help="no progress bar")

    verify = inputs.add_action(
        actions, "verify", "hold files against known and recorded checksums", EXAMPLES
    )
    verify.add_argument("names", metavar="NAME", nargs="*", help="default: all that are here")
    inputs.add_models(verify)

    card = inputs.add_action(
        actions, "card", "print a model's card, and where its files are", EXAMPLES
    )
    card.add_argument("name", metavar="NAME")
    inputs.add_models(card)


def run(args: argparse.Namespace) -> int:
    """Do one of the actions."""
    actions = {"list": _list, "fetch": _fetch, "import": _import, "verify": _verify, "card": _card}
    return actions[args.action](args)


def _list(args: argparse.Namespace) -> int:
    from lbpmap.emotion import registry
    from lbpmap.models import known, listing

    nets = registry.find_nets(args.models)
    about = {name: f"representation {net.representation}" for name, net in nets.items()}
    listed = listing.list_models(known.load(), registry.search_path(args.models), about)
    if args.json:
        plain = [{**asdict(each), "folder": _text(each.folder)} for each in listed]
        print(json.dumps(plain, indent=2))
    else:
        print(_table(["NAME", "WHAT", "WHERE", "SIZE", "CHECKED", "LICENCE"], map(_row, listed)))
    return 0


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def _row(each: Listed) -> list[str]:
    where = "not here" if each.folder is None else one_line(str(each.folder))
    if each.missing:
        where += f" (without {', '.join(each.missing)})"
    size = "?" if each.size is None else _size(each.size)
    checked = "" if each.folder is None else (each.recorded or "no")[:10]
    licence = each.licence.split(":")[0] + (", non-commercial" if each.non_commercial else "")
    return [each.name, one_line(each.about), where, size, checked, licence]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _fetch(args: argparse.Namespace) -> int:
    from lbpmap.models import known, places

    sets = known.load()
    if bool(args.names) == args.all:
        raise ValueError(f"name models, or give --all: {', '.join(sets)}")
    chosen = known.choose(list(sets) if args.all else args.names, sets)
    root = places.target_folder(args.models)
    failed = sum(not _fetch_set(each, root, args) for each in chosen)
    if failed:
        print(f"{failed} of {len(chosen)} failed", file=sys.stderr)
    return 1 if failed else 0


def _fetch_set(known_set: KnownSet, root: Path, args: argparse.Namespace) -> bool:
    """Fetch the files of a set; the first that fails is named, and ends it unless optional."""
    publication = known_set.publication
    use = "; take it as for non-commercial use only" if publication.non_commercial else ""
    print(f"{known_set.name}: licence: {publication.licence}{use} ({publication.page})", flush=True)
    for file in sorted(known_set.files, key=lambda each: each.optional):
        try:
            print(_fetch_file(known_set, file, root, args), flush=True)
        except (ValueError, OSError, MemoryError) as error:
            print(one_line(error), file=sys.stderr)
            if args.verbose:
                traceback.print_exc()
            if not file.optional:
                return False
            print(f"{known_set.name}: is complete without {file.name}", file=sys.stderr)
    return True


def _fetch_file(known_set: KnownSet, file: KnownFile, root: Path, args: argparse.Namespace) -> str:
    from lbpmap.models.fetch import fetch

    with _bar(f"{known_set.name}/{file.name}", args) as progress:
        got = fetch(known_set, file, root, say=_say, progress=progress, replace=args.replace)
    return _line(got.path, got.size, got.sha256, got.here_before)


@contextmanager
def _bar(what: str, args: argparse.Namespace) -> Iterator[Progress]:
    """Show how many bytes came, on a terminal."""
    with inputs.bar(desc=what, unit="B", unit_scale=True, quiet=args.quiet) as bar:

        def progress(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _line(path: Path, size: int, sha256: str, here_before: bool) -> str:
    return f"{path}: {size} bytes, sha256 {sha256}{', here already' if here_before else ''}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _import(args: argparse.Namespace) -> int:
    from lbpmap.emotion.registry import net_in
    from lbpmap.models import importing, known, places, verify

    sets, root = known.load(), places.target_folder(args.models)
    with _bar("import", args) as progress:
        taken = importing.import_models(
            args.sources, root, sets, net_in, say=_say, progress=progress, replace=args.replace
        )
    for each in taken:
        print(_line(each.path, each.size, each.sha256, each.here_before))
    names = dict.fromkeys(each.path.parent.name for each in taken)
    lacking = {name: importing.missing(sets[name], root) for name in names if name in sets}
    for name, files in lacking.items():
        if files:
            _say(f"{name}: still without {', '.join(files)}; import or fetch the rest")
    for same in verify.same_weights(verify.recorded(sets, root)):
        _say(_same(same))
    return 1 if any(lacking.values()) else 0


def _same(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} have the same weights: all but one are in the wrong folder"


def _verify(args: argparse.Namespace) -> int:
    from lbpmap.models import known, places, verify

    sets, verdicts = known.load(), []
    for each in verify.verify(sets, places.search_path(args.models), args.names):
        verdicts.append(each)
        print(f"{each.state:<8} {one_line(each.path or f'{each.name}/{each.file}')}: {each.said}")
    if not verdicts:
        print("no models here; 'lbpmap models fetch' and 'lbpmap models import' bring some")
    confused = [
        same for same in verify.same_weights(verdicts) if sum(name in sets for name in same) > 1
    ]
    for same in confused:
        _say(_same(same))
    wrong = [each for each in verdicts if each.state in (verify.CHANGED, verify.MISSING)]
    if wrong:
        print(f"{len(wrong)} of {len(verdicts)} files are not as they should be", file=sys.stderr)
    return 1 if wrong or confused else 0


def _card(args: argparse.Namespace) -> int:
    from lbpmap.emotion.card import card

    print(card(args.name, args.models))
    return 0
