"""Optuna: it chooses what is tried next, and its storage keeps what came of it.

    user attributes of a trial   rung-0, rung-1, ...: RungResult; reason: why it failed; repeated:
                                 the same as an earlier one, which stands for both; unpruned: why
                                 its values prune nothing; enqueued: the values it is to have
    user attributes of a study   tested-7: Tested, of trial 7

TPE with several objectives (Ozaki et al., "Multiobjective Tree-Structured Parzen Estimator",
Journal of Artificial Intelligence Research 73, 2022); a trial that was stopped counts as worse than
those that were not, and one that misses a budget, stopped or not, as worse than those that meet
them all.

A process may be killed after any of these writes; the next one goes on from what is written.

This module alone imports Optuna, and only in its functions.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.search.knobs import Dimension, combination, combinations
from pipeline.search.model import RungResult, State, Tested, Trial
from pipeline.search.objectives import Miss
from pipeline.search.values import decoded, encoded, suggest
from stages.errors import ArtifactError, MachineError, SettingsError, redacted
from stages.errors.packages import install, missing, not_installed, providing

if TYPE_CHECKING:
    import optuna

PACKAGES = ("optuna", "scikit-learn")
FILE = "study.db"
FEWEST_COMPLETE = 8
"""Complete trials that importances need: of fewer they would be chance."""
MOST_REPEATS = 20
"""In a row, before what was never tried is looked for by counting."""
ENQUEUED, REPEATED, UNPRUNED = "enqueued", "repeated", "unpruned"


def require() -> None:
    """Raise MachineError where Optuna, or what its importances need, is not installed."""
    if absent := missing(PACKAGES):
        raise MachineError(f"a search needs Optuna: {not_installed(absent)}", install(absent))


def address(storage: str | None, root: Path) -> str:
    """The database of `search.storage`: a file in the folder `root` if none is set.

    Raises SettingsError for the path of a file that no address can hold, and what `require` does.
    """
    if storage is not None and "://" in storage:
        return storage
    require()
    from sqlalchemy.engine import URL, make_url

    file = str((Path(storage) if storage else root / FILE).absolute())
    url = URL.create("sqlite", database=file).render_as_string(hide_password=False)
    if make_url(url).database != file:  # SQLAlchemy quotes what it must from 2.1 on.
        raise SettingsError(
            f"search.storage: this SQLAlchemy cannot open {file!r}, for a character in its name",
            "name another file with --set search.storage=FILE",
        )
    return url


class Study:
    """The trials of one search, in the database at `url`: begun now, or there already.

    Raises SettingsError where that cannot be opened, and where it fails later; ArtifactError where
    it does not hold the study that is to be there.
    """

    def __init__(self, url: str, name: str, objectives: int, seed: int, is_new: bool) -> None:
        require()
        self._url, self._is_begun = url, not is_new
        with self._talking():
            import optuna

            optuna.logging.set_verbosity(optuna.logging.ERROR)
            if not is_new and not _is_there(url):
                raise _absent(url, name)
            self._storage = optuna.storages.RDBStorage(url)
            if is_new:
                optuna.create_study(
                    storage=self._storage, study_name=name, directions=["minimize"] * objectives
                )
            try:
                self._study = optuna.load_study(storage=self._storage, study_name=name)
            except KeyError as error:
                raise _absent(url, name) from error
            # The same seed again would try the same values again.
            seed = (seed + len(self._study.get_trials(deepcopy=False))) % 2**32
            self._study.sampler = optuna.samplers.TPESampler(seed=seed)
            self._random = optuna.samplers.RandomSampler(seed=seed)
        self._is_begun = True
        self._asked: dict[int, optuna.trial.Trial] = {}

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        """Whatever goes wrong between us and the database, in one line."""
        from optuna.exceptions import ExperimentalWarning, StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        faults = (SQLAlchemyError, StorageInternalError, ImportError, RuntimeError, OSError)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                yield
        except faults as error:
            cause = error.__cause__ if isinstance(error, StorageInternalError) else error
            own = getattr(cause, "orig", None)  # of the database, without what SQLAlchemy adds
            reason = str(own or cause or error).strip().splitlines()[0]
            hint = "expected a database as in sqlite:///study.db or postgresql://host/name"
            if isinstance(error.__cause__, ModuleNotFoundError):  # the driver of the database
                absent = [providing(str(error.__cause__.name))]
                reason, hint = not_installed(absent), install(absent)
            raise SettingsError(
                f"search.storage: {redacted(self._url)} cannot be used: {redacted(reason)}",
                f"the trials so far are as they were; {hint}" if self._is_begun else hint,
            ) from error

    def enqueue(self, values: Mapping[str, Any], varied: Sequence[Dimension]) -> None:
        """Let a later `ask` give these values, once, also where an earlier trial with them failed.

        Those that are left out are chosen.
        """
        import optuna

        by_name = {each.name: each for each in varied}
        fixed = {name: encoded(by_name[name], value) for name, value in values.items()}
        with self._talking():
            waiting = self._study.get_trials(
                deepcopy=False, states=(optuna.trial.TrialState.WAITING,)
            )
            if not any(each.user_attrs.get(ENQUEUED) == fixed for each in waiting):
                self._study.enqueue_trial(fixed, user_attrs={ENQUEUED: fixed})

    def ask(self, varied: Sequence[Dimension]) -> Trial | None:
        """A new trial; None where every combination has been tried.

        What TPE repeats, once it has found the best, is drawn at random instead, and what chance
        does not find either is looked for.
        """
        sampler = self._study.sampler
        with self._talking():
            for repeat in range(MOST_REPEATS + 1):
                if repeat == MOST_REPEATS:
                    untried = self._untried(varied)
                    if untried is None:
                        break
                    self.enqueue(untried, varied)
                asked = self._study.ask()
                self._asked[asked.number] = asked
                if drawn := self.draw(asked.number, varied):
                    self._study.sampler = sampler
                    return drawn
                self._study.sampler = self._random
            self._study.sampler = sampler
        return None

    def draw(self, number: int, varied: Sequence[Dimension]) -> Trial | None:
        """A trial with all of its values; None where it repeats an earlier one, and is no more.

        Optuna writes them one by one: of a trial that was asked for when the process was killed
        some may be missing.
        """
        from optuna.trial import TrialState

        with self._talking():
            trial = self._live(number)
            for each in varied:
                suggest(trial, each)
            if not self._repeats(trial):
                return self.trial(number)
            trial.set_user_attr(REPEATED, True)
            self._study.tell(number, state=TrialState.FAIL)
            return None

    def _repeats(self, trial: optuna.trial.Trial) -> bool:
        """Whether an earlier one stands for it: for what was enqueued, one that did not fail."""
        from optuna.trial import TrialState

        drawn, again = decoded(trial.params), ENQUEUED in trial.user_attrs
        return any(
            decoded(each.params) == drawn and not (again and each.state == TrialState.FAIL)
            for each in self._study.get_trials(deepcopy=False)[: trial.number]
        )

    def _untried(self, varied: Sequence[Dimension]) -> dict[str, Any] | None:
        """The first combination that no trial has; None without any, or without end of them."""
        tried = {json.dumps(each.values, sort_keys=True) for each in self.trials()}
        # Not all of them: there may be billions, and one more than was tried holds a new one.
        for place in range(min(combinations(varied) or 0, len(tried) + 1)):
            found = combination(varied, place)
            if json.dumps(found, sort_keys=True) not in tried:
                return found
        return None

    def add(self, number: int, result: RungResult) -> Trial:
        """Keep what a trial measured at a rung."""
        with self._talking():
            kept = json.loads(result.model_dump_json())
            self._live(number).set_user_attr(f"rung-{result.rung}", kept)
            return self.trial(number)

    def finish(self, number: int, costs: Sequence[float], missed: Iterable[Miss]) -> None:
        """A trial is complete, but for the budgets that it `missed`."""
        with self._talking():
            self._constrain(number, missed)
            self._study.tell(number, list(costs))

    def _constrain(self, number: int, missed: Iterable[Miss]) -> None:
        trial = self._live(number)
        told = trial.constraints  # by a process that was killed before it said how the trial ended
        for each in missed:
            if each.budget not in told:
                trial.set_constraint(each.budget, each.share)

    def unprune(self, number: int, reason: str) -> Trial:
        """A trial's values prune nothing: it goes on as the unpruned network."""
        with self._talking():
            self._live(number).set_user_attr(UNPRUNED, reason)
            return self.trial(number)

    def stop(self, number: int, missed: Iterable[Miss]) -> None:
        """A trial was not among the best at its rung, or `missed` budgets there."""
        from optuna.trial import TrialState

        with self._talking():
            self._constrain(number, missed)
            self._study.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int, reason: str) -> None:
        """A trial went wrong."""
        from optuna.trial import TrialState

        with self._talking():
            self._live(number).set_user_attr("reason", reason)
            self._study.tell(number, state=TrialState.FAIL)

    def keep_tested(self, number: int, tested: Tested) -> None:
        """Keep what the test images said of a winner."""
        with self._talking():
            self._study.set_user_attr(f"tested-{number}", json.loads(tested.model_dump_json()))

    def trials(self) -> list[Trial]:
        """All that was begun, in order, without what only repeated another."""
        from optuna.trial import TrialState

        with self._talking():
            tested = self._study.user_attrs
            return [
                _trial(each, tested.get(f"tested-{each.number}"))
                for each in self._study.get_trials(deepcopy=False)
                if each.state != TrialState.WAITING and REPEATED not in each.user_attrs
            ]

    def trial(self, number: int) -> Trial:
        """The one with this number. Raises IndexError."""
        # Not by get_trials: that reads all that are under way anew.
        found = self._storage.get_trial(self._live(number)._trial_id)
        return _trial(found, self._study.user_attrs.get(f"tested-{number}"))

    def importances(self) -> list[dict[str, float]]:
        """For each objective: the share of its variance over the complete trials that each knob
        explains (fANOVA: Hutter, Hoos and Leyton-Brown, ICML 2014), together 1.

        Empty while too few trials are complete, and for an objective that never varied.
        """
        from optuna.trial import TrialState

        with self._talking():
            complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if len(complete) < FEWEST_COMPLETE:
                return [{} for _ in self._study.directions]
            # Only now: it imports scikit-learn, which takes most of a second.
            from optuna.importance import FanovaImportanceEvaluator, get_param_importances

            found: list[dict[str, float]] = []
            for place in range(len(self._study.directions)):

                def cost(trial: optuna.trial.FrozenTrial, place: int = place) -> float:
                    return float(trial.values[place])

                if len({cost(each) for each in complete}) == 1:
                    found.append({})
                    continue
                evaluator = FanovaImportanceEvaluator(seed=0)
                shares = get_param_importances(self._study, evaluator=evaluator, target=cost)
                found.append({name: float(value) for name, value in shares.items()})
            return found

    def _live(self, number: int) -> optuna.trial.Trial:
        """The trial to write to: that of an earlier process is opened again."""
        import optuna

        if number not in self._asked:
            frozen = self._study.get_trials(deepcopy=False)[number]
            self._asked[number] = optuna.trial.Trial(self._study, frozen._trial_id)
        return self._asked[number]


