"""What else the machine was doing while something was timed."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

STEAL_COLUMN = 7
"""Of the line `cpu` of /proc/stat: user nice system idle iowait irq softirq steal (proc(5))."""

GOVERNOR = Path("devices/system/cpu/cpu0/cpufreq/scaling_governor")

GPU_FIELDS = ("name", "pstate", "clocks.sm", "clocks.mem", "power.draw", "temperature.gpu")
THROTTLE_FIELDS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
"""The same under its newer and its older name."""
SMI_SECONDS = 10.0


@dataclass(frozen=True)
class Snapshot:
    """The state of the machine at one moment; None where it is not known."""

    load_average: float | None
    ticks: tuple[int, int] | None
    """CPU time since the machine was started: all of it, and the stolen part."""


def snapshot(proc: Path = Path("/proc")) -> Snapshot:
    """The load average of the last minute and the CPU time, from Linux' /proc."""
    load = _text(proc / "loadavg").split()
    ticks = [int(word) for word in _text(proc / "stat").partition("\n")[0].split()[1:]]
    has_steal = len(ticks) > STEAL_COLUMN
    return Snapshot(
        float(load[0]) if load else None,
        # The columns after it, the time of guests, are counted in user and nice already (proc(5)).
        (sum(ticks[: STEAL_COLUMN + 1]), ticks[STEAL_COLUMN]) if has_steal else None,
    )


def steal_percent(before: Snapshot, after: Snapshot) -> float | None:
    """Share of the CPU time between two snapshots that other guests of the host took."""
    if before.ticks is None or after.ticks is None or before.ticks[0] == after.ticks[0]:
        return None
    return 100.0 * (after.ticks[1] - before.ticks[1]) / (after.ticks[0] - before.ticks[0])


def governor(sys: Path = Path("/sys")) -> str | None:
    """How the kernel sets the clock of the first core ("performance", "powersave", ...)."""
    return _text(sys / GOVERNOR).strip() or None


def gpus(smi: str = "nvidia-smi") -> list[dict[str, str]] | None:
    """State of each GPU: performance state, clocks, power, temperature, and the throttle reasons
    as a bit mask, as `nvidia-smi --query-gpu` prints them.

    None where there is no such program, or no answer.
    """
    program = shutil.which(smi)
    if program is None:
        return None
    for throttle in THROTTLE_FIELDS:
        fields = (*GPU_FIELDS, throttle)
        query = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=SMI_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode == 0:
            names = (*GPU_FIELDS, "throttle_reasons")
            lines = done.stdout.strip().splitlines()
            return [dict(zip(names, line.split(", "), strict=False)) for line in lines]
    return None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
