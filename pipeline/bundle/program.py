"""predict.py of a bundle: one program, put together from two modules of programs/.

`predict` is what all runtimes share, and imports `Network` from the module of one of them. In the
program the class itself stands in the place of that import.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import resources

START = "from __future__ import annotations\n\n"
BELOW_IMPORTS = "\n\n\n"
PLACEHOLDER = "from pipeline.bundle.programs.litert import Network"


def source(backend: str) -> str:
    """The text of predict.py for an engine of `backend`."""
    is_rtx = backend == "tensorrt_rtx"
    text, imports, body = _parts("predict")
    _, more, network = _parts("tensorrt" if is_rtx else backend)
    if is_rtx:
        more = [line.replace("import tensorrt as", "import tensorrt_rtx as") for line in more]
    wanted = {*imports, *more} - {PLACEHOLDER}
    constants, _, functions = body.partition(BELOW_IMPORTS)
    parts = (_sections(wanted) + "\n\n" + constants, network.rstrip(), functions)
    return text + START + BELOW_IMPORTS.join(parts)


def _parts(name: str) -> tuple[str, list[str], str]:
    """A module's docstring, its imports, and what is below them."""
    file = resources.files("pipeline.bundle.programs") / f"{name}.py"
    text, _, rest = file.read_text(encoding="utf-8").partition(START)
    lines = rest.split("\n")
    end = next(
        i for i, line in enumerate(lines) if line and not line.startswith(("import", "from"))
    )
    return text, [line for line in lines[:end] if line], "\n".join(lines[end:])


def _sections(imports: Iterable[str]) -> str:
    """Imports in the usual order: the standard library first."""
    ordered = sorted(imports, key=lambda line: (line.startswith("from"), line.lower()))
    own = [line for line in ordered if line.split()[1].split(".")[0] in sys.stdlib_module_names]
    return "\n".join([*own, "", *(line for line in ordered if line not in own)])
