"""The record of a stage: what decided its artifact, every file in it, and what was measured.

This is the only reader of `record.json`: whatever else looks at a record has these types.
"""

import functools
import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    field_validator,
)

from pipeline.core.hashing import key_of
from pipeline.core.seal import KEY as SEAL
from pipeline.core.seal import opened, seal
from stages.errors import redacted_values
from stages.results.base import Count, Sha256, StageResult

FILE = "record.json"
VERSION: Literal[2] = 2
UNSEALED: Literal[1] = 1
"""The version before, whose records have no seal."""

MOST_FAULTS = 3


class FileEntry(BaseModel):
    """One file of an artifact."""

    model_config = ConfigDict(frozen=True)

    sha256: Sha256
    size_bytes: Count


def _below(name: str) -> str:
    """Raises ValueError for a path that leads out of its folder: what is listed gets deleted."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name!r} is outside the artifact")
    return name


FileName = Annotated[str, AfterValidator(_below)]


class Identity(BaseModel):
    """All that decides what a stage writes.

    external   hash of every file of the user, by its path
    inputs     SHA-256 of every file of every needed stage, by stage and name
    """

    model_config = ConfigDict(frozen=True)

    stage: str
    revision: int
    settings: dict[str, Any]
    external: dict[str, str]
    inputs: dict[str, dict[str, str]]
    environment: dict[str, Any]

    def compute_key(self) -> str:
        """SHA-256 of the identity: two artifacts with one key hold the same."""
        # Only these fields: a Record is an Identity too, and must get the same key.
        return key_of(self.model_dump(mode="json", include=set(Identity.model_fields)))


class Record(Identity):
    """`record.json`. Its environment is that of the run, whether or not it is part of the key."""

    record_version: Literal[1, 2] = VERSION
    key: str
    started_at: str
    seconds: float = Field(allow_inf_nan=False)
    files: dict[FileName, FileEntry]
    measurements: SerializeAsAny[StageResult]

    @field_validator("settings")
    @classmethod
    def _without_secrets(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """The key is of the settings as they were: another password makes another artifact."""
        redacted: dict[str, Any] = redacted_values(settings)
        return redacted

    def setting(self, name: str) -> Any:
        """The value that it was made with, as of "build.batch_sizes"; None if it had none."""
        section, _, key = name.partition(".")
        return self.settings.get(section, {}).get(key)

    @property
    def packages(self) -> dict[str, str]:
        """The versions of the packages of its run, by name."""
        return dict(self.environment["packages"])

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file by name, as a stage that reads this artifact records it."""
        return {name: entry.sha256 for name, entry in self.files.items()}


def write(record: Record, folder: Path) -> None:
    """Write `record.json` into `folder`."""
    (folder / FILE).write_bytes(seal(record.model_dump_json(indent=1)))


@functools.lru_cache(maxsize=64)  # a run reads the record of a stage for each that needs it
def parse(raw: bytes, stage: str, result: type[StageResult]) -> Record:
    """The record of `stage`, whose measurements are a `result`.

    Raises ValueError for anything else, with what is wrong in one line.
    """
    content = json.loads(raw)
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    version = content.get("record_version")
    if version not in (UNSEALED, VERSION):
        raise ValueError(f"it has version {version!r}, expected {VERSION}")
    if version == VERSION or SEAL in content:
        content = opened(raw)
    try:
        measured = result.model_validate(content.get("measurements"))
        record = Record.model_validate({**content, "measurements": measured})
    except ValidationError as error:
        raise ValueError(faults(error)) from error
    if record.stage != stage:
        raise ValueError(f"it belongs to stage {record.stage!r}")
    return record


def faults(error: ValidationError) -> str:
    """The first few mistakes in one line: "files.model.keras.sha256: Field required"."""
    lines = [f"{'.'.join(map(str, item['loc'])) or 'it'}: {item['msg']}" for item in error.errors()]
    more = f" and {len(lines) - MOST_FAULTS} more" if len(lines) > MOST_FAULTS else ""
    return "; ".join(lines[:MOST_FAULTS]) + more
