"""The default run from nothing: how long it takes and what it reaches.

    python benchmarks/default_run.py [--config FILE] [--set KEY=VALUE ...]

Runs `pipeline run all` in an empty artifact folder and prints a Markdown table.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    _, passed_on = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pipeline", "run", "all", "--artifacts", folder]
        command += ["--config", os.devnull]  # not pipeline.toml, if one is here
        start = time.monotonic()
        subprocess.run([*command, *passed_on], check=True)
        seconds = time.monotonic() - start
        report = json.loads((Path(folder) / "report.json").read_text())
    trained = report["stages"][0]["accuracy"]["top1"]
    print(f"\n{seconds:.0f} s in all, {report['dataset']['test_samples']} test images\n")
    print("| model | accuracy | points lost | p50 ms, batch 1 |")
    print("| --- | ---: | ---: | ---: |")
    print(f"| trained, Keras | {trained:.2%} | | |")
    for engine in report["engines"]:
        if engine["state"] == "ran":
            top1 = engine["accuracy"]["top1"]
            name = f"{engine['backend']} {engine['precision']}"
            p50 = engine["latency"][0]["p50_ms"]
            print(f"| {name} | {top1:.2%} | {100 * (trained - top1):.2f} | {p50:.4f} |")


if __name__ == "__main__":
    main()
