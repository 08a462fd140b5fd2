"""The masks that lost most, and the worst ones: before and after, as parts of the page itself."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.report.sections import classes, samples
from pipeline.report.sections.answers import counted
from pipeline.report.sections.samples import Gallery, Sample, data_uri
from pipeline.results import units
from pipeline.results.model import Report
from stages.engines.registry import EngineName
from stages.measurement.kept_answers import KeptAnswers
from stages.tasks.segmentation import TOLERANCE, UNJUDGED, confusions, own_mean_ious

LARGEST = 128
"""Pixels: a mask has finer parts than a photo that is only to be recognised."""
GOLDEN = 0.618034
"""Of a turn: hues of neighbouring numbers are far from each other."""
UNJUDGED_COLOUR = (128, 128, 128)


def galleries(kept: KeptAnswers | None) -> Iterator[Gallery]:
    """Of each image that was kept itself, its mask, and both answers, with their mean IoU."""
    if kept is None or kept.task != "segmentation":
        return
    before, after = (mean_ious(each, kept) for each in (kept.before, kept.after))
    for place, number in enumerate(kept.indices.tolist()):
        scores = [units.percent(float(each[place])) for each in (before, after)]
        yield Gallery(
            f"Test image {number}: mean IoU {scores[0]} before, {scores[1]} after",
            _samples(kept, place, number, scores),
            LARGEST,
            _key(kept) if place == 0 else (),
        )


def sentences(report: Report, kept: KeptAnswers | None) -> Iterator[str]:
    """Why just these images are shown, or none."""
    if kept is None:
        yield from _why_none(report)
    if kept is None or kept.task != "segmentation":
        return
    before, after = (mean_ious(each, kept) for each in (kept.before, kept.after))
    lost = int((before - after > TOLERANCE).sum())
    fell = f"{lost} whose mean IoU fell most, by more than {100 * TOLERANCE:g} point"
    worst = f"{len(kept) - lost} with the lowest mean IoU of the engine"
    parts = [text for text, count in ((fell, lost), (worst, len(kept) - lost)) if count]
    name = samples.kept(report).input
    of_input = f" The images are those of the input {name}." if name else ""
    yield (
        f"Masks of {counted(report, kept)}: {', then '.join(parts)}. The mean is over the classes "
        f"of each image.{of_input}"
    )


def _why_none(report: Report) -> Iterator[str]:
    found, reason = classes.described(report), samples.kept(report).reason
    if found and found.task == "segmentation" and reason:
        yield f"No masks are shown: {reason}."


def mean_ious(masks: NDArray[np.uint8], kept: KeptAnswers) -> NDArray[np.float64]:
    """Of masks (M, H, W), each over the classes of its own image: (M,)."""
    return own_mean_ious(confusions(masks, kept.targets, len(kept.names)))


def _samples(kept: KeptAnswers, place: int, number: int, scores: list[str]) -> tuple[Sample, ...]:
    engine = EngineName.parse(kept.engine).label
    said = {
        "truth": (kept.targets, "its mask"),
        f"trained, {scores[0]}": (kept.before, f"the trained model's mask, mean IoU {scores[0]}"),
        f"engine, {scores[1]}": (kept.after, f"the mask of {engine}, mean IoU {scores[1]}"),
    }
    image = data_uri(kept.images[place], LARGEST)
    return (
        Sample(image, f"test image {number}", ("image",)),
        *(
            Sample(
                data_uri(coloured(masks[place]), LARGEST, is_mask=True),
                f"test image {number}: {words}",
                (caption,),
            )
            for caption, (masks, words) in said.items()
        ),
    )


def coloured(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask (H, W) as an image (H, W, 3), the first class black."""
    return np.array([colour_of(number) for number in range(256)], np.uint8)[mask]


def colour_of(number: int) -> tuple[int, int, int]:
    """Of a class, red, green and blue up to 255."""
    if number in (0, UNJUDGED):
        return UNJUDGED_COLOUR if number else (0, 0, 0)
    red, green, blue = colorsys.hsv_to_rgb(0.1 + number * GOLDEN, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _key(kept: KeptAnswers) -> tuple[tuple[str, str], ...]:
    """The colour of every class that is there, as a page writes it, and its name."""
    names = {**dict(enumerate(kept.names)), UNJUDGED: "not judged"}
    numbers = np.unique([kept.targets, kept.before, kept.after]).tolist()
    return tuple(("#{:02x}{:02x}{:02x}".format(*colour_of(each)), names[each]) for each in numbers)
