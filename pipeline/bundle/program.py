"""predict.py of a bundle, and model.py for Triton: each put together from modules of programs/.

`predict` and `model` are what all share. They import `Network` from the module of a runtime, what
is said of an answer from that of a task, and what reads files. In the program these stand in the
place of the imports.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import resources

from stages.tasks.registry import TaskName

PROGRAMS = resources.files("pipeline.bundle.programs")
RTX = "tensorrt_rtx"
START = "from __future__ import annotations\n\n"
BELOW_IMPORTS = "\n\n\n"
PLACEHOLDERS = "from pipeline."
OWN_PACKAGES = 'sys.path.insert(0, str(Path(__file__).resolve().with_name("packages")))'
"""In model.py, before anything that is not of the standard library is imported."""


def source(backend: str, task: TaskName, takes_pictures: bool = True) -> str | None:
    """The text of predict.py for an engine of `backend` and a `task`; None where programs/ lacks
    one of them."""
    if not all((PROGRAMS / f"{name}.py").is_file() for name in (_module(backend), task)):
        return None
    files = "pictures" if takes_pictures else "arrays"
    return _program(["predict", _module(backend), task, files], backend)


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
    head = _sections(
        (line for line in wanted if not line.startswith(PLACEHOLDERS)), before_packages
    )
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


def _sections(imports: Iterable[str], before_packages: Iterable[str]) -> str:
    """Imports in the usual order: the standard library first."""
    ordered = sorted(imports, key=lambda line: (line.startswith("from"), line.lower()))
    own = [line for line in ordered if line.split()[1].split(".")[0] in sys.stdlib_module_names]
    others = (line for line in ordered if line not in own)
    return "\n".join([*own, "", *before_packages, *others])
