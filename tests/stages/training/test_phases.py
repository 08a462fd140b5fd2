from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from stages.errors import SettingsError
from stages.settings import Train
from stages.training.fit import TrainingRun
from stages.training.phases import fit_in_phases
from tests.stages.conftest import DIGITS
from tests.stages.training.test_fit import small


def run(digits, training: Train, resume: Path | None = None) -> TrainingRun:
    checkpoint = None if resume is None else resume / "training.npz"
    return TrainingRun(digits, DIGITS, training, "train", checkpoint=checkpoint)


def first_kernel(model: keras.Model) -> np.ndarray:
    return np.array(model.layers[1].kernel)


def frozen_at_first() -> keras.Model:
    model = small()
    model.layers[1].trainable = False
    return model


def test_frozen_layers_learn_in_the_second_phase_only(digits):
    model = frozen_at_first()
    before = first_kernel(model)
    head = np.array(model.layers[-1].kernel)
    fit_in_phases(model, run(digits, training := Train(epochs=0, frozen_epochs=1)), training)
    assert np.array_equal(first_kernel(model), before)
    assert not np.array_equal(model.layers[-1].kernel, head)

    model = frozen_at_first()
    training = Train(epochs=2, frozen_epochs=1, frozen_learning_rate=1e-3)
    found = fit_in_phases(model, run(digits, training), training)
    assert not np.array_equal(first_kernel(model), before)
    assert [epoch.epoch for epoch in found.history] == [1, 2, 3]
    assert all(layer.trainable for layer in model.layers)


def test_both_phases_are_resumed(digits, tmp_path):
    training = Train(epochs=1, frozen_epochs=1)
    done = fit_in_phases(model := frozen_at_first(), run(digits, training, tmp_path), training)
    again = frozen_at_first()
    resumed = fit_in_phases(again, run(digits, training, tmp_path), training)
    assert resumed.history == done.history
    for one, other in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_frozen_layers_there_are_no_phases(digits):
    training = Train(epochs=1, frozen_epochs=1)
    with pytest.raises(SettingsError, match=r"frozen_epochs is 1, but no layer is frozen"):
        fit_in_phases(small(), run(digits, training), training)
