"""What the installed TensorFlow was built for, and what it finds and sees here.

The former without importing it, the latter in a child process, which it may crash.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

from stages.engines import child
from stages.results.asides import TensorFlowFacts

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


@functools.cache
def seen() -> TensorFlowFacts | str:
    """What TensorFlow sees here, or why it does not load; takes seconds, once per process."""
    try:
        answer = child.answer("stages.training.seen_gpus", "tell")
    except child.ChildFailed as failure:
        return failure.in_words
    return TensorFlowFacts.model_validate_json(answer)


def in_words(facts: TensorFlowFacts) -> str:
    """ "loads CUDA 12.5 and cuDNN 9.10.2, sees 1 GPU: NVIDIA H100"; "no CUDA" where it is not."""
    libraries = {"CUDA": facts.loaded_cuda, "cuDNN": facts.loaded_cudnn}
    words = [
        f"{name} {version}" if version else f"no {name}" for name, version in libraries.items()
    ]
    count = len(facts.gpus)
    gpus = f"{count} GPU{'s' * (count != 1)}: {', '.join(facts.gpus)}" if count else "no GPU"
    return f"loads {' and '.join(words)}, sees {gpus}"


def built_for(*folders: Path) -> str:
    """ "CUDA 12.5.1 and cuDNN 9", "ROCm", or "the CPU alone", as the file of TensorFlow's says."""
    facts: dict[str, Any] = {}
    for folder in folders:
        if (folder / FILE).is_file():
            facts |= _pairs((folder / FILE).read_text(encoding="utf-8"))
    for name, key in (("ROCm", "rocm"), ("CUDA", "cuda")):
        if facts.get(f"is_{key}_build"):
            words = f"{name} {facts.get(f'{key}_version', '')}".strip()
            return f"{words} and cuDNN {cudnn}" if (cudnn := facts.get("cudnn_version")) else words
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
