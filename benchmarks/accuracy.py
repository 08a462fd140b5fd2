"""What INT8 costs in accuracy: calibrated only, and after quantization-aware training.

    python benchmarks/accuracy.py NAME --artifacts FOLDER [--config FILE] [--set KEY=VALUE ...]

Runs the line twice without pruning on the same trained model, with `quantize.epochs=0` and as
set, and prints the rows of a Markdown table: accuracy of the engines on all test images.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from stages.engines.registry import ENGINES

INT8 = tuple(f"{name}.int8" for name, engine in ENGINES.items() if engine.device == "cpu")
UNTIMED = (
    "benchmark.max_seconds_per_engine=0.05",
    "benchmark.warmup_seconds=0.02",
    "benchmark.batch_sizes=[1]",
)


def run(artifacts: str, options: list[str], *settings: str) -> dict[str, Any]:
    """The report of a run of the whole line without pruning."""
    assigned = [word for text in ("prune.ratio=0", *UNTIMED, *settings) for word in ("--set", text)]
    command = ["run", "all", "--artifacts", artifacts, *options, *assigned]
    subprocess.run([sys.executable, "-m", "pipeline", *command], check=True, stdout=sys.stderr)
    report: dict[str, Any] = json.loads((Path(artifacts) / "report.json").read_text())
    return report


def of_engines(report: dict[str, Any]) -> dict[str, float]:
    """Engine -> accuracy, of those that ran."""
    return {
        f"{engine['backend']}.{engine['precision']}": engine["accuracy"]["top1"]
        for engine in report["engines"]
        if engine["state"] == "ran"
    }


def main() -> None:
    """Print the table's rows for one network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--artifacts", required=True)
    parser.add_argument("--config", action="append", default=[])
    parser.add_argument("--set", action="append", default=[], dest="settings")
    arguments = parser.parse_args()
    options = [word for file in arguments.config for word in ("--config", file)]
    options += [word for text in arguments.settings for word in ("--set", text)]
    calibrated = of_engines(run(arguments.artifacts, options, "quantize.epochs=0"))
    trained_report = run(arguments.artifacts, options)
    trained = of_engines(trained_report)
    stages = {entry["stage"]: entry for entry in trained_report["stages"]}
    base = stages["train"]["accuracy"]
    for engine in INT8:
        if engine in trained:
            losses = [100 * (base["top1"] - found[engine]) for found in (calibrated, trained)]
            print(
                f"| {arguments.name} | {base['samples']} | {engine} | {base['top1']:.2%} "
                f"| {calibrated[engine]:.2%} | {losses[0]:+.2f} "
                f"| {trained[engine]:.2%} | {losses[1]:+.2f} |"
            )


if __name__ == "__main__":
    main()
