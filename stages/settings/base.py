"""What all sections share: their base class and the types of their values."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from stages.engines.registry import ENGINES, Precision
from stages.errors import nearest, suggestion

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
Positive = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What numpy and Keras take for a seed."""
Seconds = Annotated[float, Field(gt=0.0)]
LearningRate = Annotated[float, Field(gt=0.0, le=1.0)]

if TYPE_CHECKING:
    Backend = str
else:
    Backend = Literal[tuple(ENGINES)]

MOST_NAME_BYTES, MOST_PATH_BYTES = 255, 4095
"""Of the name of one file or folder, and of all of a path: what Linux takes."""


def usable_path(text: str) -> str:
    """`text` with a leading `~` expanded. Raises PydanticCustomError for what no path can be."""
    path = os.path.expanduser(text)
    longest = max(len(os.fsencode(name)) for name in path.split(os.sep))
    is_short = longest <= MOST_NAME_BYTES and len(os.fsencode(path)) <= MOST_PATH_BYTES
    if not text or "\0" in text or not is_short:
        # Read after "expected": see pipeline/config.py.
        words = f"a path without NUL, whose names have 1 to {MOST_NAME_BYTES} bytes"
        raise PydanticCustomError("path", words)
    return path


def _expanded(value: Any) -> Any:
    return usable_path(value) if isinstance(value, str) else value


FilePath = Annotated[Path, BeforeValidator(_expanded)]


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise PydanticCustomError("distinct", "every value once")
    return values


Distinct = AfterValidator(_distinct)
"""For a list: a value given twice would be built or measured twice."""


def named_engine(*others: str) -> AfterValidator:
    """For the name of an engine, as in "litert.int8", or one of the words `others`."""

    def checked(text: str) -> str:
        backend, _, precision = text.partition(".")
        if text in others or (backend in ENGINES and precision in get_args(Precision)):
            return text
        names = [f"{name}.{each}" for name, spec in ENGINES.items() for each in spec.sources]
        # Read after "expected": see pipeline/config.py.
        words = " or ".join([*others, "an engine as in litert.int8"])
        raise PydanticCustomError("engine", words + suggestion(nearest(text, [*others, *names])))

    return AfterValidator(checked)


class Section(BaseModel):
    """Base of all sections: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def external_files(self) -> list[Path]:
        """Files and folders outside the artifact folder that a stage with this section reads."""
        return []

    def listed_files(self) -> dict[str, Path]:
        """Files that those list, by the names there, known as the files of a folder are."""
        return {}
