"""Which packages the line needs, and how to install those that are missing.

This project is on no public index, so hints name the packages that are.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError

TRAINING = (
    *("tensorflow", "keras", "h5py", "tf2onnx", "onnx", "onnxslim"),
    *("onnxruntime", "ai-edge-litert", "pillow"),
)
"""For the stages that train, prune, quantize and convert; the extra `train` of pyproject.toml."""

IMPORTED_AS = {
    "pillow": "PIL",
    "scikit-learn": "sklearn",
    "mysqlclient": "MySQLdb",
    "psycopg2-binary": "psycopg2",
}
"""Of the others the import name is their own, with underscores."""


ALSO_AS = {"tensorrt": ("tensorrt-cu12", "tensorrt-cu13")}
"""Distributions of the same package, each for one CUDA; the extra `gpu-cu12` installs the first."""

LOADED_WITH = {"ai-edge-litert": "ai_edge_litert.interpreter", "pycuda": "pycuda.driver"}
"""Of these the package alone is Python, and loads where its native code does not."""


def missing(packages: Iterable[str]) -> list[str]:
    """Those of `packages` that are not installed.

    They are looked for, not imported: importing takes long, and ONNX Runtime would ask for AMX.
    """
    return [name for name in packages if importlib.util.find_spec(_module(name)) is None]


def _module(package: str) -> str:
    return IMPORTED_AS.get(package, package.replace("-", "_"))


def native_module(package: str) -> str:
    """The module whose import shows whether the package's native code loads."""
    return LOADED_WITH.get(package, _module(package))


def providing(module: str) -> str:
    """The package that has `module`: "PIL" -> "pillow"."""
    known = {imported: package for package, imported in IMPORTED_AS.items()}
    return known.get(module, module.replace("_", "-"))


def install(packages: Iterable[str]) -> str:
    """The command that installs `packages`."""
    return f"pip install {' '.join(packages)}"


def reinstall(packages: Iterable[str]) -> str:
    """The command that replaces `packages` that are there and broken."""
    found = ((distribution(name), name) for name in packages)
    # The metadata of a package may spell its name with underscores.
    names = [each.name.replace("_", "-") if each else name for each, name in found]
    return f"pip install --force-reinstall {' '.join(names)}"


def distribution(package: str) -> Distribution | None:
    """That which has installed `package`, under whichever of its names; None if none has."""
    for name in (package, *ALSO_AS.get(package, ())):
        with contextlib.suppress(PackageNotFoundError):
            return importlib.metadata.distribution(name)
    return None


def not_installed(packages: Iterable[str]) -> str:
    """ "the packages keras, h5py are not installed"."""
    names = list(packages)
    plural = len(names) > 1
    return f"the package{'s' * plural} {', '.join(names)} {'are' if plural else 'is'} not installed"
