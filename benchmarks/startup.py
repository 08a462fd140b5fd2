"""How long the command line takes to say something, beside a bare Python.

    python benchmarks/startup.py [--artifacts artifacts]

Needs a finished `pipeline run all` in the artifact folder. Prints medians of interleaved runs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial

import numpy as np

from stages.measurement import clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", default="artifacts")
    options = parser.parse_args()
    pipeline = [sys.executable, "-m", "pipeline"]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "pipeline --help": [*pipeline, "--help"],
        "pipeline status": [*pipeline, "status", "--artifacts", options.artifacts],
        "pipeline run all, nothing to do": [
            *pipeline, "run", "all", "--artifacts", options.artifacts,
        ],
    }  # fmt: skip
    calls = {
        name: partial(subprocess.run, command, check=True, capture_output=True)
        for name, command in commands.items()
    }
    times = clock.measure(calls, 0.5, 5.0)
    p50 = {name: float(np.median(taken)) / 1e3 for name, taken in times.items()}
    print("| command | p50 seconds | x python -c pass |")
    print("| --- | ---: | ---: |")
    for name, seconds in p50.items():
        print(f"| {name} | {seconds:.3f} | {seconds / p50['python -c pass']:.1f} |")


if __name__ == "__main__":
    main()
