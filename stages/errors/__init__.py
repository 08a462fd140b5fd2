"""What can go wrong for a user, as exceptions that say how to fix it.

UserError                 what, got, expected; `hint` says how to fix it
├── SettingsError         an unknown key, a value out of range, an unknown stage  (exit 2)
├── DataError             a data set that is missing, unreadable or unfit         (exit 2)
├── ModelError            a Keras model that cannot be loaded, pruned or quantized
│   ├── LossNotFinite     a training whose loss has become no number, or an infinite one
│   └── NothingPruned     a ratio that is too small to remove a channel
├── ConversionError       an ONNX or LiteRT graph that is wrong or disagrees with Keras
│   └── ConversionUnsupported   an operation that the converter for one engine does not know
├── EngineError           an engine that cannot be built, opened or fed
├── ArtifactError         an artifact that is missing, changed, locked or incomplete
├── MachineError          a full or read-only disk, no memory, no permission
├── ReportError           a report that cannot be written or sent
├── StageCrashed          the process of a stage died
└── GateFailed            the run worked but missed its quality gate               (exit 3)

Anything else that escapes a stage is a bug of this project and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """An error that its reader can act on.

    `message` says what went wrong, what was got and what was expected;
    `hint` says what to do next and may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = redacted(printable(message))
        self.hint = redacted(printable(hint))
        super().__init__(self.message, self.hint)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class SettingsError(UserError):
    """Wrong use or wrong settings."""

    exit_code = 2


class DataError(UserError):
    """A data set that is missing, unreadable or unfit: the mistake is in what was given to us."""

    exit_code = 2


class ModelError(UserError):
    """A Keras model that cannot be loaded, trained, pruned or quantized."""


class LossNotFinite(ModelError):
    """A training whose loss has become no number, or an infinite one."""


class NothingPruned(ModelError):
    """A ratio that is too small to remove a channel."""


class ConversionError(UserError):
    """A converted graph that is invalid or disagrees with the Keras model."""


class ConversionUnsupported(ConversionError):
    """An operation that a converter does not know: its engine alone cannot be built."""


class EngineError(UserError):
    """An engine that cannot be built, opened or fed."""


class ArtifactError(UserError):
    """An artifact that is missing, changed, locked or incomplete."""


class MachineError(UserError):
    """The machine refuses: a full or read-only disk, no memory, no permission."""


class ReportError(UserError):
    """A report that cannot be written or sent."""


class StageCrashed(UserError):
    """The process that ran a stage died without an answer."""


class GateFailed(UserError):
    """The run finished, but its result misses a quality gate."""

    exit_code = 3


_KINDS: tuple[type[UserError], ...] = (
    UserError,
    *UserError.__subclasses__(),
    *ModelError.__subclasses__(),
    *ConversionError.__subclasses__(),
)
KINDS = {kind.__name__: kind for kind in _KINDS}
"""Name -> class, to carry an error from the process of a stage to its caller."""


DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
RIGHTS = (errno.EACCES, errno.EPERM)


def machine_error(error: BaseException) -> MachineError | None:
    """`error` as a MachineError if the machine is the cause and not the code, else None."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return MachineError(
            "not enough memory", "close other programs, or use smaller batches: batch_size"
        )
    if not isinstance(error, OSError):
        return None
    # An OSError of h5py carries its code in the text only.
    code = error.errno or next((each for each in DISK if os.strerror(each) in str(error)), None)
    if code not in (*DISK, *RIGHTS):
        return None
    file = f": {str(error.filename)!r}" if error.filename else ""
    fix = "check who may write there" if code in RIGHTS else "free some space"
    return MachineError(
        f"{os.strerror(code)}{file}",
        f"{fix}, or choose another folder with --artifacts; what was done before stays",
    )


LONGEST_SHOWN = 100


def shown(value: object) -> str:
    """`repr(value)`, shortened in the middle: a mistake can be as long as a whole file."""
    text = redacted(repr(value))
    half = LONGEST_SHOWN // 2
    return text if len(text) <= LONGEST_SHOWN else f"{text[:half]}...{text[-half:]}"


def printable(text: str) -> str:
    """`text` with every character escaped that a terminal would obey or that UTF-8 cannot hold."""
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode()
        for each in text
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name in `known` that looks most like `name` in small letters, None if none does."""
    import difflib  # only a mistake needs it

    folded = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return folded[close[0]] if close else None


def suggestion(name: str | None) -> str:
    """`"; did you mean 'train'?"` for "train", "" for None: the end of an error message."""
    return "" if name is None else f"; did you mean {name!r}?"


_USER = re.compile(r"""(?<=://)[^/?#\s'"]*@""")
_BEHIND_THE_PATH = re.compile(r"""(://[^?#\s'"]*[?#])([^\s'"]*)""")
SECRET = "***"


def redacted(text: str) -> str:
    """`text` without what an address can hide: user, password, and all values behind the path.

    "http://me:pw@host/a.npz?token=1" -> "http://***@host/a.npz?token=***".
    """
    return _BEHIND_THE_PATH.sub(_without_values, _USER.sub(f"{SECRET}@", text))


def _without_values(found: re.Match[str]) -> str:
    names = [name + equals for name, equals, _ in (p.partition("=") for p in found[2].split("&"))]
    return found[1] + "&".join(f"{each if each.endswith('=') else ''}{SECRET}" for each in names)


def redacted_values(content: Any) -> Any:
    """A JSON value with every string in it `redacted`."""
    if isinstance(content, str):
        return redacted(content)
    if isinstance(content, dict):
        return {key: redacted_values(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [redacted_values(each) for each in content]
    return content
