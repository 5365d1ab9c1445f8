"""What an error says about a file, fit to be shown: a file's own words may be anything."""

from __future__ import annotations

# Enough for a list of all layer types.
_LONGEST = 1200


def one_line(said: object) -> str:
    r"""Return the text of an error as one printable line.

    Names that a hostile file has may hold line ends, control sequences of a terminal or no
    characters at all, and be as long as the file.

    Parameters
    ----------
    said : exception or str

    Returns
    -------
    str
        Of an OSError without its number, and the name of its class where it says nothing. White
        space that is no plain space becomes one, other unprintable characters their escape; what is
        too long is cut.

    Examples
    --------
    >>> one_line('layer "a\nb\x1b[2J"')
    'layer "a b\\x1b[2J"'
    """
    text = str(said) or type(said).__name__
    if isinstance(said, OSError) and said.strerror:
        text = f"{said.filename}: {said.strerror}" if said.filename else said.strerror
    if not text.isprintable():
        words = " ".join(text.split())
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
