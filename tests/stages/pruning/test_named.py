from __future__ import annotations

import keras
import pytest
from keras import layers

from stages.errors import ModelError
from stages.keras_graph.fold import flatten
from stages.models import resnet
from stages.pruning.criteria import layer_scores
from stages.pruning.named import names_of, widths_named
from stages.pruning.structured import narrow

STEM = ("stem_conv", "block1_b_conv")


@pytest.fixture(scope="module")
def flat() -> keras.Model:
    return flatten(resnet.build(8, (32, 32, 3), 10))


def test_a_layer_stands_for_its_group_and_0_for_its_block(flat):
    widths = widths_named(flat, {"block1_a_conv": 0, "block1_b_conv": 8, "block3_a_conv": 24})
    assert {frozenset(names): width for names, width in widths.items()} == {
        frozenset({"block1_a_conv", "block1_b_conv"}): 0,
        frozenset(STEM): 8,
        frozenset({"block3_a_conv"}): 24,
    }


@pytest.mark.parametrize(
    "wanted",
    [
        {"block1_a_conv": 0, "stem_conv": 8, "block3_a_conv": 24},
        {"block2_a_conv": 0, "block3_a_conv": 0},
        {"block2_b_conv": 16},
    ],
)
def test_what_names_gave_is_named_so_that_it_comes_again(flat, wanted):
    widths = widths_named(flat, wanted)
    assert widths_named(flat, names_of(flat, widths)) == widths


def test_a_group_that_goes_with_its_block_has_no_name(flat):
    inner = {("block1_a_conv",): 4}
    block = widths_named(flat, {"block1_a_conv": 0})
    assert names_of(flat, inner | block) == names_of(flat, block)
    assert list(names_of(flat, block).values()) == [0]


def test_a_group_that_reaches_beyond_a_block_is_named_by_a_layer_that_stays(flat):
    widths = widths_named(flat, {"block1_a_conv": 0, "stem_conv": 8})
    assert {name: width for name, width in names_of(flat, widths).items() if width} == {
        "stem_conv": 8
    }


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"stem_con": 8}, "names 'stem_con', but 'resnet8' has no such layer with channels.* mean"),
        ({"stem_conv": 0}, "names 'stem_conv', but .* no such layer with part in a block"),
        (
            {"stem_conv": 17},
            "asks for 17 channels of 'stem_conv', which has 16\nask for at most 16,",
        ),
        (
            {"stem_conv": 8, "block1_b_conv": 4},
            "asks for 4 channels of 'block1_b_conv' and for 8 of stem_conv, which must have as "
            "many\nname one of these layers",
        ),
        ({"stem_conv": 16}, "removes no channel and no block"),
    ],
)
def test_widths_that_the_network_cannot_have_are_refused(flat, wanted, message):
    with pytest.raises(ModelError, match=message):
        widths_named(flat, wanted)


def test_a_layer_goes_first_and_what_is_before_and_behind_it_may_be_narrower():
    image = keras.Input((8, 8, 3), name="image")
    x = image
    for number in range(3):
        x = layers.Conv2D(8, 3, padding="same", name=f"conv{number}", activation="relu")(x)
    x = layers.Dense(4)(layers.GlobalAveragePooling2D()(x))
    repeated = flatten(keras.Model(image, x))
    assert widths_named(repeated, {"conv1": 0}) == {("conv1",): 0}
    wanted = {"conv1": 0, "conv0": 4}
    widths = widths_named(repeated, wanted)
    assert names_of(repeated, widths) == wanted
    small = narrow(repeated, widths, layer_scores(repeated, "l2", ()))
    kernels = [each.kernel.shape for each in small.layers if isinstance(each, layers.Conv2D)]
    assert kernels == [(3, 3, 3, 4), (3, 3, 4, 8)]
