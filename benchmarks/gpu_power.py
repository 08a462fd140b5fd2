"""What a GPU draws, and how fast its clock runs, while something else runs on it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import mean
from typing import Any

from stages.measurement.machine_state import THROTTLE_FIELDS

FIELDS = ("power.draw", "clocks.sm", "clocks.mem", "temperature.gpu")
EVERY_MS = 50


@contextmanager
def sampled(smi: str = "nvidia-smi") -> Iterator[dict[str, Any]]:
    """A dict that is filled at the end of the block: `watts`, `clocks_mhz`, and so on.

    It stays empty where nvidia-smi is missing or gives no answer.
    """
    found: dict[str, Any] = {}
    program = shutil.which(smi)
    if program is None:
        yield found
        return
    throttle = next((each for each in THROTTLE_FIELDS if _knows(program, each)), None)
    fields = ",".join((*FIELDS, throttle) if throttle else FIELDS)
    query = (f"--query-gpu={fields}", "--format=csv,noheader,nounits", "-i", "0")
    child = subprocess.Popen(
        [program, *query, f"--loop-ms={EVERY_MS}"], stdout=subprocess.PIPE, text=True
    )
    try:
        yield found
    finally:
        child.terminate()
        printed, _ = child.communicate()
        found.update(summary(printed))


def summary(text: str) -> dict[str, Any]:
    """Of lines as nvidia-smi prints them; the first half is the time the card takes to wake."""
    rows = [line.split(", ") for line in text.splitlines()]
    rows = [row for row in rows if len(row) >= len(FIELDS) and _is_number(row[0])]
    late = rows[len(rows) // 2 :]
    if not late:
        return {}
    clocks = [float(row[1]) for row in late if _is_number(row[1])]
    return {
        "watts": mean(float(row[0]) for row in late),
        "readings": len(late),
        "sm_clock_mhz": [min(clocks), max(clocks)] if clocks else None,
        "temperature_c": late[-1][3],
        "throttle_reasons": sorted({row[4] for row in late if len(row) > len(FIELDS)}),
    }


def _knows(program: str, field: str) -> bool:
    query = [program, f"--query-gpu={field}", "--format=csv,noheader", "-i", "0"]
    try:
        return subprocess.run(query, capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()
