from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import numpy as np
import pytest

from stages.measurement import clock, machine_state, turns
from tests.stages.measurement.test_clock import Clock
from tests.stages.measurement.test_machine_state import smi


def on_gpu(name: str) -> bool:
    return name.isupper()


def test_engines_on_a_gpu_take_turns_among_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Clock(monkeypatch)
    calls = {name: time.call(name, 1_000_000) for name in "aXbY"}
    windows, seen = turns.until_stable(calls, on_gpu, 1e-9, 0.2)
    turned = [name for name, _ in itertools.groupby(time.order)]
    # Of each device a warm-up and five rounds, whose order turns round: ab ab ba ab ba ab. That of
    # a GPU is warmed up before it is watched, and called once more before the first round.
    assert "".join(turned) == "abababab" + "XYXYXYXYXY"
    assert set(windows) == set("aXbY")
    assert seen == ()


def test_the_start_of_a_window_on_a_gpu_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """After another engine the first calls are slow, for three quarters of the lead-in."""
    time = Clock(monkeypatch)
    rising_ns, slow_ns = int(0.75e9 * turns.GPU_LEAD_IN_SECONDS), 5_000_000
    since = {"": 0}

    def call(name: str) -> clock.Call:
        def run() -> None:
            if name not in since:
                since.clear()
                since[name] = time.now
            time.now += slow_ns if time.now - since[name] < rising_ns else 1_000_000

        return run

    calls = {name: call(name) for name in "XY"}
    windows, _ = turns.until_stable(calls, on_gpu, 0.0, 1.0)
    assert {float(taken) for each in windows.values() for taken in np.concatenate(each)} == {1.0}
    kept = clock.until_stable(calls, 0.0, 1.0)
    assert {float(taken) for each in kept.values() for taken in np.concatenate(each)} == {1.0, 5.0}


def test_with_engines_of_one_device_only_they_are_timed_as_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time = Clock(monkeypatch)
    for name in "aX":
        windows, _ = turns.until_stable({name: time.call(name, 1_000_000)}, on_gpu, 0.0, 0.2)
        assert list(windows) == [name]
        assert len(windows[name]) == clock.MIN_WINDOWS


def test_of_several_gpus_the_one_that_is_asked_for_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The energy of a call was that of whichever GPU took most, as another program's."""
    busy, own = (f"NVIDIA H100, {bus}, P0, 1980 MHz, 2619 MHz, " for bus in ("0:18", "0:2A"))
    script = smi(
        tmp_path,
        f'case "$*" in *--id=0:2A*) ;; *) echo "{busy}700.00 W, 41, 0x0";; esac\n'
        f'echo "{own}90.00 W, 41, 0x0"\n'
        f'case "$*" in *--loop-ms=*) : > {tmp_path}/read; exec sleep 600;; esac',
    )
    Path(script).rename(tmp_path / "nvidia-smi")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(machine_state, "SMI_SECONDS", 600.0)
    monkeypatch.setattr(turns, "GPU_LEAD_IN_SECONDS", 0.0)
    called = itertools.count()

    def call() -> None:
        """The first call warms up, and nothing is watched yet."""
        while next(called) and not (tmp_path / "read").exists():
            time.sleep(0.01)

    for gpu, watts in ((None, [700.0, 90.0]), ("0:2A", [90.0])):
        called = itertools.count()
        _, seen = turns.until_stable({"X": call}, on_gpu, 0.0, 0.01, gpu)
        assert [each.most_watts for each in seen] == watts
        (tmp_path / "read").unlink()
