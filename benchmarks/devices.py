"""What several devices of one host, or several workers, cost for the same total work.

    python benchmarks/devices.py [--epochs 20] [--repeats 3]

Trains a small CNN on the digits: on one device, on two logical devices of the CPU, and by two
workers on loopback, which share the same cores. Every setting is a fresh process, taken in
turns. Prints a Markdown table of the seconds for the steps of all epochs but the first, in which
things are compiled; the ratio is that of the medians. On one machine two devices can at best be
as fast as one: what is shown is the overhead of splitting the work and summing the gradients.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
ONE, LOGICAL, WORKERS = "one device", "two logical devices", "two workers"
DEVICES = {ONE: "cpu", LOGICAL: "cpu:0,cpu:1", WORKERS: "workers"}

CODE = """
import json, sys, tempfile
from pathlib import Path
from stages import train
from stages.settings import Train, TrainStage
settings = Train(epochs=int(sys.argv[2]), batch_size=int(sys.argv[3]), devices=sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    result = train.run(TrainStage(train=settings), {}, Path(folder))
epochs = result.details.history
print(json.dumps([sum(epoch.seconds for epoch in epochs[1:]), epochs[-1].loss]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in DEVICES}
    losses: dict[str, float] = {}
    for _ in range(options.repeats):
        for name, devices in DEVICES.items():
            taken, losses[name] = trained(devices, options.epochs, options.batch_size)
            seconds[name].append(taken)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    print(f"{options.epochs - 1} epochs, batch {options.batch_size}, {options.repeats} runs each\n")
    print("| setting | seconds, median | lowest | highest | times one device | last loss |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, median in medians.items():
        low, high, times = min(seconds[name]), max(seconds[name]), median / medians[ONE]
        print(
            f"| {name} | {median:.2f} | {low:.2f} | {high:.2f} | {times:.2f} | {losses[name]:.4f} |"
        )


def trained(devices: str, epochs: int, batch_size: int) -> tuple[float, float]:
    """(seconds, loss of the last epoch), of the slower worker where there are two."""
    command = [sys.executable, "-c", CODE, devices, str(epochs), str(batch_size)]
    configs = worker_configs() if devices == "workers" else [{}]
    with tempfile.TemporaryDirectory() as folder:
        started = [
            subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **variables(), **config},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for config in configs
        ]
        outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        sys.exit(f"the training on {devices!r} failed")
    found = [json.loads(output.splitlines()[-1]) for output in outputs]
    taken, loss = max(found)
    return float(taken), float(loss)


def variables() -> dict[str, str]:
    """What a child needs to import this project and TensorFlow quietly."""
    return {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}


def worker_configs() -> list[dict[str, str]]:
    """TF_CONFIG of two workers on free ports of this host."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return [
        {
            "TF_CONFIG": json.dumps(
                {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            )
        }
        for index in range(2)
    ]


if __name__ == "__main__":
    main()
