from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from pipeline.report import html
from pipeline.report.sections import classes, masks, samples
from pipeline.results.evidence import Evidence
from pipeline.results.model import Report
from stages.measurement.kept_answers import KeptAnswers
from tests.pipeline.records import report_of
from tests.pipeline.report.drawn import by_name, texts
from tests.pipeline.report.full_run import full_records, per_class

TRUTH = np.repeat(np.array([[[0, 0, 1, 1]], [[0, 2, 2, 255]]], np.uint8), 4, axis=1)
AFTER = np.repeat(np.array([[[0, 0, 0, 1]], [[0, 0, 2, 1]]], np.uint8), 4, axis=1)
"""IoU 2/3 and 1/2; 1/2 and 1/2 where it is judged."""
KEPT = KeptAnswers(
    "segmentation",
    "litert.int8",
    ("ground", "ring", "<square>"),
    np.array([7, 3]),
    TRUTH,
    np.where(TRUTH == 255, 0, TRUTH).astype(np.uint8),
    AFTER,
    images=np.zeros((2, 4, 4, 3), np.uint8),
)


def report(shown: dict[str, str] | None = None) -> Report:
    """The sample run as one of masks: counts are pixels."""
    found = full_records()
    found["benchmark"]["measurements"]["details"]["shown"] = shown
    measured = found["benchmark"]["measurements"]
    for each in (measured["details"]["baseline"], *measured["engines"]):
        if each["accuracy"]:
            quality = {"metric": "mean_iou", "measures": {"mean_iou": 0.9}, "samples": 360}
            each["accuracy"] = quality
    measured["details"]["classification"]["litert.int8"] = per_class(
        [[1_234_567, 100_000, 0], [0, 70_000, 30_000], [0, 9, 90]]
    )
    return report_of(found)


def test_each_image_stands_beside_its_mask_and_both_answers() -> None:
    first, second = masks.galleries(KEPT)
    assert first.title == "Test image 7: mean IoU 100.00 % before, 58.33 % after"
    assert second.title == "Test image 3: mean IoU 100.00 % before, 50.00 % after"
    words = [each.words for each in first.samples]
    assert words == [("image",), ("truth",), ("trained, 100.00 %",), ("engine, 58.33 %",)]
    assert first.samples[3].description == (
        "test image 7: the mask of LiteRT INT8, mean IoU 58.33 %"
    )
    content = base64.b64decode(second.samples[1].source.split(",")[1])
    drawn = np.asarray(Image.open(io.BytesIO(content)))
    colours = [masks.colour_of(number) for number in (0, 2, 2, 255)]
    assert drawn[0].tolist() == [list(each) for each in colours]


def test_classes_have_colours_that_differ_and_names_beside_them() -> None:
    assert len({masks.colour_of(number) for number in range(256)}) == 256
    first, second = masks.galleries(KEPT)
    assert [name for _, name in first.key] == ["ground", "ring", "<square>", "not judged"]
    assert first.key[0][0] == "#000000"
    assert second.key == ()


def test_the_page_says_why_just_these_are_shown() -> None:
    page = html.render(report(), Evidence(answers=KEPT))
    assert (
        "Masks of 2 of 360 test images: 2 whose mean IoU fell most, by more than 1 point. The mean "
        "is over the classes of each image."
    ) in page
    assert page.count('width="128"') == 8
    assert "&lt;square&gt;</li>" in page


def test_where_nothing_was_kept_nothing_is_shown() -> None:
    assert list(masks.galleries(None)) == []
    assert list(masks.sentences(report(), None)) == []


def test_of_several_inputs_the_page_names_the_one_that_is_shown() -> None:
    (sentence,) = masks.sentences(report({"input": "left"}), KEPT)
    assert sentence.endswith("of each image. The images are those of the input left.")


def test_the_page_says_why_no_masks_are_shown() -> None:
    without = report({"reason": "no input is an image"})
    assert list(masks.sentences(without, None)) == ["No masks are shown: no input is an image."]
    assert list(samples.sentences(without)) == []


def test_of_masks_pixels_are_counted() -> None:
    assert classes.class_table(report()).columns[:2] == ("class", "pixels")
    assert classes.mistake_table(report()).caption.endswith("most often, in pixels")
    chart = by_name(classes.charts, report())["confusion-after"]
    assert chart.title == "Confusion of LiteRT INT8, in pixels"
    assert texts(chart) == ["1.23M", "100k", "70000", "30000", "9", "90"]
    assert chart.description.startswith("130,009 of 1,434,666 pixels classified wrongly.")
