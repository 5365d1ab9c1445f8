"""Arguments in any order: ``predict a.jpg --faces mtcnn b.jpg``, as they are typed in a hurry."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any


class Parser(argparse.ArgumentParser):
    """A parser that takes positional arguments on both sides of options.

    argparse by itself takes for ``INPUT ...`` what stands together, and calls the rest
    unrecognized. So it is still where ``--`` says that no options follow.

    Examples
    --------
    >>> parser = Parser()
    >>> _ = parser.add_argument("inputs", nargs="*")
    >>> _ = parser.add_argument("-o")
    >>> parser.parse_args(["a", "-o", "out", "b"]).inputs
    ['a', 'b']
    """

    _is_parsing = False

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse as argparse does, which calls this again for options and for the others."""
        args = sys.argv[1:] if args is None else args
        has_actions = any(action.nargs == argparse.PARSER for action in self._actions)
        # Of "--" at the beginning argparse loses sight between its two rounds.
        if has_actions or self._is_parsing or "--" in args:
            return super().parse_known_args(args, namespace)
        self._is_parsing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_parsing = False
