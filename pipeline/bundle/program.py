"""predict.py of a bundle, and model.py for Triton: each put together from modules of programs/.

`predict` and `model` are what all share. They import `Network` from the module of a runtime, what
is said of answers from the table `tasks` and the modules in it, and what reads files. In the
program these stand in the place of the imports, of the table the rows that are wanted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from typing import Literal

from stages.tasks.registry import TaskName

PROGRAMS = resources.files("pipeline.bundle.programs")
RTX = "tensorrt_rtx"
START = "from __future__ import annotations\n\n"
BELOW_IMPORTS = "\n\n\n"
ROW = re.compile(r'^    "(\w+)": \(answer_\w+, compare_\w+\),\n', re.MULTILINE)
PLACEHOLDERS = "from pipeline."
OWN_PACKAGES = 'sys.path.insert(0, str(Path(__file__).resolve().with_name("packages")))'
"""In model.py, before anything that is not of the standard library is imported."""

Read = Literal["pictures", "arrays", "several"]
READERS: dict[Read, tuple[str, ...]] = {
    "pictures": ("one_input", "pictures"),
    "arrays": ("one_input", "no_pictures"),
    "several": ("several_inputs",),
}
"""Modules by what is read: image files and arrays, arrays alone, an array for each input."""
TABLE = "tasks"


def source(backend: str, tasks: Iterable[TaskName], read: Read) -> str | None:
    """The text of predict.py for an engine of `backend`, whose outputs are asked these `tasks`;
    None where programs/ lacks the backend."""
    if not (PROGRAMS / f"{_module(backend)}.py").is_file():
        return None
    wanted = sorted(set(tasks))
    text = _program(
        ["predict", _module(backend), *wanted, TABLE, "arrays", *READERS[read]], backend
    )
    return ROW.sub(lambda row: row[0] if row[1] in wanted else "", text)


def model(backend: str) -> str:
    """The text of model.py, which finds what is in the folder `packages` beside it."""
    return _program(["model", _module(backend)], backend, {"import sys"}, [OWN_PACKAGES])


def _program(
    names: Sequence[str],
    backend: str,
    added: Iterable[str] = (),
    before_packages: Iterable[str] = (),
) -> str:
    """The first of the modules with the others before its functions."""
    (text, imports, body), *others = (_parts(name) for name in names)
    wanted = {*imports, *added}.union(*(more for _, more, _ in others))
    if backend == RTX:
        wanted = {line.replace("import tensorrt as", "import tensorrt_rtx as") for line in wanted}
    constants, _, functions = body.partition(BELOW_IMPORTS)
    kept = (line for line in wanted if not line.startswith(PLACEHOLDERS))
    head = _sections(_merged(kept), before_packages)
    parts = (head + "\n\n" + constants, *(code.rstrip() for _, _, code in others), functions)
    return text + START + BELOW_IMPORTS.join(parts)


def _module(backend: str) -> str:
    """RTX has TensorRT's interface under another name."""
    return "tensorrt" if backend == RTX else backend


def _parts(name: str) -> tuple[str, list[str], str]:
    """A module's docstring, its imports, and what is below them."""
    file = PROGRAMS / f"{name}.py"
    text, _, rest = file.read_text(encoding="utf-8").partition(START)
    lines = rest.split("\n")
    end = next(
        i for i, line in enumerate(lines) if line and not line.startswith(("import", "from"))
    )
    return text, [line for line in lines[:end] if line], "\n".join(lines[end:])


def _merged(imports: Iterable[str]) -> Iterator[str]:
    """What several lines import from one module in one."""
    names: dict[str, set[str]] = {}
    for line in imports:
        start, _, listed = line.partition(" import ")
        if line.startswith("from"):
            names.setdefault(start, set()).update(listed.split(", "))
        else:
            yield line
    yield from (f"{start} import {', '.join(sorted(found))}" for start, found in names.items())


def _sections(imports: Iterable[str], before_packages: Iterable[str]) -> str:
    """Imports in the usual order: the standard library first."""
    ordered = sorted(imports, key=lambda line: (line.startswith("from"), line.lower()))
    own = [line for line in ordered if line.split()[1].split(".")[0] in sys.stdlib_module_names]
    others = (line for line in ordered if line not in own)
    return "\n".join([*own, "", *before_packages, *others])
