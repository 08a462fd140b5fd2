from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import config
from pipeline.search.job import stages_of_trial
from pipeline.search.knobs import (
    Dimension,
    combination,
    combinations,
    controls,
    dimensions,
    idle,
    values_of,
    words,
)
from stages.errors import SettingsError
from stages.pruning.ways import way_of
from stages.settings import Settings

TRIAL = stages_of_trial()


def of(knobs: dict[str, object]) -> tuple[Dimension, ...]:
    tree = {"search": {"knobs": knobs}}
    return dimensions(Settings.model_validate(tree), TRIAL)


def refused(text: str) -> str:
    """The first line of what the command line says of such knobs."""
    with pytest.raises(SettingsError) as caught:
        dimensions(config.load(None, [f"search.knobs={text}"]), TRIAL)
    return caught.value.message.splitlines()[0]


def test_the_default_knobs_hold_the_default_settings():
    varied = dimensions(Settings(), TRIAL)
    assert values_of(Settings(), varied).keys() == {each.name for each in varied}


def test_a_setting_in_whole_numbers_gets_whole_numbers_and_another_one_fractions():
    epochs, share = of(
        {"prune.epochs": {"low": 2, "high": 8}, "prune.distillation": {"low": 0, "high": 1}}
    )
    assert epochs.is_whole
    assert epochs.step == 1
    assert not share.is_whole
    assert share.step is None


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ("{}", "search.knobs: got none, expected a setting to vary"),
        (
            '{"prune.ration" = [0.1]}',
            "search.knobs: unknown setting 'prune.ration'; did you mean 'prune.ratio'?",
        ),
        (
            '{"gates.max_p50_ms" = [1.0]}',
            "search.knobs: gates.max_p50_ms changes no engine, and is no knob",
        ),
        (
            '{"data.seed" = [0, 1]}',
            "search.knobs: data.seed decides which images accuracy is measured on, and is no knob",
        ),
        (
            '{"prune.criterion" = ["l2", "l3"]}',
            "search.knobs: prune.criterion: got 'l3', expected 'l1', 'l2', 'bn_scale' or 'taylor'",
        ),
        (
            '{"prune.ratio" = {low = 0.5, high = 1.5}}',
            "search.knobs: prune.ratio: got 1.5, expected less than 1",
        ),
        (
            '{"prune.epochs" = {low = 2, high = 8, step = 0.5}}',
            "search.knobs: prune.epochs: got a step of 0.5, expected a whole number",
        ),
        (
            '{"prune.ratio" = []}',
            "search.knobs.prune.ratio: got [], expected at least one value: a list of values, or a "
            "range as in {low = 0.1, high = 0.8}",
        ),
        (
            '{"prune.ratio" = {low = 0.5, high = 0.5}}',
            "search.knobs.prune.ratio: got {'low': 0.5, 'high': 0.5}, expected a range whose low "
            "is below its high",
        ),
        (
            '{"prune.ratio" = {low = 0.1, high = 0.5, step = 2.0}}',
            "search.knobs.prune.ratio: got {'low': 0.1, 'high': 0.5, 'step': 2.0}, expected a step "
            "above 0 that fits into the range, and none where log = true",
        ),
        (
            '{"train.learning_rate" = {low = 0.0, high = 0.5, log = true}}',
            "search.knobs.train.learning_rate: got {'low': 0.0, 'high': 0.5, 'log': True}, "
            "expected a low above 0 where log = true",
        ),
        (
            '{"quality.metric" = ["own:score", "own:other"]}',
            "search.knobs: quality.metric decides how accuracy is measured, and is no knob",
        ),
        (
            '{"model.task" = ["binary", "multilabel"]}',
            "search.knobs: model.task decides how accuracy is measured, and is no knob",
        ),
        (
            '{"data.rotate_degrees" = {low = 0, high = 5, setp = 1}}',
            "unknown setting 'search.knobs.data.rotate_degrees.setp'; did you mean 'step'?",
        ),
        (
            '{"prune.ratio" = 0.5}',
            "search.knobs.prune.ratio: got 0.5, expected a list of values, or a range as in "
            "{low = 0.1, high = 0.8}",
        ),
    ],
)
def test_a_mistake_in_a_knob_is_said_in_one_line(knobs, message):
    assert refused(knobs) == message


@pytest.mark.parametrize(
    "name",
    [
        *("convert.carried_images", "convert.parity_samples", "convert.max_relative_difference"),
        *("train.save_h5", "train.profile", "data.max_download_mib", "data.max_unpacked_mib"),
        *("model.trust_source", "tensorrt.locate_divergence", "gpu.streams"),
    ],
)
def test_limits_checks_and_what_is_written_besides_are_no_knobs(name):
    knobs = f'{{"{name}" = [1, 2]}}'
    assert refused(knobs) == f"search.knobs: {name} changes no engine, and is no knob"


def test_every_wrong_knob_has_its_line():
    with pytest.raises(SettingsError) as caught:
        of({"prune.rati": [0.1], "build.threads": [[0]]})
    assert len(caught.value.message.splitlines()) == 2


