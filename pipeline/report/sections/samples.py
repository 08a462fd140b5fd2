"""Test images that the chosen engine classifies differently, as parts of the page itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report.sections import classes
from pipeline.results.model import Report
from stages.results.engines import BenchmarkDetails, PredictionDiff, ShownImages

LARGEST = 64
"""Pixels; larger images are made smaller, so that two dozen photos do not fill the page."""

KINDS = {
    "lost": "Lost: right before, wrong now",
    "won": "Won: wrong before, right now",
    "other": "Wrong before and now, in another way",
}


@dataclass(frozen=True)
class Sample:
    """An image, as an address that holds it, and what is written below it, an arrow between."""

    source: str
    description: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Gallery:
    """Images with something in common, `size` pixels at most; `key` names colours in them."""

    title: str
    samples: tuple[Sample, ...]
    size: int = LARGEST
    key: tuple[tuple[str, str], ...] = ()


def galleries(
    changed: Mapping[str, NDArray[Any]], names: Sequence[str], diff: PredictionDiff | None
) -> Iterator[Gallery]:
    """The images whose predicted class changed, by kind; nothing where there are none.

    `changed` holds uint8 images (N, H, W, C), and labels, before, after and indices (N,);
    `diff` counts all changes, of which these images are a part.
    """
    if not changed:
        return
    truth, before, after = (changed[key].astype(int) for key in ("labels", "before", "after"))
    kinds = np.select([before == truth, after == truth], ["lost", "won"], "other")
    totals = {"lost": diff.lost, "won": diff.won, "other": diff.other} if diff else {}
    for kind, title in KINDS.items():
        places = np.flatnonzero(kinds == kind).tolist()
        if places:
            total = totals.get(kind, len(places))
            shown = f"{len(places)} of {total:,}" if total > len(places) else f"{total:,}"
            samples = tuple(_sample(changed, names, place) for place in places)
            yield Gallery(f"{title}, {shown}", samples)


def kept(report: Report) -> ShownImages:
    """What the benchmark says of the images that it kept."""
    details = report.details(BenchmarkDetails) if report.is_current("benchmark") else None
    return (details and details.shown) or ShownImages()


def sentences(report: Report) -> Iterator[str]:
    """Of which of several inputs the images are whose class changed, or why none are shown."""
    details, described = report.details(BenchmarkDetails), classes.described(report)
    diff, found = details.changed if details else None, kept(report)
    are_counted = described is not None and described.unit == "images"
    if diff is None or not are_counted or not diff.lost + diff.won + diff.other:
        return
    if found.reason:
        yield f"The images whose class changed are not shown: {found.reason}."
    elif found.input:
        yield f"The images below are those of the input {found.input}."


def _sample(changed: Mapping[str, NDArray[Any]], names: Sequence[str], place: int) -> Sample:
    labels = (int(changed[key][place]) for key in ("labels", "before", "after"))
    truth, before, after = (
        names[label] if label < len(names) else str(label) for label in labels
    )  # fmt: skip
    description = (
        f"test image {int(changed['indices'][place])}, {truth}: "
        f"the trained model says {before}, the engine {after}"
    )
    return Sample(data_uri(changed["images"][place]), description, (before, after))


def data_uri(image: NDArray[np.uint8], largest: int = LARGEST, *, is_mask: bool = False) -> str:
    """An image uint8 (H, W, C), C 1 or 3, as a PNG inside an address; colours of masks stay."""
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    sampling = Image.Resampling.NEAREST if is_mask else Image.Resampling.BICUBIC
    picture.thumbnail((largest, largest), sampling)
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
