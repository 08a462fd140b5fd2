from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.report.sections import samples
from pipeline.results import evidence
from tests.pipeline.report.full_run import NAMES, full_report, write_arrays


def opened(uri: str) -> Image.Image:
    head, content = uri.split(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_the_same_after_it_was_put_into_an_address(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 7, channels), np.uint8)
    found = np.asarray(opened(samples.data_uri(image))).reshape(image.shape)
    np.testing.assert_array_equal(found, image)


def test_a_photo_is_made_smaller_in_its_own_proportions() -> None:
    assert opened(samples.data_uri(np.zeros((100, 200, 3), np.uint8))).size == (64, 32)


def test_the_changed_images_are_shown_by_kind_with_what_was_said(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    changed = evidence.read(full_report(), tmp_path).changed
    text = "\n".join(samples.gallery(changed, NAMES, {"lost": 30, "won": 1}))
    assert "Lost: right before, wrong now, 3 of 30</h3>" in text
    assert "Won: wrong before, right now, 1</h3>" in text
    assert "in another way" not in text
    assert 'alt="test image 5, 1: the trained model says 1, the engine 2"' in text
    assert 'alt="test image 13, 0: the trained model says 1, the engine 0"' in text
    assert text.count("<img") == 4


def test_names_of_classes_are_plain_text(tmp_path: Path) -> None:
    write_arrays(tmp_path)
    changed = evidence.read(full_report(), tmp_path).changed
    text = "\n".join(samples.gallery(changed, ["0", '"><script>', "2"], {}))
    assert "<script" not in text


def test_without_changes_there_is_no_gallery() -> None:
    assert list(samples.gallery({}, NAMES, {})) == []
