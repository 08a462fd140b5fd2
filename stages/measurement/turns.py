"""Engines of one device take turns: those of a GPU among themselves.

A GPU that waits while engines of the CPU are timed lowers its clocks within milliseconds, and
would be found asleep at each of its turns (decision 4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stages.measurement import clock, machine_state
from stages.measurement.clock import Call, Key, Samples
from stages.results.base import GpuClocks

GPU_LEAD_IN_SECONDS = 0.02
"""At the start of each window of a GPU engine, not counted: caches and clocks of its own."""


def until_stable(
    calls: Mapping[Key, Call],
    is_on_gpu: Callable[[Key], bool],
    warmup_seconds: float,
    seconds: float,
    gpu: str | None = None,
) -> tuple[dict[Key, list[Samples]], tuple[GpuClocks, ...]]:
    """The windows of every candidate, as clock.until_stable gives them, and the state of the GPUs
    while those on a GPU were timed; () without any. With `gpu`, a PCI bus ID, no other is watched.
    """
    on_gpu = {name: call for name, call in calls.items() if is_on_gpu(name)}
    on_cpu = {name: call for name, call in calls.items() if name not in on_gpu}
    windows = clock.until_stable(on_cpu, warmup_seconds, seconds)
    if not on_gpu:
        return windows, ()
    # In this order: the GPU must not wait for an answer, and the watch sees warm clocks alone.
    watch = machine_state.watch_command(gpu=gpu)
    clock.warm_up(on_gpu, warmup_seconds)
    with machine_state.watched_gpus(watch) as seen:
        windows |= clock.until_stable(on_gpu, 0.0, seconds, GPU_LEAD_IN_SECONDS)
    return windows, tuple(seen)
