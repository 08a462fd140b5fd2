"""The module of an engine, found by the engine's row."""

from __future__ import annotations

import importlib
from typing import cast

from stages.engines.base import EngineModule
from stages.engines.registry import ENGINES, EngineName, Precision


def source_file(engine: EngineName) -> str:
    """The convert stage's file that the engine is built from on this machine.

    That of the row, unless the module has a `source_file(precision)` of its own, as where an
    older release of the runtime needs another graph.
    """
    precision = cast(Precision, engine.precision)
    own = getattr(load(engine.backend), "source_file", None)
    return str(own(precision) if own else ENGINES[engine.backend].sources[precision])


def load(backend: str) -> EngineModule:
    """Import the module of `backend`; its runtime is imported only when it is used."""
    return cast(EngineModule, importlib.import_module(ENGINES[backend].module))
