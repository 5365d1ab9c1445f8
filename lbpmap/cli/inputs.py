"""Going over many pictures: one that fails is reported, and the rest goes on."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def each(
    items: Sequence[T],
    work: Callable[[T], None],
    path: Callable[[T], Path],
    *,
    quiet: bool,
    verbose: bool,
) -> int:
    """Do `work` on every item, with a progress bar where the error stream is a terminal.

    Returns the exit code: 1 when an item failed, each of which is named on the error stream.
    """
    failed = 0
    # `disable=None` is tqdm's "only on a terminal".
    for item in tqdm(items, unit="picture", disable=True if quiet else None, leave=False):
        try:
            work(item)
        except BrokenPipeError:
            raise
        except (ValueError, OSError, MemoryError) as error:
            failed += 1
            name = str(path(item))
            said = " ".join(str(error).split()) or type(error).__name__
            tqdm.write(said if said.startswith(name) else f"{name}: {said}", file=sys.stderr)
            if verbose:
                tqdm.write(traceback.format_exc(), file=sys.stderr)
    if failed:
        print(f"{failed} of {len(items)} failed", file=sys.stderr)
    return 1 if failed else 0
