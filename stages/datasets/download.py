"""Files by their address: fetched once, no larger than allowed, and the ones that were meant."""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from stages import progress
from stages.artifacts.atomic import replacing
from stages.datasets import cache
from stages.errors import DataError

TIMEOUT_SECONDS = 30.0
CHUNK_BYTES = 1 << 20


def is_address(text: str) -> bool:
    """Whether `text` is a URL rather than a path."""
    return "://" in text


def fetch(url: str, sha256: str | None, limit_mib: int) -> Path:
    """The file at `url`, from the cache if it was fetched before.

    It never changes there: another checksum, or deleting it, fetches anew. Raises DataError for
    an address that is not http or https or does not answer, a file larger than `limit_mib`, and
    one whose SHA-256 is not `sha256`.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise DataError(
            f"data.path is {url!r}: expected a path, or an address that begins with http:// or "
            "https://",
            "fetch the file by hand, then: --set data.path=FILE",
        )
    key = hashlib.sha256(f"{url} {sha256}".encode()).hexdigest()[:16]
    kept = cache.folder() / f"{key}-{PurePosixPath(parts.path).name or 'file'}"
    if not kept.exists():
        with replacing(kept) as draft:
            _download(url, draft, sha256, limit_mib)
    return kept


def _download(url: str, draft: Path, sha256: str | None, limit_mib: int) -> None:
    progress.report(f"fetch {url}")
    digest = hashlib.sha256()
    try:
        # The scheme is checked above.
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer, draft.open("wb") as to:
            for chunk in _chunks(answer, url, limit_mib):
                digest.update(chunk)
                to.write(chunk)
    except (OSError, HTTPException, ValueError) as error:
        raise DataError(
            f"{url} cannot be fetched ({getattr(error, 'reason', None) or error})",
            "check the address and the network, or fetch it elsewhere: --set data.path=FILE",
        ) from error
    if sha256 is not None and digest.hexdigest() != sha256.lower():
        raise DataError(
            f"{url} has the SHA-256 {digest.hexdigest()}, data.sha256 is {sha256}",
            "the file is damaged or not the one that was meant: do not use it before you know why",
        )


def _chunks(answer: Any, url: str, limit_mib: int) -> Iterator[bytes]:
    """The body, in pieces. Raises DataError as soon as it is known to be too large."""
    announced = answer.headers.get("Content-Length")
    seen = 0
    while chunk := answer.read(CHUNK_BYTES):
        seen += len(chunk)
        if max(seen, int(announced or 0)) > limit_mib << 20:
            raise DataError(
                f"{url} has more than data.max_download_mib allows, {limit_mib} MiB",
                f"if it is the right file: --set data.max_download_mib={2 * limit_mib}",
            )
        yield chunk
    if announced is not None and seen < int(announced):
        raise OSError(f"it ended after {seen} of {announced} bytes")
