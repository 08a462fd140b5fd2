from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers

from stages.models import files
from stages.pruning.rounds import Progress, Round, run_rounds


def model_of(bias: float) -> keras.Model:
    image = keras.Input((2,))
    model = keras.Model(image, layers.Dense(1, name="out")(image))
    model.get_layer("out").bias.assign([bias])
    return model


class Adding:
    """Rounds that add to a bias; `calls` says which were worked on here."""

    def __init__(self, tmp_path: Path, dies_at: int | None = None) -> None:
        self.first = tmp_path / "first.keras"
        files.save(model_of(1.0), self.first)
        self.done = Progress(tmp_path / "progress")
        self.dies_at = dies_at
        self.calls: list[int] = []

    def work(self, file: Path, each: Round) -> tuple[keras.Model, dict[str, Any]]:
        if each.epochs == self.dies_at:
            raise KeyboardInterrupt
        self.calls.append(each.epochs)
        model = each.prune(files.load(file))
        return model, {"bias": float(model.get_layer("out").bias.numpy()[0])}

    def run(self, **options: Any) -> tuple[Path, list[dict[str, Any]]]:
        rounds = [Round(doubled, epochs) for epochs in (1, 2, 3)]
        return run_rounds(self.first, rounds, self.done, self.work, **options)


def doubled(model: keras.Model) -> keras.Model:
    bias = model.get_layer("out").bias
    bias.assign(2 * bias)
    return model


def bias_in(file: Path) -> float:
    return float(files.load(file).get_layer("out").bias.numpy()[0])


def test_every_round_begins_with_the_model_of_the_one_before(tmp_path):
    file, notes = Adding(tmp_path).run()
    assert [note["bias"] for note in notes] == [2, 4, 8]
    assert bias_in(file) == 8


def test_a_killed_run_goes_on_with_the_round_that_was_not_finished(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Adding(tmp_path, dies_at=2).run()
    again = Adding(tmp_path)
    file, notes = again.run()
    assert again.calls == [2, 3]
    assert [note["bias"] for note in notes] == [2, 4, 8]
    assert bias_in(file) == 8


def test_a_model_without_its_notes_is_half_written_and_made_again(tmp_path):
    adding = Adding(tmp_path)
    adding.done.model(1).write_bytes(b"half a fi")
    assert bias_in(adding.run()[0]) == 8


def test_a_round_that_is_too_much_does_not_count_and_is_the_last(tmp_path):
    adding = Adding(tmp_path)
    file, notes = adding.run(is_too_much=lambda notes: notes["bias"] > 3)
    assert [(note["bias"], note["is_kept"]) for note in notes] == [(2, True), (4, False)]
    assert bias_in(file) == 2
    assert adding.calls == [1, 2]


def test_if_the_first_round_is_too_much_the_first_model_stays(tmp_path):
    adding = Adding(tmp_path)
    file, _ = adding.run(is_too_much=lambda notes: True)
    assert file == adding.first
