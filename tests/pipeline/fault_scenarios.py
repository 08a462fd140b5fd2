"""What the folder of artifacts must survive; `python fault_scenarios.py NAME FOLDER`.

Each scenario prepares a folder, does one thing under every fault (faulty.py), and checks two
things after each: that the folder holds the old state or the new, and that the next run ends well.
Prints how many faults were tried and how many states were seen. A folder of its own per fault.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import tiny_artifact
from faulty import Ending, attempt, each_fault

from pipeline.core import ownership
from pipeline.core.hashing import Hashes, hash_file
from pipeline.core.lock import locked
from pipeline.core.plan import PLAN
from pipeline.core.store import Store
from pipeline.results import history
from pipeline.results.summary import Summary, summarize
from stages.artifacts.atomic import replacing
from tests.pipeline.records import report_of

OLD, NEW = "old weights", "the new weights"
LATER = "weights of the next run"


class Scenario:
    """One thing that is done to the folder `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make the old state."""

    def act(self) -> None:
        """Do it, with one fault."""

    def check(self, ending: Ending) -> str | None:
        """Which state the folder is in. Raises AssertionError for anything in between."""
        raise NotImplementedError

    def run_again(self) -> None:
        """The next run, without a fault, which must end well."""


class FirstArtifact(Scenario):
    """An artifact is written where there is none."""

    before: str | None = None

    def prepare(self) -> None:
        if self.before is not None:
            tiny_artifact.write(self.root, self.before)

    def act(self) -> None:
        Store(self.root).recover()
        tiny_artifact.write(self.root, NEW)

    def check(self, ending: Ending) -> str | None:
        found = tiny_artifact.content(self.root)
        assert found in (self.before, NEW)
        assert found == NEW or ending != "ended"
        return found

    def run_again(self) -> None:
        was = tiny_artifact.content(self.root)
        Store(self.root).recover()
        assert tiny_artifact.content(self.root) == was
        self._remove_set_aside()
        assert {path.name for path in self.root.iterdir()} <= {"train"}
        tiny_artifact.write(self.root, LATER)
        assert tiny_artifact.content(self.root) == LATER
        assert [path.name for path in self.root.iterdir()] == ["train"]

    def _remove_set_aside(self) -> None:
        """Without its record nobody can tell whose a folder is: it is kept, and whole."""
        for folder in self.root.glob("train.set-aside-*"):
            assert (folder / "model.keras").read_text() == self.before
            shutil.rmtree(folder)


class NextArtifact(FirstArtifact):
    """An artifact takes the place of another."""

    before = OLD


class RecoveryInTheSwap(NextArtifact):
    """A run that was killed between the two renames is recovered."""

    def prepare(self) -> None:
        super().prepare()
        (self.root / "train").rename(self.root / ".old-train")
        (self.root / ".new-train-99/deep").mkdir(parents=True)
        (self.root / ".new-train-99/deep/half.txt").write_text("half")

    def act(self) -> None:
        Store(self.root).recover()

    def check(self, ending: Ending) -> str | None:
        assert tiny_artifact.content(self.root) == OLD
        return OLD


class RecoveryAfterTheSwap(RecoveryInTheSwap):
    """A run that was killed before it had deleted the former artifact is recovered."""

    def prepare(self) -> None:
        super().prepare()
        tiny_artifact.write(self.root / "elsewhere", OLD)
        (self.root / "elsewhere/train").rename(self.root / "train")
        (self.root / "elsewhere").rmdir()


class ReplacedFile(Scenario):
    """`replacing` puts a file in the place of another."""

    def prepare(self) -> None:
        (self.root / "report.json").write_text(OLD)

    def act(self) -> None:
        with replacing(self.root / "report.json") as draft:
            draft.write_text(NEW)

    def check(self, ending: Ending) -> str | None:
        found = (self.root / "report.json").read_text()
        assert found == NEW or (found == OLD and ending != "ended")
        return found

    def run_again(self) -> None:
        Store(self.root).recover()
        assert [path.name for path in self.root.iterdir()] == ["report.json"]
        self.act()
        assert self.check("ended") == NEW


class HistoryLine(Scenario):
    """A run is added to a history that has one."""

    before = 1

    def _append(self, model: str) -> None:
        history.append(self.root, SUMMARY.model_copy(update={"model": model}))

    def prepare(self) -> None:
        for _ in range(self.before):
            self._append(OLD)

    def act(self) -> None:
        self._append(NEW)

    def check(self, ending: Ending) -> str | None:
        runs, faults = history.read(self.root)
        models = [run.model for run in runs]
        assert models in ([OLD] * self.before, [OLD] * self.before + [NEW])
        assert len(faults) <= (ending == "killed")
        assert NEW in models or ending != "ended"
        return models[-1] if models else None

    def run_again(self) -> None:
        known, broken = history.read(self.root)
        self._append(LATER)
        runs, faults = history.read(self.root)
        assert runs[:-1] == known
        assert runs[-1].model == LATER
        assert len(faults) == len(broken)


class FirstHistoryLine(HistoryLine):
    """The first run of a folder is added to its history."""

    before = 0


class HashCache(Scenario):
    """A file is hashed and remembered."""

    def prepare(self) -> None:
        self.file = self.root / "weights"
        self.file.write_text(OLD)
        os.utime(self.file, (0, 0))
        hashes = Hashes(self.root / ".hashes.json")
        hashes.of(self.file)
        hashes.save()
        self.file.write_text(NEW)

    def act(self) -> None:
        hashes = Hashes(self.root / ".hashes.json")
        assert hashes.of(self.file) == hash_file(self.file)
        hashes.save()

    def check(self, ending: Ending) -> str | None:
        hashes = Hashes(self.root / ".hashes.json")
        assert hashes.of(self.file) == hash_file(self.file)
        return NEW

    def run_again(self) -> None:
        self.act()
        Store(self.root).recover()
        assert {path.name for path in self.root.iterdir()} <= {"weights", ".hashes.json"}


class Lock(Scenario):
    """A run holds the lock and lets it go."""

    def act(self) -> None:
        with locked(self.root, "pipeline run"):
            pass

    def check(self, ending: Ending) -> str | None:
        return None

    def run_again(self) -> None:
        self.act()
        assert (self.root / ".lock").read_text() == ""


class Claim(Scenario):
    """A new folder becomes an artifact folder."""

    def act(self) -> None:
        ownership.claim(self.root / "artifacts", PLAN, [self.root / "photos"])

    def check(self, ending: Ending) -> str | None:
        is_ours = ownership.is_marked(self.root / "artifacts")
        assert is_ours or ending != "ended"
        return NEW if is_ours else OLD

    def run_again(self) -> None:
        self.act()
        assert ownership.is_marked(self.root / "artifacts")


SUMMARY: Summary = summarize(report_of())

SCENARIOS: dict[str, type[Scenario]] = {
    each.__name__: each
    for each in (
        *(FirstArtifact, NextArtifact, RecoveryInTheSwap, RecoveryAfterTheSwap),
        *(ReplacedFile, FirstHistoryLine, HistoryLine, HashCache, Lock, Claim),
    )
}


def main(name: str, folder: Path) -> None:
    really_sync = os.fsync
    seen: Counter[str] = Counter()
    for fault in each_fault():
        root = folder / f"{fault.step} {fault.kind}"
        root.mkdir()
        scenario = SCENARIOS[name](root)
        os.fsync = lambda _: None  # What is checked here is the order; the disk need not work.
        scenario.prepare()
        try:
            ending = attempt(scenario.act, fault)
            state = scenario.check(ending)
            scenario.run_again()
        except Exception as error:
            raise AssertionError(f"{name}: {fault}, kept in {root}") from error
        seen[ending] += 1
        seen[f"state {state}"] += 1
        if ending == "never":
            break
    os.fsync = really_sync
    print((fault.step, dict(seen)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
