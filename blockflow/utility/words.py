"""What messages say of a word that is not known."""

import difflib
from collections.abc import Iterable

__all__ = ["choices"]


def choices(given: str, valid: Iterable[str]) -> str:
    """The end of a message on a word that is not known: the valid ones, and the one that may be meant."""
    words = sorted(valid)
    near = difflib.get_close_matches(given, words, n=1)
    return f"valid are {', '.join(words) or 'none'}" + (f", did you mean {near[0]!r}?" if near else "")
