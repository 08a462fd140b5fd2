"""Files by their address: fetched once, no larger than allowed, and the ones that were meant."""

from __future__ import annotations

import hashlib
import threading
import time
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
LONGEST_NAME = 60

LEAST_BYTES_PER_SECOND = 1024
WINDOW_SECONDS = 60.0
"""The least rate holds for each of these windows, the first with all that precedes the body."""
DEADLINE_SECONDS = 12 * 3600.0


def is_address(text: str) -> bool:
    """Whether `text` is a URL rather than a path."""
    return "://" in text


def fetch(url: str, sha256: str | None, limit_mib: int) -> Path:
    """The file at `url`, http or https, from the cache if it was fetched before.

    A kept file is hashed on every use: one that is no longer `sha256`, or what was fetched, is
    fetched anew. Raises DataError for an address that does not answer, or too slowly, for a file
    larger than `limit_mib`, and for one whose SHA-256 is not `sha256`.
    """
    key = hashlib.sha256(f"{url} {sha256}".encode()).hexdigest()[:16]
    name = PurePosixPath(urlsplit(url).path).name[-LONGEST_NAME:] or "file"
    kept = cache.folder() / f"{key}-{name}"
    if not _is_intact(kept, sha256):
        with replacing(kept) as draft:
            digest = _Download(url, draft, limit_mib).run()
            _check(url, digest, sha256)
        _digest_file(kept).write_text(digest)
    return kept


def _digest_file(kept: Path) -> Path:
    return kept.with_name(f"{kept.name}.sha256")


def _is_intact(kept: Path, sha256: str | None) -> bool:
    try:
        expected = sha256 or _digest_file(kept).read_text()
        with kept.open("rb") as stream:
            found = _sha256(stream)
    except (OSError, ValueError):
        return False
    if found != expected.lower():
        progress.report(f"{kept} is not what was fetched: it is fetched again")
    return found == expected.lower()


def _sha256(stream: Any) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _check(url: str, digest: str, sha256: str | None) -> None:
    if sha256 is not None and digest != sha256.lower():
        raise DataError(
            f"{url} has the SHA-256 {digest}, data.sha256 is {sha256}",
            "the file is damaged or not the one that was meant: do not use it before you know why",
        )


class _Download:
    """One download, in a thread: a server that sends a byte now and then, in the head of its
    answer as well, keeps every call of urllib waiting, which no timeout of a socket ends."""

    def __init__(self, url: str, draft: Path, limit_mib: int) -> None:
        self._url, self._draft, self._limit_mib = url, draft, limit_mib
        self._received, self._is_given_up = 0, False
        self._digest = hashlib.sha256()
        self._error: BaseException | None = None

    def run(self) -> str:
        """Fetch the file and return its SHA-256. Raises DataError."""
        progress.report(f"fetch {self._url}")
        thread = threading.Thread(target=self._fetch, daemon=True)
        thread.start()
        try:
            self._watch(thread)
            if self._error is not None:
                raise self._error
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            raise DataError(
                f"{self._url} cannot be fetched ({reason})",
                "check the address and the network, or fetch it elsewhere: --set data.path=FILE",
            ) from error
        finally:
            self._is_given_up = True
        return self._digest.hexdigest()

    def _watch(self, thread: threading.Thread) -> None:
        """Wait for the end. Raises OSError as soon as it takes too long."""
        deadline, before = time.monotonic() + DEADLINE_SECONDS, 0
        while True:
            thread.join(min(WINDOW_SECONDS, max(0.0, deadline - time.monotonic())))
            if not thread.is_alive():
                return
            if time.monotonic() >= deadline:
                raise OSError(f"not finished after {DEADLINE_SECONDS / 3600:g} hours")
            if self._received - before < LEAST_BYTES_PER_SECOND * WINDOW_SECONDS:
                raise OSError(
                    f"{self._received - before} bytes in {WINDOW_SECONDS:g} s, "
                    f"expected {LEAST_BYTES_PER_SECOND} per second or more"
                )
            before = self._received

    def _fetch(self) -> None:
        try:
            # The settings take http and https only.
            with urllib.request.urlopen(self._url, timeout=TIMEOUT_SECONDS) as answer:
                if self._is_given_up:
                    return
                with self._draft.open("wb") as to:
                    for chunk in self._chunks(answer):
                        self._digest.update(chunk)
                        to.write(chunk)
        except BaseException as error:
            self._error = error

    def _chunks(self, answer: Any) -> Iterator[bytes]:
        """The body, in pieces. Raises DataError as soon as it is known to be too large."""
        announced = answer.headers.get("Content-Length")
        # Not `read`, which returns only once it has all that it was asked for.
        while (chunk := answer.read1(CHUNK_BYTES)) and not self._is_given_up:
            self._received += len(chunk)
            if max(self._received, int(announced or 0)) > self._limit_mib << 20:
                raise DataError(
                    f"{self._url} has more than data.max_download_mib allows, "
                    f"{self._limit_mib} MiB",
                    f"if it is the right file: --set data.max_download_mib={2 * self._limit_mib}",
                )
            yield chunk
        if announced is not None and self._received < int(announced):
            raise OSError(f"it ended after {self._received} of {announced} bytes")
