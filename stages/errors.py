"""What a user can get wrong, as exceptions that say how to put it right.

UserError                 what, got, expected; `hint` says how to fix it
├── SettingsError         an unknown key, a value out of range, an unknown stage  (exit 2)
├── DataError             a data set that is missing, unreadable or unfit
├── ModelError            a Keras model that cannot be loaded, pruned or quantized
├── ConversionError       an ONNX or LiteRT graph that is wrong or disagrees with Keras
├── EngineError           an engine that cannot be built, opened or fed
├── ArtifactError         an artifact that is missing, changed, locked or incomplete
├── ReportError           a report that cannot be written or sent
├── StageCrashed          the process of a stage died
└── GateFailed            the run worked but missed its quality gate               (exit 3)

Anything else that escapes a stage is a bug of this project and keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """An error that its reader can act on.

    `message` says what went wrong, what was got and what was expected;
    `hint` says what to do next and may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class SettingsError(UserError):
    """Wrong use or wrong settings."""

    exit_code = 2


class DataError(UserError):
    """A data set that is missing, unreadable or unfit."""


class ModelError(UserError):
    """A Keras model that cannot be loaded, trained, pruned or quantized."""


class ConversionError(UserError):
    """A converted graph that is invalid or disagrees with the Keras model."""


class EngineError(UserError):
    """An engine that cannot be built, opened or fed."""


class ArtifactError(UserError):
    """An artifact that is missing, changed, locked or incomplete."""


class ReportError(UserError):
    """A report that cannot be written or sent."""


class StageCrashed(UserError):
    """The process that ran a stage died without an answer."""


class GateFailed(UserError):
    """The run finished, but its result misses a quality gate."""

    exit_code = 3


_KINDS: tuple[type[UserError], ...] = (UserError, *UserError.__subclasses__())
KINDS = {kind.__name__: kind for kind in _KINDS}
"""Name -> class, to carry an error from the process of a stage to its caller."""
