"""How busy the GPUs are while a network is trained, sampled by nvidia-smi."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import numpy as np

from stages.results.training import GpuUsage

QUERY = (
    "nvidia-smi",
    "--query-gpu=index,utilization.gpu,memory.used",
    "--format=csv,noheader,nounits",
    "--loop-ms=500",
)


@contextlib.contextmanager
def sampled(into: list[GpuUsage]) -> Iterator[None]:
    """Add the `summary` of the block to `into`; nothing where there is no nvidia-smi."""
    if shutil.which(QUERY[0]) is None:
        yield
        return
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(QUERY, stdout=output, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait()
        output.seek(0)
        into += summary(output.read())


def summary(text: str) -> list[GpuUsage]:
    """One row per GPU for lines "index, utilisation in percent, memory in MiB" of nvidia-smi.

    Lines that hold no numbers ("[N/A]", or cut off at the end) are left out.
    """
    samples: dict[int, list[tuple[float, float]]] = {}
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            index, utilisation, memory = map(float, line.split(","))
            samples.setdefault(int(index), []).append((utilisation, memory))
    return [
        GpuUsage(
            gpu=index,
            utilisation_percent_mean=float(np.mean([busy for busy, _ in found])),
            memory_mib_max=max(memory for _, memory in found),
            samples=len(found),
        )
        for index, found in sorted(samples.items())
    ]
