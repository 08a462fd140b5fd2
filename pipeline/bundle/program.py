"""predict.py of a bundle, and model.py for Triton: each put together from two modules of programs/.

`predict` and `model` are what all runtimes share, and import `Network` from the module of one of
them. In the program the class itself stands in the place of that import.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import resources

PROGRAMS = resources.files("pipeline.bundle.programs")
RTX = "tensorrt_rtx"
START = "from __future__ import annotations\n\n"
BELOW_IMPORTS = "\n\n\n"
PLACEHOLDER = "from pipeline.bundle.programs.litert import Network"
OWN_PACKAGES = 'sys.path.insert(0, str(Path(__file__).resolve().with_name("packages")))'
"""In model.py, before anything that is not of the standard library is imported."""


def source(backend: str) -> str | None:
    """The text of predict.py for an engine of `backend`; None for one that programs/ lacks."""
    if not (PROGRAMS / f"{_module(backend)}.py").is_file():
        return None
    return _program("predict", backend)


def model(backend: str) -> str:
    """The text of model.py, which finds what is in the folder `packages` beside it."""
    return _program("model", backend, {"import sys"}, [OWN_PACKAGES])


def _program(
    name: str, backend: str, added: Iterable[str] = (), before_packages: Iterable[str] = ()
) -> str:
    text, imports, body = _parts(name)
    _, more, network = _parts(_module(backend))
    if backend == RTX:
        more = [line.replace("import tensorrt as", "import tensorrt_rtx as") for line in more]
    wanted = {*imports, *more, *added} - {PLACEHOLDER}
    constants, _, functions = body.partition(BELOW_IMPORTS)
    head = _sections(wanted, before_packages)
    parts = (head + "\n\n" + constants, network.rstrip(), functions)
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
