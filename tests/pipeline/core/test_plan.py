from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
from children import output_of

from pipeline.core.plan import PLAN, Stage, ancestors, checked, find, select
from stages.errors import SettingsError
from stages.settings import Prune, Settings, TrainStage


def names(plan: tuple[Stage, ...]) -> list[str]:
    return [stage.name for stage in plan]


NAMES = names(PLAN)


def test_a_model_is_trained_pruned_quantized_converted_built_and_benchmarked() -> None:
    line = ["train", "prune", "quantize", "convert", "build", "benchmark"]
    assert [name for name in NAMES if name in line] == line


@pytest.mark.parametrize("stage", PLAN, ids=lambda stage: stage.name)
def test_every_row_names_a_module_that_exists(stage: Stage) -> None:
    assert importlib.util.find_spec(stage.module) is not None


def test_the_plan_is_read_without_importing_a_stage_or_numpy() -> None:
    code = (
        "import sys, pipeline.core.plan as plan\n"
        "heavy = {'numpy', 'tensorflow', 'keras', *(row.module for row in plan.PLAN)}\n"
        "print(*heavy & set(sys.modules))"
    )
    assert output_of(code).split() == []


def depending_on_the_machine(settings: Settings) -> list[str]:
    return [row.name for row in PLAN if row.settings.of(settings).depends_on_machine]


def test_only_build_and_benchmark_depend_on_the_machine() -> None:
    assert {"build", "benchmark"} == set(depending_on_the_machine(Settings()))


@pytest.mark.parametrize("target", [{"target_latency_ratio": 0.5}, {"max_accuracy_drop": 1.0}])
def test_pruning_by_measured_latency_depends_on_the_machine_too(target: dict[str, float]) -> None:
    settings = Settings(prune=Prune(**target))
    assert {"prune", "build", "benchmark"} == set(depending_on_the_machine(settings))


def test_tensorflow_is_over_before_the_first_engine_is_built() -> None:
    processes = [row.process for row in PLAN]
    assert processes == sorted(processes, key=["tensorflow", "engine"].index)
    assert find(PLAN, "build").process == "engine"


def test_a_stage_above_what_it_needs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'prune' needs \['train'\]"):
        checked((PLAN[1], PLAN[0]))


def test_two_stages_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="'train'"):
        checked((PLAN[0], PLAN[0]))


@pytest.mark.parametrize("word", ["all", "report"])
def test_a_stage_cannot_be_called_like_a_word_of_the_command_line(word: str) -> None:
    with pytest.raises(ValueError, match=word):
        checked((replace(PLAN[0], name=word),))


def test_an_unknown_stage_gets_the_nearest_known_name() -> None:
    with pytest.raises(SettingsError, match="unknown stage 'trian'; did you mean 'train'"):
        find(PLAN, "trian")


def test_a_stage_like_no_other_gets_the_list_of_stages() -> None:
    with pytest.raises(SettingsError) as caught:
        find(PLAN, "zzz")
    assert "did you mean" not in caught.value.message
    assert "train, prune" in caught.value.hint


@pytest.mark.parametrize(
    ("asked", "first", "last", "expected"),
    [
        (("all",), None, None, NAMES),
        (("prune", "train"), None, None, ["train", "prune"]),
        (("train", "all"), None, None, NAMES),
        (("report",), None, None, []),
        (("report", "train"), None, None, ["train"]),
        ((), "quantize", None, NAMES[NAMES.index("quantize") :]),
        (("all",), None, "prune", ["train", "prune"]),
        ((), "prune", "convert", ["prune", "quantize", "convert"]),
        ((), "prune", "prune", ["prune"]),
    ],
)
def test_stages_are_selected_in_the_order_of_the_plan(
    asked: tuple[str, ...], first: str | None, last: str | None, expected: list[str]
) -> None:
    assert names(select(PLAN, asked, first, last)) == expected


@pytest.mark.parametrize(
    ("asked", "first", "last", "message"),
    [
        (("trian",), None, None, "did you mean 'train'"),
        (("reprt",), None, None, "did you mean 'report'"),
        ((), None, "report", "unknown stage 'report'\n"),
        ((), "quantise", None, "did you mean 'quantize'"),
        ((), None, "bild", "did you mean 'build'"),
        ((), "build", "train", "--from build comes after --to train"),
        (("train",), "prune", None, "--from and --to"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(
    asked: tuple[str, ...], first: str | None, last: str | None, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        select(PLAN, asked, first, last)


def test_ancestors_are_all_stages_below_but_not_the_selected_ones() -> None:
    assert names(ancestors(PLAN, select(PLAN, ("quantize",)))) == ["train", "prune"]
    assert names(ancestors(PLAN, PLAN)) == []
    assert names(ancestors(PLAN, select(PLAN, ("train", "build")))) == [
        "prune",
        "quantize",
        "convert",
    ]


def test_a_row_carries_the_settings_that_the_stage_sees() -> None:
    assert find(PLAN, "train").settings is TrainStage
