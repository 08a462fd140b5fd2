"""What pruning brings on the engines of this machine, and costs against an honest control.

    python benchmarks/prune.py --artifacts FOLDER [--name pruned] [--prune KEY=VALUE ...]
                               [--config FILE] [--set SECTION.KEY=VALUE ...]

Runs the line up to `convert` twice on one trained network, in FOLDER/full with prune.ratio=0 and in
FOLDER/NAME with the settings of `--prune`; what is there already is used. The pruned network was
trained for longer than the full one, by its fine-tunes. So a third one, the control in
FOLDER/NAME-control, is not pruned and trained for as many epochs as the pruned one in all.

Builds them for every CPU engine, takes the accuracy of the engines themselves on the whole test
split, and times the full and the pruned ones in turns, each in a process of its own. Prints
Markdown. Points are lost against the control, with the 95 % interval for answers to the same
images and McNemar's p.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.datasets.loading import load_test_split
from stages.engines import registry
from stages.engines.base import BuildRequest
from stages.engines.modules import load, source_file
from stages.engines.registry import EngineName, Precision
from stages.measurement.accuracy import logits
from stages.measurement.engine_process import EngineProcess, compare
from stages.numerics import proportions
from stages.settings import ConvertStage

ENGINES = [
    EngineName(backend, precision)
    for precision in ("fp32", "int8")
    for backend, engine in registry.ENGINES.items()
    if engine.device == "cpu"
]
BATCH_SIZES = (1, 32)
COLUMNS = ("full p50 ms", "pruned / full", "full", "control", "pruned", "points lost", "p")

Hits = NDArray[np.bool_]
"""Which test images an engine gets right (N,)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=41)
    parser.add_argument("--prune", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--name", default="pruned", help="folder of the pruned network")
    options, settings = parser.parse_known_args()
    full, pruned = options.artifacts / "full", options.artifacts / options.name
    run_line(full, [*settings, "--set", "prune.ratio=0"])
    if not (pruned / "train").exists():
        shutil.copytree(full / "train", pruned / "train")
    run_line(pruned, [*settings, *(word for pair in options.prune for word in to_option(pair))])
    control = options.artifacts / f"{options.name}-control"
    trained, tuned = epochs(full), epochs(pruned)
    run_line(control, [*settings, "--set", f"train.epochs={sum(tuned)}", "--set", "prune.ratio=0"])
    describe(record(pruned, "prune"))
    parts, total = " + ".join(map(str, tuned)), sum(tuned)
    print(f"Epochs: full {sum(trained)}, pruned {parts}, control {total}.\n")
    print(f"| engine | batch | {' | '.join(COLUMNS)} |")
    print(f"| --- |{' ---: |' * (1 + len(COLUMNS))}")
    for engine in ENGINES:
        found = [hits(folder / "convert", engine) for folder in (full, control, pruned)]
        shown = f"{' | '.join(f'{each.mean():.2%}' for each in found)} | {lost(*found[1:])}"
        for batch_size in BATCH_SIZES:
            ms, ratio = latencies(full, pruned, engine, batch_size, options.windows)
            print(f"| {engine.words} | {batch_size} | {ms:.4f} | {ratio:.2f} | {shown} |")


def epochs(folder: Path) -> list[int]:
    """Of the training and of every fine-tune after pruning that led to the network."""
    train, prune = record(folder, "train"), record(folder, "prune")
    kept = [each for each in prune["measurements"]["details"]["rounds"] if each["is_kept"]]
    return [train["settings"]["train"]["epochs"], *(each["epochs"] for each in kept)]


def lost(control: Hits, pruned: Hits) -> str:
    """ "0.60 (-0.31 to 1.52) | 0.21": percentage points, their 95 % interval, and McNemar's p."""
    pairs = [(True, True), (True, False), (False, True), (False, False)]
    counts = [int(np.sum((control == one) & (pruned == other))) for one, other in pairs]
    change = proportions.paired_change(*counts)
    points = [0.0 - 100 * each for each in (change.estimate, change.high, change.low)]
    p = proportions.mcnemar(counts[1], counts[2])
    return "{:.2f} ({:.2f} to {:.2f})".format(*points) + f" | {p:.2g}"


def to_option(pair: str) -> tuple[str, str]:
    """ "rounds=2" -> --set prune.rounds=2."""
    return "--set", f"prune.{pair}"


def run_line(folder: Path, options: list[str]) -> None:
    """The line up to `convert`, with the options of the command line."""
    command = [sys.executable, "-m", "pipeline", "run", "--to", "convert", "--artifacts"]
    subprocess.run([*command, str(folder), *options], check=True, stdout=sys.stderr)


def record(folder: Path, stage: str) -> dict[str, Any]:
    """The record of a stage."""
    found: dict[str, Any] = json.loads((folder / stage / "record.json").read_text())
    return found


def describe(pruned: dict[str, Any]) -> None:
    """What was removed, and predicted against measured where a latency was the target."""
    details = pruned["measurements"]["details"]
    before, after = details["parameters_before"], details["parameters_after"]
    print(f"Parameters: {before} -> {after}; pruned in {pruned['seconds']:.0f} s.\n")
    for group in details["groups"]:
        widths = f"{group['channels_before']} -> {group['channels_after']}"
        print(f"- {', '.join(group['layers'])}: {widths}")
    for layers in details.get("removed_blocks", ()):
        print(f"- removed whole: {', '.join(layers)}")
    if latency := details.get("latency"):
        print(
            f"\n{latency['target']}: predicted {latency['predicted_ratio']:.2f}, when chosen "
            f"{latency['ratio_when_chosen']:.2f}, after the fine-tune "
            f"{latency['measured_ratio']:.2f} of {latency['trained_ms']:.4f} ms"
        )
    print()


def hits(converted: Path, name: EngineName) -> Hits:
    """What the engine itself gets right of the whole test split."""
    module, signature = load(name.backend), Signature.read(converted)
    settings = ConvertStage.model_validate(record(converted.parent, "convert")["settings"])
    test = load_test_split(settings.data)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "engine"
        request = BuildRequest(signature, cast(Precision, name.precision))
        module.build(converted / source_file(name), file, request)
        with module.Runner(file, signature, 1) as engine:
            answers = logits(engine, test.images, 64).argmax(axis=1)
    right: Hits = answers == test.labels
    return right


def latencies(
    full: Path, pruned: Path, engine: EngineName, batch_size: int, windows: int
) -> tuple[float, float]:
    """Median of the full network in ms, and the pruned one's as a share of it."""
    source = source_file(engine)
    engines = [
        EngineProcess(engine, folder / "convert" / source, folder / "convert", batch_size)
        for folder in (full, pruned)
    ]
    with engines[0] as reference, engines[1] as candidate:
        reference.wait()
        candidate.wait()
        ms, (ratio,) = compare(reference, [candidate], windows, 0.1)
    return ms, ratio


if __name__ == "__main__":
    main()
