"""Runs what uses TensorFlow as a stage does, and is none: it leaves no artifact."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipeline.core.display import Display
from pipeline.core.plan import Stage
from pipeline.core.process import StageProcess, Task
from pipeline.core.runner import require_packages
from pipeline.core.store import Store
from stages.results.base import StageResult
from stages.settings import Settings


def run_aside(stage: Stage, settings: Settings, artifacts: Path, shown: Display) -> StageResult:
    """Run a `stage` that is no row of the plan; only its log stays in `artifacts`.

    Raises what a stage raises, and MachineError at once for packages that are missing.
    """
    require_packages(stage, settings)
    seen = stage.settings.of(settings).model_dump(mode="json")
    with tempfile.TemporaryDirectory() as temporary, StageProcess(Path(temporary)) as process:
        folder, log = Path(temporary), Store(artifacts).log(stage.name)
        return process.run(Task(stage, seen, {}, folder, log, folder), shown.progress)
