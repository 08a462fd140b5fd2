"""Settings from a TOML file and from `--set section.key=value`; and back to TOML.

Relative paths in settings mean the folder that the command runs in, in a file as well as
with `--set`: the same words mean the same file wherever they are written.
"""

from __future__ import annotations

import json
import math
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stages.errors import SettingsError, nearest, shown, suggestion
from stages.settings import Knob, Section, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path("pipeline.toml")
"""Read by the command line where no --config is given; programs read what they name."""
COMMENT_COLUMNS = 96
MOST_BYTES = 1 << 20

NOT_TOML = (ValueError, RecursionError)
"""What tomllib raises: TOMLDecodeError, plain ValueError for a number of thousands of digits."""

EXPECTED = {
    "model_type": "a section with keys",
    "model_attributes_type": "a section with keys",
    "tuple_type": "a list, as in [1, 32]",
    "dict_type": "a table of names and values",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "string_unicode": "text in UTF-8",
}
"""What some of pydantic's error types mean in the words of a TOML file."""

RENAMED = {
    "prune.keep": "prune.exclude_layers",
    "prune.round_to": "prune.channel_multiple",
    "quantize.keep_float": "quantize.exclude_layers",
    "build.opt_batch_size": "build.batch_sizes",
    "build.seconds": "build.max_seconds_per_engine",
    "benchmark.seconds": "benchmark.max_seconds_per_engine",
}
"""Former name of a setting -> its name now, which no likeness would find."""


def load(file: Path | None = None, overrides: Sequence[str] = ()) -> Settings:
    """The settings: defaults, then `file`, then `overrides` ("section.key=value").

    Raises SettingsError: one line per mistake, with what was got and what is expected.
    """
    tree = {} if file is None else _read(file)
    for override in overrides:
        _set(tree, override)
    return _validated(tree)


def changed(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """`settings` with other `values` by dotted name. Raises SettingsError as `load` does."""
    tree = settings.model_dump()
    for name, value in values.items():
        section, _, key = name.partition(".")
        tree.setdefault(section, {})[key] = value
    return _validated(tree)


def _validated(tree: Mapping[str, Any]) -> Settings:
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(item["loc"], item) for item in error.errors()]
        raise SettingsError(
            "\n".join(lines), "all settings and their values: pipeline config"
        ) from error
    _refuse_infinite(settings)
    return settings


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        text = content.decode("utf-8").replace("\r\n", "\n")
    except OSError as error:
        raise SettingsError(
            f"cannot read the configuration {str(file)!r}: {error.strerror}",
            "a first one to edit: pipeline config > settings.toml",
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: byte {error.start} is not UTF-8, as TOML must be") from error
    if len(content) > MOST_BYTES:
        raise SettingsError(f"{file}: more than {MOST_BYTES:,} bytes, which no settings need")
    try:
        return tomllib.loads(text)
    except NOT_TOML as error:
        lines = text.split("\n")
        end = f"at line {len(lines)}, column {len(lines[-1]) + 1}"
        reason = _reason(error).replace("at end of document", end)
        raise SettingsError(f"{file}: not valid TOML: {reason}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, tomllib.TOMLDecodeError):
        return str(error)
    return (
        "brackets nested too deeply" if isinstance(error, RecursionError) else "too long a number"
    )


def _set(tree: dict[str, Any], override: str) -> None:
    try:
        override.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SettingsError(f"--set got {shown(override)}, expected text in UTF-8") from error
    name, equals, text = override.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and section and key):
        raise SettingsError(
            f"--set got {shown(override)}, expected section.key=value",
            "as in: --set train.epochs=3",
        )
    values = tree.setdefault(section, {})
    if not isinstance(values, dict):
        raise SettingsError(f"{section}: got {shown(values)}, expected {EXPECTED['model_type']}")
    values[key] = parse_value(text.strip())


def parse_value(text: str) -> Any:
    """`text` as a TOML value if it is one, else as the string that it is.

    "3" -> 3, "[1, 8]" -> [1, 8], "percentile" -> "percentile", '"3"' -> "3".
    """
    try:
        parsed = tomllib.loads(f"value = {text}")
    except NOT_TOML:
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text


def _explain(location: Sequence[str | int], item: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors."""
    name = _dotted(location)
    if item["type"] == "extra_forbidden":
        *section, key = map(str, location)
        kind = "setting" if section else "section"
        is_knob = section[:2] == ["search", "knobs"]
        meant = (
            nearest(key, Knob.model_fields)
            if is_knob
            else _meant(section[0] if section else None, key)
        )
        return f"unknown {kind} {shown(name)}{suggestion(meant)}"
    expected = EXPECTED.get(item["type"]) or item["msg"].removeprefix("Input should be ")
    return f"{name}: got {shown(item['input'])}, expected {expected}"


def _dotted(location: Iterable[str | int]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).lstrip(".")


def _meant(section: str | None, key: str) -> str | None:
    """The setting that an unknown `key` may mean: renamed, or near it in its section or any."""
    if section is None:
        return nearest(key, Settings.model_fields)
    if renamed := RENAMED.get(f"{section}.{key}"):
        return renamed
    knobs = {name: type(part).model_fields for name, part in _sections()}
    for name in (section, *knobs):
        if near := nearest(key, knobs[name]):
            return f"{name}.{near}"
    return None


def _sections(settings: Settings | None = None) -> list[tuple[str, Section]]:
    settings = settings or Settings()
    return [(name, getattr(settings, name)) for name in Settings.model_fields]


def _refuse_infinite(settings: Settings) -> None:
    for name, section in _sections(settings):
        for key, value in section:
            if isinstance(value, float) and not math.isfinite(value):
                raise SettingsError(f"{name}.{key}: got {value}, expected a finite number")


def to_toml(settings: Settings) -> str:
    """All settings as TOML with their meaning as comments; `load` reads the same back."""
    from stages.settings.meaning import meanings

    lines: list[str] = []
    for name, section in _sections(settings):
        texts = meanings(type(section))
        lines += [*comment(type(section).__doc__), f"[{name}]"]
        for key in type(section).model_fields:
            value = getattr(section, key)
            setting = f"# {key} =" if value is None else f"{key} = {toml_value(value)}"
            lines += [*comment(texts.get(key)), setting]
        lines.append("")
    return "\n".join(lines)


def comment(text: str | None) -> list[str]:
    """`text` as lines of comment."""
    words = " ".join((text or "").split())
    return textwrap.wrap(words, COMMENT_COLUMNS, initial_indent="# ", subsequent_indent="# ")


def toml_value(value: Any) -> str:
    """A setting's value as TOML writes it."""
    if isinstance(value, str):
        # JSON's spelling of a string is TOML's, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    if isinstance(value, Knob):
        return toml_value(value.values or value.model_dump(exclude_defaults=True))
    if isinstance(value, dict):
        pairs = [f"{toml_value(key)} = {toml_value(each)}" for key, each in value.items()]
        return f"{{{', '.join(pairs)}}}"
    return str(value).lower() if isinstance(value, bool) else repr(value)
