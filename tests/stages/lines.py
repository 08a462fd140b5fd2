"""The stages one after the other in this process, as a run does them, but without records."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.core.plan import PLAN, ancestors, find
from stages.settings import Settings


def run(root: Path, settings: Settings, last: str) -> dict[str, Any]:
    """What each stage up to `last` measured; its files are in the folder of its name in `root`."""
    found: dict[str, Any] = {}
    final = find(PLAN, last)
    for stage in (*ancestors(PLAN, (final,)), final):
        out = root / stage.name
        out.mkdir()
        folders = {name: root / name for name in stage.needs}
        found[stage.name] = import_module(stage.module).run(
            stage.settings.of(settings), folders, out
        )
    return found
