"""What differs between two nested dictionaries, by dotted name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """{"cpu": {"cores": 2}} -> ("cpu.cores", 2); lists stay whole, and so do empty dictionaries."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted name -> (before, after) where the two differ; None where one has no such name.

    An empty dictionary that the other side fills is said by the names of what is in it.
    """
    old, new = dict(flatten(before)), dict(flatten(after))
    names = changed(old, new)
    return {
        name: (old.get(name), new.get(name))
        for name in names
        if not any(other.startswith(f"{name}.") for other in names)
    }


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ, or that only one of the two has."""
    names = dict.fromkeys((*before, *after))
    return [name for name in names if before.get(name) != after.get(name)]


def in_words(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """ "prune.ratio 0.5 -> 0.3" for every difference."""
    return [
        f"{name} {_spelled(old)} -> {_spelled(new)}"
        for name, (old, new) in differing(before, after).items()
    ]


def _spelled(value: Any) -> str:
    return "none" if value is None else json.dumps(value)
