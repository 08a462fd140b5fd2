"""What each setting is for: the text below it in the source.

Reading the source of every section takes as long as all other work of a run that has nothing to do,
so only who shows the settings pays for it.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import textwrap
from typing import Any

from stages.settings import Settings
from stages.settings.base import Section


def meanings(section: type[Section]) -> dict[str, str]:
    """Setting -> its text, for the section's own settings and those it inherits."""
    owners = (owner for owner in reversed(section.__mro__) if issubclass(owner, Section))
    return {name: text for owner in owners for name, text in _texts(owner).items()}


@functools.cache
def _texts(owner: type[Section]) -> dict[str, str]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    if not isinstance(tree, ast.ClassDef):
        return {}
    return {
        name.id: inspect.cleandoc(text)
        for line, below in itertools.pairwise(tree.body)
        if isinstance(line, ast.AnnAssign) and isinstance(name := line.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(text := below.value.value, str)
    }


def schema() -> dict[str, Any]:
    """JSON Schema of all settings, with what they are for."""
    described = Settings.model_json_schema()
    for field in Settings.model_fields.values():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            properties = described["$defs"][section.__name__]["properties"]
            for name, text in meanings(section).items():
                properties[name]["description"] = text
    return described
