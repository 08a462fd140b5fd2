"""Which settings, files and machine a search is of: `header.json`. Trials of two lines, of other
data, knobs or runtimes are not compared, and a search that is shown need not be given its settings
again.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.core import seal
from pipeline.core.differences import changed, in_words
from pipeline.core.freshness import hash_external
from pipeline.core.hashing import key_of
from pipeline.core.record import faults
from pipeline.core.store import Store
from pipeline.search.job import stages_of_trial
from pipeline.search.machine import Facts
from pipeline.search.model import Control
from stages.artifacts.atomic import replacing
from stages.errors import ArtifactError, SettingsError, redacted_values, shown
from stages.settings import Settings
from stages.settings.searching import Search

FILE = "header.json"
COMPARED = {"knobs", "objectives", "engine", "batch_size", "rungs"}
"""Settings of the search itself that all of its trials have in common."""
BUDGETS = {"max_accuracy_loss", "max_p50_ms", "max_size_mb"}
VERSION: Final = 4
"""Raised whenever what trials have kept cannot be read any more, or more must be known of them."""
WITHOUT_MACHINE: Final = 3
"""A version that can still be shown: it does not say what its trials were timed on."""
HARDWARE = "hardware or packages"
ID_BYTES = 8
MOST_SHOWN = 3


class Header(BaseModel):
    """`settings` are those that trials have in common, and `search` the whole section of the last
    call; both without what an address can hide, `key` is of all as it was. `external` has the hash
    of every file of the user that a trial reads, by its path, `machine` the facts of machine.py.
    `id` is drawn at random: no two folders have the same study, whatever database they share.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[3, 4] = VERSION
    id: str
    key: str
    external: dict[str, str]
    machine: dict[str, Any] = {}
    settings: dict[str, Any]
    search: Search
    controls: tuple[Control, ...]

    @property
    def study(self) -> str:
        """The name of the study, in a database that may hold others."""
        return f"search-{self.id}"

    @property
    def line(self) -> Settings:
        """The settings of the line, with the section of the search."""
        return Settings.model_validate({**self.settings, "search": self.search.model_dump()})


def of(
    settings: Settings,
    controls: Sequence[Control],
    external: Mapping[str, str],
    machine: Facts,
    before: Header | None,
) -> Header:
    """The header of a search with these settings; `before` is that of its earlier calls."""
    common: dict[str, Any] = {}
    for stage in stages_of_trial():
        common |= stage.settings.of(settings).to_json()
    common["search"] = settings.search.model_dump(mode="json", include=COMPARED)
    search = redacted_values(settings.search.model_dump(mode="json"))
    storage = settings.search.storage
    if storage is None:
        search["storage"] = before.search.storage if before else None
    elif "://" not in storage:
        search["storage"] = str(Path(storage).absolute())
    return Header(
        id=before.id if before else secrets.token_hex(ID_BYTES),
        key=key_of({**common, "external": dict(external), "machine": dict(machine)}),
        external=dict(external),
        machine=dict(machine),
        settings=redacted_values(common),
        search=Search.model_validate(search),
        controls=tuple(controls),
    )


def external_of(every: Iterable[Settings], store: Store) -> dict[str, str]:
    """The hashes of all files of the user that trials with these settings read, by their paths.

    Raises DataError for one that cannot be read.
    """
    hashes: dict[str, str] = {}
    for settings in every:
        for stage in stages_of_trial():
            hashes |= hash_external(stage.settings.of(settings), store)
    return hashes


def read(folder: Path) -> Header | None:
    """The header of the search in `folder`, None without one.

    Raises ArtifactError if it is damaged, or of another version of the pipeline.
    """
    file = folder / FILE
    try:
        content = seal.opened(file.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ArtifactError(f"{file} is damaged: {error}", anew(folder)) from error
    if (version := content.get("version")) not in (WITHOUT_MACHINE, VERSION):
        raise _of_another_version(
            folder, f"its trials are of version {shown(version)}, expected {VERSION}"
        )
    try:
        header = Header.model_validate(content)
        _ = header.line
    except ValidationError as error:  # its seal is whole
        reason = f"its settings are not those of this one: {faults(error)}"
        raise _of_another_version(folder, reason) from error
    return header


def _of_another_version(folder: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"the search in {str(folder)!r} was made by another version of the pipeline: {reason}",
        f"go on with that one, or {anew(folder)}",
    )


def write(header: Header, folder: Path) -> None:
    """Write the header into `folder`, after `refuse_other`."""
    with replacing(folder / FILE) as draft:
        draft.write_bytes(seal.seal(header.model_dump_json()))


def refuse_other(header: Header, before: Header | None, folder: Path) -> None:
    """Raise SettingsError if the search in `folder` is of other settings, files or another machine
    than `header`.
    """
    if before is None or before.key == header.key:
        return
    if before.version == WITHOUT_MACHINE:
        raise SettingsError(
            f"the search in {str(folder)!r} was begun by an earlier version of the pipeline, which "
            "did not keep what its engines were timed on: more trials may not compare",
            f"--show and --take still read it; to go on, {anew(folder)}",
        )
    differing = {
        "settings": in_words(before.settings, header.settings),
        "files": [f"{name} changed" for name in changed(before.external, header.external)],
        HARDWARE: in_words(before.machine, header.machine),
    }
    what = next((name for name, changes in differing.items() if changes), "settings")
    changes = list(itertools.chain(*differing.values())) or ["what an address hides"]
    more = f" and {len(changes) - MOST_SHOWN} more" if len(changes) > MOST_SHOWN else ""
    raise SettingsError(
        f"the search in {str(folder)!r} is of other {what}: "
        f"{', '.join(changes[:MOST_SHOWN])}{more}",
        f"{'put it back as it was, or ' if what == HARDWARE else ''}{anew(folder)}",
    )


def judged_by(given: Search, before: Header, folder: Path) -> Settings:
    """The settings of the search `before`, with those budgets that `given` sets.

    Raises SettingsError where `given` sets what all trials have in common, and it was another.
    """
    line, named = before.line, given.model_fields_set
    common = given.model_dump(mode="json", include=COMPARED & named)
    was = line.search.model_dump(mode="json", include=COMPARED & named)
    if changes := in_words({"search": was}, {"search": common}):
        raise SettingsError(
            f"the search in {str(folder)!r} is of other settings: "
            f"{', '.join(changes[:MOST_SHOWN])}",
            "leave them out to see it as it is",
        )
    budgets = {name: getattr(given, name) for name in sorted(BUDGETS & named)}
    search = line.search.model_copy(update=budgets)
    return line.model_copy(update={"search": search})


def anew(folder: Path) -> str:
    """How to begin another search."""
    return f"search in another folder with --artifacts, or move {str(folder)!r} away"
