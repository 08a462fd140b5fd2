"""What `pipeline export` and `pipeline predict` do: see pipeline/commands.py.

To predict needs none of the reports, which `export` writes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pipeline.bundle import answers, keeping, predicting
from pipeline.bundle.engine import load
from pipeline.core.plan import PLAN, Plan
from stages.errors import SettingsError, UserError
from stages.tasks.registry import TaskName


def export_engine(
    to: Path,
    engine: str | None,
    batch_size: int | None,
    format: str,
    artifacts: Path,
    plan: Plan = PLAN,
) -> None:
    """Write a bundle and say how to use it. Raises ArtifactError, SettingsError."""
    from pipeline.bundle import triton
    from pipeline.bundle.export import Export, export

    bundle = export(Export(to, engine, batch_size, format), artifacts, plan)
    print(f"{to}: {bundle.engine.name.label}, {bundle.network}")
    if format == "triton":
        print("\n".join(triton.how_to_serve(to, bundle)))
    else:
        print(f"to use it: pipeline predict {to} FILES...")


@dataclass(frozen=True)
class PredictRequest:
    """The arguments of `pipeline predict`; without `to` nothing is written."""

    bundle: Path
    images: tuple[str, ...]
    format: str
    batch_size: int
    top: int | None = None
    to: Path | None = None
    has_palette: bool = False

    def check(self, tasks: Sequence[TaskName]) -> None:
        """Raises SettingsError for an option that means nothing for outputs of these tasks."""
        known = f"the engine's task is {' and '.join(sorted({*tasks}))}"
        if self.top is not None and "classification" not in tasks:
            raise SettingsError(
                f"--top is for the most likely classes, and {known}",
                "leave it out",
            )
        if self.has_palette and "segmentation" not in tasks:
            raise SettingsError(f"--palette is for masks, and {known}", "leave it out")
        if self.has_palette and self.to is None:
            raise SettingsError(
                "--palette is for masks that are written", "name a new folder with --to"
            )


def show_predictions(request: PredictRequest) -> None:
    """Print what the engine of a bundle says of images; how many there were goes to stderr.

    Raises UserError at the end if an image was left out.
    """

    def tell(text: str) -> None:
        sys.stdout.flush()
        print(text, file=sys.stderr)

    tally = predicting.Tally()
    top = request.top or answers.TOP
    with ExitStack() as stack:
        folder = stack.enter_context(keeping.new(request.to)) if request.to else None
        engine = stack.enter_context(load(request.bundle))
        outputs = engine.info.outputs or (engine.info.output,)
        request.check([each.task for each in outputs])
        sources = predicting.sources(request.images, engine)
        found = predicting.predict(engine, sources, top, request.batch_size, tell, tally)
        if folder:
            found = keeping.kept(found, folder, request.has_palette)
        sys.stdout.writelines(answers.FORMATS[request.format](found))
    tell(tally.in_words(engine.kind))
    if tally.faults:
        raise UserError(f"{engine.kind} that were left out: {tally.faults}; the others are above")
