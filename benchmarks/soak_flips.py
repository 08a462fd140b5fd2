"""Single bits of everything that is read are flipped, one at a time; see soak.py."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import commands
from pipeline.core.hashing import Hashes, canonical_json, key_of
from pipeline.core.plan import Plan, select
from pipeline.core.record import FILE as RECORD
from pipeline.core.store import Store
from pipeline.results import evidence, history
from stages.errors import ArtifactError, UserError
from stages.settings import Settings

KINDS = ("record", "artifact", "history", "report", "cache")


@dataclass(frozen=True)
class Flip:
    """Bit `bit` of the byte `place` of a file."""

    kind: str
    file: Path
    place: int
    bit: int

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Flip it, and put it right again; neither changes the size or the time."""
        whole, stat = self.file.read_bytes(), self.file.stat()
        flipped = bytearray(whole)
        flipped[self.place] ^= 1 << self.bit
        try:
            self.file.write_bytes(flipped)
            os.utime(self.file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            yield
        finally:
            self.file.write_bytes(whole)
            os.utime(self.file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def flip_bits(root: Path, plan: Plan, count: int, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Flip `count` bits in the finished artifact folder `root`.

    Yields which, and what did not notice it before it used what it read.
    """
    files = _files(root, plan)
    sound = _sound(root, plan)
    if sound:
        raise SystemExit(f"the folder is not sound to begin with:\n{sound}")
    for number in range(count):
        draw = random.Random(f"{seed} flip {number}")
        kind = draw.choice(KINDS)
        file = draw.choice(files[kind])
        flip = Flip(kind, file, draw.randrange(file.stat().st_size), draw.randrange(8))
        with flip.applied():
            faults = list(_unnoticed(flip, root, plan))
        where = f"{flip.file.relative_to(root)}, byte {flip.place}, bit {flip.bit}"
        yield kind, [f"{where}: {fault}" for fault in faults]
    if sound := _sound(root, plan):
        yield "in the end", [sound]


def _files(root: Path, plan: Plan) -> dict[str, list[Path]]:
    """What is read, by kind. The hashes of all files are in the cache afterwards."""
    store = Store(root, plan)
    records = {stage.name: store.read(stage.name) for stage in plan}
    artifacts = [
        root / stage / name for stage, each in records.items() if each for name in each.files
    ]
    for file in artifacts:
        store.hashes.of(file)
    store.hashes.save()
    return {
        "record": [root / stage / RECORD for stage in records],
        "artifact": [file for file in artifacts if file.stat().st_size],
        "history": [root / history.FILE],
        "report": [root / "report.json"],
        "cache": [root / ".hashes.json"],
    }


def _sound(root: Path, plan: Plan) -> str:
    """What `pipeline verify` finds, "" if nothing."""
    return _said_by(lambda: commands.show_verification(root, plan), ArtifactError)


def _said_by(command: Callable[[], None], expected: type[UserError]) -> str:
    """What a command prints and raises, "" if it ends well."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            command()
        except expected as error:
            return f"{said.getvalue()}{error}"
    return ""


def _unnoticed(flip: Flip, root: Path, plan: Plan) -> Iterator[str]:
    try:
        if flip.kind == "cache":
            if Hashes(flip.file)._known:
                yield "a damaged cache was believed"
            return
        if str(flip.file) not in _sound(root, plan):
            yield "pipeline verify does not name it"
        yield from READERS[flip.kind](flip, root, plan)
    except Exception as error:
        yield f"{type(error).__name__}: {error}"


def _read_record(flip: Flip, root: Path, plan: Plan) -> Iterator[str]:
    try:
        Store(root, plan).read(flip.file.parent.name)
        yield "the record is read"
    except ArtifactError:
        pass


def _read_artifact(flip: Flip, root: Path, plan: Plan) -> Iterator[str]:
    """The cache is made to believe that nothing has changed, as it does after a disk lost a bit."""
    stage, *below = flip.file.relative_to(root).parts
    cache = root / ".hashes.json"
    kept = cache.read_bytes()
    record = Store(root, plan).read(stage)
    if record is None:
        raise ValueError(f"{stage} has no record")
    _deceive(cache, flip.file, record.files["/".join(below)].sha256)
    try:
        consumer = next((each.name for each in plan if stage in each.needs), None)
        if consumer is not None:
            line = select(plan, (consumer,), None, None)
            request = commands.RunRequest((consumer,), root, force=True)
            said = _said_by(lambda: commands.run_stages(request, Settings(), plan), ArtifactError)
            if f"{flip.file} changed on disk; {line[0].name} does not read it" not in said:
                yield f"{consumer} reads it: {said}"
        elif flip.file.suffix == ".npz":
            with contextlib.suppress(ArtifactError):
                evidence.load(flip.file)
    finally:
        cache.write_bytes(kept)


def _deceive(cache: Path, file: Path, sha256: str) -> None:
    known, stat = json.loads(cache.read_bytes())["hashes"], file.stat()
    times = [stat.st_mtime_ns, stat.st_ctime_ns]
    known[os.path.abspath(file)] = [stat.st_size, *times, stat.st_ino, sha256]
    cache.write_bytes(canonical_json({"hashes": known, "seal": key_of(known)}))


def _read_history(flip: Flip, root: Path, plan: Plan) -> Iterator[str]:
    if not history.read(root)[1]:
        yield "the history is read"


def _read_report(flip: Flip, root: Path, plan: Plan) -> Iterator[str]:
    from pipeline import comparison
    from pipeline.results import gate

    for read in (
        lambda: comparison.find(str(flip.file), root, plan),
        lambda: gate.limits_before(root),
    ):
        try:
            read()
            yield "the report is read"
        except ArtifactError:
            pass


READERS = {
    "record": _read_record,
    "artifact": _read_artifact,
    "history": _read_history,
    "report": _read_report,
}
