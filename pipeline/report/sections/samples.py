"""Test images as parts of a page, inside the page itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 64
"""Pixels; larger images are made smaller, so that two dozen photos do not fill the page."""

KINDS = {
    "lost": "Lost: right before, wrong now",
    "won": "Won: wrong before, right now",
    "other": "Wrong before and now, in another way",
}


def gallery(
    changed: Mapping[str, NDArray[Any]], names: Sequence[str], counts: Mapping[str, Any]
) -> Iterator[str]:
    """HTML of the images whose class changed, by kind; nothing where there are none."""
    if not changed:
        return
    truth, before, after = (changed[key].astype(int) for key in ("labels", "before", "after"))
    kinds = np.select([before == truth, after == truth], ["lost", "won"], "other")
    for kind, title in KINDS.items():
        places = np.flatnonzero(kinds == kind).tolist()
        if places:
            total = int(counts.get(kind, len(places)))
            some = f", {len(places)} of {total:,}" if total > len(places) else f", {total:,}"
            yield f'<h3>{title}{some}</h3>\n<ul class="samples">'
            yield from (_item(changed, names, place) for place in places)
            yield "</ul>"


def _item(changed: Mapping[str, NDArray[Any]], names: Sequence[str], place: int) -> str:
    truth, before, after = (
        _name(names, int(changed[key][place])) for key in ("labels", "before", "after")
    )
    index = int(changed["indices"][place])
    told = f"test image {index}, {truth}: the trained model says {before}, the engine {after}"
    return (
        f'<li><img src="{data_uri(changed["images"][place])}" alt="{escape(told)}" '
        f'title="{escape(told)}" width="64" height="64">'
        f'<span>{escape(before)} <span aria-hidden="true">→</span> {escape(after)}</span></li>'
    )


def _name(names: Sequence[str], label: int) -> str:
    return names[label] if label < len(names) else str(label)


def data_uri(image: NDArray[np.uint8]) -> str:
    """An image uint8 (H, W, C), C 1 or 3, as a PNG inside an address."""
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((LARGEST, LARGEST))
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
