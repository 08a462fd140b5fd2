from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from stages.artifacts.signature import Input, Signature
from stages.datasets.base import DataSet
from stages.measurement import samples
from tests.stages.conftest import DIGITS


def test_large_validation_images_are_limited_by_their_bytes(
    digits: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "VALIDATION_BYTES", 10 * 28 * 28 + 5)
    samples.write_samples(digits.test, digits.validation, {}, {}, tmp_path)
    few = np.load(tmp_path / samples.SAMPLES_FILE)["validation_labels"]
    assert few.tolist() != digits.validation.labels[:10].tolist()
    assert sorted(few) == list(range(10))


@pytest.mark.parametrize(("side", "images"), [(28, 16), (96, 7), (224, 4), (1, 16)])
def test_of_large_images_fewer_are_compared_layer_by_layer(side: int, images: int) -> None:
    signature = Signature((side, side, 3), ("a", "b"), 1.0, 0.0)
    assert samples.layer_parity_images(signature) == images
    # Of several inputs the places of all count together.
    half = Input("a", (side, side, 3), 1.0, 0.0, "NHWC", "uint8", "uint8")
    two = dataclasses.replace(signature, inputs=(half, dataclasses.replace(half, name="b")))
    assert samples.layer_parity_images(two) == max(min(images, 2**15 // side**2), 4)


def test_the_samples_of_large_outputs_are_fewer() -> None:
    """They are kept of Keras and of every simulation."""
    assert samples.most_samples(DIGITS) > 256
    masks = dataclasses.replace(DIGITS, task="segmentation", output_shape=(256, 256, 8))
    assert samples.most_samples(masks) == 64
    assert samples.most_samples(dataclasses.replace(masks, output_shape=(2048, 2048, 8))) == 16
