"""A seal on JSON that we wrote: whoever reads it back knows that not a bit of it has changed.

The seal is the last key of the object: the SHA-256 of the very bytes, with zeros in its own place.
It guards against damage and slips of the hand, not against somebody who knows how to compute it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

KEY = "seal"
EMPTY = b"0" * 64
END = b'"}\n'
LAST_KEY = re.compile(rb', "seal": "([0-9a-f]{64})"}\n\Z')


def sealed(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    """`content`, which is not empty, with its seal as ASCII JSON, on one line without an `indent`.

    Raises ValueError for a number that JSON has no word for.
    """
    separators = (",", ":") if indent is None else None
    return seal(json.dumps(content, indent=indent, separators=separators, allow_nan=False))


def seal(text: str) -> bytes:
    """The JSON object `text`, which is not empty, with its seal as UTF-8."""
    body = text.rstrip().removesuffix("}").rstrip()
    start = body.encode() + b', "seal": "'
    return start + _digest(start, END) + END


def _digest(start: bytes, end: bytes) -> bytes:
    return hashlib.sha256(start + EMPTY + end).hexdigest().encode()


def opened(raw: bytes) -> dict[str, Any]:
    """The content of what `sealed` wrote, without its seal. Raises ValueError for anything else.

    The bytes count, not the values: a changed blank changes no value, but somebody changed it.
    """
    content = json.loads(raw)
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    found = LAST_KEY.search(raw)
    if found is None:
        raise ValueError("it has no seal")
    start, end = found.span(1)
    del content[KEY]
    if _digest(raw[:start], raw[end:]) != found[1]:
        raise ValueError("its seal does not fit: it was changed after it was written")
    return content
