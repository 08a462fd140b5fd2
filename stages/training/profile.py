"""Where the time of a training step goes: a TensorBoard profile, and its costliest operations."""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from stages import progress

SECONDS = 3.0
"""A profile of so long has thousands of steps of a small network and a few of a large one."""
SHOWN = 10
OPERATION = re.compile(r"([^:]+):([A-Za-z_]\w*)")
"""How TensorFlow names the event of an operation: its name in the graph, its kind."""
CONTAINERS = re.compile(r".*(Call|While|If|Case|IteratorGetNext|Iterator.*)")
"""Kinds whose time is that of the operations in them, or is spent waiting for data."""


class Profile:
    """One profile, written below `folder`; `table` is empty until it is taken."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.table: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Profile the first SECONDS of the block."""
        with tempfile.TemporaryDirectory() as temporary:
            folder = self._folder or Path(temporary)
            stopped, lock = threading.Event(), threading.Lock()

            def stop() -> None:
                with lock:
                    if not stopped.is_set():
                        stopped.set()
                        tf.profiler.experimental.stop()

            tf.profiler.experimental.start(str(folder))
            timer = threading.Timer(SECONDS, stop)
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
                stop()
            self.table = costliest(folder)
            for row in self.table[:3]:
                progress.report(f"{row['share']:.0%} of the time in {row['operation']}")


def costliest(folder: Path) -> list[dict[str, Any]]:
    """The SHOWN operations that took longest in the newest profile below `folder`.

    operation   name in the graph
    kind        what it computes, as in Conv2D; on a GPU the kernel's name
    device      "cpu" or "gpu:0"
    calls, total_ms, share    share of the time of all operations on that kind of device

    Where there is a GPU, its kernels count and not the operations of the CPU that start them.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    files = sorted(folder.rglob("*.xplane.pb"), key=lambda file: file.stat().st_mtime)
    space = xplane_pb2.XSpace()
    if files:
        space.ParseFromString(files[-1].read_bytes())
    gpus = [plane for plane in space.planes if plane.name.startswith("/device:GPU")]
    hosts = [plane for plane in space.planes if plane.name == "/host:CPU"]
    sums: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0, 0.0])
    for plane in gpus or hosts:
        for key, milliseconds in _events(plane):
            sums[key][0] += 1
            sums[key][1] += milliseconds
    total = sum(milliseconds for _, milliseconds in sums.values()) or 1.0
    ranked = sorted(sums.items(), key=lambda item: -item[1][1])[:SHOWN]
    names = ("operation", "kind", "device")
    return [
        {
            **dict(zip(names, key, strict=True)),
            "calls": int(calls),
            "total_ms": milliseconds,
            "share": milliseconds / total,
        }
        for key, (calls, milliseconds) in ranked
    ]


def _events(plane: Any) -> Iterator[tuple[tuple[str, str, str], float]]:
    """((operation, kind, device), milliseconds) of every operation on one device."""
    is_gpu = plane.name.startswith("/device:GPU")
    device = plane.name.removeprefix("/device:").lower() if is_gpu else "cpu"
    for line in plane.lines:
        if is_gpu and not line.name.lower().startswith("stream"):
            continue
        for event in line.events:
            name = plane.event_metadata[event.metadata_id].name
            found = OPERATION.fullmatch(name)
            if is_gpu:
                yield (name, name, device), event.duration_ps / 1e9
            elif found and not CONTAINERS.fullmatch(found[2]):
                yield (found[1], found[2], device), event.duration_ps / 1e9
