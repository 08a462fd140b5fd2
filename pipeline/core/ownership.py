"""Whose files are in an artifact folder: only what we made is ever replaced or deleted.

A marker file makes a folder ours. Without it a folder is used only if it is empty, or if all that
is in it is provably ours, as on a machine that got `artifacts/convert` alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.core import record as records
from pipeline.core.plan import Plan
from stages.errors import SettingsError

MARKER = ".keras-trt-pipeline"
FORMAT = {"artifacts": 1}

OWN_FILES = re.compile(
    r"\.gitkeep|\.lock|\.hashes\.json|\.logs|history\.jsonl|report\.(json|md|html)"
)
"""What a run of an earlier version, which wrote no marker, leaves beside the stages."""

ELSEWHERE = "choose another folder: --artifacts artifacts"


def claim(root: Path, plan: Plan, user_files: Iterable[Path]) -> None:
    """Make `root` an artifact folder, with a marker in it.

    Raises SettingsError, before anything is written, for a folder that holds something else, that
    overlaps one of `user_files` (what the settings read), or in which a stage has no place.
    """
    _refuse_overlap(root, user_files)
    if root.is_dir():
        if not is_marked(root):
            _refuse_foreign(root, plan)
        _refuse_blocked(root, plan)
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not is_marked(root):
            (root / MARKER).write_text(json.dumps(FORMAT) + "\n")
    except OSError as error:
        raise SettingsError(
            f"cannot write to the artifact folder {str(root)!r}: {error.strerror}",
            "choose another one with --artifacts",
        ) from error


def is_marked(root: Path) -> bool:
    """Whether a run has made `root` its artifact folder."""
    return (root / MARKER).is_file()


def _refuse_overlap(root: Path, user_files: Iterable[Path]) -> None:
    ours = _real(root)
    for file in user_files:
        theirs = _real(file)
        if ours == theirs or ours in theirs.parents or theirs in ours.parents:
            raise SettingsError(
                f"the artifact folder {str(root)!r} and {str(file)!r}, which the settings read, "
                "overlap: artifacts would replace your files",
                ELSEWHERE,
            )


def _real(path: Path) -> Path:
    """`path` without links; Path.resolve raises RuntimeError for links that go in circles."""
    return Path(os.path.realpath(path))


def _refuse_foreign(root: Path, plan: Plan) -> None:
    names = {stage.name for stage in plan}
    for entry in sorted(root.iterdir()):
        is_stage = entry.name in names and _has_record(entry)
        if not (is_stage or OWN_FILES.fullmatch(entry.name) or _is_draft(entry.name, names)):
            raise SettingsError(
                f"{str(root)!r} is no artifact folder: it holds {entry.name!r}, which no run made",
                ELSEWHERE,
            )


def _has_record(folder: Path) -> bool:
    """Whether a stage left `folder`: a record that names it, whatever else may be wrong with it."""
    try:
        content = json.loads((folder / records.FILE).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("stage") == folder.name


def _is_draft(name: str, stages: Iterable[str]) -> bool:
    """Whether `name` is one that the store gives to what it has not finished."""
    return any(
        re.fullmatch(rf"\.(new-{each}-\d+|old-{each}|resume-{each})", name) for each in stages
    )


def _refuse_blocked(root: Path, plan: Plan) -> None:
    for stage in plan:
        place = root / stage.name
        # Through a link, files would be written and deleted in somebody else's folder.
        if os.path.lexists(place) and (place.is_symlink() or not place.is_dir()):
            kind = "a symbolic link" if place.is_symlink() else "a file"
            raise SettingsError(
                f"{str(place)!r} is {kind}, and the stage {stage.name} needs a folder there",
                "move it away, or choose another folder with --artifacts",
            )
