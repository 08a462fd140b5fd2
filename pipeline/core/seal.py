"""A seal on JSON that we wrote: whoever reads it back knows that not a bit of it has changed.

The seal is the SHA-256 of the canonical content (pipeline/core/hashing.py), as one more key. It
guards against damage and slips of the hand, not against somebody who knows how to compute it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.core.hashing import key_of

KEY = "seal"


def sealed(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    """`content` with its seal as ASCII JSON, on one line without an `indent`.

    Raises ValueError for a number that JSON has no word for.
    """
    separators = (",", ":") if indent is None else None
    whole = {**content, KEY: key_of(dict(content))}
    text = json.dumps(whole, indent=indent, separators=separators, allow_nan=False)
    return text.encode("ascii") + b"\n"


def opened(raw: bytes, indent: int | None = None) -> dict[str, Any]:
    """The content of what `sealed` wrote, without its seal. Raises ValueError for anything else.

    The bytes are compared as well: a changed blank changes no value, but somebody changed it.
    """
    content = json.loads(raw)
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    seal = content.pop(KEY, None)
    if seal is None:
        raise ValueError("it has no seal")
    if seal != key_of(content) or raw != sealed(content, indent):
        raise ValueError("its seal does not fit: it was changed after it was written")
    return content
