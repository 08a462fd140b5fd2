"""A user's module: the files of all that it imports, found without running any of them.

Imports are followed from file to file, wherever in a file they stand, as far as the code is the
user's own: neither installed, nor part of Python, nor ours. What this cannot see: names that are
computed (`import_module(name)`), submodules that `from package import *` takes from `__all__`, and
files that are read.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder, all_suffixes
from pathlib import Path
from types import ModuleType
from typing import Any

from stages.errors import UserError

INSTALLED = ("site-packages", "dist-packages")
STANDARD_LIBRARY = Path(os.__file__).resolve().parent
ROOT = Path(__file__).resolve().parents[2]
TAKEN = ("pipeline", "stages")
"""Names of our own packages, which a user's module may have as well."""
NAMED: set[str] = set()
"""Modules that settings name: a change of each is seen."""
OURS = [ROOT / name for name in TAKEN]


def source_files(module: str) -> list[Path]:
    """The user's files that `import module` loads, sorted; none for a module that is not there."""
    files: set[Path] = set()
    waiting, seen = [module], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        file, _ = _locate(name)
        if file is not None and is_users(file):
            files.add(file)
            waiting += _imports(file, name)
        if parent := name.rpartition(".")[0]:
            waiting.append(parent)
    return sorted(files)


def is_users(file: Path) -> bool:
    """Whether `file` is code of the user's own."""
    file = Path(os.path.realpath(file))
    is_python = STANDARD_LIBRARY in file.parents or any(name in file.parts for name in INSTALLED)
    return not is_python and not any(root in file.parents for root in OURS)


def own_file(module: str) -> Path | None:
    """The user's file of a module whose name begins as a package of ours, None without one."""
    file, _ = _locate(module)
    return file if file is not None and is_users(file) else None


def imported(module: str) -> ModuleType:
    """The user's module, also where it is called as one of our packages.

    Such a one is loaded by its file, under another name: what it imports by the taken name is ours.
    Raises what importing it raises.
    """
    file = own_file(module) if module.partition(".")[0] in TAKEN else None
    if file is None:
        return importlib.import_module(module)
    spec = importlib.util.spec_from_file_location(f"own_{module.replace('.', '_')}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{str(file)!r} is no module")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def function_of(setting: str, source: str, failure: type[UserError]) -> Any:
    """The user's function that the value `source` of `setting` names, as module:function.

    Raises `failure` where the module cannot be imported or has no such function.
    """
    module, _, function = source.partition(":")
    NAMED.add(module)
    try:
        return getattr(imported(module), function)
    except (ImportError, AttributeError) as error:
        hint = "expected module:function, with the module's folder on PYTHONPATH"
        if module.partition(".")[0] in TAKEN:
            hint = f"rename your package: {' and '.join(TAKEN)} are names of ours"
        raise failure(f"{setting} {source!r} cannot be imported: {error}", hint) from error
    except Exception as error:
        raise failure(
            f"{setting} {source!r}, imported, raised {type(error).__name__}: {str(error)[:200]}",
            "the traceback is in the stage's log",
        ) from error


def unseen(module: str) -> list[str]:
    """The user's modules beside `module`, loaded by now, that `source_files` does not find: neither
    for it nor for one that another setting names."""
    followed = {file.resolve() for name in {module, *NAMED} for file in source_files(name)}
    folders = tuple({f"{file.parent}/" for file in followed})
    real = cache(os.path.realpath)  # There are thousands of modules, in hundreds of folders.
    found = []
    for name, loaded in list(sys.modules.items()):
        file = getattr(loaded, "__file__", None) or ""
        if not file.endswith(".py") or not f"{real(os.path.dirname(file))}/".startswith(folders):
            continue
        if is_users(Path(file)) and Path(file).resolve() not in followed:
            found.append(name)
    return found


def _locate(name: str) -> tuple[Path | None, list[str]]:
    """The file of a module, if it has one, and the folders of its submodules.

    Only the first part of the name is looked up as Python does, which would import the packages
    on the way to the others.
    """
    first, *others = name.split(".")
    try:
        spec = _find(first)
    except (ImportError, ValueError, AttributeError):
        return None, []
    if spec is None:
        return None, []
    file = Path(spec.origin) if spec.origin and os.path.isfile(spec.origin) else None
    folders = list(spec.submodule_search_locations or ())
    for each in others:
        file, folders = _submodule(each, folders)
    return file, folders


def _find(name: str) -> ModuleSpec | None:
    if name not in TAKEN:
        return importlib.util.find_spec(name)
    elsewhere = [folder for folder in sys.path if Path(folder).resolve() != ROOT]
    return PathFinder.find_spec(name, elsewhere)


def _submodule(name: str, folders: Iterable[str]) -> tuple[Path | None, list[str]]:
    places = [Path(folder, name) for folder in folders]
    for place in places:
        if (place / "__init__.py").is_file():
            return place / "__init__.py", [str(place)]
        for suffix in all_suffixes():
            if (file := place.with_name(name + suffix)).is_file():
                return file, []
    return None, [str(place) for place in places if place.is_dir()]


def _imports(file: Path, name: str) -> Iterator[str]:
    """Names of modules that `file`, the module `name`, imports; some may be no modules."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and node.args and _function(node) in IMPORTERS:
            literal = node.args[0]
            if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
                yield literal.value


IMPORTERS = ("import_module", "__import__")


def _function(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", None) or getattr(call.func, "id", ""))


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """ "from ..a import b" in the package "x.y" -> "x.a"."""
    if not node.level:
        return node.module or ""
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parents, *filter(None, [node.module])])


def _parsed(file: Path) -> ast.AST:
    """The syntax tree; an empty one for what is no Python, which importing it reports."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])