def _is_there(url: str) -> bool:
    """False for a file of SQLite that is none: opening it would make an empty one."""
    from sqlalchemy.engine import make_url

    where = make_url(url)
    if where.get_backend_name() != "sqlite" or not where.database:
        return True
    return where.database.startswith(("file:", ":")) or Path(where.database).is_file()


def _absent(url: str, name: str) -> ArtifactError:
    return ArtifactError(
        f"search.storage: {redacted(url)} does not hold the study of this search, {name}",
        "name the database that the search began with, or search in another folder: --artifacts",
    )


STATES: dict[str, State] = {
    "RUNNING": "running",
    "COMPLETE": "complete",
    "PRUNED": "stopped",
    "FAIL": "failed",
}


def _trial(frozen: optuna.trial.FrozenTrial, tested: Any) -> Trial:
    attributes = frozen.user_attrs
    rungs = [
        RungResult.model_validate(value)
        for name, value in attributes.items()
        if name.startswith("rung-")
    ]
    return Trial(
        number=frozen.number,
        state=STATES[frozen.state.name],
        values=decoded(frozen.params),
        rungs=tuple(sorted(rungs, key=lambda each: each.rung)),
        # Told, then killed, it was run again.
        reason=attributes.get("reason") if frozen.state.name == "FAIL" else None,
        unpruned=attributes.get(UNPRUNED),
        tested=None if tested is None else Tested.model_validate(tested),
    )
