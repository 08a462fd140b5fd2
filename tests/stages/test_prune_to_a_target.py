from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import pytest

from stages.errors import EngineError, ModelError
from stages.models import files
from stages.pruning import context
from tests.stages.pruned import FEW, Killed, Options, kill_in_round, run, with_idle_block

pytestmark = pytest.mark.usefixtures("brief_timing")


class ParameterClock:
    """A stopwatch whose time is the number of parameters: the same on every machine.

    The real one is tested in tests/stages/pruning/test_stopwatch.py.
    """

    reference_ms = 1.0

    def __init__(self, target: str, reference: keras.Model, *_: Any, **__: Any) -> None:
        self.whole = reference.count_params()

    def __enter__(self) -> ParameterClock:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ratios(self, candidates: Sequence[keras.Model]) -> list[float]:
        return [model.count_params() / self.whole for model in candidates]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "Stopwatch", ParameterClock)


class SlowClock(ParameterClock):
    """Times every network at half more than the other clock."""

    def ratios(self, candidates: Sequence[keras.Model]) -> list[float]:
        return [1.5 * ratio for ratio in super().ratios(candidates)]


@pytest.mark.usefixtures("clock")
def test_a_latency_target_is_met_and_the_way_there_is_recorded(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: Options = {"target_latency_ratio": 0.5, "epochs": 0, "channel_multiple": 4}
    options |= {"target_batch_size": 32}
    with monkeypatch.context() as patched:
        kill_in_round(patched, 1)
        with pytest.raises(Killed):
            run(trained, tmp_path / "killed", tmp_path / "resume", FEW, **options)
    resumed = run(trained, tmp_path / "out", tmp_path / "resume", FEW, **options).details

    assert {row.layers for row in resumed.sensitivity} == {
        ("conv1",),
        ("conv2",),
        ("dense1",),
    }
    last = resumed.path[-1]
    assert last.latency_ratio <= 0.5 < resumed.path[-2].latency_ratio
    widths = {row.layers: row.channels_after for row in resumed.groups}
    assert {row.layers: row.channels for row in last.widths}.items() <= (widths.items())
    assert (resumed.latency.target, resumed.latency.batch_size) == ("onnxruntime.fp32", 32)
    assert resumed.latency.ratio_when_chosen == last.latency_ratio
    after, before = resumed.parameters_after, resumed.parameters_before
    assert resumed.latency.measured_ratio == last.latency_ratio == after / before
    named = run(trained, tmp_path / "named", data=FEW, widths=resumed.widths, epochs=0).details
    assert named.groups == resumed.groups

    # What was decided is kept: only the network that came of it is timed again.
    monkeypatch.setattr(context, "Stopwatch", SlowClock)
    (note,) = run(trained, tmp_path / "late", tmp_path / "resume", FEW, **options).notes
    late = 1.5 * after / before
    on = "onnxruntime.fp32 with 32 images a call"
    assert f"takes {late:.2f} of the trained one's time on {on}, more than" in note


@pytest.mark.usefixtures("clock")
def test_a_block_that_does_nothing_goes_to_meet_a_latency_target(
    trained: Path, tmp_path: Path
) -> None:
    source = with_idle_block(trained, tmp_path / "train")
    options: Options = {"target_latency_ratio": 0.75, "epochs": 0, "channel_multiple": 16}
    measured = run(source, tmp_path / "out", data=FEW, **options)
    details = measured.details
    assert details.removed_blocks == (("idle1", "idle2"),)
    assert details.parameters_after == files.load(trained / "model.keras").count_params()
    by_layers = {group.layers: group for group in details.groups}
    assert by_layers["idle1",].channels_after == 0
    assert by_layers["conv2", "idle2"].channels_after == 16
    assert [row.layers for row in details.sensitivity if row.width == 0] == [("idle1", "idle2")]
    assert details.path[-1].widths[0].channels == 0
    assert measured.accuracy.top1 > 0.9
    kept = run(source, tmp_path / "kept", data=FEW, depth=False, **options).details
    assert kept.removed_blocks == ()
    assert "idle1" in {name for group in kept.groups for name in group.layers}
    assert kept.parameters_after <= 0.75 * kept.parameters_before


@pytest.mark.usefixtures("clock")
def test_pruning_goes_as_far_as_the_accuracy_on_the_validation_images_allows(
    trained: Path, tmp_path: Path
) -> None:
    measured = run(
        trained, tmp_path, data=FEW, max_accuracy_drop=10.0, epochs=0, channel_multiple=4
    )
    details = measured.details
    *kept, spent = details.rounds
    assert [each.is_kept for each in details.rounds] == [True] * len(kept) + [False]
    limit = details.validation_top1_before - 0.1
    assert all(each.validation_top1 >= limit for each in kept)
    assert spent.validation_top1 < limit
    assert kept[-1].parameters == details.parameters_after


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target_latency_ratio": 0.001, "channel_multiple": 4, "epochs": 0},
            r"ratio 0\.001 cannot be met on onnxruntime\.fp32",
        ),
        (
            {
                "target_latency_ratio": 0.5,
                "max_accuracy_drop": 1,
                "epochs": 0,
                "channel_multiple": 8,
            },
            r"max_accuracy_drop 1 is spent too early",
        ),
        (
            {"channel_multiple": 64, "max_accuracy_drop": 1},
            r"cannot be pruned to a target, because prune\.channel_multiple leaves every group",
        ),
    ],
)
def test_a_goal_that_cannot_be_met_is_refused_and_nothing_is_written(
    trained: Path, tmp_path: Path, options: Options, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        run(trained, tmp_path, data=FEW, **options)
    assert list(tmp_path.iterdir()) == []


class StuckClock(ParameterClock):
    """Times whatever it gets at less than half of the whole network: the file of an earlier one."""

    def ratios(self, candidates: Sequence[keras.Model]) -> list[float]:
        return [0.44 for _ in candidates]


def test_a_latency_that_the_whole_network_seems_to_reach_is_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "Stopwatch", StuckClock)
    with pytest.raises(ModelError, match=r"with all its channels was timed at 0\.44 of its own"):
        run(trained, tmp_path, data=FEW, target_latency_ratio=0.6, epochs=0, channel_multiple=4)
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_a_network_cannot_meet_says_how_to_leave_the_network_unpruned(
    trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        run(trained, tmp_path, channel_multiple=64, max_accuracy_drop=1)
    assert caught.value.hint.startswith("leave out prune.target_latency_ratio and prune.max_acc")


def test_an_engine_that_is_not_available_is_refused_before_any_work(
    trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="litert has no fp16 engine"):
        run(trained, tmp_path, target_latency_ratio=0.5, target="litert.fp16")
    assert list(tmp_path.iterdir()) == []
