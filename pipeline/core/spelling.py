"""The nearest known name, for whoever mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name in `known` that looks most like `name`, None if none does."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def suggestion(name: str | None) -> str:
    """`"; did you mean 'train'?"` for "train", "" for None: the end of an error message."""
    return "" if name is None else f"; did you mean {name!r}?"
