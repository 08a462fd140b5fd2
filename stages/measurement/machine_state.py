"""What else the machine was doing while something was timed."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.results.base import GpuClocks

STEAL_COLUMN = 7
"""Of the line `cpu` of /proc/stat: user nice system idle iowait irq softirq steal (proc(5))."""

GOVERNOR = Path("devices/system/cpu/cpu0/cpufreq/scaling_governor")

GPU_FIELDS = (
    *("name", "pci.bus_id", "pstate"),
    *("clocks.sm", "clocks.mem", "power.draw", "temperature.gpu"),
)
NAMES = (*GPU_FIELDS, "throttle_reasons")
THROTTLE_FIELDS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")
"""The same under its newer and its older name."""
SMI_SECONDS = 10.0
WATCH_MS = 200
"""Between two readings while engines are timed: a few in a window's length, and little to do."""


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
    asked = _asked(smi)
    return None if asked is None else [_named(line) for line in asked[1].strip().splitlines()]


def watch_command(smi: str = "nvidia-smi", gpu: str | None = None) -> list[str] | None:
    """What prints the same again and again, of all GPUs or of the one with this PCI bus ID; None
    where there is no such program, or no answer.
    """
    asked = _asked(smi, gpu)
    return None if asked is None else [*asked[0], f"--loop-ms={WATCH_MS}"]


@contextlib.contextmanager
def watched_gpus(command: list[str] | None) -> Iterator[list[GpuClocks]]:
    """A list that has the state of each GPU during the block once that has ended.

    `command` is that of `watch_command`; without one, or an answer in time, the list stays empty.
    """
    seen: list[GpuClocks] = []
    if command is None:
        yield seen
        return
    with tempfile.TemporaryFile("w+") as readings:
        watch = subprocess.Popen(command, stdout=readings, stderr=subprocess.DEVNULL)
        try:
            yield seen
        finally:
            watch.kill()
            watch.wait()
        readings.seek(0)
        seen += summaries(readings.read())


def summaries(readings: str) -> list[GpuClocks]:
    """The GPUs in what nvidia-smi printed, in order; a line that was cut off does not count."""
    whole = readings[: readings.rfind("\n") + 1].splitlines()
    by_gpu: dict[str, list[dict[str, str]]] = {}
    for found in map(_named, whole):
        if len(found) == len(NAMES):
            by_gpu.setdefault(found["pci.bus_id"], []).append(found)
    return [_summary(each) for each in by_gpu.values()]


def _summary(readings: list[dict[str, str]]) -> GpuClocks:
    def numbers(field: str) -> list[float]:
        words = (each[field].split() for each in readings)
        # "[N/A]" where a GPU does not tell.
        return [float(word) for word, *_ in words if re.fullmatch(r"-?[\d.]+", word)]

    sm, memory = numbers("clocks.sm"), numbers("clocks.mem")
    return GpuClocks(
        name=readings[0]["name"],
        readings=len(readings),
        sm_mhz=(min(sm), max(sm)) if sm else None,
        memory_mhz=(min(memory), max(memory)) if memory else None,
        most_watts=max(numbers("power.draw"), default=None),
        most_celsius=max(numbers("temperature.gpu"), default=None),
        throttle_reasons=tuple(dict.fromkeys(each["throttle_reasons"] for each in readings)),
    )


def _asked(smi: str, gpu: str | None = None) -> tuple[list[str], str] | None:
    """The query that this driver answers, and its answer."""
    program, of = shutil.which(smi), [f"--id={gpu}"] if gpu else []
    for throttle in THROTTLE_FIELDS if program else ():
        query = f"--query-gpu={','.join((*GPU_FIELDS, throttle))}"
        command = [str(program), query, "--format=csv,noheader", *of]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode == 0:
            return command, done.stdout
    return None


def _named(line: str) -> dict[str, str]:
    return dict(zip(NAMES, line.split(", "), strict=False))


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
