"""Whether an artifact is what a run would make now, and if not, why: in words.

An artifact's identity is all that decides what a stage writes; its key is the SHA-256 of it.
A record repeats the identity, so that a key that differs can be explained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.core import received
from pipeline.core.differences import changed, in_words
from pipeline.core.plan import Plan, Stage, ancestors
from pipeline.core.record import Identity, Record
from pipeline.core.store import Store
from stages.errors import ArtifactError, DataError, UserError, redacted_values, shown
from stages.settings import Settings, StageSettings

MOST_REASONS = 3
LISTED = "a listed image"
"""Of the images that a CSV file lists: what a reason says has changed, and where their hash is."""

Environment = Mapping[str, Any]


@dataclass(frozen=True)
class State:
    """Of one artifact; `reasons` say why it is not fresh.

    A received one was made on another machine, and what it was made of is not here.
    """

    name: Literal["fresh", "received", "stale", "damaged", "missing"]
    reasons: tuple[str, ...] = ()

    @property
    def is_fresh(self) -> bool:
        """Whether a run would skip the stage."""
        return self.name == "fresh"

    @property
    def is_usable(self) -> bool:
        """Whether what stands on it may be fresh."""
        return self.name in ("fresh", "received")

    @property
    def summary(self) -> str:
        """The first few reasons in one line."""
        more = len(self.reasons) - MOST_REASONS
        return ", ".join(self.reasons[:MOST_REASONS]) + (f" and {more} more" if more > 0 else "")


def identify(stage: Stage, settings: Settings, store: Store, environment: Environment) -> Identity:
    """What decides the artifact of `stage`.

    Raises DataError for a missing file of the user, ArtifactError for a missing input.
    """
    own = stage.settings.of(settings)
    return Identity(
        stage=stage.name,
        revision=stage.revision,
        settings=own.to_json(),
        external=hash_external(own, store),
        # Hashes of files, not the key of the stage before: if it runs again and writes the same
        # bytes, what follows stays fresh (decision 1).
        inputs={need: _hash_input(stage, need, store) for need in stage.needs},
        # A trained model is as valid on another machine; an engine is not (decision 1).
        environment=dict(environment) if own.depends_on_machine else {},
    )


def hash_external(settings: StageSettings, store: Store) -> dict[str, str]:
    """The hash of every file of the user that a stage with these settings reads, by its path.

    Raises DataError for one that cannot be read.
    """
    hashes = {}
    for file in settings.external_files():
        try:
            hashes[str(file)] = store.hashes.of(file, settings.hash_contents)
        except OSError as error:
            raise DataError(
                f"cannot read {shown(str(file))}: {error.strerror}; expected a file or folder",
                "paths in settings are relative to the current folder",
            ) from error
    if listed := settings.listed_files():
        hashes[LISTED] = store.hashes.of_listed(listed, settings.hash_contents)
    return hashes


def _hash_input(stage: Stage, need: str, store: Store) -> dict[str, str]:
    record = store.read(need)
    if record is None:
        raise ArtifactError(
            f"{stage.name} needs the artifact of {need}, and {store.folder(need)} has none",
            f"run: pipeline run {need}, or: pipeline run --to {stage.name}",
        )
    return record.hashes()


def assess(stage: Stage, identity: Identity, store: Store) -> State:
    """The state of the artifact of `stage`, which should have `identity`."""
    # Before the key: it is that of the settings and says nothing of the files.
    record = _sound(stage, store)
    if isinstance(record, State):
        return record
    if record.key == identity.compute_key():
        return State("fresh")
    return State("stale", differences(record, identity) or ("its key differs",))


def _sound(stage: Stage, store: Store) -> Record | State:
    """The record of an artifact whose files are as recorded, or in which state it is instead."""
    try:
        record = store.read(stage.name)
    except ArtifactError as error:
        return State("damaged", (error.message,))
    if record is None:
        return State("missing")
    damage = store.damage(stage.name, record)
    return State("damaged", damage) if damage else record


def assess_all(
    plan: Plan, settings: Settings, store: Store, environment: Environment
) -> dict[str, State]:
    """The state of every artifact; one that stands on another that is not fresh is stale."""
    states: dict[str, State] = {}
    copied = received.find(plan, store)
    for stage in plan:
        if stage == copied:
            states[stage.name] = _assess_received(stage, plan, store)
            continue
        state = _assess_anyway(stage, settings, store, environment)
        # For now: the input may come out identical, and a run then skips this stage after all.
        unfit = [need for need in stage.needs if not states[need].is_usable]
        if unfit and state.name in ("fresh", "stale"):
            own = () if state.is_fresh else state.reasons
            because = tuple(f"{need} is {states[need].name}" for need in unfit)
            state = State("stale", tuple(dict.fromkeys((*own, *because))))
        states[stage.name] = state
    return states


def _assess_received(stage: Stage, plan: Plan, store: Store) -> State:
    """Its settings and inputs are those of another machine: only its files can be checked."""
    record = _sound(stage, store)
    if isinstance(record, State):
        return record
    absent = ", ".join(each.name for each in ancestors(plan, (stage,)))
    return State("received", (f"made on another machine: {absent} did not run here",))


def _assess_anyway(
    stage: Stage, settings: Settings, store: Store, environment: Environment
) -> State:
    try:
        return assess(stage, identify(stage, settings, store, environment), store)
    except UserError as error:
        is_there = (store.folder(stage.name)).exists()
        return State("stale", (error.message,)) if is_there else State("missing")


def differences(record: Record, identity: Identity) -> tuple[str, ...]:
    """What changed between a record and an identity: `prune.ratio 0.5 -> 0.3`, `train changed`."""
    found = in_words({"revision": record.revision}, {"revision": identity.revision})
    found += in_words(record.settings, redacted_values(identity.settings))
    found += [f"{name} changed" for name in changed(record.external, identity.external)]
    found += [f"{name} changed" for name in changed(record.inputs, identity.inputs)]
    if identity.environment:
        changes = in_words(record.environment, identity.environment)
        found += [f"environment: {change}" for change in changes]
    return tuple(found)
