"""Which settings a search is of: `header.json`. Trials of two lines, or of other knobs, are not
compared, and a search that is shown need not be given its settings again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.core import seal
from pipeline.core.differences import in_words
from pipeline.core.hashing import key_of
from pipeline.core.record import faults
from pipeline.search.job import stages_of_trial
from stages.artifacts.atomic import replacing
from stages.errors import ArtifactError, SettingsError, redacted_values
from stages.settings import Settings
from stages.settings.searching import Search

FILE = "header.json"
COMPARED = {"knobs", "objectives", "engine", "batch_size", "rungs"}
"""Settings of the search itself that all of its trials have in common."""
NAME_CHARACTERS = 12
MOST_SHOWN = 3


class Header(BaseModel):
    """`settings` are those that trials have in common, and `search` the whole section of the last
    call; both without what an address can hide, `key` is of all as it was. The first `controls`
    trials are the line as it is set.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    key: str
    settings: dict[str, Any]
    search: Search
    controls: int

    @property
    def study(self) -> str:
        """The name of the study, in a database that may hold others."""
        return f"search-{self.key[:NAME_CHARACTERS]}"


def of(settings: Settings, controls: int) -> Header:
    """The header of a search with these settings."""
    common: dict[str, Any] = {}
    for stage in stages_of_trial():
        common |= stage.settings.of(settings).to_json()
    common["search"] = settings.search.model_dump(mode="json", include=COMPARED)
    search = redacted_values(settings.search.model_dump(mode="json"))
    return Header(
        key=key_of(common),
        settings=redacted_values(common),
        search=Search.model_validate(search),
        controls=controls,
    )


def read(folder: Path) -> Header | None:
    """The header of the search in `folder`, None without one. Raises ArtifactError if damaged."""
    file = folder / FILE
    try:
        return Header.model_validate(seal.opened(file.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        reason = faults(error) if isinstance(error, ValidationError) else error
        raise ArtifactError(f"{file} is damaged: {reason}", _anew(folder)) from error


def write(header: Header, folder: Path) -> None:
    """Write the header into `folder`, after `refuse_other`."""
    with replacing(folder / FILE) as draft:
        draft.write_bytes(seal.seal(header.model_dump_json()))


def refuse_other(header: Header, folder: Path) -> None:
    """Raise SettingsError if the search in `folder` is of other settings than `header` says."""
    before = read(folder)
    if before is None or before.key == header.key:
        return
    changes = in_words(before.settings, header.settings) or ["what an address hides"]
    more = f" and {len(changes) - MOST_SHOWN} more" if len(changes) > MOST_SHOWN else ""
    raise SettingsError(
        f"the search in {str(folder)!r} is of other settings: "
        f"{', '.join(changes[:MOST_SHOWN])}{more}",
        _anew(folder),
    )


def _anew(folder: Path) -> str:
    return f"search in another folder with --artifacts, or move {str(folder)!r} away"
