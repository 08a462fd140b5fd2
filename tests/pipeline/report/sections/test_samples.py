from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.report import html
from pipeline.report.sections import samples
from pipeline.results.evidence import Evidence
from stages.results.engines import PredictionDiff
from tests.pipeline.records import report_of
from tests.pipeline.report.full_run import NAMES, full_records


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


def test_the_changed_images_are_shown_by_kind_with_what_was_predicted(arrays: Evidence) -> None:
    diff = PredictionDiff(engine="litert.int8", lost=30, won=1, other=0)
    lost, won = samples.galleries(arrays.changed, NAMES, diff)
    assert lost.title == "Lost: right before, wrong now, 3 of 30"
    assert won.title == "Won: wrong before, right now, 1"
    assert [len(each.samples) for each in (lost, won)] == [3, 1]
    assert lost.samples[1].words == ("1", "2")
    assert [lost.samples[1].description, won.samples[0].description] == [
        "test image 5, 1: the trained model says 1, the engine 2",
        "test image 13, 0: the trained model says 1, the engine 0",
    ]


def test_the_page_shows_them_with_words_for_who_cannot_see_them(full_page: str) -> None:
    assert "<h3>Lost: right before, wrong now, 3</h3>" in full_page
    assert "Wrong before and now, in another way" not in full_page
    assert 'alt="test image 5, 1: the trained model says 1, the engine 2"' in full_page
    assert full_page.count("<img") == 4


def test_names_of_classes_are_plain_text(arrays: Evidence) -> None:
    found = full_records()
    for each in found["benchmark"]["measurements"]["details"]["classification"].values():
        each["classes"] = ["0", '"><script>', "2"]
    found["benchmark"]["measurements"]["details"]["shown"] = {"input": "<script>"}
    page = html.render(report_of(found), arrays)
    assert "<script" not in page
    assert "those of the input &lt;script&gt;." in page


def test_the_page_says_of_which_input_the_images_are_or_why_there_are_none() -> None:
    found = full_records()
    details = found["benchmark"]["measurements"]["details"]
    details["shown"] = {"input": "left"}
    assert list(samples.sentences(report_of(found))) == [
        "The images below are those of the input left."
    ]
    details["shown"] = {"reason": "no input is an image"}
    assert list(samples.sentences(report_of(found))) == [
        "The images whose class changed are not shown: no input is an image."
    ]
    details["changed"] |= {"lost": 0, "won": 0}
    assert list(samples.sentences(report_of(found))) == []


def test_without_changes_there_is_no_gallery() -> None:
    assert list(samples.galleries({}, NAMES, None)) == []
