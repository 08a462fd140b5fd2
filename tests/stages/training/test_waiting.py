from __future__ import annotations

import time

import numpy as np
import tensorflow as tf

from stages.training.waiting import clock, measured, taken


def test_what_a_batch_takes_is_waited_for_and_the_batch_is_the_same():
    def slow(number: np.ndarray) -> np.ndarray:
        time.sleep(0.02)
        return np.float32(number)

    batches = tf.data.Dataset.range(5).map(
        lambda number: (tf.numpy_function(slow, [number], tf.float32), number)
    )
    waited = clock()
    found = [(float(a), int(b)) for a, b in measured(batches, waited)]
    assert found == [(float(number), number) for number in range(5)]
    assert taken(waited) >= 5 * 0.02
    assert taken(waited) == 0


def test_the_time_between_two_batches_is_not_counted():
    waited = clock()
    start = time.perf_counter()
    for _ in measured(tf.data.Dataset.range(5), waited):
        time.sleep(0.02)
    assert 0 <= taken(waited) <= time.perf_counter() - start - 5 * 0.02
