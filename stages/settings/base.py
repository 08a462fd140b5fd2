"""What all sections share: their base class and the types of their values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from stages.engines.registry import ENGINES, Precision

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0.0)]
LearningRate = Annotated[float, Field(gt=0.0, le=1.0)]

if TYPE_CHECKING:
    Backend = str
else:
    Backend = Literal[tuple(ENGINES)]

TARGET_PATTERN = rf"^({'|'.join(ENGINES)})\.({'|'.join(get_args(Precision))})$"
"""An engine in one word, as in "litert.int8"."""


class Section(BaseModel):
    """Base of all sections: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def external_files(self) -> list[Path]:
        """Files and folders outside the artifact folder that a stage with this section reads."""
        return []
