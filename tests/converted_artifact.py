"""Artifacts that begin with `convert`, made without Keras: as on a machine that runs engines only.

python -m tests.converted_artifact FOLDER    also a bundle of LiteRT, for .ci/light_install.sh
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pipeline.core.record import Record
from pipeline.core.record import write as write_record
from pipeline.core.store import Store
from stages.results.conversion import ConvertDetails, ConvertResult
from tests.conftest import pipeline
from tests.stages.graphs import write_converted, write_tflite

BRIEF = ("build.max_seconds_per_engine=0.05", 'build.precisions=["fp32", "int8"]')


def write(
    root: Path,
    *,
    with_tflite: bool = False,
    channels: int = 1,
    data: Mapping[str, str] = MappingProxyType({"name": "made"}),
) -> None:
    """Make `root` an artifact folder with the stage convert alone."""
    store = Store(root)
    with store.writing("convert") as folder:
        details = ConvertDetails(carried=write_converted(folder, channels))
        if with_tflite:
            write_tflite(folder)
        record = Record(
            stage="convert",
            revision=3,
            key="k",
            settings={"model": {"name": "small"}, "data": dict(data)},
            external={},
            inputs={stage: {"model.keras": "k"} for stage in ("train", "prune", "quantize")},
            environment={},
            started_at="2026-01-01T00:00:00+00:00",
            seconds=1.0,
            files=store.list_files(folder),
            measurements=ConvertResult(details=details),
        )
        write_record(record, folder)


def build(root: Path, *backends: str) -> None:
    """Run the stage build in `root`."""
    listed = ", ".join(f'"{name}"' for name in backends)
    options = [word for each in (*BRIEF, f"build.backends=[{listed}]") for word in ("--set", each)]
    done = pipeline("run", "build", "--artifacts", root, *options)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def main() -> None:
    folder = Path(sys.argv[1])
    write(folder / "artifacts", with_tflite=True)
    build(folder / "artifacts", "litert")
    done = pipeline("export", "--to", folder / "bundle", "--artifacts", folder / "artifacts")
    sys.exit(done.stderr if done.returncode else 0)


if __name__ == "__main__":
    main()
