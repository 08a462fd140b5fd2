"""Which images a report shows beside answers: of several inputs those of one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.artifacts.signature import Signature
from stages.datasets.inputs import Form, forms_of
from stages.results.engines import ShownImages

CHANNELS = (1, 3)
"""Gray and RGB: what others mean is not known."""


def found(signature: Signature, size: tuple[int, ...] = ()) -> ShownImages:
    """The first input, in the order of the network, that is an image of pixels; of `size` (H, W)
    where it stands beside masks. Without one, why there is none."""
    fitting = [name for name, form in forms_of(signature).items() if _is_fit(form, size)]
    if not fitting:
        of_size = f", {size[0]}x{size[1]} as the masks" if size else ""
        return ShownImages(reason=f"no input is an image of uint8, gray or RGB{of_size}")
    return ShownImages(input=fitting[0] or None)


def _is_fit(form: Form, size: tuple[int, ...]) -> bool:
    is_picture = form.is_image and form.dtype == np.uint8 and form.shape[2] in CHANNELS
    return is_picture and (not size or form.shape[:2] == size)


def pixels(samples: NDArray[Any], shown: ShownImages) -> NDArray[np.uint8]:
    """Of samples (M, ...), or (M,) with a field for each input, what is shown: (M, H, W, C)."""
    return np.asarray(samples if shown.input is None else samples[shown.input])
