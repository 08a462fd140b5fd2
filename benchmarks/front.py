"""Pruned networks against the best INT8 engine of the unpruned one, over several seeds.

    python -m benchmarks.front --artifacts FOLDER --point TARGET=RATIO|NAME [--point ...]
                               [--prune KEY=VALUE ...] [--seeds 0,1,2] [--made-only]
                               [--config FILE] [--set SECTION.KEY=VALUE ...]

A point as `litert.int8=0.4` is a network pruned to that share of its own latency on that engine
(`prune.target`, `prune.target_latency_ratio`); one without a ratio is a name, of the network that
`--prune` alone describes. For every seed, which is that of train, prune and
quantize: trains the full network in FOLDER/seed-N/full, makes every point from it, and trains a
control in FOLDER/seed-N/control-EPOCHS, which is not pruned, for as many epochs as the point in
all; points of as many epochs share it. What is there already is used, so the command goes on where
it was killed; `--made-only` leaves out what is not there yet.

Then the INT8 engines of every point are timed, in turns with the fastest one of the full network
at that batch size, and the fastest stands for the point. The test images are asked last: points are
lost by the point's engine at batch 1 against the control's, with the 95 % interval for answers to
the same images and McNemar's p. The mean over seeds has the interval that the images leave to it:
the seeds share their test images.
"""

from __future__ import annotations

import argparse
import shutil
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.prune import Hits, epochs, hits, lost, record, run_line, to_option
from stages.engines.modules import source_file
from stages.engines.registry import ENGINES, EngineName
from stages.measurement.engine_process import EngineProcess, compare

INT8 = [EngineName(name, "int8") for name, engine in ENGINES.items() if engine.device == "cpu"]
BATCH_SIZES = (1, 32)
WINDOW_SECONDS = 0.05
NORMAL_95 = 1.96
SEEDED = ("train", "prune", "quantize")
HEAD = (
    *("seed", "point", "parameters", "engine, batch 1", "ratio", "engine, batch 32", "ratio"),
    *("control", "pruned", "points lost", "p"),
)