@given(st.floats(0, 1), st.sampled_from([0.05, 0.1, 0.25]))
def test_a_grid_holds_its_own_points_and_none_between(place, step):
    grid = Dimension("prune.ratio", (), 0.0, 1.0, step)
    nearest = round(place / step) * step
    assert grid.holds(min(nearest, 1.0 // step * step))
    assert not grid.holds(nearest + step / 2)
    assert not grid.holds(-step)


def test_a_knob_of_a_stage_without_epochs_is_left_out_unless_a_trial_has_epochs_there():
    without = {"prune": {"epochs": 0}, "quantize": {"epochs": 0}}
    default = Settings.model_validate(without)
    assert idle(default) == ("prune.learning_rate", "prune.distillation")
    varied = [each.name for each in dimensions(default, TRIAL)]
    assert "prune.learning_rate" not in varied
    assert "quantize.calibration" in varied
    knobs = {"prune.learning_rate": [1e-3, 2e-3], "prune.epochs": [0, 4]}
    both = Settings.model_validate({**without, "search": {"knobs": knobs}})
    assert len(dimensions(both, TRIAL)) == 2
    rounds = Settings.model_validate({"prune": {"epochs": 0, "rounds": 2}})
    assert idle(rounds) == ()


def test_where_nothing_but_such_knobs_is_left_that_is_said():
    tree = {
        "quantize": {"epochs": 0},
        "search": {"knobs": {"quantize.learning_rate": [7e-4, 9e-4]}},
    }
    with pytest.raises(SettingsError) as caught:
        dimensions(Settings.model_validate(tree), TRIAL)
    assert caught.value.message == (
        "search.knobs: quantize.learning_rate would change nothing, for nothing is trained there"
    )


def test_with_a_target_nothing_is_unpruned_and_no_control_is_called_so():
    knobs = {"prune.ratio": [0.0, 0.5], "prune.target_latency_ratio": [0.3, 0.6]}
    settings = Settings.model_validate({"search": {"knobs": knobs}})
    assert [each.kind for each in controls(settings, dimensions(settings, TRIAL))] == ["as_set"]


def test_with_named_widths_nothing_is_unpruned_and_no_control_is_called_so():
    settings = Settings.model_validate({"prune": {"widths": {"conv1": 8}}})
    assert [each.kind for each in controls(settings, dimensions(settings, TRIAL))] == ["as_set"]
    assert way_of(Settings.model_validate({"prune": {"ratio": 0, "widths": {"a": 8}}}).prune) == (
        "widths"
    )


def test_the_unpruned_line_has_every_value_that_leaves_it_so():
    knobs = {"prune.widths": [{"b1_a": 0}, {}], "prune.ratio": [0.0, 0.5]}
    tree = {"prune": {"widths": {"b1_a": 0}}, "search": {"knobs": knobs}}
    settings = Settings.model_validate(tree)
    (unpruned,) = [
        each for each in controls(settings, dimensions(settings, TRIAL)) if each.kind == "unpruned"
    ]
    assert unpruned.values == {"prune.widths": {}, "prune.ratio": 0.0}
    assert way_of(config.changed(settings, unpruned.values).prune) == "unpruned"


def test_true_is_not_one():
    assert not Dimension("train.xla", (True, False)).holds(1)
    assert not Dimension("prune.epochs", (), 0, 8, 1, is_whole=True).holds(True)


def test_the_values_of_a_trial_are_options_of_the_command_line():
    values = {"prune.ratio": 0.45, "prune.criterion": "taylor", "build.threads": [1, 2]}
    pairs = words(values)[1::2]
    assert config.load(None, pairs) == config.changed(Settings(), values)


@given(
    st.sampled_from([(0.0, 0.95, 0.05), (0.1, 0.8, 0.3), (0.0, 1.0, 1 / 3)]),
    st.integers(-3, 3),
    st.integers(1, 7),
)
def test_the_values_of_a_knob_are_those_that_it_holds(grid, low, length):
    numbers = Dimension("prune.ratio", (), *grid)
    whole = Dimension("prune.epochs", (), low, low + length, 2, is_whole=True)
    for each in (numbers, whole):
        values = [each.at(place) for place in range(each.count)]
        assert all(map(each.holds, values))
        assert len(set(values)) == each.count
        assert values[-1] <= each.high + 1e-9 < values[-1] + each.step + 2e-9
    every = combinations([numbers, whole])
    found = {tuple(combination([numbers, whole], place).values()) for place in range(every)}
    assert len(found) == every == numbers.count * whole.count
    endless = Dimension("prune.learning_rate", (), 1e-4, 1e-2, log=True)
    assert endless.count is None
    assert combinations([numbers, endless]) is None


def test_a_grid_without_bounds_is_counted_and_not_written_out():
    seeds = Dimension("train.seed", (), 0, 2**32 - 1, 1, is_whole=True)
    fine = Dimension("prune.ratio", (), 0.0, 1.0, 1e-9)
    assert combinations([seeds, fine]) == 2**32 * (10**9 + 1)
    assert combination([seeds, fine], 2**32 + 5) == {"train.seed": 5, "prune.ratio": 1e-9}
