"""How much memory a conversion takes at most, in multiples of the weights.

Linux alone has the peak of a process that can be set back: proc(5), clear_refs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest

from stages.artifacts.signature import Signature
from stages.conversion.onnx.float16 import to_float16
from stages.conversion.onnx.targets import float_graph
from stages.keras_graph.fold import fold

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
LAYERS, CHANNELS = 4, 2048
WEIGHTS = LAYERS * CHANNELS**2 * 4

pytestmark = pytest.mark.skipif(not CLEAR.exists(), reason="no /proc/self/clear_refs")


def kilobytes(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    assert found
    return int(found[1])


@contextmanager
def peak() -> Iterator[SimpleNamespace]:
    """By how many times the weights the memory grew at most."""
    CLEAR.write_text("5")
    before, found = kilobytes("VmRSS"), SimpleNamespace()
    yield found
    found.copies = (kilobytes("VmHWM") - before) * 1024 / WEIGHTS


@pytest.fixture(scope="module")
def model():
    """64 MB of weights, and next to nothing to compute: convolutions of 1x1 images."""
    image = keras.Input((1, 1, 3), name="image")
    x = keras.layers.Conv2D(CHANNELS, 1)(image)
    for _ in range(LAYERS):
        x = keras.layers.ReLU()(keras.layers.Conv2D(CHANNELS, 1)(x))
    return keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(x)))


def test_a_conversion_takes_a_few_copies_of_the_weights(model):
    signature = Signature((1, 1, 3), tuple("abcd"), 1 / 255, 0.0)
    with peak() as folding:
        folded = fold(model)
    with peak() as converting:
        graph = float_graph(folded, signature)
    with peak() as halving:
        to_float16(graph)
    assert folding.copies < 4
    assert converting.copies < 4
    assert halving.copies < 4
