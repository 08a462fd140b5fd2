from __future__ import annotations

import numpy as np

from stages.datasets import repeats
from stages.datasets.base import DataSet, Split


def split(*values):
    """An image of 8x8 for each value."""
    images = np.stack([np.full((8, 8, 1), value, np.uint8) for value in values])
    return Split(images, np.zeros(len(values), np.int64))


def of(train, validation, calibration, test):
    parts = (split(*values) for values in (train, validation, calibration, test))
    return DataSet("own", *parts, ("a",))


def test_nothing_is_said_where_no_image_is_in_two_splits():
    # Twice in one split is no evidence that is too good.
    assert repeats.found(of([1, 1, 2], [3], [4], [5, 5])) == ()


def test_test_images_that_are_in_the_training_part_are_counted():
    (note,) = repeats.found(of([1, 2], [3], [4], [1, 3, 4, 9, 1]))
    assert note.startswith("4 of 5 test images are in the training part as well, byte for byte")


def test_validation_images_that_are_trained_on_are_counted():
    (note,) = repeats.found(of([1, 2], [2, 3], [4], [5]))
    assert note.startswith("1 of 2 validation images are among those trained on as well")


def test_images_of_several_batches_and_several_inputs_are_compared_whole(monkeypatch):
    monkeypatch.setattr(repeats, "BATCH_BYTES", 1)
    kind = [("left", np.uint8, (8, 8, 1)), ("table", np.float32, (3,))]

    def several(*tables):
        samples = np.zeros(len(tables), kind)
        samples["table"] = np.array(tables)[:, None]
        return Split(samples, np.zeros(len(tables), np.int64))

    # The same picture everywhere: the samples differ in the other input alone.
    dataset = DataSet("own", several(1, 2), several(3), several(4), several(2, 6, 7), ("a",))
    (note,) = repeats.found(dataset)
    assert note.startswith("1 of 3 test images")


def test_a_few_numbers_repeat_by_chance():
    numbers = Split(np.ones((5, 4, 1), np.float32), np.zeros(5, np.int64))
    assert repeats.found(DataSet("own", numbers, numbers, numbers, numbers, ("a",))) == ()
