"""Engines that are built and timed for comparison only, each in a process of its own.

The process is free of TensorFlow, whose threads and memory would be timed too, and each engine
decides for itself whether it takes AMX, which is once for all in a process (see amx.py). The
processes are asked in turns, so that only one of them works at a time.

    python -m stages.measurement.engine_process BACKEND PRECISION SOURCE SIGNATURE_FOLDER BATCH_SIZE

builds and opens an engine, answers with a line of JSON, and then for each line on stdin, a
number of seconds, with the median latency.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from stages.artifacts.signature import Signature
from stages.engines import records, registry
from stages.engines.base import BuildRequest
from stages.engines.registry import Precision
from stages.errors import EngineError
from stages.measurement import clock

WARMUP_SECONDS = 0.05
WINDOW_SECONDS = 0.03
WINDOWS = 9


class Trial:
    """An engine of `source`, a file of the convert stage's kind, while the context is open."""

    def __init__(
        self, backend: str, precision: str, source: Path, signature: Path, batch_size: int = 1
    ) -> None:
        self._source = source
        self._arguments = [backend, precision, str(source), str(signature), str(batch_size)]

    def __enter__(self) -> Trial:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "stages.measurement.engine_process", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.kill()
        self._child.communicate()

    def wait(self) -> None:
        """Until the engine is built and open. Raises EngineError."""
        self._answer()

    def p50_ms(self, seconds: float) -> float:
        """Median latency over so many seconds. Raises EngineError."""
        if self._child.stdin is None:
            raise ValueError("the child must be started with pipes")
        try:
            self._child.stdin.write(f"{seconds}\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # A dead child is found out below.
        return float(self._answer()["p50_ms"])

    def _answer(self) -> dict[str, Any]:
        line = self._child.stdout.readline() if self._child.stdout else ""
        if not line:
            status = self._child.wait()
            raise EngineError(
                f"the engine {'.'.join(self._arguments[:2])} of {self._source.name} died "
                f"(exit status {status}) while it was timed",
                "choose another prune.target",
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise EngineError(answer["error"], answer["hint"])
        return answer


def compare(
    reference: Trial,
    candidates: Sequence[Trial],
    windows: int = WINDOWS,
    window_seconds: float = WINDOW_SECONDS,
) -> tuple[float, list[float]]:
    """Median latency of `reference` in ms, and the latency of each candidate as a share of it.

    Windows take turns; a share is the median of those of single rounds, so that a neighbour's
    load or the CPU's clock, which meet all candidates of a round alike, cancel.
    """
    trials = [reference, *candidates]
    for trial in trials:
        trial.p50_ms(WARMUP_SECONDS)
    rounds = []
    for turn in range(windows):
        order = trials if turn % 2 else trials[::-1]
        taken = {trial: trial.p50_ms(window_seconds) for trial in order}
        rounds.append([taken[trial] for trial in trials])
    times = np.array(rounds)
    shares = np.median(times[:, 1:] / times[:, :1], axis=0)
    return float(np.median(times[:, 0])), shares.tolist()


def require(backend: str, precision: Precision) -> str:
    """The convert stage's file that the engine is built from.

    Raises EngineError where this machine cannot build or run it.
    """
    module = registry.load(backend)
    records.require(module.build_blocker())
    records.require(module.run_blocker())
    if precision not in registry.ENGINES[backend].precisions:
        raise EngineError(f"{backend} has no {precision} engine", "choose another prune.target")
    return registry.source_file(backend, precision)


def _serve(
    backend: str, precision: Precision, source: Path, signature: Signature, batch_size: int
) -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # Native code prints where it likes.

    def answer(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    shape = (batch_size, *signature.input_shape)
    images = signature.feed(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    module = registry.load(backend)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"engine{registry.ENGINES[backend].suffix}"
        try:
            module.build(source, file, BuildRequest(signature, precision, max(64, batch_size)))
            with module.Runner(file, signature, 1) as engine:
                engine.infer(images)
                answer()
                for line in sys.stdin:
                    taken = clock.measure(
                        {"engine": lambda: engine.infer(images)}, 0.0, float(line)
                    )
                    answer(p50_ms=float(np.median(taken["engine"])))
        except EngineError as error:
            answer(error=error.message, hint=error.hint)


if __name__ == "__main__":
    _backend, _precision, _source, _signature, _batch = sys.argv[1:]
    _serve(
        _backend,
        _precision,  # type: ignore[arg-type]
        Path(_source),
        Signature.read(Path(_signature)),
        int(_batch),
    )
