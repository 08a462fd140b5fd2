from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from stages.datasets.base import DataSet, Split
from stages.keras_graph.fold import flatten
from stages.models import files
from stages.pruning.context import PruneContext
from stages.pruning.rounds import ResumeStore
from stages.settings import Data, Prune
from tests.stages.conftest import DIGITS


@pytest.fixture
def context(trained: Path, digits: DataSet, tmp_path: Path) -> PruneContext:
    file = trained / "model.keras"
    store = ResumeStore(tmp_path)
    return PruneContext(Prune(), Data(), digits, DIGITS, file, files.load(file), store, logs=None)


def halved(context: PruneContext) -> keras.Model:
    widths = {("conv1",): 4, ("conv2",): 8}
    return context.narrower(flatten(context.trained))(widths)


def without_images(split: Split) -> Split:
    return replace(split, images=np.zeros_like(split.images[:]))


def weights(context: PruneContext) -> list[np.ndarray]:
    found: list[np.ndarray] = context.recalibrated(halved(context)).get_weights()
    return found


def is_equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(map(np.array_equal, one, other))


def test_a_pruned_network_is_recalibrated_on_training_images_alone(context: PruneContext) -> None:
    found = weights(context)
    assert is_equal(found, weights(context))
    assert not is_equal(found, halved(context).get_weights())
    data = context.dataset
    others = {name: without_images(getattr(data, name))
              for name in ("validation", "calibration", "test")}  # fmt: skip
    assert is_equal(found, weights(replace(context, dataset=replace(data, **others))))
    empty = replace(data, train=without_images(data.train))
    assert not is_equal(found, weights(replace(context, dataset=empty)))


def test_a_candidate_is_judged_by_what_a_short_fine_tune_brings_back(
    context: PruneContext,
) -> None:
    """The same each time, and without a look at other images."""
    recalibrated = context.candidate_score(halved(context))
    found = context.candidate_score(halved(context), images=256)
    assert found > recalibrated + 0.1
    data = context.dataset
    others = {name: without_images(getattr(data, name)) for name in ("calibration", "test")}
    alone = replace(context, dataset=replace(data, **others))
    assert alone.candidate_score(halved(alone), images=256) == found


def test_copies_draw_the_same_noise_whatever_was_made_before_them(context: PruneContext) -> None:
    """A run that resumes after a kill has made fewer copies, and makes the same table."""
    image = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(image))
    x = keras.layers.Dense(10)(keras.layers.GaussianNoise(0.5, name="noise")(x))
    narrow = context.narrower(flatten(keras.Model(image, x)))
    seeds = []
    for _ in range(2):
        seeds.append(np.asarray(narrow({}).get_layer("noise").seed_generator.state))
        keras.layers.GaussianNoise(0.5)  # takes a number from Python's generator
    np.testing.assert_array_equal(*seeds)


def test_a_candidate_whose_fine_tune_ends_in_no_number_is_judged_without_it(
    context: PruneContext,
) -> None:
    recalibrated = context.candidate_score(halved(context))
    teacher = files.load(context.source)
    teacher.layers[-1].bias.assign(np.full(10, np.nan, np.float32))
    broken = replace(context, trained=teacher)
    assert broken.candidate_score(halved(context), images=256) == recalibrated


def test_a_candidate_is_judged_with_its_own_statistics(context: PruneContext) -> None:
    as_it_is = context.validation_score(halved(context))
    assert as_it_is + 0.1 < context.candidate_score(halved(context))


def test_candidates_are_timed_with_as_many_images_a_call_as_the_target(
    context: PruneContext,
) -> None:
    many = replace(context, settings=context.settings.model_copy(update={"target_batch_size": 8}))
    sizes = [each.stopwatch(each.trained)._built[0] for each in (context, many)]
    assert sizes == [1, 8]
