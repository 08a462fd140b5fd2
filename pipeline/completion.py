"""Completion with TAB of stages, setting keys and values; the plan and the settings are read then.

In bash `=` ends a word, so that `--set train.epochs=` arrives as three: they are put together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

EQUALS = "="

if TYPE_CHECKING:
    Word = click.ParamType[str]
else:
    Word = click.ParamType  # generic in later releases only


class Stage(Word):
    """The name of a stage, checked later, with the plan; `words` may stand in its place."""

    name = "stage"

    def __init__(self, *words: str) -> None:
        self.words = words

    def shell_complete(
        self, context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """The stages that begin so."""
        from pipeline.core.plan import PLAN

        return _items([*self.words, *(stage.name for stage in PLAN)], incomplete)


class Setting(Word):
    """`section.key=value`, checked later, with the settings."""

    name = "setting"

    def shell_complete(
        self, context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """The keys that begin so; behind a key, its values where they can be listed."""
        key, equals, _ = incomplete.partition(EQUALS)
        if not equals:
            return _items([f"{name}{EQUALS}" for name in _kinds()], incomplete)
        values = _values(key)
        return _items([f"{key}{EQUALS}{value}" for value in values], incomplete)


def _items(words: list[str], incomplete: str) -> list[CompletionItem[str]]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _kinds() -> dict[str, tuple[Any, Any]]:
    """Every setting by dotted name: its type and its default."""
    from stages.settings import Settings

    defaults = Settings()
    return {
        f"{section}.{key}": (info.annotation, getattr(getattr(defaults, section), key))
        for section in Settings.model_fields
        for key, info in type(getattr(defaults, section)).model_fields.items()
    }


def _values(name: str) -> list[str]:
    """What the setting takes, or its default as an example; nothing of lists."""
    if name == "model.name":
        from stages.settings.networks import APPLICATIONS, NETWORKS

        return [*NETWORKS, *APPLICATIONS]
    if name not in (kinds := _kinds()):
        return []
    kind, default = kinds[name]
    if isinstance(default, bool):
        return ["true", "false"]
    if isinstance(default, (tuple, dict)):
        return []
    return list(_choices(kind)) or ([] if default is None else [str(default)])


def _choices(kind: Any) -> Iterator[str]:
    """The strings of a Literal, which may be one of several types."""
    for each in get_args(kind):
        if isinstance(each, str):
            yield each
        else:
            yield from _choices(each)


class Bash(BashComplete):
    """Bash's completion, for which `section.key=value` is one word again."""

    source_template = BashComplete.source_template.replace(
        "    return 0\n", "    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n\n    return 0\n"
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one to be completed, and that."""
        args, incomplete = super().get_completion_args()
        words: list[str] = []
        for word in [*args, incomplete]:
            is_glued = bool(words) and (word == EQUALS or words[-1].endswith(EQUALS))
            words[-1:] = [words[-1] + word] if is_glued else [*words[-1:], word]
        self._before = words[-1].rpartition(EQUALS)[0] if EQUALS in (*args[-1:], incomplete) else ""
        return words[:-1], words[-1]

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """A value without the key, which bash has as a word of its own."""
        value = item.value.removeprefix(f"{self._before}{EQUALS}") if self._before else item.value
        return f"{item.type},{value}"


add_completion_class(Bash)
