from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pipeline.results import evidence
from stages.artifacts.signature import Signature
from stages.datasets.base import Split
from stages.errors import ArtifactError
from stages.measurement import kept_answers
from stages.measurement.kept_answers import FILE, MOST_IMAGES, MOST_MASKS, KeptAnswers
from stages.tasks.base import Answers

LABELS = Signature((4, 4, 1), ("a", "b"), 1.0, 0.0, task="multilabel", thresholds=(0.5, 0.75))
TRAINED = dataclasses.replace(LABELS, trained_thresholds=(0.25, 0.5))
MASKS = Signature((4, 4, 1), ("ground", "ring"), 1.0, 0.0, task="segmentation")


def labelled(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs of two networks and what is right, for as many images."""
    random = np.random.default_rng(0)
    outputs = random.normal(size=(2, count, 2)).astype(np.float32)
    return outputs[0], outputs[1], random.integers(0, 2, (count, 2)).astype(np.uint8)


def of_labels(count: int) -> KeptAnswers:
    first, second, truth = labelled(count)
    before, after = Answers.of(first, truth, TRAINED.of_trained), Answers.of(second, truth, TRAINED)
    return kept_answers.of_values(before, after, "litert.int8", TRAINED)


def of_masks() -> tuple[KeptAnswers, np.ndarray]:
    """Nine images of a square, of which the trained model misses number 3 and the engine more."""
    truth = np.zeros((9, 4, 4), np.uint8)
    truth[:, :2] = 1
    wrong_pixels = np.array([0, 4, 1, 0, 0, 2, 0, 0, 3])
    said = np.stack([truth, truth])
    said[:, 3] = 1 - truth[3]
    for place, count in enumerate(wrong_pixels):
        said[1, place, 3, :count] = 1
    outputs = np.eye(2, dtype=np.float32)[said]
    before, after = (Answers.of(each, truth, MASKS) for each in outputs)
    shown = kept_answers.worst_masks(before, after)
    test = Split(np.arange(9 * 16, dtype=np.uint8).reshape(9, 4, 4, 1), truth)
    kept = kept_answers.of_masks(test, shown, *outputs[:, shown], "litert.int8", MASKS)
    return kept, said


def test_outputs_and_targets_are_kept_as_they_are_and_thresholds_of_both_in_their_unit() -> None:
    kept = of_labels(30)
    before, after, truth = labelled(30)
    for found, expected in ((kept.before, before), (kept.after, after), (kept.targets, truth)):
        np.testing.assert_array_equal(found, expected)
    assert kept.limits_before == pytest.approx([-np.log(3), 0.0])
    assert kept.limits_after == pytest.approx([0.0, np.log(3)])


def test_of_many_images_no_more_than_the_bound_are_kept_from_all_over() -> None:
    kept = of_labels(5 * MOST_IMAGES)
    assert len(kept) == len(set(kept.indices.tolist())) == MOST_IMAGES
    np.testing.assert_array_equal(kept.after, labelled(5 * MOST_IMAGES)[1][kept.indices])
    assert np.histogram(kept.indices, 5, (0, 5 * MOST_IMAGES))[0].min() > MOST_IMAGES / 6


def test_masks_that_lost_most_come_first_and_then_the_worst() -> None:
    kept, said = of_masks()
    assert kept.indices.tolist() == [1, 8, 5, 2, 3, 0]
    assert len(kept) == MOST_MASKS
    np.testing.assert_array_equal(kept.before, said[0][kept.indices])
    np.testing.assert_array_equal(kept.after, said[1][kept.indices])
    assert kept.images[:, 0, 0, 0].tolist() == [16 * each for each in kept.indices]


def test_what_is_written_is_read_again_of_one_output_and_of_several(tmp_path: Path) -> None:
    of_several = {"parts": of_labels(3), "where.2": of_masks()[0]}
    for written in ({"": of_labels(3)}, of_several):
        kept_answers.write(tmp_path, written)
        found = kept_answers.read(evidence.load(tmp_path / FILE))
        assert set(found) == set(written)
        for output, kept in written.items():
            for each in dataclasses.fields(KeptAnswers):
                np.testing.assert_array_equal(
                    getattr(found[output], each.name), getattr(kept, each.name)
                )


def test_where_no_output_has_such_answers_there_is_no_file(tmp_path: Path) -> None:
    kept_answers.write(tmp_path, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "detection"}, "its task is 'detection'"),
        ({"before": np.zeros((3, 1), np.float32)}, r"before is \(3, 1\), expected \(3, 2\)"),
        ({"limits_after": np.zeros(1)}, r"limits_after is \(1,\), expected \(2,\)"),
        ({"limits_before": np.zeros(0)}, r"limits_before is \(0,\), expected \(2,\)"),
        ({"engine": "litert"}, "its engine is 'litert'"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(changes: dict, message: str) -> None:
    arrays = {**vars(of_labels(3)), **changes}
    with pytest.raises(ArtifactError, match=message):
        KeptAnswers.of({name: np.asarray(each) for name, each in arrays.items()})


def test_a_mask_of_no_class_and_a_file_that_lacks_an_array_are_refused() -> None:
    arrays = {name: np.asarray(each) for name, each in vars(of_masks()[0]).items()}
    with pytest.raises(ArtifactError, match="it has 2 indices, expected 6"):
        KeptAnswers.of({**arrays, "indices": np.zeros(2)})
    with pytest.raises(ArtifactError, match="a pixel of a mask is of no class"):
        KeptAnswers.of({**arrays, "after": arrays["after"] + 2})
    for name in ("limits_before", "targets"):  # before it was kept, one limit was for both
        del arrays[name]
        with pytest.raises(ArtifactError, match=f"no array '{name}'"):
            KeptAnswers.of(arrays)
