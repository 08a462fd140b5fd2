"""What is lost and what goes unnoticed when everything goes wrong: nothing, is the goal.

    python benchmarks/soak.py [--kills 100] [--flips 500] [--settings 20000] [--inputs 5000]
                              [--seed 0] [--folder FOLDER] [--results FILE]

kills      Runs of the real line die of SIGKILL: the run, its stage or both, at any time or while an
           artifact is swapped in. The next run resumes. Lost would be an artifact, a line of the
           history or a file of the user; wrong, a run that then fails or leaves something behind.
flips      One bit of a record, an artifact, the history, report.json or the cache of hashes. Each
           must be named by `pipeline verify`, and refused by whoever reads the file.
settings   Random settings, and random TOML, through pipeline.config.load: read or refused.
inputs     Data sets with a damaged image or archive, through stages.datasets: read or refused.

Zero switches a part off. Every try follows from the seed and its number, which a failure names;
what it read is kept in the folder. Prints and writes a Markdown table; exit code 1 if anything
was lost. Takes about an hour, nearly all of it for the kills.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from soak_flips import flip_bits
from soak_fuzz import fuzz_inputs, fuzz_settings
from soak_kills import Line, kill_runs

from pipeline.core.plan import PLAN

QUICK = ("train.epochs=1", "prune.epochs=1", "prune.ratio=0.3", "quantize.epochs=1")
QUICK += ("build.max_seconds_per_engine=0.05", "benchmark.max_seconds_per_engine=0.1")
QUICK += ("benchmark.warmup_seconds=0.02",)

RUN_SECONDS = 20.0
"""Runs are killed within this time: enough for the longest stage to end now and then."""

Tries = Iterable[tuple[str, list[str]]]


class Account:
    """Counts what was tried, by part and kind, and keeps what failed."""

    def __init__(self) -> None:
        self._tried: Counter[tuple[str, str]] = Counter()
        self._failed: Counter[tuple[str, str]] = Counter()
        self.failures: list[str] = []

    def take(self, part: str, tries: Tries) -> None:
        """Count all tries of a part; print the failures as they come."""
        for kind, faults in tries:
            self._tried[part, kind] += 1
            self._failed[part, kind] += bool(faults)
            for fault in faults:
                print(f"{part}, {kind}: {fault}", file=sys.stderr, flush=True)
                self.failures.append(f"{part}, {kind}: {fault}")

    def table(self) -> str:
        """Markdown: a row per part and kind, and one per part for all of it."""
        lines = [
            "| what | kind | tried | lost, wrong or unnoticed |",
            "| --- | --- | ---: | ---: |",
        ]
        for part in dict.fromkeys(part for part, _ in self._tried):
            rows = {kind: count for (of, kind), count in self._tried.items() if of == part}
            for kind in sorted(rows):
                lines.append(f"| {part} | {kind} | {rows[kind]} | {self._failed[part, kind]} |")
            failed = sum(self._failed[part, kind] for kind in rows)
            lines.append(f"| **{part}** | **all** | **{sum(rows.values())}** | **{failed}** |")
        return "\n".join(lines)


def command() -> list[str]:
    """The command line of the real line, with short trainings."""
    settings = [word for pair in QUICK for word in ("--set", pair)]
    return [sys.executable, "-m", "pipeline", "run", "all", *settings]


def soak(options: argparse.Namespace, folder: Path) -> Account:
    """Try everything in `folder`."""
    account = Account()
    folder.mkdir(parents=True, exist_ok=True)
    account.take("settings", fuzz_settings(folder, options.settings, options.seed))
    account.take("inputs", fuzz_inputs(folder, options.inputs, options.seed))
    line = Line(command(), PLAN, folder / "artifacts", RUN_SECONDS)
    if options.kills:
        account.take("kills", kill_runs(line, options.kills, options.seed))
    if options.flips:
        subprocess.run([*line.command, "--artifacts", str(line.root)], check=True)
        account.take("flips", flip_bits(line.root, PLAN, options.flips, options.seed))
    return account


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--settings", type=int, default=20_000)
    parser.add_argument("--inputs", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="default: a new one in the temporary folder")
    parser.add_argument("--results", type=Path, help="write the table there as well")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    account = soak(options, folder.resolve())
    text = f"{account.table()}\n\nseed {options.seed}\n"
    print(text)
    if options.results:
        options.results.write_text(text)
    if account.failures:
        (folder / "failures.txt").write_text("\n".join(account.failures))
        raise SystemExit(f"{len(account.failures)} failures, kept in {folder}")


if __name__ == "__main__":
    main()
