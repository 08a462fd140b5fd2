"""What the runner and the child process of a stage say to each other: JSON lines, one each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class Message(BaseModel):
    """Base of all messages: immutable, one line of JSON."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    def to_line(self) -> str:
        """The message as one line. A float that is not finite becomes null."""
        return self.model_dump_json() + "\n"


class StageCall(Message):
    """Run a stage: `settings_class` is (module, name), `inputs` maps needed stages to folders."""

    module: str
    settings_class: tuple[str, str]
    settings: dict[str, Any]
    inputs: dict[str, Path]
    out: Path
    log: Path
    resume: Path


class Progress(Message):
    """What a stage logs while it runs; `step` is (done, total) where known."""

    event: Literal["progress"] = "progress"
    level: str
    text: str
    step: tuple[int, int] | None


class Finished(Message):
    """A stage has ended well."""

    event: Literal["finished"] = "finished"
    # A dictionary: the parent validates it against the type that the plan names (decision 20).
    measurements: dict[str, Any]


class Failed(Message):
    """A stage raised an error of stages.errors, by the name of its class."""

    event: Literal["failed"] = "failed"
    kind: str
    message: str
    hint: str
    traceback: str


class Crashed(Message):
    """A stage raised anything else: a mistake in its code."""

    event: Literal["crashed"] = "crashed"
    message: str
    traceback: str


Event = Annotated[Progress | Finished | Failed | Crashed, Field(discriminator="event")]

EVENT: TypeAdapter[Progress | Finished | Failed | Crashed] = TypeAdapter(
    Event, config=ConfigDict(defer_build=True)
)
