"""A line that begins with an artifact from another machine.

Engines are built and measured on the machine that they are for, which needs neither TensorFlow nor
the data set: only `artifacts/convert` is copied there. What that was made of is not there, so that
nothing but its own record can tell whether it is sound.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from pipeline.core import record as records
from pipeline.core.plan import EVERYTHING, Plan, Stage, ancestors, rest
from pipeline.core.store import Store
from stages.errors import SettingsError
from stages.settings import Settings


def find(plan: Plan, store: Store) -> Stage | None:
    """The stage whose artifact was copied here, None where the line is whole.

    It is one that engines are made of, and nothing that it stands on has an artifact here. A single
    artifact that is gone is another matter: a run makes it again.
    """
    return start(
        plan, {each.name for each in plan if (store.folder(each.name) / records.FILE).exists()}
    )


def start(plan: Plan, here: Set[str]) -> Stage | None:
    """`find`, where the stages called `here` have artifacts."""
    for stage in plan:
        before = {each.name for each in ancestors(plan, (stage,))}
        is_for_engines = any(each.process == "engine" and stage.name in each.needs for each in plan)
        if stage.name in here and before and is_for_engines and not before & here:
            return stage
    return None


def settle(settings: Settings, received: Stage | None) -> Settings:
    """`settings` with `benchmark.images` decided where they leave it open."""
    if settings.benchmark.images != "auto":
        return settings
    images = "test" if received is None else "carried"
    benchmark = settings.benchmark.model_copy(update={"images": images})
    return settings.model_copy(update={"benchmark": benchmark})


def remark(received: Stage) -> str:
    """What a user must know of what `settle` decided there."""
    return (
        f"the line starts at {received.name}, made on another machine: accuracy is measured on the "
        "test images that came with it; on all of them: --set benchmark.images=test"
    )


def require_beginning(
    plan: Plan, names: Sequence[str], selected: Plan, received: Stage | None
) -> None:
    """Raise SettingsError if a run of all stages would replace what was `received`.

    It may as well be that the artifacts before it were deleted to begin anew: only who knows which
    of the two it is can choose. Stages that are called by their names are not refused.
    """
    is_range = not names or EVERYTHING in names
    if received is None or received not in selected or not is_range:
        return
    absent = ", ".join(each.name for each in ancestors(plan, (received,)))
    following = " ".join(each.name for each in rest(plan, received))
    raise SettingsError(
        f"the line starts at {received.name} here, which is from another machine: "
        f"{absent} have no artifact",
        f"run: pipeline run {following}; to replace it and begin anew: pipeline run all --force",
    )


def renewal(name: str, received: Stage | None) -> str:
    """How a damaged artifact is renewed."""
    if received is not None and name == received.name:
        return f"copy {name} from the other machine again"
    return f"run: pipeline run {name}"
