"""Frozen results with one value replaced, however deep it lies."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)


def edited(model: Model, *path: str | int, to: Any) -> Model:
    """`edited(summary, "stages", "train", "top1", to=0.9)`, validated as any other."""
    content = model.model_dump(mode="json")
    inner = content
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = to
    return type(model).model_validate(content)
