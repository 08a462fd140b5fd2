from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from stages.settings import Training
from stages.training import optimizers
from stages.training.optimizers import schedule


def rates(steps: int = 101, **options: object) -> list[float]:
    training = Training(epochs=10, learning_rate=3e-3, **options)
    return [float(schedule(training, 640)(step)) for step in range(steps)]


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero():
    found = rates()
    assert found[0] == 0.0
    assert max(found) == found[10] == pytest.approx(3e-3)
    assert found[55] == pytest.approx(1.5e-3, rel=1e-3)
    assert found[100] == pytest.approx(0.0, abs=1e-9)


def test_after_a_linear_warm_up_the_rate_follows_half_a_cosine():
    rising = [3e-3 * step / 10 for step in range(10)]
    falling = [3e-3 * (1 + math.cos(math.pi * step / 90)) / 2 for step in range(91)]
    assert rates() == pytest.approx(rising + falling, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("exponential", [1, 0.01**0.25, 0.1, 0.01**0.75, 0.01]),
        ("step", [1, 1, 0.1, 0.01, 0.01]),
    ],
)
def test_other_schedules_fall_as_they_say(name, expected):
    found = rates(schedule=name, warmup_share=0.0)
    assert found[0:101:25] == pytest.approx([3e-3 * share for share in expected], rel=1e-4)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7])
def test_steps_fall_at_half_and_at_three_quarters_of_any_length(epochs):
    training = Training(epochs=epochs, batch_size=64, schedule="step", warmup_share=0.0)
    rate, steps = schedule(training, 3 * 64), 3 * epochs
    found = [float(rate(step)) / training.learning_rate for step in range(steps)]
    shares = [
        1 if 2 * step < steps else 0.1 if 4 * step < 3 * steps else 0.01 for step in range(steps)
    ]
    assert found == pytest.approx(shares)


def test_accumulated_batches_make_fewer_steps():
    found = rates(accumulate_batches=4)  # 10 epochs of 3 steps, not of 10
    assert found.index(max(found)) == 3
    assert found[30] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adam", keras.optimizers.Adam(0.1)),
        ("adamw", keras.optimizers.AdamW(0.1, weight_decay=0.004)),
        ("nadam", keras.optimizers.Nadam(0.1)),
        ("sgd", keras.optimizers.SGD(0.1, momentum=0.9)),
        ("rmsprop", keras.optimizers.RMSprop(0.1)),
        ("adadelta", keras.optimizers.Adadelta(0.1)),
    ],
)
def test_every_optimizer_steps_as_that_of_keras(name, expected):
    training = Training(optimizer=name, learning_rate=0.1, schedule="constant", warmup_share=0.0)
    one, other = (keras.Variable(np.ones((2, 2))) for _ in range(2))
    made = optimizers.make(training, schedule(training, 64), [one])
    for _ in range(3):
        made.apply([np.full((2, 2), 0.5)], [one])
        expected.apply([np.full((2, 2), 0.5)], [other])
    assert np.allclose(one.numpy(), other.numpy())
    assert not np.allclose(one.numpy(), 1.0)


def test_only_kernels_decay():
    training = Training(
        optimizer="sgd",
        learning_rate=0.1,
        schedule="constant",
        warmup_share=0.0,
        weight_decay=0.5,
    )
    kernel, bias = keras.Variable(np.ones((2, 2))), keras.Variable(np.ones(2))
    made = optimizers.make(training, schedule(training, 64), [kernel, bias])
    made.apply([np.zeros((2, 2)), np.zeros(2)], [kernel, bias])
    assert np.allclose(kernel.numpy(), 1 - 0.1 * 0.5)
    assert np.allclose(bias.numpy(), 1.0)
