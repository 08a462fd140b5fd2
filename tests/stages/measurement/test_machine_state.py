from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from stages.measurement import machine_state
from stages.measurement.machine_state import Snapshot
from stages.results.base import GpuClocks


def proc(folder: Path, stat: str, loadavg: str = "0.50 0.40 0.30 1/100 4242\n") -> Path:
    (folder / "stat").write_text(stat)
    (folder / "loadavg").write_text(loadavg)
    return folder


def test_steal_is_the_eighth_number_and_guests_are_not_counted_twice(tmp_path: Path) -> None:
    stat = "cpu  100 10 50 800 20 1 2 17 90 5\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
    assert machine_state.snapshot(proc(tmp_path, stat)) == Snapshot(0.5, (1000, 17))


def test_between_two_moments_the_stolen_share_is_that_of_the_time_between() -> None:
    before, after = Snapshot(0.5, (1000, 17)), Snapshot(1.5, (1400, 37))
    assert machine_state.steal_percent(before, after) == pytest.approx(5.0)


def test_no_time_between_gives_no_share() -> None:
    moment = Snapshot(0.5, (1000, 17))
    assert machine_state.steal_percent(moment, moment) is None


def test_a_kernel_that_counts_no_steal_gives_no_share(tmp_path: Path) -> None:
    assert machine_state.snapshot(proc(tmp_path, "cpu  100 10 50 800\n")).ticks is None


def test_a_machine_without_proc_and_sys_tells_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    moment = machine_state.snapshot(tmp_path)
    assert moment == Snapshot(None, None)
    assert machine_state.steal_percent(moment, moment) is None
    assert machine_state.governor(tmp_path) is None


def test_the_governor_is_that_of_the_first_core(tmp_path: Path) -> None:
    file = tmp_path / machine_state.GOVERNOR
    file.parent.mkdir(parents=True)
    file.write_text("performance\n")
    assert machine_state.governor(tmp_path) == "performance"


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this machine has no /proc")
def test_this_machine_tells_its_load_and_its_time() -> None:
    moment = machine_state.snapshot()
    assert moment.load_average is not None
    assert moment.ticks is not None
    assert moment.ticks[0] > moment.ticks[1] >= 0


def test_a_machine_without_nvidia_smi_has_no_gpu_to_tell_of() -> None:
    assert machine_state.gpus("no-such-program") is None


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell may take its time on a busy machine; a driver that hangs is not tested here."""
    monkeypatch.setattr(machine_state, "SMI_SECONDS", 600.0)


def smi(folder: Path, script: str) -> str:
    """A program that answers as nvidia-smi does."""
    file = folder / "smi"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def test_a_gpu_tells_its_clocks_and_why_they_are_held_back(tmp_path: Path) -> None:
    line = "NVIDIA H100, 00000000:18:00.0, P0, 1980 MHz, 2619 MHz, 118.40 W, 41, 0x0000000000000004"
    assert machine_state.gpus(smi(tmp_path, f"echo '{line}'; echo '{line}'")) == 2 * [
        {
            "name": "NVIDIA H100",
            "pci.bus_id": "00000000:18:00.0",
            "pstate": "P0",
            "clocks.sm": "1980 MHz",
            "clocks.mem": "2619 MHz",
            "power.draw": "118.40 W",
            "temperature.gpu": "41",
            "throttle_reasons": "0x0000000000000004",
        }
    ]


def test_an_older_driver_is_asked_by_the_older_name(tmp_path: Path) -> None:
    script = 'case "$1" in *event*) exit 2;; *) echo "GPU, 0, P8, 1, 2, 3, 4, 0x1";; esac'
    found = machine_state.gpus(smi(tmp_path, script))
    assert found is not None
    assert found[0]["throttle_reasons"] == "0x1"


def test_a_driver_that_gives_no_answer_is_no_error(tmp_path: Path) -> None:
    assert machine_state.gpus(smi(tmp_path, "exit 9")) is None
    assert machine_state.watch_command(smi(tmp_path, "exit 9")) is None


FIRST, SECOND = "NVIDIA H100, 0:18, P0, ", "NVIDIA H100, 0:2A, P8, "


def test_of_a_watched_gpu_the_extremes_and_every_throttle_reason_are_kept() -> None:
    readings = (
        f"{FIRST}1980 MHz, 2619 MHz, 118.40 W, 41, 0x0\n"
        f"{SECOND}345 MHz, [N/A], [N/A], [N/A], 0x1\n"
        f"{FIRST}1410 MHz, 2619 MHz, 350.10 W, 63, 0x4\n"
        f"{FIRST}1755 MHz, 2619 MHz, 349.00 W, 62, 0x4\n"
        f"{FIRST}90 MHz, 2619 MHz, 9"  # cut off
    )
    assert machine_state.summaries(readings) == [
        GpuClocks(
            name="NVIDIA H100",
            readings=3,
            sm_mhz=(1410, 1980),
            memory_mhz=(2619, 2619),
            most_watts=350.1,
            most_celsius=63,
            throttle_reasons=("0x0", "0x4"),
        ),
        GpuClocks(name="NVIDIA H100", readings=1, sm_mhz=(345, 345), throttle_reasons=("0x1",)),
    ]
    assert machine_state.summaries("") == []


def test_a_watched_gpu_is_read_until_the_block_ends_and_no_longer(tmp_path: Path) -> None:
    line = f"{FIRST}1980 MHz, 2619 MHz, 118.40 W, 41, 0x0"
    once = f'case "$*" in *--loop-ms=*) ;; *) echo "{line}"; exit;; esac'
    read = f"echo '{line}'; echo '{line}'; echo $$ > {tmp_path}/draft"
    script = f"{once}; {read}; mv {tmp_path}/draft {tmp_path}/pid; exec sleep 600"
    with machine_state.watched_gpus(machine_state.watch_command(smi(tmp_path, script))) as seen:
        while not (tmp_path / "pid").exists():
            time.sleep(0.01)
        assert seen == []
    assert (seen[0].readings, seen[0].sm_mhz) == (2, (1980, 1980))
    process = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_without_a_program_to_watch_with_nothing_is_seen() -> None:
    with machine_state.watched_gpus(machine_state.watch_command("no-such-program")) as seen:
        pass
    assert seen == []
