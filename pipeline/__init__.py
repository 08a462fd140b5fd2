"""The pipeline on its own, without the stages' work; and the functions for programs of one's own.

engine = pipeline.load("bundle")           an engine that `pipeline export` wrote
engine.predict(images).labels              what it says of images

pipeline.optimize("network.keras", ...)    the whole line, from a program or a notebook
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api import optimize
    from pipeline.bundle.engine import load

__all__ = ["load", "optimize"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: `import pipeline` itself costs nothing."""
    if name == "load":
        from pipeline.bundle.engine import load

        return load
    if name == "optimize":
        from pipeline.api import optimize

        return optimize
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