@dataclass(frozen=True)
class Timed:
    """The fastest INT8 engine of a network at a batch size, and its share of the best full one."""

    engine: EngineName
    ratio: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--point", action="append", required=True, metavar="TARGET=RATIO|NAME")
    parser.add_argument("--prune", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--windows", type=int, default=21)
    parser.add_argument("--made-only", action="store_true", help="train nothing")
    options, settings = parser.parse_known_args()
    rows: list[str] = []
    answers: dict[str, list[tuple[Hits, Hits]]] = defaultdict(list)
    for seed in map(int, options.seeds.split(",")):
        folder = options.artifacts / f"seed-{seed}"
        if not options.made_only:
            make(folder, seed, options.point, options.prune, settings)
        made = [point for point in options.point if (folder / point / "convert").exists()]
        best, found = timed(folder, made, options.windows)
        paired = {point: control_of(folder, point) for point in made}
        controls = {each: hits(each / "convert", best[1]) for each in set(paired.values())}
        for point in made:
            control = controls[paired[point]]
            pruned = hits(folder / point / "convert", found[point][1].engine)
            answers[point].append((control, pruned))
            rows.append(row(folder / point, seed, found[point], control, pruned))
    print(f"| {' | '.join(HEAD)} |\n| ---: | --- | ---: | --- | ---: | --- | ---:{' | ---:' * 4} |")
    print("\n".join(rows), "\n")
    for point, pairs in answers.items():
        print(f"- {point}, {len(pairs)} seeds: {mean_lost(pairs)}")


def make(folder: Path, seed: int, points: list[str], prune: list[str], settings: list[str]) -> None:
    """The full network, every point and the controls of one seed."""
    seeds = [word for part in SEEDED for word in ("--set", f"{part}.seed={seed}")]
    common = [*settings, *seeds]
    run_line(folder / "full", [*common, "--set", "prune.ratio=0"])
    for point in points:
        target, _, ratio = point.partition("=")
        own = [f"target={target}", f"target_latency_ratio={ratio}"] if ratio else []
        if not (folder / point / "train").exists():
            shutil.copytree(folder / "full" / "train", folder / point / "train")
        run_line(
            folder / point,
            [*common, *(word for pair in [*own, *prune] for word in to_option(pair))],
        )
    for control, total in {
        control_of(folder, point): sum(epochs(folder / point)) for point in points
    }.items():
        as_long = ["--set", f"train.epochs={total}", "--set", "prune.ratio=0"]
        run_line(control, [*common, *as_long])


def control_of(folder: Path, point: str) -> Path:
    """The network that is not pruned and trained, or to be trained, for as long as the point.

    That may be in `control`, where the only one was at first.
    """
    total, single = sum(epochs(folder / point)), folder / "control"
    if (single / "train").exists():
        settings = record(single, "train")["settings"]["train"]
        if settings["epochs"] == total:
            return single
    return folder / f"control-{total}"


def timed(
    folder: Path, points: list[str], windows: int
) -> tuple[dict[int, EngineName], dict[str, dict[int, Timed]]]:
    """By batch size: the best INT8 engine of the full network, and of every point."""
    best, found = {}, defaultdict[str, dict[int, Timed]](dict)
    for batch_size in BATCH_SIZES:
        ms, ratios = in_turns(folder, [("full", each) for each in INT8], batch_size, windows)
        best[batch_size] = min(zip(ratios, INT8, strict=True))[1]
        asked = [(point, engine) for point in points for engine in INT8]
        of_best = [("full", best[batch_size]), *asked]
        ms, ratios = in_turns(folder, of_best, batch_size, windows)
        print(f"{folder.name}, batch {batch_size}: {best[batch_size].words} takes {ms:.4f} ms.\n")
        for point in points:
            own = [pair for pair in zip(asked, ratios[1:], strict=True) if pair[0][0] == point]
            (_, engine), ratio = min(own, key=lambda pair: pair[1])
            found[point][batch_size] = Timed(engine, ratio)
    return best, found


def in_turns(
    folder: Path, engines: list[tuple[str, EngineName]], batch_size: int, windows: int
) -> tuple[float, list[float]]:
    """Median of the first of (network, engine) in ms, and the share of it that each one takes."""
    with ExitStack() as opened:
        started = []
        for network, engine in [engines[0], *engines]:
            source = folder / network / "convert" / source_file(engine)
            process = EngineProcess(engine, source, source.parent, batch_size)
            started.append(opened.enter_context(process))
            process.wait()
        return compare(started[0], started[1:], windows, WINDOW_SECONDS)


def row(folder: Path, seed: int, found: dict[int, Timed], control: Hits, pruned: Hits) -> str:
    """A line of the table."""
    details = record(folder, "prune")["measurements"]["details"]
    times = [f"{each.engine.words} | {each.ratio:.2f}" for each in found.values()]
    accuracies = f"{control.mean():.2%} | {pruned.mean():.2%}"
    cells = [seed, folder.name, details["parameters_after"], *times, accuracies]
    return f"| {' | '.join(map(str, cells))} | {lost(control, pruned)} |"


def mean_lost(pairs: list[tuple[Hits, Hits]]) -> str:
    """ "1.20 points lost (0.31 to 2.09)": the mean over seeds, (N,) images each.

    The interval is of the images' mean losses, by the central limit theorem.
    """
    losses = np.mean([control.astype(float) - pruned for control, pruned in pairs], axis=0)
    middle = 100 * float(losses.mean())
    reach = 100 * NORMAL_95 * float(losses.std(ddof=1)) / np.sqrt(len(losses))
    return f"{middle:.2f} points lost ({middle - reach:.2f} to {middle + reach:.2f})"


if __name__ == "__main__":
    main()
