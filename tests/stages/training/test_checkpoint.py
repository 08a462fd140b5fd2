from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from stages.results.training import Epoch
from stages.training.checkpoint import Checkpoint, State


def model_and_optimizer() -> tuple[keras.Model, keras.Optimizer]:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2), layers.Dropout(0.5)])
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    return model, optimizer


def add(state: State, accuracy: float, loss: float, model: keras.Model) -> None:
    epoch = Epoch(epoch=state.epochs + 1, val_accuracy=accuracy, val_loss=loss)
    state.add(epoch, (accuracy, -loss), model)


def test_the_best_epoch_is_kept_and_ties_go_to_the_lower_loss():
    model, _ = model_and_optimizer()
    start, state = model.get_weights(), State()
    for epoch, each in enumerate([(0.8, 1.0), (0.9, 0.7), (0.9, 0.5), (0.9, 0.6), (0.7, 0.1)]):
        model.set_weights([weight + epoch for weight in start])
        add(state, *each, model)
    assert (state.epochs, state.best_epoch, state.best_score) == (5, 3, (0.9, -0.5))
    for kept, weight in zip(state.best_weights, start, strict=True):
        assert np.allclose(kept, weight + 2)


def test_everything_comes_back_weights_moments_steps_and_random_seeds(tmp_path):
    model, optimizer = model_and_optimizer()
    saved = Checkpoint(tmp_path / "training.npz", model, optimizer)
    state = State()
    inputs = np.ones((4, 3), np.float32)
    before = []
    for epoch in (1, 2):
        model(inputs, training=True)
        optimizer.apply([np.ones((3, 2)), np.ones(2)], model.trainable_variables)
        add(state, 0.5 / epoch, 1.0, model)
        saved.save(state)
        before.append([each.numpy() for each in (*model.variables, *optimizer.variables)])
    masks = model(inputs, training=True).numpy()
    assert saved.saved_epochs() == [2, 1]
    for epochs in (1, 2):
        for variable in (*model.variables, *optimizer.variables):
            variable.assign(variable.numpy() * 0)
        found = saved.restore(epochs)
        assert (found.epochs, found.best_epoch, found.best_score) == (epochs, 1, (0.5, -1.0))
        assert found.history == state.history[:epochs]
        for kept, expected in zip(found.best_weights, state.best_weights, strict=True):
            assert np.array_equal(kept, expected)
        for variable, expected in zip(
            (*model.variables, *optimizer.variables), before[epochs - 1], strict=True
        ):
            assert np.array_equal(variable.numpy(), expected), variable.path
    assert np.array_equal(model(inputs, training=True).numpy(), masks)


def test_a_damaged_state_is_told_and_not_used(tmp_path, caplog):
    model, optimizer = model_and_optimizer()
    saved = Checkpoint(tmp_path / "training.npz", model, optimizer)
    state = State()
    add(state, 0.5, 1.0, model)
    saved.save(state)
    whole = (tmp_path / "training.npz").read_bytes()
    (tmp_path / "training.npz").write_bytes(whole[: len(whole) // 2])
    with caplog.at_level("INFO", logger="stages"):
        assert saved.saved_epochs() == []
    assert "training.npz is damaged" in caplog.text
    with pytest.raises(ValueError, match="no state after 1 epochs"):
        saved.restore(1)


def test_without_a_file_nothing_is_kept():
    model, optimizer = model_and_optimizer()
    saved = Checkpoint(None, model, optimizer)
    saved.save(State())
    assert saved.saved_epochs() == []
