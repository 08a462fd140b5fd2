"""A table as plain text cells, which every format draws in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.results import units

WORDS = frozenset(
    [
        "stage",
        "model",
        "engine",
        "runtime",
        "state",
        "what",
        "key",
        "value",
        "check",
        "against",
        "agrees",
        "worst",
        "tensor",
        "signs",
        "difference",
        "in A",
        "in B",
        "id",
        "time",
        "gates",
        "settings that changed",
        "class",
        "label",
        "metric",
        "truth",
        "predicted",
        "layer",
        "kind",
        "requested",
        "executed",
        "tactic",
        "timing",
        "budget",
        "choice",
        "bound",
        "limit",
    ]
)
"""Columns of words; all others hold numbers."""


Folded = Literal["never", "with charts", "always"]


@dataclass(frozen=True)
class NotRun:
    """Engines that did not run for the same reason, and what would change it."""

    names: str
    state: str
    reason: str
    fix: str


@dataclass(frozen=True)
class Table:
    """A table, and how it is shown.

    not_run    engines listed below it, because they have no measurements
    shown_in   the formats that include it
    folded     when the page folds it away: never, where charts say the same, always
    is_facts   names with their values: has a heading of its own, and stays a table on a phone
    """

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    not_run: tuple[NotRun, ...] = ()
    shown_in: tuple[Literal["terminal", "md", "html"], ...] = ("md", "html")
    folded: Folded = "never"
    is_facts: bool = False

    def is_words(self, column: int) -> bool:
        """Whether a column is aligned left and may break into lines."""
        return self.columns[column] in WORDS


def fact_table(
    title: str, caption: str, values: Mapping[str, Any], folded: Folded = "never"
) -> Table:
    """Nested values by dotted name."""
    rows = tuple(units.spelled(values).items())
    return Table(title, caption, ("what", "value"), rows, folded=folded, is_facts=True)
