"""The default run from nothing: how long it takes, and what the engine it chooses loses.

    python benchmarks/default_run.py [--seeds 0,1,2,3,4] [--config FILE] [--set KEY=VALUE ...]

Runs `pipeline run all` in an empty artifact folder for each seed, which is that of data, train,
prune and quantize, and prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SEEDED = ("data", "train", "prune", "quantize")


def run(seed: int, passed_on: list[str]) -> tuple[float, dict[str, Any]]:
    """The seconds that it takes, and its report.json."""
    seeds = [word for section in SEEDED for word in ("--set", f"{section}.seed={seed}")]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pipeline", "run", "all", "--artifacts", folder]
        command += ["--config", os.devnull]  # not pipeline.toml, if one is here
        start = time.monotonic()
        subprocess.run([*command, *seeds, *passed_on], check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        return seconds, json.loads((Path(folder) / "report.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2,3,4")
    options, passed_on = parser.parse_known_args()
    print("| seed | seconds | trained | engine | its accuracy | images lost | p50 ms | speed-up |")
    print("| ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |")
    lost, counted = [], 0
    for seed in map(int, options.seeds.split(",")):
        seconds, report = run(seed, passed_on)
        counted = report["dataset"]["test_samples"]
        benchmark = next(each for each in report["stages"] if each["stage"] == "benchmark")
        row = benchmark["latency"][0]
        trained = report["stages"][0]["accuracy"]["top1"]
        top1 = benchmark["accuracy"]["top1"]
        lost.append(round((trained - top1) * counted))
        baseline = min(
            each["p50_ms"] for each in report["baseline"]["latency"] if each["batch_size"] == 1
        )
        print(
            f"| {seed} | {seconds:.0f} | {trained:.2%} | {row['runtime']} {row['precision']} "
            f"| {top1:.2%} | {lost[-1]} | {row['p50_ms']:.4f} | {baseline / row['p50_ms']:.1f} |",
            flush=True,
        )
    points = 100 * sum(lost) / len(lost) / counted
    print(
        f"\nOf {counted} test images: mean {points:.2f} points lost, at worst {max(lost)} images."
    )


if __name__ == "__main__":
    main()
