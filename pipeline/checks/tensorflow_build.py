"""What the installed TensorFlow was built for, without importing it."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

DISTRIBUTIONS = ("tensorflow", "tensorflow-rocm", "tensorflow-cpu", "tf-nightly")
"""Packages whose module is called `tensorflow`."""
FILE = Path("python/platform/build_info.py")


def describe() -> str:
    """As in "2.21.0, built for CUDA 12.5.1"; "not installed" without it."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None:
        return "not installed"
    folders = spec.submodule_search_locations or []
    return f"{_version()}, built for {built_for(*map(Path, folders))}"


def built_for(*folders: Path) -> str:
    """ "CUDA 12.5.1", "ROCm", or "the CPU alone", as the file of TensorFlow's `folders` says."""
    facts: dict[str, Any] = {}
    for folder in folders:
        if (folder / FILE).is_file():
            facts |= _pairs((folder / FILE).read_text(encoding="utf-8"))
    for name, key in (("ROCm", "rocm"), ("CUDA", "cuda")):
        if facts.get(f"is_{key}_build"):
            return f"{name} {facts.get(f'{key}_version', '')}".strip()
    return "the CPU alone" if facts else "an unknown device"


def _pairs(source: str) -> dict[str, Any]:
    """All (key, constant) in the source: a dictionary that is written as a list of pairs."""
    pairs = [node.elts for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Tuple)]
    return {
        str(pair[0].value): pair[1].value
        for pair in pairs
        if len(pair) == 2
        if isinstance(pair[0], ast.Constant) and isinstance(pair[1], ast.Constant)
    }


def _version() -> str:
    for name in DISTRIBUTIONS:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "of unknown version"
