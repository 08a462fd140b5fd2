from __future__ import annotations

from benchmarks import widths
from stages.keras_graph.fold import flatten
from stages.models import resnet


def test_a_network_has_the_widths_that_are_asked_for() -> None:
    whole = flatten(resnet.build(8, (32, 32, 3), 10))
    narrow = widths.narrowed(whole, "block1_a_conv=0,stem_conv=8,block3_a_conv=32")
    channels = {
        layer.name: layer.filters for layer in narrow.layers if layer.name.endswith("_conv")
    }
    assert channels == {
        "stem_conv": 8,
        "block2_a_conv": 32,
        "block2_b_conv": 32,
        "block2_shortcut_conv": 32,
        "block3_a_conv": 32,
        "block3_b_conv": 64,
        "block3_shortcut_conv": 64,
    }
