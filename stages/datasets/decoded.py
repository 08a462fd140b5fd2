"""Image files as one array on disk: decoded and resized once, then mapped into memory.

So a set may be larger than memory, every epoch after the first decode costs no more than reading
pixels, and the system keeps as much of them in memory as it has to spare.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages import progress
from stages.artifacts.atomic import replacing
from stages.datasets import cache
from stages.errors import DataError

Decode = Callable[[Path], NDArray[np.uint8]]
"""One file -> uint8 (H, W, C). Raises DataError for a file that is not fit."""

FILES_PER_TASK = 64


def decoded(
    files: Sequence[Path],
    shape: tuple[int, int, int],
    owner: str,
    decode: Decode,
    skip_bad: bool,
) -> tuple[NDArray[np.uint8], list[str]]:
    """All `files` as uint8 (N, H, W, C) on disk, and why a row is black, "" where it is not.

    `owner` names the set and the form of its images: of each owner the newest array is kept.
    With `skip_bad` a file that is not fit becomes a black row; else its DataError is raised.
    """
    stem = f"images-{_hash(owner)}"
    key = _hash(skip_bad, shape, [_fingerprint(file) for file in files])
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


def _fingerprint(file: Path) -> tuple[str, int, int]:
    """Changed content shows in size and time, as everywhere in the line."""
    stat = file.stat()
    return str(file), stat.st_size, stat.st_mtime_ns


def _read(
    kept: Path, count: int, shape: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], list[str]] | None:
    try:
        images = np.load(kept, mmap_mode="r", allow_pickle=False)
        bad = json.loads(_notes(kept).read_text())
    except (OSError, ValueError):
        return None
    fits = images.shape == (count, *shape) and images.dtype == np.uint8
    return (images, bad) if fits and len(bad) == count else None


def _notes(kept: Path) -> Path:
    return kept.with_suffix(".json")


def _write(
    kept: Path,
    files: Sequence[Path],
    shape: tuple[int, int, int],
    decode: Decode,
    skip_bad: bool,
) -> None:
    whole = (len(files), *shape)
    _check_room(kept.parent, int(np.prod(whole)))
    try:
        with replacing(kept) as draft:
            images = np.lib.format.open_memmap(draft, mode="w+", dtype=np.uint8, shape=whole)
            bad = _decode_all(files, images, decode, skip_bad)
            images.flush()
            _notes(kept).write_text(json.dumps(bad))
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
    files: Sequence[Path], images: NDArray[np.uint8], decode: Decode, skip_bad: bool
) -> list[str]:
    """Fill `images` in parallel: Pillow decodes and resizes without Python's lock."""

    def work(start: int) -> list[str]:
        bad = []
        for row in range(start, min(start + FILES_PER_TASK, len(files))):
            try:
                images[row] = decode(files[row])
                bad.append("")
            except DataError as error:
                if not skip_bad:
                    raise
                bad.append(error.message)
        return bad

    progress.report(f"decode {len(files)} images")
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        try:
            parts = list(threads.map(work, range(0, len(files), FILES_PER_TASK)))
        except DataError:
            threads.shutdown(cancel_futures=True)
            raise
    return [reason for part in parts for reason in part]


def _forget_others(kept: Path, stem: str) -> None:
    """Remove what the same set left in former states; a process that maps it keeps it."""
    for file in kept.parent.glob(f"{stem}-*"):
        if file.stem != kept.stem:
            file.unlink(missing_ok=True)
