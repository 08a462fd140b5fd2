from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers

from stages.models import files
from stages.pruning.rounds import FinishedRound, ResumeStore, Round, run_rounds
from stages.results.base import Quality
from stages.results.training import Epoch, TrainingDetails


def model_of(bias: float) -> keras.Model:
    image = keras.Input((2,))
    model = keras.Model(image, layers.Dense(1, name="out")(image))
    model.get_layer("out").bias.assign([bias])
    return model


def finished(bias: int, epochs: int) -> FinishedRound:
    """A round that left `bias`, noted as its parameters."""
    return FinishedRound(
        parameters=bias,
        epochs=epochs,
        accuracy_before_finetune=Quality(top1=0.5, samples=10),
        validation_top1=0.25,
        is_kept=True,
        training=TrainingDetails(history=(Epoch(epoch=1, loss=0.1),), devices=("cpu:0",)),
    )


class Doubling:
    """Rounds that double a bias; `calls` says which were worked on here."""

    def __init__(self, tmp_path: Path, dies_at: int | None = None) -> None:
        self.first = tmp_path / "first.keras"
        files.save(model_of(1.0), self.first)
        self.store = ResumeStore(tmp_path / "resume")
        self.dies_at = dies_at
        self.calls: list[int] = []

    def work(self, file: Path, each: Round) -> tuple[keras.Model, FinishedRound]:
        if each.epochs == self.dies_at:
            raise KeyboardInterrupt
        self.calls.append(each.epochs)
        model = each.prune(files.load(file))
        bias = int(model.get_layer("out").bias.numpy()[0])
        return model, finished(bias, each.epochs)

    def run(self, **options: Any) -> tuple[Path, list[FinishedRound]]:
        rounds = [Round(doubled, epochs) for epochs in (1, 2, 3)]
        return run_rounds(self.first, rounds, self.store, self.work, **options)


def doubled(model: keras.Model) -> keras.Model:
    bias = model.get_layer("out").bias
    bias.assign(2 * bias)
    return model


def bias_in(file: Path) -> float:
    return float(files.load(file).get_layer("out").bias.numpy()[0])


def test_every_round_begins_with_the_model_of_the_one_before(tmp_path):
    file, rounds = Doubling(tmp_path).run()
    assert [each.parameters for each in rounds] == [2, 4, 8]
    assert bias_in(file) == 8


def test_a_killed_run_resumes_with_the_round_that_was_not_finished(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Doubling(tmp_path, dies_at=2).run()
    again = Doubling(tmp_path)
    file, rounds = again.run()
    assert again.calls == [2, 3]
    assert [each.parameters for each in rounds] == [2, 4, 8]
    assert bias_in(file) == 8


def test_a_model_without_its_results_is_half_written_and_made_again(tmp_path):
    doubling = Doubling(tmp_path)
    doubling.store.model(1).write_bytes(b"half a fi")
    assert bias_in(doubling.run()[0]) == 8


def test_a_round_that_is_too_much_does_not_count_and_is_the_last(tmp_path):
    doubling = Doubling(tmp_path)
    file, rounds = doubling.run(is_too_much=lambda each: each.parameters > 3)
    assert [(each.parameters, each.is_kept) for each in rounds] == [(2, True), (4, False)]
    assert bias_in(file) == 2
    assert doubling.calls == [1, 2]


def test_if_the_first_round_is_too_much_the_first_model_stays(tmp_path):
    doubling = Doubling(tmp_path)
    file, _ = doubling.run(is_too_much=lambda each: True)
    assert file == doubling.first


def test_results_come_back_as_they_were_written(tmp_path):
    store = ResumeStore(tmp_path / "resume")
    assert store.read("round-1", FinishedRound) is None
    store.write("round-1", finished(8, 3))
    assert store.read("round-1", FinishedRound) == finished(8, 3)
    assert [file.name for file in (tmp_path / "resume").iterdir()] == ["round-1.json"]


@pytest.mark.parametrize("name", ["round-1.json", "round-1.keras"])
def test_a_round_of_which_a_bit_has_changed_is_done_again(tmp_path, name):
    with pytest.raises(KeyboardInterrupt):
        Doubling(tmp_path, dies_at=2).run()
    file = tmp_path / "resume" / name
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    again = Doubling(tmp_path)
    assert bias_in(again.run()[0]) == 8
    assert again.calls == [1, 2, 3]
