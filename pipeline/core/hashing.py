"""SHA-256 of files, folders and JSON values; an unchanged file is read only once."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.artifacts.atomic import replacing

SETTLE_NS = 1_000_000_000
"""A file modified within this time is hashed again next time: another change within the same tick
of the file system's clock would leave no trace. https://git-scm.com/docs/racy-git describes the
same trap."""

CHUNK_BYTES = 1 << 20
NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def canonical_json(value: Any) -> bytes:
    """One spelling per JSON value: sorted keys, no blanks, ASCII.

    Raises ValueError for NaN and infinities, TypeError for what JSON does not know.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def key_of(value: Any) -> str:
    """SHA-256, in hex, of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def hash_file(file: Path) -> str:
    """SHA-256, in hex, of what is in `file`.

    Raises OSError, for a pipe or a device too, which may never end.
    """
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError(errno.EINVAL, "neither a regular file nor a folder", str(file))
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def hash_folder(folder: Path, content: Callable[[Path], str] | None = None) -> str:
    """SHA-256, in hex, of the names of all that is below `folder`, and of what tells that a file
    changed: its `content` if that is given, else its size, times and inode.

    An image folder can hold gigabytes, which need not be read; `rsync -t` and `cp -p` keep size
    and time, but not the time of the inode.
    """
    return key_of(sorted(_listing(folder, content)))


def _listing(folder: Path, content: Callable[[Path], str] | None) -> Iterator[Sequence[str | int]]:
    visited = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        yield from ([os.path.relpath(os.path.join(parent, each), folder)] for each in folders)
        known = os.stat(parent)
        if (known.st_dev, known.st_ino) in visited:  # A link to a folder above, or to another.
            folders.clear()
            continue
        visited.add((known.st_dev, known.st_ino))
        for path in (Path(parent, name) for name in names):
            name = os.path.relpath(path, folder)
            yield [name, *_tell(path, content)]


def _tell(path: Path, content: Callable[[Path], str] | None) -> list[str | int]:
    try:
        if content is not None and path.is_file():
            return [content(path)]
        return list(_fingerprint(path))
    except OSError as error:
        if error.errno not in NOTHING_THERE:
            raise
        return []  # A link to nothing, or a name in a CSV file.


class Hashes:
    """SHA-256 of files, remembered in the file `cache` from one run to the next.

    A file counts as unchanged as long as its size, times (of its content and of its inode)
    and inode are. The cache is only a memory: without it everything is hashed again.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._known = _read(cache)
        self._is_changed = False

    def of(self, path: Path, by_content: bool = False) -> str:
        """SHA-256 of a file's content, or of a folder as `hash_folder` says. Raises OSError."""
        if path.is_dir():
            return hash_folder(path, self.of if by_content else None)
        name, before = os.path.abspath(path), _fingerprint(path)
        known = self._known.get(name)
        if known is not None and known[:-1] == before:
            return str(known[-1])
        digest = hash_file(path)
        # The file may have changed while it was read.
        if before == _fingerprint(path) and _is_settled(path):
            self._known[name] = [*before, digest]
            self._is_changed = True
        return digest

    def of_listed(self, files: Mapping[str, Path], by_content: bool = False) -> str:
        """SHA-256 of `files` by name, each known as one of a folder is. Raises OSError."""
        content = self.of if by_content else None
        return key_of(sorted([name, *_tell(file, content)] for name, file in files.items()))

    def save(self) -> None:
        """Write the memory down, without the files that are gone; a read-only disk is no error."""
        if not self._is_changed:
            return
        known = {name: entry for name, entry in self._known.items() if os.path.exists(name)}
        with contextlib.suppress(OSError), replacing(self._cache) as draft:
            draft.write_bytes(canonical_json({"hashes": known, "seal": key_of(known)}))
        self._is_changed = False


def _fingerprint(path: Path) -> list[int]:
    seen = path.stat()
    # The ctime too: `cp -p`, rsync and tar set the mtime back.
    return [seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino]


def _is_settled(path: Path) -> bool:
    seen = path.stat()
    return max(seen.st_mtime_ns, seen.st_ctime_ns) + SETTLE_NS < time.time_ns()


def _read(cache: Path) -> dict[str, list[Any]]:
    """What was remembered; nothing from a file that is not what `save` wrote, bit for bit."""
    try:
        raw = cache.read_bytes()
        content = json.loads(raw)
        known: dict[str, list[Any]] = content["hashes"]
        is_sound = content["seal"] == key_of(known) and raw == canonical_json(content)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return known if is_sound else {}
