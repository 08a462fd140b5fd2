"""The engines of a build: what became of each, and why some have no file.

They travel as `engines.json` with the engine files, so that the benchmark, which may run on
another machine, knows all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from stages.artifacts.signature import Signature
from stages.engines import amx, modules
from stages.engines.base import Blocker, Engine
from stages.engines.registry import ENGINES, EngineName
from stages.errors import EngineError
from stages.results.engines import Chosen, EngineRecord, EngineResult
from stages.settings import Gpu

FILE = "engines.json"

BASELINE_ENGINE = EngineName("onnxruntime", "fp32")
BASELINE = f"baseline.{BASELINE_ENGINE}{ENGINES[BASELINE_ENGINE.backend].suffix}"
"""The trained, unpruned model as an engine, against which all are compared; not listed."""

RECORDS = TypeAdapter(list[EngineRecord])

Content = TypeVar("Content")


def write(records: Sequence[EngineRecord], folder: Path) -> None:
    """Write `engines.json` into `folder`."""
    (folder / FILE).write_bytes(RECORDS.dump_json(list(records), indent=2) + b"\n")


def read(folder: Path) -> list[EngineRecord]:
    """Read `engines.json` from `folder`.

    Raises EngineError where it is missing or damaged, or lists engines of another version.
    """
    records = read_json(folder / FILE, RECORDS)
    for record in records:
        if record.backend not in ENGINES:
            raise EngineError(
                f"{FILE} lists {record.name}, expected one of: {', '.join(ENGINES)}",
                "run: pipeline run build --force",
            )
    return records


def read_json(file: Path, kind: TypeAdapter[Content]) -> Content:
    """What a file of the build stage holds. Raises EngineError where it is missing or damaged."""
    hint = "run: pipeline run build --force"
    try:
        return kind.validate_json(file.read_bytes())
    except OSError as error:
        raise EngineError(f"{file.name} cannot be read: {error.strerror}", hint) from error
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = "".join(f"[{part!r}]" for part in fault["loc"])
        raise EngineError(f"{file.name}{place} is damaged: {fault['msg']}", hint) from error


def opening_order(records: Iterable[EngineRecord], folder: Path) -> list[EngineRecord]:
    """`records` in the order in which one process must open them.

    A library that is to run without AMX must be first used before another has been granted it
    for the whole process: ONNX Runtime, LiteRT by the remark in the file, then OpenVINO.
    """
    backends = list(ENGINES)

    def place(record: EngineRecord) -> tuple[int, bool]:
        without_amx = record.file is not None and amx.is_unwanted(folder / record.file)
        return backends.index(record.backend), not without_amx

    return sorted(records, key=place)


def require(blocker: Blocker | None) -> None:
    """Raise a blocker as an EngineError."""
    if blocker is not None:
        raise EngineError(blocker.reason, blocker.fix)


def runner(
    record: EngineRecord,
    folder: Path,
    signature: Signature,
    threads: int,
    gpu: Gpu | None = None,
) -> Engine:
    """The engine of `record`, not opened yet. Raises EngineError where it cannot run here."""
    module = modules.load(record.backend)
    require(module.run_blocker())
    return module.Runner(folder / str(record.file), signature, threads, gpu)


def chosen(results: Sequence[EngineResult], choice: Mapping[int, Chosen]) -> EngineResult | None:
    """The engine that build chose for its smallest batch size, if it was timed, else the fastest.

    `choice` is by batch size, as in `choice.json`, and may be empty.
    """
    wanted = choice[min(choice)].engine if choice else None
    timed = (each for each in results if each.latency and str(each.name) == wanted)
    return next(timed, None) or fastest(results)


def fastest(results: Sequence[EngineResult]) -> EngineResult | None:
    """The engine with the lowest p50 at the smallest batch; None if none was timed."""
    ranked = [
        (row.batch_size, row.p50_ms, index)
        for index, engine in enumerate(results)
        for row in engine.latency
    ]
    return results[min(ranked)[2]] if ranked else None
