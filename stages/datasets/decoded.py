"""Image files as one array on disk: decoded and resized once, then mapped into memory.

So a set may be larger than memory, every epoch after the first decode costs no more than reading
pixels, and the system keeps as much of them in memory as it has to spare.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages import progress
from stages.artifacts.atomic import replacing
from stages.datasets import cache
from stages.errors import DataError

Sources = Sequence[tuple[Path, ...]]
"""Of each row the file that is decoded, then others that it is checked against."""
Decode = Callable[..., tuple[NDArray[np.uint8], Sequence[str]]]
"""The files of a row -> uint8 (H, W, C), and what had to be done. Raises DataError where unfit."""

FILES_PER_TASK = 64
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """Images uint8 (N, H, W, C) on disk, and why a row is black, "" where it is not.

    `changed` counts the images by what had to be done to them.
    """

    images: NDArray[np.uint8]
    bad: list[str]
    changed: dict[str, int]


def decoded(
    files: Sources,
    shape: tuple[int, int, int],
    owner: str,
    decode: Decode,
    skip_bad: bool,
) -> DecodedImages:
    """All `files` as one array on disk, which is hashed in full before it is returned.

    `owner` names the set and the form of its images: of each owner the newest array is kept.
    With `skip_bad` a file that is not fit becomes a black row; else its DataError is raised.
    """
    stem = f"images-{_hash(owner)}"
    key = _hash(skip_bad, shape, [_fingerprint(file) for row in files for file in row])
    kept = cache.folder() / f"{stem}-{key}.npy"
    found = _read(kept, len(files), shape)
    if found is None:
        _write(kept, files, shape, decode, skip_bad)
        _forget_others(kept, stem)
        found = _read(kept, len(files), shape)
    if found is None:
        raise DataError(f"{kept} cannot be read, though it was just written", cache.MOVE)
    return found


def _hash(*values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _fingerprint(file: Path) -> tuple[str | int, ...]:
    """Changed content shows in size, times and inode, as everywhere in the line."""
    try:
        stat = file.stat()
    except OSError:  # A broken link, for one: decoding it says so.
        return (str(file),)
    return str(file), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _read(kept: Path, count: int, shape: tuple[int, int, int]) -> DecodedImages | None:
    try:
        notes = json.loads(_notes(kept).read_text())
        if notes["sha256"] != _digest(kept, notes["bad"], notes["changed"]):
            progress.report(f"{kept} changed on disk: the images are decoded again")
            return None
        images = np.load(kept, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fits = images.shape == (count, *shape) and images.dtype == np.uint8
    return DecodedImages(images, notes["bad"], notes["changed"]) if fits else None


def _notes(kept: Path) -> Path:
    return kept.with_suffix(".json")


def _digest(file: Path, bad: list[str], changed: dict[str, int]) -> str:
    """SHA-256, in hex, of the array in `file` and of the notes on it."""
    digest = hashlib.sha256(json.dumps([bad, changed]).encode())
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _write(
    kept: Path,
    files: Sources,
    shape: tuple[int, int, int],
    decode: Decode,
    skip_bad: bool,
) -> None:
    whole = (len(files), *shape)
    _check_room(kept.parent, math.prod(whole))
    try:
        with replacing(kept) as draft:
            images = np.lib.format.open_memmap(draft, mode="w+", dtype=np.uint8, shape=whole)
            bad, changed = _decode_all(files, images, decode, skip_bad)
            images.flush()
            notes = {"sha256": _digest(draft, bad, changed), "bad": bad, "changed": changed}
            _notes(kept).write_text(json.dumps(notes))
    except OSError as error:
        raise DataError(f"{kept} cannot be written ({error})", cache.MOVE) from error


def _check_room(folder: Path, needed: int) -> None:
    """A mapped file that runs out of disk ends the process, without a message."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"the decoded images take {needed >> 20} MiB, {folder} has {free >> 20} MiB left",
            f"choose smaller images (data.image_size), or {cache.MOVE}",
        )


def _decode_all(
    files: Sources, images: NDArray[np.uint8], decode: Decode, skip_bad: bool
) -> tuple[list[str], dict[str, int]]:
    """Fill `images` in parallel: Pillow decodes and resizes without Python's lock."""

    def work(start: int) -> tuple[list[str], list[str]]:
        bad: list[str] = []
        changed: list[str] = []
        for row in range(start, min(start + FILES_PER_TASK, len(files))):
            try:
                images[row], changes = decode(*files[row])
                changed += changes
                bad.append("")
            except DataError as error:
                if not skip_bad:
                    raise
                bad.append(error.message)
        return bad, changed

    progress.report(f"decode {len(files)} images")
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        try:
            parts = list(threads.map(work, range(0, len(files), FILES_PER_TASK)))
        except DataError:
            threads.shutdown(cancel_futures=True)
            raise
    changed = Counter(change for _, changes in parts for change in changes)
    return [reason for bad, _ in parts for reason in bad], dict(changed)


def _forget_others(kept: Path, stem: str) -> None:
    """Remove what the same set left in former states; a process that maps it keeps it."""
    for file in kept.parent.glob(f"{stem}-*"):
        if file.stem != kept.stem:
            file.unlink(missing_ok=True)
