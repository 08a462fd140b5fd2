"""Engines that are built and timed for comparison only, each in a process of its own.

The process is free of TensorFlow, whose threads and memory would be timed too, and each engine
decides for itself whether it takes AMX, which is once for all in a process (see amx.py). The
processes are asked in turns, so that only one of them works at a time.

The child builds and opens an engine and answers with a line of JSON, and then to each line on
stdin, a number of seconds, with the median latency.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from stages.artifacts.signature import Signature
from stages.engines import child, modules, records
from stages.engines.base import BuildRequest, EngineModule
from stages.engines.registry import ENGINES, EngineName, Precision
from stages.engines.tensorrt.engine import TIMING_CACHE
from stages.errors import EngineError
from stages.measurement import clock
from stages.settings import Build, TensorRT

WARMUP_SECONDS = 0.05
WINDOW_SECONDS = 0.03
WINDOWS = 9


class EngineProcess:
    """An engine built from `source`, a graph as the convert stage writes it; a context manager.

    `build` and `tensorrt` are how TensorRT is to build it; what it timed is kept in
    `signature_folder` for those that are built there next.
    """

    def __init__(
        self,
        engine: EngineName,
        source: Path,
        signature_folder: Path,
        batch_size: int = 1,
        build: Build | None = None,
        tensorrt: TensorRT | None = None,
    ) -> None:
        self._engine, self._source = engine, source
        build = build or Build(max_batch_size=batch_size, batch_sizes=(batch_size,))
        settings = (build.model_dump_json(), (tensorrt or TensorRT()).model_dump_json())
        self._arguments = (*engine, str(source), str(signature_folder), batch_size, *settings)

    def __enter__(self) -> EngineProcess:
        # Of this process: the other is killed, and would leave the engine behind.
        self._folder = tempfile.TemporaryDirectory()
        self._child = subprocess.Popen(
            child.command(__name__, "serve", self._folder.name, *self._arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A pipe that nobody reads would fill up and stop the child.
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # It has nothing to save, and may be busy in native code for as long as a build takes.
        self._child.kill()
        self._child.communicate()
        self._folder.cleanup()

    def wait(self) -> None:
        """Wait until the engine is built and open. Raises EngineError."""
        self._answer()

    def p50_ms(self, seconds: float) -> float:
        """Median latency over the given seconds. Raises EngineError."""
        if self._child.stdin is None:
            raise ValueError("the child must be started with pipes")
        try:
            self._child.stdin.write(f"{seconds}\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # That the child died is noticed below.
        return float(self._answer()["p50_ms"])

    def _answer(self) -> dict[str, Any]:
        line = self._child.stdout.readline() if self._child.stdout else ""
        if not line:
            status = self._child.wait()
            raise EngineError(
                f"the engine {self._engine} of {self._source.name} died "
                f"(exit status {status}) while it was timed",
                "choose another prune.target",
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise EngineError(answer["error"], answer["hint"])
        return answer


def compare(
    reference: EngineProcess,
    candidates: Sequence[EngineProcess],
    windows: int = WINDOWS,
    window_seconds: float = WINDOW_SECONDS,
) -> tuple[float, list[float]]:
    """Median latency of `reference` in ms, and the latency of each candidate as a share of it.

    Windows take turns; a share is the median of those of single rounds, so that a neighbour's
    load or the CPU's clock, which affect all candidates of a round alike, cancel.
    """
    engines = [reference, *candidates]
    for engine in engines:
        engine.p50_ms(WARMUP_SECONDS)
    rounds = []
    for turn in range(windows):
        order = engines if turn % 2 else engines[::-1]
        taken = {engine: engine.p50_ms(window_seconds) for engine in order}
        rounds.append([taken[engine] for engine in engines])
    times = np.array(rounds)
    shares = np.median(times[:, 1:] / times[:, :1], axis=0)
    return float(np.median(times[:, 0])), shares.tolist()


def require(engine: EngineName) -> str:
    """The convert stage's file that the engine is built from.

    Raises EngineError where this machine cannot build or run it.
    """
    module = modules.load(engine.backend)
    records.require(module.build_blocker())
    records.require(module.run_blocker())
    if engine.precision not in ENGINES[engine.backend].precisions:
        raise EngineError(
            f"{engine.backend} has no {engine.precision} engine", "choose another prune.target"
        )
    return modules.source_file(engine)


def trial(
    signature: Signature, precision: Precision, batch_size: int, build: Build, tensorrt: TensorRT
) -> BuildRequest:
    """How an engine that is only timed at `batch_size` is built.

    Of the optimisation profiles of the engine that the run ends with it has the one that will serve
    this size, and no other. Raises EngineError where none of them is large enough.
    """
    whole = BuildRequest(
        signature,
        precision,
        build.max_batch_size,
        build.batch_sizes,
        build.workspace_mib,
        tensorrt,
    )
    fitting = [most for _, _, most in whole.profiles if most >= batch_size]
    if not fitting:
        raise EngineError(
            f"prune.target_batch_size {batch_size} is above "
            + (
                f"{signature.batch_size}, the only one that the network takes"
                if signature.batch_size
                else f"build.max_batch_size {build.max_batch_size}"
            ),
            f"--set prune.target_batch_size={whole.profiles[-1][-1]}",
        )
    largest = fitting[0]
    return dataclasses.replace(whole, max_batch_size=largest, batch_sizes=(largest,))


def build_with_timings(
    module: EngineModule, source: Path, file: Path, request: BuildRequest, folder: Path
) -> None:
    """Build `file`; TensorRT starts from the timings in `folder`, and leaves its own there.

    Raises EngineError.
    """
    known, found = folder / TIMING_CACHE, file.with_name(TIMING_CACHE)
    if known.is_file():
        shutil.copyfile(known, found)
    module.build(source, file, request)
    if found.is_file():
        shutil.copyfile(found, known)


def serve(
    folder: str,
    backend: str,
    precision: Precision,
    source: str,
    signature_folder: str,
    batch_size: int,
    build: str,
    tensorrt: str,
) -> None:
    """In a child: build an engine of the file `source` in the empty `folder` and open it, then time
    it when asked to.

    `build` and `tensorrt` are settings as JSON.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # Native code prints where it likes.

    def answer(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    signature = Signature.read(Path(signature_folder))
    images = signature.feed(signature.noise(batch_size))
    module = modules.load(backend)
    file = Path(folder) / f"engine{ENGINES[backend].suffix}"
    try:
        how = Build.model_validate_json(build), TensorRT.model_validate_json(tensorrt)
        request = trial(signature, precision, batch_size, *how)
        build_with_timings(module, Path(source), file, request, Path(signature_folder))
        with module.Runner(file, signature, 1) as engine:
            # The first call allocates; it must be over before the first window.
            engine.infer(images)
            answer()
            for line in sys.stdin:
                taken = clock.measure({"engine": lambda: engine.infer(images)}, 0.0, float(line))
                answer(p50_ms=float(np.median(taken["engine"])))
    except EngineError as error:
        answer(error=error.message, hint=error.hint)
